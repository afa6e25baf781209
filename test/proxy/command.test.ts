// `millrace proxy` as a process: its first line, its warnings, and how it ends.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { send } from "../http/client.ts";

const bin = join(import.meta.dirname, "../../src/cli/bin.ts");

class Command implements AsyncDisposable {
  readonly process: ChildProcess;
  stdout = "";
  stderr = "";
  readonly ended: Promise<number>;
  #wake = Promise.withResolvers<void>();

  constructor(args: readonly string[]) {
    const conditions = process.execArgv.filter((arg) => arg.startsWith("--conditions"));
    this.process = spawn(process.execPath, [...conditions, bin, "proxy", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    this.process.stdout!.on("data", (chunk: Buffer) => this.#heard("stdout", chunk));
    this.process.stderr!.on("data", (chunk: Buffer) => this.#heard("stderr", chunk));
    this.ended = new Promise((resolve) => this.process.once("close", (code) => resolve(code ?? -1)));
  }

  /** The first match in what it says on standard error. */
  async says(pattern: RegExp, where: "stderr" | "stdout" = "stderr"): Promise<RegExpExecArray> {
    const late = setTimeout(() => this.process.kill("SIGKILL"), 30_000);
    try {
      for (;;) {
        const match = pattern.exec(this[where]);
        if (match) return match;
        assert.equal(this.process.exitCode, null, `it ended: ${this.stderr}`);
        await Promise.race([this.#wake.promise, this.ended]);
      }
    } finally {
      clearTimeout(late);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  #heard(where: "stdout" | "stderr", chunk: Buffer): void {
    this[where] += chunk.toString();
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }
}

test("serves, logs, and lets a request end when it is told to stop", async () => {
  const { promise: slow, resolve: onSlow } = Promise.withResolvers<ServerResponse>();
  const server = createServer((request, response) => {
    if (request.url === "/slow") onSlow(response);
    else response.writeHead(200, { "Cache-Control": "max-age=60" }).end("body");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const to = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await using command = new Command(["--to", to, "--port", "0", "--log"]);
  const [, url] = await command.says(/^(http:\/\/\S+) → http:\/\/\S+, 64 MiB in memory$/m);
  assert.equal((await send(`${url}/x`)).text, "body");
  assert.match(String((await send(`${url}/x`)).headers["cache-status"]), /^millrace; hit/);
  await command.says(/"path":"\/x","status":200,"cacheStatus":"millrace; hit/, "stdout");

  const answer = send(`${url}/slow`);
  const response = await slow;
  command.process.kill("SIGTERM");
  await command.says(/closing/);
  response.end("whole");
  assert.equal((await answer).text, "whole");
  assert.equal(await command.ended, 0);
  assert.doesNotMatch(command.stderr, /warning/);

  // The same port for two.
  await using first = new Command(["--to", to, "--port", "0"]);
  const [, , port] = await first.says(/^(http:\/\/127\.0\.0\.1:(\d+)) /m);
  const second = new Command(["--to", to, "--port", port!]);
  assert.equal(await second.ended, 1);
  assert.match(second.stderr, new RegExp(`^Port ${port} of 127\\.0\\.0\\.1 is taken\\.`));
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test("says that the origin does not answer, and serves as soon as it does", async () => {
  const server = createServer((_request, response) => response.end("body"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  await using command = new Command(["--to", `http://127.0.0.1:${port}`, "--port", "0"]);
  const [, url] = await command.says(/^(http:\/\/\S+) →/m);
  await command.says(/^warning: http:\/\/127\.0\.0\.1:\d+ does not answer \(ECONNREFUSED\); requests get 502 until it does$/m);
  assert.equal((await send(`${url}/x`)).status, 502);
  await command.says(/^origin failed: GET \/x: connection refused$/m);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  assert.equal((await send(`${url}/x`)).text, "body");
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test("says what is wrong with its options", async () => {
  const missing = new Command([]);
  assert.equal(await missing.ended, 1);
  assert.match(missing.stderr, /--to <url>/);
  const wrong = new Command(["--to", "example.com"]);
  assert.equal(await wrong.ended, 1);
  assert.match(wrong.stderr, /the URL of an origin/);
  const help = new Command(["--help"]);
  assert.equal(await help.ended, 0);
  assert.match(help.stdout, /--heuristic/);
});
