// An oracle for dependencies: random queries over small data, each run before and after random writes. When the answer changes,
// what it was said to depend on must have been written, by a comparison of all rows before and after. See docs/dependencies.md.

import type pg from "pg";
import { type StatementPlans, createStatementPlans, loadCatalogue, namesOf } from "../../src/freshness/dependencies/index.ts";

/** Small values, so that rows meet: most conditions must be true of some rows and false of others. */
const oracleSchema = `
  create table o (id int primary key, x int, y int);
  create table p (id int primary key, o_id int not null references o on update cascade on delete cascade, x int, y int);
  create table c (id int primary key, p_id int references p on update cascade on delete set null, o_id int references o on delete cascade, x int);
  create table u (x int, y int);
  create view pv as select p.id, p.x, o.y as x2, p.o_id from p join o on o.id = p.o_id;
  create view cv as select c.p_id as id, count(*)::int as x from c group by c.p_id;
  insert into o select i, i % 3, i % 2 from generate_series(1, 4) i;
  insert into p select i, i % 4 + 1, i % 3, i % 2 from generate_series(1, 6) i;
  insert into c select i, nullif(i % 7, 0), nullif(i % 5, 0), i % 3 from generate_series(1, 9) i;
  insert into u select i % 4, nullif(i % 3, 0) from generate_series(1, 5) i;`;

const tables: Readonly<Record<string, readonly string[]>> = {
  o: ["id", "x", "y"],
  p: ["id", "o_id", "x", "y"],
  c: ["id", "p_id", "o_id", "x"],
  u: ["x", "y"],
  pv: ["id", "x", "x2", "o_id"],
  cv: ["id", "x"],
};
const written = ["o", "p", "c", "u"];

/** Uniform, the same for a seed on every machine (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Named {
  readonly name: string;
  readonly columns: readonly string[];
}

/** A query with its parameters. */
export interface OracleQuery {
  readonly text: string;
  readonly values: readonly unknown[];
}

class Grammar {
  readonly #random: () => number;
  readonly values: unknown[] = [];
  #aliases = 0;
  #tables: readonly Named[] = [];

  constructor(random: () => number) {
    this.#random = random;
  }

  #below = (n: number): number => Math.floor(this.#random() * n);
  #chance = (share: number): boolean => this.#random() < share;
  #one = <Each>(list: readonly Each[]): Each => list[this.#below(list.length)]!;

  #alias = (): string => `t${++this.#aliases}`;
  #parameter(value: unknown): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }
  #number = (): number => this.#below(6);
  #value(): string {
    const kind = this.#below(4);
    if (kind === 0) return String(this.#number());
    return kind === 1 ? this.#parameter(this.#chance(0.1) ? null : this.#number()) + "::int" : this.#parameter(this.#number());
  }
  #column(items: readonly Named[]): string {
    const item = this.#one(items);
    return `${item.name}.${this.#one(item.columns)}`;
  }
  /** What joins a child to its parent, when both are there. */
  #reference(items: readonly Named[], others: readonly Named[]): string | undefined {
    const pairs: string[] = [];
    for (const a of items) {
      for (const b of others) {
        if (a.name === b.name) continue;
        for (const column of ["o_id", "p_id"])
          if (a.columns.includes(column) && b.columns.includes("id")) pairs.push(`${a.name}.${column} = ${b.name}.id`);
      }
    }
    return pairs.length > 0 ? this.#one(pairs) : undefined;
  }

  #condition(items: readonly Named[], outer: readonly Named[], depth: number): string {
    const all = [...items, ...outer];
    const column = this.#column(items);
    switch (this.#below(depth > 0 ? 14 : 11)) {
      case 0:
      case 1:
      case 2:
        return this.#chance(0.5) ? `${column} = ${this.#value()}` : `${this.#value()} = ${column}`;
      case 3:
        return `${column} in (${this.#value()}, ${this.#value()})`;
      case 4:
        return `${column} = any(${this.#parameter([this.#number(), this.#number()])}::int[])`;
      case 5:
        return `${column} ${this.#one(["<", ">", "<>", "is not distinct from"])} ${this.#value()}`;
      case 6:
        return `${column} = ${this.#column(all)}`;
      case 7:
        return this.#reference(all, all) ?? `${column} is not null`;
      case 8:
        return `(${column} = ${this.#number()} or ${this.#column(all)} = ${this.#number()})`;
      case 9:
        return `not (${column} = ${this.#number()})`;
      case 10:
        return `(${column}, ${this.#column(all)}) = (${this.#number()}, ${this.#number()})`;
      case 11:
        return `${this.#chance(0.3) ? "not " : ""}exists (${this.#block(depth - 1, all).text})`;
      case 12:
        return `${column} ${this.#chance(0.2) ? "not in" : "in"} (${this.#block(depth - 1, all, 1).text})`;
      default:
        return `${column} = (${this.#scalar(all, depth - 1)})`;
    }
  }

  #conditions(items: readonly Named[], outer: readonly Named[], depth: number, most: number): string {
    return Array.from({ length: this.#below(most + 1) }, () => this.#condition(items, outer, depth)).join(" and ");
  }

  #item(depth: number, outer: readonly Named[], left: readonly Named[]): { readonly text: string; readonly item: Named } {
    const name = this.#alias();
    const kind = this.#below(depth > 0 ? 10 : 6);
    if (kind === 5) {
      return {
        text: `unnest(${this.#parameter([this.#number(), this.#number()])}::int[]) as ${name} (id)`,
        item: { name, columns: ["id"] },
      };
    }
    if (kind === 4 && this.#tables.length > 0) {
      const table = this.#one(this.#tables);
      return { text: `${table.name} as ${name}`, item: { name, columns: table.columns } };
    }
    if (kind >= 8) {
      const lateral = this.#chance(0.6) && left.length > 0;
      const block = this.#block(depth - 1, lateral ? [...left, ...outer] : outer);
      return { text: `${lateral ? "lateral " : ""}(${block.text}) as ${name}`, item: { name, columns: block.columns } };
    }
    const table = this.#one([...written, "o", "p", "c", "p", "c", "pv", "cv"]);
    return { text: `${table} as ${name}`, item: { name, columns: tables[table]! } };
  }

  #from(depth: number, outer: readonly Named[]): { readonly text: string; readonly items: readonly Named[] } {
    const first = this.#item(depth, outer, []);
    let text = first.text;
    const items = [first.item];
    for (let more = this.#below(3); more > 0; more--) {
      const kind = this.#one(["join", "join", "left join", "left join", "left join", "right join", "full join", "cross join", ","]);
      // RIGHT and FULL JOIN allow no LATERAL to their left; a comma ends a join's scope.
      const next = this.#item(depth, outer, kind === "right join" || kind === "full join" ? [] : items);
      const before = [...items];
      items.push(next.item);
      if (kind === "cross join" || kind === ",") {
        text = kind === "," ? `${text} cross join ${next.text}` : `${text} ${kind} ${next.text}`;
        continue;
      }
      const key = this.#reference([next.item], before) ?? this.#reference(before, [next.item]);
      const plain = `${this.#column([next.item])} = ${this.#column(before)}`;
      if (kind === "full join") text = `${text} full join ${next.text} on ${key ?? plain}`;
      else {
        const extra = this.#chance(0.4) ? this.#conditions(items, outer, 0, 2) : "";
        text = `${text} ${kind} ${next.text} on ${[this.#chance(0.8) ? (key ?? plain) : plain, extra].filter(Boolean).join(" and ")}`;
      }
    }
    return { text, items };
  }

  #scalar(outer: readonly Named[], depth: number): string {
    const from = this.#from(0, outer);
    const link = this.#reference(from.items, outer) ?? this.#reference(outer, from.items);
    const where = [this.#chance(0.85) ? link : undefined, this.#conditions(from.items, outer, Math.max(0, depth), 1)]
      .filter(Boolean)
      .join(" and ");
    const what = this.#one(["count(*)::int", `max(${this.#column(from.items)})`, `sum(${this.#column(from.items)})::int`]);
    return `select ${what} from ${from.text}${where ? ` where ${where}` : ""}`;
  }

  #block(depth: number, outer: readonly Named[], width?: number): { readonly text: string; readonly columns: readonly string[] } {
    const text = this.#select(depth, outer, width ?? 1 + this.#below(3));
    if (depth > 0 && this.#chance(0.1)) {
      const other = this.#select(depth - 1, outer, text.columns.length);
      return {
        text: `(${text.text}) ${this.#one(["union all", "union all", "union", "except", "intersect"])} (${other.text})`,
        columns: text.columns,
      };
    }
    return text;
  }

  #select(depth: number, outer: readonly Named[], width: number): { readonly text: string; readonly columns: readonly string[] } {
    const from = this.#from(depth, outer);
    const grouped = this.#chance(0.15);
    const key = this.#column(from.items);
    const keys = from.items.filter((item) => item.columns.includes("id"));
    const columns = Array.from({ length: width }, (_, i) => `c${i + 1}`);
    const outputs = columns.map((_, i) => {
      if (grouped) return i === 0 ? key : this.#one(["count(*)::int", `max(${this.#column(from.items)})`]);
      if (i === 0 && keys.length > 0 && this.#chance(0.7)) return `${this.#one(keys).name}.id`;
      if (depth > 0 && this.#chance(0.3)) return `(${this.#scalar([...from.items, ...outer], depth - 1)})`;
      if (this.#chance(0.04)) return `count(*) over (partition by ${this.#column(from.items)})::int`;
      return this.#column(from.items);
    });
    const where = this.#conditions(from.items, outer, depth, 2);
    let text = `select ${!grouped && this.#chance(0.08) ? "distinct " : ""}${outputs.map((each, i) => `${each} as ${columns[i]}`).join(", ")} from ${from.text}`;
    if (where) text += ` where ${where}`;
    if (grouped) {
      text += ` group by ${key}`;
      if (this.#chance(0.2)) text += ` having count(*) > ${this.#below(2)}`;
    }
    return { text, columns };
  }

  query(): string {
    this.values.length = 0;
    this.#tables = [];
    this.#aliases = 0;
    const wrap = this.#below(6);
    if (wrap === 0) {
      const base = this.#block(2, []);
      const q: Named = { name: "q", columns: base.columns };
      if (this.#chance(0.5)) {
        const where = this.#conditions([q], [], 0, 2);
        return `with q as not materialized (${base.text}) select * from (select q.*, q.c1::text as k from q${where ? ` where ${where}` : ""}) as z`;
      }
      this.#tables = [q];
      return `with q as (${base.text}) ${this.#block(1, []).text}`;
    }
    if (wrap === 1) return this.#limited();
    if (wrap === 2) {
      const where = this.#condition([{ name: "z", columns: ["id", "n"] }], [], 0);
      return `select z.id, z.n from (${this.#limited()}) as z where ${where}`;
    }
    return this.#block(2, []).text;
  }

  /** A list in an order without ties under a LIMIT, with what hangs on its rows. */
  #limited(): string {
    const list = this.#one(["o", "p", "c"]);
    const item: Named = { name: "s", columns: tables[list]! };
    const where = this.#conditions([item], [], 1, 2);
    const child = this.#one(list === "o" ? ["p", "c"] : ["c"]);
    const fk = list === "o" ? "o_id" : "p_id";
    const n = this.#one([
      `s.${this.#one(item.columns)}`,
      list === "c" ? "s.x" : `(select count(*) from ${child} k where k.${fk} = s.id)`,
    ]);
    const join =
      list === "c"
        ? " join o on o.id = s.o_id"
        : list === "p"
          ? this.#one([" join o on o.id = s.o_id", " left join o on o.id = s.o_id and o.y = 1"])
          : "";
    const extra = join ? ", json_build_object('id', o.id, 'x', o.x) as j" : "";
    const order = this.#chance(0.5) ? "s.x, s.id" : this.#chance(0.5) && join ? "o.x, s.id" : "n, s.id";
    return `select s.id, ${n} as n${extra} from ${list} s${join}${where ? ` where ${where}` : ""} order by ${order} limit ${1 + this.#below(3)}${this.#chance(0.3) ? " offset 1" : ""}`;
  }

  write(): string {
    const table = this.#one(written);
    const columns = tables[table]!;
    const value = (): string => (this.#chance(0.15) ? "null" : String(this.#number()));
    const where = this.#chance(0.9) ? ` where ${this.#one(columns)} = ${this.#number()}` : "";
    switch (this.#below(4)) {
      case 0:
        return `insert into ${table} values (${columns.map((each) => (each === "id" ? 1 + this.#below(12) : value())).join(", ")})`;
      case 1:
        return `delete from ${table}${where || ` where x = ${this.#number()}`}`;
      default:
        return `update ${table} set ${this.#one(columns)} = ${value()}${where}`;
    }
  }
}

type TableRows = Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;

const everyRow = `select json_build_object(${written.map((each) => `'${each}', (select coalesce(json_agg(r), '[]') from ${each} r)`).join(", ")}) as data`;

/** The names that a feed would touch, when it follows every column. */
function touched(before: TableRows, after: TableRows): Set<string> {
  const names = new Set<string>();
  for (const table of written) {
    const count = new Map<string, number>();
    for (const row of before[table]!) count.set(JSON.stringify(row), (count.get(JSON.stringify(row)) ?? 0) + 1);
    for (const row of after[table]!) count.set(JSON.stringify(row), (count.get(JSON.stringify(row)) ?? 0) - 1);
    for (const [text, more] of count) {
      if (more === 0) continue;
      names.add(`public.${table}`);
      for (const [column, value] of Object.entries(JSON.parse(text) as object))
        names.add(`public.${table}:${column}=${String(value)}`);
    }
  }
  return names;
}

/** What a run of the oracle saw. */
export interface OracleRun {
  readonly queries: number;
  /** Of them, with at least one dependency on rows. */
  readonly narrowed: number;
  /** How often an answer changed by a write. */
  readonly changes: number;
  /** How often an answer survived a write to one of its tables. */
  readonly survived: number;
  /** Changes that no dependency foretold. */
  readonly failures: readonly { readonly query: OracleQuery; readonly write: string; readonly dependencies: readonly string[] }[];
}

export interface OracleOptions {
  readonly seed: number;
  readonly queries: number;
  readonly writesPerQuery: number;
  /** Ends the run at the first failure. */
  readonly untilFailure?: boolean;
  readonly plans?: (plans: StatementPlans) => Promise<StatementPlans>;
}

/** Runs the oracle on an empty database. */
export async function runOracle(client: pg.Client, options: OracleOptions): Promise<OracleRun> {
  await client.query(oracleSchema);
  const catalogue = await loadCatalogue(client);
  const made = await createStatementPlans(catalogue);
  const plans = options.plans ? await options.plans(made) : made;
  const grammar = new Grammar(randomOf(options.seed));
  const failures: OracleRun["failures"][number][] = [];
  let [queries, narrowed, changes, survived] = [0, 0, 0, 0];
  const answer = async ({ text, values }: OracleQuery) => {
    const { rows, fields } = await client.query<unknown[]>({ text, values: [...values], rowMode: "array" });
    return { rows, fields, sorted: JSON.stringify(rows.map((row) => JSON.stringify(row)).toSorted()) };
  };
  await client.query("begin; set local client_min_messages = error");
  while (queries < options.queries) {
    const text = grammar.query();
    const query: OracleQuery = { text, values: [...grammar.values] };
    await client.query("savepoint query");
    let first: Awaited<ReturnType<typeof answer>>;
    try {
      first = await answer(query);
    } catch {
      // The grammar makes some that PostgreSQL refuses: a scalar sub-select of two rows, a cast of a join that it cannot do.
      await client.query("rollback to query");
      continue;
    }
    queries++;
    const plan = plans.planOf(text);
    if (!plan.read.cacheable) throw new Error(`The oracle's query is refused, ${plan.read.reason}: ${text}`);
    const dependencies = plan.dependencies({ values: query.values, rows: first.rows, fields: first.fields });
    const names = dependencies.flatMap((each) => namesOf(each, true));
    if (dependencies.some((each) => each.rows)) narrowed++;
    const { rows: before } = await client.query<{ data: TableRows }>(everyRow);
    for (let i = 0; i < options.writesPerQuery; i++) {
      const write = grammar.write();
      await client.query("savepoint write");
      try {
        await client.query(write);
        const { rows: after } = await client.query<{ data: TableRows }>(everyRow);
        const bumped = touched(before[0]!.data, after[0]!.data);
        const foretold = names.some((each) => bumped.has(each));
        const second = await answer(query);
        if (second.sorted !== first.sorted) {
          changes++;
          if (!foretold) failures.push({ query, write, dependencies: names });
        } else if (!foretold && dependencies.some((each) => bumped.has(`public.${each.table.name}`))) survived++;
      } catch {
        // A foreign key refuses the write, or the answer is an error now: nothing would be kept.
      }
      await client.query("rollback to write");
    }
    await client.query("rollback to query; release query");
    if (options.untilFailure && failures.length > 0) break;
  }
  await client.query("rollback");
  return { queries, narrowed, changes, survived, failures };
}
