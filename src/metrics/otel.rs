//! The pool in OpenTelemetry's words
//! (<https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#connection-pools>).

use metrics::{Label, gauge, histogram};

use super::counts::Counts;
use super::histogram::record;
use crate::status::Status;
use crate::usage::Usage;

const POOL: &str = "db.client.connection.pool.name";
const STATE: &str = "db.client.connection.state";

/// Of the connections to the writer: how many there are and may be, who waits for one, and how long that and a connect took.
pub(super) fn of_pool(name: &str, status: &Status, counts: &Counts, usage: &Usage) {
    let pool = Label::new(POOL, name.to_owned());
    for (state, connections) in [("idle", status.idle), ("used", status.leased)] {
        let labels = [pool.clone(), Label::new(STATE, state)];
        gauge!("db.client.connection.count", labels.iter()).set(connections as f64);
    }
    let labels = [pool];
    gauge!("db.client.connection.max", labels.iter()).set(status.max_connections as f64);
    gauge!("db.client.connection.pending_requests", labels.iter()).set(status.waiting as f64);
    record(&histogram!("db.client.connection.create_time", labels.iter()), &counts.setup.read());
    record(&histogram!("db.client.connection.wait_time", labels.iter()), &usage.borrow_latency);
}
