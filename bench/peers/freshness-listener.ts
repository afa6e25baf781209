// One process of the freshness scenario: it keeps one answer per tenant and says when it would not serve one of them any more.

import { createCache } from "../../src/cache/index.ts";
import { createDatabase, sql } from "../../src/database/index.ts";
import { createFreshness } from "../../src/freshness/index.ts";

export interface ListenerOptions {
  readonly databaseUrl: string;
  readonly source: "logical" | "triggers";
  readonly tenants: number;
}

export type ToListener =
  /** Fill every tenant's answer until all are kept. */
  | { readonly kind: "fill" }
  /** Say when this tenant's answer is refused. */
  | { readonly kind: "watch"; readonly tenant: number }
  /** How many answers would be served now. */
  | { readonly kind: "count" };

export type FromListener =
  | { readonly kind: "ready" }
  | { readonly kind: "filled" }
  | { readonly kind: "watching" }
  /** At this moment of CLOCK_MONOTONIC, in ms. */
  | { readonly kind: "refused"; readonly atMs: number }
  | { readonly kind: "count"; readonly served: number };

const options = JSON.parse(process.argv[2]!) as ListenerOptions;
process.once("disconnect", () => process.exit());
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;
const say = (message: FromListener): void => void process.send!(message);

const database = await createDatabase({ url: options.databaseUrl, cursorSecret: "freshness freshness freshness freshness" });
const freshness = await createFreshness({ database, source: options.source, allowUnboundedSlot: true });
const cache = createCache({ ledger: freshness.ledger });
await freshness.ready();

const keyOf = (tenant: number): string => `tenant:${tenant}`;
const fill = (tenant: number) =>
  cache.read(keyOf(tenant), { ttl: "10m" }, () =>
    database.many(sql`select id, v from items where tenant_id = ${tenant} order by id desc limit 20`),
  );
const isServed = (tenant: number): boolean => cache.peek(keyOf(tenant)) !== undefined;

async function fillAll(): Promise<void> {
  for (let tenant = 0; tenant < options.tenants; tenant++) {
    while (!isServed(tenant)) {
      await fill(tenant);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function watch(tenant: number): void {
  say({ kind: "watching" });
  const look = (): void => {
    if (isServed(tenant)) setTimeout(look, 0.5);
    else say({ kind: "refused", atMs: nowMs() });
  };
  look();
}

process.on("message", (message: ToListener) => {
  if (message.kind === "fill") void fillAll().then(() => say({ kind: "filled" }));
  else if (message.kind === "watch") watch(message.tenant);
  else say({ kind: "count", served: Array.from({ length: options.tenants }, (_, i) => i).filter(isServed).length });
});
say({ kind: "ready" });
