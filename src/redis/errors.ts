// The error codes of redis. What a server answers stays its own word, without the command's arguments.

import { defineErrors } from "../core/index.ts";

export const redisErrors = defineErrors({
  MILLRACE_REDIS_CLIENT_MISSING: {
    when: "A Redis URL is given, but the package ioredis is not installed.",
    next: "Run npm install ioredis, or pass a client of your own.",
    retryable: false,
    message: () => "A connection to Redis needs the package ioredis 6. Run: npm install ioredis",
  },
  MILLRACE_REDIS_URL_INVALID: {
    when: "A Redis URL cannot be read. The message does not show it, because it may hold a password.",
    next: "Write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/redis.sock.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The Redis URL ${d.reason}. Write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/redis.sock.`,
  },
  MILLRACE_REDIS_UNAVAILABLE: {
    when: "Redis cannot be reached, is not ready, or the connection broke while a command was running.",
    next: "Check that the server runs and that the URL is right; the kit keeps trying and recovers by itself.",
    retryable: true,
    message: (d: { server: string; reason: string }) => `Redis at ${d.server} cannot be reached: ${d.reason}`,
  },
  MILLRACE_REDIS_REFUSED: {
    when: "Redis answered a command with an error.",
    next: "Read the reason: it is the server's own.",
    retryable: false,
    message: (d: { server: string; command: string; reason: string }) => `Redis at ${d.server} refused ${d.command}: ${d.reason}`,
  },
});
