import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type Sql, sql } from "./sql.ts";

const rendered = (statement: Sql<never> | Sql) => {
  const { text, values } = statement.render();
  return { text, values: [...values] };
};

suite("the sql tag", () => {
  test("makes a parameter of every value, in order", () => {
    assert.deepEqual(rendered(sql`select * from cities where country = ${"DE"} and population > ${1_000}`), {
      text: "select * from cities where country = $1 and population > $2",
      values: ["DE", 1_000],
    });
    assert.deepEqual(rendered(sql`select 1`), { text: "select 1", values: [] });
    assert.deepEqual(rendered(sql`${1}`), { text: "$1", values: [1] });
  });

  test("flattens fragments and numbers parameters as they appear", () => {
    const inner = sql`population > ${5}`;
    const statement = sql`select ${"a"} where ${inner} and (${sql`x = ${"b"} or ${inner}`}) limit ${10}`;
    assert.deepEqual(rendered(statement), {
      text: "select $1 where population > $2 and (x = $3 or population > $4) limit $5",
      values: ["a", 5, "b", 5, 10],
    });
  });

  test("passes on null, dates, buffers, arrays and objects as they are: the driver knows what to make of them", () => {
    const values = [null, new Date(0), Buffer.from("a"), [1, 2], { a: 1 }, false, 0, 5n, ""];
    const { values: passed } =
      sql`select ${values[0]}, ${values[1]}, ${values[2]}, ${values[3]}, ${values[4]}, ${values[5]}, ${values[6]}, ${values[7]}, ${values[8]}`.render();
    for (const [i, value] of values.entries()) assert.equal(passed[i], value);
  });

  test("gives one call site one text, the same string each time, so that it is prepared once", () => {
    const byId = (id: number) => sql`select * from cities where id = ${id}`.render();
    assert.equal(byId(1).text, byId(2).text);
    assert.deepEqual([byId(1).values, byId(2).values], [[1], [2]]);
  });

  test("renders the same statement the same way twice", () => {
    const statement = sql`select ${1} where ${sql`a = ${2}`}`;
    assert.deepEqual(rendered(statement), rendered(statement));
  });

  test("refuses undefined, which is a mistake, not NULL, and names its place", () => {
    const missing = undefined;
    const refused = { code: "MILLRACE_SQL_UNDEFINED", message: /Parameter 2 .*select 1.*Use null for NULL/s };
    assert.throws(() => sql`select 1 where a = ${1} and b = ${missing}`.render(), refused);
    assert.throws(() => sql`select ${sql`1 where a = ${1} and b = ${missing}`}`.render(), { code: "MILLRACE_SQL_UNDEFINED" });
    assert.throws(() => sql`select ${missing} ${sql`x`}`.render(), { code: "MILLRACE_SQL_UNDEFINED" });
  });

  test("refuses to be called with a string, so that no string becomes SQL", () => {
    const call = sql as unknown as (text: unknown) => Sql;
    for (const text of ["select 1", ["select 1"], undefined, null, { raw: ["select 1"] }]) {
      assert.throws(() => call(text), { code: "MILLRACE_SQL_NOT_A_TEMPLATE" });
    }
  });

  test("never shows a value in the text, whatever is in it", () => {
    const hostile = fc.oneof(
      fc.string({ unit: "binary", minLength: 1 }),
      fc.constantFrom("'; drop table cities; --", "$1", "$$", "\\", "' or '1'='1", '"', "/*", "\0", "${x}", "U&'\\0027'"),
    );
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 1, maxLength: 4 }), (values) => {
        const conditions = values.map((value) => sql`name = ${value}`);
        const statement = sql`select * from cities where ${sql.join(conditions, sql` or `)} or name in ${sql.list(values)} or doc = ${sql.json(values)}`;
        const { text, values: passed } = statement.render();
        const count = values.length;
        const expected =
          `select * from cities where ${values.map((_, i) => `name = $${i + 1}`).join(" or ")}` +
          ` or name in (${values.map((_, i) => `$${count + i + 1}`).join(", ")}) or doc = $${2 * count + 1}`;
        assert.equal(text, expected);
        assert.deepEqual(passed, [...values, ...values, JSON.stringify(values)]);
      }),
    );
  });

  test("numbers parameters in step with their values in any nesting of fragments", () => {
    const fragment: fc.Arbitrary<Sql> = fc.letrec<{ node: Sql }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.integer().map((value) => sql`v = ${value}`),
        fc.constant(sql.empty),
        fc.tuple(tie("node"), fc.string(), tie("node")).map(([a, value, b]) => sql`(${a} ${value} ${b})`),
        fc.array(tie("node"), { maxLength: 3 }).map((all) => sql.join(all)),
      ),
    })).node;
    fc.assert(
      fc.property(fragment, (statement) => {
        const { text, values } = statement.render();
        const marks = [...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number));
        assert.deepEqual(
          marks,
          Array.from(values, (_, i) => i + 1),
        );
        // Written another way, the same values stand in the same places.
        const seen: unknown[] = [];
        const other = statement.renderWith((value) => `$${seen.push(value)}`);
        assert.equal(other, text);
        assert.deepEqual(seen, [...values]);
      }),
    );
  });
});

test("a statement is put together from templates, never from strings", () => {
  // #region fragments
  const list = ({ country, name, sort }: { country?: string; name?: string; sort: "name" | "population" }) => {
    const conditions = [sql`population > ${1_000}`];
    if (country !== undefined) conditions.push(sql`country = ${country}`);
    if (name !== undefined) conditions.push(sql`name like ${`${name}%`}`);
    return sql`select id, name from cities where ${sql.join(conditions, sql` and `)} order by ${sql.identifier(sort)}`;
  };

  const { text, values } = list({ country: "DE", sort: "name" }).render();
  // text:   select id, name from cities where population > $1 and country = $2 order by "name"
  // values: [1000, "DE"]
  // #endregion
  assert.equal(text, 'select id, name from cities where population > $1 and country = $2 order by "name"');
  assert.deepEqual([...values], [1_000, "DE"]);
  assert.deepEqual([...list({ name: "O'B", sort: "population" }).render().values], [1_000, "O'B%"]);
});

suite("the pieces of the sql tag", () => {
  test("identifier quotes names, so that any name is only a name", () => {
    assert.equal(
      sql`select ${sql.identifier("name")} from ${sql.identifier("public", "cities")}`.render().text,
      'select "name" from "public"."cities"',
    );
    assert.equal(sql.identifier('a"; drop table cities; --').render().text, '"a""; drop table cities; --"');
    assert.throws(() => sql.identifier(""), { code: "MILLRACE_SQL_IDENTIFIER_INVALID" });
    assert.throws(() => sql.identifier("a", "b\0c"), { code: "MILLRACE_SQL_IDENTIFIER_INVALID" });
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1 }), (name) => {
        fc.pre(!name.includes("\0"));
        const { text, values } = sql.identifier(name).render();
        assert.match(text, /^"(?:[^"]|"")+"$/);
        assert.equal(text.slice(1, -1).replaceAll('""', '"'), name);
        assert.deepEqual([...values], []);
      }),
    );
  });

  test("join puts the separator between fragments, a comma by default, and joins none to nothing", () => {
    const columns = [sql`a`, sql`b = ${1}`, sql`c`];
    assert.deepEqual(rendered(sql.join(columns)), { text: "a, b = $1, c", values: [1] });
    assert.deepEqual(rendered(sql.join(columns, sql` and ${0} and `)), {
      text: "a and $1 and b = $2 and $3 and c",
      values: [0, 1, 0],
    });
    assert.deepEqual(rendered(sql.join([])), { text: "", values: [] });
  });

  test("list is a parenthesised list of parameters, and never an empty one, which PostgreSQL does not have", () => {
    assert.deepEqual(rendered(sql`id in ${sql.list([1, 2, 3])}`), { text: "id in ($1, $2, $3)", values: [1, 2, 3] });
    assert.deepEqual(rendered(sql.list([1])), { text: "($1)", values: [1] });
    assert.throws(() => sql.list([]), { code: "MILLRACE_SQL_EMPTY_LIST" });
  });

  test("json is one parameter, also of an array", () => {
    assert.deepEqual(rendered(sql`insert into t values (${sql.json([{ a: 1 }])})`), {
      text: "insert into t values ($1)",
      values: ['[{"a":1}]'],
    });
  });

  test("empty adds nothing", () => {
    const filter = (country?: string) => (country === undefined ? sql.empty : sql` where country = ${country}`);
    assert.deepEqual(rendered(sql`select 1${filter()}`), { text: "select 1", values: [] });
    assert.deepEqual(rendered(sql`select 1${filter("DE")}`), { text: "select 1 where country = $1", values: ["DE"] });
  });
});
