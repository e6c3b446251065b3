//! Random programs of several sessions at a time on two shared connections, and each alone on a connection of its own:
//! every visible result must be equal.
//!
//! `MODEL_PROGRAMS=10000 cargo test --all-features --test behaviour model` runs more of them than the default.

use std::fmt::Write;

use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use lambda_rds::{Connection, Error, Postgres};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

const PROGRAMS: u64 = 300;
const CONNECTIONS: usize = 2;

/// A step of a session's program.
#[derive(Debug, Clone)]
enum Step {
    /// A statement that may fail.
    Run(String),
    /// A transaction, or a savepoint inside one, and how it ends.
    Nested(Vec<Self>, End),
    /// What the session sees.
    Look,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    Rollback,
    /// The guard is dropped.
    Drop,
}

/// What a session sees of itself. A custom setting that was never made may read as nothing or as empty.
const LOOK: &str = "select concat_ws(' ', current_user, current_setting('work_mem'), current_setting('lock_timeout'), \
                    current_setting('search_path'), current_setting('TimeZone'), \
                    coalesce(current_setting('app.tenant', true), ''), to_regclass('mine')::text)";

fn program(rng: &mut fastrand::Rng, depth: usize) -> Vec<Step> {
    (0..rng.usize(1..6)).map(|_| step(rng, depth)).collect()
}

fn step(rng: &mut fastrand::Rng, depth: usize) -> Step {
    match rng.usize(..20) {
        0..6 => Step::Look,
        6..10 if depth < 3 => {
            let end = [End::Commit, End::Commit, End::Rollback, End::Drop][rng.usize(..4)];
            Step::Nested(program(rng, depth + 1), end)
        }
        _ => Step::Run(statement(rng)),
    }
}

fn statement(rng: &mut fastrand::Rng) -> String {
    let n = rng.usize(1..9);
    match rng.usize(..22) {
        0..4 => format!("set work_mem = '{n}MB'"),
        4..6 => format!("set session lock_timeout to {n}000"),
        6 => format!("select set_config('app.tenant', '{n}', false)"),
        7 => format!("select set_config('lock_timeout', '{n}s', true)"),
        8 => format!("set local work_mem = '{n}MB'"),
        9 => "reset work_mem".to_owned(),
        10 => "reset all".to_owned(),
        11 => "set lock_timeout to default".to_owned(),
        12 => "set role clerk".to_owned(),
        13 => "reset role".to_owned(),
        14 => format!("set time zone {n}"),
        15 => "set search_path = pg_catalog, public".to_owned(),
        16 => "set work_mem = 'much'".to_owned(),
        17 => "select 1 / 0".to_owned(),
        18 if n == 1 => "create temp table mine (n int)".to_owned(),
        19 => "set role nobody_of_that_name".to_owned(),
        _ => "select 1".to_owned(),
    }
}

/// One statement's visible result: the rows' text, or the error's code.
fn seen(result: Result<Option<String>, sqlx::Error>) -> String {
    match result {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            error.as_database_error().and_then(|error| error.code()).map_or_else(|| error.to_string(), Into::into)
        }
    }
}

/// The program through this crate.
fn shared<'a>(conn: &'a mut Connection<Postgres>, steps: &'a [Step], log: &'a mut String) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        for step in steps {
            match step {
                Step::Look => {
                    let text = sqlx::query_scalar(LOOK).fetch_one(&mut *conn).await;
                    writeln!(log, "look {}", seen(text)).unwrap();
                }
                Step::Run(sql) => {
                    let result = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut *conn).await;
                    writeln!(log, "{sql}: {}", seen(result.map(|_| None))).unwrap();
                }
                Step::Nested(steps, end) => {
                    // In an aborted transaction there is no savepoint to be had.
                    let Ok(mut transaction) = conn.begin().await else {
                        writeln!(log, "no savepoint").unwrap();
                        continue;
                    };
                    shared(&mut transaction, steps, log).await;
                    let ended = match end {
                        End::Commit => transaction.commit().await,
                        End::Rollback => transaction.rollback().await,
                        End::Drop => {
                            drop(transaction);
                            Ok(())
                        }
                    };
                    let kept = match ended {
                        Ok(()) if matches!(end, End::Commit) => "kept",
                        Ok(()) | Err(Error::TransactionAborted { .. }) => "taken back",
                        Err(error) => panic!("{error}: {log}"),
                    };
                    writeln!(log, "{kept}").unwrap();
                }
            }
        }
    })
}

/// The same on a connection of its own, with the texts that the guards stand for. Returns whether the last error has
/// aborted the transaction that `steps` run in.
fn alone<'a>(conn: &'a mut PgConnection, steps: &'a [Step], depth: usize, log: &'a mut String) -> BoxFuture<'a, bool> {
    Box::pin(async move {
        let mut aborted = false;
        for step in steps {
            match step {
                Step::Look => {
                    let text = sqlx::query_scalar(LOOK).fetch_one(&mut *conn).await;
                    aborted |= text.is_err();
                    writeln!(log, "look {}", seen(text)).unwrap();
                }
                Step::Run(sql) => {
                    let result = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut *conn).await;
                    aborted |= result.is_err();
                    writeln!(log, "{sql}: {}", seen(result.map(|_| None))).unwrap();
                }
                Step::Nested(steps, end) => {
                    let begin = if depth == 0 { "begin".to_owned() } else { format!("savepoint s{depth}") };
                    if sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *conn).await.is_err() {
                        writeln!(log, "no savepoint").unwrap();
                        continue;
                    }
                    let inner_aborted = alone(conn, steps, depth + 1, log).await;
                    let keep = matches!(end, End::Commit) && !inner_aborted;
                    let text = match (depth, keep) {
                        (0, true) => "commit".to_owned(),
                        (0, false) => "rollback".to_owned(),
                        (depth, true) => format!("release savepoint s{depth}"),
                        (depth, false) => format!("rollback to savepoint s{depth}; release savepoint s{depth}"),
                    };
                    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *conn).await.expect("the end of a transaction");
                    writeln!(log, "{}", if keep { "kept" } else { "taken back" }).unwrap();
                }
            }
        }
        aborted && depth > 0
    })
}

#[tokio::test]
async fn sessions_that_share_connections_see_what_they_would_see_alone() {
    let programs = std::env::var("MODEL_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(PROGRAMS);
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role clerk; grant clerk to app").await;
    let mut own = PgConnection::connect(&format!("{}?sslmode=require", server.url())).await.expect("connects");
    let proxy = proxy_to(&server).max_connections(CONNECTIONS).build().expect("valid");
    for seed in 0..programs {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sessions: Vec<_> = (0..rng.usize(2..8)).map(|_| program(&mut rng, 0)).collect();
        let together = join_all(sessions.iter().map(async |steps| {
            let mut log = String::new();
            let mut conn = proxy.get_connection().await.expect("connects");
            shared(&mut conn, steps, &mut log).await;
            log
        }))
        .await;
        for (steps, together) in sessions.iter().zip(together) {
            let mut log = String::new();
            alone(&mut own, steps, 0, &mut log).await;
            // As good as a new connection, and a hundred times faster than one with sqlx 0.9.0.
            own.clear_cached_statements().await.expect("forgets");
            sqlx::raw_sql("discard all").execute(&mut own).await.expect("is as good as new");
            assert_eq!(together, log, "seed {seed}: {steps:#?}");
        }
        assert_eq!(proxy.status().leased, 0, "seed {seed}");
    }
}
