// What the scripts of the Redis store share: its keys, and the moves of a task between them. docs/decisions/tasks-redis.md says why.
//
// Every key begins with the store's base, "prefix{tasks}", so that all are in one slot; a script is given the base as KEYS[1] and
// derives the others. Times are microseconds of the server's clock since 1970. No key has a time to live, so that a server that evicts
// only such keys (volatile-*) takes none.
//
// | key            | what it is                                                                                           |
// | -------------- | ---------------------------------------------------------------------------------------------------- |
// | t:ID           | hash of a task; short values only where that can be, because then Redis keeps it as one block         |
// | b:ID           | its input and meta as sent, where they are longer than what such a block takes; else field b          |
// | ids            | every id that exists, in order                                                                       |
// | w:QUEUE:RANK   | waiting without a concurrency key, by when they are due                                              |
// | kd:QUEUE       | waiting with one and not due yet, by when they are                                                   |
// | kr:QUEUE       | waiting with one and due, by since when                                                              |
// | kw:QUEUE:KEY   | the same of one key, by rank and since when                                                          |
// | k:QUEUE        | keys that may have room, by their turn: looked at in fetch(), which takes out those without            |
// | kq:KEY         | queues in which the key has waiting tasks                                                            |
// | ka:KEY         | ids of the key that are active: what its limit is counted from                                       |
// | a:QUEUE        | active, by when the lease runs out                                                                   |
// | dead:QUEUE     | dead, in the order of ids                                                                            |
// | f              | through, by when it may go                                                                           |
// | g:ID, gf:ID    | hash of a group; its members that are through, in the order of ids                                   |
// | gx             | groups that have ended, by when they may go                                                          |
// | u:KEY, ux      | who holds a unique key; keys held for a time, by its end                                             |
// | s:QUEUE        | starts within the window of the queue's rate, "moment:how many"; sn:QUEUE is their sum               |
// | queues, paused | names of queues                                                                                      |
// | schedules      | hash: when each last had its task enqueued                                                           |
// | o              | rows of the outbox that were relayed, by when: see outbox.ts                                         |

import { type RedisScript, defineScript } from "../../redis/index.ts";

/** Values up to this many bytes stay in the one block that Redis makes of a small hash (hash-max-listpack-value). */
export const shortBytes = 64;

/** Arguments of one command: Lua's stack takes 8,000. */
const argumentsPerCommand = 4_000;

/** Scores of kw: the rank, then the microseconds since 2025. Exact in a double until 2096. */
const rankScore = 2 ** 51;
const epochUs = Date.UTC(2025, 0, 1) * 1_000;

const head = `
local base, call = KEYS[1], redis.call
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function exact(n) return string.format('%.0f', n) end
local function each(command, key, list)
  for i = 1, #list, ${argumentsPerCommand} do call(command, key, unpack(list, i, math.min(i + ${argumentsPerCommand - 1}, #list))) end
end
`;

/**
 * For scripts that must go on when the server is full, so that what waits can be worked off: Redis asks about memory at the first write
 * of a script only, and never for one that frees some.
 */
const frees = `
call('DEL', base .. ':none')
`;

/** Tells those who listen, at the end, once per queue. */
const telling = `
local ready = {}
local function tell() for q in pairs(ready) do call('PUBLISH', base .. ':events', 'r' .. q) end end
`;

/** Where a task with a key stands among those of its key. */
const score = `
local function score(rank, due) return rank * ${rankScore} + math.max(0, due - ${epochUs}) end
`;

/** Places where tasks wait. wait() puts a task there; a queue is told of when the task is the next of its place: else others know. */
const waiting = `
local function offer(q, c)
  if call('ZADD', base .. ':k:' .. q, 'NX', now, c) == 1 then ready[q] = true end
end
local function waitKeyed(id, q, rank, due, c)
  call('ZADD', base .. ':kr:' .. q, due, id)
  call('ZADD', base .. ':kw:' .. q .. ':' .. c, score(rank, due), id)
  call('SADD', base .. ':kq:' .. c, q)
  offer(q, c)
end
local function wait(id, q, rank, due, c)
  if c and due <= now then return waitKeyed(id, q, rank, due, c) end
  local place = c and (base .. ':kd:' .. q) or (base .. ':w:' .. q .. ':' .. rank)
  call('ZADD', place, due, id)
  if call('ZRANGE', place, 0, 0)[1] == id then ready[q] = true end
end
local function unkey(id, q, c)
  call('ZREM', base .. ':kr:' .. q, id)
  local place = base .. ':kw:' .. q .. ':' .. c
  call('ZREM', place, id)
  if call('EXISTS', place) == 0 then
    call('ZREM', base .. ':k:' .. q, c)
    call('SREM', base .. ':kq:' .. c, q)
    return false
  end
  return true
end
local function unwait(id, q, rank, c)
  if not c then call('ZREM', base .. ':w:' .. q .. ':' .. rank, id)
  elseif call('ZREM', base .. ':kd:' .. q, id) == 0 and unkey(id, q, c) then offer(q, c) end
end
local function makeRoom(id, c)
  call('SREM', base .. ':ka:' .. c, id)
  for _, q in ipairs(call('SMEMBERS', base .. ':kq:' .. c)) do offer(q, c) end
end
`;

/** Whose a unique key is: a task's for as long as it holds it, not the key's own; so nobody has to give it back. */
const holder = `
local function holder(key)
  local value = call('GET', base .. ':u:' .. key)
  if not value then return nil end
  local id, kind, till = string.match(value, '^(%S+) (%a) (%d+)$')
  if kind == 't' then return tonumber(till) > now and id or nil end
  local t = call('HMGET', base .. ':t:' .. id, 's', 'a')
  if t[1] == 'w' and (kind == 'f' or tonumber(t[2]) == 0) or t[1] == 'a' and kind == 'f' then return id end
  return nil
end
`;

/**
 * Enqueueing. A batch is a flat list of texts, seven a task: id, queue, name, rank, due (microseconds since 1970, or from now after "~"),
 * body, and what is rare as JSON or "". flush() must follow. `unique` says whether unique keys are asked for.
 */
const adding = `
local added, newIds, newQueues, places, forgotten = 0, {}, {}, {}, {}
local function add(list, i, unique)
  local id, q, rank, due, body, rare = list[i], list[i + 1], list[i + 3], list[i + 4], list[i + 5], list[i + 6]
  local key = base .. ':t:' .. id
  if call('EXISTS', key) == 1 then return id, 0 end
  local more = rare ~= '' and cjson.decode(rare) or {}
  if more.u and unique then
    local earlier = holder(more.u)
    if earlier then return earlier, 0 end
    local till = more.uk == 't' and now + more.ut or 0
    call('SET', base .. ':u:' .. more.u, id .. ' ' .. more.uk .. ' ' .. exact(till))
    if till > 0 then call('ZADD', base .. ':ux', till, more.u) else call('ZREM', base .. ':ux', more.u) end
  end
  local moment = now + added -- a microsecond apart, so that tasks of a batch keep their order
  due = string.sub(due, 1, 1) == '~' and moment + tonumber(string.sub(due, 2)) or tonumber(due)
  added = added + 1
  call('HSET', key, 's', 'w', 'a', 0, 'q', q, 'p', rank, 'n', list[i + 2], 'du', due, 'en', moment)
  if #body <= ${shortBytes} then call('HSET', key, 'b', body) else call('SET', base .. ':b:' .. id, body) end
  if more.c then call('HSET', key, 'c', more.c, 'x', more.x) end
  if more.g then call('HSET', key, 'g', more.g) end
  if more.u then call('HSET', key, 'u', more.u) end
  newIds[#newIds + 1] = 0
  newIds[#newIds + 1] = id
  newQueues[q] = true
  if more.c then wait(id, q, rank, due, more.c)
  else
    local place = base .. ':w:' .. q .. ':' .. rank
    local new = places[place] or {q = q, due = {}, has = {}}
    places[place] = new
    new.due[#new.due + 1] = due
    new.due[#new.due + 1] = id
    new.has[id] = true
  end
  return id, 1
end
local function addGroup(list, i)
  local key = base .. ':g:' .. list[i]
  if call('EXISTS', key) == 1 then return false end
  call('HSET', key, 'size', list[i + 1], 'left', list[i + 1], 'when', list[i + 2], 'keep', list[i + 3], 'then', list[i + 4])
  return true
end
local function flush()
  for i = 1, #forgotten, 1000 do
    local keys = {}
    for j = i, math.min(i + 999, #forgotten) do
      keys[#keys + 1] = base .. ':t:' .. forgotten[j]
      keys[#keys + 1] = base .. ':b:' .. forgotten[j]
    end
    call('DEL', unpack(keys))
  end
  each('ZREM', base .. ':ids', forgotten)
  each('ZADD', base .. ':ids', newIds)
  for q in pairs(newQueues) do call('SADD', base .. ':queues', q) end
  for place, new in pairs(places) do
    each('ZADD', place, new.due)
    if new.has[call('ZRANGE', place, 0, 0)[1]] then ready[new.q] = true end
  end
end
`;

/**
 * Ending. Members leave their group as they end; whoever is the last enqueues what follows. flush() must come after. What `task` is in
 * finish(): the values of `fields`.
 */
const ending = `
local fields = {'s', 'a', 'l', 'q', 'c', 'g', 'u', 'ck', 'p', 'n'}
local function read(id)
  local h = call('HMGET', base .. ':t:' .. id, unpack(fields))
  return {id = id, s = h[1], a = tonumber(h[2]), l = h[3], q = h[4], c = h[5] or nil, g = h[6] or nil, u = h[7] or nil, ck = h[8] or nil,
    p = h[9], n = h[10]}
end
local function forget(id) forgotten[#forgotten + 1] = id end
local function leave(g, members)
  local key = base .. ':g:' .. g
  local group = call('HMGET', key, 'left', 'ended', 'keep', 'then')
  if not group[1] or group[2] then return end
  local left = tonumber(group[1]) - members
  call('HSET', key, 'left', left)
  if left > 0 then return end
  call('HSET', key, 'ended', now)
  call('ZADD', base .. ':gx', now + group[3] * 1000, g)
  if group[4] ~= '' then add(cjson.decode(group[4]), 1, false) end
end
local function waits(g) return g and call('HGET', base .. ':g:' .. g, 'when') == 'completed' end
local function release(task)
  if task.u then
    local value = call('GET', base .. ':u:' .. task.u)
    if value and string.match(value, '^(%S+) [fs] ') == task.id then call('DEL', base .. ':u:' .. task.u) end
  end
end
local function finish(task, state, keep, ...)
  release(task)
  local id, g = task.id, task.g
  if tonumber(keep) == 0 and not g then forget(id)
  else
    local key = base .. ':t:' .. id
    call('HSET', key, 's', state, 'fi', now, 'kp', keep, ...)
    call('HDEL', key, 'l', 'ck')
    if state == 'f' then call('ZADD', base .. ':dead:' .. task.q, 0, id) end
    if g then call('ZADD', base .. ':gf:' .. g, 0, id) end
    if state == 'f' or not g then call('ZADD', base .. ':f', now + keep * 1000, id) end
  end
  if g and not (state == 'f' and waits(g)) then leave(g, 1) end
end
local function again(task, delay, attempt, ...)
  local key, due = base .. ':t:' .. task.id, now + delay * 1000
  call('HSET', key, 's', 'w', 'a', attempt, 'du', due, ...)
  call('HDEL', key, 'l', 'w')
  wait(task.id, task.q, task.p, due, task.c)
end
`;

/** A batch: its tasks from `at` of a list, its groups from `atGroups` of another. */
const accepting = `
local function accept(list, at, tasks, groupList, atGroups, groups)
  local new, out = {}, {}
  for i = 0, groups - 1 do
    local g = atGroups + i * 5
    if addGroup(groupList, g) then new[groupList[g]] = 0 end
  end
  for i = 0, tasks - 1 do
    local id, made = add(list, at + i * 7, true)
    out[#out + 1] = id
    out[#out + 1] = made
    local rare = made == 0 and list[at + i * 7 + 6] or ''
    local g = rare ~= '' and cjson.decode(rare).g
    if g and new[g] then new[g] = new[g] + 1 end
  end
  -- A member that was there already by its unique key is another's: its group does not wait for it.
  for g, others in pairs(new) do
    if others > 0 then leave(g, others) end
  end
  return out
end
`;

/**
 * What active tasks leave. held() is whether a lease is good; what it finds is read once, because tasks that were let go of in this script
 * are only taken out of the places of the active by letGo(), all together.
 */
const holding = `
local gone, leaving = {}, {}
local function held(id, attempt, lease)
  if gone[id] then return nil end
  local task = read(id)
  return task.s == 'a' and task.a == tonumber(attempt) and task.l == lease and task or nil
end
local function drop(task)
  gone[task.id] = true
  local of = leaving[task.q] or {}
  leaving[task.q] = of
  of[#of + 1] = task.id
  if task.c then makeRoom(task.id, task.c) end
end
local function letGo()
  for q, of in pairs(leaving) do each('ZREM', base .. ':a:' .. q, of) end
end
`;

/** The rate of a queue: how many starts are left in the window, and when the next one will be. */
const pacing = `
local function startsLeft(q, max, per)
  local starts, total = base .. ':s:' .. q, base .. ':sn:' .. q
  local before = tonumber(call('GET', total) or 0)
  local sum, oldest = before, nil
  while true do
    local first = call('LINDEX', starts, 0)
    if not first then
      sum = 0
      break
    end
    local at, n = string.match(first, '^(%d+):(%d+)$')
    oldest = tonumber(at)
    if oldest > now - per * 1000 then break end
    call('LPOP', starts)
    sum = sum - n
  end
  if sum ~= before then call('SET', total, sum) end
  return max - sum, sum >= tonumber(max) and oldest + per * 1000 or now
end
`;

/** A task as it is read by people: every field, its body, and until when it is to be seen if it is through. */
const looking = `
local function record(id)
  local h = call('HGETALL', base .. ':t:' .. id)
  if #h == 0 then return nil end
  local t = {}
  for i = 1, #h, 2 do t[h[i]] = h[i + 1] end
  if t.fi then
    local till = t.fi + t.kp * 1000
    local group = t.g and t.s ~= 'f' and call('HMGET', base .. ':g:' .. t.g, 'keep', 'ended')
    if group and group[1] then till = group[2] and math.max(till, group[2] + group[1] * 1000) or now + 1 end
    if till <= now then return nil end
  end
  table.insert(h, 1, id)
  h[#h + 1] = 'body'
  h[#h + 1] = t.b or call('GET', base .. ':b:' .. id)
  return h
end
`;

/** Pieces of scripts, in the order that they need each other. */
export const lua = {
  frees,
  pacing,
  looking,
  score,
  holder,
  enqueue: [telling, score, waiting, holder, adding],
  move: [telling, score, waiting, holder, adding, ending],
  batch: [telling, score, waiting, holder, adding, ending, accepting],
  settle: [telling, score, waiting, holder, adding, ending, holding],
} as const;

/** A script of pieces and its body. */
export const storeScript = (name: string, parts: readonly string[], body: string): RedisScript =>
  defineScript(`tasks-${name}`, [head, ...parts, body].join("\n"));
