// What a city looks like, and the 404 that everything below a city answers with when there is no such city.

import { type Queryable, problem, sql } from "millrace";
import { type Static, Type } from "typebox";
import { Id } from "../schemas.ts";

export const City = Type.Object({
  id: Id,
  name: Type.String(),
  country: Type.String({ description: "ISO 3166-1, two letters" }),
  adminCode: Type.String({ description: "State, province or region, as GeoNames codes it" }),
  featureCode: Type.String({ description: "Kind of place, as GeoNames codes it: PPLC is a capital" }),
  population: Type.Integer({ description: "0: not known" }),
  latitude: Type.Number(),
  longitude: Type.Number(),
});
export type City = Static<typeof City>;

export const cityColumns = sql`id, name, country, admin_code as "adminCode", feature_code as "featureCode", population, latitude, longitude`;

export const cityMissing = (id: number) => problem(404, "CITY_NOT_FOUND", `No city has the id ${id}.`);

/** For what is empty: is there nothing, or is there no such city? Asked only then, so that a list with rows costs one statement. */
export async function requireCity(db: Queryable, id: number): Promise<void> {
  if (!(await db.maybeOne(sql`select 1 from cities where id = ${id}`))) throw cityMissing(id);
}
