//! Transactions that the application writes as text: `BEGIN`, `COMMIT`, chains, whole ones in one text. What is one
//! engine's own of them is in `texts`.

use std::time::Duration;

use futures_util::FutureExt;
use lambda_rds::{Connection, Error, Outcome, PinCause, PinReason, PinningFilter};
use sqlx::{AssertSqlSafe, Connection as _, Row};

use super::stage::*;

async fn run(conn: &mut Connection<Db>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn rows(conn: &mut Connection<Db>) -> Result<Vec<i32>, Error> {
    Ok(sqlx::query_scalar("select n from raw order by n").fetch_all(conn).await?)
}

/// A setting that all of these move.
async fn wait(conn: &mut Connection<Db>) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select {WAIT}"))).fetch_one(conn).await?)
}

fn cause(conn: &Connection<Db>) -> Option<PinCause> {
    conn.pin_reason().map(PinReason::cause)
}

async fn stage() -> Server {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&numbers("raw")).await;
    server
}

#[tokio::test]
async fn a_transaction_as_text_holds_its_connection_until_it_ends_and_pins_nothing() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let mut conn = proxy.get_connection().await?;
    let plain = wait(&mut conn).await?;
    run(&mut conn, &set_wait(3)).await?;
    let before = wait(&mut conn).await?;
    run(&mut conn, &set_wait(7)).await?;
    let set = wait(&mut conn).await?;
    for &(begin, end, kept) in TRANSACTIONS {
        run(&mut conn, &set_wait(3)).await?;
        run(&mut conn, begin).await?;
        run(&mut conn, "insert into raw values (1)").await?;
        run(&mut conn, &set_wait(7)).await?;
        assert_eq!((cause(&conn), proxy.status().leased), (None, 1), "{begin}");
        // Nobody else is in it.
        assert_eq!(rows(&mut proxy.get_connection().await?).await?, [0; 0], "{begin}");
        run(&mut conn, end).await?;
        assert_eq!((cause(&conn), proxy.status().leased), (None, 0), "{end}");
        assert_eq!(rows(&mut conn).await?.len(), usize::from(kept), "{end}");
        let stays = kept || !ROLLS_SETTINGS_BACK;
        assert_eq!(&wait(&mut conn).await?, if stays { &set } else { &before }, "{end}");
        assert_eq!(wait(&mut proxy.get_connection().await?).await?, plain, "{end}");
        run(&mut conn, "delete from raw").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_chained_transaction_goes_on() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let plain = wait(&mut conn).await?;
    run(&mut conn, "begin").await?;
    for (n, end) in [(1, "commit and chain"), (2, "rollback and chain"), (3, "")] {
        run(&mut conn, &format!("insert into raw values ({n})")).await?;
        run(&mut conn, &set_wait(4 + n)).await?;
        if !end.is_empty() {
            run(&mut conn, end).await?;
        }
        assert_eq!((cause(&conn), proxy.status().leased), (None, 1), "{end}");
    }
    drop(conn);
    let mut conn = proxy.get_connection().await?;
    assert_eq!(rows(&mut conn).await?, [1], "the last one was rolled back with its session");
    assert_eq!(wait(&mut conn).await?, plain);
    Ok(())
}

#[tokio::test]
async fn dropped_transaction_control_leaves_no_transaction_behind() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let plain = wait(&mut conn).await?;
    let whole = format!("begin; {}; commit", sleep(0.01));
    for (polls, patient) in (1..5).flat_map(|polls| [(polls, true), (polls, false)]) {
        for dropped in ["begin", "commit", "rollback", &whole, "commit and chain", "begin; commit"] {
            if !dropped.starts_with("begin") {
                run(&mut conn, "begin").await?;
                run(&mut conn, &set_wait(5)).await?;
            }
            let mut answered = false;
            {
                let mut future = Box::pin(run(&mut conn, dropped));
                for _ in 0..polls {
                    if !answered {
                        answered = future.as_mut().now_or_never().is_some();
                    }
                    if patient {
                        tokio::time::sleep(Duration::from_micros(100)).await;
                    } else {
                        tokio::task::yield_now().await;
                    }
                }
            }
            if answered {
                // The server was quicker.
                run(&mut conn, "rollback").await?;
                run(&mut conn, &set_wait(6)).await?;
                continue;
            }
            // Neither this session's next statement nor another's is in a transaction.
            for session in [&mut conn, &mut proxy.get_connection().await?] {
                let row = sqlx::raw_sql(AssertSqlSafe(format!("select {}", is_in_transaction())))
                    .fetch_one(&mut *session)
                    .await?;
                assert_eq!(row.try_get_unchecked::<i64, _>(0)?, 0, "{dropped} after {polls} polls: {session:?}");
            }
            run(&mut conn, &set_wait(6)).await?;
            let other = wait(&mut proxy.get_connection().await?).await?;
            assert_eq!(other, plain, "{dropped} after {polls} polls");
        }
    }
    // A savepoint whose text was dropped: the transaction must not commit as if nothing had happened.
    run(&mut conn, "begin").await?;
    run(&mut conn, "insert into raw values (1)").await?;
    if run(&mut conn, "savepoint a").now_or_never().is_some() {
        return Ok(());
    }
    let error = run(&mut conn, "commit").await.unwrap_err();
    assert!(matches!(error, Error::TransactionAborted { .. }), "{error:?}");
    assert_eq!(rows(&mut conn).await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn a_lost_transaction_as_text_is_over_when_the_application_ends_it() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    for end in ["rollback", "commit", "begin; select 1; commit"] {
        run(&mut conn, "begin").await?;
        run(&mut conn, "insert into raw values (1)").await?;
        let session = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
        server.execute(&terminate(session)).await;
        let lost = run(&mut conn, "insert into raw values (2)").await.unwrap_err();
        assert_eq!(lost.outcome(), Outcome::RolledBack, "{lost:?}");
        assert!(matches!(run(&mut conn, "select 1").await, Err(Error::ConnectionLost { .. })));
        // Its rows are free a moment later.
        server.wait_until_sessions("app", 0).await;
        match end {
            "commit" => {
                let refused = run(&mut conn, end).await.unwrap_err();
                assert!(matches!(refused, Error::ConnectionLost { outcome: Outcome::RolledBack, .. }), "{refused:?}");
            }
            end => run(&mut conn, end).await?,
        }
        assert_eq!(rows(&mut conn).await?, [0; 0], "after {end}");
    }
    Ok(())
}

#[tokio::test]
async fn a_temporary_table_stands_before_what_others_prepared() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "insert into raw values (1)").await?;
    assert_eq!(rows(&mut one).await?, [1]);
    run(&mut other, "create temporary table raw (n int)").await?;
    assert_eq!(rows(&mut other).await?, [0; 0], "its own table, whatever the connection has prepared");
    drop(other);
    assert_eq!(rows(&mut one).await?, [1]);
    Ok(())
}

#[tokio::test]
async fn a_whole_transaction_in_one_text_pins_nothing_whether_it_succeeds_or_fails() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "begin; insert into raw values (1); commit").await?;
    assert_eq!((cause(&conn), proxy.status().leased), (None, 0));
    // Fails in between: the transaction stays open, as on a connection of one's own.
    let fails = format!("begin; insert into raw values (2); {FAILS}; commit");
    assert!(run(&mut conn, &fails).await.is_err());
    assert_eq!((cause(&conn), proxy.status().leased), (None, 1));
    match ABORTED {
        Some(code) => assert_eq!(run(&mut conn, "select 1").await.unwrap_err().sqlstate().as_deref(), Some(code)),
        None => assert_eq!(rows(&mut conn).await?, [1, 2]),
    }
    run(&mut conn, "rollback").await?;
    assert_eq!((rows(&mut conn).await?, proxy.status().leased), (vec![1], 0));
    // Refused before anything was begun.
    assert!(run(&mut conn, "start transaction nonsense; select 1; commit").await.is_err());
    assert_eq!((rows(&mut conn).await?, cause(&conn), proxy.status().leased), (vec![1], None, 0));
    // And with the session gone in between.
    assert!(run(&mut conn, &fails).await.is_err());
    drop(conn);
    assert_eq!(rows(&mut proxy.get_connection().await?).await?, [1]);
    Ok(())
}

#[tokio::test]
async fn variable_sets_that_are_excluded_from_pinning_are_seen_by_nobody_else() -> Result<(), Error> {
    let server = stage().await;
    let pinning = PinningFilter::ExcludeVariableSets;
    let proxy = proxy_to(&server).max_connections(1).session_pinning(pinning).build()?;
    let plain = wait(&mut proxy.get_connection().await?).await?;
    let mut conn = proxy.get_connection().await?;
    // No text tells the value.
    sqlx::query(SET_WAIT).bind(WAIT_BOUND).execute(&mut conn).await?;
    assert_eq!(cause(&conn), None);
    assert_eq!(wait(&mut proxy.get_connection().await?).await?, plain);
    let mut tx = conn.begin().await?;
    sqlx::query(SET_WAIT).bind(WAIT_BOUND).execute(&mut *tx).await?;
    assert_ne!(wait(&mut tx).await?, plain);
    tx.commit().await?;
    assert_eq!((cause(&conn), wait(&mut proxy.get_connection().await?).await?), (None, plain));
    // What still pins.
    run(&mut conn, &lock(1)).await?;
    assert_eq!(cause(&conn), Some(PinCause::AdvisoryLock));
    Ok(())
}

/// On a pool of bare connections the next borrower is inside it.
#[tokio::test]
async fn a_transaction_begun_as_text_is_known_and_ends_with_its_session() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let url = format!("{}?{}", server.url(), TLS_MODES[2]);
    let pool = sqlx::pool::PoolOptions::<Db>::new().max_connections(1).connect(&url).await?;
    let mut one = pool.acquire().await?;
    // MySQL prepares no `BEGIN`.
    sqlx::raw_sql("begin").execute(&mut *one).await?;
    assert!(!one.is_in_transaction(), "bare sqlx does not know");
    drop(one);
    let mut next = pool.acquire().await?;
    sqlx::query("insert into raw values (1)").execute(&mut *next).await?;
    sqlx::query("rollback").execute(&mut *next).await?;
    drop(next);
    pool.close().await;
    assert_eq!(rows(&mut proxy.get_connection().await?).await?, [0; 0]);

    let mut one = proxy.get_connection().await?;
    sqlx::raw_sql("begin").execute(&mut one).await?;
    assert_eq!((one.pin_reason(), proxy.status().leased), (None, 1), "it is held, and not pinned");
    drop(one);
    let mut next = proxy.get_connection().await?;
    sqlx::query("insert into raw values (2)").execute(&mut next).await?;
    assert_eq!((rows(&mut next).await?, in_transaction(&server).await), (vec![2], 0));
    Ok(())
}
