// Questions from the command line to the running processes, over NOTIFY: how their caches do, why a key is or is not served.
// docs/command-line.md shows the commands. The channel's name is a secret of the database's (it is derived from the feed's), so that only
// who may read the kit's tables can ask; what arrives is checked all the same.

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { readFeedRow } from "./feed/kit-tables.ts";
import type { Session } from "./feed/session.ts";
import { freshnessErrors } from "./errors.ts";

/** What can be asked. */
export type ControlQuestion = { readonly ask: "stats" } | { readonly ask: "why"; readonly key: string };

/** What a process does with questions. Whatever it returns is sent as JSON. */
export interface ControlHandlers {
  stats(): unknown;
  why(key: string): unknown;
}

/** One process's answer. */
export interface ControlAnswer {
  /** Host and process number, and what the process calls itself. */
  readonly process: string;
  readonly answer: unknown;
  /** Why it has none, in one sentence. */
  readonly error: string | undefined;
}

/** The part of a session that questions and answers need. */
export type ControlSession = Pick<Session, "query" | "onNotification" | "serverVersion">;

/** Longer keys cannot be asked for: a notification has at most 8,000 bytes, and a key may be escaped to several bytes a character. */
const maxKeyLength = 1_000;
/** Characters of base64 in one notification, with room for what stands around them. */
const chunkLength = 7_000;
/** A longer answer is replaced by an error. About 500 kB. */
const maxChunks = 100;
/** Questions that a process works on at once; more are not answered, so that nobody can make it busy. */
const maxAtOnce = 4;
/** Answers that are waited for and kept at most. */
const maxProcesses = 1_000;
/** What the processes of the feed are called in pg_stat_activity: see openSession(). */
const listeningName = "millrace listening";

const idShape = /^[0-9a-f]{32}$/;
const replyChannel = (id: string): string => `millrace_reply_${id}`;

async function controlChannel(session: ControlSession): Promise<string> {
  const row = await readFeedRow(session as Session);
  if (!row) throw freshnessErrors.create("MILLRACE_FEED_NOT_SET_UP", { missing: "the row in millrace.feed is missing." });
  return `${row.channel}_control`;
}

/** The question in a notification; undefined when it is none. */
function readQuestion(payload: string): { readonly id: string; readonly question: ControlQuestion } | undefined {
  let message: unknown;
  try {
    message = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof message !== "object" || message === null) return undefined;
  const { id, ask, key } = message as { readonly id?: unknown; readonly ask?: unknown; readonly key?: unknown };
  if (typeof id !== "string" || !idShape.test(id)) return undefined;
  if (ask === "stats") return { id, question: { ask } };
  if (ask === "why" && typeof key === "string" && key.length <= maxKeyLength) return { id, question: { ask, key } };
  return undefined;
}

/**
 * Answers questions on `session` until it ends; dispose it to stop sooner. A handler that throws answers with its message.
 * @param name what the process calls itself, shown beside host and process number
 * @throws MILLRACE_FEED_NOT_SET_UP
 */
export async function createControl(session: ControlSession, name: string, handlers: ControlHandlers): Promise<Disposable> {
  const channel = await controlChannel(session);
  const self = `${hostname()}:${process.pid} ${name}`.slice(0, 200);
  let working = 0;
  let disposed = false;

  const reply = async (id: string, question: ControlQuestion): Promise<void> => {
    let body: string;
    try {
      const answer = question.ask === "stats" ? await handlers.stats() : await handlers.why(question.key);
      body = JSON.stringify({ process: self, answer });
    } catch (error) {
      body = JSON.stringify({ process: self, error: error instanceof Error ? error.message.slice(0, 1_000) : "It failed." });
    }
    let text = Buffer.from(body, "utf8").toString("base64");
    if (text.length > chunkLength * maxChunks) {
      text = Buffer.from(JSON.stringify({ process: self, error: "The answer is too long to be sent." })).toString("base64");
    }
    const of = Math.ceil(text.length / chunkLength);
    const sender = randomBytes(8).toString("hex");
    const parts = Array.from({ length: of }, (_, i) =>
      JSON.stringify({ sender, part: i, of, text: text.slice(i * chunkLength, (i + 1) * chunkLength) }),
    );
    await session.query("select pg_notify($1, part) from unnest($2::text[]) as part", [replyChannel(id), parts]);
  };

  session.onNotification((from, payload) => {
    if (from !== channel || disposed || working >= maxAtOnce) return;
    const asked = readQuestion(payload);
    if (!asked) return;
    working++;
    reply(asked.id, asked.question)
      .catch(() => {}) // the session is lost: its owner hears of that itself
      .finally(() => {
        working--;
      });
  });
  // The name is ours: see installFeed().
  await session.query(`listen "${channel.replaceAll('"', "")}"`);
  return {
    [Symbol.dispose]() {
      disposed = true;
    },
  };
}

/** Collects the parts of answers. Everything that does not fit is ignored. */
class Answers {
  readonly complete: ControlAnswer[] = [];
  readonly #parts = new Map<string, { readonly of: number; readonly texts: Map<number, string> }>();

  add(payload: string): void {
    let message: { readonly sender?: unknown; readonly part?: unknown; readonly of?: unknown; readonly text?: unknown } | null;
    try {
      message = JSON.parse(payload) as typeof message;
    } catch {
      return;
    }
    if (typeof message !== "object" || message === null) return;
    const { sender, part, of, text } = message;
    if (typeof sender !== "string" || typeof text !== "string" || typeof of !== "number" || typeof part !== "number") return;
    if (!Number.isInteger(of) || of < 1 || of > maxChunks || !Number.isInteger(part) || part < 0 || part >= of) return;
    if (sender.length > 16 || (!this.#parts.has(sender) && this.#parts.size >= maxProcesses)) return;
    const known = this.#parts.get(sender) ?? { of, texts: new Map<number, string>() };
    this.#parts.set(sender, known);
    if (known.of !== of || known.texts.has(part)) return;
    known.texts.set(part, text);
    if (known.texts.size < of) return;
    try {
      const whole = Array.from({ length: of }, (_, i) => known.texts.get(i)).join("");
      const body = JSON.parse(Buffer.from(whole, "base64").toString("utf8")) as Partial<Record<keyof ControlAnswer, unknown>>;
      if (typeof body.process !== "string") return;
      const error = typeof body.error === "string" ? body.error : undefined;
      this.complete.push({ process: body.process, answer: body.answer, error });
    } catch {
      // no answer of ours
    }
  }
}

/**
 * Asks all processes that use the feed of this database, and resolves with their answers: when as many have come as there are
 * processes, or after `waitMs`.
 * @throws MILLRACE_FEED_NOT_SET_UP, MILLRACE_CONTROL_KEY_TOO_LONG
 */
export async function ask(session: ControlSession, question: ControlQuestion, waitMs: number): Promise<readonly ControlAnswer[]> {
  if (question.ask === "why" && question.key.length > maxKeyLength) {
    throw freshnessErrors.create("MILLRACE_CONTROL_KEY_TOO_LONG", { length: question.key.length, max: maxKeyLength });
  }
  const channel = await controlChannel(session);
  const id = randomBytes(16).toString("hex");
  const answers = new Answers();
  const { promise: enough, resolve } = Promise.withResolvers<void>();
  let expected = Number.POSITIVE_INFINITY;
  session.onNotification((from, payload) => {
    if (from !== replyChannel(id)) return;
    answers.add(payload);
    if (answers.complete.length >= expected) resolve();
  });
  await session.query(`listen ${replyChannel(id)}`);
  try {
    const [row] = await session.query<{ processes: number }>(
      `select count(*)::int as processes from pg_stat_activity where datname = current_database() and application_name = $1`,
      [listeningName],
    );
    await session.query("select pg_notify($1, $2)", [channel, JSON.stringify({ id, ...question })]);
    expected = row!.processes;
    if (answers.complete.length >= expected) resolve();
    const timer = setTimeout(resolve, waitMs);
    await enough;
    clearTimeout(timer);
  } finally {
    await session.query(`unlisten ${replyChannel(id)}`).catch(() => {});
  }
  return answers.complete.toSorted((a, b) => a.process.localeCompare(b.process));
}
