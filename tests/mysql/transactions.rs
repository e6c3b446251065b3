//! Where MySQL's transactions are not PostgreSQL's: a failed statement leaves them open, a deadlock ends them, definitions
//! commit them, and with `autocommit` off they begin by themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lambda_rds::{Connection, Error, MySql, MySqlProxy, Outcome, PinCause, PinReason};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection};
use tokio::sync::Barrier;
use tokio::time::{sleep as pause, timeout};

use super::attacks::doomed;
use crate::support::fault_proxy::FaultProxy;
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;
use crate::support::until::polled;

type Session = Connection<MySql>;

async fn run(conn: &mut Session, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn numbers(conn: &mut Session) -> Result<Vec<i32>, Error> {
    Ok(sqlx::query_scalar("select n from turns order by n").fetch_all(conn).await?)
}

async fn text(conn: &mut Session, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select cast(({sql}) as char)"))).fetch_one(conn).await?)
}

fn cause(conn: &Session) -> Option<PinCause> {
    conn.pin_reason().map(PinReason::cause)
}

async fn stage() -> (MariaDb, MySqlProxy) {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.turns (n int primary key)").await;
    let proxy = mysql_proxy_to(&server).max_connections(2).build().unwrap();
    (server, proxy)
}

#[tokio::test]
async fn a_failed_statement_is_taken_back_and_the_transaction_goes_on() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "insert into turns values (1)").await?;
    assert!(run(&mut tx, "insert into turns values (2), (1)").await.is_err());
    let mut inner = tx.begin().await?;
    assert!(run(&mut inner, "insert into turns values (1)").await.is_err());
    run(&mut inner, "insert into turns values (3)").await?;
    inner.commit().await?;
    tx.commit().await?;
    assert_eq!(numbers(&mut conn).await?, [1, 3]);
    for (end, rows) in [("rollback", vec![1, 3]), ("commit", vec![1, 3, 4])] {
        run(&mut conn, "begin").await?;
        assert!(run(&mut conn, "insert into turns values (1)").await.is_err());
        run(&mut conn, "insert into turns values (4)").await?;
        run(&mut conn, end).await?;
        assert_eq!(numbers(&mut conn).await?, rows, "{end}");
    }
    assert_eq!((cause(&conn), proxy.status().leased), (None, 0));
    Ok(())
}

/// After a deadlock the server has no transaction any more: what a guard sent now would be committed by itself.
#[tokio::test]
async fn after_a_deadlock_nothing_more_is_sent_in_the_transaction() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    server.execute("insert into app.turns values (1), (2)").await;
    for nested in [false, true] {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        let (mut first, mut second) = (one.begin().await?, other.begin().await?);
        // The heavier transaction wins.
        run(&mut second, "insert into turns values (10), (11), (12), (13)").await?;
        run(&mut first, "delete from turns where n = 1").await?;
        run(&mut second, "delete from turns where n = 2").await?;
        let (refused, blocked) = tokio::join!(
            async {
                if nested {
                    let mut inner = first.begin().await?;
                    let refused = run(&mut inner, "delete from turns where n = 2").await;
                    assert!(matches!(
                        run(&mut inner, "insert into turns values (98)").await,
                        Err(Error::TransactionAborted { .. })
                    ));
                    drop(inner);
                    refused
                } else {
                    run(&mut first, "delete from turns where n = 2").await
                }
            },
            async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                run(&mut second, "delete from turns where n = 1").await
            }
        );
        blocked?;
        let refused = refused.unwrap_err();
        assert_eq!((refused.sqlstate().as_deref(), refused.outcome()), (Some("40001"), Outcome::RolledBack));
        assert!(refused.is_retryable());
        second.rollback().await?;
        for _ in 0..2 {
            let error = run(&mut first, "insert into turns values (99)").await.unwrap_err();
            assert!(matches!(error, Error::TransactionAborted { outcome: Outcome::RolledBack, .. }), "{error:?}");
        }
        assert!(matches!(first.begin().await, Err(Error::TransactionAborted { .. })));
        let error = first.commit().await.unwrap_err();
        assert!(matches!(error, Error::TransactionAborted { outcome: Outcome::RolledBack, .. }), "{error:?}");
        assert_eq!(numbers(&mut one).await?, [1, 2], "nested: {nested}");
    }
    Ok(())
}

/// Whatever the application makes of the error that it got.
#[tokio::test]
async fn a_closure_is_run_again_after_a_deadlock() -> Result<(), Error> {
    #[derive(Debug)]
    struct OrderFailed;
    impl From<Error> for OrderFailed {
        fn from(_: Error) -> Self {
            Self
        }
    }

    let (server, proxy) = stage().await;
    server
        .execute("create table app.marks (id int primary key, n int); insert into app.marks values (1, 0), (2, 0)")
        .await;
    let (runs, both) = (AtomicU32::new(0), Arc::new(Barrier::new(2)));
    let mark = |id| format!("update marks set n = n + 1 where id = {id}");
    let swap = async |first: i32, second: i32| {
        proxy
            .transaction(|tx| {
                let (before, both) = (runs.fetch_add(1, Ordering::Relaxed), Arc::clone(&both));
                Box::pin(async move {
                    run(tx, &mark(first)).await?;
                    if before < 2 {
                        both.wait().await;
                    }
                    run(tx, &mark(second)).await.map_err(OrderFailed::from)
                })
            })
            .await
    };
    let (one, other) = tokio::join!(swap(1, 2), swap(2, 1));
    one.and(other).expect("one of them at its second run");
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    assert_eq!(text(&mut proxy.get_connection().await?, "select group_concat(n) from marks").await?, "2,2");
    Ok(())
}

#[tokio::test]
async fn a_lock_that_was_not_had_in_time_leaves_what_the_server_left() -> Result<(), Error> {
    for (rolls_back, rows) in [("0", vec![1, 3]), ("1", vec![])] {
        let settings = vec![("innodb_rollback_on_timeout", rolls_back.to_owned())];
        let server = MariaDb::start(MariaDbOptions { settings, ..MariaDbOptions::default() }).await;
        server.execute("create table app.turns (n int primary key)").await;
        let proxy = mysql_proxy_to(&server).max_connections(2).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "set innodb_lock_wait_timeout = 1").await?;
        let mut holds = other.begin().await?;
        run(&mut holds, "insert into turns values (2)").await?;
        let mut tx = one.begin().await?;
        run(&mut tx, "insert into turns values (1)").await?;
        assert!(run(&mut tx, "insert into turns values (2)").await.is_err());
        holds.rollback().await?;
        let next = run(&mut tx, "insert into turns values (3)").await;
        let end = tx.commit().await;
        assert_eq!((next.is_ok(), end.is_ok()), (!rows.is_empty(), !rows.is_empty()), "{next:?} {end:?}");
        assert_eq!(numbers(&mut other).await?, rows);
    }
    Ok(())
}

#[tokio::test]
async fn a_definition_is_refused_in_a_guard_and_commits_a_text() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    for definition in [
        "create table other (n int)",
        "begin",
        "start transaction read only",
        "lock tables turns write",
        "truncate turns",
    ] {
        let mut tx = conn.begin().await?;
        run(&mut tx, "insert into turns values (1)").await?;
        let error = run(&mut tx, definition).await.unwrap_err();
        assert!(matches!(error, Error::ImplicitCommit { .. }), "{definition}: {error:?}");
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        run(&mut tx, "insert into turns values (2)").await?;
        tx.rollback().await?;
        assert_eq!(numbers(&mut conn).await?, [0; 0], "{definition}");
    }
    let mut tx = conn.begin().await?;
    run(&mut tx, "create temporary table mine (n int)").await?;
    run(&mut tx, "insert into turns values (1)").await?;
    tx.rollback().await?;
    assert_eq!((numbers(&mut conn).await?, cause(&conn)), (vec![], Some(PinCause::TemporaryObject)));
    drop(conn);

    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into turns values (1)").await?;
    assert_eq!(proxy.status().leased, 1);
    run(&mut conn, "create table other (n int)").await?;
    assert_eq!((cause(&conn), proxy.status().leased), (None, 0), "the definition has ended it");
    run(&mut conn, "insert into turns values (2)").await?;
    run(&mut conn, "rollback").await?;
    assert_eq!(numbers(&mut conn).await?, [1, 2]);
    // A second begin commits the first.
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into turns values (3)").await?;
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into turns values (4)").await?;
    run(&mut conn, "rollback").await?;
    assert_eq!((numbers(&mut conn).await?, proxy.status().leased), (vec![1, 2, 3], 0));
    Ok(())
}

/// Some are refused before they have committed, and some after that.
#[tokio::test]
async fn a_definition_that_is_refused_leaves_the_transaction_that_the_server_left() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    for (definition, kept) in [("create tabel nonsense", false), ("create table turns (n int)", true)] {
        let (mut conn, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut conn, "delete from turns").await?;
        run(&mut conn, "begin").await?;
        run(&mut conn, "insert into turns values (1)").await?;
        assert!(run(&mut conn, definition).await.is_err());
        // Nobody else is in it, whichever connection they get.
        for n in 10..13 {
            run(&mut other, &format!("insert into turns values ({n})")).await?;
        }
        run(&mut conn, "insert into turns values (2)").await?;
        run(&mut conn, "rollback").await?;
        let rows = numbers(&mut other).await?;
        assert_eq!(rows, if kept { vec![1, 2, 10, 11, 12] } else { vec![10, 11, 12] }, "{definition}");
    }
    Ok(())
}

#[tokio::test]
async fn without_autocommit_a_text_that_commits_and_goes_on_is_followed() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let (mut conn, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut conn, "set autocommit = 0").await?;
    run(&mut conn, "create table if not exists further (n int); insert into turns values (1)").await?;
    for n in 10..13 {
        run(&mut other, &format!("insert into turns values ({n})")).await?;
    }
    run(&mut conn, "rollback").await?;
    assert_eq!(numbers(&mut other).await?, [10, 11, 12]);
    Ok(())
}

#[tokio::test]
async fn without_autocommit_a_transaction_begins_by_itself_and_holds_its_connection() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let (mut conn, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut conn, "set autocommit = 0").await?;
    assert_eq!((cause(&conn), proxy.status().leased), (None, 0));
    run(&mut conn, "insert into turns values (1)").await?;
    assert_eq!((cause(&conn), proxy.status().leased), (None, 1));
    assert_eq!(numbers(&mut other).await?, [0; 0]);
    run(&mut conn, "rollback").await?;
    assert_eq!((numbers(&mut other).await?, proxy.status().leased), (vec![], 0));
    run(&mut conn, "insert into turns values (2)").await?;
    run(&mut conn, "commit").await?;
    assert_eq!((numbers(&mut other).await?, proxy.status().leased), (vec![2], 0));
    // Others commit by themselves, whichever connection they get.
    for n in 10..14 {
        run(&mut other, &format!("insert into turns values ({n})")).await?;
    }
    assert_eq!(numbers(&mut other).await?, [2, 10, 11, 12, 13]);
    assert_eq!(text(&mut other, "@@autocommit + 0").await?, "1");
    run(&mut conn, "insert into turns values (3)").await?;
    run(&mut conn, "set autocommit = 1").await?;
    assert_eq!(proxy.status().leased, 0, "the end of it commits");
    assert_eq!(numbers(&mut other).await?, [2, 3, 10, 11, 12, 13]);
    // Dropped in the middle: rolled back before anybody else gets the connection.
    run(&mut conn, "set autocommit = off").await?;
    run(&mut conn, "insert into turns values (4)").await?;
    drop(conn);
    for _ in 0..2 {
        assert_eq!(numbers(&mut other).await?, [2, 3, 10, 11, 12, 13]);
    }
    let mut tx = other.begin().await?;
    run(&mut tx, "insert into turns values (5)").await?;
    drop(tx);
    assert_eq!(numbers(&mut other).await?, [2, 3, 10, 11, 12, 13]);
    Ok(())
}

/// A procedure may end the transaction that it is called in, and begin another.
#[tokio::test]
async fn a_guard_whose_transaction_a_procedure_ended_never_says_ok() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    for body in
        ["commit", "begin commit; start transaction; end", "rollback", "begin insert into turns values (7); end"]
    {
        server.execute("drop procedure if exists app.p; delete from app.turns").await;
        server.execute(&format!("create procedure app.p() {body}")).await;
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, "insert into turns values (1)").await?;
        run(&mut tx, "call p()").await?;
        let result = tx.commit().await;
        let rows = numbers(&mut conn).await?;
        if body.contains("values (7)") {
            result?;
            assert_eq!(rows, [1, 7]);
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::TransactionAborted { outcome: Outcome::Unknown, .. }), "{body}: {error:?}");
        }
        assert_eq!(cause(&conn), Some(PinCause::Procedure));
    }
    Ok(())
}

/// Settings stay as they are when a transaction is rolled back.
#[tokio::test]
async fn a_rollback_leaves_the_settings() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let (mut conn, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let mut tx = conn.begin().await?;
    run(&mut tx, "set group_concat_max_len = 77").await?;
    tx.rollback().await?;
    for _ in 0..3 {
        assert_eq!(text(&mut conn, "@@group_concat_max_len").await?, "77");
        assert_ne!(text(&mut other, "@@group_concat_max_len").await?, "77");
    }
    {
        let mut tx = conn.begin().await?;
        run(&mut tx, "set group_concat_max_len = 78").await?;
    }
    for _ in 0..3 {
        assert_ne!(text(&mut other, "@@group_concat_max_len").await?, "78");
        assert_eq!(text(&mut conn, "@@group_concat_max_len").await?, "78");
    }
    for sql in [
        "begin",
        "set group_concat_max_len = 79",
        "savepoint a",
        "set group_concat_max_len = 80",
        "rollback to a",
        "set lock_wait_timeout = 80",
        "rollback",
    ] {
        run(&mut conn, sql).await?;
    }
    for _ in 0..3 {
        assert_ne!(text(&mut other, "@@group_concat_max_len").await?, "80");
        assert_eq!(text(&mut conn, "concat(@@group_concat_max_len, ' ', @@lock_wait_timeout)").await?, "80 80");
    }
    assert_eq!(cause(&conn), None);
    Ok(())
}

#[tokio::test]
async fn what_the_server_remembers_of_earlier_statements_is_right_or_refused() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    server.execute("create table app.counted (id int auto_increment primary key, n int)").await;
    let (mut conn, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let last = "select cast(last_insert_id() as signed)";
    let ask = async |conn: &mut Session, sql: &'static str| -> Result<i64, Error> {
        Ok(sqlx::query_scalar(sql).fetch_one(conn).await?)
    };
    run(&mut conn, "insert into counted (n) values (1)").await?;
    assert_eq!(ask(&mut conn, last).await?, 1);
    assert_eq!(ask(&mut conn, last).await?, 1);
    run(&mut other, "insert into counted (n) values (2)").await?;
    for _ in 0..2 {
        match ask(&mut conn, last).await {
            Ok(id) => assert_eq!(id, 1),
            Err(error) => assert!(matches!(error, Error::SessionStateLost { .. }), "{error:?}"),
        }
    }
    let rows = "select cast(row_count() as signed)";
    run(&mut conn, "update counted set n = 3").await?;
    match ask(&mut conn, rows).await {
        Ok(count) => assert_eq!(count, 2),
        Err(error) => assert!(matches!(error, Error::SessionStateLost { .. }), "{error:?}"),
    }
    let mut tx = conn.begin().await?;
    run(&mut tx, "update counted set n = 4").await?;
    assert_eq!(ask(&mut tx, rows).await?, 2);
    run(&mut tx, "insert into counted (n) values (9)").await?;
    assert_eq!(ask(&mut tx, last).await?, 3);
    tx.commit().await?;
    // Nobody's, on a connection that others have used.
    let mut third = proxy.get_connection().await?;
    assert!(matches!(ask(&mut third, last).await, Err(Error::SessionStateLost { .. })));
    assert!(matches!(ask(&mut third, rows).await, Err(Error::SessionStateLost { .. })));
    Ok(())
}

/// What was not understood has not committed anything: the transaction is still this session's, and nobody else's.
#[tokio::test]
async fn a_definition_that_was_refused_unread_leaves_the_transaction_with_its_session() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let (mut conn, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for (n, definition, commits) in
        [(1, "create table broken (n nonsense", false), (2, "drop table no_table_of_that_name", true)]
    {
        run(&mut conn, "begin").await?;
        run(&mut conn, &format!("insert into turns values ({n})")).await?;
        assert!(run(&mut conn, definition).await.is_err());
        for _ in 0..3 {
            run(&mut other, &format!("insert into turns values ({n}0) on duplicate key update n = n")).await?;
        }
        run(&mut conn, "rollback").await?;
        let kept = numbers(&mut other).await?;
        assert_eq!((kept.contains(&n), kept.contains(&(n * 10))), (commits, true), "{definition}");
        assert_eq!((cause(&conn), proxy.status().leased), (None, 0), "{definition}");
    }
    Ok(())
}

/// What became of a text that failed half way is asked for before anything begins.
#[tokio::test]
async fn a_guard_begins_in_the_transaction_that_a_text_left_open_and_commits_nothing_of_it() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    assert!(run(&mut conn, "begin; insert into turns values (1); select no_such_column; commit").await.is_err());
    let mut guard = conn.begin().await?;
    run(&mut guard, "insert into turns values (2)").await?;
    guard.commit().await?;
    assert_eq!(numbers(&mut conn).await?, [1, 2]);
    run(&mut conn, "rollback").await?;
    assert_eq!((numbers(&mut conn).await?, cause(&conn), proxy.status().leased), (vec![], None, 0));
    // It goes on after the error, as without this crate.
    assert!(run(&mut conn, "begin; insert into turns values (1); select no_such_column; commit").await.is_err());
    run(&mut conn, "commit").await?;
    assert_eq!((numbers(&mut conn).await?, cause(&conn), proxy.status().leased), (vec![1], None, 0));
    Ok(())
}

/// As above, where the server has taken the whole transaction back by then.
#[tokio::test]
async fn a_guard_is_no_savepoint_in_a_transaction_that_is_not_there_any_more() -> Result<(), Error> {
    let settings = vec![("innodb_rollback_on_timeout", "1".to_owned())];
    let server = MariaDb::start(MariaDbOptions { settings, ..MariaDbOptions::default() }).await;
    server.execute("create table app.turns (n int primary key)").await;
    let proxy = mysql_proxy_to(&server).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "set innodb_lock_wait_timeout = 1").await?;
    let mut holds = other.begin().await?;
    run(&mut holds, "insert into turns values (2)").await?;
    run(&mut one, "begin").await?;
    assert!(run(&mut one, "insert into turns values (2)").await.is_err());
    holds.rollback().await?;
    {
        let mut guard = one.begin().await?;
        run(&mut guard, "insert into turns values (3)").await?;
    }
    assert_eq!(numbers(&mut one).await?, [0; 0]);
    Ok(())
}

/// In doubt the session's account of texts is not followed any more; the server knows better.
#[tokio::test]
async fn in_doubt_a_guard_neither_commits_what_a_text_has_begun_nor_stands_in_nothing() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    for (texts, rows) in [
        (["begin", "prepare p from 'do 0'", "rollback"], vec![1]),
        (["begin", "prepare p from 'do 0'", "commit"], vec![1]),
        (["prepare p from 'do 0'", "begin", "insert into turns values (2)"], vec![]),
        (["begin", "prepare p from 'do 0'", "insert into turns values (2)"], vec![]),
    ] {
        for end in ["drop", "rollback", "commit"] {
            let mut conn = proxy.get_connection().await?;
            for text in texts {
                run(&mut conn, text).await?;
            }
            let mut guard = conn.begin().await?;
            run(&mut guard, "insert into turns values (1)").await?;
            match end {
                "drop" => drop(guard),
                "rollback" => guard.rollback().await?,
                _ => guard.commit().await?,
            }
            run(&mut conn, "rollback").await?;
            let kept = if end == "commit" { rows.clone() } else { vec![] };
            assert_eq!(numbers(&mut conn).await?, kept, "{texts:?} {end}");
            run(&mut conn, "delete from turns").await?;
        }
    }
    Ok(())
}

/// What a text may not do in a guard can be done behind its back.
#[tokio::test]
async fn committing_what_the_physical_connection_has_ended_otherwise_is_an_error() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    for text in ["begin", "create table if not exists ended (n int)"] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        tx.pin().await?.execute(sqlx::raw_sql(text)).await?;
        assert!(tx.commit().await.is_err(), "{text} on the physical connection");
    }
    Ok(())
}

#[tokio::test]
async fn a_statement_that_fails_after_it_was_dropped_leaves_its_transaction_whole() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    for (n, prepared) in [(1, true), (4, false)] {
        let insert = async |conn: &mut Session, n| run(conn, &format!("insert into turns values ({n})")).await;
        let mut tx = conn.begin().await?;
        insert(&mut tx, n).await?;
        let mut inner = tx.begin().await?;
        doomed(&mut inner, prepared).await;
        inner.commit().await?;
        insert(&mut tx, n + 1).await?;
        doomed(&mut tx, prepared).await;
        insert(&mut tx, n + 2).await?;
        tx.commit().await?;
    }
    assert_eq!(numbers(&mut conn).await?, [1, 2, 3, 4, 5, 6]);
    Ok(())
}

const COUNTED: &str =
    "create table app.counted (n int primary key); insert into app.counted values (1), (2), (3), (4), (5), (6)";

/// Somebody who holds all rows of it but the first. Of the two in a deadlock the other one is the victim, for it has done less.
async fn rival(server: &MariaDb) -> Result<MySqlConnection, Error> {
    let mut rival = server.admin().await;
    sqlx::raw_sql("begin").execute(&mut rival).await?;
    sqlx::raw_sql("update app.counted set n = -n where n >= 2").execute(&mut rival).await?;
    Ok(rival)
}

/// A deadlock takes the whole transaction back, also where only a savepoint in it was dropped with the statement that it hit. Nobody
/// learns of it but from the answers that are read late.
#[tokio::test]
async fn a_late_deadlock_in_a_dropped_savepoint_is_not_taken_back_with_it() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.ledger (n int)").await;
    server.execute(COUNTED).await;
    for (polls, goes_on) in (1..=5).flat_map(|polls| [(polls, true), (polls, false)]) {
        let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        way.delay(Duration::from_millis(5));
        let proxy = mysql_proxy_to(&server).port(way.port()).max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        let mut rival = rival(&server).await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, "insert into ledger values (1)").await?;
        sqlx::query("update app.counted set n = -n where n = 1").execute(&mut *tx).await?;
        let mut savepoint = tx.begin().await?;
        let waits = sqlx::query("update app.counted set n = -n where n = 2").execute(&mut *savepoint);
        assert!(timeout(Duration::from_millis(200), waits).await.is_err());
        drop(savepoint);
        sqlx::raw_sql("update app.counted set n = -n where n = 1").execute(&mut rival).await?;
        pause(Duration::from_millis(30)).await;
        let _ = polled(polls, sqlx::query("select 1").execute(&mut *tx)).await;
        sqlx::raw_sql("rollback").execute(&mut rival).await?;
        if goes_on {
            let _ = run(&mut tx, "insert into ledger values (2)").await;
        }
        let committed = tx.commit().await;
        let found: Vec<i32> =
            sqlx::query_scalar("select n from app.ledger").fetch_all(&mut server.admin().await).await?;
        let is_true = if committed.is_ok() { found.contains(&1) } else { found.is_empty() };
        assert!(is_true, "{polls}, {goes_on}: {committed:?}, {found:?}");
        server.execute("delete from app.ledger").await;
    }
    Ok(())
}

/// As a guard's: a transaction that the application writes as text is not committed in part because a deadlock was answered to a
/// statement that nobody waited for any more. Its `ROLLBACK` makes good, and its `COMMIT` is an error once.
#[tokio::test]
async fn a_late_deadlock_in_a_transaction_of_texts_is_told() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.ledger (n int)").await;
    server.execute(COUNTED).await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let ways = ["begin", "set autocommit = 0", "set sql_mode = (select @@sql_mode); begin"];
    for (way, goes_on) in ways.into_iter().flat_map(|way| [(way, false), (way, true)]) {
        let mut conn = proxy.get_connection().await?;
        let mut rival = rival(&server).await?;
        for text in way.split("; ") {
            run(&mut conn, text).await?;
        }
        run(&mut conn, "insert into ledger values (1)").await?;
        run(&mut conn, "update app.counted set n = -n where n = 1").await?;
        let waits = run(&mut conn, "update app.counted set n = -n where n = 2");
        assert!(timeout(Duration::from_millis(200), waits).await.is_err());
        sqlx::raw_sql("update app.counted set n = -n where n = 1").execute(&mut rival).await?;
        pause(Duration::from_millis(30)).await;
        sqlx::raw_sql("rollback").execute(&mut rival).await?;
        let inserted = if goes_on { run(&mut conn, "insert into ledger values (2)").await } else { Ok(()) };
        let committed = run(&mut conn, "commit").await;
        let found: Vec<i32> =
            sqlx::query_scalar("select n from app.ledger").fetch_all(&mut server.admin().await).await?;
        let is_told = committed.is_err() || inserted.is_err();
        assert!(is_told && found.is_empty(), "{way}, {goes_on}: {inserted:?}, {committed:?}, {found:?}");
        // It goes on with the next one.
        run(&mut conn, "rollback").await?;
        run(&mut conn, "begin").await?;
        run(&mut conn, "insert into ledger values (3)").await?;
        run(&mut conn, "commit").await?;
        drop(conn);
        proxy.upkeep().await;
        server.execute("delete from app.ledger").await;
    }
    Ok(())
}

/// A deadlock within a guard ends the transaction of texts around it. The text that ends that is not refused for ever.
#[tokio::test]
async fn a_deadlock_in_a_guard_within_texts_leaves_a_session_that_can_go_on() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    server.execute(COUNTED).await;
    for (way, end) in [("begin", "rollback"), ("begin", "commit"), ("set autocommit = 0", "rollback")] {
        let mut conn = proxy.get_connection().await?;
        let mut rival = rival(&server).await?;
        run(&mut conn, way).await?;
        run(&mut conn, "insert into turns values (1)").await?;
        let mut guard = conn.begin().await?;
        run(&mut guard, "update app.counted set n = -n where n = 1").await?;
        let (deadlock, _) = tokio::join!(run(&mut guard, "update app.counted set n = -n where n = 2"), async {
            pause(Duration::from_millis(200)).await;
            sqlx::raw_sql("update app.counted set n = -n where n = 1").execute(&mut rival).await
        });
        deadlock.unwrap_err();
        let _ = guard.rollback().await;
        sqlx::raw_sql("rollback").execute(&mut rival).await?;
        let ended = run(&mut conn, end).await;
        assert_eq!(ended.is_ok(), end == "rollback", "{way}, {end}: {ended:?}");
        run(&mut conn, "begin").await?;
        run(&mut conn, "insert into turns values (2)").await?;
        run(&mut conn, "commit").await?;
        assert_eq!(numbers(&mut conn).await?, [2], "{way}, {end}");
        run(&mut conn, "delete from turns").await?;
        run(&mut conn, "commit").await?;
    }
    Ok(())
}
