//! All that differs between databases, behind one sealed trait.
//!
//! The folder of an engine has the same files in the same order for each: how to log in, what a text does to the
//! session, what an error means.
#![allow(unnameable_types, unreachable_pub, reason = "the trait is sealed by not being nameable")]

mod lexer;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod repeat;
mod socket;

use std::future::Future;
use std::time::Duration;

use once_cell::sync::OnceCell;

use crate::config::Tls;
use crate::pin::PinCause;
use crate::proxy::Proxy;
use crate::redacted::Redacted;

/// Settings that differ from the login's: each with the statement that sets it.
pub type Settings = std::sync::Arc<std::collections::BTreeMap<String, String>>;

pub(crate) use socket::{Reached, Socket, Tap};

/// A database that a [`Proxy`] can serve: [`Postgres`](crate::Postgres).
///
/// Sealed: an engine is more than its driver, and this crate knows the rest of each.
pub trait Engine: Driver {}

impl<D: Driver> Engine for D {}

/// Everything a login needs.
#[derive(Debug, Clone)]
pub struct Login {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Redacted,
    pub(crate) database: Option<String>,
    pub(crate) tls: Tls,
    /// PEM of the roots to trust besides the public ones.
    pub(crate) roots: Vec<u8>,
    pub(crate) application_name: String,
    pub(crate) statement_cache_capacity: Option<usize>,
    /// What the server is told to give up on; `None` where a pooler in between would not understand.
    pub(crate) orphans: Option<Orphans>,
}

/// When the server drops what a dead or frozen environment left behind.
#[derive(Debug, Clone, Copy)]
pub struct Orphans {
    pub(crate) idle: Duration,
    pub(crate) idle_in_transaction: Duration,
    /// Whether this server is too old to know an idle timeout.
    pub(crate) idle_unknown: bool,
}

/// What a text does to the session it runs in. Borrowed from the text: classifying allocates nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Class<'a> {
    /// It leaves something behind that cannot be moved to another connection.
    pub(crate) pins: Option<PinCause>,
    /// It changes a setting that can be set again elsewhere.
    pub(crate) setting: Option<Setting<'a>>,
    /// What it has to do with the session's memory of sequences.
    pub(crate) sequence: Sequence,
}

/// A change of a session's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting<'a> {
    /// This statement sets it, here and wherever it is run again.
    Set {
        /// The setting.
        name: Name<'a>,
        /// The statement.
        statement: &'a str,
    },
    /// Back to what it was at login.
    Reset(Name<'a>),
    /// All of them back, but for who the session acts as.
    ResetAll,
}

/// A setting's name: `search_path`, or `app.tenant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(pub(crate) &'a str, pub(crate) Option<&'a str>);

impl Name<'_> {
    /// As a key: names are the same in either case.
    pub(crate) fn key(self) -> String {
        let mut key = self.0.to_ascii_lowercase();
        if let Some(rest) = self.1 {
            key.push('.');
            key.push_str(&rest.to_ascii_lowercase());
        }
        key
    }
}

/// What a statement has to do with `currval` and `lastval`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequence {
    /// Nothing.
    #[default]
    None,
    /// It may draw a number that a later statement asks for.
    Draws,
    /// It asks for a number drawn earlier in the session.
    Asks,
}

/// What a driver's error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diagnosis {
    /// The connection is gone or out of step.
    Dead,
    /// The server, or this user's share, is full.
    Full,
    /// The server does not accept connections yet, or no longer.
    NotReady,
    /// User or password is wrong.
    Authentication,
    /// There is no such database.
    UnknownDatabase,
    /// Plain text where the server wants TLS.
    TlsDemanded,
    /// A setting sent at login is not known to this server.
    UnknownSetting,
    /// The statement failed; the connection is fine.
    Statement,
    /// The statement that the driver had prepared is gone or fits no longer; nothing was executed.
    StalePlan,
    /// The driver gave up half way; the connection has to be brought to rest.
    Interrupted,
    /// Nothing was sent.
    NotSent,
}

/// How a transaction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With everything that was done in it.
    Commit,
    /// With nothing of it.
    Rollback,
}

/// What the end of a transaction of unknown state found. None is open afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It was healthy, and ended as it was told.
    Healthy,
    /// It was aborted, and is rolled back.
    Aborted,
    /// There was none: something else had ended it before, one way or the other.
    Nothing,
}

/// An engine's driver: the part of [`Engine`] that outsiders cannot name.
pub trait Driver: sqlx::Database + Sized {
    /// As secrets and messages call it.
    const FAMILY: &'static str;
    /// The schemes of its URLs, the usual one first.
    const SCHEMES: &'static [&'static str];
    /// The default port.
    const PORT: u16;

    /// The process-wide proxy.
    #[doc(hidden)]
    fn process_wide() -> &'static OnceCell<Proxy<Self>>;

    /// One login.
    fn dial(login: &Login) -> impl Future<Output = Result<Self::Connection, sqlx::Error>> + Send;

    /// What `sql` does to its session.
    fn classify(sql: &str) -> Class<'_>;

    /// What an error means for the connection.
    fn diagnose(error: &sqlx::Error) -> Diagnosis;

    /// Runs a text without parameters and drops its rows.
    fn run(conn: &mut Self::Connection, sql: String) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads what is still on its way, and so proves that the connection answers. A statement's late error is returned
    /// in `Ok`: it belongs to whoever dropped the statement.
    fn drain(conn: &mut Self::Connection) -> impl Future<Output = Result<Option<sqlx::Error>, sqlx::Error>> + Send;

    /// The text that takes a connection from one set of settings to another; `None` when they are equal.
    fn replay(applied: &Settings, wanted: &Settings) -> Option<String>;

    /// Forgets the statements that the driver has prepared.
    fn forget(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Cancels, over another connection of the same user, whatever the session of this application name is doing.
    fn cancel(side: &mut Self::Connection, name: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Makes a connection that sessions have left their traces on as good as new.
    fn clean(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Ends a transaction that may have been ended or aborted already, and finds out. Commits only a healthy one.
    fn end_doubtful(conn: &mut Self::Connection, end: End) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// Says goodbye.
    fn close(conn: Self::Connection) -> impl Future<Output = ()> + Send;
}
