//! Many tasks on few connections: 64 tasks on 4, each a session that asks one thing after the other. Beside deadpool,
//! bb8, sqlx's pool, and 64 bare connections through a real PgBouncer in transaction mode with 4 connections to the
//! server; and with a `SET` in every session, which no session may be pinned by.
//!
//! `cargo bench --features _bench --bench multiplex` prints one table. All take turns, in an order that rotates, so that
//! whatever else the machine does hits all alike: only what stands in one table can be compared. `--rounds N` and
//! `--tasks N` change what they say.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod field;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Instant;

use field::{CONNECTIONS, Field, median, select};
use futures_util::future::join_all;
use lambda_rds::{Connection, PgProxy, Postgres};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use support::pgbouncer::{PgBouncer, PgBouncerOptions};
use support::postgres::{Postgres as Server, PostgresOptions};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// What each task asks in a round.
const QUERIES: u32 = 200;

/// One task's part: asks `$body` again and again, and notes how long each answer took, in microseconds.
macro_rules! asks {
    ($body:expr) => {{
        let mut waits = Vec::with_capacity(QUERIES as usize);
        for _ in 0..QUERIES {
            let asked = Instant::now();
            black_box($body);
            waits.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        waits
    }};
}

/// A round of one contestant.
struct Round {
    rate: f64,
    half: f64,
    most: f64,
}

impl Round {
    async fn of(tasks: impl Iterator<Item = impl Future<Output = Vec<f64>> + Send + 'static>) -> Self {
        let started = Instant::now();
        let mut crowd = JoinSet::new();
        for task in tasks {
            crowd.spawn(task);
        }
        let mut waits = crowd.join_all().await.concat();
        let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
        let half = median(&mut waits);
        Self { rate, half, most: waits[waits.len() * 99 / 100] }
    }
}

/// A contestant's rounds.
#[derive(Default)]
struct Rounds(Vec<Round>);

impl Rounds {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(&mut self.0.iter().map(of).collect::<Vec<_>>())
    }

    /// The lowest, the middle and the highest.
    fn spread(&self, of: impl Fn(&Round) -> f64) -> [f64; 3] {
        let mut values: Vec<_> = self.0.iter().map(of).collect();
        let middle = median(&mut values);
        [values[0], middle, values[values.len() - 1]]
    }
}

const NAMES: [&str; 9] = [
    "lambda-rds",
    "deadpool",
    "bb8",
    "sqlx PgPool",
    "PgBouncer",
    "lambda-rds, one SET",
    "lambda-rds, own SETs",
    "deadpool, SET a take",
    "lambda-rds, PgBouncer",
];

/// None shares a divisor with the number of contestants.
const STRIDES: [usize; 6] = [1, 5, 2, 7, 4, 8];

/// What takes part beside [`Field`].
struct Crowd {
    field: Field,
    tasks: usize,
    plain: Vec<Connection<Postgres>>,
    /// Sessions that have all set the same.
    alike: Vec<Connection<Postgres>>,
    /// Sessions that have each set something else.
    apart: Vec<Connection<Postgres>>,
    pooled: Vec<PgConnection>,
    /// Sessions of ours behind the same pooler.
    behind: Vec<Connection<Postgres>>,
    /// Each its own, so that one's settings are not on the other's connections.
    proxies: [PgProxy; 2],
}

impl Crowd {
    async fn on(server: &Server, bouncer: &PgBouncer, tasks: usize) -> Self {
        let field = Field::on(server).await;
        let proxy = || support::proxy_to(server).max_connections(CONNECTIONS as usize).build().expect("valid");
        let proxies = [proxy(), proxy()];
        let plain = sessions(&field.ours, tasks, |_| None).await;
        let alike = sessions(&proxies[0], tasks, |_| Some("tenant".to_owned())).await;
        let apart = sessions(&proxies[1], tasks, |task| Some(format!("tenant {task}"))).await;
        let pooled = join_all((0..tasks).map(|_| async { bouncer.options().connect().await.expect("connects") })).await;
        let proxy = bouncer.proxy().max_connections(tasks).build().expect("valid");
        let behind = sessions(&proxy, tasks, |_| None).await;
        Self { field, tasks, plain, alike, apart, pooled, behind, proxies }
    }

    async fn round(&mut self, contestant: usize) -> Round {
        let tasks = 0..self.tasks;
        match contestant {
            0 => in_sessions(&mut self.plain).await,
            1 => {
                let pool = &self.field.deadpool;
                Round::of(
                    tasks
                        .map(|_| pool.clone())
                        .map(|pool| async move { asks!(select(&mut *pool.get().await.expect("lent").as_mut()).await) }),
                )
                .await
            }
            2 => {
                let pool = &self.field.bb8;
                Round::of(
                    tasks
                        .map(|_| pool.clone())
                        .map(|pool| async move { asks!(select(&mut *pool.get().await.expect("lent")).await) }),
                )
                .await
            }
            3 => {
                let pool = &self.field.sqlx;
                Round::of(tasks.map(|_| pool.clone()).map(|pool| async move { asks!(select(&pool).await) })).await
            }
            4 => through_pooler(&mut self.pooled).await,
            5 => in_sessions(&mut self.alike).await,
            6 => in_sessions(&mut self.apart).await,
            8 => in_sessions(&mut self.behind).await,
            _ => {
                let pool = &self.field.deadpool;
                Round::of(tasks.map(|task| (pool.clone(), task)).map(|(pool, task)| async move {
                    let set = format!("set app.tenant = 'tenant {task}'");
                    asks!({
                        let mut conn = pool.get().await.expect("lent");
                        let set = sqlx::raw_sql(AssertSqlSafe(set.clone()));
                        set.execute(&mut *conn).await.expect("answers");
                        select(&mut *conn).await
                    })
                }))
                .await
            }
        }
    }

    fn pinned(&self) -> usize {
        [&self.field.ours, &self.proxies[0], &self.proxies[1]].map(|proxy| proxy.status().pinned).into_iter().sum()
    }
}

/// Sessions that have set `app.tenant` to what `value` says.
async fn sessions(proxy: &PgProxy, count: usize, value: impl Fn(usize) -> Option<String>) -> Vec<Connection<Postgres>> {
    let value = &value;
    join_all((0..count).map(|task| async move {
        let mut session = proxy.get_connection().await.expect("connects");
        if let Some(value) = value(task) {
            let set = AssertSqlSafe(format!("set app.tenant = '{value}'"));
            sqlx::query(set).execute(&mut session).await.expect("answers");
            let tenant = "select current_setting('app.tenant')";
            let seen: String = sqlx::query_scalar(tenant).fetch_one(&mut session).await.expect("answers");
            assert_eq!(seen, value);
        }
        select(&mut session).await;
        session
    }))
    .await
}

/// The sessions outlive the round: they move into its tasks and come back.
async fn in_sessions(sessions: &mut Vec<Connection<Postgres>>) -> Round {
    let (home, mut back) = tokio::sync::mpsc::unbounded_channel();
    let round = Round::of(std::mem::take(sessions).into_iter().map(|mut session| {
        let home = home.clone();
        async move {
            let waits = asks!(select(&mut session).await);
            let _ = home.send(session);
            waits
        }
    }))
    .await;
    drop(home);
    while let Some(session) = back.recv().await {
        sessions.push(session);
    }
    round
}

/// As [`in_sessions`], on the simple protocol, which suits a pooler best: the driver prepares a statement and executes it
/// in two exchanges, and without a transaction the second may reach another connection of the server.
async fn through_pooler(connections: &mut Vec<PgConnection>) -> Round {
    let (home, mut back) = tokio::sync::mpsc::unbounded_channel();
    let round = Round::of(std::mem::take(connections).into_iter().map(|mut conn| {
        let home = home.clone();
        async move {
            let waits = asks!(conn.fetch_one(sqlx::raw_sql("select 1::int")).await.expect("answers"));
            let _ = home.send(conn);
            waits
        }
    }))
    .await;
    drop(home);
    while let Some(conn) = back.recv().await {
        connections.push(conn);
    }
    round
}

/// The number behind a flag of the command line.
fn number(flag: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.nth(1).map_or(default, |number| number.parse().expect("a number"))
}

async fn measure(tasks: usize, rounds: usize) {
    let server = Server::start(PostgresOptions { max_connections: 60, ..PostgresOptions::default() }).await;
    let bouncer = PgBouncer::start(
        &server,
        PgBouncerOptions { pool_size: u16::try_from(CONNECTIONS).expect("few"), ..PgBouncerOptions::default() },
    )
    .await;
    let mut crowd = Crowd::on(&server, &bouncer, tasks).await;
    let mut table: [Rounds; NAMES.len()] = Default::default();
    // The first round warms up.
    for round in 0..=rounds {
        // Who comes after whom changes too: what one leaves to the server's caches is not always for the same next.
        let stride = STRIDES[round % STRIDES.len()];
        for turn in 0..NAMES.len() {
            let contestant = (turn * stride + round) % NAMES.len();
            let measured = crowd.round(contestant).await;
            if round > 0 {
                table[contestant].0.push(measured);
            }
        }
        assert_eq!(crowd.pinned(), 0, "a SET pins nobody");
    }

    println!(
        "\n{tasks} tasks on {CONNECTIONS} connections, medians of {rounds} rounds (p99/p50: lowest, median, highest)"
    );
    println!("  {:<22} {:>10} {:>9} {:>9} {:>22} {:>8}", "", "queries/s", "p50 us", "p99 us", "p99/p50", "rate x");
    let ours = &table[0].0;
    for (name, rounds) in NAMES.iter().zip(&table) {
        let rate = rounds.median(|round| round.rate);
        let (half, most) = (rounds.median(|round| round.half), rounds.median(|round| round.most));
        let [low, middle, high] = rounds.spread(|round| round.most / round.half);
        println!(
            "  {name:<22} {rate:>10.0} {half:>9.0} {most:>9.0} {low:>8.2} {middle:>6.2} {high:>6.2} {:>8.2}",
            // Within each round, which all run in the same minute.
            median(&mut rounds.0.iter().zip(ours).map(|(theirs, ours)| theirs.rate / ours.rate).collect::<Vec<_>>())
        );
    }
    println!("  no session was pinned");
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(measure(number("--tasks", 64), number("--rounds", 21)));
}
