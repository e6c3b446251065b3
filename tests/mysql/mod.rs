//! On MariaDB: the twins of the tests beside this folder. What differs on real MySQL 8, which the package registries of
//! this project do not have, is said where it does.

use crate::support::on_mysql as stage;

#[path = "../failover/mod.rs"]
mod failover;
#[path = "../ledger.rs"]
mod ledger;
mod oracle;
mod session;
mod settings;
mod transactions;
