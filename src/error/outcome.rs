//! What the database did, and what was going on.

use std::fmt;

use super::{Error, outcome_of, outcome_of_refusal};

/// What the database did with the statement or the transaction that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was never sent, or the server refused to begin with it.
    NotExecuted,
    /// It ran, or may have begun to, and all of it was taken back; but for rows of tables that know no transactions (MyISAM, Aria).
    RolledBack,
    /// It was sent and its end was not seen: it may or may not have happened. Look before doing it again. Also: a part of
    /// it failed, and those before it may stay done: several statements in one text on MySQL, or with a `COMMIT` among them; a
    /// procedure with transactions of its own; PostgreSQL's `CREATE INDEX CONCURRENTLY`, which leaves an invalid index, `VACUUM`
    /// and their kind; `DROP` of several objects, `CREATE OR REPLACE` and statements about accounts on MariaDB and MySQL.
    Unknown,
    /// The statement happened; the error came afterwards (for example a row that was not there). Inside a transaction it
    /// is still the transaction that decides.
    Completed,
}

/// What was going on when an error occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection to become free.
    Waiting,
    /// Asking for credentials.
    Credentials,
    /// Looking up the host name and connecting the socket.
    Dialling,
    /// TLS and login, on a connected socket.
    Handshake,
    /// Running `init_query` on a new connection.
    Setup,
    /// Searching for the writer after it was lost.
    Searching,
    /// Beginning a transaction.
    Begin,
    /// Running a statement outside a transaction.
    Statement,
    /// Running a statement inside a transaction.
    InTransaction,
    /// Committing.
    Commit,
    /// Rolling back.
    Rollback,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting for a connection",
            Self::Credentials => "asking for credentials",
            Self::Dialling => "dialling",
            Self::Handshake => "logging in",
            Self::Setup => "setting up a new connection",
            Self::Searching => "searching for the writer",
            Self::Begin => "beginning a transaction",
            Self::Statement => "running a statement",
            Self::InTransaction => "running a statement in a transaction",
            Self::Commit => "committing",
            Self::Rollback => "rolling back",
        })
    }
}

impl Error {
    /// What the database did with the statement or transaction that this error is about.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::ConnectionLost { outcome, .. }
            | Self::TransactionAborted { outcome, .. }
            | Self::DeadlineReached { outcome, .. } => *outcome,
            Self::Database(error) => outcome_of(error),
            Self::ReadOnly { source } => outcome_of_refusal(source),
            Self::Config(_)
            | Self::Credentials(_)
            | Self::Endpoint { .. }
            | Self::Dns { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Authentication { .. }
            | Self::UnknownDatabase { .. }
            | Self::TooManyConnections { .. }
            | Self::NotReady { .. }
            | Self::Connect { .. }
            | Self::NoWriter { .. }
            | Self::NoReader { .. }
            | Self::PoolExhausted { .. }
            | Self::DeadlineTooClose { .. }
            | Self::SessionStateLost { .. }
            | Self::ImplicitCommit { .. }
            | Self::Refused { .. }
            | Self::Closed => Outcome::NotExecuted,
        }
    }

    /// Whether the same work can be done again safely *and* has a chance: the cause may pass, and the outcome is
    /// [`NotExecuted`](Outcome::NotExecuted) or [`RolledBack`](Outcome::RolledBack). Never true for
    /// [`Unknown`](Outcome::Unknown).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Credentials(error) => error.is_transient(),
            Self::Endpoint { problem, .. } => problem.is_transient(),
            Self::Dns { .. }
            | Self::Unreachable { .. }
            | Self::TooManyConnections { .. }
            | Self::NotReady { .. }
            | Self::NoWriter { .. }
            | Self::NoReader { .. }
            | Self::PoolExhausted { .. } => true,
            Self::ConnectionLost { outcome, .. } => matches!(outcome, Outcome::NotExecuted | Outcome::RolledBack),
            // Serialization failure and deadlock: https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
            Self::Database(error) => {
                matches!(self.sqlstate().as_deref(), Some("40001" | "40P01"))
                    && outcome_of(error) == Outcome::RolledBack
            }
            _ => false,
        }
    }

    /// Whether work that failed by this, and of which nothing was kept, may succeed when it is done again.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::ConnectionLost { .. } | Self::Database(_) => self.is_retryable(),
            Self::ReadOnly { .. } => true,
            _ => false,
        }
    }
}
