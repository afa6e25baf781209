// The scripts of the Redis store: each is one method of the contract, all or nothing, because Redis runs one at a time. Their first
// argument is always the base of the keys. See lua.ts for the keys.

import { lua, shortBytes, storeScript } from "./lua.ts";

/** Keys that a fetch looks at in vain before it gives up: each goes out of the list, so that the next fetch sees others. */
const keysInVain = 1_000;

/** In microseconds. */
const day = 86_400_000_000;

/**
 * ARGV: how many tasks, how many groups, then the tasks and the groups flat, or, when they are too many for the arguments of a command,
 * "json" before JSON of both lists. Answers {id, 1 when it is new} for each task, flat.
 */
export const enqueueScript = storeScript(
  "enqueue",
  lua.batch,
  `local list, at = ARGV, 3
if ARGV[3] == 'json' then
  list, at = {}, 1
  for part = 4, #ARGV do
    for _, text in ipairs(cjson.decode(ARGV[part])) do list[#list + 1] = text end
  end
end
local out = accept(list, at, tonumber(ARGV[1]), list, at + ARGV[1] * 7, tonumber(ARGV[2]))
flush()
tell()
return out`,
);

/**
 * The common case, with as little as possible around it: one task without limits, unique key or group. ARGV: id, queue, name, rank, due and
 * body, as in a batch. Answers 1 when it is new. A queue whose place was not empty is known, and so are its workers.
 */
export const enqueueOneScript = storeScript(
  "enqueue-one",
  [],
  `local id, q, due, body = ARGV[1], ARGV[2], ARGV[5], ARGV[6]
local key, place = base .. ':t:' .. id, base .. ':w:' .. q .. ':' .. ARGV[4]
if call('EXISTS', key) == 1 then return 0 end
due = string.sub(due, 1, 1) == '~' and now + tonumber(string.sub(due, 2)) or tonumber(due)
if #body <= ${shortBytes} then
  call('HSET', key, 's', 'w', 'a', 0, 'q', q, 'p', ARGV[4], 'n', ARGV[3], 'du', due, 'en', now, 'b', body)
else
  call('HSET', key, 's', 'w', 'a', 0, 'q', q, 'p', ARGV[4], 'n', ARGV[3], 'du', due, 'en', now)
  call('SET', base .. ':b:' .. id, body)
end
call('ZADD', base .. ':ids', 0, id)
call('ZADD', place, due, id)
if call('ZRANGE', place, 0, 0)[1] == id then
  call('SADD', base .. ':queues', q)
  call('PUBLISH', base .. ':events', 'r' .. q)
end
return 1`,
);

/** ARGV: rows of the outbox, two each: its id, and JSON of { tasks, groups }, both flat. One that was relayed before is skipped. */
export const relayScript = storeScript(
  "relay",
  lua.batch,
  `for i = 1, #ARGV, 2 do
  if call('ZADD', base .. ':o', 'NX', now, ARGV[i]) == 1 then
    local row = cjson.decode(ARGV[i + 1])
    accept(row.tasks, 1, #row.tasks / 7, row.groups, 1, #row.groups / 5)
  end
end
flush()
tell()
return 1`,
);

/** ARGV: unique keys. Answers the id of who holds each, or nil. */
export const holdersScript = storeScript(
  "holders",
  [lua.holder],
  `local out = {}
for i = 1, #ARGV do out[i] = holder(ARGV[i]) or false end
return out`,
);

/**
 * ARGV: worker, lease, how long in ms, then four a demand: queue, limit, rate or "", its window in ms. Answers a list per task:
 * {id, attempt, queue, name, rank, enqueued, due, body, progress, group}.
 */
export const fetchScript = storeScript(
  "fetch",
  [lua.frees, lua.pacing, lua.score],
  `local worker, lease, till = ARGV[1], ARGV[2], now + ARGV[3] * 1000
local out = {}
local turns = 0
local function take(q, id, held)
  local key = base .. ':t:' .. id
  local h = call('HMGET', key, 'a', 'n', 'p', 'en', 'du', 'b', 'pr', 'g')
  if not h[1] then return end
  local attempt = h[1] + 1
  call('HSET', key, 's', 'a', 'a', attempt, 'l', lease, 'w', worker, 'st', now)
  held[#held + 1] = till
  held[#held + 1] = id
  out[#out + 1] = {id, attempt, q, h[2], h[3], h[4], h[5], h[6] or call('GET', base .. ':b:' .. id), h[7], h[8]}
end
local function due(place, limit) return call('ZRANGEBYSCORE', place, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit) end
for i = 4, #ARGV, 4 do
  local q, want = ARGV[i], tonumber(ARGV[i + 1])
  if call('SISMEMBER', base .. ':paused', q) == 1 then want = 0 end
  if want > 0 and ARGV[i + 2] ~= '' then want = math.min(want, (startsLeft(q, ARGV[i + 2], ARGV[i + 3]))) end
  local held = {}
  if want > 0 then
    local late = due(base .. ':kd:' .. q, want + ${keysInVain})
    for j = 1, #late, 2 do
      local t = call('HMGET', base .. ':t:' .. late[j], 'p', 'c')
      call('ZREM', base .. ':kd:' .. q, late[j])
      if t[2] then
        local c = t[2]
        call('ZADD', base .. ':kr:' .. q, late[j + 1], late[j])
        call('ZADD', base .. ':kw:' .. q .. ':' .. c, score(t[1], late[j + 1]), late[j])
        call('SADD', base .. ':kq:' .. c, q)
        call('ZADD', base .. ':k:' .. q, 'NX', now, c)
      end
    end
    local keys = base .. ':k:' .. q
    if call('EXISTS', keys) == 0 then
      for rank = 0, 3 do
        if want <= 0 then break end
        local place = base .. ':w:' .. q .. ':' .. rank
        local ids = call('ZRANGEBYSCORE', place, '-inf', now, 'LIMIT', 0, want)
        if #ids > 0 then
          call('ZREMRANGEBYRANK', place, 0, #ids - 1)
          for _, id in ipairs(ids) do take(q, id, held) end
          want = want - #ids
        end
      end
    else
      -- Both kinds wait: whichever is next by rank and time, and of the keys the one whose turn it is.
      local free, at, taken = {}, 1, {[0] = 0, 0, 0, 0}
      for rank = 0, 3 do
        local ids = #free < want and due(base .. ':w:' .. q .. ':' .. rank, want - #free) or {}
        for j = 1, #ids, 2 do free[#free + 1] = {ids[j], score(rank, tonumber(ids[j + 1])), rank} end
      end
      local c, id, when, vain = nil, nil, nil, 0
      while want > 0 do
        while not id and vain < ${keysInVain} do
          c = call('ZRANGE', keys, 0, 0)[1]
          if not c then break end
          local first = call('ZRANGE', base .. ':kw:' .. q .. ':' .. c, 0, 0, 'WITHSCORES')
          if first[1] and call('SCARD', base .. ':ka:' .. c) < tonumber(call('HGET', base .. ':t:' .. first[1], 'x') or 0) then
            id, when = first[1], tonumber(first[2])
          else
            call('ZREM', keys, c)
            vain = vain + 1
          end
        end
        local other = free[at]
        if id and (not other or when <= other[2]) then
          call('ZREM', base .. ':kr:' .. q, id)
          call('ZREM', base .. ':kw:' .. q .. ':' .. c, id)
          if call('EXISTS', base .. ':kw:' .. q .. ':' .. c) == 1 then
            turns = turns + 1
            call('ZADD', keys, now + turns, c)
          else
            call('ZREM', keys, c)
            call('SREM', base .. ':kq:' .. c, q)
          end
          call('SADD', base .. ':ka:' .. c, id)
          take(q, id, held)
          id = nil
        elseif other then
          taken[other[3]] = taken[other[3]] + 1
          take(q, other[1], held)
          at = at + 1
        else break end
        want = want - 1
      end
      for rank = 0, 3 do
        if taken[rank] > 0 then call('ZREMRANGEBYRANK', base .. ':w:' .. q .. ':' .. rank, 0, taken[rank] - 1) end
      end
    end
    each('ZADD', base .. ':a:' .. q, held)
    if #held > 0 and ARGV[i + 2] ~= '' then
      call('RPUSH', base .. ':s:' .. q, exact(now) .. ':' .. (#held / 2))
      call('INCRBY', base .. ':sn:' .. q, #held / 2)
    end
  end
end
return out`,
);

/**
 * ARGV: seven a settlement: kind (c complete, d dead, x cancelled, r retry, l release), id, attempt, lease, ms (kept or delayed), text
 * (result or error, "" for none), more (reason of a death, JSON of what follows). Answers 1 or 0 (fenced) for each.
 */
export const settleScript = storeScript(
  "settle",
  [lua.frees, ...lua.settle],
  `local out = {}
for i = 1, #ARGV, 7 do
  local kind, ms, text, more = ARGV[i], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
  local task = held(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  out[#out + 1] = task and 1 or 0
  if task then
    drop(task)
    if kind == 'c' then
      if text ~= '' then finish(task, 'c', ms, 'r', text) else finish(task, 'c', ms) end
      if more ~= '' then
        local follow = cjson.decode(more)
        for g = 1, #follow.groups, 5 do addGroup(follow.groups, g) end
        for t = 1, #follow.tasks, 7 do add(follow.tasks, t, false) end
      end
    elseif kind == 'd' then finish(task, 'f', ms, 'e', text, 'dr', more)
    elseif kind == 'x' then finish(task, 'x', ms)
    elseif task.ck then
      if text ~= '' then finish(task, 'x', task.ck, 'e', text) else finish(task, 'x', task.ck) end
    elseif kind == 'r' then again(task, ms, task.a, 'e', text)
    else again(task, ms, task.a - 1) end
  end
end
letGo()
flush()
tell()
return out`,
);

/** ARGV: how long in ms, then three a lease: id, attempt, lease. Answers 1 (held), 2 (to be cancelled) or 0 (lost) for each. */
export const extendScript = storeScript(
  "extend",
  [lua.frees],
  `local till, out = now + ARGV[1] * 1000, {}
for i = 2, #ARGV, 3 do
  local t = call('HMGET', base .. ':t:' .. ARGV[i], 's', 'a', 'l', 'q', 'ck')
  local good = t[1] == 'a' and t[2] == ARGV[i + 1] and t[3] == ARGV[i + 2]
  if good then call('ZADD', base .. ':a:' .. t[4], 'XX', till, ARGV[i]) end
  out[#out + 1] = good and (t[5] and 2 or 1) or 0
end
return out`,
);

/** ARGV: four an update: id, attempt, lease, progress. */
export const progressScript = storeScript(
  "progress",
  [lua.frees],
  `for i = 1, #ARGV, 4 do
  local key = base .. ':t:' .. ARGV[i]
  local t = call('HMGET', key, 's', 'a', 'l')
  if t[1] == 'a' and t[2] == ARGV[i + 1] and t[3] == ARGV[i + 2] then call('HSET', key, 'pr', ARGV[i + 3]) end
end
return 1`,
);

/** ARGV: limit, delay in ms, kept for ms, error. Answers {id, queue, name, attempt, worker, state} for each. */
export const recoverScript = storeScript(
  "recover",
  [lua.frees, ...lua.settle],
  `local out, left = {}, tonumber(ARGV[1])
for _, q in ipairs(call('SMEMBERS', base .. ':queues')) do
  if left <= 0 then break end
  local ids = call('ZRANGEBYSCORE', base .. ':a:' .. q, '-inf', now, 'LIMIT', 0, left)
  left = left - #ids
  for _, id in ipairs(ids) do
    local task = read(id)
    if task.s == 'a' then
      out[#out + 1] = {id, q, task.n, task.a, call('HGET', base .. ':t:' .. id, 'w'), task.ck and 'x' or 'w'}
      drop(task)
      if task.ck then finish(task, 'x', ARGV[3], 'e', ARGV[4]) else again(task, ARGV[2], task.a, 'e', ARGV[4]) end
    else call('ZREM', base .. ':a:' .. q, id) end
  end
end
letGo()
flush()
tell()
return out`,
);

/** ARGV: three a demand: queue, rate or "", its window in ms. Answers microseconds, or nil. */
export const nextDueScript = storeScript(
  "next-due",
  [lua.pacing],
  `local soonest
for i = 1, #ARGV, 3 do
  local q = ARGV[i]
  if call('SISMEMBER', base .. ':paused', q) == 0 then
    local at = call('EXISTS', base .. ':k:' .. q) == 1 and now or nil
    for _, place in ipairs({':kd:' .. q, ':w:' .. q .. ':0', ':w:' .. q .. ':1', ':w:' .. q .. ':2', ':w:' .. q .. ':3'}) do
      local first = call('ZRANGE', base .. place, 0, 0, 'WITHSCORES')[2]
      if first and (not at or tonumber(first) < at) then at = tonumber(first) end
    end
    if at and ARGV[i + 1] ~= '' then
      local _, free = startsLeft(q, ARGV[i + 1], ARGV[i + 2])
      at = math.max(at, free)
    end
    if at and (not soonest or at < soonest) then soonest = at end
  end
end
return soonest and math.max(0, soonest - now)`,
);

/** ARGV: id, kept for ms. Answers "cancelled", "requested", "finished" or "unknown". */
export const cancelScript = storeScript(
  "cancel",
  [lua.frees, ...lua.move],
  `local task = read(ARGV[1])
if not task.s then return 'unknown' end
if task.s == 'a' then
  call('HSET', base .. ':t:' .. task.id, 'ck', ARGV[2])
  call('PUBLISH', base .. ':events', 'c' .. task.id)
  return 'requested'
end
if task.s ~= 'w' then return 'finished' end
unwait(task.id, task.q, task.p, task.c)
finish(task, 'x', ARGV[2])
flush()
tell()
return 'cancelled'`,
);

/** ARGV: id. Answers 1, or 0: it is not waiting. */
export const makeDueScript = storeScript(
  "make-due",
  [lua.frees, ...lua.move],
  `local task = read(ARGV[1])
if task.s ~= 'w' then return 0 end
local key = base .. ':t:' .. task.id
if tonumber(call('HGET', key, 'du')) > now then
  unwait(task.id, task.q, task.p, task.c)
  call('HSET', key, 'du', now)
  wait(task.id, task.q, task.p, now, task.c)
end
ready[task.q] = true
tell()
return 1`,
);

/** ARGV: "redrive" or "discard", queue or "", name or "", ids. Answers the ids of those that were dead, of that queue and name. */
export const deadScript = storeScript(
  "dead",
  [lua.frees, ...lua.move],
  `local out = {}
for i = 4, #ARGV do
  local task = read(ARGV[i])
  local id, key = task.id, base .. ':t:' .. ARGV[i]
  if task.s == 'f' and (ARGV[2] == '' or task.q == ARGV[2]) and (ARGV[3] == '' or task.n == ARGV[3]) then
    out[#out + 1] = id
    call('ZREM', base .. ':f', id)
    call('ZREM', base .. ':dead:' .. task.q, id)
    if task.g then call('ZREM', base .. ':gf:' .. task.g, id) end
    if ARGV[1] == 'discard' then
      forget(id)
      if waits(task.g) then leave(task.g, 1) end
    else
      -- A group that did not wait for it is not left a second time.
      if not waits(task.g) then call('HDEL', key, 'g') end
      call('HDEL', key, 'fi', 'kp', 'dr', 'st')
      again(task, 0, 0)
    end
  end
end
flush()
tell()
return out`,
);

/** ARGV: queue, "1" to pause. */
export const pauseScript = storeScript(
  "pause",
  [lua.frees],
  `if ARGV[2] == '1' then return call('SADD', base .. ':paused', ARGV[1]) end
call('SREM', base .. ':paused', ARGV[1])
call('PUBLISH', base .. ':events', 'r' .. ARGV[1])
return 1`,
);

/** ARGV: ids. Answers what is there of each, as names and values. */
export const recordsScript = storeScript(
  "records",
  [lua.looking],
  `local out = {}
for i = 1, #ARGV do out[#out + 1] = (record(ARGV[i])) end
return out`,
);

/** ARGV: where to begin ("+" or "(ID"), how many to look at, state or "", queue, name, group. Answers {last id or "", records…}. */
export const scanScript = storeScript(
  "scan",
  [lua.looking],
  `local ids = call('ZREVRANGEBYLEX', base .. ':ids', ARGV[1], '-', 'LIMIT', 0, ARGV[2])
local out = {#ids == tonumber(ARGV[2]) and ids[#ids] or ''}
for _, id in ipairs(ids) do
  local t = call('HMGET', base .. ':t:' .. id, 's', 'q', 'n', 'g')
  if (ARGV[3] == '' or t[1] == ARGV[3]) and (ARGV[4] == '' or t[2] == ARGV[4]) and (ARGV[5] == '' or t[3] == ARGV[5])
    and (ARGV[6] == '' or t[4] == ARGV[6]) then
    out[#out + 1] = (record(id))
  end
end
return out`,
);

/** Answers {queue, paused, waiting, delayed, active, dead, oldest in µs or -1} for each that has something, or is paused. */
export const queuesScript = storeScript(
  "queues",
  [],
  `local out = {}
for _, q in ipairs(call('SUNION', base .. ':queues', base .. ':paused')) do
  local waiting, delayed, oldest = 0, 0, nil
  for _, place in ipairs({':kd:' .. q, ':kr:' .. q, ':w:' .. q .. ':0', ':w:' .. q .. ':1', ':w:' .. q .. ':2', ':w:' .. q .. ':3'}) do
    local due = call('ZCOUNT', base .. place, '-inf', now)
    waiting, delayed = waiting + due, delayed + call('ZCARD', base .. place) - due
    local first = due > 0 and tonumber(call('ZRANGE', base .. place, 0, 0, 'WITHSCORES')[2])
    if first and (not oldest or first < oldest) then oldest = first end
  end
  local active, dead = call('ZCARD', base .. ':a:' .. q), call('ZCARD', base .. ':dead:' .. q)
  local paused = call('SISMEMBER', base .. ':paused', q)
  if paused + waiting + delayed + active + dead > 0 then
    out[#out + 1] = {q, paused, waiting, delayed, active, dead, oldest and now - oldest or -1}
  end
end
return out`,
);

/** ARGV: group, where to begin ("-" or "(ID"), limit. Answers {id, name, state, result, error} for each. */
export const groupResultsScript = storeScript(
  "group-results",
  [],
  `local out = {}
for _, id in ipairs(call('ZRANGEBYLEX', base .. ':gf:' .. ARGV[1], ARGV[2], '+', 'LIMIT', 0, ARGV[3])) do
  local t = call('HMGET', base .. ':t:' .. id, 'n', 's', 'r', 'e')
  out[#out + 1] = {id, t[1], t[2], t[3], t[4]}
end
return out`,
);

/** ARGV: name, since when. Answers what is kept. */
export const scheduleStateScript = storeScript(
  "schedule-state",
  [],
  `call('HSETNX', base .. ':schedules', ARGV[1], ARGV[2])
return call('HGET', base .. ':schedules', ARGV[1])`,
);

/** ARGV: name, due, the task. Answers 1, or 0: it was claimed before. */
export const claimScheduleScript = storeScript(
  "claim-schedule",
  lua.enqueue,
  `local last = call('HGET', base .. ':schedules', ARGV[1])
if last and tonumber(last) >= tonumber(ARGV[2]) then return 0 end
call('HSET', base .. ':schedules', ARGV[1], ARGV[2])
add(ARGV, 3, true)
flush()
tell()
return 1`,
);

/** ARGV: limit. Answers how many went. */
export const cleanUpScript = storeScript(
  "clean-up",
  [lua.frees, ...lua.move],
  `local removed, limit = 0, tonumber(ARGV[1])
for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':f', '-inf', now, 'LIMIT', 0, limit)) do
  local task = read(id)
  call('ZREM', base .. ':f', id)
  if task.s == 'f' then
    call('ZREM', base .. ':dead:' .. task.q, id)
    if task.g then
      call('ZREM', base .. ':gf:' .. task.g, id)
      if waits(task.g) then leave(task.g, 1) end -- as if it had been discarded
    end
  end
  if task.s then forget(id) end
  removed = removed + 1
end
local members = 0
for _, g in ipairs(call('ZRANGEBYSCORE', base .. ':gx', '-inf', now, 'LIMIT', 0, limit)) do
  local those = base .. ':gf:' .. g
  local ids = call('ZRANGE', those, 0, math.max(0, limit - members - 1))
  for _, id in ipairs(ids) do
    local t = call('HMGET', base .. ':t:' .. id, 's', 'fi', 'kp')
    if t[1] == 'c' or t[1] == 'x' then
      local till = t[2] + t[3] * 1000
      if till > now then call('ZADD', base .. ':f', till, id) else forget(id) end
    end
  end
  each('ZREM', those, ids)
  members = members + #ids
  if call('EXISTS', those) == 0 then
    call('DEL', base .. ':g:' .. g)
    call('ZREM', base .. ':gx', g)
    removed = removed + 1
  end
  if members >= limit then break end
end
removed = removed + members
for _, key in ipairs(call('ZRANGEBYSCORE', base .. ':ux', '-inf', now, 'LIMIT', 0, limit)) do
  call('ZREM', base .. ':ux', key)
  call('DEL', base .. ':u:' .. key)
  removed = removed + 1
end
removed = removed + call('ZREMRANGEBYSCORE', base .. ':o', '-inf', now - ${30 * day})
for _, q in ipairs(call('SMEMBERS', base .. ':queues')) do
  local last = call('LINDEX', base .. ':s:' .. q, -1)
  if last and tonumber(string.match(last, '^%d+')) < now - ${day} then call('DEL', base .. ':s:' .. q, base .. ':sn:' .. q) end
  if call('EXISTS', base .. ':w:' .. q .. ':0', base .. ':w:' .. q .. ':1', base .. ':w:' .. q .. ':2', base .. ':w:' .. q .. ':3',
    base .. ':kd:' .. q, base .. ':kr:' .. q, base .. ':a:' .. q, base .. ':dead:' .. q, base .. ':s:' .. q) == 0 then
    call('SREM', base .. ':queues', q)
  end
end
flush()
tell()
return removed`,
);
