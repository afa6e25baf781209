// What must be known of a database to say what a statement reads: relations with their columns and keys, views, policies,
// functions that are not immutable. Read in one statement, and then a value that never changes: after DDL there is a new one.

import type { TableName } from "../feed.ts";
import { catalogueQuery } from "./catalogue-query.ts";
import { followableTypes } from "./canonical-value.ts";

export type Volatility = "i" | "s" | "v";

export interface Column {
  readonly name: string;
  readonly type: number;
  readonly notNull: boolean;
  /** Whether its values can be followed: of a type with one spelling, in the log (generated columns are not). */
  readonly followable: boolean;
}

/** A table, view or other relation that statements can name. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** As in pg_class: r table, p partitioned, v view, m materialised view, f foreign table, S sequence. */
  readonly kind: string;
  /** p permanent, u unlogged, t temporary. */
  readonly persistence: string;
  /** Under which name its changes are published: its own, or that of the topmost partitioned table. */
  readonly published: TableName;
  readonly columns: readonly Column[];
  /** The query of a view. */
  readonly definition: string | undefined;
  /** Whether row-level security is enabled, and whether it applies to the role that read the catalogue. */
  readonly rowSecurity: { readonly enabled: boolean; readonly active: boolean };
  /** The conditions under which policies show rows. */
  readonly policies: readonly string[];
  /** Tables whose rows are read along: partitions and inheritance children, at any depth. */
  readonly children: readonly Relation[];
  /** Columns that are unique by themselves. */
  readonly unique: ReadonlySet<string>;
  /** Foreign keys of one column, validated: for each value there is a row in `table` with it in `key`. */
  readonly references: readonly { readonly column: string; readonly table: number; readonly key: string }[];
  /** Tables that a DELETE or UPDATE here changes along, by foreign keys. */
  readonly cascades: readonly number[];
  /** Whether a user's trigger or rule runs when it is written. */
  readonly triggers: boolean;
}

export interface Catalogue {
  /** pg_current_snapshot() of the moment: DDL of transactions that it does not see is not reflected. */
  readonly snapshot: string;
  /** The relation that a name means to the session that read the catalogue; "temporary": some session has a temporary one of the name. */
  relation(schema: string | undefined, name: string): Relation | "system" | "temporary" | undefined;
  relationOf(oid: number): Relation | undefined;
  /** The worst volatility of all functions that a call by this name may mean; "s" of the system's own and of users' are told apart. */
  functionOf(schema: string | undefined, name: string): { readonly volatility: Volatility; readonly own: boolean };
  /** Whether a call by this name aggregates; undefined: it depends on the arguments. */
  aggregates(name: string): boolean | undefined;
  /** Whether a call by this name may return several rows. */
  returnsSet(name: string): boolean;
  /** The worst volatility of users' operators of that name; undefined: there are none. */
  operator(name: string): Volatility | undefined;
  /** Whether `=` between PostgreSQL's own types is PostgreSQL's own. */
  readonly plainEquality: boolean;
  /** Users' casts that run functions which are not immutable, by the types from and to which they lead. */
  readonly casts: readonly { readonly source: number; readonly target: number; readonly targetName: string }[];
  enumOf(schema: string | undefined, name: string): number | undefined;
  isEnum(type: number): boolean;
}

/** Anything that runs a statement as pg does. */
export interface CatalogueSource {
  query(text: string, values: unknown[]): Promise<{ readonly rows: unknown[] }>;
}

type Flag = boolean;
interface CatalogueRow {
  readonly snapshot: string;
  readonly path: readonly string[];
  readonly relations: readonly (readonly [
    oid: number,
    schema: string,
    name: string,
    kind: string,
    persistence: string,
    isPartition: Flag,
    rowSecurity: Flag,
    rowSecurityActive: Flag,
    definition: string | null,
    columns: readonly (readonly [name: string, type: number, notNull: Flag, generated: Flag, deterministic: Flag])[] | null,
  ])[];
  readonly children: readonly (readonly [child: number, parent: number])[];
  readonly unique: readonly (readonly [table: number, column: string])[];
  readonly foreignKeys: readonly (readonly [
    table: number,
    referenced: number,
    column: string | null,
    key: string | null,
    onDelete: Flag,
    onUpdate: Flag,
  ])[];
  readonly policies: readonly (readonly [table: number, condition: string])[];
  readonly triggers: readonly number[];
  readonly systemFunctions: readonly (readonly [name: string, volatility: Volatility])[];
  readonly functions: readonly (readonly [schema: string, name: string, volatility: Volatility])[];
  readonly aggregates: readonly (readonly [name: string, alsoPlain: Flag])[];
  readonly sets: readonly string[];
  readonly operators: readonly (readonly [name: string, volatility: Volatility, plain: Flag | null])[];
  readonly casts: readonly (readonly [source: number, target: number, targetName: string])[];
  readonly enums: readonly (readonly [oid: number, schema: string, name: string])[];
}

type Draft = { -readonly [Key in keyof Relation]: Relation[Key] } & {
  readonly children: Relation[];
  readonly unique: Set<string>;
  readonly references: { column: string; table: number; key: string }[];
  readonly cascades: number[];
  readonly policies: string[];
};

/** PostgreSQL's own schemas. */
const systemSchemas = new Set(["pg_catalog", "information_schema", "pg_toast"]);

/** Reads the catalogue with the rights, the role and the search_path of `source`. One statement, some milliseconds. */
export async function loadCatalogue(source: CatalogueSource): Promise<Catalogue> {
  const { rows } = await source.query(catalogueQuery, []);
  const row = rows[0] as { readonly catalogue: CatalogueRow | string };
  return catalogueOf(typeof row.catalogue === "string" ? (JSON.parse(row.catalogue) as CatalogueRow) : row.catalogue);
}

function relationsOf(row: CatalogueRow): ReadonlyMap<number, Draft> {
  const enums = new Set(row.enums.map(([oid]) => oid));
  const relations = new Map<number, Draft>();
  for (const [oid, schema, name, kind, persistence, , enabled, active, definition, columns] of row.relations) {
    relations.set(oid, {
      oid,
      schema,
      name,
      kind,
      persistence,
      published: { oid, schema, name },
      columns: (columns ?? []).map(([column, type, notNull, generated, deterministic]) => ({
        name: column,
        type,
        notNull,
        followable: !generated && deterministic && (followableTypes.has(type) || enums.has(type)),
      })),
      definition: definition ?? undefined,
      rowSecurity: { enabled, active },
      policies: [],
      children: [],
      unique: new Set(),
      references: [],
      cascades: [],
      triggers: false,
    });
  }
  for (const [table, column] of row.unique) relations.get(table)?.unique.add(column);
  for (const [table, condition] of row.policies) relations.get(table)?.policies.push(condition);
  for (const table of row.triggers) {
    const relation = relations.get(table);
    if (relation) relation.triggers = true;
  }
  for (const [table, referenced, column, key, onDelete, onUpdate] of row.foreignKeys) {
    if (column !== null && key !== null) relations.get(table)?.references.push({ column, table: referenced, key });
    if (onDelete || onUpdate) relations.get(referenced)?.cascades.push(table);
  }
  joinFamilies(row, relations);
  return relations;
}

/** Tells parents of all their descendants, and partitions of their topmost parent. */
function joinFamilies(row: CatalogueRow, relations: ReadonlyMap<number, Draft>): void {
  const parents = new Map<number, number[]>();
  for (const [child, parent] of row.children) parents.set(child, [...(parents.get(child) ?? []), parent]);
  const partitions = new Set(row.relations.filter(([, , , , , isPartition]) => isPartition).map(([oid]) => oid));
  for (const relation of relations.values()) {
    const above = new Set<number>();
    const climb = (oid: number): void => {
      for (const parent of parents.get(oid) ?? []) {
        if (above.has(parent)) continue;
        above.add(parent);
        climb(parent);
      }
    };
    climb(relation.oid);
    for (const oid of above) relations.get(oid)?.children.push(relation);
    let top = relation;
    while (partitions.has(top.oid)) {
      const parent = relations.get(parents.get(top.oid)?.[0] ?? 0);
      if (!parent) break;
      top = parent;
    }
    relation.published = { oid: top.oid, schema: top.schema, name: top.name };
  }
}

function catalogueOf(row: CatalogueRow): Catalogue {
  const relations = relationsOf(row);
  const byName = new Map<string, Relation>();
  const temporary = new Set<string>();
  for (const relation of relations.values()) {
    if (relation.persistence === "t") temporary.add(relation.name);
    else byName.set(`${relation.schema}\0${relation.name}`, relation);
  }
  const path = row.path.filter((schema) => !schema.startsWith("pg_temp"));
  const systemFunctions = new Map(row.systemFunctions);
  const ownFunctions = new Map(row.functions.map(([schema, name, volatility]) => [`${schema}\0${name}`, volatility]));
  const aggregates = new Map(row.aggregates);
  const sets = new Set(row.sets);
  const operators = new Map(row.operators.map(([name, volatility]) => [name, volatility]));
  const enums = new Map(row.enums.map(([oid, schema, name]) => [`${schema}\0${name}`, oid]));
  const enumOids = new Set(enums.values());
  const inPath = <Found>(schema: string | undefined, find: (schema: string) => Found | undefined): Found | undefined => {
    if (schema !== undefined) return find(schema);
    for (const each of path) {
      const found = find(each);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return Object.freeze<Catalogue>({
    snapshot: row.snapshot,
    relation(schema, name) {
      if (schema === undefined ? name.startsWith("pg_") : systemSchemas.has(schema)) return "system";
      if (schema === undefined ? temporary.has(name) : schema.startsWith("pg_temp")) return "temporary";
      return inPath(schema, (each) => byName.get(`${each}\0${name}`));
    },
    relationOf: (oid) => relations.get(oid),
    functionOf(schema, name) {
      // Overloads in every schema of the path are candidates; the arguments' types, which are not known here, decide.
      const schemas = schema === undefined ? path : [schema];
      const own = schemas.map((each) => ownFunctions.get(`${each}\0${name}`)).filter((each) => each !== undefined);
      const system = schema === undefined || systemSchemas.has(schema) ? systemFunctions.get(name) : undefined;
      const worst = own.includes("v") ? "v" : own.includes("s") ? "s" : undefined;
      if (worst !== undefined && system !== "v") return { volatility: worst, own: true };
      return { volatility: system ?? "i", own: false };
    },
    aggregates: (name) => (aggregates.get(name) === true ? undefined : aggregates.has(name)),
    returnsSet: (name) => sets.has(name),
    operator: (name) => operators.get(name),
    plainEquality: !row.operators.some(([name, , plain]) => name === "=" && plain === true),
    casts: row.casts.map(([source, target, targetName]) => ({ source, target, targetName })),
    enumOf: (schema, name) => inPath(schema, (each) => enums.get(`${each}\0${name}`)),
    isEnum: (type) => enumOids.has(type),
  });
}
