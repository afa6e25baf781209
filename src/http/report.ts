// What is said of every request when it has been answered: one line in the log and one message on the channel, whichever way the answer took.

import { requestChannel } from "./channels.ts";
import type { RequestMessage } from "./channels.ts";
import type { Kit } from "./kit.ts";

export interface RequestReport extends RequestMessage {
  /** Without the query. */
  readonly path: string;
  /** Not worth a line at level info: probes. */
  readonly quiet?: boolean;
}

/** Not part of the type that Fastify asks of loggers, but of pino. */
interface LevelAware {
  isLevelEnabled?(level: string): boolean;
}

/** Whether anybody hears of it. If not, nothing need be put together. */
export const isReported = ({ silent, log }: Kit): boolean =>
  requestChannel.hasSubscribers || (!silent && ((log as LevelAware).isLevelEnabled?.("info") ?? true));

export function report(kit: Kit, { path, quiet, ...message }: RequestReport): void {
  if (requestChannel.hasSubscribers) requestChannel.publish(message);
  if (kit.silent) return;
  const { requestId, method, route, status, durationMs, bytes, principalId } = message;
  const line = { requestId, method, route, path, status, ms: Math.round(durationMs * 100) / 100, bytes, principalId };
  if (quiet) kit.log.debug(line, "request");
  else kit.log.info(line, "request");
}
