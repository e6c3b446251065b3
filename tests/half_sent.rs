//! A future that is dropped at its first poll may have sent what it was to send, or nothing of it. What becomes of the rows is what is
//! said, either way.

use std::net::SocketAddr;
use std::time::Duration;

use lambda_rds::{Error, Transaction};
use sqlx::AssertSqlSafe;

use super::stage::*;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::{polled, polled_late_in_turns};

/// How somebody leaves a savepoint without waiting for its end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaves {
    RollsBack,
    Drops,
    Commits,
}

async fn insert(tx: &mut Transaction<'_, Db>, n: i32) -> Result<(), Error> {
    sqlx::query(INSERT).bind(n).execute(&mut **tx).await?;
    Ok(())
}

async fn rows(server: &Server) -> Result<Vec<i32>, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select n from {LEDGER_TABLE} order by n")))
        .fetch_all(&mut server.admin().await)
        .await?)
}

#[tokio::test]
async fn a_savepoints_end_that_was_dropped_late_in_a_turn_is_made_up_for() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for leaves in [Leaves::RollsBack, Leaves::Drops, Leaves::Commits] {
        let mut tx = conn.begin().await?;
        insert(&mut tx, 1).await?;
        let mut savepoint = tx.begin().await?;
        insert(&mut savepoint, 2).await?;
        match leaves {
            Leaves::RollsBack => drop(polled_late_in_turns(1, savepoint.rollback()).await),
            Leaves::Commits => drop(polled_late_in_turns(1, savepoint.commit()).await),
            Leaves::Drops => {
                drop(savepoint);
                let _ = polled_late_in_turns(1, sqlx::query("select 1").execute(&mut *tx)).await;
            }
        }
        let committed = tx.commit().await;
        let found = rows(&server).await?;
        // A savepoint's commit that nobody waited for may have happened or not.
        let may_have_both = leaves == Leaves::Commits;
        let is_true = match &committed {
            Ok(()) => found == [1] || may_have_both && found == [1, 2],
            Err(_) => found.is_empty(),
        };
        assert!(is_true, "{leaves:?}: {committed:?}, {found:?}");
        server.execute(&format!("delete from {LEDGER_TABLE}")).await;
    }
    Ok(())
}

/// PostgreSQL sends an error at once, and says later that it is ready: the driver sends nothing in between.
#[tokio::test]
async fn a_savepoints_end_that_was_dropped_before_the_server_was_ready_is_made_up_for() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = proxy_to(&server).port(way.port()).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    way.limp(Duration::from_millis(3));
    for leaves in [Leaves::RollsBack, Leaves::Drops] {
        for polls in 1..=4 {
            let mut tx = conn.begin().await?;
            insert(&mut tx, 1).await?;
            let mut savepoint = tx.begin().await?;
            insert(&mut savepoint, 2).await?;
            sqlx::query("select 1 from nothing").execute(&mut *savepoint).await.unwrap_err();
            if leaves == Leaves::Drops {
                drop(savepoint);
                let _ = polled(polls, sqlx::query("select 1").execute(&mut *tx)).await;
            } else {
                let _ = polled(polls, savepoint.rollback()).await;
            }
            let committed = tx.commit().await;
            let found = rows(&server).await?;
            let is_true = if committed.is_ok() { found == [1] } else { found.is_empty() };
            assert!(is_true, "{leaves:?}, {polls}: {committed:?}, {found:?}");
            server.execute(&format!("delete from {LEDGER_TABLE}")).await;
        }
    }
    Ok(())
}
