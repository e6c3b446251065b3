//! The demo itself, on whatever engine `stage` is.

use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::stage::*;
use crate::support::aws::Aws;
use crate::support::lambda::{Environment, FunctionSpec, example};
use crate::tally::{Fate, Tally};

const SECRET: &str = "demo/orders";
/// What an environment may take between two invocations before it is frozen, and how long the freeze lasts.
const FREEZE: Duration = Duration::from_millis(300);
/// The load goes on this long before and after each fault.
const AROUND: Duration = Duration::from_millis(300);

/// Everything the function needs around it.
struct Stage {
    cluster: Cluster,
    aws: Aws,
    environment: Environment,
    started: Instant,
    fault: Cell<Fault>,
}

/// What happens to the writer.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Begun,
    /// Since then the old writer answers nobody.
    Down(Instant),
}

impl Stage {
    async fn set() -> Self {
        let cluster = Cluster::start_with(CLUSTERED, 1, logging_connections()).await;
        let server = cluster.node(0);
        server.execute(ORDERS).await;
        let aws = Aws::start().await;
        aws.secret(SECRET).put(secret(server, APP_PASSWORD));

        let mut function = FunctionSpec::new(example(QUICKSTART));
        function.timeout = Duration::from_secs(15);
        function.env = aws.environment();
        let members: Vec<_> =
            cluster.instances().into_iter().map(|(id, host, port)| format!("{id}={host}:{port}")).collect();
        let ca = String::from_utf8_lossy(server.ca_pem()).into_owned();
        for (name, value) in [("SECRET", SECRET.to_owned()), ("CA_PEM", ca), ("INSTANCES", members.join(","))] {
            function.env.push((format!("LAMBDA_RDS_{name}"), value));
        }
        let started = Instant::now();
        let environment = Environment::start(function).await;
        Self { cluster, aws, environment, started, fault: Cell::new(Fault::None) }
    }

    /// One order, with an item that no other has. What certainly has not happened is ordered again.
    async fn invoke(&self, tally: &mut Tally) -> Duration {
        let item = tally.next_item();
        loop {
            let began = Instant::now();
            let invocation = self.environment.invoke(json!({ "item": item })).await;
            let in_flight = match self.fault.get() {
                Fault::None => false,
                Fault::Begun => true,
                Fault::Down(since) => began < since,
            };
            match tally.note(&item, began, in_flight, invocation.result) {
                Fate::Settled => return invocation.latency,
                Fate::Again => {}
            }
        }
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
            self.warm_once(tally, bar).await;
        }
    }

    async fn warm_once(&self, tally: &mut Tally, bar: &ProgressBar) {
        let latency = self.invoke(tally).await;
        tally.warm.push(latency);
        bar.set_position(u64::try_from(bar.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    /// The server closes the idle connection while the function is frozen.
    async fn freeze(&self, tally: &mut Tally) {
        self.environment.freeze().await;
        self.cluster.node(0).terminate_sessions("app").await;
        tokio::time::sleep(FREEZE).await;
        self.environment.thaw();
        let latency = self.invoke(tally).await;
        tally.thaw.push(latency);
    }

    /// A rotation as Secrets Manager does it, with a new login in each of its steps.
    async fn rotate(&self, tally: &mut Tally, bar: &ProgressBar, step: Duration) {
        let next = "demo-secret-2";
        let server = self.cluster.node(0);
        self.aws.secret(SECRET).stage_pending(secret(server, next));
        server.set_password("app", next).await;
        // AWSCURRENT is wrong now and AWSPENDING right.
        self.freeze(tally).await;
        self.warm(tally, bar, step).await;
        self.aws.secret(SECRET).promote_pending();
        self.freeze(tally).await;
    }

    /// The writer goes, by `end`, and its replica is promoted, while invocations come one after the other. Gives the
    /// time from the first write that the new writer took to the first order that it acknowledged. The old one comes back
    /// as a replica.
    async fn lose_writer(
        &self,
        (from, to): (usize, usize),
        end: impl Future<Output = ()>,
        tally: &mut Tally,
        bar: &ProgressBar,
    ) -> Duration {
        self.cluster.acknowledge_late(from).await;
        let over = Cell::new(false);
        let load = async {
            while !over.get() {
                self.warm_once(tally, bar).await;
            }
        };
        let fault = async {
            tokio::time::sleep(AROUND).await;
            self.fault.set(Fault::Begun);
            end.await;
            let down = Instant::now();
            self.fault.set(Fault::Down(down));
            let writes = self.cluster.promote(to).await;
            self.cluster.rejoin(from, to).await;
            tokio::time::sleep(AROUND).await;
            over.set(true);
            (down, writes)
        };
        let ((down, writes), ()) = tokio::join!(fault, load);
        let Some(good) = tally.first_good_since(down) else {
            tally.failures.push("no order was acknowledged by the new writer".to_owned());
            return Duration::MAX;
        };
        good.saturating_duration_since(writes)
    }
}

fn secret(server: &Server, password: &str) -> Value {
    json!({
        "engine": FAMILY, "host": server.host(), "port": server.port(), "dbname": "app",
        "username": "app", "password": password,
    })
}

/// The whole of it, for so many seconds.
pub(crate) async fn run(seconds: u64) -> ExitCode {
    let span = Duration::from_secs(seconds);
    println!("Setting the stage: two {} servers with TLS, Secrets Manager, one Lambda environment.", engine());
    let stage = Stage::set().await;
    let (first, second) = (stage.cluster.node(0), stage.cluster.node(1));
    let mut tally = Tally::default();
    let bar = ProgressBar::new(seconds * 1000);
    if let Ok(style) = ProgressStyle::with_template("{msg:<34} [{bar:40}] {percent:>3} %") {
        bar.set_style(style);
    }

    bar.set_message("cold start");
    stage.cold_start(&mut tally).await;
    bar.set_message("warm invocations");
    stage.warm(&mut tally, &bar, span / 4).await;
    bar.set_message("freeze, server hangs up, thaw");
    stage.freeze(&mut tally).await;
    stage.warm(&mut tally, &bar, span / 16).await;
    bar.set_message("password rotation under load");
    stage.rotate(&mut tally, &bar, span / 16).await;
    stage.warm(&mut tally, &bar, span / 16).await;
    bar.set_message("the writer is killed");
    tally.failover = stage.lose_writer((0, 1), first.kill(), &mut tally, &bar).await;
    stage.warm(&mut tally, &bar, span / 16).await;
    bar.set_message("switchover");
    tally.switchover = stage.lose_writer((1, 0), second.stop(), &mut tally, &bar).await;
    bar.set_message("warm invocations");
    stage.warm(&mut tally, &bar, span.saturating_sub(bar.elapsed())).await;
    bar.finish_and_clear();

    // The directories of both are kept through the changes, and so are the logs.
    let log = first.log() + &second.log();
    tally.connects = log.lines().filter(|line| line.contains(LOGIN)).count();
    tally.requests = stage.aws.requests().len();
    let items = sqlx::query_scalar(ORDERED).fetch_all(&mut first.admin().await).await;
    let verdict = tally.report(&items.expect("the orders"));
    stage.environment.shutdown().await;
    verdict
}
