// Makes commits of pgoutput's messages: which dependencies each transaction touched. docs/change-feed.md says which those are.

import type { FeedCommit } from "../../feed.ts";
import { CommitBuilder, type TableHashes, createTableHashes } from "../commit-builder.ts";
import { followedRelation } from "../kit-tables.ts";
import { numberOfHalves } from "../number.ts";
import type { CanonicalValue, Followed } from "../source.ts";
import {
  type RelationMessage,
  Tuple,
  columnStates,
  messageKinds,
  readLogicalMessage,
  readRelation,
  readTruncate,
  tupleKinds,
} from "./pgoutput.ts";

/** Prefixes of pg_logical_emit_message() that mean something to the feed; others pass. */
export const messagePrefixes = { mark: "millrace", ddl: "millrace:ddl", bump: "millrace:bump" } as const;

/** The table whose name stands in dependencies: for a partition, the topmost parent. */
export interface RootTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

export interface ChangesSetup {
  readonly canonicalValue: CanonicalValue;
  readonly maxDependenciesPerCommit: number;
  /** Any recent transaction number with its epoch, to complete the 32 bits that pgoutput sends. */
  readonly recentXid: bigint;
  /** The topmost parent of a table, as the catalogue has it now; undefined when the table is gone. */
  rootOf(oid: number): Promise<RootTable | undefined>;
}

interface Relation {
  readonly message: RelationMessage;
  readonly rootOid: number;
  /** Whose dependencies its changes touch. Several only after the table has moved in or out of a partitioned one. */
  readonly targets: readonly TableHashes[];
  /** Places of the followed columns; -1 for one that the log does not have (a generated one). */
  places: readonly number[];
  /** The version of the registry that `places` are of. */
  version: number;
}

/** A number with its epoch from its low half: the nearest to `recent`. */
export function completeXid(recent: bigint, low: number): bigint {
  return recent + BigInt.asIntN(32, BigInt(low) - recent);
}

/** Reads a stream of messages in order. What was read waits in `commits` and `followed` until drain(). */
export class Changes {
  readonly #setup: ChangesSetup;
  readonly #builder: CommitBuilder;
  readonly #relations = new Map<number, Relation>();
  readonly #old = new Tuple();
  readonly #new = new Tuple();
  /** Columns by the oid of their root table. */
  readonly #columns = new Map<number, Set<string>>();
  #registryVersion = 0;
  #recentXid: bigint;
  #xid: bigint | undefined;
  #newlyFollowed: { readonly table: string; readonly column: string | undefined }[] = [];
  #commits: FeedCommit[] = [];
  #followed: Followed[] = [];
  /** Hashes that wait in #commits. */
  pending = 0;
  /** Everything at or before this position has been read. Zero before the first message. */
  upToHigh = 0;
  upToLow = 0;

  constructor(setup: ChangesSetup) {
    this.#setup = setup;
    this.#recentXid = setup.recentXid;
    this.#builder = new CommitBuilder(setup.maxDependenciesPerCommit);
  }

  get upTo(): number {
    return numberOfHalves(this.upToHigh, this.upToLow);
  }

  /** Whether a transaction has begun and not ended. */
  get insideCommit(): boolean {
    return this.#xid !== undefined;
  }

  /** Follows a column of a root table, or only the table. */
  follow(rootOid: number, column: string | undefined): void {
    const columns = this.#columns.get(rootOid) ?? new Set();
    this.#columns.set(rootOid, columns);
    if (column !== undefined) columns.add(column);
    this.#registryVersion++;
  }

  /** Notes that everything up to a position has been read: a keepalive of the server says so. */
  advance(high: number, low: number): void {
    if (high < this.upToHigh || (high === this.upToHigh && low <= this.upToLow)) return;
    this.upToHigh = high;
    this.upToLow = low;
  }

  /** What was read since the last call. */
  drain(): { readonly commits: readonly FeedCommit[]; readonly followed: readonly Followed[] } {
    const drained = { commits: this.#commits, followed: this.#followed };
    this.#commits = [];
    this.#followed = [];
    this.pending = 0;
    return drained;
  }

  /** Reads one message. A promise only where the catalogue must be asked; nothing may be read before it resolves. */
  read(message: Buffer): Promise<void> | undefined {
    switch (message[0]) {
      case messageKinds.begin:
        this.#recentXid = completeXid(this.#recentXid, message.readUInt32BE(17));
        this.#xid = this.#recentXid;
        return undefined;
      case messageKinds.commit:
        this.#commit(message.readUInt32BE(10), message.readUInt32BE(14));
        return undefined;
      case messageKinds.relation:
        return this.#learn(readRelation(message));
      case messageKinds.insert:
        this.#insert(message, this.#relation(message.readUInt32BE(1)));
        return undefined;
      case messageKinds.update:
        this.#update(message, this.#relation(message.readUInt32BE(1)));
        return undefined;
      case messageKinds.delete:
        this.#delete(message, this.#relation(message.readUInt32BE(1)));
        return undefined;
      case messageKinds.truncate:
        for (const oid of readTruncate(message)) this.#unknownRows(this.#relation(oid));
        return undefined;
      case messageKinds.message:
        this.#message(message);
        return undefined;
      case messageKinds.origin:
      case messageKinds.type:
        return undefined;
      default:
        throw new RangeError(`A pgoutput message is of the unknown kind ${message[0]}.`);
    }
  }

  #commit(high: number, low: number): void {
    this.advance(high, low);
    const number = numberOfHalves(high, low);
    if (!this.#builder.isEmpty) this.#keep(this.#builder.take(number, this.#xid));
    for (const { table, column } of this.#newlyFollowed) this.#followed.push({ table, column, number });
    this.#newlyFollowed = [];
    this.#xid = undefined;
  }

  #keep(commit: FeedCommit): void {
    this.pending += commit.dependencies.length;
    this.#commits.push(commit);
  }

  async #learn(message: RelationMessage): Promise<void> {
    const root = await this.#setup.rootOf(message.oid);
    const own = createTableHashes(message.schema, message.name);
    // A table that has moved since this change was written is named under every name that it may have had.
    const names = new Map((this.#relations.get(message.oid)?.targets ?? []).map((each) => [`${each.schema}.${each.name}`, each]));
    names.set(`${own.schema}.${own.name}`, own);
    if (root !== undefined && root.oid !== message.oid) {
      names.set(`${root.schema}.${root.name}`, createTableHashes(root.schema, root.name));
    }
    const targets = [...names.values()];
    this.#relations.set(message.oid, { message, rootOid: root?.oid ?? message.oid, targets, places: [], version: -1 });
  }

  #relation(oid: number): Relation {
    const relation = this.#relations.get(oid);
    if (relation === undefined) throw new RangeError(`A change of table ${oid} came before its description.`);
    if (relation.version !== this.#registryVersion) {
      const { columns } = relation.message;
      const followed = [...(this.#columns.get(relation.rootOid) ?? []), ...(this.#columns.get(oid) ?? [])];
      relation.places = [...new Set(followed)].map((name) => columns.findIndex((column) => column.name === name));
      relation.version = this.#registryVersion;
    }
    return relation;
  }

  #insert(message: Buffer, relation: Relation): void {
    if (relation.message.schema === followedRelation.schema && relation.message.name === followedRelation.name) {
      this.#registered(message, relation);
      return;
    }
    this.#table(relation);
    if (relation.places.length === 0) return;
    this.#new.read(message, 6);
    for (const place of relation.places) this.#value(message, relation, this.#new, place);
  }

  #update(message: Buffer, relation: Relation): void {
    this.#table(relation);
    if (relation.places.length === 0) return;
    const kind = message[5]!;
    let at = 5;
    if (kind !== tupleKinds.new) at = this.#old.read(message, 6);
    this.#new.read(message, at + 1);
    for (const place of relation.places) {
      const isNew = this.#new.state(place);
      const before = this.#before(relation, kind, place);
      if (before === columnStates.absent) {
        // A column of the identity without an old row has not changed; of any other the old value is unknown.
        const unchanged = kind === tupleKinds.new && relation.message.columns[place]?.key === true;
        if (!unchanged || isNew === columnStates.unchanged) this.#unknownRows(relation);
        else this.#value(message, relation, this.#new, place);
        continue;
      }
      this.#value(message, relation, this.#old, place);
      if (isNew === columnStates.unchanged) continue; // a large value, stored apart, that is as before
      this.#value(message, relation, this.#new, place);
    }
  }

  #delete(message: Buffer, relation: Relation): void {
    this.#table(relation);
    if (relation.places.length === 0) return;
    this.#old.read(message, 6);
    for (const place of relation.places) {
      if (this.#before(relation, message[5]!, place) === columnStates.absent) this.#unknownRows(relation);
      else this.#value(message, relation, this.#old, place);
    }
  }

  /** What the old tuple says of a column: absent when it says nothing. */
  #before(relation: Relation, kind: number, place: number): number {
    if (kind === tupleKinds.old) return this.#old.state(place);
    if (kind !== tupleKinds.key || relation.message.columns[place]?.key !== true) return columnStates.absent;
    // Columns of an identity are never NULL, so NULL stands for a value that was not logged.
    const state = this.#old.state(place);
    return state === columnStates.null ? columnStates.absent : state;
  }

  #value(message: Buffer, relation: Relation, tuple: Tuple, place: number): void {
    const state = place === -1 ? columnStates.absent : tuple.state(place);
    if (state === columnStates.null) return; // no equality finds it
    const column = relation.message.columns[place];
    const value = state >= 0 && column ? this.#setup.canonicalValue(column.typeOid, tuple.text(message, place)) : undefined;
    if (column === undefined || value === undefined) this.#unknownRows(relation);
    else for (const target of relation.targets) this.#builder.touchValue(target, column.name, value);
  }

  #table(relation: Relation): void {
    for (const target of relation.targets) this.#builder.touchTable(target);
  }

  #unknownRows(relation: Relation): void {
    for (const target of relation.targets) this.#builder.touchUnknownRows(target);
  }

  /** A row of millrace.followed. */
  #registered(message: Buffer, relation: Relation): void {
    this.#new.read(message, 6);
    const field = (name: string) =>
      this.#new.text(
        message,
        relation.message.columns.findIndex((each) => each.name === name),
      );
    const column = field("column_name") === "" ? undefined : field("column_name");
    this.follow(Number(field("table_oid")), column);
    this.#newlyFollowed.push({ table: `${field("schema_name")}.${field("table_name")}`, column });
  }

  #message(message: Buffer): void {
    const { transactional, prefix, content } = readLogicalMessage(message);
    if (transactional) {
      if (prefix === messagePrefixes.ddl) this.#builder.touchEverything();
      else if (prefix === messagePrefixes.bump) this.#builder.touchHashes(readHashes(content));
    } else this.advance(message.readUInt32BE(2), message.readUInt32BE(6));
  }
}

function readHashes(content: Buffer): Uint32Array {
  return Uint32Array.from({ length: (content.length >> 3) * 2 }, (_, i) => content.readUInt32LE(4 * i));
}
