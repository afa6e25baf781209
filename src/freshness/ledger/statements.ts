// Hears of every statement of a pool: what fills read goes to their collectors, what is written is noted when it is acknowledged.

import { type WorkContext, currentContext, wholeOf } from "../../concurrency/index.ts";
import type { ObservedEnd, ObservedSession, ObservedStatement, StatementObserver } from "../../database/index.ts";
import type { StatementPlan } from "../dependencies/index.ts";
import { type Collector, currentCollector } from "./collector.ts";
import type { Written } from "./own-writes.ts";

export interface StatementsOptions {
  /** What a statement reads and writes; undefined while the catalogue is being read. */
  readonly planOf: (text: string) => StatementPlan | undefined;
  /** A write to these tables has been acknowledged, or may have been. */
  readonly onWritten: (written: Written) => void;
}

/** Longer texts are not taken apart: they are loads of data, and parsing them would hold up everything else. */
const maxTextLength = 50_000;

/** A transaction, or a statement outside of any. */
interface OpenTransaction {
  /** The fill that began it; undefined: none. */
  readonly by: Collector | undefined;
  written: Written | undefined;
  /** Whose write it was. */
  work: WorkContext | undefined;
}

const join = (one: Written | undefined, other: Written): Written =>
  one === undefined ? other : one === "everything" || other === "everything" ? "everything" : [...one, ...other];

export class Statements implements StatementObserver {
  readonly #options: StatementsOptions;
  /** The transaction that is open on a session. */
  readonly #transactions = new WeakMap<ObservedSession, OpenTransaction>();
  /** Sessions whose settings were changed: what a name or a policy means on them is not known. */
  readonly #changed = new WeakSet<ObservedSession>();
  /** What each piece of work has written, for the token that it answers with. */
  readonly #byWork = new WeakMap<WorkContext, Written>();

  constructor(options: StatementsOptions) {
    this.#options = options;
  }

  /** What the running request or task has written and had acknowledged. */
  writtenBy(work: WorkContext): Written | undefined {
    return this.#byWork.get(wholeOf(work));
  }

  onStatement({ text, values, session }: ObservedStatement): ((end: ObservedEnd) => void) | undefined {
    const collector = currentCollector();
    if (!collector && session === undefined) return undefined; // a read that nobody collects
    const plan = text === "" || text.length > maxTextLength ? undefined : this.#options.planOf(text);
    const transaction = session && this.#enter(session, collector, plan);
    if (collector) {
      const reason = this.#refusalOf(text, plan) ?? (session && this.#refusalOn(session, transaction!, collector));
      if (reason !== undefined) collector.refuse(reason);
      else if (plan!.timeDependent(values)) collector.timeDependent = true;
      collector.running++;
    }
    return (end) => {
      if (session?.idle) this.#acknowledge(session);
      if (!collector) return;
      collector.running--;
      if (collector.ended || collector.reason !== undefined) return;
      if (end.error !== undefined) return collector.refuse("one of its statements failed");
      for (const dependency of plan!.dependencies({ values, rows: end.rows, fields: end.fields })) collector.read(dependency);
    };
  }

  /** Why an answer that needs this statement may not be kept. */
  #refusalOf(text: string, plan: StatementPlan | undefined): string | undefined {
    if (text === "") return "it runs something whose text is not known";
    if (text.length > maxTextLength) return `it runs a statement of ${text.length} characters`;
    if (plan === undefined) return "the database's catalogue is being read";
    if (plan.write.writes.length > 0) return "it writes";
    return plan.write.session ?? (plan.read.cacheable ? undefined : plan.read.reason);
  }

  /** Why nothing that is read on this session now may be kept. */
  #refusalOn(session: ObservedSession, transaction: OpenTransaction, collector: Collector): string | undefined {
    if (this.#changed.has(session)) return "settings of its session were changed before";
    // What it sees may be older than the fill, and not committed.
    return transaction.by === collector ? undefined : "it reads in a transaction that began before it";
  }

  #enter(session: ObservedSession, collector: Collector | undefined, plan: StatementPlan | undefined): OpenTransaction {
    let transaction = session.idle ? undefined : this.#transactions.get(session);
    if (transaction === undefined)
      this.#transactions.set(session, (transaction = { by: collector, written: undefined, work: undefined }));
    if (plan?.write.session !== undefined) this.#changed.add(session);
    const writes = plan?.write.writes ?? "everything";
    if (writes.length > 0) {
      transaction.written = join(transaction.written, writes);
      const work = currentContext();
      transaction.work = work && wholeOf(work);
    }
    return transaction;
  }

  /** No transaction is open on the session: what was written on it can be seen, or never will be. */
  #acknowledge(session: ObservedSession): void {
    const { written, work } = this.#transactions.get(session) ?? {};
    this.#transactions.delete(session);
    if (written === undefined) return;
    if (work) this.#byWork.set(work, join(this.#byWork.get(work), written));
    this.#options.onWritten(written);
  }
}
