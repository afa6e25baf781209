// memcached for tests: Debian's, on a free port of loopback.

import { connect } from "node:net";
import { debianPackage } from "./debian.ts";
import { type ServerProcess, freePort, serverProcess } from "./server-process.ts";

export interface TestMemcached extends ServerProcess {
  /** host:port, the same after a restart. */
  readonly address: string;
  readonly port: number;
  /** Sends one line and resolves with what comes back up to the first line break. */
  line(text: string): Promise<string>;
}

const exchange = (port: number, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let received = "";
    socket.setTimeout(5_000, () => socket.destroy(new Error("memcached did not answer")));
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      const end = received.indexOf("\r\n");
      if (end === -1) return;
      resolve(received.slice(0, end));
      socket.destroy();
    });
    socket.write(`${text}\r\n`);
  });

/** Starts a memcached of 32 MiB. */
export async function testMemcached(args: readonly string[] = []): Promise<TestMemcached> {
  const program = await debianPackage("memcached", "memcached");
  const port = await freePort();
  const server = await serverProcess({
    program,
    // It refuses to run as root; "nobody" exists on every Debian.
    args: () => [
      ...(process.getuid?.() === 0 ? ["-u", "nobody"] : []),
      ...["-l", "127.0.0.1", "-p", String(port), "-U", "0", "-m", "32", "-t", "1"],
      ...args,
    ],
    answers: () =>
      exchange(port, "mn").then(
        (answer) => answer === "MN",
        () => false,
      ),
  });
  return Object.defineProperties(server, {
    address: { value: `127.0.0.1:${port}` },
    port: { value: port },
    line: { value: (text: string) => exchange(port, text) },
  }) as TestMemcached;
}
