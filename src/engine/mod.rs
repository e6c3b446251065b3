//! All that differs between databases, behind one sealed trait in three parts: [`Dialect`] reads and words SQL and never
//! waits, [`Driver`] is one connection's exchanges, [`Cluster`] is about servers among each other; [`Rules`] are facts.
//!
//! The folder of an engine has the same files for each. What both say is said here once.

mod bound;
mod class;
mod cleanup;
mod cluster;
mod cursor;
mod diagnosis;
mod dialect;
mod driver;
mod driver_panic;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "_internals")]
mod inspect;
mod login;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod prefilter;
#[cfg(test)]
mod proof;
mod question;
mod repeat;
mod rules;
mod sequence;
mod series;
mod settings;
#[cfg(any(test, feature = "_internals"))]
mod shapes;
mod socket;
mod survey;
mod token;
mod words;

pub(crate) use bound::{Bound, TypeName};
pub(crate) use class::{Class, Control, Effect, Label, Name, PinEnd, Question, Setting, Snapshot, Staleness};
pub(crate) use cleanup::Cleanup;
pub(crate) use cluster::{Cluster, OwnLimits};
pub(crate) use diagnosis::Diagnosis;
pub(crate) use dialect::Dialect;
pub(crate) use driver::{Driver, Found, Item};
pub(crate) use driver_panic::without_panic;
pub(crate) use login::{Dialled, Login, Orphans, Target, Way};
pub(crate) use question::Answer;
pub(crate) use rules::Rules;
pub(crate) use sequence::Sequence;
pub(crate) use settings::Settings;
pub(crate) use socket::{Reached, Socket, Tap};
pub(crate) use survey::{Sighting, Survey};
pub(crate) use token::has_letters;

#[cfg_attr(not(feature = "_internals"), expect(unreachable_pub, reason = "only the tests' window shows it"))]
pub use survey::Flavour;

/// A database that a [`Proxy`](crate::Proxy) can serve: [`Postgres`](crate::Postgres) or [`MySql`](crate::MySql).
///
/// Sealed: an engine is more than its driver, and this crate knows the rest of each.
#[expect(private_bounds, reason = "it is sealed by what nobody else can name")]
pub trait Engine: sqlx::Database + Cluster {}

impl<D: Cluster> Engine for D {}
