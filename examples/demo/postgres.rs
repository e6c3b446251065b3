//! The demo on PostgreSQL.

use crate::support::on_postgres as stage;

#[path = "run.rs"]
mod run;

pub(crate) use run::run;
