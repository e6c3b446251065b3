//! A refusal whose outcome is another one than it says: a part stays done, or was done and taken back.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};

use super::{Error, Outcome};

/// The server's own error, to be asked and downcast as before. Only the outcome is another one.
pub(crate) struct Judged(Box<dyn DatabaseError>, Outcome);

impl Judged {
    /// Marks what the server has said; any other error is left as it is.
    pub(crate) fn mark(error: sqlx::Error, outcome: Outcome) -> sqlx::Error {
        match error {
            sqlx::Error::Database(inner) => sqlx::Error::Database(Box::new(Self(inner, outcome))),
            other => other,
        }
    }

    /// What it was marked with.
    pub(super) fn outcome_of(error: &dyn DatabaseError) -> Option<Outcome> {
        // Not by sqlx's downcast, which finds the server's own error in it.
        let error: &(dyn StdError + 'static) = error;
        error.downcast_ref::<Self>().map(|judged| judged.1)
    }
}

impl Error {
    /// The refusal of a part of a transaction, of which another part stays done.
    pub(crate) fn half_done(self) -> Self {
        match self {
            Self::Database(source) | Self::ReadOnly { source } => {
                Self::Database(Judged::mark(source, Outcome::Unknown))
            }
            other => other,
        }
    }

    /// A refusal to write that came when the statement was at work.
    pub(crate) fn begun(self) -> Self {
        match self {
            Self::ReadOnly { source } => Self::ReadOnly { source: Judged::mark(source, Outcome::RolledBack) },
            other => other,
        }
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Judged {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl DatabaseError for Judged {
    fn message(&self) -> &str {
        self.0.message()
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.0.code()
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.0.as_error()
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self.0.as_error_mut()
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self.0.into_error()
    }

    fn is_transient_in_connect_phase(&self) -> bool {
        self.0.is_transient_in_connect_phase()
    }

    fn constraint(&self) -> Option<&str> {
        self.0.constraint()
    }

    fn table(&self) -> Option<&str> {
        self.0.table()
    }

    fn kind(&self) -> ErrorKind {
        self.0.kind()
    }
}
