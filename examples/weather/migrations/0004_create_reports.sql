create table reports (
  id integer generated always as identity primary key,
  city_id integer not null references cities,
  user_id integer not null references users,
  text text not null,
  temperature double precision,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create index reports_city on reports (city_id, created_at desc, id desc);
create index reports_user on reports (user_id);

create table report_tags (
  report_id integer not null references reports on delete cascade,
  -- Where the author put it.
  position smallint not null,
  tag text not null,
  primary key (report_id, tag)
);

create table comments (
  id integer generated always as identity primary key,
  report_id integer not null references reports on delete cascade,
  user_id integer not null references users,
  text text not null,
  created_at timestamptz not null default now()
);

create index comments_report on comments (report_id, created_at, id);
create index comments_user on comments (user_id);
