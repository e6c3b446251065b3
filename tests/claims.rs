//! What a server, a schema, a name or a text says is a claim: it never decides where a password goes, whose code runs, or how
//! long the process stands still. Ways that a hostile tester has tried; `trust` has those of the review before.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lambda_rds::{Connection, Error, Event, Isolation, PgProxy, Postgres, ProxyBuilder};
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};

use crate::support::aws::{Aws, Fault, Instance, Service};
use crate::support::cluster::{Cluster, Imitation};
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions as ServerOptions};
use crate::support::until::until;
use crate::support::{Recorder, chain, proxy_to};

const SECRET: &str = "prod/shop/db";

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn started() -> Server {
    Server::start(ServerOptions::default()).await
}

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

#[tokio::test]
async fn a_crowd_of_functions_keeps_no_session_waiting() -> Result<(), Error> {
    let server = crowded().await;
    let seen = Recorder::default();
    let proxy = proxy_to(&server).max_connections(1).observer(seen.observer()).build()?;
    let mut waits = Vec::new();
    for _ in 0..4 {
        let mut conn = proxy.get_connection().await?;
        let begun = Instant::now();
        run(&mut conn, "select 1").await?;
        waits.push(begun.elapsed());
    }
    let discarded = seen.count(|event| matches!(event, Event::Discarded { .. }));
    let failed = seen.count(|event| matches!(event, Event::LookFailed { .. }));
    assert_eq!((discarded, failed), (0, 0), "{waits:?} {:?}", seen.events());
    Ok(())
}

#[tokio::test]
async fn a_crowd_of_functions_keeps_nobody_out() -> Result<(), Error> {
    let server = crowded().await;
    // Looked at with each connect, as where the name is one of RDS.
    let proxy = proxy_to(&server).instances([("stage-1", "localhost", server.port())]).build()?;
    let let_in = timeout(Duration::from_secs(15), proxy.get_connection()).await;
    let let_in = let_in.expect("let in within 15 s");
    assert!(let_in.is_ok(), "{}", chain(&let_in.unwrap_err()));
    Ok(())
}

/// What a setting means is decided where it was set: a text search configuration is looked up by the path of that moment,
/// and kept with its schema.
#[tokio::test]
async fn a_setting_that_is_looked_up_by_the_path_stays_what_it_was() -> Result<(), Error> {
    let server = started().await;
    server
        .execute(
            "create schema tenant_a; create schema evil; grant usage on schema tenant_a, evil to public; \
             create text search configuration tenant_a.mine (copy = pg_catalog.english); \
             create text search configuration evil.mine (copy = pg_catalog.simple); \
             alter role app set search_path = evil",
        )
        .await;
    for texts in [
        &["set search_path = tenant_a; ", "set default_text_search_config = 'mine'"][..],
        &["begin; set local search_path = tenant_a; set default_text_search_config = 'mine'; commit"],
        &["begin", "set local search_path = tenant_a", "set default_text_search_config = 'mine'", "commit"],
        &[
            "begin",
            "set local search_path = tenant_a",
            "select set_config('default_text_search_config', 'mine', false)",
            "commit",
        ],
        &["set search_path = tenant_a", "set default_text_search_config = mine", "set search_path = evil"],
        &["set search_path = tenant_a", "set default_text_search_config = mine", "reset search_path"],
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        for text in texts {
            run(&mut a, text).await?;
        }
        if a.pin_reason().is_some() {
            // It stays where it was set.
            continue;
        }
        let question = "select current_setting('default_text_search_config')";
        let before: String = sqlx::query_scalar(question).fetch_one(&mut a).await?;
        run(&mut b, "set search_path = evil").await?;
        let after: String = sqlx::query_scalar(question).fetch_one(&mut a).await?;
        assert_eq!(before, after, "{texts:?}");
    }
    Ok(())
}

/// Values that stand for something else at the moment at which they are set.
#[tokio::test]
async fn a_setting_that_depends_on_others_stays_what_it_was() -> Result<(), Error> {
    let server = started().await;
    let mut bad = Vec::new();
    for (texts, name) in [
        (&["begin", "set local datestyle = 'german'", "set datestyle = 'mdy'", "commit"][..], "DateStyle"),
        (
            &["begin", "set local datestyle = 'german'", "select set_config('datestyle', 'mdy', false)", "commit"],
            "DateStyle",
        ),
        (&["set datestyle = 'sql'", "set datestyle = 'dmy'"], "DateStyle"),
        (&["set datestyle = 'sql, dmy'", "set datestyle = default"], "DateStyle"),
        (&["set time zone interval '2' hour to minute"], "TimeZone"),
        (&["set time zone -7.5"], "TimeZone"),
        (&["begin", "set local time zone 'Asia/Tokyo'", "set time zone local", "commit"], "TimeZone"),
        (&["set search_path = \"$user\", 'a,b', \"x\"\"y\""], "search_path"),
        (&["select set_config('search_path', 'a, \"b c\"', false)"], "search_path"),
        (&["set work_mem = '1.5MB'"], "work_mem"),
        (&["set app.\"Mixed Case\" = 'x'"], "app.mixed case"),
        (
            &["begin", "set work_mem = '3MB'", "savepoint s", "set work_mem = '4MB'", "rollback to s", "commit"],
            "work_mem",
        ),
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        for text in texts {
            let _ = run(&mut a, text).await;
        }
        if a.pin_reason().is_some() {
            continue;
        }
        let question = "select coalesce(current_setting($1, true), '')";
        let before: String = sqlx::query_scalar(question).bind(name).fetch_one(&mut a).await?;
        for text in
            ["set datestyle = 'postgres, ymd'", "set time zone 'UTC'", "set search_path = z", "set work_mem = '9MB'"]
        {
            run(&mut b, text).await?;
        }
        let after: String = sqlx::query_scalar(question).bind(name).fetch_one(&mut a).await?;
        if before != after {
            bad.push(format!("{texts:?}: {before} and then {after}"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

/// The same words are the same setting only where they mean the same.
#[tokio::test]
async fn what_another_session_means_by_the_same_words_is_not_taken_over() -> Result<(), Error> {
    let server = started().await;
    server
        .execute(
            "create schema tenant_a; create schema tenant_b; grant usage on schema tenant_a, tenant_b to public; \
             create text search configuration tenant_a.mine (copy = pg_catalog.english); \
             create text search configuration tenant_b.mine (copy = pg_catalog.simple)",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for (conn, tenant) in [(&mut a, "tenant_a"), (&mut b, "tenant_b")] {
        let mut tx = conn.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {tenant}"))).execute(&mut *tx).await?;
        sqlx::raw_sql("set default_text_search_config = 'mine'").execute(&mut *tx).await?;
        tx.commit().await?;
    }
    let question = "select current_setting('default_text_search_config')";
    // Of whom the connection was last.
    let of_b: String = sqlx::query_scalar(question).fetch_one(&mut b).await?;
    let of_a: String = sqlx::query_scalar(question).fetch_one(&mut a).await?;
    assert_eq!((of_a.as_str(), of_b.as_str()), ("tenant_a.mine", "tenant_b.mine"));
    Ok(())
}

/// Numbers are shown with as many digits as a session wants; the one by which a cancel finds it is none of them.
#[tokio::test]
async fn a_session_is_found_by_its_number_however_it_shows_numbers() -> Result<(), Error> {
    let server = started().await;
    for set in [
        "set work_mem = '2MB'",
        "set extra_float_digits = 0",
        "set extra_float_digits = -15",
        "set extra_float_digits = 3",
    ] {
        // Addresses are translated in between, so that the way there does not tell.
        let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        let seen = Recorder::default();
        let proxy = proxy_to(&server)
            .port(way.port())
            .max_connections(1)
            .validate_after(Duration::from_millis(20))
            .observer(seen.observer())
            .build()?;
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, set).await?;
        run(&mut conn, "set application_name = 'mine'").await?;
        sleep(Duration::from_millis(40)).await;
        run(&mut conn, "select 1").await?;
        let long = sqlx::query("select pg_sleep(20)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(50), long).await.is_err());
        drop(conn);
        proxy.upkeep().await;
        let failed: Vec<_> =
            seen.events().into_iter().filter(|event| matches!(event, Event::CancelFailed { .. })).collect();
        assert!(failed.is_empty(), "{set}: {failed:?}");
        server.terminate_sessions("app").await;
    }
    Ok(())
}

/// How full the server is, is nothing that a session's own settings say.
#[tokio::test]
async fn a_session_does_not_make_the_server_look_full() -> Result<(), Error> {
    let server = started().await;
    let mut bad = Vec::new();
    for set in [
        "set rds.rds_superuser_reserved_connections = '1000000'",
        "set rds.rds_superuser_reserved_connections = 'x'",
        "set rds.rds_superuser_reserved_connections = '9223372036854775807'",
    ] {
        let seen = Recorder::default();
        let proxy = proxy_to(&server).max_connections(1).observer(seen.observer()).build()?;
        for _ in 0..3 {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, set).await?;
            drop(conn);
            proxy.upkeep().await;
            let mut other = proxy.get_connection().await?;
            run(&mut other, "select 1").await?;
            drop(other);
            proxy.upkeep().await;
        }
        let connected = seen.count(|event| matches!(event, Event::Connected { .. }));
        let failed = seen.count(|event| matches!(event, Event::LookFailed { .. }));
        if (connected, failed) != (1, 0) {
            bad.push(format!("{set}: {connected} logins, {failed} looks that failed"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

fn with_secret(server: &Server, aws: &Aws) -> ProxyBuilder<Postgres> {
    PgProxy::builder()
        .host(server.host())
        .port(server.port())
        .database("app")
        .ca_pem(server.ca_pem())
        .secret(SECRET)
        .aws_config(aws.sdk_config())
}

async fn connect(proxy: &PgProxy) -> Result<Connection<Postgres>, Error> {
    let mut conn = proxy.get_connection().await?;
    conn.pin().await?;
    Ok(conn)
}

/// A member that says no to everybody: what it says is said of itself, and not of the writer.
async fn beside_one_that_refuses(aws: &Aws) -> (Server, Server, ProxyBuilder<Postgres>, Recorder) {
    let (writer, refuses) = (started().await, started().await);
    refuses.set_password("app", "of another world").await;
    aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
    let seen = Recorder::default();
    let builder = with_secret(&writer, aws)
        .add_ca_pem(refuses.ca_pem())
        .instances([("a", "localhost", writer.port()), ("b", "localhost", refuses.port())])
        .max_connections(40)
        .observer(seen.observer());
    (writer, refuses, builder, seen)
}

#[tokio::test]
async fn a_reader_that_refuses_the_password_does_not_lock_the_writer() -> Result<(), Error> {
    let aws = Aws::start().await;
    let (_writer, _refuses, builder, seen) = beside_one_that_refuses(&aws).await;
    let proxy = builder.build()?;
    let mut kept = vec![connect(&proxy).await?];
    // Somebody goes on asking for a reader, and somebody for the writer: for how much of the time is that one let in?
    let (begun, mut locked, mut longest, mut since) = (Instant::now(), 0, Duration::ZERO, Instant::now());
    let mut last = String::new();
    let mut tries = 0;
    while begun.elapsed() < Duration::from_secs(9) && kept.len() < 12 {
        assert!(proxy.get_reader().await.is_err());
        tries += 1;
        match connect(&proxy).await {
            Ok(conn) => {
                kept.push(conn);
                since = Instant::now();
            }
            Err(error) => {
                locked += 1;
                longest = longest.max(since.elapsed());
                last = chain(&error);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    let refused = seen.count(|event| matches!(event, Event::CredentialsRefused { .. }));
    let calls = aws.requests().len();
    assert_eq!(locked, 0, "of {tries}, for {longest:?}, {calls} calls, {refused} refused logins: {last}");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_refuses_the_password_costs_no_call_for_each_invocation() -> Result<(), Error> {
    let aws = Aws::start().await;
    let (_writer, refuses, builder, seen) = beside_one_that_refuses(&aws).await;
    let proxy = builder.build()?;
    let begun = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..20 {
        // In between the writer lets somebody in.
        kept.extend(connect(&proxy).await.ok());
        assert!(proxy.get_reader().await.is_err());
    }
    let calls = aws.requests().len();
    let refused = seen.count(|event| matches!(event, Event::CredentialsRefused { .. }));
    let rounds = 2 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(calls <= 4 * rounds && refused <= 2 * rounds, "{calls} calls, {refused} refused, in {rounds} rounds");
    drop(refuses);
    Ok(())
}

/// The writer is away for a moment, which a search waits for; the same with a fixed password shows that.
#[tokio::test]
async fn a_member_that_refuses_the_password_does_not_end_a_search() -> Result<(), Error> {
    for with_secret in [false, true] {
        let aws = Aws::start().await;
        let (writer, refuses, mut builder, _) = beside_one_that_refuses(&aws).await;
        if !with_secret {
            let authorities = [writer.ca_pem(), refuses.ca_pem()].concat();
            builder = proxy_to(&writer)
                .ca_pem(authorities)
                .instances([("a", "localhost", writer.port()), ("b", "localhost", refuses.port())]);
        }
        let proxy = builder.build()?;
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "select 1").await?;
        drop(conn);
        writer.kill().await;
        let (waited, ()) = tokio::join!(proxy.get_connection(), async {
            sleep(Duration::from_millis(1500)).await;
            writer.start_again().await;
        });
        assert!(waited.is_ok(), "with a secret: {with_secret}: {}", chain(&waited.unwrap_err()));
    }
    Ok(())
}

/// An instance that is being created stays so for minutes; so does one whose creation has failed.
#[tokio::test]
async fn an_instance_without_an_address_is_not_looked_up_by_every_invocation() -> Result<(), Error> {
    let aws = Aws::start().await;
    aws.put_instance(Instance { endpoint: None, cluster: None, status: "creating".to_owned(), ..Instance::default() });
    let place = PgProxy::builder().instance("stage-1").user("app").password(APP_PASSWORD);
    let proxy = place.aws_config(aws.sdk_config()).build()?;
    let begun = Instant::now();
    for _ in 0..200 {
        let error = proxy.get_connection().await.unwrap_err();
        assert!(matches!(&error, Error::Endpoint { .. }), "{error:?}");
    }
    let (calls, seconds) = (aws.requests().len(), usize::try_from(begun.elapsed().as_secs()).unwrap());
    assert!(calls <= 2 + 5 * seconds, "{calls} calls in {:?}", begun.elapsed());
    Ok(())
}

/// What a secret may be instead of a good one.
#[tokio::test]
async fn a_secret_of_no_use_is_not_asked_for_by_every_invocation() -> Result<(), Error> {
    let server = started().await;
    for kind in 0..13 {
        let aws = Aws::start().await;
        let secret = aws.secret(SECRET);
        match kind {
            0 => {}
            1 => secret.put_binary(&[0xff, 0xfe]),
            2 => secret.put("no json"),
            3 => secret.put(json!({"username": "app"})),
            4 => secret.put(json!({"username": "app", "password": APP_PASSWORD, "engine": "mysql"})),
            5 => secret.put(json!({"username": "app", "password": APP_PASSWORD, "port": 99_999_999})),
            6 => secret.put("[".repeat(60_000)),
            7 => secret.put(json!({"username": "app", "password": ["x"]})),
            8 => {
                secret.put(json!({"username": "app", "password": "x"}));
                secret.delete();
            }
            9 => {
                secret.put(json!({"username": "app", "password": "x"}));
                secret.lose_key();
            }
            10 => aws.fault(Service::SecretsManager, Fault::Throttle),
            11 => aws.fault(Service::SecretsManager, Fault::InternalError),
            // Wrong, and the other stages may not be read.
            _ => {
                secret.put(json!({"username": "app", "password": "wrong"}));
                for _ in 0..50 {
                    aws.fault_next(Service::SecretsManager, Fault::None, 1);
                    aws.fault_next(Service::SecretsManager, Fault::AccessDenied, 1);
                }
            }
        }
        let seen = Recorder::default();
        let proxy = with_secret(&server, &aws).observer(seen.observer()).build()?;
        let begun = Instant::now();
        let mut last = String::new();
        for _ in 0..100 {
            last = match proxy.get_connection().await {
                Ok(_) => "it is good".to_owned(),
                Err(error) => chain(&error),
            };
        }
        let (calls, rounds) = (aws.requests().len(), 2 + usize::try_from(begun.elapsed().as_secs()).unwrap());
        let refused = seen.count(|event| matches!(event, Event::CredentialsRefused { .. }));
        assert!(calls <= 4 * rounds && refused <= 2 * rounds, "{kind}: {calls} calls, {refused} refused: {last}");
    }
    Ok(())
}

/// The password is another one meanwhile, and the secret is not: every dropped statement wants a cancel, and that a login.
#[tokio::test]
async fn cancels_do_not_try_a_refused_password_again_and_again() -> Result<(), Error> {
    let (aws, server) = (Aws::start().await, started().await);
    aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
    let patience = Duration::from_secs(5);
    let proxy = with_secret(&server, &aws).max_connections(1).validate_timeout(patience).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "select 1").await?;
    server.set_password("app", "another one").await;
    aws.clear_requests();
    let begun = Instant::now();
    for _ in 0..12 {
        let slow = sqlx::query("select pg_sleep(0.9)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(20), slow).await.is_err());
        run(&mut conn, "select 1").await?;
    }
    let refused = server.log().matches("password authentication failed").count();
    // As for everything else that a secret is asked for: after 1 s, 2 s, 4 s and so on.
    let (calls, rounds) = (aws.requests().len(), 1 + usize::try_from((begun.elapsed().as_secs() + 1).ilog2()).unwrap());
    assert!(calls <= 4 * rounds && refused <= 1 + rounds, "{calls} calls, {refused} refused logins in {rounds} rounds");
    Ok(())
}

/// Names by which a stranger at loopback would be reached, or that end as the target's do.
const HOSTS: [&str; 26] = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "LocalHost..",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "0",
    "",
    " localhost",
    "localhost ",
    "localhost\n",
    "user@localhost",
    "/tmp",
    "localhost:1",
    "ｌocalhost",
    "loca\u{200b}lhost",
    "xn--localhost",
    "a.localhost",
    "localhost,evil.example",
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[tokio::test]
async fn no_spelling_of_a_host_leads_the_password_to_a_stranger() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    let stranger = started().await;
    let door = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], stranger.port()))).await;
    server
        .execute(
            "create table stage.named (id text, endpoint text, port int); grant select on stage.named to public; \
             create or replace function rds_tools.show_topology(client text default '') \
               returns table (id text, endpoint text, port int) language sql volatile as \
               $$ select 'db-STAGE-1', 'localhost', inet_server_port() union all select * from stage.named $$",
        )
        .await;
    for (number, host) in HOSTS.into_iter().enumerate() {
        let member = format!("({}, {}, {})", quoted(&format!("m-{number}")), quoted(host), door.port());
        // One that calls itself as the target, as a given one and as nobody.
        let as_me = format!("('db-STAGE-1', {}, {})", quoted(host), door.port());
        let as_given = format!("('stage-1', {}, {})", quoted(host), door.port());
        server.execute(&format!("insert into stage.named values {member}, {as_me}, {as_given}")).await;
    }
    let authorities = [cluster.ca_pem(), stranger.ca_pem()].concat();
    for given in [None, Some(("stage-1", "localhost", server.port()))] {
        let seen = Recorder::default();
        let proxy = proxy_to(server)
            .ca_pem(&authorities)
            .instances(given)
            .watch_interval(Duration::from_millis(1))
            .validate_after(Duration::ZERO)
            .observer(seen.observer())
            .failover_timeout(Duration::from_secs(2))
            .build()?;
        for _ in 0..3 {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, "select 1").await?;
            drop(conn);
            assert!(proxy.get_reader().await.is_err());
        }
        // A search: whoever is known is asked.
        let mut conn = proxy.get_connection().await?;
        let _ = run(&mut conn, "select pg_terminate_backend(pg_backend_pid())").await;
        drop(conn);
        let mut conn = proxy.get_connection().await?;
        let long = sqlx::query("select pg_sleep(20)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(50), long).await.is_err());
        drop(conn);
        proxy.upkeep().await;
        let claims: Vec<_> = seen
            .events()
            .into_iter()
            .filter_map(|event| if let Event::ClaimIgnored { claim, .. } = event { Some(claim) } else { None })
            .collect();
        assert!(!claims.is_empty());
        assert_eq!(door.connections(), 0, "{given:?} {claims:?}");
    }
    Ok(())
}

/// However a session ends, in strict isolation nobody has its connection after it.
#[tokio::test]
async fn a_strict_sessions_connection_is_nobody_elses_however_it_ends() -> Result<(), Error> {
    let server = started().await;
    let proxy = proxy_to(&server).max_connections(1).isolation(Isolation::Strict).build()?;
    let number = "select pg_backend_pid()";
    for end in [
        "select 1",
        "discard all",
        "deallocate all",
        "reset all",
        "begin",
        "begin; commit",
        "select pg_advisory_lock(1)",
        "set work_mem = '1MB'",
        "select 1 / 0",
        "create temp table t (n int); drop table t; discard temp",
        "dropped",
        "dropped transaction",
        "upkeep",
    ] {
        let mut a = proxy.get_connection().await?;
        let before: i32 = sqlx::query_scalar(number).fetch_one(&mut a).await?;
        match end {
            "dropped" => {
                let slow = sqlx::query("select pg_sleep(0.05)").execute(&mut a);
                let _ = timeout(Duration::from_millis(20), slow).await;
            }
            "dropped transaction" => {
                let mut tx = a.begin().await?;
                sqlx::query("select 1").execute(&mut *tx).await?;
            }
            "upkeep" => proxy.upkeep().await,
            text => {
                let _ = run(&mut a, text).await;
            }
        }
        drop(a);
        if end == "upkeep" {
            proxy.upkeep().await;
        }
        let mut b = proxy.get_connection().await?;
        let after: i32 = sqlx::query_scalar(number).fetch_one(&mut b).await?;
        assert_ne!(before, after, "{end}");
    }
    // Two at a time on one slot: they take turns, and each has a new one.
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(sqlx::query_scalar::<_, i32>(number).fetch_one(&mut a).await?);
        numbers.push(sqlx::query_scalar::<_, i32>(number).fetch_one(&mut b).await?);
    }
    assert!(numbers.windows(2).all(|two| two[0] != two[1]), "{numbers:?}");
    Ok(())
}

/// A tenant's `deallocate` is a statement like another: strangers' transactions do not pay for it.
#[tokio::test]
async fn what_a_tenant_deallocates_breaks_no_strangers_transaction() -> Result<(), Error> {
    let server = started().await;
    for text in [
        "deallocate all",
        "deallocate sqlx_s_1",
        "deallocate prepare all",
        "discard all",
        "select 1; deallocate all",
        "begin; deallocate all; commit",
        "deallocate \"sqlx_s_1\"",
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut b = proxy.get_connection().await?;
        for n in 0..3_i32 {
            let _: i32 = sqlx::query_scalar("select $1::int4").bind(n).fetch_one(&mut b).await?;
        }
        let mut a = proxy.get_connection().await?;
        let _ = run(&mut a, text).await;
        drop(a);
        let mut tx = b.begin().await?;
        let same = sqlx::query_scalar::<_, i32>("select $1::int4").bind(7).fetch_one(&mut *tx).await;
        assert!(matches!(same, Ok(7)), "{text}: {same:?}");
        tx.commit().await?;
    }
    Ok(())
}

/// The driver reads more variables than those that are refused; all of them are set over.
#[tokio::test]
async fn no_variable_of_the_drivers_changes_where_a_login_goes() {
    const NAME: &str = concat!(module_path!(), "::no_variable_of_the_drivers_changes_where_a_login_goes");
    if crate::support::child::is_one() {
        let proxy = PgProxy::from_env().unwrap();
        let mut conn = proxy.get_connection().await.unwrap();
        let question = "select current_user || ' ' || current_database() || ' ' || (select ssl from pg_stat_ssl where pid = \
                        pg_backend_pid()) || ' ' || split_part(current_setting('application_name'), ' ', 1)";
        let shown: String = sqlx::query_scalar(question).fetch_one(&mut conn).await.unwrap();
        println!("shown: {shown}");
        return;
    }
    let server = started().await;
    let ca = std::env::temp_dir().join(format!("claims-{}.pem", std::process::id()));
    std::fs::write(&ca, server.ca_pem()).unwrap();
    let url = server.url();
    let ours = [("LAMBDA_RDS_URL", url.as_str()), ("LAMBDA_RDS_CA_FILE", ca.to_str().unwrap())];
    let theirs = [
        ("PGHOST", "/tmp"),
        ("PGHOSTADDR", "127.0.0.2"),
        ("PGPORT", "1"),
        ("PGUSER", "postgres"),
        ("PGPASSWORD", "x"),
        ("PGDATABASE", "template1"),
        ("PGSSLMODE", "disable"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGAPPNAME", "other"),
        ("PGPASSFILE", "/nonexistent"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGSERVICE", "evil"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGSSLCRL", "/nonexistent"),
        ("PGTARGETSESSIONATTRS", "read-only"),
        ("PGCHANNELBINDING", "disable"),
    ];
    let all: Vec<_> = ours.into_iter().chain(theirs).collect();
    let printed = crate::support::child::run(NAME, &all).await;
    let _ = std::fs::remove_file(&ca);
    assert!(printed.contains("shown: app app true lambda-rds"), "{printed}");
}

/// What a URL could say to the driver beyond what is understood here.
#[test]
fn no_parameter_of_a_url_reaches_the_driver_unread() {
    for parameter in [
        "options=-c%20work_mem%3D123kB",
        "options[work_mem]=123kB",
        "sslcert=/x",
        "sslkey=/x",
        "ssl-client-cert=/x",
        "hostaddr=127.0.0.2",
        "passfile=/x",
        "service=x",
        "user=postgres&user=app",
        "host=evil.example",
        "HOST=evil.example",
        "sslmode=verify-ca",
        "sslmode=prefer",
        "SSLMODE=disable",
        "sslmode=DISABLE%00",
        "socket=/tmp",
    ] {
        let url = format!("postgres://app:hunter2@db.example/app?{parameter}");
        let built = PgProxy::builder().url(url).build();
        let error = built.err().map(|error| chain(&error));
        if let Some(error) = error {
            assert!(!error.contains("hunter2"), "{error}");
        } else {
            assert!(["user=", "host="].iter().any(|known| parameter.starts_with(known)), "{parameter}");
        }
    }
}

#[cfg(feature = "mysql")]
mod on_mysql {
    use lambda_rds::{MySql, MySqlProxy};

    use super::*;
    use crate::support::mariadb::{MariaDb, MariaDbOptions};
    use crate::support::mariadb_cluster::{Imitation, MariaDbCluster};
    use crate::support::mysql_proxy_to;

    async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
        Ok(())
    }

    #[tokio::test]
    async fn no_spelling_of_a_host_leads_the_password_to_a_stranger() -> Result<(), Error> {
        let cluster = MariaDbCluster::start(Imitation::MultiAz, 0).await;
        let server = cluster.node(0);
        let stranger = MariaDb::start(MariaDbOptions::default()).await;
        let door = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], stranger.port()))).await;
        for (number, host) in HOSTS.into_iter().enumerate() {
            let host = host.replace('\n', "\\n");
            let member = format!("({}, {}, {})", number + 100, quoted(&host), door.port());
            // Not every table takes every letter.
            let named = format!("insert into mysql.rds_topology values {member}");
            let _ = sqlx::raw_sql(AssertSqlSafe(named)).execute(&mut server.admin().await).await;
        }
        server.execute(&format!("update mysql.rds_topology set port = {} where id = 100", door.port())).await;
        let authorities = [cluster.ca_pem(), stranger.ca_pem()].concat();
        for given in [None, Some(("stage-1", "localhost", server.port()))] {
            let seen = Recorder::default();
            let proxy = mysql_proxy_to(server)
                .ca_pem(&authorities)
                .instances(given)
                .watch_interval(Duration::from_millis(1))
                .validate_after(Duration::ZERO)
                .observer(seen.observer())
                .failover_timeout(Duration::from_secs(2))
                .build()?;
            for _ in 0..3 {
                let mut conn = proxy.get_connection().await?;
                run(&mut conn, "select 1").await?;
                drop(conn);
                assert!(proxy.get_reader().await.is_err());
            }
            let mut conn = proxy.get_connection().await?;
            let _ = run(&mut conn, "kill connection_id()").await;
            drop(conn);
            let mut conn = proxy.get_connection().await?;
            let long = sqlx::query("select sleep(20)").execute(&mut conn);
            assert!(timeout(Duration::from_millis(50), long).await.is_err());
            drop(conn);
            proxy.upkeep().await;
            let ignored = seen.count(|event| matches!(event, Event::ClaimIgnored { .. }));
            assert!(ignored > 0);
            assert_eq!(door.connections(), 0, "{given:?}");
        }
        Ok(())
    }

    /// Tables called as AWS's are, in schemas of anybody's, functions called as the server's own are, and modes of a session
    /// by which the crate's texts could be read otherwise.
    #[tokio::test]
    async fn no_schema_and_no_mode_changes_what_the_crate_asks() -> Result<(), Error> {
        let cluster = MariaDbCluster::start(Imitation::MultiAz, 0).await;
        let server = cluster.node(0);
        server
            .execute(
                "create table app.rds_topology as select 66 as id, 'localhost' as endpoint, 1 as port; \
                 create table app.replica_host_status as select 'evil' as server_id, 'MASTER_SESSION_ID' as session_id, \
                   now() as last_update_timestamp, 0 as replica_lag_in_milliseconds; \
                 create table app.processlist as select 1 as id; create table app.tables as select 1 as id; \
                 create function app.evil() returns int deterministic return 1",
            )
            .await;
        for function in ["user", "concat", "length", "count", "substring_index", "sleep", "now", "unix_timestamp"] {
            let made = format!("create function app.{function} () returns int deterministic return 1 / 0");
            // What cannot be made is no attack.
            let _ = sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut server.admin().await).await;
        }
        let mut bad = Vec::new();
        for mode in [
            "select 1",
            "set sql_mode = 'ansi_quotes'",
            "set sql_mode = 'no_backslash_escapes'",
            "set sql_mode = 'ansi,traditional'",
            "set sql_mode = 'oracle'",
            "set sql_mode = 'pad_char_to_full_length'",
            "set sql_mode = 'high_not_precedence,no_unsigned_subtraction'",
            "set sql_mode = 'empty_string_is_null'",
            "set max_join_size = 1",
            "set sql_big_selects = 0, max_join_size = 1",
            "set sql_select_limit = 0",
            "set sql_safe_updates = 1",
            "set group_concat_max_len = 4",
            "set max_execution_time = 1",
            "set names latin1",
            "set names utf8mb4 collate utf8mb4_bin",
            "set collation_connection = 'latin1_bin'",
            "set character_set_connection = 'ucs2'",
            "set time_zone = '+13:00'",
            "set timestamp = 1",
            "set div_precision_increment = 0",
            "set max_allowed_packet = 1024",
            "set session transaction read only",
            "set autocommit = 0",
            "set max_sort_length = 8",
            "set sql_quote_show_create = 0",
            "set tmp_table_size = 1024, max_heap_table_size = 16384",
        ] {
            let seen = Recorder::default();
            let proxy = mysql_proxy_to(server)
                .max_connections(1)
                .instances(cluster.instances())
                .watch_interval(Duration::from_millis(1))
                .validate_after(Duration::ZERO)
                .observer(seen.observer())
                .build()?;
            for _ in 0..2 {
                let mut conn = proxy.get_connection().await?;
                // Not every server knows every one of them.
                let _ = run(&mut conn, mode).await;
                drop(conn);
                sleep(Duration::from_millis(2)).await;
                proxy.upkeep().await;
                let mut other = proxy.get_connection().await?;
                run(&mut other, "select 1").await?;
                drop(other);
                sleep(Duration::from_millis(2)).await;
            }
            for event in seen.events() {
                if matches!(event, Event::LookFailed { .. } | Event::ClaimIgnored { .. } | Event::Suspected { .. }) {
                    bad.push(format!("{mode}: {event:?}"));
                }
            }
        }
        assert!(bad.is_empty(), "{bad:#?}");
        Ok(())
    }

    #[tokio::test]
    async fn a_strict_sessions_connection_is_nobody_elses_however_it_ends() -> Result<(), Error> {
        let server = MariaDb::start(MariaDbOptions::default()).await;
        let proxy: MySqlProxy = mysql_proxy_to(&server).max_connections(1).isolation(Isolation::Strict).build()?;
        let number = "select cast(connection_id() as signed)";
        for end in [
            "select 1",
            "begin",
            "begin; commit",
            "select get_lock('1', 1)",
            "set autocommit = 0",
            "select no_such",
            "dropped",
        ] {
            let mut a = proxy.get_connection().await?;
            let before: i64 = sqlx::query_scalar(number).fetch_one(&mut a).await?;
            if end == "dropped" {
                let slow = sqlx::query("select sleep(0.05)").execute(&mut a);
                let _ = timeout(Duration::from_millis(20), slow).await;
            } else {
                let _ = run(&mut a, end).await;
            }
            drop(a);
            let mut b = proxy.get_connection().await?;
            let after: i64 = sqlx::query_scalar(number).fetch_one(&mut b).await?;
            assert_ne!(before, after, "{end}");
        }
        Ok(())
    }

    /// Values that stand for something else at the moment at which they are set.
    #[tokio::test]
    async fn a_setting_that_depends_on_others_stays_what_it_was() -> Result<(), Error> {
        let server = MariaDb::start(MariaDbOptions::default()).await;
        server
            .execute(
                "create database other character set latin1 collate latin1_bin; grant all on other.* to app@'%'; \
                 alter database app character set utf8mb4 collate utf8mb4_unicode_ci",
            )
            .await;
        let mut bad = Vec::new();
        for (texts, name) in [
            (&["set character set utf8mb4"][..], "collation_connection"),
            (&["set character set utf8mb4", "use other"], "collation_connection"),
            (&["use other", "set character set utf8mb4", "use app"], "collation_connection"),
            (&["set names default", "use other"], "collation_connection"),
            (&["set collation_connection = @@collation_database", "use other"], "collation_connection"),
            (&["set collation_connection = utf8mb4_bin", "set names utf8mb4"], "collation_connection"),
            (&["set names utf8mb4", "set collation_connection = utf8mb4_bin"], "collation_connection"),
            (&["set lock_wait_timeout = @@innodb_lock_wait_timeout"], "lock_wait_timeout"),
            (&["set lock_wait_timeout = @@wait_timeout + 1"], "lock_wait_timeout"),
            (&["set group_concat_max_len = 1000 + connection_id()"], "group_concat_max_len"),
            (&["set time_zone = @@global.time_zone"], "time_zone"),
            (&["set time_zone = '+05:00', time_zone = @@time_zone"], "time_zone"),
            (&["set sql_mode = concat(@@sql_mode, ',ansi_quotes')"], "sql_mode"),
            (&["set sql_mode = 'ansi'", "set sql_mode = @@sql_mode"], "sql_mode"),
            (&["set session transaction isolation level read committed, read only"], "transaction_isolation"),
            (&["set transaction isolation level read committed"], "transaction_isolation"),
            (&["set global_x.y = 1", "set sort_buffer_size = 65536"], "sort_buffer_size"),
        ] {
            let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
            let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
            for text in texts {
                let _ = run(&mut a, text).await;
            }
            if a.pin_reason().is_some() {
                continue;
            }
            // MariaDB 10.11 has the older name.
            let name = if name == "transaction_isolation" {
                crate::support::servers::Servers::family().either("tx_isolation", name)
            } else {
                name
            };
            let question = format!("select cast(@@{name} as char)");
            let before: String = sqlx::query_scalar(AssertSqlSafe(question.clone())).fetch_one(&mut a).await?;
            for text in [
                "use app",
                "set names latin1",
                "set sql_mode = 'traditional'",
                "set innodb_lock_wait_timeout = 3",
                "set time_zone = '+09:00'",
            ] {
                let _ = run(&mut b, text).await;
            }
            let after: String = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut a).await?;
            if before != after {
                bad.push(format!("{texts:?}: {before} and then {after}"));
            }
        }
        assert!(bad.is_empty(), "{bad:#?}");
        Ok(())
    }

    /// As on PostgreSQL: a member that refuses the password says so of itself.
    #[tokio::test]
    async fn a_reader_that_refuses_the_password_does_not_lock_the_writer() -> Result<(), Error> {
        let aws = Aws::start().await;
        let (writer, refuses) =
            (MariaDb::start(MariaDbOptions::default()).await, MariaDb::start(MariaDbOptions::default()).await);
        refuses.set_password("app", "of another world").await;
        aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
        let proxy = MySqlProxy::builder()
            .host(writer.host())
            .port(writer.port())
            .database("app")
            .ca_pem(writer.ca_pem())
            .add_ca_pem(refuses.ca_pem())
            .secret(SECRET)
            .aws_config(aws.sdk_config())
            .instances([("a", "localhost", writer.port()), ("b", "localhost", refuses.port())])
            .max_connections(4)
            .build()?;
        let mut first = proxy.get_connection().await?;
        first.pin().await?;
        assert!(proxy.get_reader().await.is_err());
        let second = proxy.get_connection().await;
        assert!(second.is_ok(), "{}", chain(&second.unwrap_err()));
        Ok(())
    }
}
