//! Transactions as text where they are MySQL's own: no error aborts them, nothing takes settings back. What both engines
//! share is in `raw`.
//!
//! Not here: a commit that the server refuses, for it has no deferred constraints; prepared transactions, for `XA` pins
//! (`truth_table`). What differs on MySQL beyond the texts is in `transactions`.

use lambda_rds::{Connection, Error, MySql, Outcome, PinCause, PinReason};
use sqlx::AssertSqlSafe;

use super::stage::worded;
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;
use crate::support::servers::Servers;

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn text(conn: &mut Connection<MySql>, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select cast(({sql}) as char)"))).fetch_one(conn).await?)
}

async fn rows(conn: &mut Connection<MySql>) -> Result<String, Error> {
    text(conn, "select coalesce(group_concat(n order by n), '') from raw").await
}

/// `group_concat_max_len` and `lock_wait_timeout` that nobody has set.
fn plain() -> &'static str {
    Servers::family().either("1048576 86400", "1024 31536000")
}

fn cause(conn: &Connection<MySql>) -> Option<PinCause> {
    conn.pin_reason().map(PinReason::cause)
}

async fn stage() -> MariaDb {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.raw (n int primary key)").await;
    server
}

#[tokio::test]
async fn savepoints_of_texts_and_of_guards_lie_in_each_other() -> Result<(), Error> {
    let server = stage().await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into raw values (1)").await?;
    // One name: the second takes the place of the first.
    run(&mut conn, "savepoint `A`").await?;
    run(&mut conn, "insert into raw values (2)").await?;
    run(&mut conn, "savepoint a").await?;
    run(&mut conn, "insert into raw values (3)").await?;
    run(&mut conn, "rollback to savepoint A").await?;
    run(&mut conn, "release savepoint `a`").await?;
    run(&mut conn, "commit").await?;
    assert_eq!((cause(&conn), rows(&mut conn).await?.as_str()), (None, "1,2"));

    run(&mut conn, "begin").await?;
    let mut guard = conn.begin().await?;
    run(&mut guard, "savepoint within").await?;
    run(&mut guard, "insert into raw values (4)").await?;
    run(&mut guard, "rollback to within").await?;
    run(&mut guard, "insert into raw values (5)").await?;
    guard.commit().await?;
    let guard = conn.begin().await?;
    guard.rollback().await?;
    run(&mut conn, "commit").await?;
    assert_eq!((cause(&conn), rows(&mut conn).await?.as_str()), (None, "1,2,5"));
    Ok(())
}

#[tokio::test]
async fn a_guards_transaction_that_a_text_has_ended_never_commits_with_ok() -> Result<(), Error> {
    let server = stage().await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    for ended in [
        "commit",
        "rollback",
        "commit and chain",
        "rollback and chain",
        "rollback; begin",
        "commit; begin; select 1",
        "begin; commit",
        "execute p",
        "begin not atomic commit; start transaction; end",
    ]
    .into_iter()
    .filter(|text| worded(text).is_some())
    {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "prepare p from 'commit'").await?;
        for doubtful in [true, false] {
            if !doubtful {
                conn = proxy.get_connection().await?;
            }
            let mut tx = conn.begin().await?;
            run(&mut tx, "insert into raw values (1)").await?;
            match run(&mut tx, ended).await {
                // No statement of that name, or one that commits by its words: the guard's transaction is as it was.
                Err(error) => {
                    let kept = error.outcome() == Outcome::NotExecuted || ended == "execute p";
                    assert!(kept, "{ended}: {error:?}");
                    tx.rollback().await?;
                    assert_eq!(rows(&mut conn).await?, "", "{ended}");
                    continue;
                }
                Ok(()) => run(&mut tx, "do 0").await?,
            }
            let error = tx.commit().await.unwrap_err();
            assert!(matches!(error, Error::TransactionAborted { outcome: Outcome::Unknown, .. }), "{ended}: {error:?}");
            server.execute("delete from app.raw").await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pins_end_where_a_statement_ends_their_cause() -> Result<(), Error> {
    let server = stage().await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set group_concat_max_len = 777").await?;
    let both = "concat(@@group_concat_max_len, ' ', @@lock_wait_timeout)";
    for (pinned, pin, end) in [
        ("select get_lock('raw', 0)", PinCause::AdvisoryLock, "select release_all_locks()"),
        ("select get_lock('raw', 0)", PinCause::AdvisoryLock, "do release_all_locks()"),
        ("lock tables raw read", PinCause::TableLock, "unlock tables"),
    ] {
        run(&mut conn, pinned).await?;
        assert_eq!(cause(&conn), Some(pin), "{pinned}");
        run(&mut conn, "set lock_wait_timeout = 3").await?;
        run(&mut conn, end).await?;
        assert_eq!((cause(&conn), proxy.status().leased), (None, 0), "{end}");
        assert_eq!(text(&mut conn, both).await?, "777 3", "{end}");
        let mut other = proxy.get_connection().await?;
        assert_eq!(text(&mut other, both).await?, plain(), "{end}");
        run(&mut conn, "set lock_wait_timeout = default").await?;
    }
    // One lock is not all of them.
    run(&mut conn, "select get_lock('raw', 0), get_lock('more', 0)").await?;
    run(&mut conn, "select release_lock('raw')").await?;
    assert_eq!(cause(&conn), Some(PinCause::AdvisoryLock));
    // Two causes, two ends.
    run(&mut conn, "lock tables raw read").await?;
    run(&mut conn, "unlock tables").await?;
    assert_eq!(cause(&conn), Some(PinCause::AdvisoryLock));
    run(&mut conn, "do release_all_locks()").await?;
    assert_eq!((cause(&conn), proxy.status().leased), (None, 0));
    Ok(())
}
