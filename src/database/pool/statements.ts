// What the pool knows of each statement text: the name under which it is prepared, whether it only reads (so that it may share
// a pipelined connection and be run twice), and whether it was slow there. See docs/pipelining.md.

import type { Clock } from "../../core/index.ts";
import { readsOnly } from "./read-only.ts";

/** One statement text and what is known of it. */
export interface Statement {
  readonly text: string;
  /** Prepared under this name; undefined: not prepared (seen once, or one text too many). */
  name: string | undefined;
  /** Whether it may run on a shared, read-only connection; undefined until the server's functions are known. */
  reads: boolean | undefined;
  /** Kept off shared connections until this moment of the clock's monotonic time. */
  slowUntilMs: number;
  uses: number;
  /** Stalls since the use number `countedFrom`. */
  stalls: number;
  countedFrom: number;
}

/** Texts remembered beyond the prepared ones, so that the second use of a text can be noticed. */
const rememberedPerPrepared = 4;

/** Longer texts are not remembered, and so neither prepared nor counted: bounds what the texts of a pool take in memory. */
const maxRememberedLength = 20_000;

/**
 * A statement counts as slow after this many stalls, if it stalled in more than this share of its uses: on a machine that is short
 * of CPU everything stalls now and then, and taking that for slow statements would end pipelining just when it is needed.
 */
const stallsUntilSlow = 3;
const slowShare = 0.05;

/** Uses after which stalls are counted anew, so that the distant past does not decide. */
const usesPerCount = 10_000;

/** How long a statement that held up others stays off shared connections: long enough to matter, short enough to notice a new index. */
const slowForMs = 60_000;

/** The statements of one pool. Bounded: a program that makes endless different texts runs them unprepared. */
export class Statements {
  readonly #clock: Clock;
  readonly #maxPrepared: number;
  readonly #byText = new Map<string, Statement>();
  #prepared = 0;
  #names = 0;
  #functions: ReadonlySet<string> | undefined;

  constructor(maxPrepared: number, clock: Clock) {
    this.#maxPrepared = maxPrepared;
    this.#clock = clock;
  }

  /** Tells which functions of the server change nothing: see readOnlyFunctionsQuery. Statements judged before are judged again. */
  learnFunctions(functions: ReadonlySet<string>): void {
    this.#functions = functions;
    for (const statement of this.#byText.values()) statement.reads ??= readsOnly(statement.text, functions);
  }

  get knowsFunctions(): boolean {
    return this.#functions !== undefined;
  }

  /** The record of a text; counts a use. A text is prepared from its second use on, so that one-off texts cost the server nothing. */
  use(text: string): Statement {
    let statement = this.#byText.get(text);
    if (statement === undefined) {
      statement = {
        text,
        name: undefined,
        reads: this.#functions && readsOnly(text, this.#functions),
        slowUntilMs: 0,
        uses: 0,
        stalls: 0,
        countedFrom: 0,
      };
      if (text.length > maxRememberedLength) return statement;
      this.#byText.set(text, statement);
      this.#forgetOldest();
    }
    if (++statement.uses === 2 && this.#prepared < this.#maxPrepared) {
      this.#prepared++;
      statement.name = this.#nextName();
    }
    return statement;
  }

  /** Whether it may share a pipelined connection now. */
  mayPipeline(statement: Statement): boolean {
    return statement.reads === true && (statement.slowUntilMs === 0 || statement.slowUntilMs <= this.#clock.monotonic());
  }

  /** It held up others. One that does so often gets connections of its own for a while. */
  stalled(statement: Statement): void {
    if (statement.uses - statement.countedFrom > usesPerCount) startCount(statement);
    statement.stalls++;
    if (statement.stalls < stallsUntilSlow || statement.stalls <= slowShare * (statement.uses - statement.countedFrom)) return;
    statement.slowUntilMs = this.#clock.monotonic() + slowForMs;
    startCount(statement);
  }

  /** It turned out to write, whatever its text looks like. */
  markWrites(statement: Statement): void {
    statement.reads = false;
  }

  /** Its prepared form is no longer valid (a column was altered, DISCARD ALL): the next use prepares it under a new name. */
  renew(statement: Statement): void {
    if (statement.name !== undefined) statement.name = this.#nextName();
  }

  #nextName(): string {
    return `millrace_${(++this.#names).toString(36)}`;
  }

  /** Texts that were seen once go first; prepared ones stay, as their plans do on the server. */
  #forgetOldest(): void {
    const limit = Math.max(100, this.#maxPrepared * rememberedPerPrepared);
    if (this.#byText.size <= limit) return;
    for (const [text, statement] of this.#byText) {
      if (statement.name !== undefined) continue;
      this.#byText.delete(text);
      if (this.#byText.size <= limit) return;
    }
  }
}

function startCount(statement: Statement): void {
  statement.stalls = 0;
  statement.countedFrom = statement.uses;
}
