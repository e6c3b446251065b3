//! Environments that have served once are frozen; then new ones come; then the first are invoked again.

use super::{Fleet, at_once, end, new, started};
use crate::phase::Phase;
use crate::service::Service;

pub(super) async fn run(service: &Service, fleet: &Fleet) {
    let mut holders = started(service, fleet, "newcomers: holders").await;
    let mut newcomers = new(fleet.newcomers);
    let phase = Phase::begin(service, fleet.slots).await;
    let samples = at_once(service, &mut newcomers).await;
    phase.end("newcomers", fleet.newcomers, &samples).await;
    let phase = Phase::begin(service, fleet.slots).await;
    let samples = at_once(service, &mut holders).await;
    phase.end("newcomers: holders again", fleet.environments, &samples).await;
    holders.append(&mut newcomers);
    end(holders).await;
}
