// The functions of the PostgreSQL store: what must happen in one round trip and needs more than one look at the tables.
//
// Why functions. Each statement inside of one sees what was committed before it began, so that a count taken after a lock is right;
// a single statement has one snapshot, taken before it waited. And their settings hold for the planning of their statements only:
// whatever the statistics say, and however small a table was when a plan was kept, they go by the indexes.
//
// Names end in the version of their parameters and results: workers of two versions of the kit work side by side during a deploy.

import { advisoryLockClass } from "../../database/index.ts";

/** First key of the locks that serialise the starts of one queue; the second is the queue's hash. */
const rateLockClass = 0x6d_69_6c_72;

/** On which idle workers listen. */
export const wakeUpChannel = "millrace_tasks";

/** Second key, beside those in kit-schema.ts: one process at a time takes tasks with concurrency keys. */
const keyedLock = 5;

/** Keys that one fetch looks at. The next one goes on behind them, so that a queue of more keys is seen in turn. */
const keysPerFetch = 200;

/**
 * For functions that look things up one by one: by an index each, in the order in which they are asked for. A plan that has to scan
 * all the same then seems so expensive that PostgreSQL would compile it (jit), at every call, for a tenth of a second and more.
 */
const byProbe = "set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off";

/**
 * For functions that take lists: the rows by `id = any (list)`, then hash joins with what the list says of them. Nested loops over lists take
 * their product. Conditions must fit no other index: statistics that call the table empty make a scan of any of them look cheap.
 */
const byList = "set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set jit = off";

const priorities = "(values (0::smallint), (1::smallint), (2::smallint), (3::smallint)) p (rank)";

/** What makes a task active. Placeholders are the function's parameters. */
const activate = `state = 'a', attempt = t.attempt + 1, lease = p_lease, leased_until = moment + p_lease_ms * interval '1 millisecond',
            worker = p_worker, started_at = moment`;

const claimed = `t.id, t.attempt, t.queue, t.name, t.input::text, t.meta::text, t.priority::integer,
          (extract(epoch from t.enqueued_at) * 1000)::float8, (extract(epoch from t.due_at) * 1000)::float8, t.progress::text, t.group_id`;

export const functionStatements: readonly string[] = [
  // Takes tasks. A row without id tells at which key the next call goes on. p_keyed: whether to look for concurrency keys at all.
  `create or replace function millrace.fetch_tasks_1(
     p_queues text[], p_limits integer[], p_rate_max integer[], p_rate_ms bigint[], p_after_keys text[],
     p_worker text, p_lease bigint, p_lease_ms bigint)
   returns table (id uuid, attempt integer, queue text, name text, input text, meta text, priority integer,
                  enqueued_ms float8, due_ms float8, progress text, group_id uuid)
   language plpgsql ${byProbe} as $fetch$
   #variable_conflict use_column
   declare
     moment timestamptz;
     wanted integer;
     taken integer;
     got integer;
     room integer;
     this_key text;
     key_max integer;
     first_key text;
     wrapped boolean;
     limited boolean := exists (select from unnest(p_rate_max) r (max) where r.max is not null);
   begin
     -- All of these before any other lock, and in one order: two that fetch from the same queues must not wait for each other.
     perform pg_advisory_xact_lock(${rateLockClass}, l.hash)
       from (select distinct hashtext(u.queue) as hash from unnest(p_queues, p_rate_max) u (queue, rate_max)
              where u.rate_max is not null order by 1) l;
     for i in 1 .. cardinality(p_queues) loop
       continue when exists (select from millrace.task_queues q where q.name = p_queues[i] and q.paused);
       wanted := p_limits[i];
       if p_rate_max[i] is not null then
         moment := clock_timestamp();
         delete from millrace.task_starts s
           where s.queue = p_queues[i] and s.at <= moment - p_rate_ms[i] * interval '1 millisecond';
         select least(wanted, p_rate_max[i] - coalesce(sum(s.tasks), 0)) into wanted
           from millrace.task_starts s where s.queue = p_queues[i];
         continue when wanted <= 0;
       end if;
       moment := clock_timestamp();

       return query
         update millrace.tasks t set ${activate}
          where t.id = any (array(
            select c.id from ${priorities} cross join lateral (
              select r.id from millrace.tasks r
               where r.queue = p_queues[i] and r.priority = p.rank and r.due_at <= moment and r.state = 'w' and r.concurrency_key is null
               order by r.due_at limit wanted for update skip locked
            ) c limit wanted))
         returning ${claimed};
       get diagnostics taken = row_count;

       if taken < wanted and exists (
         select from millrace.tasks r where r.queue = p_queues[i] and r.state = 'd' and r.due_at <= moment limit 1
       ) then
         update millrace.tasks t set state = 'w'
          where t.id = any (array(
            select r.id from millrace.tasks r where r.queue = p_queues[i] and r.state = 'd' and r.due_at <= moment
             order by r.due_at limit 1000 for update skip locked));
       end if;

       if taken < wanted and exists (
         select from millrace.tasks r where r.queue = p_queues[i] and r.state = 'w' and r.concurrency_key is not null limit 1
       ) then
         -- Whoever counts what is active must be the only one who adds to it.
         perform pg_advisory_xact_lock(${advisoryLockClass}, ${keyedLock});
         this_key := coalesce(p_after_keys[i], '');
         first_key := null;
         wrapped := false;
         for looked in 1 .. ${keysPerFetch} loop
           select r.concurrency_key, r.concurrency_max into this_key, key_max from millrace.tasks r
            where r.queue = p_queues[i] and r.state = 'w' and r.concurrency_key is not null and r.concurrency_key > this_key
            order by r.concurrency_key, r.priority, r.due_at limit 1;
           if not found then
             exit when wrapped;
             wrapped := true;
             this_key := '';
             continue;
           end if;
           exit when this_key = first_key;
           first_key := coalesce(first_key, this_key);
           select least(wanted - taken, key_max - count(*)) into room from millrace.tasks r
            where r.state = 'a' and r.concurrency_key = this_key;
           continue when room <= 0;
           return query
             update millrace.tasks t set ${activate}
              where t.id = any (array(
                select c.id from ${priorities} cross join lateral (
                  select r.id from millrace.tasks r
                   where r.queue = p_queues[i] and r.concurrency_key = this_key and r.priority = p.rank and r.state = 'w'
                     and r.concurrency_key is not null
                   order by r.due_at limit room for update skip locked
                ) c limit room))
             returning ${claimed};
           get diagnostics got = row_count;
           limited := true;
           taken := taken + got;
           exit when taken >= wanted;
         end loop;
         id := null; queue := p_queues[i]; name := this_key;
         return next;
       end if;

       if p_rate_max[i] is not null and taken > 0 then
         insert into millrace.task_starts (queue, at, tasks) values (p_queues[i], moment, taken);
       end if;
     end loop;
     -- Who crashes right after this forgets that the tasks were given, and gives them again under another lease, as it would have when
     -- the lease ran out. Only where others count what was started is it worth waiting for the disk.
     if not limited then
       perform set_config('synchronous_commit', 'off', true);
     end if;
   end
   $fetch$`,

  // Members have left their groups, an element each. Whoever takes the last one enqueues the callback.
  `create or replace function millrace.leave_groups_1(p_groups uuid[]) returns void
   language plpgsql ${byProbe} as $leave$
   #variable_conflict use_column
   declare
     ended record;
   begin
     -- In the order of their ids: two that settle members of the same groups must not wait for each other.
     perform from millrace.task_groups g where g.id = any (p_groups) order by g.id for update;
     update millrace.task_groups g set remaining = g.remaining - l.members
       from (select u.id, count(*)::integer as members from unnest(p_groups) u (id) group by u.id) l
      where g.id = any (p_groups) and g.id = l.id and g.ended_at is null;
     for ended in
       update millrace.task_groups g set ended_at = clock_timestamp()
        where g.id = any (p_groups) and g.ended_at is null and g.remaining <= 0
       returning g.id, g.callback, g.keep_ms
     loop
       update millrace.finished_tasks f set expires_at = clock_timestamp() + greatest(f.keep_ms, ended.keep_ms) * interval '1 millisecond'
        where f.group_id = ended.id;
       if ended.callback is not null then
         perform millrace.enqueue_tasks_1(json_build_object('tasks', json_build_array(ended.callback)));
         -- In the worker's own transaction, not in one of the user's.
         perform pg_notify('${wakeUpChannel}', 'r' || (ended.callback ->> 'queue'));
       end if;
     end loop;
   end
   $leave$`,

  // A batch as text: { tasks, groups } as in the contract, but with input and meta as texts and without uniqueness.
  `create or replace function millrace.enqueue_tasks_1(p_batch json) returns void
   language plpgsql ${byProbe} as $enqueue$
   #variable_conflict use_column
   begin
     insert into millrace.task_groups (id, size, remaining, waits_for, callback, keep_ms)
       select g.id, g.size, g.size, case g."when" when 'settled' then 's' else 'c' end, g.callback, g."keepMs"
         from json_to_recordset(coalesce(p_batch -> 'groups', '[]'))
              g (id uuid, size integer, "when" text, callback json, "keepMs" bigint)
     on conflict (id) do nothing;
     insert into millrace.tasks (id, queue, name, input, meta, priority, state, due_at, concurrency_key, concurrency_max, unique_key, group_id)
       select n.id, n.queue, n.name, n.input::json, n.meta::json, n.priority,
              case when n."concurrencyKey" is not null and d.due_at > clock_timestamp() then 'd' else 'w' end::"char", d.due_at,
              n."concurrencyKey", n."concurrencyMax", n."uniqueKey", n."group"
         from json_to_recordset(p_batch -> 'tasks')
              n (id uuid, queue text, name text, input text, meta text, priority smallint, "delayMs" float8, "atMs" float8,
                 "concurrencyKey" text, "concurrencyMax" integer, "uniqueKey" text, "group" uuid)
        cross join lateral (
          select coalesce(to_timestamp(n."atMs" / 1000), clock_timestamp() + coalesce(n."delayMs", 0) * interval '1 millisecond') as due_at
        ) d
     on conflict (id) do nothing;
   end
   $enqueue$`,

  // One task without a unique key: the common case, with as little as possible around it: each setting of a function costs every call.
  // False: the id exists.
  `create or replace function millrace.enqueue_task_1(
     p_id uuid, p_queue text, p_name text, p_input json, p_meta json, p_priority smallint, p_delay_ms float8, p_at_ms float8,
     p_key text, p_max integer, p_group uuid)
   returns boolean
   language plpgsql set enable_seqscan = off set jit = off as $enqueue$
   #variable_conflict use_column
   declare
     due timestamptz := coalesce(to_timestamp(p_at_ms / 1000), clock_timestamp() + p_delay_ms * interval '1 millisecond');
   begin
     if exists (select from millrace.finished_tasks f where f.id = p_id) then
       return false;
     end if;
     insert into millrace.tasks (id, queue, name, input, meta, priority, state, due_at, concurrency_key, concurrency_max, group_id)
       values (p_id, p_queue, p_name, p_input, p_meta, p_priority,
               case when p_key is not null and due > clock_timestamp() then 'd' else 'w' end, due, p_key, p_max, p_group)
     on conflict (id) do nothing;
     return found;
   end
   $enqueue$`,

  // Any tasks, with their groups and unique keys. Each key at most once. A row per task: who has its key, and whether it was made.
  `create or replace function millrace.enqueue_batch_1(
     p_groups json, p_ids uuid[], p_queues text[], p_names text[], p_inputs text[], p_metas text[], p_priorities smallint[],
     p_delays_ms float8[], p_ats_ms float8[], p_keys text[], p_maxes integer[], p_in_groups uuid[], p_unique_keys text[],
     p_untils "char"[], p_fors_ms float8[])
   returns table (id uuid, holder uuid, made boolean)
   language plpgsql ${byList} as $batch$
   #variable_conflict use_column
   declare
     known uuid[] := array(select f.id from millrace.finished_tasks f where f.id = any (p_ids));
   begin
     insert into millrace.task_groups (id, size, remaining, waits_for, callback, keep_ms)
       select g.id, g.size, g.size, case g."when" when 'settled' then 's' else 'c' end, g.callback, g."keepMs"
         from json_to_recordset(p_groups) g (id uuid, size integer, "when" text, callback json, "keepMs" bigint)
     on conflict (id) do nothing;
     return query
       with n as materialized (
         select u.*, coalesce(to_timestamp(u.at_ms / 1000), clock_timestamp() + u.delay_ms * interval '1 millisecond') as due_at
           from unnest(p_ids, p_queues, p_names, p_inputs, p_metas, p_priorities, p_delays_ms, p_ats_ms, p_keys, p_maxes, p_in_groups,
                       p_unique_keys, p_untils, p_fors_ms)
                u (id, queue, name, input, meta, priority, delay_ms, at_ms, concurrency_key, concurrency_max, group_id, unique_key, until,
                   for_ms)
       ), claims as (
         insert into millrace.task_keys as k (key, task_id, until, expires_at)
           select n.unique_key, n.id, n.until, clock_timestamp() + n.for_ms * interval '1 millisecond'
             from n where n.unique_key is not null
            order by n.unique_key -- two batches with the same keys must not wait for each other
         on conflict (key) do update set (task_id, until, expires_at) = (
           select v.task_id, v.until, v.expires_at
             from (select millrace.unique_key_held_1(k.task_id, k.until, k.expires_at) as held offset 0) h
             join (values (true, k.task_id, k.until, k.expires_at), (false, excluded.task_id, excluded.until, excluded.expires_at))
                  v (held, task_id, until, expires_at) on v.held = h.held)
         returning k.key, k.task_id
       ), made as (
         insert into millrace.tasks
           (id, queue, name, input, meta, priority, state, due_at, concurrency_key, concurrency_max, group_id, unique_key)
           select n.id, n.queue, n.name, n.input::json, n.meta::json, n.priority,
                  case when n.concurrency_key is not null and n.due_at > clock_timestamp() then 'd' else 'w' end::"char", n.due_at,
                  n.concurrency_key, n.concurrency_max, n.group_id, n.unique_key
             from n left join claims c on c.key = n.unique_key
            where (n.unique_key is null or c.task_id = n.id)
              and not n.id = any (known)
         on conflict (id) do nothing
         returning id
       )
       select n.id, coalesce(c.task_id, n.id), m.id is not null
         from n left join claims c on c.key = n.unique_key left join made m on m.id = n.id;
   end
   $batch$`,

  // Prolongs leases, and says which tasks shall stop. Those that are missing in the answer are lost.
  `create or replace function millrace.extend_tasks_1(p_ids uuid[], p_attempts integer[], p_leases bigint[], p_lease_ms bigint)
   returns table (id uuid, cancelled boolean)
   language sql ${byList} as $extend$
     update millrace.tasks t set leased_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
       from unnest(p_ids, p_attempts, p_leases) l (id, attempt, lease)
      where t.id = any (p_ids) and t.id = l.id and t.attempt = l.attempt and t.lease = l.lease
     returning t.id, t.cancel_keep_ms is not null
   $extend$`,

  `create or replace function millrace.save_progress_1(p_ids uuid[], p_attempts integer[], p_leases bigint[], p_progress text[]) returns void
   language sql ${byList} as $progress$
     update millrace.tasks t set progress = u.progress::json
       from unnest(p_ids, p_attempts, p_leases, p_progress) u (id, attempt, lease, progress)
      where t.id = any (p_ids) and t.id = u.id and t.attempt = u.attempt and t.lease = u.lease
   $progress$`,

  // Milliseconds until something may be taken; null: nothing waits.
  `create or replace function millrace.next_due_1(p_queues text[], p_rate_max integer[], p_rate_ms bigint[]) returns float8
   language sql ${byProbe} as $due$
     select min(greatest(
              extract(epoch from d.due_at - clock_timestamp()) * 1000,
              case when r.started >= q.rate_max then extract(epoch from r.oldest - clock_timestamp()) * 1000 + q.rate_ms end, 0))::float8
       from unnest(p_queues, p_rate_max, p_rate_ms) q (name, rate_max, rate_ms)
      cross join lateral (
        select min(x.due_at) as due_at from (
          select f.due_at from ${priorities}
           cross join lateral (
             select t.due_at from millrace.tasks t
              where t.queue = q.name and t.priority = p.rank and t.state = 'w' and t.concurrency_key is null
              order by t.due_at limit 1) f
          union all
          (select t.due_at from millrace.tasks t where t.queue = q.name and t.state = 'd' order by t.due_at limit 1)
        ) x
      ) d
       left join lateral (
         select sum(s.tasks) as started, min(s.at) as oldest from millrace.task_starts s
          where q.rate_max is not null and s.queue = q.name and s.at > clock_timestamp() - q.rate_ms * interval '1 millisecond'
       ) r on true
      where d.due_at is not null and not exists (select from millrace.task_queues p where p.name = q.name and p.paused)
   $due$`,

  // Ends tasks for good: the states of millrace.finished_tasks. Returns the ids of those whose lease was good.
  `create or replace function millrace.finish_tasks_1(
     p_ids uuid[], p_attempts integer[], p_leases bigint[], p_states "char"[], p_results json[], p_errors json[], p_reasons text[],
     p_keep_ms bigint[], p_then json[])
   returns uuid[]
   language plpgsql ${byList} as $finish$
   #variable_conflict use_column
   declare
     settled uuid[];
     groups uuid[];
     dead_groups uuid[];
     keys text[];
     followers json[];
     follower json;
   begin
     with settlement as (
       select * from unnest(p_ids, p_attempts, p_leases, p_states, p_results, p_errors, p_reasons, p_keep_ms, p_then)
         s (id, attempt, lease, state, result, error, reason, keep_ms, next)
     ), gone as (
       -- A task has a lease only while it is active.
       delete from millrace.tasks t using settlement s
        where t.id = any (p_ids) and t.id = s.id and t.attempt = s.attempt and t.lease = s.lease
       returning t.id, t.queue, t.name, t.input, t.meta, t.priority, s.state, t.due_at, t.attempt, t.concurrency_key, t.concurrency_max,
         t.unique_key, t.group_id, t.progress, s.result, coalesce(s.error, t.error) as error, s.reason, s.keep_ms, t.enqueued_at,
         t.started_at, s.next
     ), kept as (
       insert into millrace.finished_tasks (id, queue, name, input, meta, priority, state, due_at, attempt, concurrency_key,
           concurrency_max, unique_key, group_id, progress, result, error, dead_reason, keep_ms, enqueued_at, started_at, finished_at,
           expires_at)
         select id, queue, name, input, meta, priority, state, due_at, attempt, concurrency_key, concurrency_max, unique_key, group_id,
                progress, result, error, reason, keep_ms, enqueued_at, started_at, clock_timestamp(),
                case when group_id is not null and state <> 'd' then 'infinity'
                     else clock_timestamp() + keep_ms * interval '1 millisecond' end
           from gone where keep_ms > 0 or group_id is not null
       -- An id that was enqueued again in the moment in which it ended: what is kept is the first end.
       on conflict (id) do nothing
     )
     select array_agg(id), array_agg(group_id) filter (where group_id is not null and state <> 'd'),
            array_agg(group_id) filter (where group_id is not null and state = 'd'), array_agg(next) filter (where next is not null),
            array_agg(unique_key) filter (where unique_key is not null)
       into settled, groups, dead_groups, followers, keys from gone;
     if keys is not null then
       -- Nobody needs them any more. One that is locked is being judged by an enqueue right now, and left to cleanUp().
       delete from millrace.task_keys k where k.key = any (array(
         select o.key from millrace.task_keys o
          where o.key = any (keys) and o.until <> 't' and o.task_id = any (settled) for update skip locked));
     end if;

     foreach follower in array coalesce(followers, '{}') loop
       perform millrace.enqueue_tasks_1(follower);
     end loop;
     if dead_groups is not null then
       groups := coalesce(groups, '{}') || array(
         select u.id from unnest(dead_groups) u (id)
           join millrace.task_groups g on g.id = u.id where g.id = any (dead_groups) and g.waits_for = 's');
     end if;
     if groups is not null then
       perform millrace.leave_groups_1(groups);
     end if;
     return coalesce(settled, '{}');
   end
   $finish$`,

  // Gives tasks back: after a failure, or untried. Those that were to be cancelled are.
  `create or replace function millrace.return_tasks_1(
     p_ids uuid[], p_attempts integer[], p_leases bigint[], p_delay_ms bigint[], p_errors json[], p_released boolean[])
   returns uuid[]
   language plpgsql ${byList} as $return$
   #variable_conflict use_column
   declare
     settled uuid[];
     stopped record;
   begin
     select array_agg(t.id) as ids, array_agg(t.attempt) as attempts, array_agg(t.lease) as leases,
            array_agg('x'::"char") as states, array_agg(s.error) as errors, array_agg(t.cancel_keep_ms) as keeps
       into stopped
       from unnest(p_ids, p_attempts, p_leases, p_errors) s (id, attempt, lease, error)
       join millrace.tasks t on t.id = s.id and t.attempt = s.attempt and t.lease = s.lease
      where t.id = any (p_ids) and t.cancel_keep_ms is not null;
     if stopped.ids is not null then
       settled := millrace.finish_tasks_1(stopped.ids, stopped.attempts, stopped.leases, stopped.states,
         array_fill(null::json, array[cardinality(stopped.ids)]), stopped.errors, array_fill(null::text, array[cardinality(stopped.ids)]),
         stopped.keeps, array_fill(null::json, array[cardinality(stopped.ids)]));
     end if;
     with gone as (
       update millrace.tasks t set
         state = case when t.concurrency_key is not null and s.delay_ms > 0 then 'd' else 'w' end,
         due_at = clock_timestamp() + s.delay_ms * interval '1 millisecond',
         attempt = t.attempt - s.released::integer, lease = null, leased_until = null, worker = null,
         error = coalesce(s.error, t.error)
        from unnest(p_ids, p_attempts, p_leases, p_delay_ms, p_errors, p_released)
             s (id, attempt, lease, delay_ms, error, released)
       where t.id = any (p_ids) and t.id = s.id and t.attempt = s.attempt and t.lease = s.lease and t.cancel_keep_ms is null
       returning t.id
     )
     select coalesce(settled, '{}') || coalesce(array_agg(id), '{}') into settled from gone;
     return settled;
   end
   $return$`,

  // Takes tasks whose lease has run out from their holders.
  `create or replace function millrace.recover_tasks_1(p_limit integer, p_delay_ms bigint, p_keep_ms bigint, p_error json)
   returns table (id uuid, queue text, name text, attempt integer, worker text, cancelled boolean)
   language plpgsql ${byProbe} as $recover$
   #variable_conflict use_column
   declare
     lost record;
   begin
     for lost in
       select t.id, t.queue, t.name, t.attempt, t.lease, t.worker, t.cancel_keep_ms from millrace.tasks t
        where t.state = 'a' and t.leased_until <= clock_timestamp()
        limit p_limit for update skip locked
     loop
       if lost.cancel_keep_ms is not null then
         perform millrace.finish_tasks_1(array[lost.id], array[lost.attempt], array[lost.lease], array['x']::"char"[],
           array[null]::json[], array[p_error], array[null]::text[], array[lost.cancel_keep_ms], array[null]::json[]);
       else
         perform millrace.return_tasks_1(array[lost.id], array[lost.attempt], array[lost.lease], array[p_delay_ms], array[p_error],
           array[false]);
       end if;
       id := lost.id; queue := lost.queue; name := lost.name; attempt := lost.attempt; worker := lost.worker;
       cancelled := lost.cancel_keep_ms is not null;
       return next;
     end loop;
   end
   $recover$`,

  // What waits is cancelled, what is active is asked to stop.
  `create or replace function millrace.cancel_task_1(p_id uuid, p_keep_ms bigint) returns text
   language plpgsql ${byProbe} as $cancel$
   #variable_conflict use_column
   declare
     found_task record;
   begin
     select t.state, t.attempt, t.group_id into found_task from millrace.tasks t where t.id = p_id for update;
     if not found then
       return case when exists (select from millrace.finished_tasks f where f.id = p_id) then 'finished' else 'unknown' end;
     end if;
     if found_task.state = 'a' then
       update millrace.tasks t set cancel_keep_ms = p_keep_ms where t.id = p_id;
       return 'requested';
     end if;
     -- As if somebody held it: what follows is then the same.
     update millrace.tasks t set state = 'a', lease = 0 where t.id = p_id;
     perform millrace.finish_tasks_1(array[p_id], array[found_task.attempt], array[0::bigint], array['x']::"char"[],
       array[null]::json[], array[null]::json[], array[null]::text[], array[p_keep_ms], array[null]::json[]);
     return 'cancelled';
   end
   $cancel$`,

  // Dead tasks are tried again (p_discard false) or forgotten.
  `create or replace function millrace.dead_tasks_1(p_ids uuid[], p_queue text, p_name text, p_limit integer, p_discard boolean)
   returns uuid[]
   language plpgsql set search_path = pg_catalog, pg_temp as $dead$
   #variable_conflict use_column
   declare
     chosen uuid[];
     groups uuid[];
   begin
     with gone as (
       delete from millrace.finished_tasks f where f.id = any (array(
         select d.id from millrace.finished_tasks d
          where d.state = 'd' and (p_ids is null or d.id = any (p_ids)) and (p_queue is null or d.queue = p_queue)
            and (p_name is null or d.name = p_name)
          order by d.id limit p_limit for update skip locked))
       returning f.*
     ), alive as (
       insert into millrace.tasks (id, queue, name, input, meta, priority, due_at, concurrency_key, concurrency_max, unique_key, group_id,
           progress, error, enqueued_at)
         select d.id, d.queue, d.name, d.input, d.meta, d.priority, clock_timestamp(), d.concurrency_key, d.concurrency_max, d.unique_key,
                -- A group that did not wait for it is not left a second time.
                case when exists (select from millrace.task_groups g where g.id = d.group_id and g.waits_for = 'c') then d.group_id end,
                d.progress, d.error, d.enqueued_at
           from gone d where not p_discard
     )
     select array_agg(d.id order by d.id), array_agg(d.group_id) filter (where exists (
              select from millrace.task_groups g where g.id = d.group_id and g.waits_for = 'c'))
       into chosen, groups from gone d;
     if p_discard and groups is not null then
       perform millrace.leave_groups_1(groups);
     end if;
     return coalesce(chosen, '{}');
   end
   $dead$`,

  // Whether a unique key is held: by its time, or by its task. It is asked while the key's row is locked, and it is volatile, so that it
  // sees whatever was committed before that.
  `create or replace function millrace.unique_key_held_1(p_task uuid, p_until "char", p_expires timestamptz) returns boolean
   language sql volatile set search_path = pg_catalog, pg_temp as $held$
     select p_expires > clock_timestamp() or (p_until <> 't' and exists (
       select from millrace.tasks t where t.id = p_task and (p_until = 'f' or (t.state <> 'a' and t.attempt = 0))))
   $held$`,
];
