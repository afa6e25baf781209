// Who may reach what, judged by owners and modes alone, so that it can be asked for users that this process is not.

import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assertOwnedByRoot } from "./binaries.ts";
import { canReach, nearestExisting } from "./server-user.ts";

/** A number that owns nothing here. */
const stranger = { uid: 54_321, gid: 54_321 };

async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "millrace-reach-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test("a user reaches a file when every directory above it can be entered and the file can be read", async () => {
  await using directory = await temporaryDirectory();
  const inner = join(directory.path, "inner");
  const file = join(inner, "file");
  await mkdir(inner);
  await writeFile(file, "");
  await chmod(directory.path, 0o711);
  await chmod(inner, 0o755);
  await chmod(file, 0o644);
  assert.equal(await canReach(stranger, file, 4), true);
  assert.equal(await canReach(stranger, file, 5), false, "it is no program");
  assert.equal(await canReach(stranger, directory.path, 1), true);
  assert.equal(await canReach(stranger, directory.path, 4), false, "entered, but not listed");

  await chmod(directory.path, 0o700);
  assert.equal(await canReach(stranger, file, 4), false);
  assert.equal(await canReach(undefined, file, 4), true, "the process itself needs no judging");
});

test("owner and group count before others, even when they may do less", async () => {
  await using directory = await temporaryDirectory();
  const { uid, gid } = await stat(directory.path);
  await chmod(directory.path, 0o705);
  assert.equal(await canReach({ uid, gid }, directory.path, 5), true);
  assert.equal(await canReach({ uid: stranger.uid, gid }, directory.path, 1), false);
  assert.equal(await canReach(stranger, directory.path, 5), true);
});

test("what does not exist is not reached, and the nearest directory that exists is found", async () => {
  await using directory = await temporaryDirectory();
  await chmod(directory.path, 0o755);
  assert.equal(await canReach(stranger, join(directory.path, "a/b"), 1), false);
  assert.equal(await nearestExisting(join(directory.path, "a/b/c")), directory.path);
  assert.equal(await nearestExisting("/nowhere/at/all"), "/");
});

test("programs are not started by root from a place that somebody else owns or may write to", async () => {
  await using directory = await temporaryDirectory();
  await chmod(directory.path, 0o777);
  await assert.rejects(assertOwnedByRoot(directory.path), { code: "MILLRACE_EMBEDDED_COPY_UNTRUSTED" });
  await assertOwnedByRoot("/usr");
});
