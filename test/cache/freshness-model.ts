// A model of caching over PostgreSQL's commits: a few transactions that write one dependency, one fill, one reader, in every order
// that can happen. What may be served must reflect every commit that the serving process has taken note of.
//
// A commit has three moments, and they do not coincide. With synchronous replication, or just between two instructions of the server,
// it stands in the log (and the feed reports it) while other sessions still read the rows of before. That gap is what breaks the
// protocols that look right.

/** Where a transaction stands: it has an xid from `begun`, the feed can report it from `logged`, and others see it from `visible`. */
type Phase = "idle" | "begun" | "logged" | "visible";

/** What pg_current_snapshot() tells, and which transactions a query under it sees. */
export interface Snapshot {
  /** All below are visible. */
  readonly xmin: number;
  /** None from here on is. */
  readonly xmax: number;
  /** Between the two, those that are running. A standby reports none, whatever runs. */
  readonly xip: readonly number[];
  readonly visible: readonly number[];
}

interface Entry {
  readonly generation: number;
  /** The number of the last write that it is said to reflect. */
  readonly upTo: number;
  /** The xids that its query saw: what it truly reflects. */
  readonly saw: readonly number[];
  /** Kept where own writes are compared with it. */
  readonly snapshot: Snapshot | undefined;
}

export interface State {
  readonly phases: readonly Phase[];
  /** The xid of each transaction; 0 before it has one. */
  readonly xids: readonly number[];
  readonly nextXid: number;
  /** xids in the order of their commits. */
  readonly log: readonly number[];
  /** How many commits of the log the filling and the serving process have applied, and a standby has replayed. */
  readonly appliedByFiller: number;
  readonly appliedByServer: number;
  readonly replayed: number;
  /** Numbers count from this place in the log; it moves when the versions are lost and a generation starts. */
  readonly generation: number;
  readonly generationFrom: number;
  /** The next xid when the generation started: every commit before it in the log has a smaller one. */
  readonly horizon: number;
  readonly fill: Fill | undefined;
  /** The fill has ended; its entry may have been left out. */
  readonly isFilled: boolean;
  readonly entry: Entry | undefined;
}

interface Fill {
  readonly snapshot: Snapshot;
  readonly generation: number;
  readonly appliedAtStart: number;
  readonly loggedAtStart: number;
  /** What its query saw, once it ran. */
  readonly saw: readonly number[] | undefined;
}

export interface Protocol {
  readonly readsFrom: "primary" | "standby";
  /** One process fills and another serves; otherwise they are one. */
  readonly processes: 1 | 2;
  /** The number of the last write that the entry of `fill` reflects, in its generation's numbers; undefined: do not keep it. */
  readonly upTo: (state: State, fill: Fill) => number | undefined;
  /** Deletes the entry when a write arrives, instead of comparing numbers. */
  readonly deletes?: boolean;
  /** Versions may be lost once: what then becomes of the generation, and by which one an entry goes. Absent: nothing is lost. */
  readonly loss?: { readonly startsGeneration: boolean; readonly entryGeneration: "at snapshot" | "at store" };
  /**
   * The writers are in the serving process and must find their own writes as soon as others can see them, before the feed has brought
   * them. `refuses` says whether an entry is refused for a write of this xid that the feed has not brought. Absent: others write.
   */
  readonly ownWrites?: { readonly refuses: (snapshot: Snapshot, xid: number) => boolean };
}

export interface Verdict {
  readonly holds: boolean;
  readonly states: number;
  readonly served: number;
  readonly refused: number;
  /** The steps to a stale answer, where there is one. */
  readonly steps: readonly string[];
}

const snapshotOf = (visible: readonly number[], unfinished: readonly number[], isStandby: boolean): Snapshot => {
  const xmax = Math.max(0, ...visible) + 1;
  const running = unfinished.filter((xid) => xid < xmax);
  return { xmin: Math.min(xmax, ...running), xmax, xip: isStandby ? [] : running, visible };
};

function takeSnapshot({ phases, xids, log, replayed }: State, from: Protocol["readsFrom"]): Snapshot {
  const isStandby = from === "standby";
  const visible = isStandby ? log.slice(0, replayed) : xids.filter((_, i) => phases[i] === "visible");
  const unfinished = xids.filter((xid, i) => phases[i] !== "idle" && !visible.includes(xid));
  return snapshotOf(visible, unfinished, isStandby);
}

/** Everything that may happen next, by name. */
function* successors(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const { phases, xids, nextXid, log, fill } = state;
  for (const [i, phase] of phases.entries()) {
    const name = `transaction ${i + 1}`;
    if (phase === "idle") {
      yield [`${name} begins`, { ...state, phases: phases.with(i, "begun"), xids: xids.with(i, nextXid), nextXid: nextXid + 1 }];
    }
    if (phase === "begun") yield [`${name} is in the log`, { ...state, phases: phases.with(i, "logged"), log: [...log, xids[i]!] }];
    if (phase === "logged") yield [`${name} is visible`, { ...state, phases: phases.with(i, "visible") }];
  }
  if (state.appliedByFiller < log.length) {
    const entry = protocol.deletes ? undefined : state.entry;
    yield ["the filling process applies a write", { ...state, appliedByFiller: state.appliedByFiller + 1, entry }];
  }
  if (protocol.processes === 2 && state.appliedByServer < log.length) {
    yield ["the serving process applies a write", { ...state, appliedByServer: state.appliedByServer + 1 }];
  }
  if (protocol.readsFrom === "standby" && state.replayed < log.length) {
    yield ["the standby replays a write", { ...state, replayed: state.replayed + 1 }];
  }
  if (protocol.loss && state.generationFrom === 0 && state.generation === 1 && state.horizon === 0) {
    // The feed begins again at the end of the log. Nobody knows any more what the writes until then have touched.
    const generation = protocol.loss.startsGeneration ? 2 : 1;
    const lost = {
      generation,
      generationFrom: log.length,
      horizon: nextXid,
      appliedByFiller: log.length,
      appliedByServer: log.length,
    };
    yield ["the versions are lost", { ...state, ...lost }];
  }
  if (state.isFilled) return;
  if (!fill) {
    const snapshot = takeSnapshot(state, protocol.readsFrom);
    const at = { generation: state.generation, appliedAtStart: state.appliedByFiller, loggedAtStart: log.length };
    yield ["the fill takes its snapshot", { ...state, fill: { snapshot, ...at, saw: undefined } }];
  } else if (!fill.saw) {
    yield ["the fill queries", { ...state, fill: { ...fill, saw: takeSnapshot(state, protocol.readsFrom).visible } }];
  } else {
    const upTo = protocol.upTo(state, fill);
    const generation = protocol.loss?.entryGeneration === "at snapshot" ? fill.generation : state.generation;
    const snapshot = protocol.ownWrites && fill.snapshot;
    const entry = upTo === undefined ? undefined : { generation, upTo, saw: fill.saw, snapshot };
    yield ["the fill stores", { ...state, fill: undefined, isFilled: true, entry }];
  }
}

const keyOfSnapshot = ({ xmin, xmax, xip, visible }: Snapshot) => `${xmin},${xmax},${xip.join("")},${visible.join("")}`;

/** Two states with one key have the same future. All numbers but the horizon have one digit. */
const keyOf = ({ phases, xids, log, fill, entry, ...rest }: State): string =>
  `${phases.map((phase) => phase[0]).join("")}${xids.join("")}/${log.join("")}/${rest.appliedByFiller}${rest.appliedByServer}${rest.replayed}` +
  `${rest.generation}${rest.generationFrom}.${rest.horizon}${rest.isFilled ? "f" : ""}/` +
  (fill
    ? `${keyOfSnapshot(fill.snapshot)},${fill.generation}${fill.appliedAtStart}${fill.loggedAtStart}${fill.saw?.join("") ?? "-"}`
    : "") +
  (entry ? `/${entry.generation},${entry.upTo},${entry.saw.join("")}/${entry.snapshot ? keyOfSnapshot(entry.snapshot) : ""}` : "");

/** Own writes that others can see, that is, whose commit has been confirmed to the caller. */
const confirmed = ({ phases, xids }: State) => xids.filter((_, i) => phases[i] === "visible");

function mayServe(state: State, entry: Entry, applied: number, { deletes, ownWrites }: Protocol): boolean {
  if (deletes) return true;
  if (entry.generation !== state.generation || applied - state.generationFrom > entry.upTo) return false;
  const pending = ownWrites ? confirmed(state).filter((xid) => !state.log.slice(0, applied).includes(xid)) : [];
  return !pending.some((xid) => ownWrites!.refuses(entry.snapshot!, xid));
}

/** Tries every order of events of `transactions` writers and stops at the first stale answer. */
export function explore(transactions: number, protocol: Protocol): Verdict {
  const initial: State = {
    phases: Array<Phase>(transactions).fill("idle"),
    xids: Array<number>(transactions).fill(0),
    nextXid: 1,
    log: [],
    appliedByFiller: 0,
    appliedByServer: 0,
    replayed: 0,
    generation: 1,
    generationFrom: 0,
    horizon: 0,
    fill: undefined,
    isFilled: false,
    entry: undefined,
  };
  /** How each state was first reached: the key before and the step. */
  const reached = new Map<string, { readonly from: string; readonly step: string }>([[keyOf(initial), { from: "", step: "" }]]);
  const frontier = [initial];
  let states = 0;
  let served = 0;
  let refused = 0;
  for (let state = frontier.pop(); state; state = frontier.pop()) {
    states++;
    const { entry } = state;
    const applied = protocol.processes === 2 ? state.appliedByServer : state.appliedByFiller;
    if (entry) {
      if (mayServe(state, entry, applied, protocol)) {
        served++;
        const promised = [...state.log.slice(0, applied), ...(protocol.ownWrites ? confirmed(state) : [])];
        if (promised.some((xid) => !entry.saw.includes(xid))) {
          const steps: string[] = [];
          for (let way = reached.get(keyOf(state))!; way.from; way = reached.get(way.from)!) steps.unshift(way.step);
          return { holds: false, states, served, refused, steps };
        }
      } else refused++;
    }
    const from = keyOf(state);
    for (const [step, next] of successors(state, protocol)) {
      const key = keyOf(next);
      if (reached.has(key)) continue;
      reached.set(key, { from, step });
      frontier.push(next);
    }
  }
  return { holds: true, states, served, refused, steps: [] };
}

/** The rule of docs/memory-tier.md: the number just before the first applied commit that the fill's snapshot does not see. */
export const beforeFirstInvisible =
  (sees: (snapshot: Snapshot, xid: number) => boolean): Protocol["upTo"] =>
  ({ log, generationFrom, appliedByFiller }, { snapshot }) => {
    const applied = log.slice(generationFrom, appliedByFiller);
    const first = applied.findIndex((xid) => !sees(snapshot, xid));
    return first === -1 ? applied.length : first;
  };
