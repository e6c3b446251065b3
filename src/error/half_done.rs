//! The refusal of one statement among several, where those before it stay done.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};

use super::Error;

/// The server's own error, to be asked and downcast as before. Only the outcome is another one.
pub(crate) struct HalfDone(Box<dyn DatabaseError>);

impl HalfDone {
    /// Marks what the server has said; any other error is left as it is.
    pub(crate) fn mark(error: sqlx::Error) -> sqlx::Error {
        match error {
            sqlx::Error::Database(inner) => sqlx::Error::Database(Box::new(Self(inner))),
            other => other,
        }
    }

    pub(super) fn is_one(error: &dyn DatabaseError) -> bool {
        // Not by sqlx's downcast, which finds the server's own error in it.
        let error: &(dyn StdError + 'static) = error;
        error.is::<Self>()
    }
}

impl Error {
    /// The refusal of a part of a transaction, of which another part stays done.
    pub(crate) fn half_done(self) -> Self {
        match self {
            Self::Database(source) | Self::ReadOnly { source } => Self::Database(HalfDone::mark(source)),
            other => other,
        }
    }
}

impl fmt::Debug for HalfDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HalfDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for HalfDone {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl DatabaseError for HalfDone {
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
