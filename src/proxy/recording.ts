// A body that is being received, for several readers at once: each gets it from its beginning, at its own pace. It is held as long as
// it may be stored; once it is too large for that it flows through to the one who asked for it, no faster than he reads.

import type { ServerResponse } from "node:http";

/** What is held for a reader of a body that is too large to be stored: enough to keep his socket busy. */
const window = 256 * 1_024;

/** The bytes that all recordings together may hold. */
export class RecordingBudget {
  #left: number;

  constructor(maxBytes: number) {
    this.#left = maxBytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

export class Recording {
  readonly #budget: RecordingBudget;
  readonly #maxBytes: number;
  readonly #chunks: Buffer[] = [];
  /** Chunks that are gone from the front. */
  #dropped = 0;
  #bytes = 0;
  #taken: number;
  #state: "open" | "complete" | "failed" = "open";
  #isOverflown = false;
  #readers = 0;
  readonly #wakers = new Set<() => void>();

  /** `reserved`: bytes that were taken from the budget already, for a body whose length is known. */
  constructor(budget: RecordingBudget, maxBytes: number, reserved: number) {
    this.#budget = budget;
    this.#maxBytes = maxBytes;
    this.#taken = reserved;
  }

  /** Too large to be stored. */
  get isOverflown(): boolean {
    return this.#isOverflown;
  }

  get readers(): number {
    return this.#readers;
  }

  /** Takes a piece. Resolves when there is room for another. */
  async push(chunk: Buffer): Promise<void> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.byteLength;
    if (!this.#isOverflown && !this.#fits()) {
      this.#isOverflown = true;
      this.#giveBack();
    }
    this.#wake();
    while (this.#isOverflown && this.#bytes > window && this.#readers > 0) await this.#news();
  }

  /** All of it has come. The body, unless it is too large. */
  complete(): Buffer | undefined {
    this.#state = "complete";
    this.#giveBack();
    this.#wake();
    if (this.#isOverflown) return undefined;
    // Of its own size: a piece of a socket's buffer would keep all of that alive.
    return Buffer.concat(this.#chunks, this.#bytes);
  }

  /** The rest will not come. */
  fail(): void {
    this.#state = "failed";
    this.#giveBack();
    this.#wake();
  }

  /**
   * Writes all of it to a client and ends the answer; breaks it off when the rest does not come, so that it does not look whole.
   * Resolves when the client has it or is gone.
   */
  async writeTo(response: ServerResponse): Promise<void> {
    this.#readers++;
    const onDrain = () => this.#wake();
    response.on("drain", onDrain);
    response.on("close", onDrain);
    try {
      for (let next = this.#dropped; ;) {
        if (response.destroyed) return;
        const chunk = this.#chunks[next - this.#dropped];
        if (chunk !== undefined) {
          next++;
          if (this.#isOverflown && this.#readers === 1) this.#dropBefore(next);
          if (!response.write(chunk)) while (response.writableNeedDrain && !response.destroyed) await this.#news();
        } else if (this.#state === "complete") {
          response.end();
          return;
        } else if (this.#state === "failed") {
          response.destroy();
          return;
        } else await this.#news();
      }
    } finally {
      response.off("drain", onDrain);
      response.off("close", onDrain);
      this.#readers--;
      this.#wake();
    }
  }

  #fits(): boolean {
    if (this.#bytes > this.#maxBytes) return false;
    const missing = this.#bytes - this.#taken;
    if (missing <= 0) return true;
    if (!this.#budget.take(missing)) return false;
    this.#taken += missing;
    return true;
  }

  #giveBack(): void {
    this.#budget.give(this.#taken);
    this.#taken = 0;
  }

  #dropBefore(next: number): void {
    while (this.#dropped < next) {
      this.#bytes -= this.#chunks.shift()!.byteLength;
      this.#dropped++;
    }
    this.#wake();
  }

  #news(): Promise<void> {
    return new Promise((resolve) => this.#wakers.add(resolve));
  }

  #wake(): void {
    const wakers = [...this.#wakers];
    this.#wakers.clear();
    for (const wake of wakers) wake();
  }
}
