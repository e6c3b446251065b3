//! The demo on MariaDB, or MySQL.

use crate::support::on_mysql as stage;

#[path = "run.rs"]
mod run;

pub(crate) use run::run;
