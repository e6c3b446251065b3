//! What both engines share, on PostgreSQL, and the cases that only PostgreSQL has.

use crate::support::on_postgres as stage;

mod alone;
#[path = "../concurrency.rs"]
mod concurrency;
#[path = "../credentials.rs"]
mod credentials;
mod driver;
#[path = "../dropped.rs"]
mod dropped;
#[path = "../failover/mod.rs"]
mod failover;
#[path = "../function.rs"]
mod function;
mod language;
#[path = "../ledger.rs"]
mod ledger;
mod managed;
#[path = "../model.rs"]
mod model;
mod plans;
#[path = "../refusals.rs"]
mod refusals;
#[path = "../secrecy.rs"]
mod secrecy;
#[path = "../tls.rs"]
mod tls;
#[path = "../upkeep.rs"]
mod upkeep;
