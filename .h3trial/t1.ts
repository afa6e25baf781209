import { open } from "./adapter.ts";
import { sql } from "../src/database/sql.ts";
import { Sql } from "../src/database/sql.ts";
for (const port of [5915, 5918]) {
  const { pool, db } = open(port);
  const explain = { ...db, query: async (s: Sql, o: any) => { const r = s.render(); if (r.text.includes("limit 32")) {
      const c = await pool.connect();
      await c.query("set plan_cache_mode = force_generic_plan");
      await c.query("set jit=off");
      const lit = r.values.map((v: any) => c.escapeLiteral(String(v))).join(",");
      await c.query("deallocate all");
      await c.query(`prepare p as ${r.text}`);
      const e = (await c.query(`explain (analyze, buffers, costs off, timing off, summary off) execute p(${lit})`)).rows.map((x: any) => x["QUERY PLAN"]);
      const b = e.find((l: string) => /Buffers/.test(l)); const slow = e.filter((l: string) => /Seq Scan|Sort Method/.test(l));
      console.log(b.trim(), slow.join("|"), process.env.FULL ? "\n" + e.join("\n") : ""); c.release(); }
    return db.query(s, o); } };
  explain.many = async (s: Sql) => (await explain.query(s)).rows;
  explain.one = async (s: Sql) => (await explain.query(s)).rows[0];
  const { pageOf } = await import("../src/database/keyset/page.ts");
  const { secret } = await import("./adapter.ts");
  for (const orderBy of [["score desc","id desc"],["score desc","id"],["seen desc nulls last","id desc"],["seen desc","id desc"],["name","id"], ["id"]]) {
    console.log(port, orderBy.join());
    const where = orderBy[0] === "seen desc" ? sql`select * from big where city_id = ${5}` : sql`select * from big`;
    let p = await pageOf(explain, { orderBy, limit: 20 }, where, secret);
    p = await pageOf(explain, { orderBy, limit: 20, cursor: p.page.next! }, where, secret);
    p = await pageOf(explain, { orderBy, limit: 20, cursor: p.page.previous! }, where, secret);
    console.log(p.page.previous, Object.keys(p.data[0]!).join());
  }
  await pool.end();
}
