// TypeScript cut into tokens, far enough to find imports with certainty: comments are gone, and nothing inside a string, a
// template or a regular expression is mistaken for code. Used by the architecture test.

export interface Token {
  readonly kind: "word" | "string" | "template" | "regex" | "number" | "sign";
  /** The text; of a string its value without quotes (escapes left as they are). */
  readonly text: string;
  readonly line: number;
}

/** Words behind which a slash begins a regular expression. */
const beforeRegex = new Set("return typeof case in of delete void throw new else do await yield instanceof default".split(" "));

const pattern = {
  space: /\s+/y,
  comment: /\/\/[^\n]*|\/\*[\s\S]*?\*\//y,
  string: /"((?:[^"\\\n]|\\[\s\S])*)"|'((?:[^'\\\n]|\\[\s\S])*)'/y,
  regex: /\/(?![*/])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y,
  word: /[#@]?[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy,
  number: /\d[\w.]*/y,
} as const;

/** Cuts `source` into tokens. The code inside `${…}` of a template comes out as tokens behind the template's own. */
export function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  let at = source.startsWith("#!") ? source.indexOf("\n") : 0;
  let line = 1;
  let linesCountedTo = 0;

  const take = (expression: RegExp): RegExpExecArray | undefined => {
    expression.lastIndex = at;
    const match = expression.exec(source);
    if (!match) return undefined;
    at += match[0].length;
    return match;
  };
  const push = (kind: Token["kind"], text: string, start: number): void => {
    for (; linesCountedTo < start; linesCountedTo++) if (source[linesCountedTo] === "\n") line++;
    tokens.push({ kind, text, line });
  };

  const regexMayFollow = (): boolean => {
    const last = tokens.at(-1);
    if (!last) return true;
    if (last.kind === "word") return beforeRegex.has(last.text);
    return last.kind === "sign" && last.text !== ")" && last.text !== "]";
  };

  /** Reads a template from behind its backtick. */
  const template = (): void => {
    const index = tokens.length;
    let text = "";
    push("template", "", at - 1);
    for (; at < source.length; at++) {
      const character = source[at]!;
      if (character === "`") break;
      if (character === "\\") text += character + source[++at];
      else if (character === "$" && source[at + 1] === "{") {
        at += 2;
        code("}");
        text += "${}";
        at--;
      } else text += character;
    }
    at++;
    tokens[index] = { ...tokens[index]!, text };
  };

  /** Reads code up to the sign that closes it, or to the end. */
  const code = (closing?: "}"): void => {
    let depth = 0;
    while (at < source.length) {
      const start = at;
      let match: RegExpExecArray | undefined;
      if (take(pattern.space) || take(pattern.comment)) {
        // Nothing to keep.
      } else if ((match = take(pattern.string))) push("string", match[1] ?? match[2]!, start);
      else if (source[at] === "/" && regexMayFollow() && (match = take(pattern.regex))) push("regex", match[0], start);
      else if ((match = take(pattern.word))) push("word", match[0], start);
      else if ((match = take(pattern.number))) push("number", match[0], start);
      else if (source[at] === "`") {
        at++;
        template();
      } else {
        const sign = source[at++]!;
        if (sign === "{") depth++;
        if (sign === "}" && depth-- === 0 && closing) return;
        push("sign", sign, start);
      }
    }
  };

  code();
  return tokens;
}
