// The import as a task: it may be killed at any moment and run again, on any machine that sees the file.

import { readFile } from "node:fs/promises";
import { type Queryable, type TaskRun, MillraceError, sql, task } from "millrace";
import { Type } from "typebox";
import { rollUpSoon } from "../observations/months.ts";
import { importObservations } from "./observations-csv.ts";
import type { Uploads } from "./uploads.ts";

const ImportInput = Type.Object({ importId: Type.String({ format: "uuid" }) });

/** What is wrong with the file itself. Trying again would not help, and whoever uploaded it is to be told. */
const faultsOfTheFile = new Set(["MILLRACE_ETL_SOURCE_INVALID", "MILLRACE_ETL_HEADER_MISMATCH", "MILLRACE_ETL_TOO_MANY_REJECTS"]);

export const importTask = (uploads: Uploads) =>
  task(
    "import-observations",
    {
      input: ImportInput,
      queue: "imports",
      timeout: "1h",
      retry: { attempts: 5 },
      concurrencyPer: { max: 1 }, // one file at a time on all machines: they write the same table
    },
    (run) => runImport(uploads, run),
  );

export type ImportTask = ReturnType<typeof importTask>;

async function runImport(uploads: Uploads, { input: { importId }, db, signal, progress }: TaskRun<{ importId: string }>) {
  const waiting = await db.maybeOne(sql`select 1 from imports where id = ${importId} and finished_at is null`);
  if (!waiting) {
    await uploads.remove(importId); // an attempt that died when everything but this was done; or the user is gone
    return;
  }
  const report = uploads.reportPath(importId);
  try {
    // #region import
    await importObservations(db, uploads.path(importId), report, {
      signal,
      directory: uploads.directory,
      onProgress: ({ stage, fraction, rowsRead, rowsRejected }) => progress({ stage, fraction, rowsRead, rowsRejected }),
      async inTransaction(tx, { rowsRead, rowsChanged, rowsRejected, changed }) {
        await rollUpSoon(tx, changed!);
        await finish(tx, importId, { rowsRead, rowsChanged, rowsRejected, report: await readFile(report, "utf8") });
      },
    });
    // #endregion
  } catch (error) {
    if (!(error instanceof MillraceError) || !faultsOfTheFile.has(error.code)) throw error;
    const failure = error.message.replaceAll(uploads.path(importId), "the file");
    await finish(db, importId, { failure, report: await readFile(report, "utf8").catch(() => "") });
  }
  await uploads.remove(importId);
}

interface Outcome {
  readonly rowsRead?: number;
  readonly rowsChanged?: number;
  readonly rowsRejected?: number;
  readonly failure?: string;
  readonly report: string;
}

/** The first outcome counts: an attempt that was taken for dead may come to its end all the same. */
async function finish(db: Queryable, id: string, outcome: Outcome): Promise<void> {
  const { rowsRead = null, rowsChanged = null, rowsRejected = null, failure = null, report } = outcome;
  await db.query(sql`
    update imports set finished_at = now(), rows_read = ${rowsRead}, rows_changed = ${rowsChanged}, rows_rejected = ${rowsRejected},
      failure = ${failure}, report = ${report}
    where id = ${id} and finished_at is null`);
}
