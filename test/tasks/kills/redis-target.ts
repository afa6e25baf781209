// Redis as the target of a run of kills, and the faults that can be planted in it.

import { redisTaskStore } from "millrace/tasks";
import { eventually } from "../../harness/patience.ts";
import type { TestRedis } from "../../harness/redis.ts";
import { killQueue } from "./messages.ts";
import type { KillTarget } from "./run.ts";

/** Takes the first task that waits for the first time out of everything; the keys are those of src/tasks/redis/lua.ts. */
const loseOne = `
for rank = 0, 3 do
  local place = KEYS[1] .. ':w:' .. ARGV[1] .. ':' .. rank
  for _, id in ipairs(redis.call('ZRANGE', place, 0, -1)) do
    if redis.call('HGET', KEYS[1] .. ':t:' .. id, 'a') == '0' then
      redis.call('ZREM', place, id)
      redis.call('ZREM', KEYS[1] .. ':ids', id)
      redis.call('DEL', KEYS[1] .. ':t:' .. id, KEYS[1] .. ':b:' .. id)
      return 1
    end
  end
end
return 0`;

/** Lets one that has completed at its first attempt wait again. */
const repeatOne = `
for _, id in ipairs(redis.call('ZRANGE', KEYS[1] .. ':f', 0, -1)) do
  local key = KEYS[1] .. ':t:' .. id
  local t = redis.call('HMGET', key, 's', 'a', 'c')
  if t[1] == 'c' and t[2] == '1' and not t[3] then
    redis.call('HSET', key, 's', 'w', 'a', 0)
    redis.call('HDEL', key, 'fi', 'kp')
    redis.call('ZREM', KEYS[1] .. ':f', id)
    return redis.call('ZADD', KEYS[1] .. ':w:' .. ARGV[1] .. ':0', 1, id)
  end
end
return 0`;

/** `plant`: a task that waits disappears, or one that has ended is there again. */
export function redisTarget(server: TestRedis, plant?: "lost" | "twice"): KillTarget & AsyncDisposable {
  const own = redisTaskStore({ url: server.url, timeout: "10s" });
  return {
    store: "redis",
    url: server.url,
    own,
    async cutConnections() {
      // Commands and subscriptions; the connection that says so is spared.
      for (const type of ["normal", "pubsub"]) await server.command("client", "kill", "type", type);
    },
    ...(plant && {
      async plant() {
        const script = plant === "lost" ? loseOne : repeatOne;
        await eventually(
          "there is one to do it to",
          async () => (await server.command("eval", script, 1, "millrace:{tasks}", killQueue)) === 1,
        );
      },
    }),
    [Symbol.asyncDispose]: () => own.close(),
  };
}
