// Which functions an answer may call and still be kept, judged by name over all overloads. See docs/dependencies.md.

import type { Catalogue } from "./catalogue.ts";

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

/**
 * PostgreSQL's stable functions whose result depends only on their arguments and on settings that a connection keeps (TimeZone,
 * DateStyle, lc_*, text search): all others look at the session, the catalogue or tables.
 */
const steady = words(`
  array_to_json array_to_string array_append array_prepend array_cat array_remove array_replace array_position array_positions
  array_in array_out array_sort array_reverse
  age concat concat_ws convert_from convert_to date_add date_part date_subtract date_trunc enum_first enum_last enum_range extract
  format generate_series json_agg json_agg_strict json_agg_transfn json_build_array json_build_object json_object_agg
  json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict json_populate_record json_populate_recordset
  json_to_record json_to_recordset jsonb_agg jsonb_agg_strict jsonb_build_array jsonb_build_object jsonb_object_agg
  jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict jsonb_path_exists_tz jsonb_path_match_tz
  jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset
  jsonb_to_record jsonb_to_recordset make_timestamptz overlaps pg_typeof phraseto_tsquery plainto_tsquery quote_literal
  quote_nullable row_to_json string_agg timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery
  to_tsvector ts_headline json_to_tsvector jsonb_to_tsvector websearch_to_tsquery pg_column_size numrange int4range int8range
  daterange tstzrange date timestamp timestamptz time timetz interval_pl timestamptz_pl_interval min max sum avg array_agg
  any_value unnest mode percentile_cont percentile_disc range_agg ts_rewrite overlay`);

/** PostgreSQL's functions that read the clock. */
const clock = words("now transaction_timestamp statement_timestamp");

/** What a call means for keeping an answer. */
export type Judgement = "steady" | "clock" | { readonly reason: string };

export function judgeCall(catalogue: Catalogue, schema: string | undefined, name: string, argumentCount: number): Judgement {
  const { volatility, own } = catalogue.functionOf(schema, name);
  const shown = schema === undefined || schema === "pg_catalog" ? name : `${schema}.${name}`;
  if (volatility === "v") return { reason: `calls the volatile function ${shown}()` };
  if (own && volatility === "s") {
    return { reason: `calls ${shown}(), which may read tables unseen; declare it IMMUTABLE if it reads none` };
  }
  if (clock.has(name)) return "clock";
  if (name === "age" && argumentCount === 1) return "clock";
  if (volatility === "i" || steady.has(name)) return "steady";
  return { reason: `calls ${shown}(), whose result depends on the session or the catalogue` };
}

/** Types whose input looks names up in the catalogue. */
export const catalogueTypes = words(
  "regclass regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure regrole regtype",
);

/** "now", "today 10:00": texts that a conversion to a date or time reads as the clock. */
export const mayMeanNow = (text: string): boolean =>
  text.length <= 40 && /^[\s\d:.,/+-]*(?:now|today|tomorrow|yesterday)\b[\s\w:.,/+-]*$/i.test(text);
