// Which tables a statement may write: in doubt, all. See docs/dependencies.md.

import type { TableName } from "../feed.ts";
import { type Node, as, child, children, kindOf, names, qualified, textConstant, textOf, walk } from "./ast.ts";
import type { Catalogue, Relation } from "./catalogue.ts";
import type { WritePlan } from "./plan.ts";

/** Statements that change no row of a table. */
const harmless = new Set([
  "CheckPointStmt",
  "ClosePortalStmt",
  "ConstraintsSetStmt",
  "DeallocateStmt",
  "DiscardStmt",
  "FetchStmt",
  "ListenStmt",
  "LoadStmt",
  "LockStmt",
  "NotifyStmt",
  "TransactionStmt",
  "UnlistenStmt",
  "VacuumStmt",
  "VariableShowStmt",
]);

/** Settings that have no part in what a statement answers, and so may change while an answer is made. */
const harmlessSettings = new Set([
  "application_name",
  "client_min_messages",
  "deadlock_timeout",
  "effective_cache_size",
  "idle_in_transaction_session_timeout",
  "jit",
  "lock_timeout",
  "maintenance_work_mem",
  "random_page_cost",
  "statement_timeout",
  "synchronous_commit",
  "tcp_user_timeout",
  "temp_buffers",
  "transaction_isolation",
  "transaction_read_only",
  "transaction_deferrable",
  "transaction_timeout",
  "work_mem",
]);

/** Volatile functions of PostgreSQL's own that write no table's rows. */
const harmlessFunctions =
  /^(?:random|random_normal|setseed|gen_random_uuid|uuidv4|uuidv7|clock_timestamp|timeofday|nextval|currval|lastval|setval|pg_sleep\w*|pg_(?:try_)?advisory_\w+|pg_notify|pg_(?:cancel|terminate)_backend|pg_logical_emit_message|txid_current|pg_current_xact_id|pg_(?:total_)?relation_size|pg_table_size|pg_indexes_size|pg_database_size|pg_stat_\w+|pg_export_snapshot|set_config|pg_is_in_recovery|pg_current_wal_\w+|pg_last_\w+|pg_blocking_pids|pg_listening_channels|xpath\w*)$/;

/** Collects what statements write. */
class Writes {
  readonly #catalogue: Catalogue;
  readonly #tables = new Map<number, TableName>();
  #everything = false;
  session: string | undefined;

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue;
  }

  get plan(): WritePlan {
    return { writes: this.#everything ? "everything" : [...this.#tables.values()], session: this.session };
  }

  statement(statement: Node): void {
    const kind = kindOf(statement);
    const body = as(statement, kind);
    switch (kind) {
      case "SelectStmt":
      case "InsertStmt":
      case "UpdateStmt":
      case "DeleteStmt":
      case "MergeStmt":
      case "DeclareCursorStmt":
        this.#inside(statement);
        break;
      case "ExplainStmt":
        this.#inside(body);
        break;
      case "PrepareStmt":
        // EXECUTE says only its name.
        break;
      case "CopyStmt":
        this.#inside(body);
        if (body?.["is_from"] === true) this.#target(child(body, "relation"));
        break;
      case "TruncateStmt":
        for (const each of children(body, "relations"))
          this.#target(as(each, "RangeVar"), textOf(body, "behavior") === "DROP_CASCADE");
        break;
      case "VariableSetStmt":
        this.#setting(textOf(body, "name")?.toLowerCase() ?? "all settings");
        break;
      default:
        if (!harmless.has(kind)) this.#everything = true;
        if (kind === "DiscardStmt") this.session = "discards the session's settings";
        break;
    }
  }

  #setting(name: string): void {
    if (harmlessSettings.has(name) || name === "transaction" || name === "session characteristics") return;
    // SET TRANSACTION SNAPSHOT shows an older state, which is not what was sampled.
    this.session = `sets ${name} for the session`;
  }

  /** Everything that may stand in a query: data-modifying WITH queries, and functions that may write. */
  #inside(tree: unknown): void {
    walk(tree, (node) => {
      for (const kind of ["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]) {
        const write = as(node, kind);
        if (write) this.#target(child(write, "relation"));
      }
      if (child(as(node, "SelectStmt"), "intoClause")) this.#everything = true;
      const call = as(node, "FuncCall");
      if (call) this.#call(call);
      const range = as(node, "RangeVar") ?? undefined;
      if (range) this.#reads(range);
      for (const operator of names(children(as(node, "A_Expr"), "name"))) {
        if (this.#catalogue.operator(operator) === "v") this.#everything = true;
      }
    });
  }

  #call(call: Node): void {
    const { schema, name } = qualified(children(call, "funcname"));
    const { volatility, own } = this.#catalogue.functionOf(schema, name);
    if (name === "set_config" && !own) {
      const setting = textConstant(children(call, "args")[0])?.toLowerCase();
      if (setting === undefined || !harmlessSettings.has(setting)) this.session = `sets ${setting ?? "a setting"} for the session`;
    }
    if (volatility === "v" && (own || !harmlessFunctions.test(name))) this.#everything = true;
  }

  /** A view may call what writes. */
  #reads(range: Node): void {
    const found = this.#catalogue.relation(textOf(range, "schemaname"), textOf(range, "relname") ?? "");
    if (typeof found === "object" && found.kind === "v" && (found.definition === undefined || this.#viewWrites(found)))
      this.#everything = true;
  }

  #viewWrites({ definition = "" }: Relation): boolean {
    for (const [, name] of definition.matchAll(/([A-Za-z_]\w*|"(?:[^"]|"")+")\s*\(/g)) {
      const plain = name!.startsWith('"') ? name!.slice(1, -1).replaceAll('""', '"') : name!;
      const { volatility, own } = this.#catalogue.functionOf(undefined, plain);
      if (volatility === "v" && (own || !harmlessFunctions.test(plain))) return true;
    }
    return false;
  }

  #target(range: Node | undefined, truncates = false): void {
    const found = range && this.#catalogue.relation(textOf(range, "schemaname"), textOf(range, "relname") ?? "");
    if (found === "temporary") return;
    if (typeof found !== "object" || found.kind === "v" || found.kind === "f") this.#everything = true;
    else this.#write(found, truncates);
  }

  /** A table with its partitions and children, and what its foreign keys change along. */
  #write(relation: Relation, truncates: boolean): void {
    const queue: Relation[] = [relation];
    const seen = new Set<number>();
    for (let next = queue.pop(); next; next = queue.pop()) {
      if (seen.has(next.oid)) continue;
      seen.add(next.oid);
      if (next.triggers) this.#everything = true;
      this.#tables.set(next.published.oid, next.published);
      queue.push(...next.children);
      for (const oid of next.cascades) {
        const other = this.#catalogue.relationOf(oid);
        if (other) queue.push(other);
      }
    }
    // TRUNCATE … CASCADE goes along every foreign key, whatever it says.
    if (truncates) this.#everything = true;
  }
}

/** What the statements of one text may write. */
export function writePlan(statements: readonly Node[], catalogue: Catalogue): WritePlan {
  const writes = new Writes(catalogue);
  for (const each of statements) writes.statement(each);
  return writes.plan;
}
