//! What a connection costs that is shared: a lease and its return, a warm query, a connect over TLS, beside the bare sqlx
//! connection, sqlx's pool, deadpool and bb8, in one run on one server. `multiplex` has many tasks on few connections.
//!
//! `cargo bench --features _internals,mysql --bench lease` prints criterion's report for each, and at the end the ratios that the
//! README states. The ratios come from rounds that take turns, so that whatever else the machine does hits all alike.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod field;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use field::{Arena, Field, median};
use lambda_rds::{MySql, Postgres};
use sqlx::Connection;
use support::mariadb::{MariaDb, MariaDbOptions};
use support::postgres::{Postgres as Server, PostgresOptions};
use tokio::runtime::Runtime;

fn lease(c: &mut Criterion, runtime: &Runtime, field: &Field<Postgres>) {
    let mut group = c.benchmark_group("lease and return");
    group.bench_function("lambda-rds", |b| {
        b.to_async(runtime).iter(|| async { field.ours.lease_and_return().await.expect("lent") });
    });
    group.bench_function("deadpool", |b| {
        b.to_async(runtime).iter(|| async { drop(black_box(field.deadpool.get().await.expect("lent"))) });
    });
    group.bench_function("bb8", |b| {
        b.to_async(runtime).iter(|| async { drop(black_box(field.bb8.get().await.expect("lent"))) });
    });
    group.bench_function("sqlx PgPool", |b| {
        b.to_async(runtime).iter(|| async { drop(black_box(field.sqlx.acquire().await.expect("lent"))) });
    });
    group.finish();
}

fn query(c: &mut Criterion, runtime: &Runtime, field: &Field<Postgres>, server: &Server) {
    let mut group = c.benchmark_group("warm query");
    let bare = runtime.block_on(connect_bare::<Postgres>(server));
    let bare = tokio::sync::Mutex::new(bare);
    group.bench_function("bare connection", |b| {
        b.to_async(runtime).iter(|| async { Postgres::ask(&mut *bare.lock().await).await });
    });
    let session = runtime.block_on(field.ours.get_connection()).expect("connects");
    let session = tokio::sync::Mutex::new(session);
    group.bench_function("lambda-rds", |b| {
        b.to_async(runtime).iter(|| async { Postgres::ask_session(&mut *session.lock().await).await });
    });
    group.bench_function("deadpool", |b| {
        b.to_async(runtime).iter(|| async { Postgres::ask(field.deadpool.get().await.expect("lent").as_mut()).await });
    });
    group.bench_function("bb8", |b| {
        b.to_async(runtime).iter(|| async { Postgres::ask(&mut *field.bb8.get().await.expect("lent")).await });
    });
    group.bench_function("sqlx PgPool", |b| {
        b.to_async(runtime).iter(|| async { Postgres::ask_pool(&field.sqlx).await });
    });
    group.finish();
}

fn connect(c: &mut Criterion, runtime: &Runtime, server: &Server) {
    let mut group = c.benchmark_group("TLS connect");
    group.sample_size(10);
    group.bench_with_input(BenchmarkId::from_parameter("lambda-rds"), server, |b, server| {
        b.to_async(runtime).iter(|| connect_ours::<Postgres>(server));
    });
    group.bench_with_input(BenchmarkId::from_parameter("sqlx as it comes"), server, |b, server| {
        b.to_async(runtime).iter(|| connect_sqlx::<Postgres>(server));
    });
    group.finish();
}

async fn connect_ours<DB: Arena>(server: &DB::Server) {
    let proxy = DB::proxy(server).build().expect("valid");
    drop(proxy.get_connection().await.expect("connects"));
    proxy.close().await;
}

async fn connect_sqlx<DB: Arena>(server: &DB::Server) {
    connect_bare::<DB>(server).await.close().await.expect("closes");
}

async fn connect_bare<DB: Arena>(server: &DB::Server) -> DB::Connection {
    DB::Connection::connect_with(&DB::options(server)).await.expect("connects")
}

/// The median of each contestant, in nanoseconds, over rounds that take turns.
struct Turns {
    names: Vec<&'static str>,
    rounds: Vec<Vec<f64>>,
}

impl Turns {
    fn of(names: &[&'static str]) -> Self {
        Self { names: names.to_vec(), rounds: vec![Vec::new(); names.len()] }
    }

    fn note(&mut self, contestant: usize, elapsed: Duration, times: u32) {
        self.rounds[contestant].push(elapsed.as_secs_f64() * 1e9 / f64::from(times));
    }

    fn print(&mut self, title: &str, unit: &str, scale: f64) {
        println!("\n{title}");
        let medians: Vec<f64> = self.rounds.iter_mut().map(|rounds| median(rounds)).collect();
        for (name, median) in self.names.iter().zip(&medians) {
            println!("  {name:<18} {:>10.1} {unit}   {:>6.2} x", median / scale, median / medians[1]);
        }
        println!("  => lambda-rds is {:.3} x {}", medians[0] / medians[1], self.names[1]);
    }
}

macro_rules! timed {
    ($turns:ident, $contestant:expr, $times:expr, $body:expr) => {{
        let started = Instant::now();
        for _ in 0..$times {
            black_box($body);
        }
        $turns.note($contestant, started.elapsed(), $times);
    }};
}

/// The pool's own part, which knows nothing of engines.
async fn ratios_of_leases(field: &Field<Postgres>) {
    let mut turns = Turns::of(&["lambda-rds", "deadpool", "bb8", "sqlx PgPool"]);
    for _ in 0..101 {
        timed!(turns, 0, 1000, field.ours.lease_and_return().await.expect("lent"));
        timed!(turns, 1, 1000, drop(field.deadpool.get().await.expect("lent")));
        timed!(turns, 2, 1000, drop(field.bb8.get().await.expect("lent")));
        timed!(turns, 3, 10, drop(field.sqlx.acquire().await.expect("lent")));
    }
    turns.print("lease and return, uncontended", "ns", 1.0);
}

async fn ratios<DB: Arena>(engine: &str, field: &Field<DB>, server: &DB::Server) {
    let mut bare = connect_bare::<DB>(server).await;
    let mut session = field.ours.get_connection().await.expect("connects");
    let mut turns = Turns::of(&["lambda-rds", "bare connection", "deadpool", "bb8", "sqlx's pool"]);
    for _ in 0..151 {
        timed!(turns, 0, 100, DB::ask_session(&mut session).await);
        timed!(turns, 1, 100, DB::ask(&mut bare).await);
        timed!(turns, 2, 100, DB::ask(field.deadpool.get().await.expect("lent").as_mut()).await);
        timed!(turns, 3, 100, DB::ask(&mut *field.bb8.get().await.expect("lent")).await);
        timed!(turns, 4, 100, DB::ask_pool(&field.sqlx).await);
    }
    turns.print(&format!("warm query on {engine}"), "us", 1e3);

    let mut turns = Turns::of(&["lambda-rds", "sqlx as it comes"]);
    for _ in 0..21 {
        timed!(turns, 0, 1, connect_ours::<DB>(server).await);
        timed!(turns, 1, 1, connect_sqlx::<DB>(server).await);
    }
    turns.print(&format!("TLS connect on {engine}, verify-full"), "ms", 1e6);
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(PostgresOptions { max_connections: 60, ..PostgresOptions::default() }));
    let field = runtime.block_on(Field::on(&server));

    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    lease(&mut criterion, &runtime, &field);
    query(&mut criterion, &runtime, &field, &server);
    connect(&mut criterion, &runtime, &server);
    criterion.final_summary();

    runtime.block_on(async {
        ratios_of_leases(&field).await;
        ratios("PostgreSQL", &field, &server).await;
        let options = MariaDbOptions { max_connections: 60, ..MariaDbOptions::default() };
        let server = MariaDb::start(options).await;
        ratios("MariaDB", &Field::<MySql>::on(&server).await, &server).await;
    });
}
