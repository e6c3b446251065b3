//! Transactions as text where they are PostgreSQL's own: an error aborts them, a rollback takes settings back, they can be
//! prepared. What both engines share is in `raw`.

use lambda_rds::{Connection, Error, Outcome, PinCause, PinReason, Postgres};
use sqlx::AssertSqlSafe;

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn text(conn: &mut Connection<Postgres>, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await?)
}

async fn rows(conn: &mut Connection<Postgres>) -> Result<String, Error> {
    text(conn, "select coalesce(string_agg(n::text, ',' order by n), '') from raw").await
}

fn cause(conn: &Connection<Postgres>) -> Option<PinCause> {
    conn.pin_reason().map(PinReason::cause)
}

async fn stage() -> Server {
    let options =
        PostgresOptions { settings: vec![("max_prepared_transactions", "5".into())], ..PostgresOptions::default() };
    let server = Server::start(options).await;
    server.execute("create table raw (n int primary key deferrable initially deferred); grant all on raw to app").await;
    server
}

#[tokio::test]
async fn savepoints_as_text_take_settings_and_errors_back() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into raw values (1)").await?;
    run(&mut conn, "set work_mem = '5MB'").await?;
    run(&mut conn, "savepoint \"A\"").await?;
    run(&mut conn, "savepoint a").await?;
    run(&mut conn, "set work_mem = '6MB'").await?;
    assert!(run(&mut conn, "select 1 / 0").await.is_err());
    run(&mut conn, "rollback to savepoint A").await?;
    assert_eq!(text(&mut conn, "show work_mem").await?, "5MB");
    run(&mut conn, "insert into raw values (2)").await?;
    run(&mut conn, "release \"A\"").await?;
    run(&mut conn, "commit").await?;
    assert_eq!((cause(&conn), rows(&mut conn).await?.as_str()), (None, "1,2"));
    assert_eq!(text(&mut conn, "show work_mem").await?, "5MB");
    // What the session believes is what a connection gets that has had others.
    run(&mut proxy.get_connection().await?, "set work_mem = '8MB'").await?;
    assert_eq!(text(&mut conn, "show work_mem").await?, "5MB");

    // Savepoints of texts and of guards, one in the other.
    run(&mut conn, "begin").await?;
    let mut guard = conn.begin().await?;
    run(&mut guard, "savepoint within").await?;
    assert!(run(&mut guard, "select 1 / 0").await.is_err());
    run(&mut guard, "rollback to within").await?;
    run(&mut guard, "insert into raw values (3)").await?;
    guard.commit().await?;
    let guard = conn.begin().await?;
    guard.rollback().await?;
    run(&mut conn, "commit").await?;
    assert_eq!((cause(&conn), rows(&mut conn).await?.as_str()), (None, "1,2,3"));
    Ok(())
}

#[tokio::test]
async fn committing_what_was_aborted_is_an_error_as_text_too() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for commit in ["commit", "end work", "prepare transaction 'x'", "commit and chain"] {
        run(&mut conn, "begin").await?;
        run(&mut conn, "insert into raw values (1)").await?;
        assert!(run(&mut conn, "select 1 / 0").await.is_err());
        let error = run(&mut conn, commit).await.unwrap_err();
        assert!(matches!(error, Error::TransactionAborted { outcome: Outcome::RolledBack, .. }), "{commit}: {error:?}");
        // The next transaction has begun where the text says so, as with the server.
        let chained = usize::from(commit.ends_with("chain"));
        assert_eq!((rows(&mut conn).await?.as_str(), proxy.status().leased), ("", chained), "{commit}");
        run(&mut conn, "rollback").await?;
    }
    // Refused at the commit itself: the server has rolled back.
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into raw values (1), (1)").await?;
    assert!(matches!(run(&mut conn, "commit").await.unwrap_err(), Error::Database(_)));
    assert_eq!((rows(&mut conn).await?.as_str(), proxy.status().leased), ("", 0));
    Ok(())
}

#[tokio::test]
async fn a_prepared_transaction_is_this_sessions_no_longer() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into raw values (1)").await?;
    run(&mut conn, "prepare transaction 'later'").await?;
    assert_eq!((cause(&conn), proxy.status().leased, rows(&mut conn).await?.as_str()), (None, 0, ""));
    run(&mut conn, "commit prepared 'later'").await?;
    assert_eq!((cause(&conn), rows(&mut conn).await?.as_str()), (None, "1"));
    Ok(())
}

#[tokio::test]
async fn a_guards_transaction_that_a_text_has_ended_never_commits_with_ok() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for ended in [
        "commit",
        "rollback",
        "commit and chain",
        "rollback and chain",
        "rollback; begin",
        "commit; begin; select 1",
        "begin; commit",
        "prepare transaction 'x'",
    ] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, "insert into raw values (1)").await?;
        run(&mut tx, ended).await?;
        run(&mut tx, "select 1").await?;
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, Error::TransactionAborted { outcome: Outcome::Unknown, .. }), "{ended}: {error:?}");
        drop(conn);
        server.execute("delete from raw").await;
    }
    server.execute("rollback prepared 'x'").await;
    Ok(())
}

#[tokio::test]
async fn pins_end_where_a_statement_ends_their_cause() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set work_mem = '5MB'").await?;
    for (pinned, pin, end) in [
        ("select pg_advisory_lock(1)", PinCause::AdvisoryLock, "select pg_advisory_unlock_all()"),
        ("prepare p as select 1", PinCause::PreparedStatement, "deallocate all"),
        ("create temp table t (n int)", PinCause::TemporaryObject, "discard temp"),
        ("declare c cursor with hold for select 1", PinCause::HoldableCursor, "close all"),
    ] {
        run(&mut conn, pinned).await?;
        assert_eq!(cause(&conn), Some(pin), "{pinned}");
        run(&mut conn, "set lock_timeout = '3s'").await?;
        // Inside a transaction it could come back.
        run(&mut conn, "begin").await?;
        run(&mut conn, end).await?;
        run(&mut conn, "rollback").await?;
        assert_eq!(cause(&conn), Some(pin), "{pinned}");
        run(&mut conn, end).await?;
        assert_eq!((cause(&conn), proxy.status().leased), (None, 0), "{end}");
        assert_eq!(
            text(&mut conn, "select current_setting('work_mem') || current_setting('lock_timeout')").await?,
            "5MB3s"
        );
        let mut other = proxy.get_connection().await?;
        assert_eq!(
            text(&mut other, "select current_setting('work_mem') || current_setting('lock_timeout')").await?,
            "4MB0"
        );
        run(&mut conn, "reset lock_timeout").await?;
    }
    // What was prepared leaves nothing more behind when it is executed.
    run(&mut conn, "prepare p as select 1").await?;
    run(&mut conn, "execute p").await?;
    run(&mut conn, "deallocate all").await?;
    assert_eq!((cause(&conn), proxy.status().leased), (None, 0));
    // Two causes, two ends.
    run(&mut conn, "select pg_advisory_lock(1)").await?;
    run(&mut conn, "create temp table t (n int)").await?;
    run(&mut conn, "select pg_advisory_unlock_all()").await?;
    assert!(conn.pin_reason().is_some());
    run(&mut conn, "discard all").await?;
    assert_eq!(cause(&conn), None);
    assert_eq!(text(&mut conn, "show work_mem").await?, "4MB", "and the settings are gone with it");
    Ok(())
}
