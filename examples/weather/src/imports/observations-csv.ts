// Observations from a CSV file, as NOAA gives them and as data/weather-seattle-newyork-daily.csv is: checked, put beside what is there,
// and what is wrong reported by line.

import { type Database, type EtlProgress, type EtlResult, type TableTarget, etl, sql } from "millrace";

/** `location` is a city's id, or its name: then the largest city of that name (New York is New York City in GeoNames). */
const columns = {
  location: "VARCHAR NOT NULL",
  date: "DATE NOT NULL",
  precipitation: "DOUBLE NOT NULL",
  temp_max: "DOUBLE NOT NULL",
  temp_min: "DOUBLE NOT NULL",
  wind: "DOUBLE NOT NULL",
  weather: "VARCHAR NOT NULL",
};

/** What no place on earth has measured: https://wmo.asu.edu/content/world-meteorological-organization-global-weather-climate-extremes-archive */
const checked = sql`
  select id as city_id, date, precipitation as precipitation_mm, temp_max as temp_max_c, temp_min as temp_min_c, wind as wind_mps,
    weather, _line,
    case
      when id is null then 'there is no city "' || location || '"'
      when not (temp_min between -90 and 57 and temp_max between -90 and 57) then 'a temperature is out of range'
      when temp_max < temp_min then 'temp_max is below temp_min'
      when not precipitation between 0 and 1826 then 'precipitation is out of range'
      when not wind between 0 and 114 then 'wind is out of range'
      when weather not in ('drizzle', 'fog', 'rain', 'snow', 'sun') then 'weather is none of drizzle, fog, rain, snow, sun'
      when date not between date '1700-01-01' and current_date + 1 then 'date is out of range'
    end as _reject
  from (
    select input.*, coalesce(by_id.id, by_name.id, by_city.id) as id
    from input
    left join cities by_id on by_id.id = try_cast(location as integer)
    left join cities by_name on by_name.name = location and by_name.largest
    left join cities by_city on by_city.name = location || ' City' and by_city.largest)`;

export interface ImportOptions extends Pick<TableTarget, "inTransaction"> {
  readonly signal?: AbortSignal;
  /** Where it works. */
  readonly directory?: string;
  readonly onProgress?: (progress: EtlProgress) => void;
}

/** Imports `file`; the rows that are bad go to `report`. Doing it again changes nothing. */
export function importObservations(db: Database, file: string, report: string, options: ImportOptions = {}): Promise<EtlResult> {
  const { inTransaction, ...rest } = options;
  const cities = db.export(
    sql`select id, name, row_number() over (partition by name order by population desc, id) = 1 as largest from cities`,
    { format: "csv" },
  );
  return etl({
    source: { file, format: "csv", columns },
    tables: { cities: { stream: cities, format: "csv", columns: { id: "INTEGER", name: "VARCHAR", largest: "BOOLEAN" } } },
    transform: checked,
    target: {
      database: db,
      table: "observations",
      onConflict: { key: ["city_id", "date"], action: "update" },
      ...(inTransaction && { inTransaction }),
    },
    report,
    ...rest,
  });
}
