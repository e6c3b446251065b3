//! The one error of the crate, and what the database did.
//!
//! Nobody should match on texts: [`Error::outcome`], [`Error::is_retryable`] and [`Error::sqlstate`] answer what a
//! program asks, the variant says the cause, the text says what to do.
//!
//! sqlx's traits demand `sqlx::Error`. Errors of ours travel inside it (as the source of `sqlx::Error::Io`,
//! `Configuration` or `Tls`), and [`From<sqlx::Error>`](Error#impl-From<Error>-for-Error) takes them out again.

mod credentials;
pub(crate) mod detail;
mod driver;
mod judged;
mod kind;
mod outcome;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use self::credentials::CredentialsError;
pub use self::detail::{
    Answer, ConnectionLimit, EndpointProblem, Holder, PoolNumbers, Purpose, TlsProblem, Unreachable,
};
use self::detail::{Answers, Seen, login_cure};
#[cfg(feature = "postgres")]
pub(crate) use self::driver::has_too_many_values;
use self::driver::outcome_of_refusal;
pub(crate) use self::driver::{chain, outcome_of, timed_out};
pub(crate) use self::judged::{Judged, LEFT_OUT, sqlstate};
pub use self::outcome::{Outcome, Phase};
pub use crate::config::ConfigError;
use crate::occupancy::Occupancy;

/// An error from below: of a service, or of a provider of the application's own.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong, by cause.
///
/// The text of each says what happened, in which phase, after how long, and what to do; what lies below stays attached
/// as [`source()`](std::error::Error::source). No text of this crate's own holds a password, token or key. What the
/// server says is passed on as it is, and may quote a value of the statement ("invalid input syntax for type integer: …"):
/// texts are for the log, and no invoker is told them (`lambda_runtime::Diagnostic`).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is missing, malformed or contradictory. Nothing was sent anywhere.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// No credentials could be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),

    /// The RDS API did not say where the cluster or instance is.
    #[error(
        "{action} at the RDS API did not say where {subject} is, after {elapsed:.1?}: {problem}, or configure the host"
    )]
    #[non_exhaustive]
    Endpoint {
        /// What was looked for.
        subject: String,
        /// Why it is not known.
        problem: EndpointProblem,
        /// The IAM action it takes.
        action: &'static str,
        /// Time spent.
        elapsed: Duration,
        /// The API's answer, where there was one and not just silence.
        source: Option<Cause>,
    },

    /// The host name has no address.
    #[error(
        "dialling {host}: the name has no address, after {elapsed:.1?}; check the spelling, and that the function's VPC resolves it"
    )]
    #[non_exhaustive]
    Dns {
        /// The name.
        host: String,
        /// Time spent on the attempt.
        elapsed: Duration,
        /// The resolver's answer.
        source: io::Error,
    },

    /// The host cannot be talked to.
    #[error("{phase} at {host}:{port} failed after {elapsed:.1?}: {reason}")]
    #[non_exhaustive]
    Unreachable {
        /// The host that was dialled.
        host: String,
        /// Its port.
        port: u16,
        /// How it failed.
        reason: Unreachable,
        /// How far it got.
        phase: Phase,
        /// Time spent on the attempt.
        elapsed: Duration,
        /// The system's error, where there was one and not just silence.
        source: Option<io::Error>,
    },

    /// TLS could not be set up; nothing was sent in plain text.
    #[error("TLS with {host} failed after {elapsed:.1?}: {problem}")]
    #[non_exhaustive]
    Tls {
        /// The host that was dialled.
        host: String,
        /// What is wrong.
        problem: TlsProblem,
        /// Time spent on the attempt.
        elapsed: Duration,
        /// The TLS library's or the server's error.
        source: sqlx::Error,
    },

    /// The database refused user and password (or token), every stage of the secret included.
    #[error(
        "{host} refused the login of user \"{user}\" ({refused} credentials tried, {elapsed:.1?}); {}",
        login_cure(source)
    )]
    #[non_exhaustive]
    Authentication {
        /// The host that was dialled.
        host: String,
        /// The user that was refused.
        user: String,
        /// How many credentials were tried in this connect.
        refused: u32,
        /// Time spent on the connect.
        elapsed: Duration,
        /// The server's answer.
        source: sqlx::Error,
    },

    /// The server is there and has no such database, or (on MySQL, which does not tell the two apart) none that the user
    /// may use.
    #[error(
        "{host} has no database \"{database}\" for this user (after {elapsed:.1?}); check the URL's path, LAMBDA_RDS_DATABASE or the secret's dbname, and what the user was granted"
    )]
    #[non_exhaustive]
    UnknownDatabase {
        /// The host that was dialled.
        host: String,
        /// The database that was asked for.
        database: String,
        /// Time spent on the attempt.
        elapsed: Duration,
        /// The server's answer.
        source: sqlx::Error,
    },

    /// The server, or this user's share of it, is full (SQLSTATE 53300; MySQL 1040, 1203, 1226).
    #[error("{host} accepts no more connections: {limit} (after {elapsed:.1?} of trying{})", Seen(seen))]
    #[non_exhaustive]
    TooManyConnections {
        /// The host that was dialled.
        host: String,
        /// Time spent trying.
        elapsed: Duration,
        /// Which limit was met, and what to change.
        limit: ConnectionLimit,
        /// What the server said when a connection of this process last asked how full it is, and how long ago that was.
        seen: Option<Box<(Occupancy, Duration)>>,
        /// The server's last answer.
        source: sqlx::Error,
    },

    /// The server is starting, recovering or shutting down (SQLSTATE 57P03).
    #[error(
        "{host} is not accepting connections yet (after {elapsed:.1?} of trying); it is starting, recovering or shutting down"
    )]
    #[non_exhaustive]
    NotReady {
        /// The host that was dialled.
        host: String,
        /// Time spent trying.
        elapsed: Duration,
        /// The server's last answer.
        source: sqlx::Error,
    },

    /// The server refused the connection, or its set-up, for another reason.
    #[error("{phase} at {host} failed after {elapsed:.1?}: {source}")]
    #[non_exhaustive]
    Connect {
        /// The host that was dialled.
        host: String,
        /// How far it got.
        phase: Phase,
        /// Time spent on the attempt.
        elapsed: Duration,
        /// The driver's or the server's error.
        source: sqlx::Error,
    },

    /// Nobody proved to be the writer in time.
    #[error(
        "no writer was found in {elapsed:.1?}: {}; look at the cluster's events, and raise failover_timeout if it was still failing over",
        Answers(answers)
    )]
    #[non_exhaustive]
    NoWriter {
        /// Time spent searching.
        elapsed: Duration,
        /// Who was asked, and what each answered last.
        answers: Vec<Answer>,
    },

    /// No reader could be had.
    #[error(
        "no reader could be had in {elapsed:.1?}: {}; add one to the cluster, or allow the writer to stand in (reader_fallback, LAMBDA_RDS_READER_FALLBACK)",
        Answers(answers)
    )]
    #[non_exhaustive]
    NoReader {
        /// Time spent.
        elapsed: Duration,
        /// Who was asked, and what each answered.
        answers: Vec<Answer>,
    },

    /// No connection became free in time.
    #[error(
        "no connection after {waited:.1?} of {phase} ({numbers}); end transactions and pins sooner, never wait for a second session while holding one, or raise max_connections or borrow_timeout"
    )]
    #[non_exhaustive]
    PoolExhausted {
        /// The time this caller waited.
        waited: Duration,
        /// What this caller was waiting for at last.
        phase: Phase,
        /// The pool at that instant.
        numbers: Box<PoolNumbers>,
        /// The last connect attempt's failure, if any failed meanwhile.
        #[source]
        last: Option<Arc<Self>>,
    },

    /// Too little of the invocation is left to begin this.
    #[error("{remaining:.1?} before the invocation's deadline is too little for {phase}; nothing was begun")]
    #[non_exhaustive]
    DeadlineTooClose {
        /// What was not begun.
        phase: Phase,
        /// What is left of the invocation.
        remaining: Duration,
    },

    /// The invocation's deadline came near while a statement was under way. It was cancelled on the server, so that nothing
    /// runs on there when the function has timed out; where the server did not answer in time, its connection is closed. The
    /// commit of a guard is not cancelled, for it may be done.
    #[error(
        "the invocation's deadline came {phase}, after {elapsed:.1?}: {}; raise the function's timeout, or make the statement shorter",
        cure(*outcome)
    )]
    #[non_exhaustive]
    DeadlineReached {
        /// What was going on.
        phase: Phase,
        /// For how long.
        elapsed: Duration,
        /// What the database did: what it has answered; [`Completed`](Outcome::Completed) where the statement ended before the
        /// cancel came, or is a part of a transaction; [`Unknown`](Outcome::Unknown) where there was no answer, or where the
        /// cancel may have ended the commit's wait for its standbys.
        outcome: Outcome,
        /// The server's answer, or the driver's error.
        source: Option<sqlx::Error>,
    },

    /// The server is read-only (SQLSTATE 25006; MySQL 1290, 1836 and 1874), or the application opened a read-only transaction.
    #[error("the server refused to write: it is read-only, or the transaction is; connect to the writer's endpoint")]
    #[non_exhaustive]
    ReadOnly {
        /// The server's answer.
        source: sqlx::Error,
    },

    /// The connection broke; see [`outcome`](Error::outcome) for what that means.
    #[error("the connection was lost {phase}, after {elapsed:.1?}: {}", cure(*outcome))]
    #[non_exhaustive]
    ConnectionLost {
        /// What was going on.
        phase: Phase,
        /// For how long.
        elapsed: Duration,
        /// What the database did.
        outcome: Outcome,
        /// The driver's error.
        source: sqlx::Error,
    },

    /// The statement asks for something that an earlier one of its session left on a connection which others have used
    /// since. It was not executed: the answer would have been another session's, or was refused by the server.
    #[error(
        "not executed: it asks for {state}, and other sessions have used the connection since; use `returning`, run both in one transaction, or pin() the session"
    )]
    #[non_exhaustive]
    SessionStateLost {
        /// What it asks for.
        state: &'static str,
    },

    /// The statement would have committed the transaction that it was to run in, as definitions do on MySQL, whatever
    /// became of it. It was not sent. The statement is `BEGIN` where a procedure has left a transaction open.
    #[error(
        "not sent: `{statement}` would commit the transaction it is in; run it before begin() or after that has ended (https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html)"
    )]
    #[non_exhaustive]
    ImplicitCommit {
        /// Its beginning, without values.
        statement: String,
    },

    /// The statement cannot be right where it was to run: what it leaves behind could not be kept or not be received, or it
    /// needs another way to be sent. It was not sent, or the server refused it for that reason.
    #[error("not executed: `{statement}` {why}; {cure}")]
    #[non_exhaustive]
    Refused {
        /// Its beginning, without values.
        statement: String,
        /// What is wrong with it here.
        why: &'static str,
        /// What to do in its place.
        cure: &'static str,
        /// The server's answer, where it was asked.
        source: Option<sqlx::Error>,
    },

    /// `commit()` of a transaction that an earlier error had aborted; or any use of a guard whose transaction a text of the
    /// application had ended before.
    #[error("the transaction could not be ended as told: {why}; {}", cure(*outcome))]
    #[non_exhaustive]
    TransactionAborted {
        /// What had ended it.
        why: String,
        /// What the database did: [`RolledBack`](Outcome::RolledBack), or [`Unknown`](Outcome::Unknown) where a text of
        /// the application may have committed.
        outcome: Outcome,
    },

    /// The proxy was closed.
    #[error("the proxy is closed; it was told to by close()")]
    Closed,

    /// The database (or the driver, on a value or a row) answered with an error; the connection is fine.
    #[error(transparent)]
    Database(sqlx::Error),
}

/// The variant's name, the text and the causes: what `main` prints of an error that it returns.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), chain(self))
    }
}

fn cure(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotExecuted => "nothing was executed, it can be done again",
        Outcome::RolledBack => "the transaction was rolled back, it can be done again as a whole",
        Outcome::Unknown => "it may or may not have been executed, look before doing it again",
        Outcome::Completed => "it had been executed",
    }
}

#[cfg(test)]
mod tests;
