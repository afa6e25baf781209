// An answer as it is stored: its head, its whole body, and what its use depends on.

import type { Facts, Fields } from "../http-caching/index.ts";

export interface StoredParts {
  readonly status: number;
  readonly statusText: string;
  /** Those that are kept, Date among them. */
  readonly fields: Fields;
  readonly body: Buffer;
  readonly facts: Facts;
  /** The names in its Vary, and its request's values of them: see variantKey(). */
  readonly vary: readonly string[];
  readonly variant: string;
  readonly groups: readonly string[];
  /** When it was asked for, in the order of Invalidations. */
  readonly since: number;
}

/** A class, so that every stored answer has one shape. */
export class StoredAnswer implements StoredParts {
  readonly status: number;
  readonly statusText: string;
  readonly fields: Fields;
  readonly body: Buffer;
  readonly facts: Facts;
  readonly vary: readonly string[];
  readonly variant: string;
  readonly groups: readonly string[];
  readonly since: number;

  constructor(parts: StoredParts) {
    this.status = parts.status;
    this.statusText = parts.statusText;
    this.fields = parts.fields;
    this.body = parts.body;
    this.facts = parts.facts;
    this.vary = parts.vary;
    this.variant = parts.variant;
    this.groups = parts.groups;
    this.since = parts.since;
  }
}

const ofObjects = 600; // the objects, numbers and the index of its fields

/** What an answer counts in the memory tier. */
export function bytesOfAnswer({ fields, body, variant, groups }: StoredAnswer): number {
  let characters = variant.length;
  for (const text of fields.flat) characters += text.length + 16;
  for (const group of groups) characters += group.length + 16;
  // Twice for the fields: their index by name holds them in lower case.
  return ofObjects + body.byteLength + characters * 2;
}
