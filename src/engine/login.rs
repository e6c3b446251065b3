//! What a login needs, and how its session is found again.

use std::time::Duration;

use crate::config::Tls;
use crate::redacted::Redacted;

/// Everything a login needs.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Redacted,
    pub(crate) database: Option<String>,
    pub(crate) tls: Tls,
    /// PEM of the roots to trust besides the public ones.
    pub(crate) roots: Vec<u8>,
    pub(crate) application_name: String,
    /// Its sessions may not write, whatever the server would allow.
    pub(crate) read_only: bool,
    pub(crate) statement_cache_capacity: Option<usize>,
    /// Whether the driver logs the statements, those of this crate too.
    pub(crate) log_statements: bool,
    /// The password is a token that the server reads as it is: it may be sent so, over TLS only.
    pub(crate) is_token: bool,
    /// Whether nobody has said, and no name says, that the server itself is there and no pooler: then it is looked.
    pub(crate) may_be_pooler: bool,
    /// What the server is told to give up on; `None` where a pooler in between would not understand.
    pub(crate) orphans: Option<Orphans>,
}

/// A login that has succeeded.
#[derive(Debug)]
pub(crate) struct Dialled<C> {
    pub(crate) driver: C,
    /// What the server calls the session among its own.
    pub(crate) name: String,
    /// Its settings are not the server's defaults: something has set them at the login, for this account or for everybody.
    /// What takes a setting back would not bring those values back, but for the settings that have a
    /// [`login_defaults`](super::Dialect::login_defaults).
    pub(crate) has_own_values: bool,
    /// What it prepares is prepared for values of certain types.
    pub(crate) prepares_for_types: bool,
}

/// How a session is found among those of its server, over another connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// What the server called it at its login, and no other session.
    pub(crate) name: String,
    /// The server's number for it, and since when, where that was asked.
    pub(crate) number: Option<String>,
    /// The way to it, where both sockets are known to lead to the same server.
    pub(crate) way: Option<Way>,
}

/// Two sockets to one server, as they are called on this side. The server calls them the same unless something in
/// between translates addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The socket of the session that is looked for.
    pub(crate) to_it: std::net::SocketAddr,
    /// The socket of the connection that looks for it.
    pub(crate) beside: std::net::SocketAddr,
}

/// When the server drops what a dead or frozen environment left behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orphans {
    pub(crate) idle: Duration,
    pub(crate) idle_in_transaction: Duration,
    /// Whether this server knows neither an idle timeout nor how to look whether a statement's client is still there.
    pub(crate) is_old: bool,
}
