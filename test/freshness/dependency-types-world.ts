// The oracle's world of types and of table kinds: each value in several spellings, partitions, inheritance, row-level security,
// a tree; and what else a SELECT may be made of.

import { Dice, type OracleGrammar, type OracleQuery, type OracleWorld } from "./dependency-world.ts";

const schema = `
  create type mood as enum ('good', 'bad');
  create table k (id int primary key, t text, v varchar(10), u uuid, d date, b bool, n bigint, m mood, s smallint, c char(4), f numeric);
  create table e (id int, day int, t text, n bigint, primary key (id, day)) partition by list (day);
  create table e1 partition of e for values in (0, 1);
  create table e2 partition of e default partition by range (id);
  create table e21 partition of e2 for values from (minvalue) to (4);
  create table e22 partition of e2 default;
  create table base (id int primary key, t text, s smallint);
  create table derived (n bigint) inherits (base);
  create table deep () inherits (derived);
  create table g (id int primary key, t text, n bigint);
  create table a (t text, n bigint);
  create table tree (id int primary key, up int references tree on delete cascade, t text);
  create table pair (id int, day int, n bigint, foreign key (id, day) references e, unique (id, n));
  alter table g enable row level security;
  create policy seen on g for select using (n = 1 or exists (select from a where a.t = g.t and a.n = g.n));
  create policy locked on g as restrictive for select using (t is distinct from 'A');
  create view kv as select id, t as t2, n, d from k where b;
  create view ev with (security_barrier) as select e.id, e.day, k.t from e join k using (id);
  create function ints(a int) returns setof int immutable language sql as 'select generate_series(1, a)';
  insert into k select i, (array['a', 'A', '7', '007', 'a '])[i % 5 + 1], (array['a', 'b', ''])[i % 3 + 1],
    lpad(to_hex(i % 3 + 10), 32, 'a')::uuid, date '2024-01-04' + i % 3, i % 2 = 0, i % 4, (array['good', 'bad'])[i % 2 + 1]::mood, i % 3, 'a', i % 3
    from generate_series(1, 7) i;
  insert into e select i, i % 4, (array['a', '7', null])[i % 3 + 1], i % 3 from generate_series(1, 8) i;
  insert into base select i, (array['a', '7'])[i % 2 + 1], i % 3 from generate_series(1, 3) i;
  insert into derived select i, 'a', i % 3, i % 2 from generate_series(4, 6) i;
  insert into deep select i, '7', i % 3, i % 2 from generate_series(7, 8) i;
  insert into g select i, (array['a', '7', 'A'])[i % 3 + 1], i % 3 from generate_series(1, 6) i;
  insert into a select (array['a', '7'])[i % 2 + 1], i % 3 from generate_series(1, 3) i;
  insert into tree select i, nullif(i / 2, 0), (array['a', '7'])[i % 2 + 1] from generate_series(1, 7) i;
  insert into pair select i, i % 4, i % 3 from generate_series(1, 5) i;
  create role oracle_reader;
  grant select on all tables in schema public to oracle_reader;`;

type Kind = "int" | "text" | "uuid" | "date" | "bool" | "mood" | "char" | "numeric";

const kinds: Readonly<Record<string, Kind>> = {
  id: "int",
  day: "int",
  n: "int",
  s: "int",
  up: "int",
  t: "text",
  t2: "text",
  v: "text",
  u: "uuid",
  d: "date",
  b: "bool",
  m: "mood",
  c: "char",
  f: "numeric",
};

const tables: Readonly<Record<string, readonly string[]>> = {
  k: ["id", "t", "v", "u", "d", "b", "n", "m", "s", "c", "f"],
  e: ["id", "day", "t", "n"],
  e1: ["id", "day", "t", "n"],
  e21: ["id", "day", "t", "n"],
  base: ["id", "t", "s"],
  "only base": ["id", "t", "s"],
  derived: ["id", "t", "s", "n"],
  g: ["id", "t", "n"],
  tree: ["id", "up", "t"],
  pair: ["id", "day", "n"],
  kv: ["id", "t2", "n", "d"],
  ev: ["id", "day", "t"],
};

const written: Readonly<Record<string, readonly string[]>> = {
  k: tables["k"]!,
  e: tables["e"]!,
  base: tables["base"]!,
  derived: tables["derived"]!,
  deep: tables["derived"]!,
  g: tables["g"]!,
  a: ["t", "n"],
  tree: tables["tree"]!,
  pair: tables["pair"]!,
};

const anA = "a".repeat(31);
const dashed = (digits: string): string => digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

/** Spellings of the values that stand in the tables, as texts that PostgreSQL takes for them. */
const spellings: Readonly<Record<Kind, readonly string[]>> = {
  int: ["0", "1", "2", "3", "4", "5", "1", "2", "3", "007", " 2 ", "+3", "-1", "0x2", "9000000000"],
  text: ["a", "A", "7", "007", "a ", "", "a", "7"],
  uuid: ["a", "b", "c"].flatMap((last) => [
    dashed(anA + last),
    dashed(anA + last).toUpperCase(),
    `{${dashed(anA + last)}}`,
    anA + last,
  ]),
  date: ["2024-01-04", "2024-01-05", "2024-01-06", "2024-1-5", "20240105", "Jan 5 2024", "2024-01-05 12:00", " 2024-01-05"],
  bool: ["t", "f", "true", "FALSE", "yes", "off", "1", "0", "tr", " t "],
  mood: ["good", "bad"],
  char: ["a", "a   ", "7"],
  numeric: ["1", "1.0", "2", "1e0"],
};

/** Those that are common in the tables. */
const common: Readonly<Record<Kind, readonly string[]>> = {
  int: ["1", "2", "3", "1", "2", "4"],
  text: ["a", "7"],
  uuid: [dashed(`${anA}a`), dashed(`${anA}b`), dashed(`${anA}c`)],
  date: ["2024-01-04", "2024-01-05", "2024-01-06"],
  bool: ["t", "f"],
  mood: ["good", "bad"],
  char: ["a"],
  numeric: ["1", "2"],
};

const typeNames: Readonly<Record<Kind, readonly string[]>> = {
  int: ["int", "bigint", "smallint", "numeric", "int8"],
  text: ["text", "varchar", "varchar(1)", "char(2)", "pg_catalog.text"],
  uuid: ["uuid"],
  date: ["date", "timestamp", "timestamptz"],
  bool: ["bool", "boolean"],
  mood: ["mood"],
  char: ["char(4)", "text"],
  numeric: ["numeric", "int", "float8"],
};

interface Named {
  readonly name: string;
  readonly columns: readonly string[];
}

class Grammar implements OracleGrammar {
  readonly #dice: Dice;
  #values: unknown[] = [];
  #aliases = 0;

  constructor(random: () => number) {
    this.#dice = new Dice(random);
  }

  #parameter(value: unknown): string {
    // Now and then one that stands elsewhere already: its type is then that of the other place.
    if (this.#values.length > 0 && this.#dice.chance(0.12)) return `$${1 + this.#dice.below(this.#values.length)}`;
    this.#values.push(value);
    return `$${this.#values.length}`;
  }

  /** What a program would hand to pg for a spelling. */
  #given(kind: Kind, text: string): unknown {
    if (this.#dice.chance(0.06)) return null;
    if (this.#dice.chance(0.5)) return text;
    if (kind === "int" && /^-?\d+$/.test(text)) return this.#dice.chance(0.3) ? BigInt(text) : Number(text);
    if (kind === "text" && /^\d+$/.test(text)) return Number(text);
    if (kind === "bool" && /^[tf]$/.test(text)) return text === "t";
    if (kind === "date" && /^\d{4}-\d\d-\d\d$/.test(text)) return new Date(2024, 0, Number(text.slice(-2)), this.#dice.below(24));
    return text;
  }

  /** Mostly one that rows have: conditions must be true of some. */
  #text = (kind: Kind): string => this.#dice.one(this.#dice.chance(0.6) ? common[kind] : spellings[kind]);

  #value(kind: Kind): string {
    const text = this.#text(kind);
    const type = this.#dice.chance(0.6) ? typeNames[kind][0]! : this.#dice.one(typeNames[kind]);
    switch (this.#dice.below(6)) {
      case 0:
        return `'${text}'`;
      case 1:
        return `'${text}'::${type}`;
      case 2:
        return kind === "int" && /^\d+$/.test(text)
          ? text
          : kind === "bool" && text === "t"
            ? "true"
            : `cast('${text}' as ${type})`;
      case 3:
        return `${this.#parameter(this.#given(kind, text))}::${type}`;
      default:
        return this.#parameter(this.#given(kind, text));
    }
  }

  #column(items: readonly Named[], kind?: Kind): string | undefined {
    const all = items.flatMap(({ name, columns }) =>
      columns.filter((each) => kind === undefined || kinds[each] === kind).map((each) => `${name}.${each}`),
    );
    return all.length > 0 ? this.#dice.one(all) : undefined;
  }

  #equality(items: readonly Named[], outer: readonly Named[] = []): string {
    const column = this.#column(items)!;
    const kind = kinds[column.split(".")[1]!]!;
    const cast = this.#dice.chance(0.1) ? `${column}::${this.#dice.one(typeNames[kind])}` : column;
    switch (this.#dice.below(9)) {
      case 0:
        return `${cast} in (${[this.#value(kind), this.#value(kind)].join(", ")})`;
      case 1: {
        const texts = [this.#text(kind), this.#text(kind)];
        const array = this.#parameter(texts.map((each) => this.#given(kind, each)));
        return `${cast} = any(${array}${this.#dice.chance(0.7) ? `::${typeNames[kind][0]}[]` : ""})`;
      }
      case 2:
        return `${cast} = any(array[${this.#value(kind)}, ${this.#value(kind)}])`;
      case 3:
        return `(${cast} = ${this.#value(kind)} or ${this.#dice.chance(0.7) ? column : this.#column(items, kind)} = ${this.#value(kind)})`;
      case 4: {
        const other = this.#column([...items, ...outer], kind);
        return `${cast} = ${other}`;
      }
      case 5: {
        const other = this.#column([...items, ...outer])!;
        return `(${column}, ${other}) = (${this.#value(kind)}, ${this.#value(kinds[other.split(".")[1]!]!)})`;
      }
      default:
        return this.#dice.chance(0.5) ? `${cast} = ${this.#value(kind)}` : `${this.#value(kind)} = ${cast}`;
    }
  }

  #condition(items: readonly Named[], outer: readonly Named[], depth = 1): string {
    const column = this.#column(items)!;
    const kind = kinds[column.split(".")[1]!]!;
    switch (this.#dice.below(depth > 0 ? 14 : 10)) {
      case 0:
        return `${column} ${this.#dice.one(["<", ">=", "<>", "is distinct from", "is not distinct from"])} ${this.#value(kind)}`;
      case 1:
        return kind === "bool" ? column : `${column} is ${this.#dice.chance(0.3) ? "" : "not "}null`;
      case 2:
        return `not (${this.#equality(items, outer)})`;
      case 3:
        return `case when ${this.#equality(items, outer)} then ${this.#dice.one(["true", "false"])} else ${this.#equality(items, outer)} end`;
      case 10:
      case 11: {
        const inner = this.#table();
        return `${this.#dice.chance(0.3) ? "not " : ""}exists (select from ${inner.text} where ${this.#linked(inner, [...items, ...outer])})`;
      }
      case 12: {
        const inner = this.#table();
        const same = this.#column([inner], kind);
        return same === undefined
          ? "true"
          : `${column} ${this.#dice.chance(0.3) ? "not " : ""}in (select ${same} from ${inner.text} where ${this.#linked(inner, [...items, ...outer])})`;
      }
      case 13: {
        const inner = this.#table();
        return `${this.#dice.below(3)} <= (select count(*) from ${inner.text} where ${this.#linked(inner, [...items, ...outer])})`;
      }
      default:
        return this.#equality(items, outer);
    }
  }

  #linked = (inner: Named, outer: readonly Named[]): string =>
    this.#dice.chance(0.5)
      ? this.#equality([inner], outer)
      : `${inner.name}.id = ${this.#column(outer, "int") ?? "1"} and ${this.#condition([inner], outer, 0)}`;

  #where(items: readonly Named[], outer: readonly Named[] = []): string {
    const parts = this.#dice.chance(0.35) ? [this.#condition(items, outer)] : [];
    if (this.#dice.chance(0.65)) parts.push(this.#equality(items, outer));
    return parts.length > 0 ? ` where ${parts.join(" and ")}` : "";
  }

  #table(): Named & { readonly text: string } {
    const name = `t${++this.#aliases}`;
    const table = this.#dice.one(Object.keys(tables));
    return { name, text: `${table} ${name}`, columns: tables[table]! };
  }

  #from(): { readonly text: string; readonly items: readonly Named[]; readonly plain: boolean } {
    const first = this.#table();
    const kind = this.#dice.below(9);
    if (kind < 4) return { text: first.text, items: [first], plain: true };
    const type = this.#dice.one(["join", "join", "left join", "left join", "right join", "full join"]);
    const second = this.#table();
    const shared = first.columns.filter((each) => second.columns.includes(each));
    if (kind === 4 && shared.length > 0)
      return {
        text: `${first.text} ${type} ${second.text} using (${this.#dice.some(shared).join(", ")})`,
        items: [first, second],
        plain: false,
      };
    if (kind === 5) return { text: `${first.text} natural ${type} ${second.text}`, items: [first, second], plain: false };
    if (kind === 6) {
      const of = this.#dice.one(["int", "text", "uuid", "date"] as const);
      const column = { int: "id", text: "t", uuid: "u", date: "d" }[of];
      const name = `t${++this.#aliases}`;
      const typed = (): string => `${this.#parameter(this.#given(of, this.#dice.one(spellings[of])))}::${of}`;
      return {
        text: `(values (${typed()}), (${typed()})) as ${name} (${column}) ${this.#dice.one(["join", "left join"])} ${second.text} on ${this.#column([second], of) ?? "1"} = ${this.#column([second], of) === undefined ? "1" : `${name}.${column}`}`,
        items: [{ name, columns: [column] }, second],
        plain: true,
      };
    }
    const on = `${second.name}.id = ${this.#column([first], "int")}`;
    const extra = this.#dice.chance(0.5) ? ` and ${this.#equality([first, second])}` : "";
    if (type === "full join")
      return { text: `${first.text} full join ${second.text} on ${on}`, items: [first, second], plain: true };
    return { text: `${first.text} ${type} ${second.text} on ${on}${extra}`, items: [first, second], plain: true };
  }

  #cut(): string {
    const n = this.#dice.chance(0.7) ? String(1 + this.#dice.below(3)) : `${this.#parameter(1 + this.#dice.below(3))}::int`;
    const offset = this.#dice.chance(0.3) ? " offset 1" : "";
    return this.#dice.chance(0.3) ? `${offset} fetch first ${n.startsWith("$") ? `(${n})` : n} rows only` : ` limit ${n}${offset}`;
  }

  #list(): OracleQuery {
    const { text, items } = this.#from();
    const width = 1 + this.#dice.below(3);
    const outputs = Array.from({ length: width }, () => this.#column(items)!);
    const positions = outputs.map((_, i) => `${i + 1}${this.#dice.one(["", " desc", " desc nulls last", " nulls first"])}`);
    const distinct = this.#dice.chance(0.15);
    const on = !distinct && this.#dice.chance(0.12);
    const shuffled = positions.toSorted(() => (on ? 0 : this.#dice.below(2) - 0.5));
    const aliased = outputs.map((each, i) => `${each} as c${i}`).join(", ");
    const cut = this.#dice.chance(0.6) ? this.#cut() : "";
    return this.#made(
      `select ${distinct ? "distinct " : on ? "distinct on (c0) " : ""}${aliased} from ${text}${this.#where(items)} order by ${shuffled.join(", ")}${cut}`,
      // Rows that are equal in every column are the same row to the eye.
      true,
    );
  }

  #aggregate(): OracleQuery {
    const { text, items } = this.#from();
    const key = this.#column(items)!;
    const other = this.#column(items)!;
    const where = this.#where(items);
    switch (this.#dice.below(4)) {
      case 0:
        return this.#made(`select count(*)::int, max(${other}::text) from ${text}${where}`);
      case 1:
        return this.#made(`select ${key} as k, count(*)::int, min(${other}::text) from ${text}${where} group by ${key}`);
      case 2:
        return this.#made(
          `select ${key} as k, ${other} as o, count(*)::int from ${text}${where} group by ${this.#dice.one([`grouping sets ((${key}), (${other}), ())`, `rollup (${key}, ${other})`, `cube (${key}, ${other})`])}`,
        );
      default: {
        const name = `z`;
        const inner = `select ${key} as ${key.split(".")[1]}, count(*)::int as total from ${text}${where} group by ${this.#dice.chance(0.3) ? `grouping sets ((${key}), ())` : "1"}`;
        return this.#made(`select * from (${inner}) ${name} where ${this.#equality([{ name, columns: [key.split(".")[1]!] }])}`);
      }
    }
  }

  #window(): OracleQuery {
    const { text, items } = this.#from();
    const key = this.#column(items)!;
    const bare = key.split(".")[1]!;
    const over = this.#dice.one([`partition by ${key}`, `order by ${key}`, ""]);
    const call = this.#dice.one(["count(*)", "rank()", "dense_rank()", "max(count_me.x)"]).replace("max(count_me.x)", "count(*)");
    const inner = `select ${key} as ${bare}, ${call} over (${call.includes("rank") ? `order by ${key}` : over})::int as w from ${text}${this.#where(items)}`;
    return this.#made(`select * from (${inner}) z where ${this.#equality([{ name: "z", columns: [bare] }])}`);
  }

  #recursive(): OracleQuery {
    const start = this.#dice.chance(0.5) ? "tree.up is null" : this.#equality([{ name: "tree", columns: tables["tree"]! }]);
    const next = this.#dice.one(["tree.up = q.id", "tree.up = q.id", "tree.id = q.up"]);
    const extra = this.#dice.chance(0.3) ? ` and ${this.#equality([{ name: "tree", columns: ["id", "t"] }])}` : "";
    const end = this.#dice.chance(0.6)
      ? ` where ${this.#equality([{ name: "q", columns: ["id", "t"] }])}`
      : this.#dice.chance(0.3)
        ? " join k on k.id = q.id"
        : "";
    return this.#made(
      `with recursive q as (select tree.id, tree.up, tree.t from tree where ${start} union select tree.id, tree.up, tree.t from tree join q on ${next}${extra}) select q.* from q${end}`,
    );
  }

  #star(): OracleQuery {
    const { text, items } = this.#from();
    const inner = this.#dice.chance(0.5);
    if (inner && items.length === 1) {
      const name = "z";
      return this.#made(
        `select * from (select * from ${text}${this.#where(items)}) z where ${this.#equality([{ name, columns: items[0]!.columns }])}`,
      );
    }
    return this.#made(`select * from ${text}${this.#where(items)}`);
  }

  #made(text: string, ordered = false): OracleQuery {
    return { text, values: [...this.#values], ordered };
  }

  query(): OracleQuery {
    this.#values = [];
    this.#aliases = 0;
    switch (this.#dice.below(12)) {
      case 0:
      case 1:
      case 2:
        return this.#aggregate();
      case 3:
        return this.#window();
      case 4:
        return this.#recursive();
      case 5:
      case 6:
        return this.#star();
      default:
        return this.#list();
    }
  }

  write(read: readonly string[]): string {
    // What policies look at is not named by those who read.
    const near = read.flatMap((each) => (each === "g" ? ["g", "a"] : [each]));
    const table = this.#dice.one(this.#dice.chance(0.85) && near.length > 0 ? near : Object.keys(written));
    const columns = written[table]!;
    const plain = (column: string): string => {
      if (column === "id") return String(1 + this.#dice.below(14));
      if (this.#dice.chance(0.1)) return "null";
      const kind = kinds[column]!;
      return `'${this.#dice.one(this.#dice.chance(0.7) ? common[kind] : spellings[kind].filter((each) => each !== "9000000000"))}'`;
    };
    const column = this.#dice.one(columns.filter((each) => each !== "id" || this.#dice.chance(0.3)));
    const where = this.#dice.chance(0.6)
      ? ` where ${columns.includes("id") ? "id" : "n"} = ${1 + this.#dice.below(8)}`
      : ` where ${column} = ${plain(column)}`;
    switch (this.#dice.below(4)) {
      case 0:
        return `insert into ${table} (${columns.join(", ")}) values (${columns.map(plain).join(", ")})`;
      case 1:
        return `delete from ${table}${where}`;
      default:
        return `update ${table} set ${column} = ${plain(column)}${this.#dice.chance(0.8) ? where : ""}`;
    }
  }
}

export const typesWorld: OracleWorld = {
  schema,
  written: Object.keys(written),
  reader: "oracle_reader",
  grammar: (random) => new Grammar(random),
};
