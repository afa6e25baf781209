// A report with its author, tags and first comments. However many reports there are: one statement for them, one for their comments.

import { type Queryable, loadMany, sql } from "millrace";
import { type Static, Type } from "typebox";
import { Id, Text, Timestamp } from "../schemas.ts";
import { Author } from "../users/user.ts";

export const Comment = Type.Object({
  id: Id,
  reportId: Id,
  text: Type.String(),
  createdAt: Timestamp,
  author: Author,
});
export type Comment = Static<typeof Comment>;

export const Report = Type.Object({
  id: Id,
  cityId: Id,
  text: Type.String(),
  temperature: Type.Union([Type.Number(), Type.Null()], { description: "°C" }),
  createdAt: Timestamp,
  updatedAt: Timestamp,
  author: Author,
  tags: Type.Array(Type.String()),
  commentCount: Type.Integer(),
  comments: Type.Array(Comment, { description: "The first three" }),
});
export type Report = Static<typeof Report>;

export type ReportRow = Omit<Report, "comments">;

/** What people may write. */
export const ReportText = Text(5_000);
/** A little beyond what has been measured on Earth: −89.2 °C and 56.7 °C. */
export const Temperature = Type.Union([Type.Number({ minimum: -100, maximum: 70 }), Type.Null()], { description: "°C" });
export const Tags = Type.Array(Text(40), { maxItems: 10 });

export const normalizeTags = (tags: readonly string[]): string[] => [...new Set(tags.map((tag) => tag.trim()))];

/** Reports without their comments; `where` continues the statement. */
export const selectReports = (where: ReturnType<typeof sql>) => sql<ReportRow>`
  select
    reports.id, city_id as "cityId", text, temperature, reports.created_at as "createdAt", updated_at as "updatedAt",
    json_build_object('id', users.id, 'name', users.name) as author,
    array(select tag from report_tags where report_id = reports.id order by position) as tags,
    (select count(*)::int from comments where report_id = reports.id) as "commentCount"
  from reports join users on users.id = user_id
  ${where}`;

export const commentColumns = sql`
  comments.id, report_id as "reportId", text, comments.created_at as "createdAt",
  json_build_object('id', users.id, 'name', users.name) as author`;

/** Adds the first three comments of each report. The lateral join reads three index entries per report, not all comments. */
export const withComments = (db: Queryable, reports: readonly ReportRow[]): Promise<Report[]> =>
  loadMany(
    db,
    reports,
    { key: "id", as: "comments", by: "reportId" },
    (ids) => sql<Comment>`
      select comment.* from unnest(${ids}::int[]) as report (id) cross join lateral (
        select ${commentColumns} from comments join users on users.id = user_id
        where report_id = report.id order by comments.created_at, comments.id limit 3
      ) as comment`,
  );

/** One report as the list shows it, or undefined. */
export async function findReport(db: Queryable, id: number): Promise<Report | undefined> {
  const report = await db.maybeOne(selectReports(sql`where reports.id = ${id}`));
  return report && (await withComments(db, [report]))[0];
}
