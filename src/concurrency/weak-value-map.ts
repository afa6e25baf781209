// A map that does not keep its values alive: an entry goes when nobody else holds its value any more. For tables of things in use,
// where a Map would hold every one that ever was. See docs/collections.md.

/** Keys are held, values are not: an entry lives at least as long as somebody holds its value, and until some collection after. */
export class WeakValueMap<Key, Value extends object> implements Iterable<[Key, Value]> {
  readonly #references = new Map<Key, WeakRef<Value>>();
  readonly #registry = new FinalizationRegistry<{ readonly key: Key; readonly reference: WeakRef<Value> }>(({ key, reference }) => {
    // Meanwhile the key may stand for another value.
    if (this.#references.get(key) === reference) this.#references.delete(key);
  });

  constructor(entries: Iterable<readonly [Key, Value]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }

  /** Entries, some of which may have lost their value since. */
  get size(): number {
    return this.#references.size;
  }

  get(key: Key): Value | undefined {
    return this.#references.get(key)?.deref();
  }

  has(key: Key): boolean {
    return this.get(key) !== undefined;
  }

  set(key: Key, value: Value): this {
    const before = this.#references.get(key);
    if (before?.deref() === value) return this;
    if (before) this.#registry.unregister(before);
    const reference = new WeakRef(value);
    this.#references.set(key, reference);
    this.#registry.register(value, { key, reference }, reference);
    return this;
  }

  /** The value of `key`, made by `create` when nobody holds one. */
  getOrCreate(key: Key, create: (key: Key) => Value): Value {
    let value = this.get(key);
    if (value === undefined) this.set(key, (value = create(key)));
    return value;
  }

  /** Whether there was an entry with a value. */
  delete(key: Key): boolean {
    const reference = this.#references.get(key);
    if (!reference) return false;
    this.#registry.unregister(reference);
    this.#references.delete(key);
    return reference.deref() !== undefined;
  }

  clear(): void {
    for (const reference of this.#references.values()) this.#registry.unregister(reference);
    this.#references.clear();
  }

  /** The entries that still have their value, in the order in which their keys were first set. */
  *[Symbol.iterator](): IterableIterator<[Key, Value]> {
    for (const [key, reference] of this.#references) {
      const value = reference.deref();
      if (value !== undefined) yield [key, value];
    }
  }
}
