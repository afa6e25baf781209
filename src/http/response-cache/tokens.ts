// Read-your-writes across processes: an answer to a request that wrote carries a token, and a request that carries it gets no answer from before
// that write. What a token says, and how forged ones are told, is the matter of whoever makes them (millrace/freshness).

import type { Demand } from "../../cache/index.ts";
import type { WorkContext } from "../../concurrency/index.ts";
import { tokenIgnoredChannel } from "../channels.ts";
import type { Exchange } from "../exchange.ts";

/** The header in both directions. */
export const freshnessTokenHeader = "freshness-token";

/** Longer ones are not ours, and are not looked at. */
export const maxTokenLength = 1_024;

/** Makes and reads tokens. */
export interface CacheTokens {
  /**
   * What the work in `context` has written, as visible ASCII text without spaces, at most `maxTokenLength` long; undefined when it wrote
   * nothing. Called when its answer is about to leave. When it fails, the answer goes without.
   */
  issue(context: WorkContext): string | undefined | Promise<string | undefined>;
  /** What a request with this token demands; undefined when it is not one of ours. Must not throw for any text. */
  read(token: string): Demand | undefined;
}

const wellFormed = /^[\x21-\x7e]+$/;

/** What the request demands. A token that cannot be read is ignored: it may come from before a change of keys. */
export function demandOf(exchange: Exchange): Demand | undefined {
  const { tokens } = exchange.kit;
  const given = exchange.request.headers[freshnessTokenHeader];
  if (!tokens || given === undefined) return undefined;
  const isToken = typeof given === "string" && given.length <= maxTokenLength && wellFormed.test(given);
  const demand = isToken ? tokens.read(given) : undefined;
  if (!demand && tokenIgnoredChannel.hasSubscribers) {
    const { requestId, target } = exchange;
    tokenIgnoredChannel.publish({ requestId, route: target?.endpoint.path, reason: isToken ? "unreadable" : "malformed" });
  }
  return demand;
}

/** Puts the token of what `context` has written on the answer, then calls `send`. Without tokens it calls it at once. */
export function withToken(exchange: Exchange, context: WorkContext, send: () => void): void {
  const { tokens } = exchange.kit;
  if (!tokens) return send();
  const attach = (token: string | undefined): void => {
    if (token !== undefined && !exchange.answered && !exchange.reply.sent) exchange.reply.header(freshnessTokenHeader, token);
  };
  const complain = (error: unknown): void =>
    exchange.kit.log.warn({ requestId: exchange.requestId, err: error }, "no freshness token");
  try {
    const token = tokens.issue(context);
    if (token instanceof Promise) {
      void token.then(attach).catch(complain).then(send);
      return;
    }
    attach(token);
  } catch (error) {
    complain(error);
  }
  send();
}
