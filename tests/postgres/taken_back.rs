//! What one session may set, the next may not be allowed to take back; and "as at login" is what this login had.

use lambda_rds::{Connection, Error, Postgres};
use sqlx::AssertSqlSafe;

use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::{Recorder, proxy_to};

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

async fn text(conn: &mut Connection<Postgres>, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select ({sql})::text"))).fetch_one(conn).await?)
}

async fn stage(setup: &str) -> Server {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(setup).await;
    server
}

#[tokio::test]
async fn what_the_next_session_may_not_take_back_costs_it_a_connection_and_no_statement() -> Result<(), Error> {
    let server = stage(
        "create role admin superuser; grant admin to app; \
         create function f() returns int language plpgsql as $$ begin return 1; end $$",
    )
    .await;
    let scripts: [&[&str]; 4] = [
        &["set role admin", "set session_replication_role = replica", "select 1"],
        &["set role admin", "set session_replication_role = replica", "set role none"],
        &["set plpgsql.typo = 'x'", "select f()"],
        &["set temp_buffers = '2MB'", "select 1"],
    ];
    for script in scripts {
        let seen = Recorder::default();
        let proxy = proxy_to(&server).max_connections(1).observer(seen.observer()).build()?;
        let mut warm = proxy.get_connection().await?;
        run(&mut warm, "create temp table warm (n int); insert into warm values (1); discard temp").await?;
        drop(warm);
        let mut a = proxy.get_connection().await?;
        for sql in script {
            // Some are refused to the session itself, as they would be on a connection of its own.
            let _ = run(&mut a, sql).await;
        }
        let mut others = Vec::new();
        for _ in 0..3 {
            let mut other = proxy.get_connection().await?;
            assert_eq!(text(&mut other, "select current_user").await?, "app", "{script:?}");
            assert_eq!(text(&mut other, "current_setting('session_replication_role')").await?, "origin", "{script:?}");
            let tx = other.begin().await?;
            tx.commit().await?;
            others.push(other);
        }
        drop(a);
        let mut other = proxy.get_connection().await?;
        other.pin().await?;
        run(&mut other, "select 1").await?;
    }
    Ok(())
}

/// A setting that names something is looked up in the path that was set by then: without its schema it stays where it was
/// set, with it it goes along.
#[tokio::test]
async fn settings_mean_what_they_meant_wherever_they_are_set_again() -> Result<(), Error> {
    let server = stage(
        "create schema rts; grant usage on schema rts to app; \
         create text search configuration rts.conf (copy = pg_catalog.english); \
         create text search configuration public.conf (copy = pg_catalog.german)",
    )
    .await;
    for (of_a, of_b, pinned) in [("conf", "conf", 2), ("rts.conf", "public.conf", 0)] {
        let proxy = proxy_to(&server).max_connections(if pinned > 0 { 2 } else { 1 }).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut a, "set search_path = rts, public").await?;
        run(&mut a, &format!("set default_text_search_config = '{of_a}'")).await?;
        run(&mut b, &format!("set default_text_search_config = '{of_b}'")).await?;
        run(&mut b, "set search_path = rts, public").await?;
        for _ in 0..3 {
            assert_eq!(text(&mut a, "current_setting('default_text_search_config')").await?, "rts.conf");
            assert_eq!(text(&mut b, "current_setting('default_text_search_config')").await?, "public.conf");
        }
        assert_eq!(proxy.status().pinned, pinned);
    }
    Ok(())
}

#[tokio::test]
async fn a_login_with_a_role_of_its_own_has_it_again() -> Result<(), Error> {
    let server = stage("create role owner; grant owner to app; alter role app set role = owner").await;
    for script in [
        &["set role none"][..],
        &["set role app"],
        &["set role none", "reset role"],
        &["set session authorization app"],
    ] {
        let proxy = proxy_to(&server).max_connections(2).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        assert_eq!(text(&mut a, "select current_user").await?, "owner");
        for sql in script {
            run(&mut a, sql).await?;
        }
        let own = text(&mut a, "select current_user").await?;
        assert_eq!(own, if script.len() == 2 { "owner" } else { "app" }, "{script:?}");
        // On whichever connection: both are in use now.
        let mut held = b.begin().await?;
        assert_eq!(text(&mut held, "select current_user").await?, "owner", "{script:?}");
        assert_eq!(text(&mut a, "select current_user").await?, own, "{script:?}");
        held.commit().await?;
        drop(a);
        for _ in 0..3 {
            let mut next = proxy.get_connection().await?;
            assert_eq!(text(&mut next, "select current_user").await?, "owner", "{script:?}");
        }
    }
    Ok(())
}

/// How texts are read rests on it, so that the login says it.
#[tokio::test]
async fn quotes_are_read_as_the_crate_reads_them_whatever_the_role_has_set() -> Result<(), Error> {
    let server = stage(&format!(
        "create role odd login password '{APP_PASSWORD}'; alter role odd set standard_conforming_strings = off; \
         alter role odd set backslash_quote = on; create table t (s text); grant all on t to odd"
    ))
    .await;
    let proxy = lambda_rds::PgProxy::builder()
        .url(server.url_for("odd", APP_PASSWORD, "app"))
        .ca_pem(server.ca_pem())
        .max_connections(1)
        .build()?;
    let mut a = proxy.get_connection().await?;
    // One string for a server that takes the backslash for an escape, and a begun transaction for one that does not.
    let _ = run(&mut a, r"insert into t values ('it\'); begin; select 'x'; --')").await;
    drop(a);
    let mut b = proxy.get_connection().await?;
    run(&mut b, "insert into t values ('of b')").await?;
    drop(b);
    drop(proxy);
    let there: i64 =
        sqlx::query_scalar("select count(*) from t where s = 'of b'").fetch_one(&mut server.admin().await).await?;
    assert_eq!(there, 1, "acknowledged, and committed");
    Ok(())
}
