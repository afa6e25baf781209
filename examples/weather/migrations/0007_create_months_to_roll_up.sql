-- Months of cities whose days have changed since they were rolled up: written in the transaction that changes the days.
create table months_to_roll_up (
  city_id integer not null references cities on delete cascade,
  month date not null,
  primary key (city_id, month)
);
