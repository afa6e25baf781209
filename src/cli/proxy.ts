// `millrace proxy`: a caching reverse proxy in front of anything. See docs/proxy.md.

import { connect } from "node:net";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Duration } from "../core/index.ts";
import { createProxy, proxyOriginFailureChannel, proxyRequestChannel } from "../proxy/index.ts";

interface ProxyCommandOptions {
  readonly to: string;
  readonly port: number;
  readonly listen: string;
  readonly memory: number;
  readonly staleIfError: Duration;
  readonly setCookie: "explicit" | "store" | "refuse";
  readonly heuristic?: true;
  readonly keepHost?: true;
  readonly trustForwarded?: true;
  readonly ignoreClientDirectives?: true;
  readonly log?: true;
}

const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** A word of warning now is better than a page of 502 later. The proxy serves all the same: the origin may come up. */
function lookForOrigin(to: string): void {
  const url = new URL(to);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const socket = connect({ host, port: Number(url.port || (url.protocol === "https:" ? 443 : 80)), timeout: 3_000 });
  const warn = (reason: string) => {
    say(`warning: ${url.origin} does not answer (${reason}); requests get 502 until it does`);
    socket.destroy();
  };
  socket.once("connect", () => socket.destroy());
  socket.once("timeout", () => warn("no connection in time"));
  socket.once("error", (error: NodeJS.ErrnoException) => warn(error.code ?? error.message));
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
const signalled = (): Promise<void> =>
  new Promise((resolve) => {
    let first = true;
    const onSignal = () => {
      if (!first) process.exit(1);
      first = false;
      resolve();
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
  });

async function run(options: ProxyCommandOptions): Promise<void> {
  await using proxy = createProxy({
    to: options.to,
    maxBytes: options.memory * 2 ** 20,
    staleIfError: options.staleIfError,
    setCookie: options.setCookie,
    heuristic: options.heuristic === true,
    host: options.keepHost ? "client" : "origin",
    trustForwarded: options.trustForwarded === true,
    clientDirectives: options.ignoreClientDirectives !== true,
  });
  const address = await proxy.listen({ port: options.port, host: options.listen });
  const stop = signalled();
  using _failures = proxyOriginFailureChannel.subscribe(({ method, path, reason }) =>
    say(`origin failed: ${method} ${path}: ${reason}`),
  );
  using _requests = options.log
    ? proxyRequestChannel.subscribe((message) => void process.stdout.write(`${JSON.stringify(message)}\n`))
    : undefined;
  say(`${address.url} → ${new URL(options.to).href}, ${options.memory} MiB in memory`);
  lookForOrigin(options.to);
  await stop;
  say("closing: requests that run end first");
}

export function proxy(): Command {
  return new Command("proxy")
    .description("a caching reverse proxy in front of anything")
    .requiredOption("--to <url>", "the origin, such as http://127.0.0.1:3000")
    .option("--port <number>", "where to listen; 0: any free port", wholeNumber(0, 65_535), 8080)
    .option("--listen <address>", "address to listen on; 0.0.0.0 or :: for all", "127.0.0.1")
    .option("--memory <MiB>", "what stored answers may take", wholeNumber(1, 1_048_576), 64)
    .option("--stale-if-error <duration>", "how long a stale answer stands in for an origin that fails, if it does not say", "1h")
    .addOption(
      new Option("--set-cookie <rule>", "answers that set a cookie: stored when they are for shared caches, always, never")
        .choices(["explicit", "store", "refuse"])
        .default("explicit"),
    )
    .option("--heuristic", "answers that do not say how long they are fresh are, for a tenth of their age")
    .option("--keep-host", "ask the origin for the host that the client named")
    .option("--trust-forwarded", "believe X-Forwarded-For, -Host and -Proto of the client")
    .option("--ignore-client-directives", "clients may not ask for less or more by Cache-Control")
    .option("--log", "a line of JSON for each request, on standard output")
    .action(run);
}
