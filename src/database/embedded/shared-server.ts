// This process's share in one embedded server: joined once however many handles there are, kept alive while any is open,
// and the server stopped on leaving when this process was the last. See docs/embedded-postgresql.md.

import { setTimeout as sleep } from "node:timers/promises";
import { formatDuration, systemClock } from "../../core/index.ts";
import { embeddedServerChannel } from "../channels.ts";
import { type Cluster, prepareCluster } from "./cluster.ts";
import { type StartOptions, joinOrStart } from "./join-or-start.ts";
import { type Departure, leaveServer } from "./leave.ts";
import { type ResolvedEmbeddedPostgresOptions, lookEveryMs, restartWaits, stopTimeouts } from "./options.ts";
import { type Presence, isConnectionEnd, join } from "./presence.ts";

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class SharedServer {
  readonly cluster: Cluster;
  #presence: Presence;
  readonly #options: StartOptions;
  readonly #log: (message: string) => void;
  readonly #closing = new AbortController();
  #recovering: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  #handles = 0;

  private constructor(cluster: Cluster, presence: Presence, options: StartOptions, log: (message: string) => void) {
    this.cluster = cluster;
    this.#presence = presence;
    this.#options = { ...options, signal: this.#closing.signal };
    this.#log = log;
    this.#watch(presence);
  }

  /** Prepares the files, joins or starts the server. */
  static async open(options: ResolvedEmbeddedPostgresOptions): Promise<SharedServer> {
    const startedAtMs = systemClock.monotonic();
    const cluster = await prepareCluster(options.dataDir, options.log, options.settings["fsync"] !== "off");
    const start: StartOptions = { settings: options.settings, timeoutMs: options.startTimeout };
    const { presence, started } = await joinOrStart(cluster, start);
    const took = formatDuration(Math.round(systemClock.monotonic() - startedAtMs));
    options.log(
      started
        ? `Started PostgreSQL ${presence.version} (process ${presence.pid}) on ${cluster.pgdata} in ${took}.`
        : `Joined the PostgreSQL ${presence.version} server (process ${presence.pid}) that runs on ${cluster.pgdata}.`,
    );
    embeddedServerChannel.publish({
      event: started ? "started" : "joined",
      pid: presence.pid,
      pgdata: cluster.pgdata,
      error: undefined,
    });
    return new SharedServer(cluster, presence, start, options.log);
  }

  get version(): string {
    return this.#presence.version;
  }

  get pid(): number {
    return this.#presence.pid;
  }

  /** Resolves once the server has been left; undefined while it is in use. */
  get closed(): Promise<void> | undefined {
    return this.#closed;
  }

  ensureDatabase(name: string): Promise<void> {
    return this.#presence.ensureDatabase(name);
  }

  /** Counts one more user in this process. */
  acquire(): void {
    this.#handles++;
  }

  /** Counts one less; the last leaves the server, and stops it when no other process is present. */
  async release(): Promise<void> {
    if (--this.#handles === 0) await (this.#closed = this.#leave());
  }

  #watch(presence: Presence): void {
    void presence.lost.then(() => {
      if (!this.#closing.signal.aborted) this.#recovering = this.#recover();
    });
  }

  /** The server or only the connection is gone: be present again, starting the server when it crashed. Never gives up while open. */
  async #recover(): Promise<void> {
    const { signal } = this.#closing;
    embeddedServerChannel.publish({ event: "lost", pid: this.pid, pgdata: this.cluster.pgdata, error: undefined });
    for (let waitMs: number = restartWaits.firstMs; !signal.aborted; waitMs = Math.min(waitMs * 2, restartWaits.maxMs)) {
      try {
        const { presence, started } = await joinOrStart(this.cluster, this.#options);
        this.#presence = presence;
        if (started) this.#log(`The embedded PostgreSQL server had ended; it was started again (process ${presence.pid}).`);
        embeddedServerChannel.publish({
          event: started ? "restarted" : "joined",
          pid: presence.pid,
          pgdata: this.cluster.pgdata,
          error: undefined,
        });
        this.#watch(presence);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#log(`${messageOf(error)} Trying again in ${formatDuration(waitMs)}.`);
        embeddedServerChannel.publish({ event: "failed", pid: this.pid, pgdata: this.cluster.pgdata, error });
        await sleep(waitMs, undefined, { ref: false, signal }).catch(() => {});
      }
    }
  }

  /** Leaves in order. When the connection broke meanwhile, joins once more to learn whether a server is left without anybody. */
  async #leave(): Promise<void> {
    this.#closing.abort(new Error("closing"));
    await this.#recovering;
    let presence: Presence | undefined = this.#presence;
    let departure: Departure | undefined;
    while (presence && departure === undefined) {
      departure = await leaveServer(this.cluster, presence).catch((error: unknown) => {
        if (!isConnectionEnd(error)) throw error;
        return undefined;
      });
      if (departure === undefined) presence = await this.#rejoin();
    }
    const { pgdata } = this.cluster;
    if (departure === "elsewhere") this.#log(`The PostgreSQL server on ${pgdata} runs in another container; it is left running.`);
    if (departure === "stopped") {
      this.#log(`Stopped the PostgreSQL server on ${pgdata}.`);
      embeddedServerChannel.publish({ event: "stopped", pid: this.pid, pgdata, error: undefined });
    }
  }

  async #rejoin(): Promise<Presence | undefined> {
    const untilMs = systemClock.monotonic() + stopTimeouts.fastMs;
    for (;;) {
      const outcome = await join(this.cluster, stopTimeouts.fastMs);
      if (typeof outcome === "object") return outcome;
      if (outcome !== "not yet or no longer" || systemClock.monotonic() > untilMs) return undefined;
      await sleep(lookEveryMs);
    }
  }
}
