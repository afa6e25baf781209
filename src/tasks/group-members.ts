// What became of the members of a group, for the task that follows them. See docs/flows.md.

import { type TaskFailure, failureOf } from "./status.ts";
import type { TaskStore } from "./store.ts";
import type { TaskNamed } from "./task.ts";

/** One member that is through. */
export interface MemberOutcome<Result = unknown> {
  readonly id: string;
  readonly name: string;
  /** "dead" only where the group did not wait for it. */
  readonly state: "completed" | "cancelled" | "dead";
  /** What its handler has returned; only of a completed one. */
  readonly result: Result | undefined;
  readonly error: TaskFailure | undefined;
}

/** What one look fetches. */
const pageSize = 500;

/** Members in the order in which they were given; of one task only, if one is said. None without a group. */
export async function* groupMembers<Result>(
  store: Pick<TaskStore, "groupResults">,
  group: string | undefined,
  of?: TaskNamed<Result>,
): AsyncGenerator<MemberOutcome<Awaited<Result>>, void> {
  if (group === undefined) return;
  for (let after: string | undefined; ;) {
    const page = await store.groupResults(group, { after, limit: pageSize });
    for (const { id, name, state, result, error } of page) {
      if (of && of.name !== name) continue;
      yield {
        id,
        name,
        state,
        result: result === undefined ? undefined : (JSON.parse(result) as Awaited<Result>), // its handler's type says so
        error: failureOf(error),
      };
    }
    if (page.length < pageSize) return;
    after = page.at(-1)!.id;
  }
}
