// The plans of statements by their texts, for one state of the catalogue. See docs/dependencies.md.

import { loadModule } from "libpg-query";
import { type Node, statementsOf } from "./ast.ts";
import type { Catalogue } from "./catalogue.ts";
import type { ReadDependency, ReadPlan, WritePlan } from "./plan.ts";
import type { PlantedBugs } from "./read/analysis.ts";
import { type StatementResult, dependenciesOf, namesTheClock, readPlan, sharedParameters } from "./read-plan.ts";
import { writePlan } from "./write-plan.ts";

/** What is known of a statement by its text. */
export interface StatementPlan {
  readonly read: ReadPlan;
  readonly write: WritePlan;
  /**
   * What the answer depends on; a row dependency counts only when its column is followed, else its table does. Empty when the
   * answer is not cacheable: ask `read` first.
   */
  dependencies(result: StatementResult): readonly ReadDependency[];
  /** Whether the answer depends on the clock, by its text or by a parameter such as 'now'. */
  timeDependent(values: readonly unknown[] | undefined): boolean;
}

export interface StatementPlans {
  readonly catalogue: Catalogue;
  /** One look-up for a text that is known; some tenths of a millisecond for one that is not, and as much when `read` is asked for the first time. Never throws. */
  planOf(text: string): StatementPlan;
}

/** Texts remembered. Those beyond it are analysed each time anew when they have been pushed out: the oldest go first. */
const maxTexts = 2_000;

/** Texts longer than this are not analysed: nobody writes them by hand, and a parser's time grows with them. Characters. */
const maxLength = 100_000;

let parser: Promise<void> | undefined;

/** Plans for one catalogue; with a new one, make new plans. Loads the parser once per process, some 50 ms. */
export async function createStatementPlans(catalogue: Catalogue, bugs?: PlantedBugs): Promise<StatementPlans> {
  await (parser ??= loadModule());
  const known = new Map<string, StatementPlan>();
  return {
    catalogue,
    planOf(text) {
      const found = known.get(text);
      if (found) return found;
      const plan = planOf(text, catalogue, bugs);
      if (known.size >= maxTexts) known.delete(known.keys().next().value!);
      known.set(text, plan);
      return plan;
    },
  };
}

function opaque(reason: string, writes: WritePlan["writes"]): StatementPlan {
  return {
    read: { cacheable: false, reason },
    write: { writes, session: reason },
    dependencies: () => [],
    timeDependent: () => false,
  };
}

function planOf(text: string, catalogue: Catalogue, bugs: PlantedBugs | undefined): StatementPlan {
  if (text.length > maxLength) return opaque(`is longer than ${maxLength} characters`, "everything");
  let statements: readonly Node[];
  try {
    statements = statementsOf(text);
  } catch {
    return opaque("is not understood by the parser", "everything");
  }
  const write = writePlan(statements, catalogue);
  // Most statements run outside of fills, where only what they write matters: what they read is found out when somebody asks. From
  // the text once more, for a parse tree is some hundred times its size.
  let known: Reading | undefined;
  const reading = (): Reading => (known ??= readingOf(text, catalogue, bugs));
  return {
    get read() {
      return reading().read;
    },
    write,
    dependencies(result) {
      const { read, shared } = reading();
      return read.cacheable ? dependenciesOf(read, shared, result) : [];
    },
    timeDependent(values) {
      const { read } = reading();
      return read.cacheable && (read.timeDependent || namesTheClock(values));
    },
  };
}

/** What a statement reads, and the parameters that stand in it more than once. */
interface Reading {
  readonly read: ReadPlan;
  readonly shared: ReadonlySet<number>;
}

function readingOf(text: string, catalogue: Catalogue, bugs: PlantedBugs | undefined): Reading {
  const statements = statementsOf(text);
  try {
    return { read: readPlan(statements, catalogue, bugs), shared: sharedParameters(statements) };
  } catch (error) {
    // A tree of a shape that nobody has foreseen costs the cache, never the answer.
    const reason = `could not be analysed: ${error instanceof Error ? error.message : String(error)}`;
    return { read: { cacheable: false, reason }, shared: new Set() };
  }
}
