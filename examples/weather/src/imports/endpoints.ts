// Uploading observations: 202 with a task, how far it is, as it is asked or as it happens, and afterwards what was wrong with which row.

import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Database, type TaskRecord, type TaskStore, bytes, endpoint, problem, sql } from "millrace";
import { type Static, Type } from "typebox";
import { Timestamp } from "../schemas.ts";
import { signedIn } from "../users/sessions.ts";
import type { ImportTask } from "./import-task.ts";
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

const taskState = ({ id, name, state, attempt, progress }: TaskRecord): TaskState => ({
  id,
  name,
  state,
  attempt,
  progress: progress === undefined ? null : (JSON.parse(progress) as Record<string, unknown>),
});

const ended = (state: string): boolean => state === "completed" || state === "cancelled" || state === "dead";

/** How often a task that is watched is looked at; its progress is kept about as often. */
const lookEveryMs = 500;
/** After so long without news a comment is sent: proxies close what is silent for a minute. */
const commentAfterMs = 15_000;

export interface ImportOptions {
  readonly uploads: Uploads;
  readonly importTask: ImportTask;
  /** Where the tasks are. */
  readonly store: TaskStore;
}

export function importEndpoints({ uploads, importTask, store }: ImportOptions) {
  /** The task of one of the user's imports. */
  const taskOf = async (db: Database, userId: number, taskId: string): Promise<TaskState> => {
    const own = await db.maybeOne(sql`select 1 from imports where task_id = ${taskId} and user_id = ${userId}`);
    const record = own && (await store.show(taskId));
    if (!record) throw problem(404, "TASK_NOT_FOUND", "You have no task with this id, or it has been over for an hour.");
    return taskState(record);
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
      return found;
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

  const watchTask = endpoint(
    "GET /tasks/:taskId/events",
    {
      summary: "How far a task is, as server-sent events until it is over",
      tags: ["imports"],
      auth: signedIn,
      params: { taskId: Uuid },
      deadline: "none",
      response: bytes("text/event-stream"),
    },
    async ({ params: { taskId }, principal, db, signal, reply }) => {
      const first = await taskOf(db, principal.id, taskId); // a 404 is one, not a stream
      reply.headers({ "cache-control": "no-store", "content-type": "text/event-stream" });
      return Readable.from(eventsOf(store, first, signal), { objectMode: false });
    },
  );

  return [createImport, readImport, readReport, readTask, watchTask];
}

const importMissing = () => problem(404, "IMPORT_NOT_FOUND", "You have no import with this id.");

/** An event for each change, and one named "end" at last. */
async function* eventsOf(store: TaskStore, first: TaskState, signal: AbortSignal): AsyncGenerator<string, void, undefined> {
  let sent = "";
  let silentMs = 0;
  for (let state: TaskState | undefined = first; ;) {
    const data = JSON.stringify(state);
    if (data !== sent) {
      sent = data;
      silentMs = 0;
      yield `event: ${ended(state.state) ? "end" : "progress"}\ndata: ${data}\n\n`;
    } else if (silentMs >= commentAfterMs) {
      silentMs = 0;
      yield ": still there\n\n";
    }
    if (ended(state.state) || signal.aborted) return;
    await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    silentMs += lookEveryMs;
    const record = await store.show(state.id);
    if (!record) return; // it has been kept long enough
    state = taskState(record);
  }
}
