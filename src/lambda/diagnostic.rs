//! What the invoker is told of an error, and what the log.

use lambda_runtime::Diagnostic;

use crate::error::{Error, Outcome, chain};

impl From<Error> for Diagnostic {
    /// What a handler's error becomes. The invoker is told the variant's name (`errorType`), what kind of error it is and
    /// what the database did (`errorMessage`), and no more: behind a function URL the invoker is the public, and hosts,
    /// users, names of secrets and the database's own words are not for it. The whole chain of causes goes to the log, by
    /// `tracing` at `ERROR`; without a subscriber (`lambda_runtime::tracing::init_default_subscriber()`) nobody sees it.
    ///
    /// A handler that returns `lambda_runtime::Error`, or `anyhow`'s, does not come by here: its invoker is told the text of
    /// the error that it boxed.
    fn from(error: Error) -> Self {
        let (error_type, outcome) = (format!("lambda_rds::Error::{}", error.kind()), error.outcome());
        tracing::error!(error_type, ?outcome, "the invocation failed: {}", chain(&error));
        let error_message = format!("{}; {}; the function's log says more", kind(&error), fate(outcome));
        Self { error_type, error_message }
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Config(_) => "the database's configuration is wrong",
        Error::Credentials(_) => "no credentials for the database could be had",
        Error::Endpoint { .. } => "where the database is could not be found out",
        Error::Dns { .. } => "the database's name has no address",
        Error::Unreachable { .. } => "the database cannot be reached",
        Error::Tls { .. } => "TLS with the database failed",
        Error::Authentication { .. } => "the database refused the login",
        Error::UnknownDatabase { .. } => "the server has no such database",
        Error::TooManyConnections { .. } => "the database has no connection to spare",
        Error::NotReady { .. } => "the database is not ready",
        Error::Connect { .. } => "the connect to the database failed",
        Error::NoWriter { .. } => "no database takes writes at the moment",
        Error::NoReader { .. } => "no reader of the database could be had",
        Error::PoolExhausted { .. } => "no connection to the database became free in time",
        Error::DeadlineTooClose { .. } => "too little of the invocation is left",
        Error::DeadlineReached { .. } => "the invocation's deadline came while a statement was under way",
        Error::ReadOnly { .. } => "the database refused to write",
        Error::ConnectionLost { .. } => "the connection to the database was lost",
        Error::SessionStateLost { .. } => "the statement asks for what its session has lost",
        Error::ImplicitCommit { .. } => "the statement would commit the transaction it is in",
        Error::Refused { .. } => "the statement cannot run where it was sent",
        Error::TransactionAborted { .. } => "the transaction could not be ended as told",
        Error::Closed => "the connections to the database are closed",
        Error::Database(_) => "the database, or its driver, answered with an error",
    }
}

fn fate(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotExecuted => "nothing was executed",
        Outcome::RolledBack => "it was rolled back",
        Outcome::Unknown => "it may or may not have been executed",
        Outcome::Completed => "it had been executed",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::error::{Answer, ConfigError, CredentialsError, Phase, TlsProblem, Unreachable};

    const ELAPSED: Duration = Duration::from_secs(1);

    fn named() -> String {
        "hunter2.example".to_owned()
    }

    fn source() -> sqlx::Error {
        sqlx::Error::Io(io::Error::other(named()))
    }

    #[test]
    fn the_invoker_is_told_kind_and_outcome_and_no_name() {
        let errors = [
            (Error::Config(ConfigError::UnknownVariable { name: named(), hint: named() }), "Config", "nothing"),
            (Error::Credentials(CredentialsError::Provider(named().into())), "Credentials", "nothing"),
            (
                Error::Dns { host: named(), elapsed: ELAPSED, source: io::Error::other(named()) },
                "Dns",
                "nothing was executed",
            ),
            (
                Error::Unreachable {
                    host: named(),
                    port: 5432,
                    reason: Unreachable::Refused,
                    phase: Phase::Dialling,
                    elapsed: ELAPSED,
                    source: None,
                },
                "Unreachable",
                "nothing was executed",
            ),
            (
                Error::Tls { host: named(), problem: TlsProblem::BadRoot, elapsed: ELAPSED, source: source() },
                "Tls",
                "nothing was executed",
            ),
            (
                Error::Authentication { host: named(), user: named(), refused: 1, elapsed: ELAPSED, source: source() },
                "Authentication",
                "nothing was executed",
            ),
            (
                Error::NoWriter { elapsed: ELAPSED, answers: vec![Answer { host: named(), answer: named() }] },
                "NoWriter",
                "nothing was executed",
            ),
            (
                Error::ConnectionLost {
                    phase: Phase::Commit,
                    elapsed: ELAPSED,
                    outcome: Outcome::Unknown,
                    source: source(),
                },
                "ConnectionLost",
                "may or may not",
            ),
            (
                Error::DeadlineReached {
                    phase: Phase::Statement,
                    elapsed: ELAPSED,
                    outcome: Outcome::RolledBack,
                    source: Some(source()),
                },
                "DeadlineReached",
                "rolled back",
            ),
            (
                Error::TransactionAborted { why: named(), outcome: Outcome::RolledBack },
                "TransactionAborted",
                "rolled back",
            ),
            (Error::Database(source()), "Database", "may or may not"),
            (Error::Database(sqlx::Error::RowNotFound), "Database", "had been executed"),
        ];
        for (error, name, outcome) in errors {
            let Diagnostic { error_type, error_message } = Diagnostic::from(error);
            assert_eq!(error_type, format!("lambda_rds::Error::{name}"));
            assert!(error_message.contains(outcome) && error_message.contains("log"), "{error_message}");
            assert!(!error_message.contains("hunter2"), "{error_message}");
        }
    }
}
