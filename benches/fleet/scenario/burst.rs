//! Many new environments come in the same moment, and again, while those that came before stay frozen.

use super::{Fleet, at_once, end, new};
use crate::phase::Phase;
use crate::service::Service;

pub(super) async fn run(service: &Service, fleet: &Fleet) {
    let mut frozen = Vec::new();
    for round in 1..=fleet.rounds {
        let mut environments = new(fleet.environments);
        let phase = Phase::begin(service, fleet.slots).await;
        let samples = at_once(service, &mut environments).await;
        phase.end(&format!("burst: {round}"), fleet.environments, &samples).await;
        frozen.append(&mut environments);
    }
    end(frozen).await;
}
