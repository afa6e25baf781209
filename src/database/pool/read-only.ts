// Whether a statement certainly changes nothing, judged from its text without parsing SQL: everything doubtful counts as
// writing, which costs a connection of its own and nothing else. See docs/pipelining.md.
//
// Two defences make the judgement safe. Shared connections run with default_transaction_read_only, so that PostgreSQL itself
// refuses whatever writes to a table (the statement then moves to another connection). What a read-only transaction still
// allows (advisory locks, notifications, settings, sleeping) is only reachable through volatile functions, so a statement may
// call only functions that the server's own catalogue declares stable or immutable.
//
// What a text cannot show is not seen: a volatile function behind a view, an operator, a cast, a row policy or `row.function`.
// There only the first defence holds.

/**
 * Names of functions all of whose overloads change nothing, for readsOnly(). An aggregate is always declared immutable; what it
 * does is up to the functions that it is made of.
 */
export const readOnlyFunctionsQuery = `
  select p.proname
    from pg_catalog.pg_proc p
    left join pg_catalog.pg_aggregate a on a.aggfnoid = p.oid
    left join pg_catalog.pg_proc part
      on part.oid in (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
   group by p.proname
  having bool_and(p.provolatile <> 'v' and coalesce(part.provolatile <> 'v', true))`;

/**
 * Words that stand before a parenthesis and can never be a function's name there: reserved, or PostgreSQL's "cannot be function"
 * ones. Words such as `next`, `filter`, `rows` or `cross` are free for functions and so not among them.
 */
const notFunctions = wordSet(
  "all and any array as asc between both case cast coalesce current_time current_timestamp desc distinct else end except exists " +
    "extract for from greatest group grouping having in intersect lateral leading least limit localtime localtimestamp normalize not " +
    "nullif offset on only or order overlay position row select some substring then trailing trim union using values when where with " +
    "numeric decimal varchar char character bit time timestamp interval float",
);

/** Words that make a statement write, lock or change the session; `for update` and its kin are judged by `for`. */
const writingWords = wordSet(
  "insert update delete merge into call do copy lock notify listen unlisten set reset execute declare truncate nextval setval",
);

const lockStrengths = wordSet("update share no key");

function wordSet(words: string): ReadonlySet<string> {
  return new Set(words.split(" "));
}

/** One piece of text at a time, white space left out. Anything that none of these matches is unusual, and so not a read. */
const token =
  /[ \t\r\n\f\v]*(?:(?<word>[a-z_][a-z0-9_]*)|(?<quoted>"(?:[^"\0]|"")+")|(?<literal>'(?:[^'\\\0]|'')*')|(?<number>\d+(?:\.\d*)?(?:e[+-]?\d+)?|\$\d+)|(?<sign>[-+*/<>=~!@#%^&|`?:,.()[\]])|(?<end>;?[ \t\r\n\f\v]*$))/iy;

/**
 * True when `text` is one SELECT, VALUES, TABLE or WITH that calls no function but those in `functions`.
 * False for everything else, everything unusual included: comments, dollar quotes, escape strings, backslashes in strings,
 * quoted function names, letters beyond ASCII outside of quotes, several statements.
 */
export function readsOnly(text: string, functions: ReadonlySet<string>): boolean {
  // The last three tokens: words in lower case; a quoted name as `"`, a literal as `'`, a number as `0`, a sign as itself.
  let beforeLast = "";
  let last = "";
  let lastEnd = 0;
  let distinctOn = false;
  token.lastIndex = 0;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const { word, quoted, literal, number, sign } = match.groups!;
    if (match.groups!["end"] !== undefined) return last !== "";
    const at = token.lastIndex;
    const start = at - (word ?? quoted ?? literal ?? number ?? sign!).length;
    const name = word?.toLowerCase();
    if (last === "" && name !== "select" && name !== "with" && name !== "values" && name !== "table") return false;
    // Glued together they may be something else: e'…', U&"…", 1from, $1$a$; and two signs may begin a comment.
    if (!sign && start === lastEnd && /["'0&$]|^\w/.test(last) && !(last === "&" && (word || number))) return false;
    if (start === lastEnd && ((sign === "-" && last === "-") || (sign === "*" && last === "/"))) return false;
    if (name) {
      if (writingWords.has(name)) return false;
      if (last === "for" && lockStrengths.has(name)) return false;
      if (name === "uescape") return false;
      if (name === "on" && last === "distinct") distinctOn = true;
    }
    if (sign === "(") {
      if (last === '"' || last === "'" || last === "0") return false;
      if (/^\w/.test(last) && !mayStandBeforeParenthesis(last, beforeLast, text.slice(at, at + 40), distinctOn, functions)) {
        return false;
      }
    }
    beforeLast = last;
    last = name ?? (quoted ? '"' : literal ? "'" : number ? "0" : sign!);
    lastEnd = at;
  }
  return false;
}

function mayStandBeforeParenthesis(
  name: string,
  before: string,
  after: string,
  distinctOn: boolean,
  functions: ReadonlySet<string>,
): boolean {
  if (functions.has(name)) return true;
  if (before === ".") return false; // qualified, even a reserved word is a function's name
  if (notFunctions.has(name)) return true;
  switch (name) {
    case "by":
      return before === "group" || before === "order" || before === "partition";
    case "filter":
      return before === ")" && /^\s*where\b/i.test(after);
    case "over":
      // Behind `distinct on (…)` a select list begins, with a function that could have this name.
      return before === ")" && !distinctOn;
    case "join":
      return /^\s*select\b/i.test(after);
    case "materialized":
      return before === "as" || before === "not";
    case "varying":
      return before === "character" || before === "char" || before === "bit";
    default:
      // The columns of an alias or of a common table expression: `as t(a, b)`, `with t(a) as`, `with recursive t(a) as`.
      return before === "as" || before === "with" || before === "recursive";
  }
}
