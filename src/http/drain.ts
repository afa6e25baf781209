// Stopping without losing a request. See docs/health-and-drain.md.
//
// | phase           | begins with                  | new connections | requests on open ones    | ends when                             |
// | --------------- | ---------------------------- | --------------- | ------------------------ | ------------------------------------- |
// | not ready       | the signal; /readyz is 503   | accepted        | answered, then closed    | the delay is over                     |
// | listener closed | the delay's end              | refused         | answered, then closed    | no connection is open, or time is out |
// | cut             | the timeout                  | refused         | destroyed                | at once                               |

import { Server as NetServer, type Socket } from "node:net";
import type { Server } from "node:http";
import { type Clock, type Timer, systemClock } from "../core/index.ts";
import { drainChannel } from "./channels.ts";
import type { Kit } from "./kit.ts";

/** How often connections are looked at that became idle without having been told to close. */
const idleSweepMs = 50;

/** How long a flood of new connections may hold up the closing of the listener. Without one it takes a turn or two. */
const emptyQueueMs = 1_000;

/** What closeIdleConnections() asks of the answer that a connection is sending. */
const unfinished = { finished: false };

export class Drain {
  readonly #server: Server;
  readonly #kit: Kit;
  readonly #clock: Clock;
  readonly #connections = new Set<Socket>();
  /** How many connections have been accepted, ever. */
  #accepted = 0;
  #running: Promise<void> | undefined;

  constructor(server: Server, kit: Kit, clock: Clock = systemClock) {
    this.#server = server;
    this.#kit = kit;
    this.#clock = clock;
    server.on("connection", (socket: Socket) => {
      this.#accepted++;
      this.#connections.add(socket);
      socket.once("close", () => this.#connections.delete(socket));
    });
  }

  /** Stops the server: `delayMs` from now no connection is taken any more, `timeoutMs` from now none is left. Once. */
  run(delayMs: number, timeoutMs: number): Promise<void> {
    return (this.#running ??= this.#run(delayMs, timeoutMs));
  }

  async #run(delayMs: number, timeoutMs: number): Promise<void> {
    const startedMs = this.#clock.monotonic();
    this.#kit.draining = true;
    this.#say("not-ready");
    if (!this.#server.listening) return;
    if (delayMs > 0) await new Promise<void>((resolve) => this.#clock.timer(delayMs, resolve, true));
    await this.#untilQueueEmpty();
    // http.Server's own close() would close idle connections first, before what has just arrived on them is seen.
    NetServer.prototype.close.call(this.#server);
    this.#say("listener-closed");
    this.#closeIdle();
    this.#say("idle-closed");
    if (this.#connections.size > 0) await this.#untilClosed(Math.max(0, timeoutMs - (this.#clock.monotonic() - startedMs)));
    this.#say("drained");
  }

  /**
   * Closing the listener resets the connections that the kernel has made and nobody has accepted. libuv accepts one per turn of
   * the loop, so a turn without a new one has found the queue empty, and has read every byte that had come: whatever is closed
   * directly after it was idle a moment ago.
   */
  async #untilQueueEmpty(): Promise<void> {
    const untilMs = this.#clock.monotonic() + emptyQueueMs;
    let before: number;
    do {
      before = this.#accepted;
      await new Promise<void>((resolve) => setImmediate(resolve));
    } while (this.#accepted !== before && this.#clock.monotonic() < untilMs);
  }

  /**
   * Closes connections on which nothing is asked and nothing is owed. For node:http an answer is done when its last byte has been handed to the
   * socket, and closeIdleConnections() destroys the socket then, with whatever the client has not taken yet. So those that have bytes to send
   * pretend for this call to be in the middle of an answer; a later look finds them without.
   */
  #closeIdle(): void {
    const sending = [...this.#connections].filter((socket) => socket.writableLength > 0) as (Socket & {
      _httpMessage?: object | null;
    })[];
    const messages = sending.map(({ _httpMessage }) => _httpMessage);
    for (const socket of sending) socket._httpMessage = unfinished;
    this.#server.closeIdleConnections();
    for (const [i, socket] of sending.entries()) socket._httpMessage = messages[i];
  }

  #untilClosed(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      let sweep: Timer;
      const stop = () => {
        limit.clear();
        sweep.clear();
        resolve();
      };
      const limit = this.#clock.timer(
        timeoutMs,
        () => {
          this.#say("cut");
          this.#server.closeAllConnections();
          for (const socket of this.#connections) socket.destroy();
          stop();
        },
        true,
      );
      // Answers close their connections; this finds those whose answer had begun before the drain did.
      const look = () => {
        this.#closeIdle();
        sweep = this.#clock.timer(idleSweepMs, look, true);
      };
      look();
      for (const socket of this.#connections) socket.once("close", () => this.#connections.size === 0 && stop());
      if (this.#connections.size === 0) stop();
    });
  }

  #say(phase: "not-ready" | "listener-closed" | "idle-closed" | "cut" | "drained"): void {
    if (drainChannel.hasSubscribers) drainChannel.publish({ phase, connections: this.#connections.size });
  }
}
