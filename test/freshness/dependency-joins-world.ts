// The oracle's world of joins: a few tables of small whole numbers, and queries that nest every kind of join, sub-select and LIMIT.

import { Dice, type OracleGrammar, type OracleQuery, type OracleWorld } from "./dependency-world.ts";

/** Small values, so that rows meet: most conditions must be true of some rows and false of others. */
const schema = `
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

interface Named {
  readonly name: string;
  readonly columns: readonly string[];
}

class Grammar implements OracleGrammar {
  readonly #dice: Dice;
  #values: unknown[] = [];
  #aliases = 0;
  #ordered = false;
  #tables: readonly Named[] = [];

  constructor(random: () => number) {
    this.#dice = new Dice(random);
  }

  #alias = (): string => `t${++this.#aliases}`;
  #parameter(value: unknown): string {
    this.#values.push(value);
    return `$${this.#values.length}`;
  }
  #number = (): number => this.#dice.below(6);
  #value(): string {
    const kind = this.#dice.below(4);
    if (kind === 0) return String(this.#number());
    return kind === 1 ? this.#parameter(this.#dice.chance(0.1) ? null : this.#number()) + "::int" : this.#parameter(this.#number());
  }
  #column(items: readonly Named[]): string {
    const item = this.#dice.one(items);
    return `${item.name}.${this.#dice.one(item.columns)}`;
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
    return pairs.length > 0 ? this.#dice.one(pairs) : undefined;
  }

  #condition(items: readonly Named[], outer: readonly Named[], depth: number): string {
    const all = [...items, ...outer];
    const column = this.#column(items);
    switch (this.#dice.below(depth > 0 ? 14 : 11)) {
      case 0:
      case 1:
      case 2:
        return this.#dice.chance(0.5) ? `${column} = ${this.#value()}` : `${this.#value()} = ${column}`;
      case 3:
        return `${column} in (${this.#value()}, ${this.#value()})`;
      case 4:
        return `${column} = any(${this.#parameter([this.#number(), this.#number()])}::int[])`;
      case 5:
        return `${column} ${this.#dice.one(["<", ">", "<>", "is not distinct from"])} ${this.#value()}`;
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
        return `${this.#dice.chance(0.3) ? "not " : ""}exists (${this.#block(depth - 1, all).text})`;
      case 12:
        return `${column} ${this.#dice.chance(0.2) ? "not in" : "in"} (${this.#block(depth - 1, all, 1).text})`;
      default:
        return `${column} = (${this.#scalar(all, depth - 1)})`;
    }
  }

  #conditions(items: readonly Named[], outer: readonly Named[], depth: number, most: number): string {
    return Array.from({ length: this.#dice.below(most + 1) }, () => this.#condition(items, outer, depth)).join(" and ");
  }

  #item(depth: number, outer: readonly Named[], left: readonly Named[]): { readonly text: string; readonly item: Named } {
    const name = this.#alias();
    const kind = this.#dice.below(depth > 0 ? 10 : 6);
    if (kind === 5) {
      return {
        text: `unnest(${this.#parameter([this.#number(), this.#number()])}::int[]) as ${name} (id)`,
        item: { name, columns: ["id"] },
      };
    }
    if (kind === 4 && this.#tables.length > 0) {
      const table = this.#dice.one(this.#tables);
      return { text: `${table.name} as ${name}`, item: { name, columns: table.columns } };
    }
    if (kind >= 8) {
      const lateral = this.#dice.chance(0.6) && left.length > 0;
      const block = this.#block(depth - 1, lateral ? [...left, ...outer] : outer);
      return { text: `${lateral ? "lateral " : ""}(${block.text}) as ${name}`, item: { name, columns: block.columns } };
    }
    const table = this.#dice.one([...written, "o", "p", "c", "p", "c", "pv", "cv"]);
    return { text: `${table} as ${name}`, item: { name, columns: tables[table]! } };
  }

  #from(depth: number, outer: readonly Named[]): { readonly text: string; readonly items: readonly Named[] } {
    const first = this.#item(depth, outer, []);
    let text = first.text;
    const items = [first.item];
    for (let more = this.#dice.below(3); more > 0; more--) {
      const kind = this.#dice.one([
        "join",
        "join",
        "left join",
        "left join",
        "left join",
        "right join",
        "full join",
        "cross join",
        ",",
      ]);
      // RIGHT and FULL JOIN allow no LATERAL to their left; a comma ends a join's scope.
      const next = this.#item(depth, outer, kind === "right join" || kind === "full join" ? [] : items);
      const before = [...items];
      items.push(next.item);
      if (kind === "cross join" || kind === ",") {
        text = kind === "," ? `${text} cross join ${next.text}` : `${text} ${kind} ${next.text}`;
        continue;
      }
      const key = this.#reference([next.item], before) ?? this.#reference(before, [next.item]);
      const plain = this.#dice.chance(kind === "full join" ? 0 : 0.15)
        ? `${this.#column([next.item])} in (${this.#number()}, ${this.#number()})`
        : `${this.#column([next.item])} = ${this.#column(before)}`;
      if (kind === "full join") text = `${text} full join ${next.text} on ${key ?? plain}`;
      else {
        const extra = this.#dice.chance(0.4) ? this.#conditions(items, outer, 0, 2) : "";
        text = `${text} ${kind} ${next.text} on ${[this.#dice.chance(0.8) ? (key ?? plain) : plain, extra].filter(Boolean).join(" and ")}`;
      }
    }
    return { text, items };
  }

  #scalar(outer: readonly Named[], depth: number): string {
    const from = this.#from(0, outer);
    const link = this.#reference(from.items, outer) ?? this.#reference(outer, from.items);
    const where = [this.#dice.chance(0.85) ? link : undefined, this.#conditions(from.items, outer, Math.max(0, depth), 1)]
      .filter(Boolean)
      .join(" and ");
    const what = this.#dice.one(["count(*)::int", `max(${this.#column(from.items)})`, `sum(${this.#column(from.items)})::int`]);
    return `select ${what} from ${from.text}${where ? ` where ${where}` : ""}`;
  }

  #block(depth: number, outer: readonly Named[], width?: number): { readonly text: string; readonly columns: readonly string[] } {
    const text = this.#select(depth, outer, width ?? 1 + this.#dice.below(3));
    if (depth > 0 && this.#dice.chance(0.1)) {
      const other = this.#select(depth - 1, outer, text.columns.length);
      return {
        text: `(${text.text}) ${this.#dice.one(["union all", "union all", "union", "except", "intersect"])} (${other.text})`,
        columns: text.columns,
      };
    }
    return text;
  }

  #select(depth: number, outer: readonly Named[], width: number): { readonly text: string; readonly columns: readonly string[] } {
    const from = this.#from(depth, outer);
    const grouped = this.#dice.chance(0.15);
    const keyed = this.#dice.chance(0.7);
    const key = this.#column(from.items);
    const keys = from.items.filter((item) => item.columns.includes("id"));
    const columns = Array.from({ length: width }, (_, i) => `c${i + 1}`);
    const outputs = columns.map((_, i) => {
      if (grouped) return i === 0 && keyed ? key : this.#dice.one(["count(*)::int", `max(${this.#column(from.items)})`]);
      if (i === 0 && keys.length > 0 && this.#dice.chance(0.7)) return `${this.#dice.one(keys).name}.id`;
      if (depth > 0 && this.#dice.chance(0.3)) return `(${this.#scalar([...from.items, ...outer], depth - 1)})`;
      if (this.#dice.chance(0.04)) return `count(*) over (partition by ${this.#column(from.items)})::int`;
      return this.#column(this.#dice.chance(0.15) ? [...from.items, ...outer] : from.items);
    });
    const where = this.#conditions(from.items, outer, depth, 2);
    let text = `select ${!grouped && this.#dice.chance(0.08) ? "distinct " : ""}${outputs.map((each, i) => `${each} as ${columns[i]}`).join(", ")} from ${from.text}`;
    if (where) text += ` where ${where}`;
    // Without a key: one row, whatever there is.
    if (grouped && keyed) {
      text += ` group by ${key}`;
      if (this.#dice.chance(0.2)) text += ` having count(*) > ${this.#dice.below(2)}`;
    }
    return { text, columns };
  }

  query(): OracleQuery {
    this.#values = [];
    const text = this.#text();
    return { text, values: this.#values, ordered: this.#ordered };
  }

  #text(): string {
    this.#ordered = false;
    this.#tables = [];
    this.#aliases = 0;
    const wrap = this.#dice.below(6);
    if (wrap === 0) {
      const base = this.#block(2, []);
      const q: Named = { name: "q", columns: base.columns };
      if (this.#dice.chance(0.5)) {
        const where = this.#conditions([q], [], 0, 2);
        return `with q as not materialized (${base.text}) select * from (select q.*, q.c1::text as k from q${where ? ` where ${where}` : ""}) as z`;
      }
      this.#tables = [q];
      return `with q as (${base.text}) ${this.#block(1, []).text}`;
    }
    if (wrap === 1) {
      this.#ordered = true;
      return this.#limited();
    }
    if (wrap === 2) {
      const where = this.#condition([{ name: "z", columns: ["id", "n"] }], [], 0);
      return `select z.id, z.n from (${this.#limited()}) as z where ${where}`;
    }
    return this.#block(2, []).text;
  }

  /** A list in an order without ties under a LIMIT, with what hangs on its rows. */
  #limited(): string {
    const list = this.#dice.one(["o", "p", "c"]);
    const item: Named = { name: "s", columns: tables[list]! };
    const where = this.#conditions([item], [], 1, 2);
    const child = this.#dice.one(list === "o" ? ["p", "c"] : ["c"]);
    const fk = list === "o" ? "o_id" : "p_id";
    const n = this.#dice.one([
      `s.${this.#dice.one(item.columns)}`,
      list === "c" ? "s.x" : `(select count(*) from ${child} k where k.${fk} = s.id)`,
    ]);
    const join =
      list === "c"
        ? " join o on o.id = s.o_id"
        : list === "p"
          ? this.#dice.one([" join o on o.id = s.o_id", " left join o on o.id = s.o_id and o.y = 1"])
          : "";
    const extra = join ? ", json_build_object('id', o.id, 'x', o.x) as j" : "";
    const order = this.#dice.chance(0.5) ? "s.x, s.id" : this.#dice.chance(0.5) && join ? "o.x, s.id" : "n, s.id";
    return `select s.id, ${n} as n${extra} from ${list} s${join}${where ? ` where ${where}` : ""} order by ${order} limit ${1 + this.#dice.below(3)}${this.#dice.chance(0.3) ? " offset 1" : ""}`;
  }

  write(read: readonly string[]): string {
    const table = this.#dice.one(this.#dice.chance(0.6) && read.length > 0 ? read : written);
    const columns = tables[table]!;
    const value = (): string => (this.#dice.chance(0.15) ? "null" : String(this.#number()));
    const where = this.#dice.chance(0.9) ? ` where ${this.#dice.one(columns)} = ${this.#number()}` : "";
    switch (this.#dice.below(4)) {
      case 0:
        return `insert into ${table} values (${columns.map((each) => (each === "id" ? 1 + this.#dice.below(12) : value())).join(", ")})`;
      case 1:
        return `delete from ${table}${where || ` where x = ${this.#number()}`}`;
      default:
        return `update ${table} set ${this.#dice.one(columns)} = ${value()}${where}`;
    }
  }
}

export const joinsWorld: OracleWorld = { schema, written, grammar: (random) => new Grammar(random) };
