// Lets time pass for the tables of the PostgreSQL store: every moment that they have kept moves into the past.

import { type Database, sql } from "millrace/database";

export async function passTime(database: Database, ms: number): Promise<void> {
  const by = sql`${ms}::float8 * interval '1 millisecond'`;
  await database.transaction(async (tx) => {
    await tx.query(sql`
      update millrace.tasks set due_at = due_at - ${by}, enqueued_at = enqueued_at - ${by}, started_at = started_at - ${by},
        leased_until = leased_until - ${by}`);
    await tx.query(sql`
      update millrace.finished_tasks set due_at = due_at - ${by}, enqueued_at = enqueued_at - ${by}, started_at = started_at - ${by},
        finished_at = finished_at - ${by}, expires_at = expires_at - ${by}`);
    await tx.query(sql`update millrace.task_keys set expires_at = expires_at - ${by}`);
    await tx.query(sql`update millrace.task_groups set ended_at = ended_at - ${by}`);
    await tx.query(sql`update millrace.task_starts set at = at - ${by}`);
  });
}
