//! Every environment is invoked again some time after it has answered.

use std::time::Instant;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::{Fleet, end, started};
use crate::environment::{Environment, Sample};
use crate::phase::{Phase, Row};
use crate::service::Service;

/// How often each is invoked while statements are counted.
const COUNTED: usize = 3;

pub(super) async fn warm(service: &Service, fleet: &Fleet) -> Row {
    let mut environments = started(service, fleet, "warm: first").await;
    let phase = Phase::begin(service, fleet.slots).await;
    let samples = in_loops(service, fleet, &mut environments, fleet.invocations).await;
    let row = phase.end("warm", fleet.environments, &samples).await;
    end(environments).await;
    row
}

/// Statements are counted apart from the latencies, which a server that logs them spoils.
pub(super) async fn room(service: &Service, fleet: &Fleet) {
    let mut environments = started(service, fleet, "room: first").await;
    let phase = Phase::begin(service, fleet.slots).await;
    let samples = in_loops(service, fleet, &mut environments, fleet.invocations).await;
    phase.end("room", fleet.environments, &samples).await;
    service.log_statements().await;
    // Not counted: after that pause idle connections are asked first, as after any of more than a second.
    in_loops(service, fleet, &mut environments, 1).await;
    let phase = Phase::begin(service, fleet.slots).await;
    let samples = in_loops(service, fleet, &mut environments, COUNTED).await;
    phase.end_with_statements("room: counted", fleet.environments, &samples).await;
    end(environments).await;
}

/// Each serves so often and rests in between, beginning at a moment of its own.
async fn in_loops(
    service: &Service,
    fleet: &Fleet,
    environments: &mut [Environment],
    invocations: usize,
) -> Vec<Sample> {
    let loops = join_all(environments.iter_mut().map(|environment| async move {
        let mut samples = Vec::with_capacity(invocations);
        sleep(fleet.rest.mul_f64(fastrand::f64())).await;
        for _ in 0..invocations {
            samples.push(environment.serve(service, Instant::now()).await);
            sleep(fleet.rest).await;
        }
        samples
    }));
    loops.await.into_iter().flatten().collect()
}
