import { createDatabase, sql } from "../src/database/index.ts";
await using db = await createDatabase({ url: "postgresql://postgres@127.0.0.1:5915/postgres" });
console.log(await db.page({ orderBy: ["score desc", "id"], limit: 2 }, sql`select id, score from big`));
