//! Many things at a time in one environment: sessions under one `join!`, and the runtime's concurrent invocations.
//! Every answer is right, the server sees no more connections than allowed, and everybody gets a turn.

use std::sync::Mutex;

use futures_util::future::join_all;
use lambda_rds::{Connection, Error, PgProxy, Postgres};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::lambda::{Environment, FunctionSpec, example};
use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

const TASKS: usize = 64;
const CONNECTIONS: usize = 4;

/// A server that counts logins, with the table of the examples.
async fn counting_server() -> Server {
    let settings = vec![("log_connections", "on".to_owned())];
    let server = Server::start(PostgresOptions { settings, ..PostgresOptions::default() }).await;
    server
        .execute(
            "create table orders (id bigint generated always as identity primary key, item text not null); \
             grant all on orders to app",
        )
        .await;
    server
}

/// All logins there ever were: as none is repeated, also the most connections at a time.
fn logins(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains("connection authorized: user=app")).count()
}

/// By how many turns the first was ahead of the last, at worst. `turns` has the number of whoever had one.
fn worst_lead(turns: &[usize], rounds: usize) -> usize {
    let mut had = [0; TASKS];
    let mut lead = 0;
    for &task in turns {
        had[task] += 1;
        let least = had.iter().copied().min().unwrap_or_default();
        lead = lead.max(had[task] - least);
    }
    assert!(had.iter().all(|had| *had == rounds), "{had:?}");
    lead
}

async fn tenant(conn: &mut Connection<Postgres>) -> Result<String, Error> {
    Ok(sqlx::query_scalar("select current_setting('app.tenant', true)").fetch_one(conn).await?)
}

/// A session that sets, asks, writes in a transaction, and asks again.
async fn visit(proxy: &PgProxy, name: &str) -> Result<(String, i64, String), Error> {
    let mut conn = proxy.get_connection().await?;
    sqlx::query(AssertSqlSafe(format!("set app.tenant = '{name}'"))).execute(&mut conn).await?;
    let before = tenant(&mut conn).await?;
    let mut tx = conn.begin().await?;
    let text = "insert into orders (item) values (current_setting('app.tenant'))";
    sqlx::query(text).execute(&mut *tx).await?;
    let count =
        sqlx::query_scalar("select count(*) from orders where item = $1").bind(name).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok((before, count, tenant(&mut conn).await?))
}

#[tokio::test]
async fn sessions_joined_in_a_handler_share_what_there_is() -> Result<(), Error> {
    let server = counting_server().await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    for round in 1..=5 {
        let (a, b, c, d, e) = tokio::join!(
            visit(&proxy, "a"),
            visit(&proxy, "b"),
            visit(&proxy, "c"),
            visit(&proxy, "d"),
            visit(&proxy, "e"),
        );
        for (name, seen) in [("a", a?), ("b", b?), ("c", c?), ("d", d?), ("e", e?)] {
            assert_eq!(seen, (name.to_owned(), round, name.to_owned()));
        }
    }
    // Held by one future of a join, and wanted by another that only goes on when the first does.
    let (mut one, mut other) = tokio::try_join!(proxy.get_connection(), proxy.get_connection())?;
    let (mut first, mut second) = tokio::try_join!(one.begin(), other.begin())?;
    let text = "select pg_backend_pid()";
    let (a, b): (i32, i32) = tokio::try_join!(
        sqlx::query_scalar(text).fetch_one(&mut *first),
        sqlx::query_scalar(text).fetch_one(&mut *second),
    )?;
    assert_ne!(a, b, "a transaction has a connection to itself");
    tokio::try_join!(first.commit(), second.rollback())?;
    assert_eq!((logins(&server), proxy.status().leased, proxy.status().pinned), (2, 0, 0));
    Ok(())
}

/// The queue is a queue: nobody is served a second time while another still waits for the first.
async fn take_turns(proxy: PgProxy) -> Result<(), Error> {
    const ROUNDS: usize = 10;
    let turns = std::sync::Arc::new(Mutex::new(Vec::new()));
    let tasks = (0..TASKS).map(|task| {
        let (proxy, turns) = (proxy.clone(), turns.clone());
        tokio::spawn(async move {
            let mut conn = proxy.get_connection().await?;
            sqlx::query(AssertSqlSafe(format!("set app.tenant = '{task}'"))).execute(&mut conn).await?;
            for _ in 0..ROUNDS {
                let seen: String = sqlx::query_scalar("select current_setting('app.tenant') from pg_sleep(0.001)")
                    .fetch_one(&mut conn)
                    .await?;
                assert_eq!(seen, task.to_string());
                turns.lock().unwrap().push(task);
            }
            Ok::<_, Error>(())
        })
    });
    for ended in join_all(tasks).await {
        ended.expect("no panic")?;
    }
    let turns = std::mem::take(&mut *turns.lock().unwrap());
    let lead = worst_lead(&turns, ROUNDS);
    assert!(lead <= ROUNDS / 2, "somebody was {lead} of {ROUNDS} turns ahead: {turns:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_starves_among_many_tasks_on_one_thread() -> Result<(), Error> {
    let server = counting_server().await;
    take_turns(proxy_to(&server).max_connections(CONNECTIONS).build()?).await?;
    assert!(logins(&server) <= CONNECTIONS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_starves_among_many_tasks_on_four_threads() -> Result<(), Error> {
    let server = counting_server().await;
    take_turns(proxy_to(&server).max_connections(CONNECTIONS).build()?).await?;
    assert!(logins(&server) <= CONNECTIONS);
    Ok(())
}

/// The runtime itself, in a process of its own: `run_concurrent` with as many invocations in flight as it takes.
#[tokio::test]
async fn an_environment_of_many_invocations_serves_them_over_few_connections() {
    const ROUNDS: usize = 8;
    let server = counting_server().await;
    let mut function = FunctionSpec::new(example("managed_instances"));
    function.concurrency = Some(TASKS);
    // A loaded machine is slow, and what is asked here is not how fast.
    function.timeout = std::time::Duration::from_secs(60);
    function.env = [
        ("LAMBDA_RDS_URL", server.url()),
        ("LAMBDA_RDS_CA_PEM", String::from_utf8_lossy(server.ca_pem()).into_owned()),
        ("LAMBDA_RDS_MAX_CONNECTIONS", CONNECTIONS.to_string()),
        ("LAMBDA_RDS_BORROW_TIMEOUT", "30s".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let environment = Environment::start(function).await;
    environment.ready().await.expect("init");
    let turns = Mutex::new(Vec::new());
    join_all((0..TASKS).map(async |caller| {
        for round in 0..ROUNDS {
            let item = format!("{caller}.{round}");
            let receipt = environment.invoke(json!({"item": item})).await.result.expect("served");
            assert_eq!((&receipt["item"], &receipt["tenant"]), (&Value::from(item.clone()), &Value::from(item)));
            turns.lock().unwrap().push(caller);
        }
    }))
    .await;
    let lead = worst_lead(&turns.lock().unwrap(), ROUNDS);
    assert!(lead <= ROUNDS / 2, "somebody was {lead} of {ROUNDS} turns ahead");
    assert!(logins(&server) <= CONNECTIONS, "{} logins", logins(&server));
    let mut admin = server.admin().await;
    let (orders, items): (i64, i64) = sqlx::query_as("select count(*), count(distinct item) from orders")
        .fetch_one(&mut admin)
        .await
        .expect("an answer");
    let all = i64::try_from(TASKS * ROUNDS).unwrap();
    assert_eq!((orders, items), (all, all), "each order once");
}
