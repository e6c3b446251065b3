//! A distribution, for the `metrics` facade.

use metrics::Histogram;

use crate::usage::Distribution;

/// In seconds.
pub(super) fn record(histogram: &Histogram, of: &Distribution) {
    for (micros, count) in of.values() {
        histogram.record_many(micros as f64 / 1e6, usize::try_from(count).unwrap_or(usize::MAX));
    }
}
