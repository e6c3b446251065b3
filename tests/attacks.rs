//! Attacks on the promises: nothing acknowledged is lost, nothing is done twice, nothing of one session reaches another,
//! and no error says more of what the database did than is provable.
//!
//! Not here: what a late error does to its transaction (`aborted` on PostgreSQL, `transactions` on MySQL).

use std::future::Future;
use std::mem::forget;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error, Outcome};
use sqlx::{Acquire, AssertSqlSafe, Executor};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::stage::*;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::until;

/// Locks of these tests.
const HELD: u8 = 1;
const RESTORED: u8 = 21;

/// A table of its own for each attack.
async fn table(server: &Server, name: &str) {
    server.execute(&numbers(name)).await;
}

/// What is in it, as everybody else sees it.
async fn rows(server: &Server, table: &str) -> Vec<i32> {
    let sql = AssertSqlSafe(format!("select n from {table} order by n"));
    sqlx::query_scalar(sql).fetch_all(&mut server.admin().await).await.expect("an answer")
}

async fn run(conn: &mut Connection<Db>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn insert(conn: &mut Connection<Db>, table: &str, n: i32) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(format!("insert into {table} values ({n})"))).execute(conn).await?;
    Ok(())
}

/// The server's answer to a number is that number.
async fn echo(conn: &mut Connection<Db>, n: i32) -> Result<i32, Error> {
    let text: String = sqlx::query_scalar(ECHO).bind(n.to_string()).fetch_one(conn).await?;
    Ok(text.parse().expect("a number"))
}

/// Polls a future so many times, with time for an answer in between, and drops it. Whether it was done by then.
async fn drop_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if futures_util::poll!(&mut future).is_ready() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

/// A text that fails after so many seconds, in its second statement.
fn fails_after(seconds: f64) -> String {
    format!("{}; select no_such_column", sleep(seconds))
}

/// A text, or a prepared statement, that was dropped half way and fails on the server afterwards.
pub(super) async fn doomed(conn: &mut Connection<Db>, prepared: bool) {
    if prepared {
        // What is dropped is its execution then, however long a preparation takes.
        conn.prepare(sqlx::SqlStr::from_static(DOOMED)).await.expect("prepared");
    }
    let dropped = async {
        if prepared {
            sqlx::query(DOOMED).execute(conn).await.map(drop).map_err(Error::from)
        } else {
            run(conn, &fails_after(0.06)).await
        }
    };
    // On a busy machine both may be ready at once.
    tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_millis(20)) => {}
        ended = dropped => panic!("before it was dropped: {ended:?}"),
    }
}

/// The application's own `COMMIT` is beyond what a guard can take back: neither of its ends may claim the contrary.
#[tokio::test]
async fn a_commit_sent_as_text_is_never_called_rolled_back() -> Result<(), Error> {
    let server = server().await;
    table(server, "text_commit").await;
    let proxy = proxy_to(server).build()?;
    let mut expected = Vec::new();
    for (n, fails_after, commits) in [(1, false, true), (2, true, true), (3, false, false), (4, true, false)] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        insert(&mut tx, "text_commit", n).await?;
        sqlx::query("commit").execute(&mut *tx).await?;
        if fails_after {
            run(&mut tx, "select no_such_column").await.unwrap_err();
        }
        let error = if commits { tx.commit().await } else { tx.rollback().await }.unwrap_err();
        assert!(matches!(error, Error::TransactionAborted { .. }), "{error:?}");
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, false), "{n}");
        expected.push(n);
        assert_eq!(rows(server, "text_commit").await, expected);
    }
    Ok(())
}

/// A closure that commits by text and then meets a conflict with others must not run again.
#[tokio::test]
async fn a_closure_that_committed_by_text_is_not_run_again() -> Result<(), Error> {
    let server = server().await;
    table(server, "text_rerun").await;
    let proxy = proxy_to(server).build()?;
    let result: Result<(), Error> = proxy
        .transaction(|tx| {
            Box::pin(async move {
                insert(tx, "text_rerun", 1).await?;
                sqlx::query("commit").execute(&mut **tx).await?;
                run(tx, CONFLICT).await
            })
        })
        .await;
    assert_eq!(result.unwrap_err().sqlstate().as_deref(), Some("40001"));
    assert_eq!(rows(server, "text_rerun").await, [1]);
    Ok(())
}

/// A raw `ROLLBACK`, and an end on the physical connection. What else ends a transaction is each engine's own.
#[tokio::test]
async fn committing_what_a_text_or_the_physical_connection_has_ended_is_an_error() -> Result<(), Error> {
    let proxy = proxy_to(server().await).build()?;
    for text in
        ["rollback", "rollback; select 1", "rollback work and no chain", "rollback and chain", "select 1; rollback"]
    {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, text).await?;
        assert!(tx.commit().await.is_err(), "{text}");
        assert_eq!(echo(&mut conn, 7).await?, 7);
    }
    for text in ["rollback", "commit"] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        tx.pin().await?.execute(sqlx::raw_sql(text)).await?;
        assert!(tx.commit().await.is_err(), "{text} on the physical connection");
    }
    Ok(())
}

/// sqlx would answer `begin` with `BEGIN`, which MySQL takes for a commit of ours and PostgreSQL for nothing: then its
/// commit ends ours.
#[tokio::test]
async fn a_sqlx_transaction_inside_one_of_ours_cannot_commit_it() -> Result<(), Error> {
    let server = server().await;
    table(server, "adopted").await;
    let proxy = proxy_to(server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    insert(&mut tx, "adopted", 1).await?;
    let error = Error::from(Acquire::begin(&mut *tx).await.unwrap_err());
    assert_eq!(error.outcome(), Outcome::NotExecuted);
    assert_eq!(rows(server, "adopted").await, [0; 0], "nobody has committed the outer transaction");
    tx.rollback().await?;
    assert_eq!(rows(server, "adopted").await, [0; 0]);
    Ok(())
}

/// The driver forgets a `BEGIN` whose future was dropped; what is written next would go down with it.
#[tokio::test]
async fn a_sqlx_begin_that_was_dropped_swallows_no_later_write() -> Result<(), Error> {
    let server = server().await;
    table(server, "sqlx_begin").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    for polls in 0..6 {
        let mut conn = proxy.get_connection().await?;
        drop_after(polls, Acquire::begin(&mut conn)).await;
        insert(&mut conn, "sqlx_begin", i32::try_from(polls).expect("few")).await?;
        drop(conn);
        proxy.upkeep().await;
    }
    assert_eq!(rows(server, "sqlx_begin").await, [0, 1, 2, 3, 4, 5]);
    Ok(())
}

/// On a session that keeps its connection whatever happens, nobody else rolls back.
#[tokio::test]
async fn a_begin_that_was_dropped_on_a_pinned_session_swallows_no_later_write() -> Result<(), Error> {
    let server = server().await;
    table(server, "pinned_begin").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    let mut expected = Vec::new();
    for polls in 0..6 {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "create temporary table pinning (n int)").await?;
        for sqlx in [true, false] {
            if sqlx {
                drop_after(polls, Acquire::begin(&mut conn)).await;
            } else {
                drop_after(polls, conn.begin()).await;
            }
            let n = i32::try_from(expected.len()).expect("few");
            insert(&mut conn, "pinned_begin", n).await?;
            expected.push(n);
        }
        drop(conn);
        proxy.upkeep().await;
    }
    assert_eq!(rows(server, "pinned_begin").await, expected);
    Ok(())
}

/// A guard of sqlx's that is never dropped leaves the driver counting; the next session must not inherit the count.
#[tokio::test]
async fn a_forgotten_sqlx_transaction_stays_with_its_session() -> Result<(), Error> {
    let server = server().await;
    table(server, "forgotten_sqlx").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = Acquire::begin(&mut conn).await?;
    sqlx::query("insert into forgotten_sqlx values (1)").execute(&mut *tx).await?;
    forget(tx);
    drop(conn);
    let mut other = proxy.get_connection().await?;
    let mut tx = Acquire::begin(&mut other).await?;
    sqlx::query("insert into forgotten_sqlx values (2)").execute(&mut *tx).await?;
    tx.commit().await?;
    assert_eq!(rows(server, "forgotten_sqlx").await, [2]);
    Ok(())
}

/// The end of a savepoint whose future was dropped is not sent a second time: there would be no such savepoint, which aborts the transaction
/// around it where errors do.
#[tokio::test]
async fn a_savepoint_whose_end_was_dropped_leaves_its_transaction_whole() -> Result<(), Error> {
    let server = server().await;
    table(server, "savepoints").await;
    let proxy = proxy_to(server).build()?;
    for polls in 0..5 {
        for (commits, prepared) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut conn = proxy.get_connection().await?;
            let mut tx = conn.begin().await?;
            // Prepared by now: one that is dropped while it is being prepared costs the connection on MySQL.
            sqlx::query("select 1").execute(&mut *tx).await?;
            drop_after(polls, tx.begin()).await;
            insert(&mut tx, "savepoints", 1).await?;
            let mut inner = tx.begin().await?;
            insert(&mut inner, "savepoints", 2).await?;
            let ended = if commits {
                drop_after(polls, inner.commit()).await
            } else {
                drop_after(polls, inner.rollback()).await
            };
            // What is left to send for a dropped guard may be dropped as well.
            if prepared {
                drop_after(polls, sqlx::query("select 1").execute(&mut *tx)).await;
            } else {
                drop_after(polls, sqlx::raw_sql("select 1").execute(&mut *tx)).await;
            }
            insert(&mut tx, "savepoints", 3).await?;
            tx.commit().await?;
            let seen = rows(server, "savepoints").await;
            if ended || !commits {
                assert_eq!(seen.contains(&2), commits, "{polls} polls");
            }
            assert!(seen.contains(&1) && seen.contains(&3), "{polls} polls, {commits}: {seen:?}");
            server.execute("delete from savepoints").await;
        }
    }
    Ok(())
}

/// The error of a statement belongs to the savepoint it ran in, also when both were dropped.
#[tokio::test]
async fn a_late_error_goes_down_with_its_dropped_savepoint() -> Result<(), Error> {
    let server = server().await;
    table(server, "late_savepoint").await;
    let proxy = proxy_to(server).build()?;
    for (n, prepared) in [(1, true), (3, false)] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        insert(&mut tx, "late_savepoint", n).await?;
        {
            let mut inner = tx.begin().await?;
            doomed(&mut inner, prepared).await;
        }
        insert(&mut tx, "late_savepoint", n + 1).await?;
        tx.commit().await?;
    }
    assert_eq!(rows(server, "late_savepoint").await, [1, 2, 3, 4]);
    Ok(())
}

/// The error of a dropped statement is nobody's.
#[tokio::test]
async fn a_late_error_reaches_no_later_statement() -> Result<(), Error> {
    let server = server().await;
    table(server, "late_error").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    for (n, prepared) in [(1, true), (3, false)] {
        let mut conn = proxy.get_connection().await?;
        doomed(&mut conn, prepared).await;
        insert(&mut conn, "late_error", n).await?;
        doomed(&mut conn, prepared).await;
        insert(&mut proxy.get_connection().await?, "late_error", n + 1).await?;
    }
    assert_eq!(rows(server, "late_error").await, [1, 2, 3, 4]);
    Ok(())
}

/// `forget` runs no `Drop`: not for a guard, not for a query, not for a stream.
#[tokio::test]
async fn whatever_is_forgotten_reaches_no_other_session() -> Result<(), Error> {
    let server = server().await;
    table(server, "forgotten").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    insert(&mut tx, "forgotten", 1).await?;
    forget(tx);
    drop(conn);
    let mut conn = proxy.get_connection().await?;
    let mut stream = sqlx::query(AssertSqlSafe(series(20_000))).fetch(&mut conn);
    stream.try_next().await?;
    forget(stream);
    assert_eq!(echo(&mut conn, 1).await?, 1, "in the same session");
    for prepared in [true, false] {
        let text = AssertSqlSafe(fails_after(0.03));
        let mut query = Box::pin(async {
            if prepared {
                sqlx::query(DOOMED).execute(&mut conn).await
            } else {
                sqlx::raw_sql(text).execute(&mut conn).await
            }
        });
        assert!(futures_util::poll!(&mut query).is_pending());
        forget(query);
        drop(conn);
        conn = proxy.get_connection().await?;
        assert_eq!(echo(&mut conn, 2).await?, 2, "in another");
    }
    assert_eq!(rows(server, "forgotten").await, [0; 0]);
    Ok(())
}

/// A panic unwinds through the guard; its transaction is rolled back and its connection serves the next.
#[tokio::test]
async fn a_panic_in_a_closure_rolls_back_and_harms_nobody() -> Result<(), Error> {
    let server = server().await;
    table(server, "panics").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    let panicking = proxy.clone();
    let task = tokio::spawn(async move {
        panicking
            .transaction::<_, (), Error>(|tx| {
                Box::pin(async move {
                    insert(tx, "panics", 1).await?;
                    panic!("on purpose");
                })
            })
            .await
    });
    assert!(task.await.unwrap_err().is_panic());
    let mut conn = proxy.get_connection().await?;
    insert(&mut conn, "panics", 2).await?;
    assert_eq!(rows(server, "panics").await, [2]);
    assert_eq!((proxy.status().leased, proxy.status().connections), (0, 1));
    Ok(())
}

/// Half a stream in a transaction is the transaction's own, and read before what comes next.
#[tokio::test]
async fn streams_dropped_half_way_in_a_transaction_keep_it_in_step() -> Result<(), Error> {
    let server = server().await;
    table(server, "streams").await;
    let proxy = proxy_to(server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    for n in 0..4 {
        {
            let prepared = n % 2 == 0;
            let many = if prepared { series(5000) } else { format!("select 1; {}", series(5000)) };
            let many = AssertSqlSafe(many);
            let mut stream =
                if prepared { sqlx::query(many).fetch(&mut *tx) } else { sqlx::raw_sql(many).fetch(&mut *tx) };
            for _ in 0..=n {
                stream.try_next().await?;
            }
        }
        insert(&mut tx, "streams", n).await?;
    }
    tx.commit().await?;
    assert_eq!(rows(server, "streams").await, [0, 1, 2, 3]);
    Ok(())
}

/// The ways to lose a connection, against what is being done on it. An outcome may be worse than the truth, never better.
#[tokio::test]
async fn no_lost_connection_is_given_a_better_outcome_than_the_truth() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    table(&server, "lost").await;
    server.execute(HELD_INSERT).await;
    let faults = FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await;
    let proxy = proxy_to(&server).port(faults.port()).max_connections(1).build()?;
    let mut admin = server.admin().await;
    let mut n = 0;
    for fault in ["terminate", "reset", "cut", "hang"] {
        for &place in HELD_PLACES.iter().chain(&["rollback", "released"]) {
            n += 1;
            let mut conn = proxy.get_connection().await?;
            admin.execute(AssertSqlSafe(lock(HELD))).await?;
            let there = Notify::new();
            let gone_on = Notify::new();
            let strike = async {
                there.notified().await;
                let held = HELD_PLACES.contains(&place);
                if held {
                    until_held(&server).await;
                }
                match fault {
                    "terminate" => drop(server.terminate_sessions("app").await),
                    "reset" => faults.reset(),
                    "cut" => faults.cut(),
                    _ => faults.hang(),
                }
                if fault == "terminate" || (fault != "hang" && !held) {
                    server.wait_until_sessions("app", 0).await;
                } else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                gone_on.notify_one();
                admin.execute(AssertSqlSafe(unlock(HELD))).await.expect("unlocked");
                // A hanging connection: the server goes on, its answer is never seen, and somebody else ends it.
                tokio::time::sleep(Duration::from_millis(100)).await;
                faults.reset();
                tokio::time::sleep(Duration::from_millis(20)).await;
                faults.pass();
            };
            let ((), result) = tokio::join!(strike, lose(&mut conn, place, n, &there, &gone_on));
            let error = result.expect_err(&format!("{fault} {place}"));
            assert!(matches!(error, Error::ConnectionLost { .. }), "{fault} {place}: {error:?}");
            server.wait_until_sessions("app", 0).await;
            let happened = rows(&server, "lost").await.contains(&n);
            match error.outcome() {
                Outcome::Unknown => assert!(!error.is_retryable(), "{fault} {place}"),
                Outcome::RolledBack => assert!(!happened && place != "commit", "{fault} {place}"),
                better => panic!("{fault} {place}: {better:?}"),
            }
            // The session is free again.
            assert_eq!(echo(&mut conn, 1).await?, 1, "{fault} {place}");
        }
    }
    Ok(())
}

/// Waits until the application's session waits for the lock.
async fn until_held(server: &Server) {
    let mut admin = server.admin().await;
    until("a session waits for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(WAITING_FOR_LOCKS).fetch_one(&mut admin).await.expect("an answer");
        waiting > 0
    })
    .await;
}

/// Says when it is there, and does what is to be lost.
async fn lose(conn: &mut Connection<Db>, place: &str, n: i32, there: &Notify, gone_on: &Notify) -> Result<(), Error> {
    if place == "statement" {
        there.notify_one();
        sqlx::query(AssertSqlSafe(format!("select held_insert({n})"))).execute(conn).await?;
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    match place {
        "in transaction" => {
            there.notify_one();
            sqlx::query(AssertSqlSafe(format!("select held_insert({n})"))).execute(&mut *tx).await?;
            tx.commit().await
        }
        "commit" => {
            insert(&mut tx, "lost", n).await?;
            there.notify_one();
            tx.commit().await
        }
        "rollback" => {
            insert(&mut tx, "lost", n).await?;
            there.notify_one();
            gone_on.notified().await;
            tx.rollback().await
        }
        _ => {
            let mut inner = tx.begin().await?;
            insert(&mut inner, "lost", n).await?;
            there.notify_one();
            gone_on.notified().await;
            inner.commit().await?;
            tx.commit().await
        }
    }
}

/// A host that falls silent answers no `BEGIN` and no `ROLLBACK`; both end, and say that nothing was done.
#[tokio::test]
async fn beginning_and_rolling_back_end_on_a_silent_host() -> Result<(), Error> {
    let server = server().await;
    let faults = FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await;
    let builder = proxy_to(server).port(faults.port()).max_connections(1).validate_after(Duration::from_secs(60));
    let proxy = builder.borrow_timeout(Duration::from_secs(2)).build()?;
    let mut conn = proxy.get_connection().await?;
    let tx = conn.begin().await?;
    faults.hang();
    let error = tx.rollback().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { outcome: Outcome::RolledBack, .. }), "{error:?}");
    faults.pass();
    echo(&mut conn, 1).await?;
    faults.hang();
    assert_eq!(conn.begin().await.unwrap_err().outcome(), Outcome::NotExecuted);
    faults.pass();
    assert_eq!(echo(&mut conn, 1).await?, 1);
    Ok(())
}

/// The server is gone between the lease and the statement, idle or in a transaction.
#[tokio::test]
async fn a_server_that_dies_between_lease_and_statement_is_survived() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    table(&server, "dies").await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut free = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    insert(&mut tx, "dies", 1).await?;
    server.kill().await;
    let error = insert(&mut tx, "dies", 2).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::RolledBack, "{error:?}");
    assert!(tx.commit().await.is_err());
    assert!(insert(&mut free, "dies", 3).await.is_err());
    Ok(())
}

/// Restoring is several exchanges; whichever of them is cut short, the next session gets a clean connection.
#[tokio::test]
async fn a_restore_that_is_dropped_half_way_is_done_again_in_full() -> Result<(), Error> {
    let server = server().await;
    table(server, "restored").await;
    let seen = format!("select {WAIT}, {}", held(RESTORED));
    let seen = async |conn: &mut Connection<Db>| -> Result<(String, i64), Error> {
        Ok(sqlx::query_as(AssertSqlSafe(seen.clone())).fetch_one(conn).await?)
    };
    for init in [None, Some(set_wait(9))] {
        let mut builder = proxy_to(server).max_connections(1);
        if let Some(init) = init {
            builder = builder.init_query(init);
        }
        let proxy = builder.build()?;
        let clean = seen(&mut proxy.get_connection().await?).await?;
        for polls in 0..10 {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, &set_wait(7)).await?;
            if polls % 2 == 0 {
                run(&mut conn, &lock(RESTORED)).await?;
            }
            assert_ne!(seen(&mut conn).await?, clean);
            let mut tx = conn.begin().await?;
            insert(&mut tx, "restored", 1).await?;
            drop_after(1, run(&mut tx, &fails_after(0.01))).await;
            drop(tx);
            drop(conn);
            drop_after(polls, proxy.upkeep()).await;
            assert_eq!(seen(&mut proxy.get_connection().await?).await?, clean, "{polls} polls");
        }
    }
    assert_eq!(rows(server, "restored").await, [0; 0]);
    Ok(())
}

/// A session that waits for another of its own task waits in vain, but not for ever, and is told who holds what.
#[tokio::test]
async fn two_sessions_on_a_pool_of_one_end_in_an_error_that_names_the_holder() -> Result<(), Error> {
    let proxy = proxy_to(server().await).max_connections(1).borrow_timeout(Duration::from_millis(400)).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    let mut other = proxy.get_connection().await?;
    let error = echo(&mut other, 1).await.unwrap_err();
    assert!(matches!(error, Error::PoolExhausted { .. }), "{error:?}");
    assert!(error.to_string().contains("by a session in a transaction"), "{error}");
    assert_eq!(echo(&mut tx, 2).await?, 2, "the holder is not harmed");
    tx.commit().await?;
    // Side by side, statement by statement, there is no deadlock.
    let (a, b) = tokio::join!(async { (echo(&mut conn, 1).await, echo(&mut conn, 2).await) }, async {
        (echo(&mut other, 3).await, echo(&mut other, 4).await)
    },);
    assert_eq!((a.0?, a.1?, b.0?, b.1?), (1, 2, 3, 4));
    Ok(())
}

/// Many tasks, few connections, and a third of all futures dropped at some await: what was acknowledged is there once,
/// what was rolled back is not there, and nobody gets the row or the error of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_cancellation_on_many_threads_every_session_keeps_its_own() -> Result<(), Error> {
    let server = server().await;
    table(server, "hammered").await;
    let proxy = proxy_to(server).max_connections(3).borrow_timeout(Duration::from_secs(60)).build()?;
    let tasks: Vec<_> = (0..12).map(|task| tokio::spawn(hammer(proxy.clone(), task))).collect();
    let (mut done, mut never) = (Vec::new(), Vec::new());
    for task in tasks {
        let (acknowledged, undone) = task.await.expect("no panic");
        done.extend(acknowledged);
        never.extend(undone);
    }
    proxy.upkeep().await;
    let seen = rows(server, "hammered").await;
    let unique: std::collections::BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(unique.len(), seen.len(), "nothing was done twice");
    assert!(done.iter().all(|n| unique.contains(n)), "nothing acknowledged was lost");
    assert!(!never.iter().any(|n| unique.contains(n)), "nothing that was rolled back is there");
    assert_eq!(proxy.status().leased, 0);
    Ok(())
}

/// What was acknowledged, and what must not be there.
async fn hammer(proxy: DbProxy, task: i32) -> (Vec<i32>, Vec<i32>) {
    let (mut done, mut never) = (Vec::new(), Vec::new());
    let patience = |n: i32| Duration::from_micros(u64::from(n.unsigned_abs() * 7919 % 3000));
    for round in 0..40 {
        let n = task * 1000 + round;
        let mut conn = proxy.get_connection().await.expect("a session");
        match round % 5 {
            0 => {
                if timeout(patience(n), insert(&mut conn, "hammered", n)).await.is_ok_and(|done| done.is_ok()) {
                    done.push(n);
                }
            }
            1 => {
                let mut tx = conn.begin().await.expect("a transaction");
                let _ = timeout(patience(n), insert(&mut tx, "hammered", n)).await;
                never.push(n);
            }
            2 => {
                let mut tx = conn.begin().await.expect("a transaction");
                insert(&mut tx, "hammered", n).await.expect("inserted");
                if let Ok(committed) = timeout(patience(n), tx.commit()).await {
                    committed.expect("committed");
                    done.push(n);
                }
            }
            3 => {
                let _ = if round % 2 == 0 {
                    timeout(patience(n), run(&mut conn, &fails_after(0.001))).await
                } else {
                    timeout(patience(n), async { Ok(sqlx::query(DOOMED).execute(&mut conn).await.map(drop)?) }).await
                };
            }
            _ => {
                let _ = timeout(patience(n), conn.begin()).await;
                insert(&mut conn, "hammered", n).await.expect("outside of any transaction");
                done.push(n);
            }
        }
        assert_eq!(echo(&mut conn, n).await.expect("nobody else's error"), n, "nobody else's row");
    }
    (done, never)
}

/// A session moves between tasks, with a statement dropped half way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_moves_between_tasks() -> Result<(), Error> {
    let proxy = proxy_to(server().await).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    echo(&mut conn, 1).await?;
    let conn = tokio::spawn(async move {
        run(&mut conn, "create temporary table moved as select 5 as n").await?;
        doomed(&mut conn, true).await;
        doomed(&mut conn, false).await;
        Ok::<_, Error>(conn)
    });
    let mut conn = conn.await.expect("no panic")?;
    let n = tokio::spawn(async move { sqlx::query_scalar::<_, i32>("select n from moved").fetch_one(&mut conn).await });
    assert_eq!(n.await.expect("no panic")?, 5);
    let mut other = proxy.get_connection().await?;
    assert!(run(&mut other, "select n from moved").await.is_err(), "it went with its session");
    Ok(())
}

/// The first call fails for want of a configuration, also many at a time; then a proxy is installed, once.
#[tokio::test]
async fn the_process_wide_proxy_is_made_once_and_after_a_failure() -> Result<(), Error> {
    let calls = (0..8).map(|_| lambda_rds::get_connection::<Db>());
    for call in futures_util::future::join_all(calls).await {
        assert!(matches!(call, Err(Error::Config(_))), "{call:?}");
    }
    lambda_rds::install(proxy_to(server().await).build()?)?;
    assert!(matches!(lambda_rds::install(proxy_to(server().await).build()?), Err(Error::Config(_))));
    let calls = (0..8).map(|_| lambda_rds::get_connection::<Db>());
    for call in futures_util::future::join_all(calls).await {
        assert_eq!(echo(&mut call?, 1).await?, 1);
    }
    assert!(lambda_rds::init::<Db>().await?.status().connections <= 2);
    Ok(())
}
