//! What kind of error it is, for whoever does not want to name all variants.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;

use super::{Error, Phase, sqlstate};
use crate::deadline::TooClose;

impl Error {
    /// The variant's name: `"PoolExhausted"`, for a log, a metric or an alarm. It does not change with the texts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config(_) => "Config",
            Self::Credentials(_) => "Credentials",
            Self::Endpoint { .. } => "Endpoint",
            Self::Dns { .. } => "Dns",
            Self::Unreachable { .. } => "Unreachable",
            Self::Tls { .. } => "Tls",
            Self::Authentication { .. } => "Authentication",
            Self::UnknownDatabase { .. } => "UnknownDatabase",
            Self::TooManyConnections { .. } => "TooManyConnections",
            Self::NotReady { .. } => "NotReady",
            Self::Connect { .. } => "Connect",
            Self::NoWriter { .. } => "NoWriter",
            Self::NoReader { .. } => "NoReader",
            Self::PoolExhausted { .. } => "PoolExhausted",
            Self::DeadlineTooClose { .. } => "DeadlineTooClose",
            Self::DeadlineReached { .. } => "DeadlineReached",
            Self::ReadOnly { .. } => "ReadOnly",
            Self::ConnectionLost { .. } => "ConnectionLost",
            Self::SessionStateLost { .. } => "SessionStateLost",
            Self::ImplicitCommit { .. } => "ImplicitCommit",
            Self::Refused { .. } => "Refused",
            Self::TransactionAborted { .. } => "TransactionAborted",
            Self::Closed => "Closed",
            Self::Database(_) => "Database",
        }
    }

    /// The server's five-character code, where the server spoke.
    pub fn sqlstate(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Tls { source, .. }
            | Self::Authentication { source, .. }
            | Self::UnknownDatabase { source, .. }
            | Self::TooManyConnections { source, .. }
            | Self::NotReady { source, .. }
            | Self::Connect { source, .. }
            | Self::ReadOnly { source }
            | Self::ConnectionLost { source, .. }
            | Self::Database(source) => sqlstate(source.as_database_error()?),
            Self::Refused { source, .. } => sqlstate(source.as_ref()?.as_database_error()?),
            Self::PoolExhausted { last, .. } => last.as_ref()?.sqlstate(),
            _ => None,
        }
    }

    /// Whether time ran out: the wait for a connection, the invocation, or an answer of the server's.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::PoolExhausted { .. } | Self::DeadlineTooClose { .. } | Self::DeadlineReached { .. } => true,
            _ => causes(self).any(|cause| {
                cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
            }),
        }
    }

    /// Whether there was a connection, and it is gone: what became of the work in hand [`outcome`](Self::outcome) tells.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. })
    }

    /// Whether the server turned the connection away for now: worth another attempt within the same wait.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::TooManyConnections { .. } | Self::NotReady { .. })
    }

    pub(crate) fn too_close(phase: Phase, TooClose { remaining }: TooClose) -> Self {
        Self::DeadlineTooClose { phase, remaining }
    }
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Outcome, Phase, timed_out};

    #[test]
    fn an_error_says_its_kind_whether_time_ran_out_and_whether_the_connection_is_gone() {
        let lost = |source| Error::ConnectionLost {
            phase: Phase::Statement,
            elapsed: Duration::ZERO,
            outcome: Outcome::Unknown,
            source,
        };
        let late = Error::DeadlineTooClose { phase: Phase::Waiting, remaining: Duration::ZERO };
        for (error, kind, is_timeout, is_lost) in [
            (Error::Closed, "Closed", false, false),
            (late, "DeadlineTooClose", true, false),
            (lost(timed_out()), "ConnectionLost", true, true),
            (lost(sqlx::Error::WorkerCrashed), "ConnectionLost", false, true),
            (Error::Database(sqlx::Error::RowNotFound), "Database", false, false),
        ] {
            assert_eq!((error.kind(), error.is_timeout(), error.is_connection_lost()), (kind, is_timeout, is_lost));
            assert!(format!("{error:?}").starts_with(kind), "{error:?}");
        }
    }
}
