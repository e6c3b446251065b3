//! Behind a real PgBouncer in transaction mode: each transaction may run on another connection of the server, and
//! whoever comes next gets the connection as it was left. The same handler code gives the same answers.
//!
//! MySQL has no twin: no pooler of its kind is in Debian, and those that there are follow a session or pin it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::{join_all, try_join_all};
use lambda_rds::error::ConfigError;
use lambda_rds::{Connection, Error, Outcome, PgProxy, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row, SqlSafeStr, Statement};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions, knows_statements};
use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::{proxy_to, server};

const SESSIONS: i64 = 20;

/// A server, a pooler with two connections to it, and a proxy with many to the pooler.
async fn stage() -> (Server, PgBouncer, PgProxy) {
    let server = Server::start(PostgresOptions::default()).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let proxy = bouncer.proxy().max_connections(20).build().expect("valid");
    (server, bouncer, proxy)
}

async fn sessions(proxy: &PgProxy) -> Result<Vec<Connection<Postgres>>, Error> {
    try_join_all((0..SESSIONS).map(|_| proxy.get_connection())).await
}

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn show(conn: &mut Connection<Postgres>, name: &str) -> Result<String, Error> {
    let value: Option<String> =
        sqlx::query_scalar("select current_setting($1, true)").bind(name).fetch_one(conn).await?;
    Ok(value.unwrap_or_default())
}

/// Another client of the pooler, on each of the two connections: what it sees was left behind.
async fn left_behind(bouncer: &PgBouncer, sql: &'static str) -> Vec<String> {
    let strangers = join_all([bouncer.options().connect(), bouncer.options().connect()]).await;
    let mut seen = BTreeSet::new();
    let mut pids = BTreeSet::new();
    let mut strangers: Vec<_> = strangers.into_iter().map(|stranger| stranger.expect("connects")).collect();
    for stranger in &mut strangers {
        // Both in a transaction, so that each holds a connection of its own.
        let pid = format!("begin; select pg_backend_pid()::text, ({sql})::text");
        let row = stranger.fetch_one(sqlx::raw_sql(AssertSqlSafe(pid))).await.expect("answers");
        pids.insert(row.get::<String, _>(0));
        seen.insert(row.get::<Option<String>, _>(1).unwrap_or_default());
    }
    assert_eq!(pids.len(), 2, "both connections were looked at");
    for stranger in &mut strangers {
        stranger.execute("rollback").await.expect("answers");
    }
    seen.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sessions_share_two_connections_and_each_gets_its_own_answer() -> Result<(), Error> {
    let (server, _bouncer, proxy) = stage().await;
    let sessions = sessions(&proxy).await?;
    let tasks = sessions.into_iter().zip(0..SESSIONS).map(|(mut conn, me)| {
        tokio::spawn(async move {
            for turn in 0..50 {
                // Texts that differ and have as many parameters: one in the place of the other would give an answer.
                let sql = format!("select $1::int8 * 1000 + {me}");
                let n: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(turn).fetch_one(&mut conn).await?;
                assert_eq!(n, turn * 1000 + me);
                let rows = sqlx::query("select n + $1 from generate_series(1, 3) n").bind(me).fetch_all(&mut conn);
                assert_eq!(rows.await?.len(), 3);
            }
            Ok::<_, Error>(())
        })
    });
    for task in join_all(tasks).await {
        task.expect("no panic")?;
    }
    assert_eq!((server.sessions("app").await, proxy.status().pinned), (2, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_commit_roll_back_and_nest() -> Result<(), Error> {
    let (server, bouncer, proxy) = stage().await;
    server.execute("create table kept (n int8 primary key); grant all on kept to app").await;
    try_join_all(sessions(&proxy).await?.into_iter().zip(0..SESSIONS).map(async |(mut conn, me)| {
        let mut tx = conn.begin().await?;
        sqlx::query("insert into kept values ($1)").bind(me).execute(&mut *tx).await?;
        let mut inner = tx.begin().await?;
        sqlx::query("insert into kept values ($1)").bind(1000 + me).execute(&mut *inner).await?;
        inner.rollback().await?;
        tx.commit().await?;
        let mut tx = conn.begin().await?;
        sqlx::query("insert into kept values ($1)").bind(2000 + me).execute(&mut *tx).await?;
        drop(tx);
        for sql in ["begin", "insert into kept values ($1)", "savepoint a", "insert into kept values ($1)"] {
            let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
            let query = if sql.contains('$') { query.bind(3000 + me) } else { query };
            let done = query.execute(&mut conn).await;
            assert!(done.is_ok() || sql.contains('$'), "{done:?}");
        }
        run(&mut conn, "rollback to a").await?;
        run(&mut conn, "commit").await?;
        // Refused as it would be without a pooler, and nothing of it stays.
        let twice = sqlx::query("insert into kept values ($1)").bind(me).execute(&mut conn).await;
        assert_eq!(twice.map_err(Error::from).unwrap_err().sqlstate().as_deref(), Some("23505"));
        Ok::<_, Error>(())
    }))
    .await?;
    let mut conn = proxy.get_connection().await?;
    let kept: Vec<i64> = sqlx::query_scalar("select n from kept order by n").fetch_all(&mut conn).await?;
    let expected: Vec<i64> = (0..SESSIONS).chain((0..SESSIONS).map(|me| 3000 + me)).collect();
    assert_eq!(kept, expected);
    let open = "select count(*) from pg_locks where relation = 'kept'::regclass and granted";
    assert_eq!(left_behind(&bouncer, open).await, ["0"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_prepared_described_or_streamed_leaves_no_name_behind() -> Result<(), Error> {
    let (server, bouncer, proxy) = stage().await;
    server.execute("create type mood as enum ('fine', 'grim')").await;
    try_join_all(sessions(&proxy).await?.into_iter().zip(0..SESSIONS).map(async |(mut conn, me)| {
        let statement = conn.prepare("select 41::int8 + $1".into_sql_str()).await?;
        for _ in 0..5 {
            let n: i64 = statement.query_scalar().bind(me).fetch_one(&mut conn).await?;
            assert_eq!(n, 41 + me);
        }
        let described = conn.describe("select 1::int8 as one".into_sql_str()).await?;
        assert_eq!(described.columns().len(), 1);
        let sum = sqlx::query("select $1::int8 + n from generate_series(1, 100) n")
            .bind(me)
            .fetch(&mut conn)
            .try_fold(0, |sum, row| async move { Ok(sum + row.get::<i64, _>(0)) });
        assert_eq!(sum.await?, 100 * me + 5050);
        // A stream that is dropped half way.
        sqlx::query("select n from generate_series(1, 1000) n").fetch(&mut conn).try_next().await?;
        // A type that the driver must ask the server about, under a name.
        let mood: String = sqlx::query_scalar("select $1::mood::text").bind("grim").fetch_one(&mut conn).await?;
        let row = sqlx::query("select 'fine'::mood").fetch_one(&mut conn).await?;
        assert_eq!((mood.as_str(), row.len()), ("grim", 1));
        Ok::<_, Error>(())
    }))
    .await?;
    assert_eq!(left_behind(&bouncer, "select count(*) from pg_prepared_statements").await, ["0"]);
    Ok(())
}

/// Each connection's driver asks about a type once, and loses by it what it had prepared. Whoever is run again may get another
/// connection, which has not asked yet.
#[tokio::test]
async fn a_type_that_each_connection_has_to_learn_is_no_error() -> Result<(), Error> {
    let (server, bouncer, _) = stage().await;
    server.execute("create type mood as enum ('fine', 'grim')").await;
    let proxy = bouncer.proxy().max_connections(2).build()?;
    let (mut one, mut two, mut three) =
        (proxy.get_connection().await?, proxy.get_connection().await?, proxy.get_connection().await?);
    let mut held = two.begin().await?;
    run(&mut held, "select 1").await?;
    // The connection of its first run is waited for, and it gets the other one.
    let (row, taken) = tokio::join!(sqlx::query("select 'fine'::mood").fetch_one(&mut one), async {
        let taken = three.begin().await?;
        held.commit().await?;
        Ok::<_, Error>(taken)
    });
    assert_eq!(row?.len(), 1);
    taken?.rollback().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_follow_their_session_and_are_left_to_nobody() -> Result<(), Error> {
    let (_server, bouncer, proxy) = stage().await;
    let tasks = sessions(&proxy).await?.into_iter().zip(0..SESSIONS).map(|(mut conn, me)| {
        tokio::spawn(async move {
            let mine = format!("tenant {me}");
            // As a statement, as text, inside a transaction: what is set lasts.
            run(&mut conn, &format!("set app.tenant = '{mine}'")).await?;
            sqlx::raw_sql(AssertSqlSafe(format!("set work_mem = '{}kB'", 1000 + me))).execute(&mut conn).await?;
            let mut tx = conn.begin().await?;
            run(&mut tx, &format!("set app.other = '{mine}'")).await?;
            tx.commit().await?;
            let mut tx = conn.begin().await?;
            run(&mut tx, "set app.tenant = 'taken back'").await?;
            tx.rollback().await?;
            for _ in 0..20 {
                assert_eq!(show(&mut conn, "app.tenant").await?, mine);
                assert_eq!(show(&mut conn, "work_mem").await?, format!("{}kB", 1000 + me));
                assert_eq!(show(&mut conn, "app.other").await?, mine);
            }
            run(&mut conn, "begin").await?;
            assert_eq!(show(&mut conn, "app.tenant").await?, mine);
            run(&mut conn, "set local app.tenant = 'for now'").await?;
            assert_eq!(show(&mut conn, "app.tenant").await?, "for now");
            run(&mut conn, "commit").await?;
            assert_eq!(show(&mut conn, "app.tenant").await?, mine);
            // A refusal leaves everything as it was.
            assert!(run(&mut conn, "select 1 / 0").await.is_err());
            assert!(run(&mut conn, "set work_mem = 'much'").await.is_err());
            assert_eq!(show(&mut conn, "work_mem").await?, format!("{}kB", 1000 + me));
            run(&mut conn, "reset app.other").await?;
            assert_eq!(show(&mut conn, "app.other").await?, "");
            assert_eq!(conn.pin_reason(), None);
            Ok::<_, Error>(conn)
        })
    });
    let mut held = Vec::new();
    for task in join_all(tasks).await {
        held.push(task.expect("no panic")?);
    }
    for setting in ["select current_setting('app.tenant', true)", "select current_setting('app.other', true)"] {
        assert_eq!(left_behind(&bouncer, setting).await, [""], "{setting}");
    }
    assert_eq!(left_behind(&bouncer, "select current_setting('work_mem')").await, ["4MB"]);
    Ok(())
}

#[tokio::test]
async fn what_may_not_stand_in_a_transaction_is_sent_by_itself() -> Result<(), Error> {
    let (server, _bouncer, proxy) = stage().await;
    server.execute("create table swept (n int); alter table swept owner to app").await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "vacuum swept").await?;
    run(&mut conn, "create index concurrently on swept (n)").await?;
    run(&mut conn, "create procedure steps() language plpgsql as 'begin commit; end'").await.ok();
    let mut tx = conn.begin().await?;
    assert!(run(&mut tx, "vacuum swept").await.is_err(), "the application's own transaction is another matter");
    tx.rollback().await?;
    // With settings there would be no way to keep them together with it.
    run(&mut conn, "set app.tenant = 'me'").await?;
    let refused = run(&mut conn, "vacuum swept").await.unwrap_err();
    assert_eq!(refused.sqlstate().as_deref(), Some("25001"));
    assert!(matches!(refused, Error::Refused { .. }) && refused.to_string().contains("RESET ALL"), "{refused}");
    let whole = "begin; select 1; commit";
    for text in [whole, "begin; select 1", "select 1; begin"] {
        assert!(sqlx::raw_sql(text).execute(&mut conn).await.is_err(), "{text}");
    }
    run(&mut conn, "discard all").await?;
    assert_eq!(show(&mut conn, "app.tenant").await?, "");
    sqlx::raw_sql(whole).execute(&mut conn).await?;
    run(&mut conn, "vacuum swept").await
}

/// A transaction is put around what the driver prepares; what ends with its transaction is not done by that.
#[tokio::test]
async fn what_does_nothing_outside_of_a_transaction_is_refused() -> Result<(), Error> {
    let (server, _bouncer, proxy) = stage().await;
    server.execute("create table locked (n int); grant all on locked to app").await;
    let mut conn = proxy.get_connection().await?;
    for set in ["select 1", "set lock_timeout = '7s'"] {
        run(&mut conn, set).await?;
        for sql in ["lock table locked in share mode", "/* a */ lock locked", "declare c cursor for select 1"] {
            let refused = run(&mut conn, sql).await.unwrap_err();
            assert!(matches!(refused, Error::Refused { .. }), "{sql}: {refused:?}");
            let mut tx = conn.begin().await?;
            run(&mut tx, sql).await?;
            tx.commit().await?;
        }
    }
    sqlx::raw_sql("begin; lock locked; commit").execute(&mut proxy.get_connection().await?).await?;
    let refused =
        Error::from(sqlx::raw_sql("lock locked").execute(&mut proxy.get_connection().await?).await.unwrap_err());
    assert_eq!(refused.sqlstate().as_deref(), Some("25P01"));
    Ok(())
}

/// Whatever would be left on the server's connection beyond its transaction is refused: its session could not find it again,
/// and a stranger would.
#[tokio::test]
async fn what_a_pooler_cannot_keep_is_refused() -> Result<(), Error> {
    let (_server, bouncer, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    for text in [
        "select set_config('lock_timeout', '7s', false); select 1",
        "select 1; set lock_timeout = '7s'",
        "begin; set lock_timeout = '7s'; commit",
        "begin; select set_config('lock_timeout', '7s', false); commit",
        "set lock_timeout = '7s'; begin",
        "set client_encoding = 'LATIN1'",
        "set standard_conforming_strings = off",
        "select set_config('lock_timeout', n || 's', false) from (values (7)) v (n)",
        "create temp table t (n int)",
        "begin; create temp table t (n int); commit",
        "do $$ begin perform set_config('lock_timeout', '7s', false); end $$",
        "do $$ begin set lock_timeout = '7s'; end $$",
        "do 'begin create temp table t (n int); end'",
        "do $$ begin execute 'select pg_advisory' || '_lock(7)'; end $$",
        "select query_to_xml('select pg_advisory_lock(7)', true, true, '')",
        "select 1 as n into temp t",
        "select pg_advisory_lock(7)",
        "select pg_try_advisory_lock_shared(7), setseed(0.5)",
        "listen orders",
        "declare c cursor with hold for select 1",
        "prepare p as select 1",
        "execute p",
    ] {
        for held in [false, true] {
            let refused = if held {
                let mut tx = conn.begin().await?;
                let refused = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut *tx).await;
                // It goes on: nothing was sent.
                run(&mut tx, "select 1").await?;
                tx.commit().await?;
                refused
            } else {
                sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut conn).await
            };
            let refused = Error::from(refused.expect_err(text));
            assert!(matches!(refused, Error::Refused { .. }), "{text}: {refused:?}");
            assert!(refused.to_string().contains("pin()"), "{refused}");
            assert_eq!(conn.pin_reason(), None, "{text}");
        }
    }
    let left = "select concat_ws(' ', current_setting('lock_timeout'), current_setting('client_encoding'),
        (select count(*) from pg_locks where locktype = 'advisory'), to_regclass('pg_temp.t'))";
    assert_eq!(left_behind(&bouncer, left).await, ["0 UTF8 0"]);
    Ok(())
}

/// After `pin()` nothing is refused, and what a session does is left on the pooler's connection. It does not stay there when the
/// session ends, whatever of it this side understands.
#[tokio::test]
async fn what_a_pinned_session_leaves_on_a_poolers_connection_is_taken_away_with_it() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let proxy = bouncer.proxy().max_connections(1).build()?;
    let left = "select concat_ws(' ', current_setting('search_path'), current_setting('lock_timeout'),
        (select count(*) from pg_locks where locktype = 'advisory'), to_regclass('pg_temp.t'))";
    let mut stranger = bouncer.options().connect().await?;
    let clean: String = sqlx::query_scalar(left).persistent(false).fetch_one(&mut stranger).await?;
    for texts in [
        &["set lock_timeout = '7s'", "select pg_advisory_lock(7)"][..],
        &["set search_path = pg_temp, public", "select pg_advisory_lock(7)"],
        &["select setseed(0.5), pg_advisory_lock(7)", "set lock_timeout = '7s'"],
        &["create temp table t (n int)", "set standard_conforming_strings = off"],
    ] {
        let mut conn = proxy.get_connection().await?;
        conn.pin().await?;
        for text in texts {
            sqlx::raw_sql(AssertSqlSafe((*text).to_owned())).execute(&mut conn).await?;
        }
        drop(conn);
        proxy.upkeep().await;
        let seen: String = sqlx::query_scalar(left).persistent(false).fetch_one(&mut stranger).await?;
        assert_eq!(seen, clean, "{texts:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_ends_with_its_transaction_is_no_matter_for_a_pooler() -> Result<(), Error> {
    let (server, bouncer, proxy) = stage().await;
    server.execute("create procedure nothing() language plpgsql as 'begin end'").await;
    let mut conn = proxy.get_connection().await?;
    for text in [
        "begin; set local lock_timeout = '7s'; select pg_advisory_xact_lock(7); commit",
        "begin; create temp table t (n int) on commit drop; insert into t values (1); commit",
        "do $$ begin end $$",
        "call nothing()",
        "set client_encoding = 'UTF8'",
    ] {
        sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut conn).await?;
    }
    let mut tx = conn.begin().await?;
    run(&mut tx, "create temp table t (n int) on commit drop").await?;
    run(&mut tx, "insert into t values (1)").await?;
    tx.commit().await?;
    // Followed, as without a pooler.
    for tenant in ["7", "8"] {
        sqlx::query("select set_config('app.tenant', $1, false)").bind(tenant).execute(&mut conn).await?;
        assert_eq!(show(&mut conn, "app.tenant").await?, tenant);
    }
    run(&mut conn, "set datestyle to sql").await?;
    assert_eq!(show(&mut conn, "datestyle").await?, "SQL, MDY");
    let left = "select concat_ws(' ', current_setting('DateStyle'),
        coalesce(current_setting('app.tenant', true), ''), to_regclass('pg_temp.t'))";
    assert_eq!(left_behind(&bouncer, left).await, ["ISO, MDY "]);
    Ok(())
}

#[tokio::test]
async fn a_session_with_settings_describes_too() -> Result<(), Error> {
    let (server, bouncer, proxy) = stage().await;
    server.execute("create schema shop; create table shop.items (id int8 not null, name text); grant usage on schema shop to app; grant select on shop.items to app").await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set search_path = shop").await?;
    for _ in 0..3 {
        let described = conn.describe("select id, name from items where id = $1".into_sql_str()).await?;
        assert_eq!(described.columns().len(), 2);
        assert_eq!((described.nullable(0), described.nullable(1)), (Some(false), Some(true)));
        let statement = conn.prepare("select name from items where id = $1".into_sql_str()).await?;
        assert_eq!(statement.query().bind(1_i64).fetch_all(&mut conn).await?.len(), 0);
    }
    assert_eq!(left_behind(&bouncer, "select count(*) from pg_prepared_statements").await, ["0"]);
    Ok(())
}

/// A newer PgBouncer renames the statements that clients prepare; nothing may depend on it either way.
#[tokio::test]
async fn a_pooler_that_knows_statements_changes_nothing() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let most = if knows_statements() { 100 } else { 0 };
    let options = PgBouncerOptions { max_prepared_statements: most, ..PgBouncerOptions::default() };
    let bouncer = PgBouncer::start(&server, options).await;
    let proxy = bouncer.proxy().max_connections(4).build()?;
    let answers = (0..SESSIONS).map(async |me| {
        let mut conn = proxy.get_connection().await?;
        let n: i64 = sqlx::query_scalar("select $1::int8").bind(me).fetch_one(&mut conn).await?;
        Ok::<_, Error>(n)
    });
    assert_eq!(try_join_all(answers).await?, (0..SESSIONS).collect::<Vec<_>>());
    Ok(())
}

/// Told that there is a pooler: a name left on the server would be found, or missed, by somebody else's connection.
#[tokio::test]
async fn via_a_proxy_nothing_named_is_left_on_the_server() -> Result<(), Error> {
    let proxy = proxy_to(server().await).max_connections(1).via_proxy().build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "select 1").await?;
    let statement = conn.prepare("select 41::int8 + $1".into_sql_str()).await?;
    assert_eq!(statement.query_scalar::<i64>().bind(1_i64).fetch_one(&mut conn).await?, 42);
    let named: i64 = sqlx::query_scalar("select count(*) from pg_prepared_statements").fetch_one(&mut conn).await?;
    assert_eq!(named, 0);
    Ok(())
}

/// Whether it refuses the login's settings or ignores them, it is no server, and what a session sets would be somebody else's.
#[tokio::test]
async fn a_pooler_that_nobody_has_announced_is_told_before_anything_is_sent_through_it() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for ignores in ["", "extra_float_digits, options"] {
        let bouncer = PgBouncer::start(&server, PgBouncerOptions { ignores, ..PgBouncerOptions::default() }).await;
        let unannounced = || PgProxy::builder().url(bouncer.url()).ca_pem(bouncer.ca_pem());
        let error = unannounced().build()?.get_connection().await.unwrap_err();
        assert!(matches!(error, Error::Config(ConfigError::Pooler { .. })), "{error:?}");
        assert!(error.to_string().contains("LAMBDA_RDS_VIA_PROXY=true"), "{error}");
        for proxy in [unannounced().via_proxy().build()?, proxy_to(&server).build()?] {
            run(&mut proxy.get_connection().await?, "select 1").await.expect("announced, or none");
        }
        if !ignores.is_empty() {
            let mut conn = unannounced().direct().build()?.get_connection().await.expect("as it says");
            run(&mut conn, "select 1").await.expect("as it says");
        }
    }
    Ok(())
}

/// Whether a login is possible, and what it says if not, after the administrator has done this.
async fn after(sql: &str) -> String {
    let server = Server::start(PostgresOptions::default()).await;
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut server.admin().await).await {
        // Login triggers are of PostgreSQL 17 and later.
        assert!(sql.contains("on login"), "{error}");
        return "in".to_owned();
    }
    let proxy = proxy_to(&server).borrow_timeout(Duration::from_secs(30)).build().unwrap();
    match proxy.get_connection().await {
        Ok(_) => "in".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The look for a pooler is no reason why a server cannot be used: neither what a role has set, nor what an administrator has
/// taken from everybody, nor what a login trigger sets makes a pooler of it.
#[tokio::test]
async fn a_server_is_no_pooler_whatever_is_set_and_revoked() {
    let mut wrong = Vec::new();
    for sql in [
        "alter role app set idle_in_transaction_session_timeout = '7s'",
        "create schema evil authorization app; \
         create view evil.pg_settings as select 'x'::text as name, 'session'::text as source; \
         grant all on schema evil to public; grant all on evil.pg_settings to public; \
         alter role app set search_path = evil, pg_catalog",
        "create role other; grant other to app; alter role app set role = other",
        "revoke select on pg_catalog.pg_settings from public",
        "revoke execute on function pg_catalog.pg_show_all_settings() from public",
        "revoke execute on function pg_catalog.current_setting(text, boolean) from public",
        "alter role app set lambda_rds.login = 'x'",
        "create function public.at_login() returns event_trigger language plpgsql as \
         $$ begin perform set_config('idle_in_transaction_session_timeout', '9s', false); end $$; \
         create event trigger at_login on login execute function public.at_login(); \
         alter event trigger at_login enable always",
    ] {
        let said = after(sql).await;
        if said != "in" {
            wrong.push(format!("{sql}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What no pooler keeps for a login, and what texts would be read otherwise by, is refused before anything is sent.
#[tokio::test]
async fn a_login_that_a_pooler_would_not_keep_as_it_is_is_refused() -> Result<(), Error> {
    let (server, bouncer, proxy) = stage().await;
    let init = bouncer.proxy().init_query("set app.t = 'init'").build();
    assert!(matches!(init, Err(ConfigError::Value { option: "init_query", .. })), "{init:?}");
    run(&mut proxy.get_connection().await?, "select 1").await?;
    server.execute("alter role app set standard_conforming_strings = off").await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let refused = bouncer.proxy().build()?.get_connection().await.map(drop).unwrap_err();
    let Error::Config(ConfigError::Value { option: "via_proxy", problem }) = &refused else { panic!("{refused:?}") };
    assert!(problem.contains("standard_conforming_strings"), "{problem}");
    // Without a pooler the login says it.
    let mut direct = proxy_to(&server).build()?.get_connection().await?;
    assert_eq!(show(&mut direct, "standard_conforming_strings").await?, "on");
    Ok(())
}

/// What must not run in a transaction, and has values, has no way through a pooler.
#[tokio::test]
async fn a_procedure_that_commits_is_refused_with_values_and_not_without() -> Result<(), Error> {
    let (server, _bouncer, proxy) = stage().await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    server
        .execute("create procedure keeps(v int) language plpgsql as 'begin insert into kept values (v); commit; end'")
        .await;
    let mut conn = proxy.get_connection().await?;
    let refused = sqlx::query("call keeps($1)").bind(7).execute(&mut conn).await.map_err(Error::from);
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    run(&mut conn, "call keeps(7)").await?;
    let kept: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&mut conn).await?;
    assert_eq!(kept, 1);
    Ok(())
}

/// What has values is run in a transaction of its own, which is rolled back where its end comes too late to be committed.
#[cfg(feature = "_internals")]
#[tokio::test]
async fn what_was_taken_back_at_the_end_of_its_invocation_is_not_called_completed() -> Result<(), Error> {
    let (server, _bouncer, proxy) = stage().await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    for (sets, text) in [
        (false, "insert into kept select $1 from pg_sleep(1.85)"),
        (true, "insert into kept select 1 from pg_sleep(1.85)"),
    ] {
        let mut conn = proxy.get_connection().await?;
        if sets {
            run(&mut conn, "set app.tenant = '7'").await?;
        }
        let work = async {
            let done = if sets {
                sqlx::raw_sql(text).execute(&mut conn).await
            } else {
                sqlx::query(text).bind(1_i32).execute(&mut conn).await
            };
            done.map_err(Error::from)
        };
        let told = lambda_rds::internals::invocation(Duration::from_secs(2), work).await;
        let rows: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&mut server.admin().await).await?;
        let is_true = match &told {
            Ok(_) => rows == 1,
            Err(error) => match error.outcome() {
                Outcome::Completed => rows == 1,
                Outcome::RolledBack | Outcome::NotExecuted => rows == 0,
                _ => true,
            },
        };
        assert!(is_true, "{text}: {told:?}, {rows}");
        server.execute("delete from kept").await;
    }
    Ok(())
}
