//! The demo on MariaDB.

use crate::support::on_mysql as stage;

#[path = "run.rs"]
mod run;

pub(crate) use run::run;
