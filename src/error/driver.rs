//! Between this error and the driver's: errors of ours travel inside it, and come out again.

use std::io;

use super::{Error, Judged, Outcome, Unreachable, detail};

/// The outcome of an error that came from a healthy connection.
pub(crate) fn outcome_of(error: &sqlx::Error) -> Outcome {
    match error {
        // Somebody in between has lost sight of the database: a connection exception, or an unknown completion.
        sqlx::Error::Database(error) if error.code().is_some_and(|code| code.starts_with("08") || code == "40003") => {
            Outcome::Unknown
        }
        // PostgreSQL and MySQL take a failed statement back as a whole.
        sqlx::Error::Database(error) => Judged::outcome_of(error.as_ref()).unwrap_or(Outcome::RolledBack),
        // All answers were read before the row was missed. A value that did not decode is no such proof: its stream is
        // dropped where it stands, and a deferred constraint or a lost connection may still take the statement back.
        sqlx::Error::RowNotFound => Outcome::Completed,
        error if has_too_many_values(error) => Outcome::NotExecuted,
        sqlx::Error::Encode(_)
        | sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::InvalidSavePointStatement
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed => Outcome::NotExecuted,
        _ => Outcome::Unknown,
    }
}

/// The outcome of a refusal to write.
pub(super) fn outcome_of_refusal(error: &sqlx::Error) -> Outcome {
    let judged = error.as_database_error().and_then(Judged::outcome_of);
    judged.unwrap_or(Outcome::NotExecuted)
}

impl From<sqlx::Error> for Error {
    /// Takes an error of ours out of the `sqlx::Error` it travelled in; wraps any other.
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(io) => match io.downcast::<Self>() {
                Ok(ours) => ours,
                Err(io) => Self::Database(sqlx::Error::Io(io)),
            },
            sqlx::Error::Configuration(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => Self::Database(sqlx::Error::Configuration(inner)),
            },
            sqlx::Error::Tls(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => Self::Database(sqlx::Error::Tls(inner)),
            },
            sqlx::Error::Database(ref inner)
                if detail::is_read_only(inner.as_ref())
                    && Judged::outcome_of(inner.as_ref()) != Some(Outcome::Unknown) =>
            {
                Self::ReadOnly { source: error }
            }
            other => Self::Database(other),
        }
    }
}

impl From<Error> for sqlx::Error {
    /// Puts an error of ours into the `sqlx::Error` that fits its kind; a driver's own error comes out as it was.
    fn from(error: Error) -> Self {
        match error {
            Error::Database(source) | Error::ReadOnly { source } => source,
            Error::Config(_) => Self::Configuration(Box::new(error)),
            Error::Tls { .. } => Self::Tls(Box::new(error)),
            error => Self::Io(io::Error::new(io_kind(&error), error)),
        }
    }
}

/// Whether the driver has refused a statement for the number of its values: it counts them before it writes anything
/// (sqlx 0.9.0).
pub(crate) fn has_too_many_values(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Protocol(text) if text.contains("too many arguments for query"))
}

/// What stands in the place of an answer that did not come in time.
pub(crate) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

fn io_kind(error: &Error) -> io::ErrorKind {
    match error {
        Error::Dns { .. } => io::ErrorKind::NotFound,
        Error::Unreachable { reason: Unreachable::Refused, .. } => io::ErrorKind::ConnectionRefused,
        Error::Unreachable { .. }
        | Error::NoWriter { .. }
        | Error::PoolExhausted { .. }
        | Error::DeadlineTooClose { .. }
        | Error::DeadlineReached { .. } => io::ErrorKind::TimedOut,
        Error::Authentication { .. } | Error::Credentials(_) => io::ErrorKind::PermissionDenied,
        Error::ConnectionLost { .. } => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::Other,
    }
}

/// So much of a text is shown, in bytes. The longest that a server has reason to send are of some hundreds; what stands in the log
/// and in events is kept, and whoever answers a login in a server's place may send 16 MiB.
const SHOWN: usize = 4096;

/// An error and its causes on one line; a cause that the text above already shows is left out. A server's words, and what a
/// user has typed in them, may hold line breaks: written as they are, they would be lines of the log of their own.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = cut(error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cut(cause.to_string());
        if text.len() < SHOWN && !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    on_one_line(&cut(text))
}

/// The beginning of it, where it is longer than anybody would read.
fn cut(mut text: String) -> String {
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// With control characters, and what else ends a line somewhere, as escapes.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_of_the_log_whatever_it_quotes() {
        let error = sqlx::Error::Protocol("x\r\n{\"_aws\":{}}\u{85}\u{2028}\tend é".to_owned());
        let text = chain(&error);
        assert!(text.ends_with(r#"x\r\n{"_aws":{}}\u{85}\u{2028}\tend é"#), "{text}");
        assert_eq!(format!("{:?}", Error::from(error)).lines().count(), 1);
    }

    #[test]
    fn of_a_text_without_end_the_beginning_is_shown() {
        for long in ["\n".repeat(1 << 20), "é".repeat(1 << 20), "a".repeat(SHOWN + 1)] {
            let text = chain(&Error::Database(sqlx::Error::Protocol(long)));
            assert!(
                text.ends_with('…') && text.len() <= 2 * SHOWN + 8 && text.capacity() < 4 * SHOWN,
                "{}",
                text.len()
            );
        }
        let whole = "a".repeat(SHOWN / 2);
        assert!(chain(&sqlx::Error::Protocol(whole.clone())).ends_with(&whole));
    }
}
