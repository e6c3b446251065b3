//! What both engines share, on PostgreSQL, and the cases that only PostgreSQL has.

use crate::support::on_postgres as stage;

mod aborted;
mod alone;
mod at_commit;
#[path = "../attacks.rs"]
mod attacks;
mod cancelled;
#[path = "../concurrency.rs"]
mod concurrency;
#[path = "../credentials.rs"]
mod credentials;
#[cfg(feature = "_internals")]
#[path = "../deadline.rs"]
mod deadline;
#[cfg(feature = "testing")]
#[path = "../doubles.rs"]
mod doubles;
mod driver;
#[path = "../dropped.rs"]
mod dropped;
mod ended_by_text;
#[path = "../failover/mod.rs"]
mod failover;
#[path = "../fleet.rs"]
mod fleet;
#[path = "../function.rs"]
mod function;
mod functions;
#[path = "../generated.rs"]
mod generated;
mod genuine;
#[path = "../half_sent.rs"]
mod half_sent;
mod in_step;
mod language;
mod leaks;
#[path = "../ledger/mod.rs"]
mod ledger;
mod left_with_pooler;
mod lines;
mod managed;
mod marks;
#[cfg(feature = "migrate")]
#[path = "../migrations.rs"]
mod migrations;
mod misled;
#[path = "../model.rs"]
mod model;
mod numbers;
mod oracle;
#[path = "../orphans.rs"]
mod orphans;
#[path = "../panics.rs"]
mod panics;
#[cfg(feature = "_internals")]
mod partly;
mod plans;
mod prepared;
#[path = "../raw.rs"]
mod raw;
#[path = "../refusals.rs"]
mod refusals;
mod refused;
#[path = "../replays.rs"]
mod replays;
#[cfg(feature = "sea-orm")]
#[path = "../sea_orm.rs"]
mod sea_orm;
#[path = "../secrecy.rs"]
mod secrecy;
#[path = "../session.rs"]
mod session;
mod settings;
#[path = "../slips/mod.rs"]
mod slips;
#[path = "../slow.rs"]
mod slow;
mod snapshots;
#[cfg(feature = "otel")]
#[path = "../spans.rs"]
mod spans;
#[cfg(feature = "_internals")]
mod survey;
mod taken_back;
mod texts;
#[path = "../tls.rs"]
mod tls;
#[path = "../told.rs"]
mod told;
#[cfg(feature = "_internals")]
#[path = "../topology.rs"]
mod topology;
#[path = "../trust.rs"]
mod trust;
mod truth_table;
mod types;
mod unread;
#[path = "../upkeep.rs"]
mod upkeep;
mod via_proxy;
