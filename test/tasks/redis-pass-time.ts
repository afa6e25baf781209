// Lets time pass for the keys of the Redis store: every moment that they have kept moves into the past.

import { defineScript } from "../../src/redis/index.ts";
import type { TestRedis } from "../harness/redis.ts";

/** KEYS: the base. ARGV: microseconds. The keys are those of src/tasks/redis/lua.ts. */
const script = defineScript(
  "pass-time",
  `local base, by = KEYS[1] .. ':', tonumber(ARGV[1])
local function less(key, ...)
  for _, field in ipairs({...}) do
    local at = redis.call('HGET', key, field)
    if at then redis.call('HSET', key, field, string.format('%.0f', at - by)) end
  end
end
for _, key in ipairs(redis.call('KEYS', base .. '*')) do
  local kind = string.match(string.sub(key, #base + 1), '^%l+')
  if kind == 'w' or kind == 'kd' or kind == 'kr' or kind == 'kw' or kind == 'a' or kind == 'f' or kind == 'gx' or kind == 'ux' then
    local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do redis.call('ZADD', key, string.format('%.0f', all[i + 1] - by), all[i]) end
  elseif kind == 't' then less(key, 'du', 'en', 'st', 'fi')
  elseif kind == 'g' then less(key, 'ended')
  elseif kind == 'u' then
    local id, how, till = string.match(redis.call('GET', key), '^(%S+) (%a) (%d+)$')
    redis.call('SET', key, id .. ' ' .. how .. ' ' .. string.format('%.0f', math.max(0, till - by)))
  elseif kind == 's' then
    for i = 0, redis.call('LLEN', key) - 1 do
      local at, n = string.match(redis.call('LINDEX', key, i), '^(%d+):(%d+)$')
      redis.call('LSET', key, i, string.format('%.0f', at - by) .. ':' .. n)
    end
  end
end
return 1`,
);

export async function passRedisTime(server: TestRedis, base: string, ms: number): Promise<void> {
  await server.command("eval", script.source, 1, base, Math.round(ms * 1_000));
}
