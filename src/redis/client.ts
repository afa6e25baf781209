// What the kit needs of a Redis client. ioredis' Redis and Cluster have this shape, so a client of the user's own works as it is.

/** An argument of a command. Numbers are sent as their decimal text. */
export type RedisArgument = string | Buffer | number;

/** A client as ioredis makes it: `new Redis(…)`, `new Cluster(…)`. Nothing of it is used that is not here. */
export interface RedisClient {
  /** "ready" when commands can be sent at once; "wait" when the first command connects. */
  readonly status: string;
  /** Sends a command and resolves with its reply, texts as Buffers. */
  callBuffer(command: string, args: RedisArgument[]): Promise<unknown>;
  /** Another client with the same settings, for a subscription. */
  duplicate(): RedisClient;
  on(event: string, listener: (...values: unknown[]) => void): unknown;
  off(event: string, listener: (...values: unknown[]) => void): unknown;
  /** Closes the connection at once; it does not come back. */
  disconnect(): void;
}
