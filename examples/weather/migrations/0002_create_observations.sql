create table observations (
  city_id integer not null references cities,
  date date not null,
  precipitation_mm double precision not null,
  temp_max_c double precision not null,
  temp_min_c double precision not null,
  wind_mps double precision not null,
  weather text not null,
  primary key (city_id, date)
);

-- What an hour of the year is like on average. No year, no time zone: local standard time.
create table hourly_normals (
  city_id integer not null references cities,
  month smallint not null,
  day smallint not null,
  hour smallint not null,
  pressure_hpa double precision not null,
  temperature_c double precision not null,
  wind_mps double precision not null,
  primary key (city_id, month, day, hour)
);
