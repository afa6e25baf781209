-- Places of GeoNames. The id is GeoNames' own.
create table cities (
  id integer primary key,
  name text not null,
  -- What a name is searched by: see src/cities/search-name.ts. The collation makes a prefix one range of the index.
  search_name text collate "C" not null,
  country text collate "C" not null,
  admin_code text not null,
  feature_code text not null,
  population integer not null,
  latitude double precision not null,
  longitude double precision not null
);

create index cities_population on cities (population desc, id desc);
create index cities_country on cities (country, population desc, id desc);
create index cities_search_name on cities (search_name);

-- Which data sets have been loaded. A row appears in the transaction that loads its data: see src/seed/seed.ts.
create table data_sets (
  name text primary key,
  rows integer not null,
  loaded_at timestamptz not null default now()
);
