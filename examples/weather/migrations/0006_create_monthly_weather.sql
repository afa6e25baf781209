-- What the days of a month add up to: made by the task roll-up-months.
create table monthly_weather (
  city_id integer not null references cities,
  month date not null,
  days integer not null,
  precipitation_mm double precision not null,
  temp_max_c double precision not null,
  temp_min_c double precision not null,
  wind_mps double precision not null,
  primary key (city_id, month)
);

-- How often a city's forecast was asked for, by day: which ones the task refresh-forecasts keeps fresh.
create table city_reads (
  day date not null,
  city_id integer not null references cities on delete cascade,
  reads bigint not null,
  primary key (day, city_id)
);
