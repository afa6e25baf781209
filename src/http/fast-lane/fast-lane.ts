// The fast lane of a server: takes the connections on which answers from the cache are asked for, and counts what it does. See docs/fast-lane.md.
//
// | state    | left by                                                                    | what it does     |
// | -------- | -------------------------------------------------------------------------- | ---------------- |
// | checking | node is as expected → on; it is not → off                                  | nothing          |
// | on       | an answer that cannot be made → off                                        | takes and answers |
// | off      | never                                                                      | nothing          |

import type { IncomingMessage, Server } from "node:http";
import { Socket } from "node:net";
import type { FastAnswers } from "./answers.ts";
import { LaneConnection } from "./connection.ts";
import { MessageWatch } from "./message-watch.ts";
import { differenceInNode } from "./node-as-expected.ts";
import { Output } from "./output.ts";
import { RequestReader, maxHeadBytes } from "./request-reader.ts";

/** What the lane has done so far. */
export interface FastLaneCounts {
  /** Connections taken, ever. */
  connections: number;
  /** Requests answered. */
  answered: number;
  /** How often bytes went on to node that the lane had looked at: requests for which no answer stood, or that it does not read. */
  passed: number;
}

/** How the lane is. */
export interface FastLaneStatus {
  /** checking: for the first moments of a process. off: for good; the log has the reason. */
  readonly state: "checking" | "on" | "off";
  readonly counts: Readonly<FastLaneCounts>;
}

export interface FastLaneOptions {
  readonly server: Server;
  readonly answers: FastAnswers;
  /** As the server has it. */
  readonly maxHeaderBytes: number;
  /** Called once when the lane turns itself off. */
  readonly warn: (reason: string, error: unknown) => void;
  /** Looks whether node is as expected. Once per process, unless a test brings its own. */
  readonly check?: () => Promise<string | undefined>;
}

let checked: Promise<string | undefined> | undefined;

/** Connections that have been taken, by any lane. */
const taken = new WeakSet<Socket>();

export class FastLane implements FastLaneStatus {
  readonly answers: FastAnswers;
  readonly reader: RequestReader;
  readonly output = new Output();
  readonly counts: FastLaneCounts = { connections: 0, answered: 0, passed: 0 };
  /** Settles when it is known whether the lane is on. */
  readonly ready: Promise<void>;
  readonly #server: Server;
  readonly #warn: FastLaneOptions["warn"];
  #state: FastLaneStatus["state"] = "checking";

  constructor({ server, answers, maxHeaderBytes, warn, check = () => (checked ??= differenceInNode()) }: FastLaneOptions) {
    this.answers = answers;
    this.reader = new RequestReader(Math.min(maxHeaderBytes, maxHeadBytes));
    this.#server = server;
    this.#warn = warn;
    this.ready = check().then(
      (difference) => {
        if (difference === undefined) this.#state = "on";
        else this.turnOff(`this Node is not as expected: ${difference}`, undefined);
      },
      (error: unknown) => this.turnOff("it could not be checked whether this Node is as expected", error),
    );
  }

  get state(): FastLaneStatus["state"] {
    return this.#state;
  }

  get isOn(): boolean {
    return this.#state === "on";
  }

  /** From now on everything goes the ordinary way. */
  turnOff(reason: string, error: unknown): void {
    if (this.#state === "off") return;
    this.#state = "off";
    this.#warn(reason, error);
  }

  /** `request`, being handled, was one that the lane could have answered: it takes the connection, if it is one for it. */
  invite(request: IncomingMessage): void {
    const { socket } = request;
    if (this.#state !== "on" || taken.has(socket)) return;
    // Plain TCP only: what TLS hands on has other rules of its own, and requests of inject() have no socket at all.
    if (!(socket instanceof Socket) || "encrypted" in socket || this.#server.maxRequestsPerSocket! > 0) return;
    // Somebody beside the app looks at every request of the server.
    if (this.#server.listenerCount("request") !== 1) return;
    const watch = MessageWatch.of(request);
    if (watch === undefined) return;
    taken.add(socket);
    this.counts.connections++;
    LaneConnection.take(this, this.#server, socket, watch);
  }
}
