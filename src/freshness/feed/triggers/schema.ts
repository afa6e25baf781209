// What the log table consists of on the server: the table, the function that puts a table under watch, and the event trigger for
// DDL. docs/change-feed.md describes it for administrators, docs/decisions/log-table.md says why it is like this.

/** Rows of one statement whose values are written down one by one; of more, the distinct values of each column are. */
export const maxRowsListed = 1_000;

/** Distinct values of a column beyond which a statement counts as having touched any. The log row keeps one more, as the sign. */
export const maxValuesListed = 1_000;

/** Characters of a value. A longer one counts as "any value"; the log row keeps one character more, as the sign. */
export const maxValueLength = 200;

/** Followed columns of one table whose values are logged: json_build_object() takes 100 arguments. Others count as "any value". */
const maxColumns = 40;

/** What a row of millrace.changes is about. */
export const changeKinds = {
  /** A statement wrote rows; `touched` has the values of followed columns, null: any. */
  write: "w",
  /** DDL: anything may be different. */
  ddl: "d",
  /** `relation`, and the columns in `touched`, are followed from here on. */
  followed: "f",
  /** Hashes of dependencies, from invalidate(). */
  invalidate: "i",
} as const;

/** The statements that create the tables and functions, each idempotent. The schema exists and is locked against other installers. */
export const installStatements: readonly string[] = [
  `create table if not exists millrace.changes (
     xid xid8 not null default pg_current_xact_id(),
     kind "char" not null,
     relation oid not null,
     touched json
   )`,
  // Rows live for about a second, so the table is vacuumed by count, not by share, and without pauses.
  `alter table millrace.changes set (
     autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
     autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
     autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000000)`,
  `create index if not exists changes_xid on millrace.changes (xid)`,
  `create table if not exists millrace.relay (
     one boolean primary key default true check (one),
     system text not null,
     snapshot text not null,
     position pg_lsn not null,
     saved timestamptz not null default now()
   ) with (fillfactor = 50)`,
  `create table if not exists millrace.watched (relation oid primary key, columns text[] not null)`,
  `revoke all on millrace.changes, millrace.relay, millrace.watched from public`,
  watchFunction(),
  `revoke all on function millrace.watch(oid, text[]) from public`,
];

/**
 * millrace.watch(relation, columns): gives one table its function and its triggers, and remembers which columns are logged (those
 * of earlier calls too). Run again after the table has changed, it adapts the function.
 *
 * The function is written for the table rather than generic: its statements are then planned once per session, which halves what a
 * write costs. It must never make the user's statement fail: what goes wrong while values are collected (a column that was renamed
 * a moment ago) counts as "any value". It runs as the log's owner, so it calls nothing that a user could have made: format('%s')
 * uses the type's output function, where a cast to text could be anybody's.
 */
function watchFunction(): string {
  return `
create or replace function millrace.watch(target oid, wanted text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $watch$
declare
  listed text[];
  place text := format('millrace.%I', 'log_' || target);
  qualified text;
  cells text;
  wide_cells text;
  sources text[];
  body text := '';
  quiet_before text := coalesce(current_setting('millrace.quiet', true), '');
  op text;
  sources_of jsonb := '{"INSERT": ["new_rows"], "DELETE": ["old_rows"], "UPDATE": ["new_rows", "old_rows"]}';
  log_owner name := (select rolname from pg_class c join pg_roles r on r.oid = c.relowner where c.oid = 'millrace.changes'::regclass);
begin
  -- What follows is no DDL of the user's: log_ddl() looks at this.
  perform set_config('millrace.quiet', 'on', true);
  select format('%I.%I', n.nspname, c.relname) into strict qualified
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target;
  select array_agg(name order by name) into listed from (
    select distinct a.attname::text as name from pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      and (a.attname = any (wanted) or a.attname = any (array(select unnest(w.columns) from millrace.watched w where w.relation = target)))
    order by 1 limit ${maxColumns}
  ) chosen;
  listed := coalesce(listed, '{}');
  insert into millrace.watched (relation, columns) values (target, listed)
    on conflict (relation) do update set columns = excluded.columns where watched.columns <> excluded.columns;

  foreach op in array array['INSERT', 'UPDATE', 'DELETE'] loop
    sources := array(select jsonb_array_elements_text(sources_of -> op));
    cells := (select string_agg(format('%L, json_agg(left(format(''%%s'', r.%I), ${maxValueLength + 1})) filter (where r.%I is not null)', c, c, c), ', ')
                from unnest(listed) c);
    wide_cells := (select string_agg(format('%L, (select json_agg(v) from (%s limit ${maxValuesListed + 1}) d)', c, (
                       select string_agg(format('select distinct left(format(''%%s'', %I), ${maxValueLength + 1}) collate "C" as v from %I where %I is not null', c, s, c), ' union ')
                         from unnest(sources) s)), ', ')
                from unnest(listed) c);
    body := body || format('
  %s TG_OP = %L then
    begin
      select count(*), json_build_object(%s) into rows_seen, what from (%s) r;
      if rows_seen = 0 then return null; end if;
      if rows_seen > ${maxRowsListed} then select json_build_object(%s) into what; end if;
    exception when others then what := null;
    end;',
      case op when 'INSERT' then 'if' else 'elsif' end, op, coalesce(cells, ''),
      (select string_agg(format('(select * from %I limit ${maxRowsListed + 1})', s), ' union all ') from unnest(sources) s),
      coalesce(wide_cells, ''));
  end loop;
  body := '
#variable_conflict use_column
declare rows_seen bigint; what json;
begin' || body || '
  end if;
  insert into millrace.changes (kind, relation, touched) values (''${changeKinds.write}'', TG_RELID, what);
  return null;
end';
  -- Text of these two types depends on settings; the others are the same under all of them.
  execute format('create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp %s as %L',
    place,
    case when exists (select from pg_attribute a join pg_type t on t.oid = a.atttypid
                      where a.attrelid = target and a.attname = any (listed) and t.typtype <> 'e'
                        and t.oid not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'oid'::regtype, 'uuid'::regtype,
                                          'text'::regtype, 'varchar'::regtype, 'bool'::regtype))
      then 'set datestyle = ''ISO, YMD'' set bytea_output = ''hex''' else '' end,
    body);
  execute format('revoke all on function %s() from public', place);
  -- Where an administrator put the table under watch, the function still runs with no more rights than the log needs.
  if log_owner <> current_user and pg_has_role(current_user, log_owner, 'MEMBER') then
    execute format('alter function %s() owner to %I', place, log_owner);
  end if;
  if (select count(*) from pg_trigger t where t.tgrelid = target and t.tgenabled = 'A' and t.tgfoid = to_regprocedure(place || '()')
        and t.tgname in ('millrace_insert', 'millrace_update', 'millrace_delete', 'millrace_truncate')) < 4 then
    execute format('create or replace trigger millrace_insert after insert on %s referencing new table as new_rows for each statement execute function %s()', qualified, place);
    execute format('create or replace trigger millrace_update after update on %s referencing old table as old_rows new table as new_rows for each statement execute function %s()', qualified, place);
    execute format('create or replace trigger millrace_delete after delete on %s referencing old table as old_rows for each statement execute function %s()', qualified, place);
    execute format('create or replace trigger millrace_truncate after truncate on %s for each statement execute function %s()', qualified, place);
    foreach op in array array['insert', 'update', 'delete', 'truncate'] loop
      execute format('alter table %s enable always trigger %I', qualified, 'millrace_' || op);
    end loop;
  end if;
  perform set_config('millrace.quiet', quiet_before, true);
end
$watch$`;
}

/**
 * The tables that must have triggers so that no write to `$1` is missed: a statement fires only the triggers of the table that it
 * names. Of a partitioned table all parts; else the table and those that it inherits from.
 */
export const membersQuery = `
  select m.relid::oid::text as relation from pg_partition_tree(pg_partition_root($1::oid)) m
  union
  (with recursive up as (
     select $1::oid as relation
     union select i.inhparent from pg_inherits i join up on i.inhrelid = up.relation
   ) select relation::text from up where pg_partition_root($1::oid) is null)
  order by 1`;

/**
 * Watched tables that lost a trigger, and new parts of watched partitioned tables. `columns` is what is to be logged there. Empty
 * when no write can be missed.
 */
export const unwatchedQuery = `
  select m.relation::text as relation, array_agg(distinct w_column) filter (where w_column is not null) as columns
  from (
    select w.relation, w.columns from millrace.watched w
    where exists (select from pg_class c where c.oid = w.relation)
    union all
    select t.relid::oid, w.columns from millrace.watched w, pg_partition_tree(w.relation) t
    where pg_partition_root(w.relation) = w.relation
  ) m left join lateral unnest(m.columns) w_column on true
  where (select count(*) from pg_trigger g where g.tgrelid = m.relation and g.tgenabled = 'A'
           and g.tgname in ('millrace_insert', 'millrace_update', 'millrace_delete', 'millrace_truncate')
           and g.tgfoid = to_regprocedure(format('millrace.%I()', 'log_' || m.relation))) < 4
  group by 1 order by 1`;

/** The event triggers, made where the role may: they write a row for DDL in its own transaction, and watch new partitions at once. */
export const ddlStatements: readonly string[] = [
  `
create or replace function millrace.log_ddl() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $ddl$
declare part record;
begin
  if current_setting('millrace.quiet', true) = 'on' then return; end if;
  -- Temporary things, our own, and what changes no answer.
  if TG_EVENT = 'ddl_command_end' then
    if not exists (
      select from pg_event_trigger_ddl_commands() c
      where c.schema_name is distinct from 'pg_temp' and c.schema_name is distinct from 'millrace'
        and c.command_tag not in ('COMMENT', 'REFRESH MATERIALIZED VIEW', 'CREATE STATISTICS', 'ALTER STATISTICS')
        and coalesce(c.object_identity, '') not like 'millrace.%'
    ) then return; end if;
    begin
      for part in
        select distinct t.relid::oid as relation, w.columns from pg_event_trigger_ddl_commands() c
          join lateral (select pg_partition_root(c.objid) as root) r on c.object_type = 'table'
          join millrace.watched w on w.relation = coalesce(r.root, c.objid)
          cross join lateral (select relid from pg_partition_tree(w.relation) union select w.relation) t(relid)
      loop
        perform millrace.watch(part.relation, part.columns);
      end loop;
    exception when others then
      null; -- the relay finds what is not watched, and says so
    end;
  elsif not exists (
    select from pg_event_trigger_dropped_objects() o
    where not o.is_temporary and o.schema_name is distinct from 'millrace' and o.object_type <> 'statistics object'
      and coalesce(o.object_identity, '') not like 'millrace.%'
  ) then return;
  end if;
  insert into millrace.changes (kind, relation) values ('${changeKinds.ddl}', 0);
end
$ddl$`,
  `revoke all on function millrace.log_ddl() from public`,
  `do $$ begin
     if not exists (select from pg_event_trigger where evtname = 'millrace_log_ddl') then
       create event trigger millrace_log_ddl on ddl_command_end execute function millrace.log_ddl();
       alter event trigger millrace_log_ddl enable always;
     end if;
     if not exists (select from pg_event_trigger where evtname = 'millrace_log_drop') then
       create event trigger millrace_log_drop on sql_drop execute function millrace.log_ddl();
       alter event trigger millrace_log_drop enable always;
     end if;
   end $$`,
];
