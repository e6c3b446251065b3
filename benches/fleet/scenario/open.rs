//! Arrivals that do not wait for anybody: a Poisson process. Each goes to an idle environment, or waits for one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::sleep_until;

use super::{Fleet, end, started};
use crate::environment::{Environment, Sample};
use crate::phase::Phase;
use crate::service::Service;
use crate::support::http::lock;

/// Environments with nothing to do, the most recently used one last.
struct Idle {
    environments: Mutex<Vec<Environment>>,
    count: Semaphore,
    random: bool,
}

impl Idle {
    fn new(environments: Vec<Environment>, random: bool) -> Self {
        let count = Semaphore::new(environments.len());
        Self { environments: Mutex::new(environments), count, random }
    }

    async fn take(&self) -> Environment {
        self.count.acquire().await.expect("it is never closed").forget();
        let mut environments = lock(&self.environments);
        let last = environments.len() - 1;
        let which = if self.random { fastrand::usize(..=last) } else { last };
        environments.remove(which)
    }

    fn put(&self, environment: Environment) {
        lock(&self.environments).push(environment);
        self.count.add_permits(1);
    }

    fn into_all(self) -> Vec<Environment> {
        self.environments.into_inner().unwrap_or_default()
    }
}

pub(super) async fn run(service: &Service, fleet: &Fleet) {
    let idle = Idle::new(started(service, fleet, "open: first").await, fleet.random);
    let phase = Phase::begin(service, fleet.slots).await;
    let samples = arrivals(service, fleet, &idle).await;
    let name = if fleet.random { "open: random" } else { "open" };
    phase.end(name, fleet.environments, &samples).await;
    end(idle.into_all()).await;
}

async fn arrivals(service: &Service, fleet: &Fleet, idle: &Idle) -> Vec<Sample> {
    let began = Instant::now();
    let mut at = Duration::ZERO;
    let mut serving = FuturesUnordered::new();
    let mut samples = Vec::new();
    loop {
        at += gap(fleet.rate);
        if at > fleet.span {
            break;
        }
        let arrives = began + at;
        // Those that are being served go on meanwhile.
        let mut next = std::pin::pin!(sleep_until(arrives.into()));
        loop {
            tokio::select! {
                () = &mut next => break,
                Some(sample) = serving.next(), if !serving.is_empty() => samples.push(sample),
            }
        }
        serving.push(async move {
            let mut environment = idle.take().await;
            let sample = environment.serve(service, arrives).await;
            idle.put(environment);
            sample
        });
    }
    samples.extend(serving.collect::<Vec<_>>().await);
    samples
}

/// Between two arrivals of so many a second.
fn gap(rate: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / rate)
}
