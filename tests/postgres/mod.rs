//! What both engines share, on PostgreSQL, and the cases that only PostgreSQL has.

use crate::support::on_postgres as stage;

mod alone;
#[path = "../failover/mod.rs"]
mod failover;
mod language;
#[path = "../ledger.rs"]
mod ledger;
#[path = "../model.rs"]
mod model;
