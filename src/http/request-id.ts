// Request ids: the client's own when it has the form of one, else one of ours.

import type { IncomingMessage } from "node:http";
import { newWorkId } from "../concurrency/index.ts";

/** UUIDs, ULIDs, trace ids and our own; nothing that could break a log line or a header. */
const acceptable = /^[A-Za-z0-9][A-Za-z0-9._~+/=-]{7,127}$/;

export const newRequestId = newWorkId;

/** `given` if it has the form of an id, else a new one. */
export const acceptedRequestId = (given: string | undefined): string =>
  given !== undefined && acceptable.test(given) ? given : newRequestId();

export const requestIdOf = ({ headers }: IncomingMessage): string =>
  acceptedRequestId(headers["x-request-id"] as string | undefined);
