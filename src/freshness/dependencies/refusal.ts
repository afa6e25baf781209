// Ends an analysis: the answer of this statement may not be kept.

/** Thrown and caught inside of the analysis only. */
export class Refusal {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

export function refuse(reason: string): never {
  throw new Refusal(reason);
}
