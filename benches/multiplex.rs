//! Many tasks on few connections: 64 tasks on 4, each a session that asks one thing after the other. Beside deadpool,
//! bb8, sqlx's pool, and 64 bare connections through a real PgBouncer in transaction mode with 4 connections to the
//! server; and with a `SET` in every session, which no session may be pinned by. The same on MariaDB, without a pooler.
//!
//! `cargo bench --features _internals,mysql --bench multiplex` prints a table for each engine. All take turns, in an order that rotates, so that
//! whatever else the machine does hits all alike: only what stands in one table can be compared. `--rounds N` and
//! `--tasks N` change what they say.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod field;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Instant;

use field::{Arena, CONNECTIONS, Field, Manager, median};
use futures_util::future::join_all;
use lambda_rds::{Connection, MySql, Postgres, Proxy};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Executor};
use support::mariadb::{MariaDb, MariaDbOptions};
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

/// Who takes part, and which of them first where there is no pooler.
const NAMES: [&str; 9] = [
    "lambda-rds",
    "deadpool",
    "bb8",
    "sqlx's pool",
    "lambda-rds, one SET",
    "lambda-rds, own SETs",
    "deadpool, SET a take",
    "PgBouncer",
    "lambda-rds, PgBouncer",
];
const WITHOUT_POOLER: usize = 7;

/// None shares a divisor with either number of contestants.
const STRIDES: [usize; 6] = [1, 5, 2, 10, 4, 8];

/// What takes part beside [`Field`].
struct Crowd<DB: Arena> {
    field: Field<DB>,
    tasks: usize,
    plain: Vec<Connection<DB>>,
    /// Sessions that have all set the same.
    alike: Vec<Connection<DB>>,
    /// Sessions that have each set something else.
    apart: Vec<Connection<DB>>,
    /// Each its own, so that one's settings are not on the other's connections.
    proxies: [Proxy<DB>; 2],
    pooled: Option<Pooled>,
}

/// Who goes through the pooler.
struct Pooled {
    bare: Vec<PgConnection>,
    /// Sessions of ours.
    behind: Vec<Connection<Postgres>>,
}

impl Pooled {
    async fn through(bouncer: &PgBouncer, tasks: usize) -> Self {
        let bare = join_all((0..tasks).map(|_| async { bouncer.options().connect().await.expect("connects") })).await;
        let proxy = bouncer.proxy().max_connections(tasks).build().expect("valid");
        Self { bare, behind: sessions(&proxy, tasks, |_| None).await }
    }
}

impl<DB: Arena> Crowd<DB> {
    async fn on(server: &DB::Server, pooled: Option<Pooled>, tasks: usize) -> Self {
        let field = Field::on(server).await;
        let proxy = || DB::proxy(server).max_connections(CONNECTIONS as usize).build().expect("valid");
        let proxies = [proxy(), proxy()];
        let plain = sessions(&field.ours, tasks, |_| None).await;
        let alike = sessions(&proxies[0], tasks, |_| Some(0)).await;
        let apart = sessions(&proxies[1], tasks, Some).await;
        Self { field, tasks, plain, alike, apart, proxies, pooled }
    }

    fn contestants(&self) -> usize {
        if self.pooled.is_some() { NAMES.len() } else { WITHOUT_POOLER }
    }

    async fn round(&mut self, contestant: usize) -> Round {
        let tasks = 0..self.tasks;
        match (contestant, &mut self.pooled) {
            (0, _) => in_sessions(&mut self.plain).await,
            (1, _) => {
                let pool = &self.field.deadpool;
                let ask = |pool: deadpool::managed::Pool<Manager<DB>>| async move {
                    asks!(DB::ask(pool.get().await.expect("lent").as_mut()).await)
                };
                Round::of(tasks.map(|_| ask(pool.clone()))).await
            }
            (2, _) => {
                let pool = &self.field.bb8;
                let ask = |pool: bb8::Pool<Manager<DB>>| async move {
                    asks!(DB::ask(&mut *pool.get().await.expect("lent")).await)
                };
                Round::of(tasks.map(|_| ask(pool.clone()))).await
            }
            (3, _) => {
                let pool = &self.field.sqlx;
                let ask = |pool: sqlx::Pool<DB>| async move { asks!(DB::ask_pool(&pool).await) };
                Round::of(tasks.map(|_| ask(pool.clone()))).await
            }
            (4, _) => in_sessions(&mut self.alike).await,
            (5, _) => in_sessions(&mut self.apart).await,
            (7, Some(pooled)) => through_pooler(&mut pooled.bare).await,
            (8, Some(pooled)) => in_sessions(&mut pooled.behind).await,
            _ => {
                let pool = &self.field.deadpool;
                let ask = |pool: deadpool::managed::Pool<Manager<DB>>, task| async move {
                    asks!({
                        let mut conn = pool.get().await.expect("lent");
                        DB::set(conn.as_mut(), DB::setting(task)).await;
                        DB::ask(conn.as_mut()).await
                    })
                };
                Round::of(tasks.map(|task| ask(pool.clone(), task))).await
            }
        }
    }

    fn pinned(&self) -> usize {
        [&self.field.ours, &self.proxies[0], &self.proxies[1]].map(|proxy| proxy.status().pinned).into_iter().sum()
    }
}

/// Sessions that have made the setting of the task that `of` says.
async fn sessions<DB: Arena>(
    proxy: &Proxy<DB>,
    count: usize,
    of: impl Fn(usize) -> Option<usize>,
) -> Vec<Connection<DB>> {
    let of = &of;
    join_all((0..count).map(|task| async move {
        let mut session = proxy.get_connection().await.expect("connects");
        if let Some(task) = of(task) {
            assert_eq!(DB::set_session(&mut session, DB::setting(task)).await, task.to_string());
        }
        DB::ask_session(&mut session).await;
        session
    }))
    .await
}

/// The sessions outlive the round: they move into its tasks and come back.
async fn in_sessions<DB: Arena>(sessions: &mut Vec<Connection<DB>>) -> Round {
    let (home, mut back) = tokio::sync::mpsc::unbounded_channel();
    let round = Round::of(std::mem::take(sessions).into_iter().map(|mut session| {
        let home = home.clone();
        async move {
            let waits = asks!(DB::ask_session(&mut session).await);
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

async fn measure<DB: Arena>(engine: &str, crowd: &mut Crowd<DB>, rounds: usize) {
    let contestants = crowd.contestants();
    let mut table: [Rounds; NAMES.len()] = Default::default();
    // The first round warms up.
    for round in 0..=rounds {
        // Who comes after whom changes too: what one leaves to the server's caches is not always for the same next.
        let stride = STRIDES[round % STRIDES.len()];
        for turn in 0..contestants {
            let contestant = (turn * stride + round) % contestants;
            let measured = crowd.round(contestant).await;
            if round > 0 {
                table[contestant].0.push(measured);
            }
        }
        assert_eq!(crowd.pinned(), 0, "a SET pins nobody");
    }

    println!(
        "\n{engine}: {} tasks on {CONNECTIONS} connections, medians of {rounds} rounds (p99/p50: lowest, median, highest)",
        crowd.tasks
    );
    println!("  {:<22} {:>10} {:>9} {:>9} {:>22} {:>8}", "", "queries/s", "p50 us", "p99 us", "p99/p50", "rate x");
    let ours = &table[0].0;
    for (name, rounds) in NAMES.iter().zip(&table).take(contestants) {
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

async fn on_postgres(tasks: usize, rounds: usize) {
    let server = Server::start(PostgresOptions { max_connections: 60, ..PostgresOptions::default() }).await;
    let pool_size = u16::try_from(CONNECTIONS).expect("few");
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size, ..PgBouncerOptions::default() }).await;
    let pooled = Pooled::through(&bouncer, tasks).await;
    measure("PostgreSQL", &mut Crowd::<Postgres>::on(&server, Some(pooled), tasks).await, rounds).await;
}

async fn on_mariadb(tasks: usize, rounds: usize) {
    let server = MariaDb::start(MariaDbOptions { max_connections: 60, ..MariaDbOptions::default() }).await;
    measure("MariaDB", &mut Crowd::<MySql>::on(&server, None, tasks).await, rounds).await;
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let (tasks, rounds) = (number("--tasks", 64), number("--rounds", 21));
    runtime.block_on(on_postgres(tasks, rounds));
    runtime.block_on(on_mariadb(tasks, rounds));
}
