//! Whatever a session or its login has set, what it dropped is found on the server and ended.

use std::time::Duration;

use lambda_rds::{Error, Event, Outcome, PgProxy, internals};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::time::{Instant, sleep, timeout};

use super::stage::running;
use crate::support::aws::Aws;
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::site::WAIT_LIMIT;
use crate::support::until::until;
use crate::support::{Recorder, proxy_to};

async fn wait_until_none_runs(server: &Postgres, case: &str) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while running(server).await > 0 {
        assert!(Instant::now() < deadline, "{case}: a dropped statement runs on");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a statement, if there is one, and drops another one, in the same session or at its end.
async fn drop_one(proxy: &PgProxy, before: &str) -> Result<(), Error> {
    let mut conn = proxy.get_connection().await?;
    if !before.is_empty() {
        sqlx::raw_sql(AssertSqlSafe(before)).execute(&mut conn).await?;
    }
    let long = sqlx::query("select pg_sleep(20)").execute(&mut conn);
    assert!(timeout(Duration::from_millis(30), long).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_dropped_statement_is_cancelled_whatever_is_set() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server
        .execute(
            "create role owner nologin; grant owner to app; create schema mine authorization app;
             create function mine.eq(text, text) returns bool language sql as 'select false';
             create operator mine.= (leftarg = text, rightarg = text, function = mine.eq)",
        )
        .await;
    let url = server.url();
    let other_name = format!("{url}?application_name=z%C3%A4hler%20it's%20%5C");
    for (case, login, url, before) in [
        ("as it comes", "", &url, ""),
        ("another name", "", &url, "set application_name = 'mine'"),
        ("another name, pinned", "", &url, "create temp table t (n int); set application_name = 'mine'"),
        ("another role", "", &url, "set role owner"),
        ("a name that is not ASCII", "", &other_name, ""),
        ("a login role", "alter role app set role = owner", &url, ""),
        ("a login name", "alter role app set application_name = 'the same for all'", &url, "reset application_name"),
        ("backslashes", "alter role app set standard_conforming_strings = off", &other_name, ""),
        ("operators of one's own", "alter role app set search_path = mine, pg_catalog", &url, ""),
    ] {
        server.execute(&format!("alter role app reset all; {login}")).await;
        let seen = Recorder::default();
        let proxy = proxy_to(&server).url(url).max_connections(1).observer(seen.observer()).build()?;
        drop_one(&proxy, before).await?;
        let next = proxy.get_connection().await;
        sqlx::query("select 1").execute(&mut next?).await?;
        wait_until_none_runs(&server, case).await;
        assert_eq!(seen.count(|event| matches!(event, Event::CancelFailed { .. })), 0, "{case}: {:?}", seen.events());
        proxy.close().await;
    }
    Ok(())
}

/// The door has addresses of its own, as whatever translates them in between. By its name a session is found then, and by
/// its number as soon as that could be asked.
#[tokio::test]
async fn a_dropped_statement_is_cancelled_where_addresses_are_translated() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let seen = Recorder::default();
    let proxy = proxy_to(&server)
        .port(way.port())
        .max_connections(1)
        .validate_after(Duration::from_millis(20))
        .observer(seen.observer())
        .build()?;
    let failed = || seen.count(|event| matches!(event, Event::CancelFailed { .. }));
    drop_one(&proxy, "").await?;
    proxy.upkeep().await;
    wait_until_none_runs(&server, "its name").await;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("set application_name = 'mine'").execute(&mut conn).await?;
    sleep(Duration::from_millis(20)).await;
    sqlx::query("select 1").execute(&mut conn).await?;
    let long = sqlx::query("select pg_sleep(20)").execute(&mut conn);
    assert!(timeout(Duration::from_millis(30), long).await.is_err());
    drop(conn);
    proxy.upkeep().await;
    wait_until_none_runs(&server, "its number").await;
    assert_eq!(failed(), 0, "{:?}", seen.events());
    Ok(())
}

#[tokio::test]
async fn a_cancel_that_found_nobody_is_told() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let seen = Recorder::default();
    let proxy = proxy_to(&server).port(way.port()).max_connections(1).observer(seen.observer()).build()?;
    drop_one(&proxy, "set application_name = 'mine'").await?;
    proxy.upkeep().await;
    let told =
        || seen.count(|event| matches!(event, Event::CancelFailed { error, .. } if error.contains("no such session")));
    let deadline = Instant::now() + WAIT_LIMIT;
    while told() == 0 {
        assert!(Instant::now() < deadline, "{:?}", seen.events());
        sleep(Duration::from_millis(5)).await;
    }
    server.terminate_sessions("app").await;
    Ok(())
}

/// A cancel is under way for as long as somebody locks what it looks into, its statement ends by itself, and whoever waited
/// for that is dropped: in a transaction and at its end.
#[tokio::test]
async fn a_cancel_that_comes_late_hits_nothing_else() -> Result<(), Error> {
    let settings = vec![("allow_system_table_mods", "on".to_owned())];
    let server = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).await;
    server.execute("create table t (n int); insert into t values (0); grant all on t to app").await;
    let patient = Duration::from_secs(10);
    for in_transaction in [true, false] {
        let proxy = proxy_to(&server).max_connections(1).validate_timeout(patient).build()?;
        let (mut holder, mut keeper) = (server.admin().await, server.admin().await);
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        sqlx::raw_sql("begin; update t set n = 1").execute(&mut holder).await?;
        sqlx::raw_sql("begin; alter view pg_catalog.pg_stat_activity set (security_barrier = false)")
            .execute(&mut keeper)
            .await?;
        let waits = async |text: &str| {
            let question = format!(
                "select count(*) from pg_stat_get_activity(null) where query like '%{text}%' and wait_event_type = 'Lock'"
            );
            let mut admin = server.admin().await;
            until(text, async || {
                let asked = sqlx::query_scalar(AssertSqlSafe(question.clone()));
                let waiting: i64 = asked.fetch_one(&mut admin).await.expect("an answer");
                waiting > 0
            })
            .await;
        };
        tokio::select! {
            () = waits("update t set n = 2") => {}
            ended = sqlx::query("update t set n = 2").execute(&mut *tx) => panic!("nobody waits: {ended:?}"),
        }
        let is_sent = waits("pg_cancel_backend");
        let release = async {
            sleep(Duration::from_millis(100)).await;
            sqlx::raw_sql("rollback").execute(&mut keeper).await.map(drop)
        };
        if in_transaction {
            tokio::select! {
                () = is_sent => {}
                ended = sqlx::query("select 1").execute(&mut *tx) => panic!("too early: {ended:?}"),
            }
            sqlx::raw_sql("rollback").execute(&mut holder).await?;
            let (innocent, released) = tokio::join!(sqlx::query("select pg_sleep(0.3)").execute(&mut *tx), release);
            released?;
            innocent?;
            tx.commit().await?;
        } else {
            drop(tx);
            drop(conn);
            let waiting = async { proxy.get_connection().await?.begin().await.map(drop) };
            tokio::select! {
                () = is_sent => {}
                ended = waiting => panic!("too early: {ended:?}"),
            }
            sqlx::raw_sql("rollback").execute(&mut holder).await?;
            let innocent = async {
                let mut innocent = proxy.get_connection().await?;
                sqlx::query("select pg_sleep(0.3)").execute(&mut innocent).await.map_err(Error::from)
            };
            let (innocent, released) = tokio::join!(innocent, release);
            released?;
            innocent?;
        }
    }
    Ok(())
}

/// Any role may call its sessions what it likes, and see what others are called.
#[tokio::test]
async fn another_role_of_the_same_name_is_not_taken_for_the_session() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute("create role mallory login password 'm'").await;
    // Addresses are translated on the way.
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let url = format!("{}?sslmode=require", server.url_for("mallory", "m", "app"));
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(sqlx::PgConnection::connect(&url).await.expect("connects"));
    }
    let seen = Recorder::default();
    let proxy = proxy_to(&server).port(way.port()).max_connections(1).observer(seen.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    name_after_it(&server, &mut strangers).await;
    let left = Duration::from_secs(3);
    // On a busy machine the login of a cancel may take longer than there is time for one; then nothing was ended.
    for _ in 0..10 {
        let slept = internals::invocation(left, sqlx::query("select pg_sleep(20)").execute(&mut conn)).await;
        let error = Error::from(slept.expect_err("it is ended"));
        assert!(!seen.events().iter().any(|event| matches!(event, Event::CancelFailed { .. })), "{:?}", seen.events());
        match error {
            Error::DeadlineReached { outcome: Outcome::RolledBack, .. } => return Ok(()),
            Error::DeadlineReached { outcome: Outcome::Unknown, .. } => {}
            error => panic!("{error:?}"),
        }
        // The session's next connection has a name of its own.
        sqlx::query("select 1").execute(&mut conn).await?;
        name_after_it(&server, &mut strangers).await;
    }
    panic!("no cancel came in time")
}

/// Has the strangers call themselves as the session of this crate does.
async fn name_after_it(server: &Postgres, strangers: &mut [sqlx::PgConnection]) {
    let named = "select application_name from pg_stat_activity where usename = 'app' and application_name like '%#%' \
                 order by backend_start desc limit 1";
    let name: String = sqlx::query_scalar(named).fetch_one(&mut server.admin().await).await.expect("answers");
    for stranger in strangers {
        let rename = format!("set application_name = '{name}'");
        sqlx::raw_sql(AssertSqlSafe(rename)).execute(stranger).await.expect("renames itself");
    }
}

/// Somebody else's login has brought the version in between into the cache, which is no good either by now.
#[tokio::test]
async fn a_cancel_finds_the_password_after_two_rotations() -> Result<(), Error> {
    const SECRET: &str = "twice/rotated";
    let (aws, server) = (Aws::start().await, Postgres::start(PostgresOptions::default()).await);
    let version = |n: u8| json!({"username": "app", "password": format!("password-{n}")});
    let seen = Recorder::default();
    server.set_password("app", "password-0").await;
    aws.secret(SECRET).put(version(0));
    let place = PgProxy::builder().host(server.host()).port(server.port()).database("app").ca_pem(server.ca_pem());
    let proxy =
        place.secret(SECRET).aws_config(aws.sdk_config()).max_connections(2).observer(seen.observer()).build()?;
    let mut first = proxy.get_connection().await?;
    let mut hold = first.begin().await?;
    sqlx::query("select 1").execute(&mut *hold).await?;
    server.set_password("app", "password-1").await;
    aws.secret(SECRET).rotate(version(1));
    let mut second = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut second).await?;
    drop(second);
    server.set_password("app", "password-2").await;
    aws.secret(SECRET).rotate(version(2));
    let long = sqlx::query("select pg_sleep(20)").execute(&mut *hold);
    assert!(timeout(Duration::from_millis(50), long).await.is_err());
    drop(hold);
    drop(first);
    proxy.upkeep().await;
    wait_until_none_runs(&server, "twice rotated").await;
    assert_eq!(seen.count(|event| matches!(event, Event::CancelFailed { .. })), 0, "{:?}", seen.events());
    Ok(())
}
