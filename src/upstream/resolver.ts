// Names to addresses, remembered for a while, looked up once for all who need them, and never to an address that is not allowed.
// Every connection asks here, so that a name that changes between a check and its use cannot lead elsewhere. See docs/upstream.md.

import { lookup as systemLookup } from "node:dns/promises";
import type { LookupFunction } from "node:net";
import { createLruMap, createSingleFlight, runInContext } from "../concurrency/index.ts";
import { Deadline, newWorkId } from "../concurrency/index.ts";
import type { Clock } from "../core/index.ts";
import { upstreamErrors } from "./errors.ts";

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

/** Looks a name up. The default is the system's getaddrinfo. */
export type Resolve = (hostname: string) => Promise<readonly ResolvedAddress[]>;

/** Names that are remembered: an upstream has a few. */
const maxNames = 64;

export const resolveBySystem: Resolve = (hostname) => systemLookup(hostname, { all: true });

export interface ResolverOptions {
  readonly resolve: Resolve;
  /** How long an answer is good. When a later look-up fails, the last answer still is. */
  readonly ttlMs: number;
  readonly isAllowed: (address: string) => boolean;
  readonly clock: Clock;
}

export class Resolver {
  readonly #options: ResolverOptions;
  readonly #answers = createLruMap<string, { readonly addresses: readonly ResolvedAddress[]; readonly untilMs: number }>({
    maxEntries: maxNames,
  });
  readonly #flights = createSingleFlight<string, readonly ResolvedAddress[]>();

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  /** Every address of a name, all of them allowed. @throws MILLRACE_UPSTREAM_ADDRESS_REFUSED, what the look-up throws */
  async addressesOf(hostname: string): Promise<readonly ResolvedAddress[]> {
    const { resolve, ttlMs, clock } = this.#options;
    const known = this.#answers.get(hostname);
    if (known && clock.monotonic() < known.untilMs) return known.addresses;
    // Not under the deadline of whoever needs it first: others wait for it as well.
    using unending = new Deadline();
    const addresses = await runInContext({ requestId: newWorkId(), deadline: unending }, () =>
      this.#flights.run(hostname, async () => {
        try {
          const found = await resolve(hostname);
          if (found.length === 0) throw new Error(`${hostname} has no address`);
          this.#check(hostname, found);
          this.#answers.set(hostname, { addresses: found, untilMs: clock.monotonic() + ttlMs });
          return found;
        } catch (error) {
          if (upstreamErrors.is(error) || !known) throw error;
          return known.addresses;
        }
      }),
    );
    return addresses;
  }

  /** For net.connect and tls.connect. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.addressesOf(hostname).then(
      (addresses) => {
        const family = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : options.family;
        const fitting = family ? addresses.filter((one) => one.family === family) : addresses;
        const [first] = fitting;
        if (!first) return callback(new Error(`${hostname} has no address of family ${family}`), "", 0);
        if (options.all) return callback(null, [...fitting]);
        return callback(null, first.address, first.family);
      },
      (error: unknown) => callback(error as NodeJS.ErrnoException, "", 0),
    );
  };

  /** Refuses a name of which any address is not allowed: one good address beside a bad one is how rebinding begins. */
  #check(hostname: string, addresses: readonly ResolvedAddress[]): void {
    for (const { address } of addresses) {
      if (!this.#options.isAllowed(address))
        throw upstreamErrors.create("MILLRACE_UPSTREAM_ADDRESS_REFUSED", { host: hostname, address });
    }
  }
}
