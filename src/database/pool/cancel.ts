// Cancelling a running statement: PostgreSQL takes the request on a connection of its own (CancelRequest, protocol 3.0, 55.2.8).

import pg from "pg";
import { cancelChannel } from "../channels.ts";

/** What of a pg Client a cancel request needs; these fields are not in its public types. */
interface CancelTarget {
  readonly host: string;
  readonly port: number;
  readonly ssl: boolean | object;
  readonly sslNegotiation: string;
  readonly processID: number | null;
  readonly secretKey: number | null;
}

/** A connection that only says "cancel"; the parts of pg.Connection that this takes. */
interface CancelConnection {
  readonly stream: { unref?(): void; destroy(): void };
  connect(portOrPath: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processId: number, secretKey: number): void;
  on(event: string, listener: (error?: unknown) => void): void;
}

/** How long the server may take to accept the request: then it is given up and the socket destroyed. */
const cancelTimeoutMs = 5_000;

/**
 * Asks the server to cancel whatever `client` is running. Resolves when the server has closed the request's connection, by
 * when the signal has been sent: only then is it safe to run something else on `client`. Never rejects: a cancel that cannot
 * be delivered leaves the statement to its own end.
 */
export function cancelRunning(client: pg.Client): Promise<void> {
  const target = client as unknown as CancelTarget;
  const { processID, secretKey } = target;
  if (processID === null || secretKey === null) return Promise.resolve();
  if (cancelChannel.hasSubscribers) cancelChannel.publish({ processId: processID });

  return new Promise((resolve) => {
    const connection = new pg.Connection({
      ssl: target.ssl,
      sslNegotiation: target.sslNegotiation,
    } as object) as unknown as CancelConnection;
    const timer = setTimeout(() => connection.stream.destroy(), cancelTimeoutMs);
    timer.unref();
    const send = () => connection.cancel(processID, secretKey);
    connection.on("connect", () =>
      target.ssl && target.sslNegotiation !== "direct" ? connection.requestSsl() : target.ssl || send(),
    );
    connection.on("sslconnect", send);
    connection.on("error", () => connection.stream.destroy());
    connection.on("end", () => {
      clearTimeout(timer);
      resolve();
    });
    if (target.host.startsWith("/")) connection.connect(`${target.host}/.s.PGSQL.${target.port}`);
    else connection.connect(target.port, target.host);
  });
}
