//! A refusal that is not to be read as it stands: its outcome is another one than it says, for a part stays done, or was done and
//! taken back; or its words are not to be shown.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};

use super::{Error, Outcome};

/// The server's own error, to be asked and downcast as before. Only the outcome is another one, or its words are left out.
pub(crate) struct Judged(Box<dyn DatabaseError>, Mark);

#[derive(Clone, Copy)]
enum Mark {
    Outcome(Outcome),
    /// Its words are not to be shown.
    Unspeakable,
    /// What `Debug` shows beside code and message was not looked through: a look at each of its parts reads all of them.
    Unread,
}

/// What stands in the place of words that are left out.
pub(crate) const LEFT_OUT: &str =
    "the server has repeated the password, or says more than a server has to say; its words are left out";

impl Judged {
    /// Marks what the server has said; any other error is left as it is.
    pub(crate) fn with_outcome(error: sqlx::Error, outcome: Outcome) -> sqlx::Error {
        match error {
            sqlx::Error::Database(inner) => sqlx::Error::Database(Box::new(Self(inner, Mark::Outcome(outcome)))),
            other => other,
        }
    }

    /// What it was marked with.
    pub(super) fn outcome_of(error: &dyn DatabaseError) -> Option<Outcome> {
        // Not by sqlx's downcast, which finds the server's own error in it.
        let error: &(dyn StdError + 'static) = error;
        match error.downcast_ref::<Self>()?.1 {
            Mark::Outcome(outcome) => Some(outcome),
            Mark::Unspeakable | Mark::Unread => None,
        }
    }

    /// A refusal whose words are left out, or what `Debug` shows beside its code and its message. It means what it meant: its code, and
    /// what the driver tells of it, are there as before, for a password may be a word that servers use.
    pub(crate) fn hush(refusal: Box<dyn DatabaseError>, may_be_shown: bool) -> sqlx::Error {
        let mark = if may_be_shown { Mark::Unread } else { Mark::Unspeakable };
        sqlx::Error::Database(Box::new(Self(refusal, mark)))
    }
}

/// The code of a refusal, if it is one: five letters or digits
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). Who lies may put anything there.
pub(crate) fn sqlstate(refusal: &dyn DatabaseError) -> Option<Cow<'_, str>> {
    refusal.code().filter(|code| code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl Error {
    /// The refusal of a part of a transaction, of which another part stays done.
    pub(crate) fn half_done(self) -> Self {
        match self {
            Self::Database(source) | Self::ReadOnly { source } => {
                Self::Database(Judged::with_outcome(source, Outcome::Unknown))
            }
            other => other,
        }
    }

    /// A refusal to write that came when the statement was at work.
    pub(crate) fn begun(self) -> Self {
        match self {
            Self::ReadOnly { source } => Self::ReadOnly { source: Judged::with_outcome(source, Outcome::RolledBack) },
            other => other,
        }
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Mark::Outcome(_) => self.0.fmt(f),
            Mark::Unspeakable => f.debug_tuple("DatabaseError").field(&LEFT_OUT).finish(),
            Mark::Unread => f.debug_tuple("DatabaseError").field(&self.code()).field(&self.message()).finish(),
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Mark::Outcome(_) => fmt::Display::fmt(&self.0, f),
            // The driver adds the line of its source that the server names.
            Mark::Unread | Mark::Unspeakable => f.write_str(self.message()),
        }
    }
}

impl StdError for Judged {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl DatabaseError for Judged {
    fn message(&self) -> &str {
        match self.1 {
            Mark::Outcome(_) | Mark::Unread => self.0.message(),
            Mark::Unspeakable => LEFT_OUT,
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        sqlstate(self.0.as_ref())
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
        self.0.constraint().filter(|_| matches!(self.1, Mark::Outcome(_)))
    }

    fn table(&self) -> Option<&str> {
        self.0.table().filter(|_| matches!(self.1, Mark::Outcome(_)))
    }

    fn kind(&self) -> ErrorKind {
        self.0.kind()
    }
}
