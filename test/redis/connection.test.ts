// The connection to Redis, on real servers.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { inspect, promisify } from "node:util";
import { Redis } from "ioredis";
import { connectRedis, defineScript, redisConnectionChannel, taggedKey } from "../../src/redis/index.ts";
import { debianPackage } from "../harness/debian.ts";
import { eventually } from "../harness/patience.ts";
import { testRedis, testRedisCluster, testSentinel } from "../harness/redis.ts";
import { freePort } from "../harness/server-process.ts";

const echo = defineScript("echo", "return {KEYS[1], ARGV[1]}");

/** Everything that a log would show of an error. */
const shown = (error: unknown) => inspect(error, { depth: 10, showHidden: true });

suite("a connection to Redis", () => {
  test("runs commands with binary values, over TCP and over a socket", async () => {
    await using server = await testRedis();
    const bytes = Buffer.from([0, 1, 13, 10, 255, 128]);
    for (const url of [server.url, `unix://${server.socket}`]) {
      await using redis = connectRedis({ url });
      assert.equal(redis.server, url.replace(/^\w+:\/\//, ""));
      await redis.whenReady();
      assert.ok(redis.ready);
      await redis.command("set", ["bytes", bytes]);
      assert.deepEqual(await redis.command("get", ["bytes"]), bytes);
    }
  });

  test("takes commands at once: those given before it is open wait for it", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url });
    assert.equal(redis.ready, false);
    assert.equal(String(await redis.command("ping", [])), "PONG");
  });

  test("runs a script by its hash, and in full when the server has forgotten it", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url });
    const run = async () => assert.deepEqual(await redis.run(echo, ["{k}:v"], ["one"]), [Buffer.from("{k}:v"), Buffer.from("one")]);
    await run();
    await run();
    assert.match(String(await server.command("info", "commandstats")), /cmdstat_eval:calls=1,/);
    await server.command("script", "flush");
    await run();
    await run();
    assert.match(String(await server.command("info", "commandstats")), /cmdstat_eval:calls=2,/);
  });

  test("fails at once while the server is away, and returns by itself", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url, maxRetryDelay: "100ms" });
    await redis.whenReady();
    const lost = redisConnectionChannel.next(({ event }) => event === "lost", AbortSignal.timeout(20_000));
    await server.kill();
    await lost;
    await assert.rejects(redis.command("ping", []), { code: "MILLRACE_REDIS_UNAVAILABLE", retryable: true });
    const ready = redisConnectionChannel.next(({ event }) => event === "ready", AbortSignal.timeout(20_000));
    await server.start();
    await ready;
    assert.equal(String(await redis.command("ping", [])), "PONG");
  });

  test("what was on its way when the connection broke fails, and is not done later", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url, maxRetryDelay: "100ms" });
    await redis.whenReady();
    await server.pause();
    const pending = redis.command("incr", ["count"]);
    const failed = assert.rejects(pending, { code: "MILLRACE_REDIS_UNAVAILABLE" });
    await server.kill();
    await failed;
    await server.start();
    await eventually("connected again", () => redis.ready);
    assert.equal(await redis.command("get", ["count"]), null);
  });

  test("a stopped server ends a command at its timeout, and the silent connection is opened anew", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url, commandTimeout: "100ms", silenceTimeout: "300ms", maxRetryDelay: "100ms" });
    await redis.whenReady();
    const lost = redisConnectionChannel.next(({ event }) => event === "lost", AbortSignal.timeout(20_000));
    await server.pause();
    await assert.rejects(redis.command("ping", []), { code: "MILLRACE_REDIS_UNAVAILABLE" });
    await lost;
    server.resume();
    await eventually("connected again", () => redis.ready);
    assert.equal(String(await redis.command("ping", [])), "PONG");
  });

  test("a refusal is told from an absence", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url });
    await redis.command("set", ["text", "a"]);
    await assert.rejects(redis.command("lpush", ["text", "b"]), { code: "MILLRACE_REDIS_REFUSED", message: /lpush: WRONGTYPE/ });
    await server.command("config", "set", "min-replicas-to-write", 1);
    await assert.rejects(redis.command("set", ["text", "b"]), { code: "MILLRACE_REDIS_UNAVAILABLE", message: /NOREPLICAS/ });
  });

  test("never shows a password or a value: not in messages, causes or channels", async () => {
    await using server = await testRedis({ settings: { requirepass: "right-secret" }, password: "right-secret" });
    const heard: unknown[] = [];
    using _subscription = redisConnectionChannel.subscribe((message) => heard.push(message));
    await using wrong = connectRedis({ url: server.url.replace("//", "//:wrong-secret@"), maxRetryDelay: "10ms" });
    const refused = await wrong.command("get", ["k"]).then(
      () => assert.fail(),
      (error: unknown) => error,
    );
    assert.match(String(refused), /WRONGPASS|invalid/);
    await using right = connectRedis({ url: server.url.replace("//", "//:right-secret@") });
    await right.command("set", ["k", "private value"]);
    const wrongType = await right.command("lpush", ["k", "private value"]).then(
      () => assert.fail(),
      (error: unknown) => error,
    );
    const text = [refused, wrongType, heard].map(shown).join("\n");
    assert.doesNotMatch(text, /-secret|private value/);
  });

  test("a URL that cannot be read is refused without being shown", () => {
    for (const [url, reason] of [
      ["http://user:secret@host", /begins with http:/],
      ["redis://user:secret%@host", /not percent-encoded/],
      ["redis://user:secret@host/none", /database that is not a number/],
      ["redis://user:secret@host?tls=secret", /not known/],
      ["user:secret", /begins with user:/],
      ["secret", /is not a URL/],
    ] as const) {
      const error = (() => {
        try {
          connectRedis({ url });
          return assert.fail(url);
        } catch (thrown) {
          return thrown as Error;
        }
      })();
      assert.match(error.message, reason);
      assert.doesNotMatch(shown(error).replaceAll(/^ +at .*$/gm, ""), /secret/);
    }
    assert.throws(() => connectRedis({}), { code: "MILLRACE_OPTION_INVALID" });
  });

  for (const protocol of [2, 3] as const) {
    test(`works on clients of ioredis that are the caller's, RESP${protocol}: alone and as a cluster`, async () => {
      await using single = await testRedis();
      await using cluster = await testRedisCluster();
      const clients = [
        new Redis({ port: single.port, host: "127.0.0.1", protocol }),
        new Redis({ port: single.port, host: "127.0.0.1", protocol, lazyConnect: true }),
        cluster.client({ redisOptions: { protocol } }),
      ];
      using _disconnect = { [Symbol.dispose]: () => clients.forEach((client) => client.disconnect()) };
      for (const client of clients) {
        const redis = connectRedis({ client });
        await redis.whenReady();
        const key = taggedKey("test:", "a } b");
        assert.deepEqual(await redis.run(echo, [`${key}:v`], ["x"]), [Buffer.from(`${key}:v`), Buffer.from("x")]);
        const subscribed = Promise.withResolvers<void>();
        const message = Promise.withResolvers<Buffer>();
        const subscription = redis.subscribe("news", message.resolve, subscribed.resolve);
        await subscribed.promise;
        await redis.command("publish", ["news", Buffer.from([1, 255])]);
        assert.deepEqual(await message.promise, Buffer.from([1, 255]));
        await subscription.close();
        await redis.close();
        assert.equal(client.status, "ready"); // still the caller's
      }
    });
  }

  test("rediss:// is TLS: a certificate that nobody vouches for, or of another name, is refused", async () => {
    const openssl = await debianPackage("openssl", "openssl");
    const directory = await mkdtemp(join(tmpdir(), "millrace-tls-"));
    await using _remove = { [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
    const [keyFile, certificateFile] = [join(directory, "key.pem"), join(directory, "certificate.pem")];
    const request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=redis.example";
    await promisify(execFile)(openssl, [
      ...request.split(" "),
      "-addext",
      "subjectAltName=DNS:redis.example",
      "-keyout",
      keyFile,
      "-out",
      certificateFile,
    ]);
    const tlsPort = await freePort();
    await using _server = await testRedis({
      settings: {
        "tls-port": String(tlsPort),
        "tls-cert-file": certificateFile,
        "tls-key-file": keyFile,
        "tls-auth-clients": "no",
      },
    });
    const ca = await readFile(certificateFile, "utf8");
    const url = `rediss://127.0.0.1:${tlsPort}`;
    const attempts = [
      { tls: {}, refused: /self-signed certificate/ },
      { tls: { ca }, refused: /127\.0\.0\.1.*cert/i },
      { tls: { ca, servername: "redis.example" }, refused: undefined },
    ];
    for (const { tls, refused } of attempts) {
      const reason = redisConnectionChannel.next(({ event, reason: why }) => event === "retry" && why !== undefined);
      await using redis = connectRedis({ url, tls });
      if (refused) assert.match((await reason).reason!, refused);
      else {
        await redis.whenReady();
        assert.equal(String(await redis.command("ping", [])), "PONG");
      }
    }
  });

  test("behind Sentinel the new primary is found after a failover", async () => {
    await using primary = await testRedis();
    await using replica = await testRedis();
    await replica.command("replicaof", "127.0.0.1", primary.port);
    await using sentinel = await testSentinel(primary);
    const client = new Redis({
      sentinels: [{ host: "127.0.0.1", port: sentinel.port }],
      name: "main",
      sentinelRetryStrategy: () => 50,
    });
    client.on("error", () => {});
    using _disconnect = { [Symbol.dispose]: () => client.disconnect() };
    await using redis = connectRedis({ client });
    await redis.whenReady();
    await redis.command("set", ["k", "before"]);
    await eventually("replicated", async () => (await replica.command("get", "k")) === "before");
    await eventually("Sentinel knows the replica", async () =>
      String(await sentinel.command("sentinel", "replicas", "main")).includes(String(replica.port)),
    );
    await primary.kill();
    await eventually(
      "the promoted one takes writes",
      () =>
        redis.command("set", ["k", "after"]).then(
          () => true,
          () => false,
        ),
      60_000, // Sentinel takes its time
    );
    assert.equal(await replica.command("get", "k"), "after");
  });

  test("a command on a caller's client that waits forever has a timeout all the same, and nothing is queued for later", async () => {
    await using server = await testRedis();
    const client = new Redis({ port: server.port, host: "127.0.0.1" });
    client.on("error", () => {});
    await using redis = connectRedis({ client, commandTimeout: "100ms" });
    await redis.whenReady();
    await server.pause();
    await assert.rejects(redis.command("ping", []), { code: "MILLRACE_REDIS_UNAVAILABLE" });
    await server.kill();
    await eventually("the client has noticed", () => client.status !== "ready");
    await assert.rejects(redis.command("incr", ["count"]), { code: "MILLRACE_REDIS_UNAVAILABLE" });
    await server.start();
    await eventually("the client has returned", () => client.status === "ready");
    assert.equal(await redis.command("get", ["count"]), null);
    client.disconnect();
  });

  test("a subscription comes back after the server has", async () => {
    await using server = await testRedis();
    await using redis = connectRedis({ url: server.url, maxRetryDelay: "50ms" });
    const heard: string[] = [];
    let subscriptions = 0;
    await using _subscription = redis.subscribe(
      "news",
      (message) => heard.push(message.toString()),
      () => subscriptions++,
    );
    await eventually("subscribed", () => subscriptions > 0);
    const before = subscriptions;
    await server.kill();
    await server.start();
    await eventually("subscribed again", () => subscriptions > before);
    await eventually("connected again", () => redis.ready);
    await redis.command("publish", ["news", "again"]);
    await eventually("heard", () => heard.includes("again"));
  });
});
