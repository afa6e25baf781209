// What a Redis must be so that it can be trusted with tasks, looked at when the store is set up.

import type { RedisConnection } from "../../redis/index.ts";
import { tasksErrors } from "../errors.ts";

/** Counts up when keys come to mean something else; a newer one is not touched. */
const formatVersion = 1;

const refused = (server: string, reason: string) => tasksErrors.create("MILLRACE_TASKS_REDIS_UNSUITABLE", { server, reason });

/** Warned of once per server and process. */
const warned = new Set<string>();

/** @throws MILLRACE_TASKS_REDIS_UNSUITABLE */
export async function checkServer(connection: RedisConnection, base: string): Promise<void> {
  const { server } = connection;
  const info = String(await connection.command("info", []));
  const setting = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
  const version = setting("redis_version");
  if (Number.parseInt(version, 10) < 6) throw refused(server, `it is Redis ${version}, and 6 is the oldest that works.`);
  if (setting("role") !== "master") throw refused(server, "it is a replica, which takes no writes.");
  const policy = setting("maxmemory_policy");
  if (policy.startsWith("allkeys-") && setting("maxmemory") !== "0") {
    throw refused(
      server,
      `its maxmemory-policy is ${policy}, under which it throws tasks away when memory is short. Set it to noeviction (or volatile-…: the store's keys have no time to live).`,
    );
  }
  if (setting("aof_enabled") === "0" && !warned.has(server)) {
    warned.add(server);
    process.emitWarning(
      `Redis at ${server} has no append-only file (appendonly no): when it restarts, tasks since its last snapshot are lost.`,
      "MillraceWarning",
    );
  }
  await connection.command("set", [`${base}:v`, formatVersion, "NX"]);
  const there = Number(String(await connection.command("get", [`${base}:v`])));
  if (there > formatVersion) throw refused(server, `its tasks are of a newer version of the kit (format ${there}).`);
}
