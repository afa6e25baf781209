// Tries every order of events of a small system, breadth first, so that the steps to a broken promise are the fewest that there are.
// The models beside this file use it; docs/freshness-proof.md says what they show.

/** What could be served in a state. */
export interface Judgement {
  /** Answers that the rules under test would serve, and those that they would refuse. */
  readonly served: number;
  readonly refused: number;
  /** One that would be served breaks the promise. */
  readonly stale: boolean;
}

/** A system by its first state, what may happen next in each, and what could be served. States are plain data. */
export interface System<State> {
  readonly initial: State;
  readonly steps: (state: State) => Iterable<readonly [what: string, next: State]>;
  readonly judge: (state: State) => Judgement;
}

export interface Verdict {
  readonly holds: boolean;
  readonly states: number;
  readonly served: number;
  readonly refused: number;
  /** The steps to a stale answer, where there is one. */
  readonly steps: readonly string[];
}

/** Explores until the first broken promise, or until nothing new can happen. */
export function explore<State>({ initial, steps, judge }: System<State>): Verdict {
  const reached = new Map<string, number>([[JSON.stringify(initial), 0]]);
  const states = [initial];
  /** By place in `states`: where it was reached from and by what. */
  const from = [-1];
  const by = [""];
  let served = 0;
  let refused = 0;
  for (let at = 0; at < states.length; at++) {
    const state = states[at]!;
    const judgement = judge(state);
    served += judgement.served;
    refused += judgement.refused;
    if (judgement.stale) {
      const way: string[] = [];
      for (let place = at; from[place]! >= 0; place = from[place]!) way.unshift(by[place]!);
      return { holds: false, states: at + 1, served, refused, steps: way };
    }
    for (const [what, next] of steps(state)) {
      const key = JSON.stringify(next);
      if (reached.has(key)) continue;
      reached.set(key, states.length);
      states.push(next);
      from.push(at);
      by.push(what);
    }
  }
  return { holds: true, states: states.length, served, refused, steps: [] };
}
