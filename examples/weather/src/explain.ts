// What to tell whoever started the service when it does not start: one sentence for what can be expected to happen, everything
// for the rest.

import { MillraceError } from "millrace";
import { ConfigError } from "./config.ts";

/** What Node's and PostgreSQL's errors carry. */
interface Clues {
  readonly code?: string;
  readonly port?: number;
  readonly address?: string;
  readonly hostname?: string;
  /** Only PostgreSQL's errors have it. */
  readonly severity?: string;
}

export function explain(error: Error & Clues): unknown {
  const { code, port, address, hostname, severity, message } = error;
  if (error instanceof ConfigError || error instanceof MillraceError) return message;
  if (severity) return `PostgreSQL says: ${message}`;
  if (code === "EADDRINUSE") return `PORT ${port} is in use by another program. Set PORT to a free one, or to 0 for any.`;
  if (code === "EACCES" && port) return `PORT ${port} may not be used by this user. Set PORT to 1024 or more.`;
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND") return `HOST ${address ?? hostname} is not an address of this machine.`;
  return error;
}
