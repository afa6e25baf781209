import pg from "pg";
import type { Sql } from "../src/database/sql.ts";
import { pageOf } from "../src/database/keyset/page.ts";
export const secret = Buffer.alloc(32, 7);
export function adapt(run: { query(q: object): Promise<pg.QueryResult> }, connect?: () => Promise<pg.PoolClient>): any {
  const q: any = {
    query: (s: Sql, o: any = {}) => { const { text, values } = s.render(); return run.query({ text, values, queryMode: "extended", ...o }); },
    many: async (s: Sql) => (await q.query(s)).rows,
    maybeOne: async (s: Sql) => (await q.query(s)).rows[0],
    one: async (s: Sql) => (await q.query(s)).rows[0],
    page: (r: any, s: Sql) => pageOf(q, r, s, secret),
    transaction: async (w: any) => { const c = await connect!(); try { await c.query("begin"); const r = await w(adapt(c as any)); await c.query("commit"); return r; } catch (e) { await c.query("rollback"); throw e; } finally { c.release(); } },
  };
  return q;
}
export function open(port: number) { const pool = new pg.Pool({ connectionString: `postgresql://postgres@127.0.0.1:${port}/postgres` }); return { pool, db: adapt(pool as any, () => pool.connect()) }; }
