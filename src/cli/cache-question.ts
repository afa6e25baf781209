// Asking the running processes, and showing what they answer: for `millrace cache stats` and `why`.

import { type ControlAnswer, type ControlQuestion, ask, withAdminSession } from "../freshness/index.ts";
import { type FreshnessCommandOptions, adminOptions, print, withUrl } from "./freshness-target.ts";

/** A process that is busy answers late; one that hangs, never. */
const waitMs = 2_000;

/** Prints a line for each cache of each process, or everything as JSON. Nobody who answers is a failure. */
export async function askAndPrint(
  question: ControlQuestion,
  options: FreshnessCommandOptions,
  line: (answer: ControlAnswer["answer"]) => string,
): Promise<void> {
  const answers = await withUrl(options, (url) =>
    withAdminSession(adminOptions(url, options), (session) => ask(session, question, waitMs)),
  );
  if (options.json) print(JSON.stringify(answers));
  else
    for (const { process: name, answer, error } of answers) {
      if (error !== undefined) print(`${name}  failed: ${error}`);
      // An older version of the kit has one cache, and no list.
      else for (const one of Array.isArray(answer) ? (answer as readonly unknown[]) : [answer]) print(`${name}  ${line(one)}`);
    }
  if (answers.length > 0) return;
  if (!options.json) process.stderr.write("No process answered: no application with a cache runs on this database.\n");
  process.exitCode = 1;
}

/** A field of an answer for people; what is not there is left out. Nested ones are shown as JSON. */
export function fields(answer: unknown, names: readonly string[]): string {
  if (typeof answer !== "object" || answer === null) return JSON.stringify(answer) ?? "";
  const values = answer as Readonly<Record<string, unknown>>;
  return names
    .filter((name) => values[name] !== undefined && values[name] !== null)
    .map((name) => {
      const value = values[name];
      return `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`;
    })
    .join(" ");
}
