//! The demo: `examples/quickstart.rs`, unmodified, on a local stage. `sh examples/demo.sh` builds and runs it.
//!
//! A cold start, a stream of warm invocations that write and read, freezes during which the server closes the idle
//! connection, and a password rotation under load. At the end the table is read back: every write that was acknowledged
//! must be there, once. The last line is JSON; the exit status is 0 only if nothing was lost, duplicated or failed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use support::aws::Aws;
use support::lambda::{Environment, FunctionSpec, example};
use support::postgres::{APP_PASSWORD, Postgres, PostgresOptions};

const SECRET: &str = "demo/orders";
const DEFAULT_SECONDS: u64 = 20;
/// What an environment may take between two invocations before it is frozen, and how long the freeze lasts.
const FREEZE: Duration = Duration::from_millis(300);

/// What the demo counts.
#[derive(Default)]
struct Tally {
    invocations: usize,
    failures: Vec<String>,
    acknowledged: Vec<String>,
    cold_start: Duration,
    warm: Vec<Duration>,
    thaw: Vec<Duration>,
}

/// Everything the function needs around it.
struct Stage {
    server: Postgres,
    aws: Aws,
    environment: Environment,
    started: Instant,
}

impl Stage {
    async fn set() -> Self {
        let log_connections = vec![("log_connections", "on".to_owned())];
        let server = Postgres::start(PostgresOptions { settings: log_connections, ..PostgresOptions::default() }).await;
        server
            .execute(
                "create table orders (id bigint generated always as identity primary key, item text not null); \
                 grant all on orders to app",
            )
            .await;
        let aws = Aws::start().await;
        aws.secret(SECRET).put(secret(&server, APP_PASSWORD));

        let mut function = FunctionSpec::new(example("quickstart"));
        function.env = aws.environment();
        function.env.push(("LAMBDA_RDS_SECRET".to_owned(), SECRET.to_owned()));
        let ca = String::from_utf8_lossy(server.ca_pem()).into_owned();
        function.env.push(("LAMBDA_RDS_CA_PEM".to_owned(), ca));
        let started = Instant::now();
        let environment = Environment::start(function).await;
        Self { server, aws, environment, started }
    }

    /// One invocation, with an item that no other has.
    async fn invoke(&self, tally: &mut Tally) -> Duration {
        let item = format!("item-{}", tally.invocations);
        tally.invocations += 1;
        let invocation = self.environment.invoke(json!({ "item": item })).await;
        match invocation.result {
            Ok(receipt) if receipt["item"] == Value::String(item.clone()) => tally.acknowledged.push(item),
            Ok(receipt) => tally.failures.push(format!("{item}: read back {receipt}")),
            Err(error) => tally.failures.push(format!("{item}: {error:?}")),
        }
        invocation.latency
    }

    async fn cold_start(&self, tally: &mut Tally) {
        if let Err(error) = self.environment.ready().await {
            tally.failures.push(format!("init: {error:?}"));
        }
        self.invoke(tally).await;
        tally.cold_start = self.started.elapsed();
    }

    async fn warm(&self, tally: &mut Tally, bar: &ProgressBar, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            let latency = self.invoke(tally).await;
            tally.warm.push(latency);
            bar.set_position(u64::try_from(bar.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// The server closes the idle connection while the function is frozen.
    async fn freeze(&self, tally: &mut Tally) {
        self.environment.freeze().await;
        self.server.terminate_sessions("app").await;
        tokio::time::sleep(FREEZE).await;
        self.environment.thaw();
        let latency = self.invoke(tally).await;
        tally.thaw.push(latency);
    }

    /// A rotation as Secrets Manager does it, with a new login in each of its steps.
    async fn rotate(&self, tally: &mut Tally, bar: &ProgressBar, step: Duration) {
        let next = "demo-secret-2";
        self.aws.secret(SECRET).stage_pending(secret(&self.server, next));
        self.server.set_password("app", next).await;
        // AWSCURRENT is wrong now and AWSPENDING right.
        self.freeze(tally).await;
        self.warm(tally, bar, step).await;
        self.aws.secret(SECRET).promote_pending();
        self.freeze(tally).await;
    }
}

fn secret(server: &Postgres, password: &str) -> Value {
    json!({
        "engine": "postgres", "host": server.host(), "port": server.port(), "dbname": "app",
        "username": "app", "password": password,
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = match seconds() {
        Ok(seconds) => seconds,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let span = Duration::from_secs(seconds);
    println!("Setting the stage: PostgreSQL with TLS, Secrets Manager, one Lambda environment.");
    let stage = Stage::set().await;
    let mut tally = Tally::default();
    let bar = ProgressBar::new(seconds * 1000);
    if let Ok(style) = ProgressStyle::with_template("{msg:<34} [{bar:40}] {percent:>3} %") {
        bar.set_style(style);
    }

    bar.set_message("cold start");
    stage.cold_start(&mut tally).await;
    bar.set_message("warm invocations");
    stage.warm(&mut tally, &bar, span / 2).await;
    bar.set_message("freeze, server hangs up, thaw");
    stage.freeze(&mut tally).await;
    stage.warm(&mut tally, &bar, span / 8).await;
    bar.set_message("password rotation under load");
    stage.rotate(&mut tally, &bar, span / 8).await;
    stage.warm(&mut tally, &bar, span.saturating_sub(bar.elapsed())).await;
    bar.finish_and_clear();

    let verdict = report(&stage, &mut tally).await;
    stage.environment.shutdown().await;
    verdict
}

fn seconds() -> Result<u64, String> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(DEFAULT_SECONDS),
        (Some("--seconds"), Some(n)) => {
            n.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("--seconds {n}: expected a number from 1"))
        }
        _ => Err("usage: demo [--seconds N]".to_owned()),
    }
}

/// Reads the table back, prints the table and the line of JSON.
async fn report(stage: &Stage, tally: &mut Tally) -> ExitCode {
    let mut admin = stage.server.admin().await;
    let items: Vec<String> = sqlx::query_scalar("select item from orders").fetch_all(&mut admin).await.expect("orders");
    let mut found: HashMap<&str, usize> = HashMap::new();
    for item in &items {
        *found.entry(item).or_default() += 1;
    }
    let lost = tally.acknowledged.iter().filter(|item| !found.contains_key(item.as_str())).count();
    let duplicated = found.values().filter(|times| **times > 1).count();
    let connects = stage.server.log().lines().filter(|line| line.contains("authorized: user=app")).count();
    let (p50, p99) = (percentile(&mut tally.warm, 50), percentile(&mut tally.warm, 99));
    let thaw = percentile(&mut tally.thaw, 50);
    let cold = tally.cold_start.as_secs_f64() * 1e3;

    let rows = [
        ("invocations", tally.invocations.to_string()),
        ("failed", tally.failures.len().to_string()),
        ("writes acknowledged", tally.acknowledged.len().to_string()),
        ("writes lost", lost.to_string()),
        ("writes duplicated", duplicated.to_string()),
        ("cold start, process to response", format!("{cold:.1} ms")),
        ("warm invocation, median", format!("{p50} us")),
        ("warm invocation, 99th percentile", format!("{p99} us")),
        ("first invocation after a thaw", format!("{thaw} us")),
        ("physical connects", connects.to_string()),
        ("calls to Secrets Manager", stage.aws.requests().len().to_string()),
    ];
    for (name, value) in rows {
        println!("  {name:<34} {value:>14}");
    }
    for failure in tally.failures.iter().take(10) {
        println!("  failed: {failure}");
    }
    // By hand, so that the fields keep their order.
    println!(
        "{{\"invocations\":{},\"failed\":{},\"writes_acknowledged\":{},\"writes_lost\":{lost},\
         \"writes_duplicated\":{duplicated},\"cold_start_ms\":{cold:.1},\"warm_p50_us\":{p50},\"connects\":{connects}}}",
        tally.invocations,
        tally.failures.len(),
        tally.acknowledged.len(),
    );
    if lost + duplicated + tally.failures.len() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// In microseconds; 0 when nothing was measured.
fn percentile(spans: &mut [Duration], percent: usize) -> u64 {
    spans.sort();
    let at = (spans.len() * percent / 100).min(spans.len().saturating_sub(1));
    spans.get(at).map_or(0, |span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
