// Writing: a report with its tags in one transaction, changing and deleting one's own, commenting on anybody's.

import { type Queryable, type Transaction, endpoint, problem, sql } from "millrace";
import { Type } from "typebox";
import { Id, Text } from "../schemas.ts";
import { signedIn } from "../users/sessions.ts";
import { reportMissing } from "./read-endpoints.ts";
import { Comment, Report, ReportText, Tags, Temperature, findReport, normalizeTags } from "./report.ts";

const createReport = endpoint(
  "POST /reports",
  {
    summary: "Report the weather",
    tags: ["reports"],
    auth: signedIn,
    body: Type.Object({
      cityId: Id,
      text: ReportText,
      temperature: Type.Optional(Temperature),
      tags: Type.Optional(Tags),
    }),
    response: { 201: Report },
  },
  async ({ body: { cityId, text, temperature = null, tags = [] }, principal, db, reply }) => {
    const report = await db.transaction(async (tx) => {
      const created = await tx.maybeOne(sql<{ id: number }>`
        insert into reports (city_id, user_id, text, temperature)
        select id, ${principal.id}, ${text.trim()}, ${temperature}::float8 from cities where id = ${cityId}
        returning id`);
      if (!created) {
        const message = `no city has the id ${cityId}`;
        throw problem(400, "CITY_NOT_FOUND", `No city has the id ${cityId}.`, {
          errors: [{ in: "body", field: "cityId", message }],
        });
      }
      await insertTags(tx, created.id, tags);
      return (await findReport(tx, created.id))!;
    });
    reply.header("location", `/reports/${report.id}`);
    return report;
  },
);

const updateReport = endpoint(
  "PATCH /reports/:reportId",
  {
    summary: "Change a report of one's own",
    tags: ["reports"],
    auth: signedIn,
    params: { reportId: Id },
    body: Type.Object(
      { text: Type.Optional(ReportText), temperature: Type.Optional(Temperature), tags: Type.Optional(Tags) },
      { minProperties: 1 },
    ),
    response: Report,
  },
  ({ params: { reportId }, body, principal, db }) =>
    db.transaction(async (tx) => {
      await lockOwnReport(tx, reportId, principal.id);
      const text = body.text === undefined ? sql.empty : sql`, text = ${body.text.trim()}`;
      const temperature = body.temperature === undefined ? sql.empty : sql`, temperature = ${body.temperature}`;
      await tx.query(sql`update reports set updated_at = now() ${text} ${temperature} where id = ${reportId}`);
      if (body.tags) {
        await tx.query(sql`delete from report_tags where report_id = ${reportId}`);
        await insertTags(tx, reportId, body.tags);
      }
      return (await findReport(tx, reportId))!;
    }),
);

const deleteReport = endpoint(
  "DELETE /reports/:reportId",
  {
    summary: "Delete a report of one's own, with its comments",
    tags: ["reports"],
    auth: signedIn,
    params: { reportId: Id },
    response: { 204: null },
  },
  ({ params: { reportId }, principal, db }) =>
    db.transaction(async (tx) => {
      await lockOwnReport(tx, reportId, principal.id);
      await tx.query(sql`delete from reports where id = ${reportId}`);
    }),
);

const createComment = endpoint(
  "POST /reports/:reportId/comments",
  {
    summary: "Comment on a report",
    tags: ["reports"],
    auth: signedIn,
    params: { reportId: Id },
    body: Type.Object({ text: Text(2_000) }),
    response: { 201: Comment },
  },
  async ({ params: { reportId }, body, principal, db }) => {
    const comment = await db.transaction((tx) =>
      tx.maybeOne(sql<Omit<Comment, "author">>`
        insert into comments (report_id, user_id, text)
        select id, ${principal.id}, ${body.text.trim()} from reports where id = ${reportId}
        returning id, report_id as "reportId", text, created_at as "createdAt"`),
    );
    if (!comment) throw reportMissing(reportId);
    return { ...comment, author: { id: principal.id, name: principal.name } };
  },
);

/** Keeps the report as it is until the transaction ends. */
async function lockOwnReport(tx: Transaction, reportId: number, userId: number): Promise<void> {
  const report = await tx.maybeOne(
    sql<{ userId: number }>`select user_id as "userId" from reports where id = ${reportId} for update`,
  );
  if (!report) throw reportMissing(reportId);
  if (report.userId !== userId) throw problem(403, "REPORT_NOT_YOURS", "Only its author can change or delete a report.");
}

async function insertTags(tx: Queryable, reportId: number, tags: readonly string[]): Promise<void> {
  if (tags.length === 0) return;
  await tx.query(sql`
    insert into report_tags (report_id, position, tag)
    select ${reportId}, position, tag from unnest(${normalizeTags(tags)}::text[]) with ordinality as given (tag, position)`);
}

export const reportWriteEndpoints = [createReport, updateReport, deleteReport, createComment];
