create table users (
  id integer generated always as identity primary key,
  -- Lower case: src/users/email.ts.
  email text not null unique,
  name text not null,
  password_hash text not null,
  created_at timestamptz not null default now()
);

-- A session is known by the SHA-256 of its token: who reads this table cannot sign in with what it holds.
create table sessions (
  token_hash text primary key,
  user_id integer not null references users on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);

create index sessions_user on sessions (user_id, created_at desc);
