// First in, first out, where one who waits can leave from the middle at constant cost. A Set would do the same until its head has
// thousands of deleted places to step over.

/** A place in a queue. Keep it to leave. */
export interface Place<Value> {
  readonly value: Value;
  before: Place<Value> | undefined;
  behind: Place<Value> | undefined;
  waiting: boolean;
}

export class LinkedQueue<Value> {
  #first: Place<Value> | undefined;
  #last: Place<Value> | undefined;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Who has waited longest. */
  get first(): Value | undefined {
    return this.#first?.value;
  }

  push(value: Value): Place<Value> {
    const place: Place<Value> = { value, before: this.#last, behind: undefined, waiting: true };
    if (this.#last) this.#last.behind = place;
    else this.#first = place;
    this.#last = place;
    this.#length++;
    return place;
  }

  /** Takes out who has waited longest. */
  shift(): Value | undefined {
    const place = this.#first;
    if (place) this.leave(place);
    return place?.value;
  }

  /** Gives up a place. Nothing happens when its holder has been taken out already. */
  leave(place: Place<Value>): void {
    if (!place.waiting) return;
    place.waiting = false;
    if (place.before) place.before.behind = place.behind;
    else this.#first = place.behind;
    if (place.behind) place.behind.before = place.before;
    else this.#last = place.before;
    place.before = undefined;
    place.behind = undefined;
    this.#length--;
  }
}
