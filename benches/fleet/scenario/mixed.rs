//! One half of the environments is invoked often, the other half seldom.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::{Fleet, end, started};
use crate::environment::{Environment, Sample};
use crate::phase::Phase;
use crate::service::Service;

pub(super) async fn run(service: &Service, fleet: &Fleet) {
    let mut environments = started(service, fleet, "mixed: first").await;
    let phase = Phase::begin(service, fleet.slots).await;
    let (frequent, seldom) = environments.split_at_mut(fleet.environments / 2);
    let (frequent_ones, seldom_ones) = (frequent.len(), seldom.len());
    let (frequent, seldom) = tokio::join!(
        every(service, fleet.frequent, fleet.span, frequent),
        every(service, fleet.seldom, fleet.span, seldom)
    );
    phase.end("mixed: frequent", frequent_ones, &frequent).await;
    phase.end("mixed: seldom", seldom_ones, &seldom).await;
    end(environments).await;
}

/// Each is invoked at such intervals, at once where the invocation before took longer, beginning at a moment of its own.
async fn every(service: &Service, interval: Duration, span: Duration, environments: &mut [Environment]) -> Vec<Sample> {
    let began = Instant::now();
    let series = join_all(environments.iter_mut().map(|environment| async move {
        let mut samples = Vec::new();
        let mut next = began + interval.mul_f64(fastrand::f64());
        while next < began + span {
            sleep(next.saturating_duration_since(Instant::now())).await;
            let arrived = Instant::now();
            samples.push(environment.serve(service, arrived).await);
            next = arrived + interval;
        }
        samples
    }));
    series.await.into_iter().flatten().collect()
}
