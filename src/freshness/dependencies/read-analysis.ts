// Follows a query from FROM to its result: which places read a table, what narrows each of them, where each column comes from,
// and which places decide what rows there are. Where it does not understand, it takes the coarser way. docs/dependencies.md.

import {
  type Node,
  as,
  child,
  children,
  integerConstant,
  kindOf,
  names,
  qualified,
  statementsOf,
  textConstant,
  textOf,
  walk,
} from "./ast.ts";
import { type ValueFamily, familyOf } from "./canonical-value.ts";
import type { Catalogue, Relation } from "./catalogue.ts";
import { columnName } from "./column-names.ts";
import { catalogueTypes, judgeCall, mayMeanNow } from "./functions.ts";
import { refuse } from "./refusal.ts";
import {
  type Col,
  type ColumnOrigin,
  type CommonTable,
  type CommonTables,
  type Item,
  type Marks,
  type Occurrence,
  type Origin,
  type Rows,
  type Scope,
  union,
} from "./shape.ts";

/** What the oracle's test breaks on purpose, to see itself catch it. */
export interface PlantedBugs {
  /** ON of a LEFT JOIN narrows the preserved side too. */
  readonly outerJoinsNarrowBothSides?: boolean;
  /** Conditions are applied below LIMIT. */
  readonly limitIsTransparent?: boolean;
  /** Rows of an inner join need not exist. */
  readonly joinsNeedNoPartner?: boolean;
}

/** Something in FROM while its block is put together. */
interface Source {
  readonly items: readonly Item[];
  readonly exists: Set<Occurrence>;
  readonly repeats: Set<Occurrence>;
  /** Places whose rows are not missing in any row of the source. */
  readonly solid: ReadonlySet<Occurrence>;
}

/** Both sides of an equality as they are known. */
interface Side {
  readonly col: Col;
  /** In whose columns it is, when that is of the block itself. */
  readonly item: Item | undefined;
  readonly origins: readonly Origin[] | undefined;
  /** It is a list: several of its values may be met. */
  readonly many?: boolean;
}

/** A statement that is made of more blocks than this, views and repeated WITH queries unfolded, is refused: analysis is not free. */
const maxBlocks = 300;

const none: ReadonlySet<Occurrence> = new Set();
const newMarks = (): Marks => ({ aggregate: false, window: false, set: false });
const systemColumns = new Set(["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"]);

const typeFamilies: Readonly<Record<string, ValueFamily>> = {
  bool: "boolean",
  bytea: "bytes",
  int2: "integer",
  int4: "integer",
  int8: "integer",
  oid: "oid",
  text: "text",
  varchar: "text",
  date: "date",
  uuid: "uuid",
};

export class ReadAnalysis {
  readonly occurrences: Occurrence[] = [];
  readonly #catalogue: Catalogue;
  readonly #bugs: PlantedBugs;
  /** Places of which an expression that decides about rows has used columns. */
  readonly #decided = new Set<Occurrence>();
  /** WITH queries and views that are being unfolded. */
  readonly #open: unknown[] = [];
  readonly #castTargets = new Set<string>();
  #blocks = 0;
  #ownCode = false;
  timeDependent = false;
  /** Something was not understood: no place is narrowed. */
  coarse = false;

  constructor(catalogue: Catalogue, bugs: PlantedBugs) {
    this.#catalogue = catalogue;
    this.#bugs = bugs;
  }

  /** The whole statement: the body of a SelectStmt. */
  statement(select: Node): Rows {
    const rows = this.#select(select, undefined, undefined);
    this.#judgeCasts();
    return rows;
  }

  /** Casts run by themselves wherever their types meet: only where neither type is near are they out of the question. */
  #judgeCasts(): void {
    for (const { source, target, targetName } of this.#catalogue.casts) {
      const near = this.occurrences.some(({ relation }) => relation.columns.some(({ type }) => type === source || type === target));
      if (near || this.#ownCode || this.#castTargets.has(targetName)) {
        refuse(`a cast to ${targetName} may run a function that is not IMMUTABLE`);
      }
    }
  }

  // ---- query blocks

  #select(select: Node, parent: Scope | undefined, outer: CommonTables | undefined): Rows {
    if (++this.#blocks > maxBlocks) refuse("has too many parts to be analysed");
    if (children(select, "lockingClause").length > 0) refuse("locks rows (FOR UPDATE or FOR SHARE)");
    if (child(select, "intoClause")) refuse("writes (SELECT INTO)");
    const tables = this.#withClause(child(select, "withClause"), parent, outer);
    const op = textOf(select, "op") ?? "SETOP_NONE";
    if (op !== "SETOP_NONE") return this.#setOperation(select, parent, tables, op);
    if (children(select, "valuesLists").length > 0) return this.#values(select, parent, tables);
    return this.#block(select, parent, tables);
  }

  #withClause(clause: Node | undefined, scope: Scope | undefined, outer: CommonTables | undefined): CommonTables | undefined {
    if (!clause) return outer;
    const recursive = clause["recursive"] === true;
    const byName = new Map<string, CommonTable>();
    // A later query sees the earlier ones; with RECURSIVE they see each other.
    let seen: CommonTables = { parent: outer, byName: recursive ? byName : new Map() };
    for (const each of children(clause, "ctes")) {
      const table = as(each, "CommonTableExpr");
      const query = as(child(table, "ctequery"), "SelectStmt");
      if (!query) refuse("writes in a WITH query");
      if (child(table, "search_clause") || child(table, "cycle_clause")) refuse("uses SEARCH or CYCLE, which are not understood");
      byName.set(textOf(table, "ctename") ?? "", {
        query,
        names: names(children(table, "aliascolnames")),
        scope,
        tables: seen,
        recursive,
      });
      if (!recursive) seen = { parent: outer, byName: new Map(byName) };
    }
    return seen;
  }

  #setOperation(select: Node, parent: Scope | undefined, tables: CommonTables | undefined, op: string): Rows {
    const left = this.#select(child(select, "larg") ?? {}, parent, tables);
    const right = this.#select(child(select, "rarg") ?? {}, parent, tables);
    const all = op === "SETOP_UNION" && select["all"] === true;
    const open = left.open || right.open || left.columns.length !== right.columns.length;
    const columns = left.columns.map((a, i): Col => {
      const b = right.columns[i];
      return {
        name: a.name,
        origins: !open && a.origins && b?.origins ? [...a.origins, ...b.origins] : undefined,
        pushable: !open && a.pushable && b?.pushable === true,
        depends: union(a.depends, b?.depends ?? []),
      };
    });
    const exists = union(left.exists, right.exists);
    const repeats = union(left.repeats, right.repeats);
    if (!all)
      for (const each of [left, right])
        for (const used of [each.repeats, ...each.columns.map((c) => c.depends)]) this.#addTo(exists, used);
    const item: Item = { name: undefined, columns, open, depends: union(...columns.map((c) => c.depends)) };
    const scope: Scope = { items: [item], parent, tables, marks: newMarks() };
    return this.#orderAndLimit(select, scope, { columns, open, exists, repeats: all ? repeats : new Set() });
  }

  #addTo(set: Set<Occurrence>, more: Iterable<Occurrence>): void {
    for (const each of more) set.add(each);
  }

  #values(select: Node, parent: Scope | undefined, tables: CommonTables | undefined): Rows {
    const scope: Scope = { items: [], parent, tables, marks: newMarks() };
    const lists = children(select, "valuesLists").map((list) => children(as(list, "List"), "items"));
    const depends = union(...lists.flat().map((each) => this.#expression(each, scope)));
    const columns = (lists[0] ?? []).map((_, i): Col => {
      const origins = lists.map((list) => this.#valueOrigins(list[i]));
      return {
        name: `column${i + 1}`,
        origins: origins.every((each) => each !== undefined) ? origins.flat() : undefined,
        pushable: false,
        depends,
      };
    });
    return this.#orderAndLimit(select, scope, { columns, open: false, exists: new Set(), repeats: new Set() });
  }

  /** ORDER BY and LIMIT of something whose columns are known. */
  #orderAndLimit(select: Node, scope: Scope, rows: Rows, more = none): Rows {
    const order = union(
      more,
      ...children(select, "sortClause").map((each) => this.#sortKey(child(as(each, "SortBy"), "node"), scope, rows.columns)),
    );
    const limit = child(select, "limitCount");
    const offset = child(select, "limitOffset");
    const cut = limit !== undefined || offset !== undefined;
    const exists = union(rows.exists, this.#expression(limit, scope), this.#expression(offset, scope), cut ? order : []);
    if (offset) this.#addTo(exists, rows.repeats);
    if (cut) this.#addTo(this.#decided, order);
    const columns = rows.columns.map((col) => ({
      ...col,
      pushable: col.pushable && (!cut || this.#bugs.limitIsTransparent === true),
      depends: union(col.depends, order),
    }));
    if (columns.length === 0) this.#addTo(exists, order);
    return { columns, open: rows.open, exists, repeats: offset ? new Set() : rows.repeats };
  }

  /** What a key of ORDER BY or GROUP BY depends on: a position, a column of the result, or an expression over FROM. */
  #sortKey(node: Node | undefined, scope: Scope, output: readonly Col[], inputFirst = false): ReadonlySet<Occurrence> {
    const position = integerConstant(node);
    if (position !== undefined) return output[position - 1]?.depends ?? union(...output.map((col) => col.depends));
    const fields = names(children(as(node, "ColumnRef"), "fields"));
    if (fields.length === 1) {
      if (inputFirst && scope.items.some((item) => item.columns.some((col) => col.name === fields[0])))
        return this.#expression(node, scope);
      const named = output.filter((col) => col.name === fields[0] || col.name === undefined);
      if (named.length > 0)
        return union(...named.map((col) => col.depends), this.#hasName(scope, fields[0]!) ? this.#expression(node, scope) : []);
    }
    return this.#expression(node, scope);
  }

  #hasName = (scope: Scope, name: string): boolean =>
    scope.items.some((item) => item.open || item.columns.some((col) => col.name === name));

  #block(select: Node, parent: Scope | undefined, tables: CommonTables | undefined): Rows {
    const marks = newMarks();
    const source = this.#fromClause(children(select, "fromClause"), parent, tables);
    const scope: Scope = { items: source.items, parent, tables, marks };
    const exists = union(source.exists);
    let repeats = source.repeats;
    this.#conditions(child(select, "whereClause"), scope, source, exists);

    marks.aggregate = marks.window = marks.set = false;
    let open = false;
    const columns: Col[] = [];
    /** Which columns are FROM's own, by which one. */
    const plain = new Map<Col, Col>();
    for (const each of children(select, "targetList")) {
      const target = as(each, "ResTarget");
      const value = child(target, "val");
      const fields = children(as(value, "ColumnRef"), "fields");
      if (kindOf(fields.at(-1)) === "A_Star") {
        const star = this.#star(names(fields).slice(0, -1), scope);
        if (!star) open = true;
        for (const col of star ?? []) {
          const copy = { ...col };
          plain.set(copy, col);
          columns.push(copy);
        }
        continue;
      }
      if (kindOf(value) === "A_Indirection") open ||= names(children(as(value, "A_Indirection"), "indirection")).includes("*");
      const col = { ...this.#output(value, scope), name: columnName(target) };
      const found = this.#columnOf(value, scope);
      if (found?.item) plain.set(col, found.col);
      columns.push(col);
    }
    if (open) for (const [i, col] of columns.entries()) columns[i] = { ...col, origins: undefined, pushable: false };

    const having = this.#expression(child(select, "havingClause"), scope);
    const sorts = children(select, "sortClause").map((each) => child(as(each, "SortBy"), "node"));
    // Aggregates may stand in ORDER BY alone.
    for (const each of sorts) this.#expression(each, scope, true);
    const windows = union(...children(select, "windowClause").map((each) => this.#expression(each, scope)));
    let result = columns;
    let sorted: ReadonlySet<Occurrence> = none;

    const groups = children(select, "groupClause");
    if (groups.length > 0 || marks.aggregate || child(select, "havingClause")) {
      const sets = groups.some((each) => kindOf(each) === "GroupingSet");
      const keys = union(
        ...groups.map((each) =>
          kindOf(each) === "GroupingSet" ? this.#expression(each, scope) : this.#sortKey(each, scope, columns, true),
        ),
      );
      const keyColumns = new Set(
        groups.map((each) => this.#groupColumn(each, scope, columns, plain)).filter((each) => each !== undefined),
      );
      const inside = union(exists, repeats);
      // Aggregates in ORDER BY depend on all rows, by whatever columns.
      if (sorts.some((each) => kindOf(each) !== "ColumnRef" && kindOf(each) !== "A_Const")) sorted = inside;
      result = columns.map((col) => {
        const from = plain.get(col);
        const kept = from !== undefined && !sets;
        const depends = from === undefined ? union(col.depends, inside) : col.depends;
        return {
          name: col.name,
          ...(!sets && col.fields && { fields: col.fields }),
          origins: kept ? col.origins : undefined,
          pushable: kept && col.pushable && keyColumns.has(from),
          depends,
        };
      });
      if (groups.length > 0) {
        this.#addTo(exists, union(keys, having, child(select, "havingClause") ? inside : []));
        this.#addTo(this.#decided, keys);
      } else {
        // One row, whatever there is.
        exists.clear();
        if (child(select, "havingClause")) this.#addTo(exists, union(inside, having));
      }
      repeats = new Set();
    }
    const used = union(...result.map((col) => col.depends), sorted);
    if (marks.window || windows.size > 0) {
      this.#addTo(exists, union(repeats, windows, used));
      result = result.map((col) => ({ ...col, pushable: false }));
      repeats = new Set();
    }
    if (marks.set) this.#addTo(exists, used);
    const distinct = children(select, "distinctClause");
    if (distinct.length > 0) {
      const on = distinct.some((each) => kindOf(each) !== "");
      const keys = union(
        ...sorts.map((each) => this.#sortKey(each, scope, result)),
        ...distinct.map((each) => (kindOf(each) === "" ? none : this.#sortKey(each, scope, result))),
      );
      this.#addTo(exists, union(repeats, used, keys));
      if (on) result = result.map((col) => ({ ...col, pushable: false }));
      repeats = new Set();
    }
    return this.#orderAndLimit(select, scope, { columns: result, open, exists, repeats }, sorted);
  }

  /** Which of FROM's columns a key of GROUP BY is. */
  #groupColumn(key: Node, scope: Scope, output: readonly Col[], plain: ReadonlyMap<Col, Col>): Col | undefined {
    const position = integerConstant(key);
    if (position !== undefined) return output[position - 1] && plain.get(output[position - 1]!);
    return this.#columnOf(key, scope)?.col;
  }

  /** The columns of `*` or `name.*`; undefined when they are not all known. */
  #star(qualifier: readonly string[], scope: Scope): readonly Col[] | undefined {
    const name = qualifier.at(-1);
    if (name === undefined) {
      if (scope.items.some((item) => item.open)) return undefined;
      const merged = scope.items.find((item) => item.merged);
      if (!merged) return scope.items.flatMap((item) => item.columns);
      return undefined;
    }
    for (let level: Scope | undefined = scope; level; level = level.parent) {
      const found = level.items.filter((item) => item.name === name);
      if (found.length > 0) {
        if (found.length > 1 || found[0]!.open) return undefined;
        return level === scope ? found[0]!.columns : found[0]!.columns.map((col) => ({ ...col, pushable: false }));
      }
    }
    return undefined;
  }

  // ---- FROM

  #fromClause(list: readonly Node[], parent: Scope | undefined, tables: CommonTables | undefined): Source {
    let all: Source = { items: [], exists: new Set(), repeats: new Set(), solid: new Set() };
    for (const each of list) {
      const next = this.#fromItem(each, parent, tables, all.items);
      all = {
        items: [...all.items, ...next.items],
        exists: union(all.exists, next.exists),
        repeats: union(all.repeats, next.repeats),
        solid: union(all.solid, next.solid),
      };
    }
    return all;
  }

  #fromItem(node: Node, parent: Scope | undefined, tables: CommonTables | undefined, left: readonly Item[]): Source {
    const kind = kindOf(node);
    const body = as(node, kind) ?? {};
    const lateral: Scope = { items: left, parent, tables, marks: newMarks() };
    const alias = child(body, "alias");
    switch (kind) {
      case "RangeVar":
        return this.#rangeVar(body, tables);
      case "RangeSubselect": {
        const query = as(child(body, "subquery"), "SelectStmt") ?? refuse("reads from something that is not understood");
        const rows = this.#select(query, body["lateral"] === true ? lateral : parent, tables);
        this.#decideBeside(left, union(rows.exists, rows.repeats));
        return this.#asSource(rows, alias, textOf(alias, "aliasname"));
      }
      case "RangeFunction":
        return this.#rangeFunction(body, lateral);
      case "JoinExpr":
        return this.#join(body, parent, tables, left);
      case "RangeTableFunc":
      case "JsonTable": {
        const depends = this.#expression(body, lateral);
        this.#decideBeside(left, depends);
        const item: Item = { name: textOf(alias, "aliasname"), columns: [], open: true, depends };
        return { items: [item], exists: union(depends), repeats: new Set(), solid: new Set() };
      }
      case "RangeTableSample":
        return refuse("reads a random sample (TABLESAMPLE)");
      default:
        return refuse(`reads from ${kind}, which is not understood`);
    }
  }

  /** What stands to the left decides about the rows of a LATERAL item. */
  #decideBeside(left: readonly Item[], used: ReadonlySet<Occurrence>): void {
    for (const each of used) if (left.some((item) => item.depends.has(each))) this.#decided.add(each);
  }

  #asSource(rows: Rows, alias: Node | undefined, name: string | undefined): Source {
    const renamed = names(children(alias, "colnames"));
    const columns = rows.columns.map((col, i) => (renamed[i] === undefined ? col : { ...col, name: renamed[i] }));
    const open = rows.open || columns.some((col) => col.name === undefined);
    const item: Item = { name, columns, open, depends: union(rows.exists, rows.repeats, ...columns.map((col) => col.depends)) };
    return { items: [item], exists: rows.exists, repeats: rows.repeats, solid: rows.exists };
  }

  #rangeVar(body: Node, tables: CommonTables | undefined): Source {
    const alias = child(body, "alias");
    const name = textOf(body, "relname") ?? "";
    const schema = textOf(body, "schemaname");
    const shown = textOf(alias, "aliasname") ?? name;
    if (textOf(body, "catalogname") !== undefined) refuse("names a table with its database");
    for (let level = schema === undefined ? tables : undefined; level; level = level.parent) {
      const table = level.byName.get(name);
      if (table) return this.#commonTable(table, alias, shown);
    }
    const relation = this.#catalogue.relation(schema, name);
    if (relation === "system") return refuse(`reads ${name}, a catalogue of PostgreSQL's own`);
    if (relation === "temporary") return refuse(`reads ${name}, which is a temporary table in some session`);
    if (relation === undefined) return refuse(`reads ${name}, which is not known`);
    if (relation.kind === "v") return this.#view(relation, alias, shown);
    return this.#table(relation, alias, shown, body["inh"] !== true);
  }

  #commonTable(table: CommonTable, alias: Node | undefined, shown: string): Source {
    if (this.#open.includes(table)) {
      const item: Item = { name: shown, columns: [], open: true, depends: new Set() };
      return { items: [item], exists: new Set(), repeats: new Set(), solid: new Set() };
    }
    this.#open.push(table);
    const first = this.occurrences.length;
    let rows = this.#select(table.query, table.scope, table.tables);
    this.#open.pop();
    // With RECURSIVE a query need not be recursive, but then nothing is lost but precision for those that are not set operations.
    if (table.recursive && (textOf(table.query, "op") ?? "SETOP_NONE") !== "SETOP_NONE") {
      const inside = union(this.occurrences.slice(first), rows.exists, rows.repeats, ...rows.columns.map((col) => col.depends));
      const columns = rows.columns.map((col) => ({ name: col.name, origins: undefined, pushable: false, depends: inside }));
      rows = { columns, open: rows.open, exists: inside, repeats: new Set() };
    }
    const columns = rows.columns.map((col, i) => (table.names[i] === undefined ? col : { ...col, name: table.names[i] }));
    return this.#asSource({ ...rows, columns }, alias, shown);
  }

  #view(view: Relation, alias: Node | undefined, shown: string): Source {
    if (view.definition === undefined) return refuse(`reads the view ${view.name}, whose query is not known`);
    if (this.#open.includes(view)) return refuse(`reads the view ${view.name}, which reads itself`);
    this.#open.push(view);
    const query = as(statementsOf(view.definition)[0], "SelectStmt");
    if (!query) return refuse(`reads the view ${view.name}, whose query is not understood`);
    const rows = this.#select(query, undefined, undefined);
    this.#open.pop();
    const columns = rows.columns.map((col, i) => ({ ...col, name: view.columns[i]?.name }));
    return this.#asSource({ ...rows, columns }, alias, shown);
  }

  #table(relation: Relation, alias: Node | undefined, shown: string, only: boolean): Source {
    for (const each of only && relation.kind !== "p" ? [relation] : [relation, ...relation.children]) this.#judgeTable(each);
    const occurrence: Occurrence = { relation, equalities: [], promises: [], presence: new Set(), only };
    this.occurrences.push(occurrence);
    const renamed = names(children(alias, "colnames"));
    const depends = new Set([occurrence]);
    const columns = relation.columns.map((column, i): Col => ({
      name: renamed[i] ?? column.name,
      origins: [{ kind: "column", occurrence, column }],
      pushable: true,
      depends,
    }));
    const item: Item = { name: shown, columns, open: false, depends, occurrence };
    const exists = new Set([occurrence]);
    // Inside of views the owner's policies count; there and for children, all that are enabled are taken to apply.
    const inView = this.#open.some((each) => each !== undefined && "definition" in (each as object));
    if (relation.rowSecurity.active || (inView && relation.rowSecurity.enabled)) {
      for (const policy of relation.policies) this.#addTo(exists, this.#policy(policy, { ...item, name: relation.name }, relation));
    }
    return { items: [item], exists, repeats: new Set(), solid: exists };
  }

  #judgeTable({ name, kind, persistence }: Relation): void {
    if (kind === "m") refuse(`reads the materialised view ${name}, whose refreshes are not in the log of changes`);
    if (kind === "f") refuse(`reads the foreign table ${name}, whose changes are not seen`);
    if (kind === "S") refuse(`reads the sequence ${name}`);
    if (persistence !== "p") refuse(`reads ${name}, whose changes are not in the log because it is unlogged or temporary`);
  }

  #policy(condition: string, item: Item, relation: Relation): ReadonlySet<Occurrence> {
    const select = as(statementsOf(`select 1 where ${condition}`)[0], "SelectStmt");
    if (!select) return refuse(`row-level security of ${relation.name} is not understood`);
    return this.#expression(child(select, "whereClause"), {
      items: [item],
      parent: undefined,
      tables: undefined,
      marks: newMarks(),
    });
  }

  #rangeFunction(body: Node, scope: Scope): Source {
    const alias = child(body, "alias");
    const functions = children(body, "functions").map((each) => children(as(each, "List"), "items")[0]);
    const depends = union(...functions.map((each) => this.#expression(each, scope)));
    this.#decideBeside(scope.items, depends);
    const name = textOf(alias, "aliasname");
    const renamed = names(children(alias, "colnames"));
    const call = functions.length === 1 ? as(functions[0], "FuncCall") : undefined;
    const { schema, name: called } = qualified(children(call, "funcname"));
    const given = children(call, "args");
    const columns: Col[] = [];
    let open = true;
    if (call && called === "unnest" && (schema === undefined || schema === "pg_catalog") && !this.#own(called)) {
      for (const [i, each] of given.entries()) {
        const single = given.length === 1 && renamed.length === 0 ? (name ?? called) : undefined;
        columns.push({ name: renamed[i] ?? single ?? called, origins: this.#arrayOrigins(each), pushable: false, depends });
      }
      open = body["ordinality"] === true;
    }
    for (const each of renamed.slice(columns.length)) columns.push({ name: each, origins: undefined, pushable: false, depends });
    const item: Item = { name: name ?? called, columns, open, depends };
    return { items: [item], exists: union(depends), repeats: new Set(), solid: new Set() };
  }

  #own = (name: string): boolean => this.#catalogue.functionOf(undefined, name).own;

  #join(body: Node, parent: Scope | undefined, tables: CommonTables | undefined, before: readonly Item[]): Source {
    const kind = textOf(body, "jointype") ?? "JOIN_INNER";
    const start = this.occurrences.length;
    const l = this.#fromItem(child(body, "larg") ?? {}, parent, tables, before);
    const first = this.occurrences.length;
    const r = this.#fromItem(child(body, "rarg") ?? {}, parent, tables, [...before, ...l.items]);
    const middle = this.occurrences.length;
    const items = [...l.items, ...r.items];
    const scope: Scope = { items, parent, tables, marks: newMarks() };
    const both: Source = {
      items,
      exists: union(l.exists, r.exists),
      repeats: union(l.repeats, r.repeats),
      solid: union(l.solid, r.solid),
    };
    let source: Source;
    if (kind === "JOIN_INNER") {
      const exists = union(both.exists);
      this.#conditions(child(body, "quals"), scope, both, exists);
      this.#using(body, l, r, items, exists);
      source = { ...both, exists };
    } else if (kind === "JOIN_LEFT" || kind === "JOIN_RIGHT") {
      const [kept, optional] = kind === "JOIN_LEFT" ? [l, r] : [r, l];
      const inside = kind === "JOIN_LEFT" ? this.occurrences.slice(first, middle) : this.occurrences.slice(start, first);
      source = this.#outerJoin(body, scope, kept, optional, inside, l, r, items);
    } else {
      if (kind !== "JOIN_FULL") this.coarse = true;
      const exists = union(both.exists, both.repeats, this.#expression(child(body, "quals"), scope));
      source = { items, exists, repeats: new Set(), solid: new Set() };
    }
    const merged = child(body, "join_using_alias") !== undefined || body["isNatural"] === true;
    if (merged) this.coarse = true;
    const using = names(children(body, "usingClause"));
    let shown: readonly Item[] = items;
    if (using.length > 0 || merged) {
      const side = kind === "JOIN_RIGHT" ? r : kind === "JOIN_FULL" ? undefined : l;
      const columns = using.map((name): Col => {
        const found = side && this.#named(side.items, name);
        return found
          ? { ...found.col }
          : { name, origins: undefined, pushable: false, depends: union(...items.map((item) => item.depends)) };
      });
      shown = [...items, { name: undefined, columns, open: merged, depends: none, merged: true }];
    }
    const alias = child(body, "alias");
    if (alias) {
      const columns = shown.flatMap((item) => item.columns);
      const item: Item = {
        name: textOf(alias, "aliasname"),
        columns,
        open: true,
        depends: union(...items.map((each) => each.depends)),
      };
      return { ...source, items: [children(alias, "colnames").length > 0 ? { ...item, columns: [] } : item] };
    }
    return { ...source, items: shown };
  }

  /** A column by its bare name among items, when there is exactly one. */
  #named(items: readonly Item[], name: string): { readonly col: Col; readonly item: Item } | undefined {
    const hiding = items.filter((item) => item.merged && item.columns.some((col) => col.name === name));
    const found = (hiding.length > 0 ? hiding : items).flatMap((item) =>
      item.columns.filter((col) => col.name === name).map((col) => ({ col, item })),
    );
    return found.length === 1 ? found[0] : undefined;
  }

  #using(body: Node, l: Source, r: Source, narrowed: readonly Item[], exists: Set<Occurrence> | undefined): void {
    for (const name of names(children(body, "usingClause"))) {
      const [a, b] = [this.#named(l.items, name), this.#named(r.items, name)];
      if (!a || !b) continue;
      this.#equate({ ...a, origins: a.col.origins }, { ...b, origins: b.col.origins }, narrowed);
      if (exists) this.#addTo(exists, union(a.col.depends, b.col.depends));
    }
  }

  #outerJoin(
    body: Node,
    scope: Scope,
    kept: Source,
    optional: Source,
    inside: readonly Occurrence[],
    l: Source,
    r: Source,
    items: readonly Item[],
  ): Source {
    const narrowed = this.#bugs.outerJoinsNarrowBothSides ? items : optional.items;
    const conditions = this.#conjuncts(child(body, "quals"));
    const on = new Set<Occurrence>();
    const table = optional.items.length === 1 ? optional.items[0]!.occurrence : undefined;
    let unique = false;
    let promised = conditions.length > 0;
    for (const condition of conditions) {
      const { depends, sides } = this.#condition(condition, scope, narrowed);
      this.#addTo(on, depends);
      let byKey = false;
      for (const [a, b] of sides) {
        const key = table && this.#keyOf(a, table);
        if (key && !b.many && !b.col.depends.has(table))
          unique ||= table.relation.unique.has(key.column.name) && !this.#inherited(table);
        if (key && this.#promise(key, b)) byKey = true;
      }
      promised &&= byKey;
    }
    this.#using(body, l, r, narrowed, on);
    const exists = union(kept.exists);
    const solid = kept.solid;
    // Each row has its one partner, by a foreign key: nothing appears or vanishes with it.
    if (table && promised && children(body, "usingClause").length === 0)
      return { items, exists, repeats: union(kept.repeats), solid };
    for (const each of union(optional.exists, on)) for (const other of inside) each.presence.add(other);
    const repeats = unique ? union(kept.repeats) : union(kept.repeats, optional.exists, optional.repeats, on);
    return { items, exists, repeats, solid };
  }

  // ---- conditions

  #conjuncts(node: Node | undefined): readonly Node[] {
    if (!node) return [];
    const and = as(node, "BoolExpr");
    return and && textOf(and, "boolop") === "AND_EXPR" ? children(and, "args").flatMap((each) => this.#conjuncts(each)) : [node];
  }

  /** Conditions of WHERE and inner joins: rows that do not meet them are not there. */
  #conditions(node: Node | undefined, scope: Scope, source: Source, exists: Set<Occurrence>): void {
    const promised = new Set<Occurrence>();
    for (const condition of this.#conjuncts(node)) {
      const { depends, sides } = this.#condition(condition, scope, scope.items);
      const decides = union(depends);
      for (const [a, b] of sides) {
        for (const occurrence of a.item?.occurrence ? [a.item.occurrence] : []) {
          const key = this.#keyOf(a, occurrence);
          const origin = key && source.solid.has(occurrence) ? this.#promise(key, b) : undefined;
          if (!origin || promised.has(origin.occurrence)) continue;
          promised.add(occurrence);
          decides.delete(occurrence);
          // Its reference is never NULL, and so never decides.
          if (origin.column.notNull && source.solid.has(origin.occurrence)) decides.delete(origin.occurrence);
        }
      }
      this.#addTo(this.#decided, decides);
      this.#addTo(exists, decides);
    }
    for (const each of promised) if (!this.#decided.has(each)) exists.delete(each);
    if (this.#bugs.joinsNeedNoPartner) for (const each of [...exists].slice(1)) exists.delete(each);
  }

  /** One condition: what it depends on, and the equalities that it consists of, both ways round. */
  #condition(
    node: Node,
    scope: Scope,
    narrowed: readonly Item[],
  ): { readonly depends: Set<Occurrence>; readonly sides: readonly (readonly [Side, Side])[] } {
    const membership = as(node, "SubLink");
    if (membership && textOf(membership, "subLinkType") === "ANY_SUBLINK") return this.#membership(membership, scope, narrowed);
    const depends = union(this.#expression(node, scope));
    const sides: (readonly [Side, Side])[] = [];
    for (const [left, right] of this.#equalities(node)) {
      const a = this.#side(left, scope);
      const b = right.length === 1 ? this.#side(right[0]!, scope) : this.#listSide(right);
      if (!a || !b) continue;
      this.#equate(a, b, narrowed);
      sides.push([a, b], [b, a]);
    }
    return { depends, sides };
  }

  /** `a in (select b …)`, `a = any (select b …)`. */
  #membership(
    link: Node,
    scope: Scope,
    narrowed: readonly Item[],
  ): { readonly depends: Set<Occurrence>; readonly sides: readonly [] } {
    const query = as(child(link, "subselect"), "SelectStmt") ?? refuse("has a condition that is not understood");
    const rows = this.#select(query, scope, scope.tables);
    const tested = child(link, "testexpr");
    const depends = union(this.#expression(tested, scope), rows.exists, rows.repeats, ...rows.columns.map((col) => col.depends));
    const operator = names(children(link, "operName"));
    this.#operator(operator.at(-1) ?? "=");
    const [col] = rows.columns;
    const side = tested && this.#side(tested, scope);
    if (side && col && rows.columns.length === 1 && this.#isEquality(children(link, "operName"), true)) {
      const item: Item = { name: undefined, columns: rows.columns, open: false, depends: none };
      this.#equate(side, { col, item, origins: col.origins }, [...narrowed, item]);
    }
    return { depends, sides: [] };
  }

  #isEquality(name: readonly Node[], emptyToo = false): boolean {
    if (!this.#catalogue.plainEquality) return false;
    if (name.length === 0) return emptyToo;
    const { schema, name: operator } = qualified(name);
    return operator === "=" && (schema === undefined || schema === "pg_catalog");
  }

  /** The equalities that a condition is: one side, and the alternatives on the other. */
  #equalities(node: Node): readonly (readonly [Node, readonly Node[]])[] {
    const expression = as(node, "A_Expr");
    if (!expression || !this.#isEquality(children(expression, "name"))) return [];
    const [left, right] = [child(expression, "lexpr"), child(expression, "rexpr")];
    if (!left || !right) return [];
    switch (textOf(expression, "kind")) {
      case "AEXPR_OP": {
        const [a, b] = [children(as(left, "RowExpr"), "args"), children(as(right, "RowExpr"), "args")];
        if (a.length > 0 && a.length === b.length) return a.map((each, i) => [each, [b[i]!]]);
        return [[left, [right]]];
      }
      case "AEXPR_IN": {
        const items = children(as(right, "List"), "items");
        return items.length > 0 ? [[left, items]] : [];
      }
      case "AEXPR_OP_ANY":
        return [[left, [{ Elements: { of: right } }]]];
      default:
        return [];
    }
  }

  #listSide(nodes: readonly Node[]): Side | undefined {
    const origins = nodes.map((each) => this.#valueOrigins(each));
    if (!origins.every((each) => each !== undefined)) return undefined;
    return {
      col: { name: undefined, origins: undefined, pushable: false, depends: none },
      many: true,
      item: undefined,
      origins: origins.flat(),
    };
  }

  #side(node: Node, scope: Scope): Side | undefined {
    const elements = as(node, "Elements");
    const origins = elements ? this.#arrayOrigins(child(elements, "of")) : this.#valueOrigins(node);
    if (origins) {
      return {
        col: { name: undefined, origins, pushable: false, depends: none },
        item: undefined,
        origins,
        many: elements !== undefined,
      };
    }
    const found = this.#columnOf(node, scope);
    return found && { ...found, origins: found.col.origins };
  }

  /** A column, perhaps under a cast that keeps its value. */
  #columnOf(node: Node | undefined, scope: Scope): { readonly col: Col; readonly item: Item | undefined } | undefined {
    const cast = as(node, "TypeCast");
    if (cast) {
      const family = this.#familyOf(child(cast, "typeName"));
      const inner = this.#columnOf(child(cast, "arg"), scope);
      const same = family !== undefined && inner?.col.origins?.every((each) => this.#originFamily(each) === family);
      return same ? inner : undefined;
    }
    const ref = as(node, "ColumnRef");
    return ref && this.#lookUp(children(ref, "fields"), scope);
  }

  #originFamily = (origin: Origin): ValueFamily | undefined =>
    origin.kind === "column" ? (origin.column.followable ? familyOf(origin.column.type) : undefined) : origin.family;

  /** `a = b` where rows of `narrowed` matter only if it is true. */
  #equate(a: Side, b: Side, narrowed: readonly Item[]): void {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!one.item || !narrowed.includes(one.item) || !one.col.pushable || !one.col.origins || !other.origins) continue;
      for (const origin of one.col.origins) {
        if (origin.kind !== "column") continue;
        const family = this.#originFamily(origin);
        const exact = other.origins.every((each) => {
          const their = this.#originFamily(each);
          return their === family || (their === undefined && each.kind !== "column");
        });
        if (family !== undefined && exact) origin.occurrence.equalities.push({ column: origin.column, origins: other.origins });
      }
    }
  }

  /** The side as a column of a table itself. */
  #keyOf(side: Side, occurrence: Occurrence): ColumnOrigin | undefined {
    if (side.item?.occurrence !== occurrence) return undefined;
    const [origin] = side.col.origins ?? [];
    return origin?.kind === "column" && origin.occurrence === occurrence ? origin : undefined;
  }

  #inherited = ({ relation, only }: Occurrence): boolean => relation.kind !== "p" && relation.children.length > 0 && !only;

  /** Whether a foreign key promises a row of `key`'s table for each value of the other side. */
  #promise(key: ColumnOrigin, other: Side): ColumnOrigin | undefined {
    const origin = other.origins?.length === 1 ? other.origins[0]! : undefined;
    if (origin?.kind !== "column" || origin.occurrence === key.occurrence) return undefined;
    const { relation } = key.occurrence;
    if (relation.rowSecurity.enabled || this.#inherited(key.occurrence) || this.#inherited(origin.occurrence)) return undefined;
    const holds = origin.occurrence.relation.references.some(
      (each) => each.column === origin.column.name && each.table === relation.oid && each.key === key.column.name,
    );
    if (!holds || !relation.unique.has(key.column.name)) return undefined;
    key.occurrence.promises.push({ column: key.column, origin });
    return origin;
  }

  // ---- values

  #familyOf(typeName: Node | undefined): ValueFamily | undefined {
    if (!typeName || children(typeName, "typmods").length > 0 || children(typeName, "arrayBounds").length > 0 || typeName["setof"])
      return undefined;
    const { schema, name } = qualified(children(typeName, "names"));
    if (schema === undefined || schema === "pg_catalog") {
      const family = typeFamilies[name];
      if (family) return family;
    }
    const own = this.#catalogue.enumOf(schema, name);
    return own === undefined ? undefined : familyOf(own);
  }

  /** A parameter or a constant, perhaps under one cast to a type that is compared by spelling. */
  #valueOrigins(node: Node | undefined): readonly Origin[] | undefined {
    const cast = as(node, "TypeCast");
    const family = cast && this.#familyOf(child(cast, "typeName"));
    if (cast && family === undefined) return undefined;
    const inner = cast ? child(cast, "arg") : node;
    const parameter = as(inner, "ParamRef");
    if (parameter) return [{ kind: "parameter", index: Number(parameter["number"] ?? 0), family }];
    const constant = as(inner, "A_Const");
    if (!constant) return undefined;
    if (constant["isnull"] === true) return [];
    const text = textConstant(inner);
    if (text !== undefined) return [{ kind: "constant", text, family }];
    const integer = integerConstant(inner);
    const own = (kind: ValueFamily, value: string): readonly Origin[] | undefined =>
      family === undefined || family === kind ? [{ kind: "constant", text: value, family: kind }] : undefined;
    if (integer !== undefined) return own("integer", String(integer));
    const float = textOf(child(constant, "fval"), "fval");
    if (float !== undefined && /^-?\d{1,18}$/.test(float)) return own("integer", float);
    const truth = child(constant, "boolval");
    return truth ? own("boolean", truth["boolval"] === true ? "t" : "f") : undefined;
  }

  /** The elements of an array: $1, $1::int[], array[1, 2]. */
  #arrayOrigins(node: Node | undefined): readonly Origin[] | undefined {
    const cast = as(node, "TypeCast");
    const typeName = child(cast, "typeName");
    let family: ValueFamily | undefined;
    if (cast) {
      const bounds = children(typeName, "arrayBounds");
      if (bounds.length !== 1) return undefined;
      family = this.#familyOf({ ...typeName, arrayBounds: [] });
      if (family === undefined) return undefined;
    }
    const inner = cast ? child(cast, "arg") : node;
    const parameter = as(inner, "ParamRef");
    if (parameter) return [{ kind: "array", index: Number(parameter["number"] ?? 0), family }];
    const elements = as(inner, "A_ArrayExpr");
    if (!elements) return undefined;
    const origins = children(elements, "elements").map((each) => this.#valueOrigins(each));
    if (!origins.every((each) => each !== undefined)) return undefined;
    return origins.flat().map((each) => (each.kind !== "column" && each.family === undefined ? { ...each, family } : each));
  }

  // ---- expressions

  /** A column of the result as it is computed. */
  #output(node: Node | undefined, scope: Scope): Col {
    const call = as(node, "FuncCall");
    const { schema, name } = qualified(children(call, "funcname"));
    if (/^jsonb?_build_object$/.test(name) && (schema === undefined || schema === "pg_catalog") && !this.#own(name)) {
      const given = children(call, "args");
      const fields = new Map<string, Col>();
      const depends = union(this.#expression(node && { FuncCall: { ...call, args: [] } }, scope));
      for (let i = 0; i < given.length; i += 2) {
        const key = textConstant(given[i]);
        const value = this.#output(given[i + 1], scope);
        if (key === undefined) this.#addTo(depends, this.#expression(given[i], scope));
        else if (!fields.has(key)) fields.set(key, value);
        else fields.set(key, { ...value, origins: undefined });
        this.#addTo(depends, value.depends);
      }
      // Keys that are computed might repeat a constant one.
      const certain = given.every((each, i) => i % 2 === 1 || textConstant(each) !== undefined);
      return { name: undefined, origins: undefined, pushable: false, depends, ...(certain && { fields }) };
    }
    const depends = this.#expression(node, scope);
    const found = this.#columnOf(node, scope);
    // A column of an outer query is the same in every row: a condition on it does not reach the outer query's rows.
    if (found) return { ...found.col, pushable: found.item !== undefined && found.col.pushable, depends };
    return { name: undefined, origins: this.#valueOrigins(node), pushable: false, depends };
  }

  /** The column that a reference names; undefined when it is not certain. */
  #lookUp(fields: readonly Node[], scope: Scope): { readonly col: Col; readonly item: Item | undefined } | undefined {
    const parts = names(fields);
    const name = parts.at(-1)!;
    const qualifier = parts.at(-2);
    for (let level: Scope | undefined = scope; level; level = level.parent) {
      if (qualifier === undefined) {
        const found = this.#named(level.items, name);
        if (found) return { col: found.col, item: level === scope ? found.item : undefined };
        if (level.items.some((item) => item.open || item.name === name || item.columns.some((col) => col.name === name)))
          return undefined;
      } else {
        const items = level.items.filter((item) => item.name === qualifier);
        if (items.length > 1) return undefined;
        const columns = items[0]?.columns.filter((col) => col.name === name) ?? [];
        if (columns.length === 1 && items[0]) return { col: columns[0]!, item: level === scope ? items[0] : undefined };
        if (items.length > 0 || level.items.some((item) => item.open)) return undefined;
      }
    }
    return undefined;
  }

  /** What a reference depends on, when it is not certain what it names: everything that it could be. */
  #anything(parts: readonly string[], scope: Scope): ReadonlySet<Occurrence> {
    const all: Iterable<Occurrence>[] = [];
    for (let level: Scope | undefined = scope; level; level = level.parent) {
      const named = level.items.filter((item) => parts.includes(item.name ?? ""));
      if (named.length > 0 && !systemColumns.has(parts[0]!)) return union(...all, ...named.map((item) => item.depends));
      all.push(...level.items.map((item) => item.depends));
    }
    return union(...all);
  }

  /** The places that an expression depends on. `again`: it was looked at before, only what it contains is asked. */
  #expression(tree: Node | undefined, scope: Scope, again = false): Set<Occurrence> {
    const depends = new Set<Occurrence>();
    if (!tree) return depends;
    walk(tree, (node) => {
      for (const key of ["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]) {
        if (node[key] !== undefined) refuse(`has a ${key} where it is not understood`);
      }
      const ref = as(node, "ColumnRef");
      if (ref) {
        const fields = children(ref, "fields");
        const found = kindOf(fields.at(-1)) === "A_Star" ? undefined : this.#lookUp(fields, scope);
        this.#addTo(depends, found ? found.col.depends : this.#anything(names(fields), scope));
        return false;
      }
      const link = as(node, "SubLink");
      if (link) {
        this.#operator(names(children(link, "operName")).at(-1) ?? "=");
        this.#addTo(depends, this.#expression(child(link, "testexpr"), scope));
        if (again) return false;
        const rows = this.#select(
          as(child(link, "subselect"), "SelectStmt") ?? refuse("has a sub-select that is not understood"),
          scope,
          scope.tables,
        );
        this.#addTo(depends, union(rows.exists, rows.repeats, ...rows.columns.map((col) => col.depends)));
        return false;
      }
      const call = as(node, "FuncCall");
      if (call) this.#call(call, scope);
      this.#leaf(node);
      return true;
    });
    return depends;
  }

  #call(call: Node, scope: Scope): void {
    const { schema, name } = qualified(children(call, "funcname"));
    const judgement = judgeCall(this.#catalogue, schema, name, children(call, "args").length);
    if (judgement === "clock") this.timeDependent = true;
    else if (judgement !== "steady") refuse(judgement.reason);
    if (this.#own(name)) this.#ownCode = true;
    if (this.#catalogue.returnsSet(name)) scope.marks.set = true;
    if (child(call, "over")) {
      scope.marks.window = true;
      return;
    }
    const aggregates = this.#catalogue.aggregates(name);
    if (aggregates === false) return;
    scope.marks.aggregate = true;
    if (aggregates === undefined) this.coarse = true;
    // An aggregate of nothing but outer columns belongs to the outer query.
    let [here, elsewhere] = [0, 0];
    walk(call, (node) => {
      const ref = as(node, "ColumnRef");
      if (!ref) return;
      const found = this.#lookUp(children(ref, "fields"), scope);
      if (found?.item) here++;
      else elsewhere++;
    });
    if (here === 0 && elsewhere > 0 && scope.parent) this.coarse = true;
  }

  /** What matters by itself, wherever it stands. */
  #leaf(node: Node): void {
    const value = as(node, "SQLValueFunction");
    if (value && !/ROLE|USER|CATALOG|SCHEMA/.test(textOf(value, "op") ?? "")) this.timeDependent = true;
    const text = textConstant(node);
    if (text !== undefined && mayMeanNow(text)) this.timeDependent = true;
    if (node["JsonObjectAgg"] !== undefined || node["JsonArrayAgg"] !== undefined || node["MergeSupportFunc"] !== undefined) {
      refuse("uses an SQL/JSON aggregate, which is not understood: json_agg() is");
    }
    const expression = as(node, "A_Expr");
    if (expression) {
      this.#operator(names(children(expression, "name")).at(-1) ?? "");
      if (/BETWEEN/.test(textOf(expression, "kind") ?? "")) for (const each of ["<=", ">=", "<", ">"]) this.#operator(each);
    }
    const typeName = child(as(node, "TypeCast"), "typeName");
    if (typeName) {
      const { name } = qualified(children(typeName, "names"));
      this.#castTargets.add(name);
      if (catalogueTypes.has(name)) refuse(`converts to ${name}, which looks into PostgreSQL's catalogue`);
    }
  }

  #operator(name: string): void {
    const volatility = this.#catalogue.operator(name);
    if (volatility === undefined) return;
    this.#ownCode = true;
    if (volatility !== "i") refuse(`uses the operator ${name}, whose function is not IMMUTABLE`);
  }
}
