// Reading: the reports of a city, one report, the comments on a report.

import { endpoint, keyset, page, problem, sql } from "millrace";
import { requireCity } from "../cities/city.ts";
import { Id } from "../schemas.ts";
import { Comment, Report, commentColumns, findReport, selectReports, withComments } from "./report.ts";

export const reportMissing = (id: number) => problem(404, "REPORT_NOT_FOUND", `No report has the id ${id}.`);

// #region list-reports
const listReports = endpoint(
  "GET /cities/:cityId/reports",
  {
    summary: "Reports from a city, newest first",
    tags: ["reports"],
    params: { cityId: Id },
    query: keyset({ orderBy: ["createdAt desc", "id desc"], max: 100 }),
    response: page(Report),
  },
  async ({ params: { cityId }, query, db }) => {
    const reports = await db.page(query, selectReports(sql`where city_id = ${cityId}`));
    if (reports.data.length === 0) await requireCity(db, cityId);
    return { ...reports, data: await withComments(db, reports.data) };
  },
);
// #endregion

const getReport = endpoint(
  "GET /reports/:reportId",
  { summary: "One report", tags: ["reports"], params: { reportId: Id }, response: Report },
  async ({ params: { reportId }, db }) => {
    const report = await findReport(db, reportId);
    if (!report) throw reportMissing(reportId);
    return report;
  },
);

const listComments = endpoint(
  "GET /reports/:reportId/comments",
  {
    summary: "All comments on a report, oldest first",
    tags: ["reports"],
    params: { reportId: Id },
    query: keyset({ orderBy: ["createdAt", "id"], max: 100 }),
    response: page(Comment),
  },
  async ({ params: { reportId }, query, db }) => {
    const comments = await db.page(
      query,
      sql<Comment>`select ${commentColumns} from comments join users on users.id = user_id where report_id = ${reportId}`,
    );
    if (comments.data.length > 0) return comments;
    if (!(await db.maybeOne(sql`select 1 from reports where id = ${reportId}`))) throw reportMissing(reportId);
    return comments;
  },
);

export const reportReadEndpoints = [listReports, getReport, listComments];
