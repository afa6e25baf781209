-- Files with observations that users have uploaded, and what became of them: see src/imports/.
create table imports (
  id uuid primary key,
  user_id integer not null references users on delete cascade,
  -- As the user calls it; where it is on disk follows from the id.
  file_name text not null,
  bytes bigint not null,
  task_id uuid not null,
  created_at timestamptz not null default now(),
  -- Once it is over: when, and what became of the rows, or why there are none.
  finished_at timestamptz,
  rows_read integer,
  rows_changed integer,
  rows_rejected integer,
  failure text,
  -- One JSON object a line for each bad row, at most a thousand.
  report text
);

create index imports_user on imports (user_id, created_at desc, id desc);
create unique index imports_task on imports (task_id);
