// Every way in which one file names another: static, dynamic, type and re-exports, require, workers and resolve.
// Used by the architecture test.

import { type Token, tokensOf } from "./tokens.ts";

export interface Import {
  /** As written; undefined when it is computed, so that nobody can tell what it loads. */
  readonly specifier: string | undefined;
  readonly typeOnly: boolean;
  readonly line: number;
}

export interface SourceFacts {
  readonly imports: readonly Import[];
  /** True when the file consists of `export … from` and nothing else. */
  readonly onlyReExports: boolean;
  /** Lines that read the environment. */
  readonly environmentLines: readonly number[];
}

/** What the architecture wants to know of one source text. */
export function factsOf(source: string): SourceFacts {
  const tokens = tokensOf(source);
  const imports: Import[] = [];
  const environmentLines: number[] = [];
  const requires = requireNames(tokens);
  const covered = new Set<number>();

  const is = (i: number, text: string, kind: Token["kind"] = "sign") => tokens[i]?.kind === kind && tokens[i].text === text;
  const isString = (i: number) =>
    tokens[i]?.kind === "string" || (tokens[i]?.kind === "template" && !tokens[i].text.includes("${"));

  /** `("name")` or `.resolve("name")` behind a require function. Resolving a computed name loads nothing. */
  const required = (at: number, line: number): void => {
    const resolves = is(at, ".") && is(at + 1, "resolve", "word");
    const open = resolves ? at + 2 : at;
    if (!is(open, "(")) return;
    if (isString(open + 1)) imports.push({ specifier: tokens[open + 1]!.text, typeOnly: false, line });
    else if (!resolves) imports.push({ specifier: undefined, typeOnly: false, line });
  };

  for (const [i, token] of tokens.entries()) {
    if (token.kind === "word" && isReference(tokens, i)) {
      if (token.text === "import" || token.text === "export") {
        const statement = token.text === "import" && is(i + 1, "(") ? undefined : fromClause(tokens, i);
        if (statement) {
          imports.push({ specifier: statement.specifier, typeOnly: statement.typeOnly, line: token.line });
          for (let covering = i; covering <= statement.end; covering++) covered.add(covering);
        } else if (token.text === "import" && is(i + 1, "(")) {
          const literal = isString(i + 2) && (is(i + 3, ")") || is(i + 3, ","));
          imports.push({
            specifier: literal ? tokens[i + 2]!.text : undefined,
            typeOnly: isTypePosition(tokens, i),
            line: token.line,
          });
        } else if (token.text === "import" && is(i + 1, ".") && is(i + 3, ".") && is(i + 4, "resolve", "word") && isString(i + 6)) {
          imports.push({ specifier: tokens[i + 6]!.text, typeOnly: false, line: token.line });
        }
      } else if (requires.has(token.text)) {
        required(i + 1, token.line);
      } else if (token.text === "createRequire" && is(i + 7, ")")) {
        required(i + 8, token.line);
      } else if (token.text === "URL" && is(i + 1, "(") && isString(i + 2) && is(i + 4, "import", "word")) {
        // new URL("./worker.ts", import.meta.url): a file of code that something else will load.
        const { text } = tokens[i + 2]!;
        if (/\.[cm]?[jt]s$/.test(text)) imports.push({ specifier: text, typeOnly: false, line: token.line });
      } else if (token.text === "process") {
        const dot = is(i + 1, "?") ? i + 2 : i + 1;
        if (
          (is(dot, ".") && is(dot + 1, "env", "word")) ||
          (is(dot, "[") && isString(dot + 1) && tokens[dot + 1]!.text === "env")
        ) {
          environmentLines.push(token.line);
        }
      }
    }
    // import { env } from "node:process", const { env } = process
    if (token.kind === "word" && token.text === "env" && (namedFromProcess(tokens, i) || destructuredFromProcess(tokens, i))) {
      environmentLines.push(token.line);
    }
  }
  const onlyReExports =
    tokens.length > 0 && tokens.every((token, i) => covered.has(i) || (token.kind === "sign" && token.text === ";"));
  const startsWithImport = tokens.some((token, i) => covered.has(i) && token.kind === "word" && token.text === "import");
  return { imports, onlyReExports: onlyReExports && !startsWithImport, environmentLines };
}

/** Whether the word stands for itself: not a property (`a.import`), a key (`import: 1`) or a method. */
function isReference(tokens: readonly Token[], i: number): boolean {
  const before = tokens[i - 1];
  const after = tokens[i + 1];
  const spread = before?.text === "." && tokens[i - 2]?.text === "." && tokens[i - 3]?.text === ".";
  if (before?.kind === "sign" && before.text === "." && !spread) return false;
  return !(after?.kind === "sign" && after.text === ":" && (before?.text === "{" || before?.text === ","));
}

/** The `from "…"` of the import or export at `i`, or the string of a bare import. */
function fromClause(tokens: readonly Token[], i: number): { specifier: string; typeOnly: boolean; end: number } | undefined {
  const first = tokens[i + 1];
  const isExport = tokens[i]!.text === "export";
  if (!isExport && first?.kind === "string") return { specifier: first.text, typeOnly: false, end: i + 1 };
  let at = i + 1;
  let typeOnly = false;
  if (
    tokens[at]?.text === "type" &&
    (tokens[at + 1]?.text === "{" || tokens[at + 1]?.text === "*" || (!isExport && tokens[at + 2]?.text === "from"))
  ) {
    typeOnly = true;
    at++;
  }
  if (isExport && tokens[at]?.text !== "{" && tokens[at]?.text !== "*") return undefined;
  let everyNameIsType = false;
  let inBraces = false;
  for (; at < tokens.length; at++) {
    const token = tokens[at]!;
    if (token.kind === "sign" && token.text === "{") {
      inBraces = true;
      everyNameIsType = tokens[at + 1]?.text !== "}" && tokens[at - 1]?.text !== ",";
    } else if (token.kind === "sign" && token.text === "}") {
      inBraces = false;
      if (isExport && tokens[at + 1]?.text !== "from") return undefined;
    } else if (inBraces && (tokens[at - 1]?.text === "{" || tokens[at - 1]?.text === ",") && token.text !== "type") {
      everyNameIsType = false;
    } else if (!inBraces && token.kind === "word" && token.text === "from" && tokens[at + 1]?.kind === "string") {
      let end = at + 1;
      if (tokens[end + 1]?.text === "with" && tokens[end + 2]?.text === "{") while (tokens[end]?.text !== "}") end++;
      return { specifier: tokens[at + 1]!.text, typeOnly: typeOnly || everyNameIsType, end };
    } else if (
      token.kind !== "word" &&
      token.kind !== "string" &&
      !(token.kind === "sign" && (token.text === "," || token.text === "*"))
    ) {
      return undefined;
    }
  }
  return undefined;
}

/** `let a: import("./b.ts").C`, `typeof import("…")`, `as import("…")`, `<import("…")>`. */
function isTypePosition(tokens: readonly Token[], i: number): boolean {
  const before = tokens[i - 1];
  return before !== undefined && [":", "<", "|", "typeof", "as", "extends", "satisfies"].includes(before.text);
}

function requireNames(tokens: readonly Token[]): ReadonlySet<string> {
  const names = new Set(["require"]);
  for (const [i, token] of tokens.entries()) {
    const bound = tokens[i - 1]?.text === "=" && tokens[i - 2]?.kind === "word";
    if (token.text === "createRequire" && bound && tokens[i + 7]?.text === ")" && !["(", "."].includes(tokens[i + 8]?.text ?? "")) {
      names.add(tokens[i - 2]!.text);
    }
  }
  return names;
}

function namedFromProcess(tokens: readonly Token[], i: number): boolean {
  let at = i;
  while (tokens[at] && tokens[at]!.text !== "}" && tokens[at]!.text !== ";") at++;
  return tokens[at + 1]?.text === "from" && /^(?:node:)?process$/.test(tokens[at + 2]?.text ?? "");
}

function destructuredFromProcess(tokens: readonly Token[], i: number): boolean {
  let at = i;
  while (tokens[at] && tokens[at]!.text !== "}" && tokens[at]!.text !== ";") at++;
  return (
    tokens[at]?.text === "}" && tokens[at + 1]?.text === "=" && tokens[at + 2]?.text === "process" && tokens[at + 3]?.text !== "."
  );
}
