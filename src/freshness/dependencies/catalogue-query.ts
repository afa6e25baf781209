// The one statement that reads what must be known of a database's catalogue: a few milliseconds for hundreds of tables.

/** Schemas that belong to PostgreSQL. */
const system = `('pg_catalog', 'information_schema', 'pg_toast')`;

/** The worst volatility among functions: v, then s, then i; aggregates are as their parts. */
const worst = (of: string): string => `case when bool_or(${of} = 'v') then 'v' when bool_or(${of} = 's') then 's' else 'i' end`;

/** Joined, not looked up one by one: the planner's guess at the latter is high enough to have it compiled (jit), for a second. */
const functions = `
  select p.oid, n.nspname, p.proname, p.prokind, p.proretset, coalesce(a.volatility, p.provolatile::text) as volatility
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  left join (
    select a.aggfnoid, ${worst("part.provolatile")} as volatility
    from pg_catalog.pg_aggregate a
    cross join lateral (values (a.aggtransfn), (a.aggfinalfn), (a.aggcombinefn), (a.aggmtransfn), (a.aggminvtransfn), (a.aggmfinalfn)) parts (oid)
    join pg_catalog.pg_proc part on part.oid = parts.oid::oid
    group by a.aggfnoid) a on a.aggfnoid = p.oid`;

const list = (query: string): string => `(select coalesce(json_agg(each), '[]') from (${query}) as rows (each))`;

/** One row with one column, `catalogue`: see CatalogueRow in catalogue.ts. Everything in it is of one snapshot but view bodies. */
export const catalogueQuery = `
with functions as materialized (${functions})
select json_build_object(
  'snapshot', pg_catalog.pg_current_snapshot()::text,
  'path', pg_catalog.current_schemas(true),
  'relations', ${list(`
    select json_build_array(c.oid::int8, n.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity,
      case when c.relrowsecurity then pg_catalog.row_security_active(c.oid) else false end,
      case when c.relkind = 'v' and c.relpersistence <> 't' then pg_catalog.pg_get_viewdef(c.oid) end,
      (select json_agg(json_build_array(a.attname, a.atttypid::int8, a.attnotnull, a.attgenerated <> '', coalesce(l.collisdeterministic, true))
          order by a.attnum)
        from pg_catalog.pg_attribute a left join pg_catalog.pg_collation l on l.oid = a.attcollation
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v')))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname not in ${system} and n.nspname not like 'pg\\_toast\\_temp\\_%'`)},
  'children', ${list(`
    select json_build_array(i.inhrelid::int8, i.inhparent::int8) from pg_catalog.pg_inherits i
      join pg_catalog.pg_class c on c.oid = i.inhrelid and c.relkind in ('r', 'p', 'f')`)},
  'unique', ${list(`
    select json_build_array(i.indrelid::int8, a.attname) from pg_catalog.pg_index i
      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      join pg_catalog.pg_class c on c.oid = i.indrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where i.indisunique and i.indisvalid and i.indnkeyatts = 1 and i.indpred is null and i.indexprs is null
       and n.nspname not in ${system}`)},
  'foreignKeys', ${list(`
    select json_build_array(k.conrelid::int8, k.confrelid::int8,
      case when cardinality(k.conkey) = 1 and k.convalidated and coalesce(to_json(k) ->> 'conenforced', 'true') = 'true'
        then (select attname from pg_catalog.pg_attribute where attrelid = k.conrelid and attnum = k.conkey[1]) end,
      case when cardinality(k.conkey) = 1
        then (select attname from pg_catalog.pg_attribute where attrelid = k.confrelid and attnum = k.confkey[1]) end,
      k.confdeltype in ('c', 'n', 'd'), k.confupdtype in ('c', 'n', 'd'))
    from pg_catalog.pg_constraint k where k.contype = 'f'`)},
  'policies', ${list(`
    select json_build_array(polrelid::int8, pg_catalog.pg_get_expr(polqual, polrelid)) from pg_catalog.pg_policy
     where polcmd in ('r', '*') and polqual is not null`)},
  'triggers', ${list(`
    select to_json(t.tgrelid::int8) from pg_catalog.pg_trigger t join functions f on f.oid = t.tgfoid
     where not t.tgisinternal and t.tgenabled <> 'D' and f.nspname <> 'millrace'
    union all
    select to_json(r.ev_class::int8) from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where r.ev_type <> '1' and n.nspname not in ${system}`)},
  'systemFunctions', ${list(`
    select json_build_array(proname, ${worst("volatility")}) from functions
     where nspname = 'pg_catalog' and volatility <> 'i' group by proname`)},
  'functions', ${list(`
    select json_build_array(nspname, proname, ${worst("volatility")}) from functions
     where nspname not in ${system} group by nspname, proname`)},
  'aggregates', ${list(`
    select json_build_array(proname, bool_or(prokind not in ('a', 'w'))) from functions group by proname having bool_or(prokind = 'a')`)},
  'sets', ${list(`select to_json(proname) from functions group by proname having bool_or(proretset)`)},
  'operators', ${list(`
    select json_build_array(o.oprname, ${worst("f.volatility")},
      bool_or(l.oid < 16384 and r.oid < 16384)) from pg_catalog.pg_operator o
      join pg_catalog.pg_namespace n on n.oid = o.oprnamespace join functions f on f.oid = o.oprcode
      left join pg_catalog.pg_type l on l.oid = o.oprleft left join pg_catalog.pg_type r on r.oid = o.oprright
     where n.nspname not in ${system} group by o.oprname`)},
  'casts', ${list(`
    select json_build_array(k.castsource::int8, k.casttarget::int8, t.typname) from pg_catalog.pg_cast k
      join pg_catalog.pg_type t on t.oid = k.casttarget join functions f on f.oid = k.castfunc
     where k.oid >= 16384 and f.volatility <> 'i'`)},
  'enums', ${list(`
    select json_build_array(t.oid::int8, n.nspname, t.typname) from pg_catalog.pg_type t
      join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.typtype = 'e'`)}
) as catalogue`;
