// The numbered SQL files of a directory, read and checked before anything runs. See docs/migrations.md.

import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { databaseErrors } from "./errors.ts";

/** One numbered SQL file. */
export interface MigrationFile {
  /** Its number, from 1 without gaps. */
  readonly id: number;
  /** Its file name. */
  readonly name: string;
  readonly text: string;
  /** SHA-256 of the text with LF line ends, in hex: a checkout with CRLF is the same migration. */
  readonly checksum: string;
  /** False with the header `-- millrace: no transaction`. */
  readonly transaction: boolean;
}

const namePattern = /^(\d{4,9})_[a-z0-9][a-z0-9_]*\.sql$/;

/** Only among the comments and empty lines at the top, so that it is seen. */
const noTransactionHeader = /^(?:--[^\n]*\n|\s*\n)*--[ \t]*millrace:[ \t]*no transaction[ \t]*(?:\n|$)/i;

/** Comments, strings, quoted names and dollar-quoted bodies: where a word is not a command. */
const opaque =
  /--[^\n]*|\/\*[\s\S]*?\*\/|\be'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([A-Za-z_]\w*)?\$[\s\S]*?\$\1\$/gi;

/** Commands that would end the migration's transaction, and with it the promise of all or nothing. */
const transactionControl =
  /(?:^|;)\s*(begin|start\s+transaction|commit|abort|end\s+(?:work|transaction)|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b)|prepare\s+transaction)\b/i;

const invalid = (directory: string, reason: string, cause?: unknown) =>
  databaseErrors.create("MILLRACE_MIGRATION_FILES_INVALID", { directory, reason }, cause);

/**
 * Reads a directory's migrations in order. Files that do not end in .sql are left alone.
 * @throws MILLRACE_MIGRATION_FILES_INVALID, MILLRACE_MIGRATION_TRANSACTION_CONTROL
 */
export async function readMigrations(directory: string): Promise<MigrationFile[]> {
  let entries: string[];
  try {
    entries = await readdir(directory);
  } catch (error) {
    throw invalid(directory, `the directory cannot be read (${(error as Error).message})`, error);
  }
  const files = await Promise.all(entries.filter((name) => name.endsWith(".sql")).map((name) => readMigration(directory, name)));
  files.sort((a, b) => a.id - b.id);
  for (const [i, file] of files.entries()) {
    const before = files[i - 1];
    if (before?.id === file.id) throw invalid(directory, `${before.name} and ${file.name} have the same number`);
    if (file.id !== i + 1) throw invalid(directory, `number ${i + 1} is missing before ${file.name}`);
  }
  return files;
}

async function readMigration(directory: string, name: string): Promise<MigrationFile> {
  const match = namePattern.exec(name);
  if (!match) throw invalid(directory, `${name} is not named like 0001_create_cities.sql`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readFile(join(directory, name)));
  } catch (error) {
    throw invalid(directory, `${name} cannot be read as UTF-8 text (${(error as Error).message})`, error);
  }
  text = text.replaceAll("\r\n", "\n");
  const transaction = !noTransactionHeader.test(text);
  if (transaction) assertNoTransactionControl(name, text);
  return { id: Number(match[1]), name, text, checksum: createHash("sha256").update(text).digest("hex"), transaction };
}

function assertNoTransactionControl(name: string, text: string): void {
  const commands = text.replace(opaque, (part) => part.replace(/[^\n]/g, " "));
  const match = transactionControl.exec(commands);
  if (!match) return;
  const at = match.index + match[0].length - match[1]!.length;
  throw databaseErrors.create("MILLRACE_MIGRATION_TRANSACTION_CONTROL", { name, line: lineAt(text, at), command: match[1]! });
}

/** The line, from 1, of an index into `text`. */
const lineAt = (text: string, index: number): number => text.slice(0, index).split("\n").length;

/** The line of a position as PostgreSQL counts it: characters from 1, not UTF-16 units. */
export const lineAtPosition = (text: string, position: number): number =>
  [...text].slice(0, position - 1).filter((character) => character === "\n").length + 1;
