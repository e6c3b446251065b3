//! Nobody's code is called: operators, functions, types and views that stand before the system's in a login's own path.

use super::*;

/// A schema with another one of each function, operator, type and view that a text of this crate's own might mean. Each
/// says in the server's log that it was called, and does then what the system's does.
const SHADOWS: &str = r"
create schema evil;
grant usage on schema evil to public;
create function evil.heard(what pg_catalog.text) returns pg_catalog.bool language plpgsql as $f$ begin raise log 'TROJAN % as %', what, session_user; return true; end $f$;
do $d$
declare r record; n int := 0; body text;
begin
  for r in select o.oprname, o.oprleft::regtype::text l, o.oprright::regtype::text rt, o.oprresult::regtype::text res
      from pg_operator o join pg_type a on a.oid = o.oprleft join pg_type b on b.oid = o.oprright join pg_type c on c.oid = o.oprresult
      where o.oprnamespace = 11 and a.typtype = 'b' and b.typtype = 'b' and c.typtype = 'b'
        and (o.oprname in ('=', '<>', '<', '>', '<=', '>=', '+', '-', '/', '*', '||', '~~')) loop
    n := n + 1;
    begin
    execute format('create function evil.op%s(a %s, b %s) returns %s language plpgsql as $f$ begin perform evil.heard(%L); return a operator(pg_catalog.%s) b; end $f$', n, r.l, r.rt, r.res, 'operator ' || r.oprname || ' ' || r.l || ',' || r.rt, r.oprname);
    execute format('create operator evil.%s (leftarg = %s, rightarg = %s, function = evil.op%s)', r.oprname, r.l, r.rt, n);
    exception when others then null; end;
  end loop;
  for r in select p.proname, p.oid, p.provolatile,
        (select string_agg(format('a%s %s', i, format_type(t, null)), ', ' order by i) from unnest(p.proargtypes::oid[]) with ordinality x(t, i)) args,
        (select string_agg('a' || i, ', ' order by i) from unnest(p.proargtypes::oid[]) with ordinality x(t, i)) names,
        format_type(p.prorettype, null) res
      from pg_proc p where p.pronamespace = 11 and p.prokind = 'f' and not p.proretset and p.prorettype <> 'void'::regtype
        and p.proname in ('count','concat','current_setting','set_config','pg_is_in_recovery','now','clock_timestamp','date_part','left','pg_sleep',
          'pg_backend_pid','pg_cancel_backend','inet_client_addr','inet_client_port','pg_advisory_unlock_all','current_database','has_schema_privilege',
          'has_function_privilege','pg_stat_get_backend_dbid','pg_stat_get_db_numbackends','text','int8','float8','bool','name','inet','version','numeric','int4','timestamptz') loop
    begin
    execute format('create function evil.%I(%s) returns %s language plpgsql as $f$ begin perform evil.heard(%L); return pg_catalog.%I(%s); end $f$', r.proname, coalesce(r.args, ''), r.res, 'function ' || r.proname, r.proname, coalesce(r.names, ''));
    exception when others then raise notice '% %', r.proname, sqlerrm; end;
  end loop;
  for r in select typname from pg_type where typnamespace = 11 and typtype = 'b' and typcategory <> 'A' and typname not like 'pg\_%' loop
    begin
    execute format('create domain evil.%I as pg_catalog.%I check (evil.heard(%L))', r.typname, r.typname, 'type ' || r.typname);
    exception when others then null; end;
  end loop;
  foreach body in array '{pg_stat_activity,pg_settings,pg_proc,pg_namespace,pg_depend,pg_extension,pg_roles,pg_database,pg_type,pg_class}'::text[] loop
    execute format('create view evil.%I as select * from pg_catalog.%I where evil.heard(%L)', body, body, 'view ' || body);
    execute format('grant select on evil.%I to public', body);
  end loop;
end $d$;

";

/// What was called of them by the application's login.
fn called(server: &Server) -> Vec<String> {
    let log = server.log();
    let mut called: Vec<_> = log
        .lines()
        .filter_map(|line| Some(line.split_once("TROJAN ")?.1.split_once(" as app")?.0.to_owned()))
        .collect();
    called.sort();
    called.dedup();
    called
}

/// The login's own path begins with somebody's schema, as `alter role`, `alter database` or the login itself can make it.
const PATH: &str = "alter role app set search_path = evil, pg_catalog";

async fn shadowed() -> Server {
    let server = started().await;
    server.execute(SHADOWS).await;
    server.execute(PATH).await;
    server
}

#[tokio::test]
async fn the_crates_own_texts_call_nobodys_functions_operators_types_or_views() -> Result<(), Error> {
    let server = shadowed().await;
    // The stage itself works: what is not named with its schema is theirs.
    let eager = Duration::from_millis(1);
    let proxy = proxy_to(&server)
        .instances([("stage-1", "localhost", server.port())])
        .max_connections(1)
        .watch_interval(eager)
        .validate_after(Duration::ZERO)
        .reader_fallback(true)
        .build()?;
    for (what, text) in [
        ("nothing", "select 1"),
        ("a lock", "select pg_catalog.pg_advisory_lock(1)"),
        ("a table", "create temp table t (n pg_catalog.int4)"),
        ("half a style", "set datestyle = 'dmy'"),
        ("a name", "set application_name = 'mine'"),
        ("a role", "set role app"),
        ("a path", "set search_path = evil"),
        ("several", "select pg_catalog.set_config('app.a', 'b', false), pg_catalog.set_config('app.b', 'c', false)"),
        ("a transaction", "begin; select 1; commit"),
        ("a pin", "declare c cursor with hold for select 1"),
    ] {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, text).await?;
        let text = "select pg_catalog.set_config('app.x', $1, false)";
        sqlx::query(text).bind("y").execute(&mut conn).await?;
        let mut tx = conn.begin().await?;
        {
            let mut inner = tx.begin().await?;
            sqlx::query("select 1").execute(&mut *inner).await?;
            inner.rollback().await?;
        }
        tx.commit().await?;
        drop(conn);
        proxy.upkeep().await;
        sleep(2 * eager).await;
        let mut other = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut other).await?;
        drop(other);
        let mut reader = proxy.get_reader().await?;
        sqlx::query("select 1").execute(&mut reader).await?;
        assert_eq!(called(&server), [""; 0], "{what}");
    }
    Ok(())
}

/// The cancel's text looks for its session with `IS DISTINCT FROM`, which looks for `=` in the path.
#[tokio::test]
async fn a_cancel_calls_nobodys_operators() -> Result<(), Error> {
    let server = shadowed().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let long = sqlx::query("select pg_catalog.pg_sleep(20)").execute(&mut conn);
    assert!(timeout(Duration::from_millis(100), long).await.is_err());
    drop(conn);
    proxy.upkeep().await;
    let mut next = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut next).await?;
    proxy.close().await;
    assert_eq!(called(&server), [""; 0]);
    Ok(())
}

/// As what the operator above does may be anything: here it makes the tenant a superuser, where the login is one.
#[tokio::test]
async fn a_cancel_makes_nobody_a_superuser() -> Result<(), Error> {
    let server = started().await;
    server
        .execute(
            "create role tenant login password 'x'; grant create on database app to tenant; alter role app superuser; \
             set role tenant; create schema evil; grant usage on schema evil to public; \
             create function evil.eq(a text, b text) returns bool language plpgsql as \
               $$ begin execute 'alter role tenant superuser'; return a operator(pg_catalog.=) b; end $$; \
             create operator evil.= (leftarg = text, rightarg = text, function = evil.eq); \
             reset role; alter database app set search_path = evil, pg_catalog",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let long = sqlx::query("select pg_catalog.pg_sleep(20)").execute(&mut conn);
    assert!(timeout(Duration::from_millis(100), long).await.is_err());
    drop(conn);
    proxy.upkeep().await;
    proxy.close().await;
    let question = "select rolsuper from pg_catalog.pg_roles where rolname operator(pg_catalog.=) 'tenant'";
    let is_superuser: bool = sqlx::query_scalar(question).fetch_one(&mut server.admin().await).await?;
    assert!(!is_superuser);
    Ok(())
}

/// A failover: what waits for the promotion is a text of the crate's own, too.
#[tokio::test]
async fn a_search_calls_nobodys_functions_either() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    let server = cluster.node(0);
    server.execute(SHADOWS).await;
    server.execute(PATH).await;
    cluster.wait_until_follows(1, 0).await;
    let proxy = proxy_to(server).instances(cluster.instances()).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    let mut reader = proxy.get_reader().await?;
    sqlx::query("select 1").execute(&mut reader).await?;
    server.kill().await;
    let (found, ()) = tokio::join!(
        async {
            until("the new writer is found", async || sqlx::query("select 1").execute(&mut conn).await.is_ok()).await;
        },
        async {
            sleep(Duration::from_millis(500)).await;
            cluster.node(1).promote().await;
        }
    );
    let () = found;
    assert_eq!((called(server), called(cluster.node(1))), (vec![], vec![]));
    Ok(())
}

/// Functions that nobody calls, and very many of them: whoever may create a schema makes them in seconds.
async fn crowded() -> Server {
    let server = started().await;
    server
        .execute(
            "create role tenant login password 'x'; grant create on database app to tenant; set role tenant; \
             create schema rds_tools; grant usage on schema rds_tools to public; \
             do $d$ declare t text[] := array(select format_type(oid, null) from pg_type where typnamespace = 11 \
               and typtype = 'b' and typcategory in ('N', 'S', 'D', 'B', 'I', 'U', 'G', 'T') order by oid limit 45); \
               a text; b text; c text; n int := 0; \
             begin \
               foreach a in array t loop foreach b in array t loop foreach c in array t loop \
                 n := n + 1; exit when n > 80000; \
                 begin execute format('create function rds_tools.show_topology(%s, %s, %s) returns int language sql as \
                   $s$select 1$s$', a, b, c); exception when others then null; end; \
               end loop; end loop; end loop; \
             end $d$",
        )
        .await;
    server
}

/// Functions that nobody calls, and very many of them: whoever may create a schema makes them in seconds. A look at them
/// costs no session its connection, and keeps nobody out where each connect looks.
#[tokio::test]
async fn a_crowd_of_functions_costs_no_connection_and_keeps_nobody_out() -> Result<(), Error> {
    let server = crowded().await;
    let seen = Recorder::default();
    let proxy = proxy_to(&server).max_connections(1).observer(seen.observer()).build()?;
    for _ in 0..4 {
        run(&mut proxy.get_connection().await?, "select 1").await?;
    }
    let discarded = seen.count(|event| matches!(event, Event::Discarded { .. }));
    let failed = seen.count(|event| matches!(event, Event::LookFailed { .. }));
    assert_eq!((discarded, failed), (0, 0), "{:?}", seen.events());
    let proxy = proxy_to(&server).instances([("stage-1", "localhost", server.port())]).build()?;
    let let_in = proxy.get_connection().await;
    assert!(let_in.is_ok(), "{}", chain(&let_in.unwrap_err()));
    Ok(())
}
