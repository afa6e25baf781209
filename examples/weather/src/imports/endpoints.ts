// Uploading observations: 202 with a task, how far it is, as it is asked or as it happens, and afterwards what was wrong with which row.

import { Readable } from "node:stream";
import { type Database, type Tasks, bytes, endpoint, problem, sql } from "millrace";
import { type Static, Type } from "typebox";
import { Timestamp } from "../schemas.ts";
import { signedIn } from "../users/sessions.ts";
import type { ImportTask } from "./import-task.ts";
import { endId, shownStatus, taskEvents } from "./task-events.ts";
import type { Uploads } from "./uploads.ts";

/** Bytes of an uploaded file. Five million rows. */
const maxFileBytes = 512 * 1_048_576;

const Uuid = Type.String({ format: "uuid" });
const Count = Type.Union([Type.Integer(), Type.Null()]);

const Import = Type.Object({
  id: Uuid,
  taskId: Uuid,
  fileName: Type.String(),
  bytes: Type.Integer(),
  state: Type.Union([Type.Literal("waiting"), Type.Literal("done"), Type.Literal("failed")]),
  createdAt: Timestamp,
  finishedAt: Type.Union([Timestamp, Type.Null()]),
  rowsRead: Count,
  rowsChanged: Count,
  rowsRejected: Count,
  failure: Type.Union([Type.String(), Type.Null()]),
});
type Import = Static<typeof Import>;

const TaskState = Type.Object({
  id: Uuid,
  name: Type.String(),
  state: Type.String({ description: "waiting, active, completed, cancelled or dead" }),
  attempt: Type.Integer(),
  progress: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
});
type TaskState = Static<typeof TaskState>;

const importColumns = sql`
  id, task_id as "taskId", file_name as "fileName", bytes::float8 as bytes, created_at as "createdAt", finished_at as "finishedAt",
  case when finished_at is null then 'waiting' when failure is null then 'done' else 'failed' end as state,
  rows_read as "rowsRead", rows_changed as "rowsChanged", rows_rejected as "rowsRejected", failure`;

export interface ImportOptions {
  readonly uploads: Uploads;
  readonly importTask: ImportTask;
  readonly tasks: Tasks;
}

export function importEndpoints({ uploads, importTask, tasks }: ImportOptions) {
  /** The task of one of the user's imports. */
  const taskOf = async (db: Database, userId: number, taskId: string): Promise<TaskState> => {
    const own = await db.maybeOne(sql`select 1 from imports where task_id = ${taskId} and user_id = ${userId}`);
    const status = own && (await tasks.status(taskId));
    if (!status) throw problem(404, "TASK_NOT_FOUND", "You have no task with this id, or it has been over for an hour.");
    return shownStatus(status);
  };

  const createImport = endpoint(
    "POST /imports",
    {
      summary: "Upload a CSV file of observations",
      description: "location (a city's id or name), date, precipitation, temp_max, temp_min, wind, weather; at most 512 MiB.",
      tags: ["imports"],
      auth: signedIn,
      multipart: { files: 1, fileBytes: maxFileBytes, fields: 0 },
      deadline: "30m", // 512 MiB at 2.5 Mbit/s
      response: { 202: Import, 507: "There is no room for the file." },
    },
    async ({ parts, principal, db, signal, request, reply }) => {
      await uploads.requireRoom(Number(request.headers["content-length"] ?? 0));
      let upload: { readonly id: string; readonly bytes: number; readonly fileName: string } | undefined;
      try {
        for await (const part of parts) {
          if (part.kind === "file") upload = { ...(await uploads.receive(part.stream, signal)), fileName: part.filename };
        }
        if (!upload) throw problem(400, "FILE_MISSING", "The form has no file.");
        const { id, bytes, fileName } = upload;
        // The row and its task are there together or not at all.
        const created = await db.transaction(async (tx) => {
          const { id: taskId } = await importTask.enqueue({ importId: id }, { in: tx });
          return await tx.one(sql<Import>`
            insert into imports (id, user_id, file_name, bytes, task_id)
            values (${id}, ${principal.id}, ${fileName.slice(0, 200)}, ${bytes}, ${taskId})
            returning ${importColumns}`);
        });
        reply.header("location", `/imports/${id}`);
        return created;
      } catch (error) {
        if (upload) await uploads.remove(upload.id);
        throw error;
      }
    },
  );

  const readImport = endpoint(
    "GET /imports/:importId",
    { summary: "An import of one's own", tags: ["imports"], auth: signedIn, params: { importId: Uuid }, response: Import },
    async ({ params: { importId }, principal, db }) => {
      const found = await db.maybeOne(
        sql<Import>`select ${importColumns} from imports where id = ${importId} and user_id = ${principal.id}`,
      );
      if (!found) throw importMissing();
      if (found.state !== "waiting") return found;
      const { state, attempt } = (await tasks.status(found.taskId)) ?? {};
      // What is wrong with the file is in the row; this is about everything else.
      if (state === "cancelled") return { ...found, state: "failed" as const, failure: "It was cancelled." };
      if (state !== "dead") return found;
      return { ...found, state: "failed" as const, failure: `It could not be done, and was given up at attempt ${attempt}.` };
    },
  );

  const readReport = endpoint(
    "GET /imports/:importId/report",
    {
      summary: "The bad rows of an import that is over, one JSON object a line",
      tags: ["imports"],
      auth: signedIn,
      params: { importId: Uuid },
      response: bytes("application/x-ndjson"),
    },
    async ({ params: { importId }, principal, db, reply }) => {
      const found = await db.maybeOne(
        sql<{ report: string | null }>`select report from imports where id = ${importId} and user_id = ${principal.id}`,
      );
      if (!found) throw importMissing();
      if (found.report === null) throw problem(409, "IMPORT_NOT_OVER", "The import is not over yet; its report comes at the end.");
      reply.headers({ "cache-control": "no-store", "content-type": "application/x-ndjson" });
      return found.report;
    },
  );

  const readTask = endpoint(
    "GET /tasks/:taskId",
    { summary: "How far a task is", tags: ["imports"], auth: signedIn, params: { taskId: Uuid }, response: TaskState },
    ({ params: { taskId }, principal, db }) => taskOf(db, principal.id, taskId),
  );

  // #region events
  const watchTask = endpoint(
    "GET /tasks/:taskId/events",
    {
      summary: "How far a task is, as server-sent events until it is over",
      description: "Events are named progress, and the last one end; 204 for a Last-Event-ID that is the end's.",
      tags: ["imports"],
      auth: signedIn,
      params: { taskId: Uuid },
      deadline: "none",
      response: bytes("text/event-stream"),
    },
    async ({ params: { taskId }, principal, db, signal, request, reply }) => {
      await taskOf(db, principal.id, taskId); // a 404 is one, not a stream
      if (request.headers["last-event-id"] === endId) {
        reply.code(204); // or a browser would ask for ever
        return Buffer.alloc(0);
      }
      // A proxy that compresses or collects would hold the events back; nginx listens to the second.
      reply.headers({ "cache-control": "no-store, no-transform", "x-accel-buffering": "no", "content-type": "text/event-stream" });
      return Readable.from(taskEvents(tasks, taskId, signal), { objectMode: false });
    },
  );
  // #endregion

  return [createImport, readImport, readReport, readTask, watchTask];
}

const importMissing = () => problem(404, "IMPORT_NOT_FOUND", "You have no import with this id.");
