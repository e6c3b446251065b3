//! MySQL: RDS for MySQL and MariaDB, Aurora MySQL, and anything that speaks their protocol.
//!
//! Where MySQL and MariaDB differ, it is said where they do.

mod bound;
mod classify;
mod cluster;
mod connect;
mod control;
mod diagnose;
mod dialect;
mod driver;
#[cfg(feature = "_internals")]
pub mod inspect;
mod lexer;
mod liveness;
mod occupancy;
mod passing;
mod pin_ends;
mod places;
mod prefilter;
mod remembered;
mod rules;
mod scan;
mod settings;
mod statement;
mod survey;
mod words;

#[cfg(feature = "_internals")]
pub(crate) use self::survey::{Aurora, survey_as};

use sqlx::Error;

/// A server's number of an error: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
fn number(error: &Error) -> Option<u16> {
    diagnose::refusal(error).map(|refusal| refusal.number())
}
