// Shapes that several features share.

import { Type } from "typebox";

/** The ids of cities, users, reports and comments: PostgreSQL's `integer`. */
export const Id = Type.Integer({ minimum: 1, maximum: 2_147_483_647 });

/** A calendar day, "2015-12-31". */
export const Day = Type.String({ format: "date" });

/** A Date in the code, ISO 8601 in JSON. */
export const Timestamp = Type.Unsafe<Date>({ type: "string", format: "date-time" });

/** A text that people wrote: not empty, not only spaces. */
export const Text = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: "\\S" });
