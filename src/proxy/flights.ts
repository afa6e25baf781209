// Questions that are on their way to the origin, so that others with the same one wait for the answer. Whoever waits is told as soon as
// it is known whether the answer is for him: that an answer is for one alone must not make the others wait for each other.

import type { Clock } from "../core/index.ts";
import type { MillraceError } from "../core/index.ts";
import type { Recording } from "./recording.ts";
import type { StoredAnswer } from "./stored-answer.ts";

export type Outcome =
  /** It stands in the store, or stands in for a failure. */
  | { readonly kind: "stored"; readonly answer: StoredAnswer; readonly failure: MillraceError | "5xx" | undefined }
  /** It is being received; `answer` has no body yet. */
  | { readonly kind: "live"; readonly answer: StoredAnswer; readonly recording: Recording }
  | { readonly kind: "failed"; readonly error: MillraceError }
  /** Ask yourself. */
  | { readonly kind: "own" };

const own: Outcome = { kind: "own" };

/** Who still wants an answer; when nobody does, its request is aborted. */
export class Interest {
  readonly #controller = new AbortController();
  #count = 0;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Returns the end of the interest, which may be called twice. */
  add(): () => void {
    this.#count++;
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      if (--this.#count === 0) this.#controller.abort(new DOMException("Nobody waits for the answer any more.", "AbortError"));
    };
  }
}

export class Flight {
  readonly interest = new Interest();
  readonly #outcome = Promise.withResolvers<Outcome>();
  readonly #onEnd: () => void;

  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
    this.interest.signal.addEventListener("abort", () => this.end(own), { once: true });
  }

  /** Tells those who wait; nobody joins any more. The first word counts. */
  end(outcome: Outcome): void {
    this.#onEnd();
    this.#outcome.resolve(outcome);
  }

  /** What became of it; "own" when that takes longer than `timeoutMs`. */
  async wait(timeoutMs: number, clock: Clock): Promise<Outcome> {
    const { promise: late, resolve } = Promise.withResolvers<Outcome>();
    using _timer = clock.timer(timeoutMs, () => resolve(own), true);
    return await Promise.race([this.#outcome.promise, late]);
  }
}

export class Flights {
  readonly #byUrl = new Map<string, Map<string, Flight>>();

  get(url: string, question: string): Flight | undefined {
    return this.#byUrl.get(url)?.get(question);
  }

  begin(url: string, question: string): Flight {
    let ofUrl = this.#byUrl.get(url);
    if (!ofUrl) this.#byUrl.set(url, (ofUrl = new Map()));
    const questions = ofUrl;
    const flight: Flight = new Flight(() => {
      if (questions.get(question) !== flight) return;
      questions.delete(question);
      if (questions.size === 0 && this.#byUrl.get(url) === questions) this.#byUrl.delete(url);
    });
    questions.set(question, flight);
    return flight;
  }

  /** From now on nobody joins what is on its way for this URL. */
  detach(url: string): void {
    this.#byUrl.delete(url);
  }
}
