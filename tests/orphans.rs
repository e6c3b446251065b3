//! What a killed or frozen environment leaves on the server: nothing, after the terms that the server was told.

use std::time::Duration;

use lambda_rds::{Error, Outcome};

use super::stage::*;
use crate::support::child::{self, Child};
use crate::support::until::until;

/// What the server is told in these tests. A real MySQL knows the first one only, and whole seconds.
const IDLE: Duration = Duration::from_secs(2);
const IN_TRANSACTION: Duration = Duration::from_secs(1);

const HERE: &str = concat!(module_path!(), "::an_environment_that_does_what_it_is_told");

/// The environment, in a process of its own: comes to the state that it is asked for, says so, and goes on when it is told to.
#[tokio::test]
async fn an_environment_that_does_what_it_is_told() -> Result<(), Error> {
    if !child::is_one() {
        return Ok(());
    }
    let proxy = lambda_rds::ProxyBuilder::<Db>::from_env()?
        .idle_timeout(IDLE)
        .idle_in_transaction_timeout(IN_TRANSACTION)
        .build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    match std::env::var("STATE").expect("said").as_str() {
        "idle" => {
            drop(conn);
            child::pause().await;
        }
        "transaction" => {
            let mut tx = conn.begin().await?;
            sqlx::query("update ledger set n = 1").execute(&mut *tx).await?;
            child::pause().await;
            let error = Error::from(sqlx::query("select 1").execute(&mut *tx).await.expect_err("it is over"));
            assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
            assert_eq!(tx.commit().await.expect_err("it is over").outcome(), Outcome::RolledBack);
        }
        "statement" => {
            let statement = sqlx::query(OUTLIVES).execute(&mut conn);
            tokio::select! {
                biased;
                done = statement => panic!("{done:?}"),
                () = child::pause() => {}
            }
        }
        state => panic!("{state}"),
    }
    let mut next = proxy.get_connection().await?;
    sqlx::query("update ledger set n = n + 10").execute(&mut next).await?;
    let n: i32 = sqlx::query_scalar("select n from ledger").fetch_one(&mut next).await?;
    assert_eq!(n, 110, "nothing of the transaction, and all of what came after it");
    Ok(())
}

async fn ledger() -> Server {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    server.execute(&format!("insert into {LEDGER_TABLE} values (0)")).await;
    server
}

async fn environment(server: &Server, state: &str) -> Child {
    let ca = String::from_utf8_lossy(server.ca_pem()).into_owned();
    let variables = [("LAMBDA_RDS_URL", server.url()), ("LAMBDA_RDS_CA_PEM", ca), ("STATE", state.to_owned())];
    let environment = child::start(HERE, &variables).await;
    if state == "statement" {
        until("the statement runs", async || running(server).await == 1).await;
    }
    environment
}

/// The row is nobody's: whoever comes next does not wait for what an orphan holds.
async fn is_free(server: &Server) {
    server.execute(&format!("update {LEDGER_TABLE} set n = n + 100")).await;
}

#[tokio::test]
async fn a_killed_environment_leaves_nothing_whatever_it_was_doing() {
    for state in ["idle", "transaction", "statement"] {
        let server = ledger().await;
        let environment = environment(&server, state).await;
        assert_eq!(server.sessions("app").await, 1, "{state}");
        environment.kill().await;
        // MySQL looks whether its client is there every five seconds of a sleep, which is as long as that helper waits.
        until(state, async || server.sessions("app").await == 0).await;
        is_free(&server).await;
    }
}

#[tokio::test]
async fn a_frozen_environment_keeps_no_lock_and_is_told_after_the_thaw() {
    let server = ledger().await;
    let mut environment = environment(&server, "transaction").await;
    environment.freeze();
    server.wait_until_sessions("app", 0).await;
    is_free(&server).await;
    environment.go_on().await;
    environment.succeeds().await;
}
