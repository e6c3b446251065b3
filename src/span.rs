//! Spans of what is waited for, in OpenTelemetry's words for database clients
//! (<https://opentelemetry.io/docs/specs/semconv/database/database-spans/>). Without the feature `otel` there are none, and
//! nothing of this costs anything.
//!
//! No span holds a text or a parameter: the first word of a statement is its name.

use crate::error::{Error, sqlstate};

/// A word that is longer is no statement's.
const LONGEST_WORD: usize = 16;

/// The first word of a statement, in capitals; of one that begins otherwise, nothing is told.
pub(crate) fn first_word(sql: &str) -> String {
    let text = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if (1..=LONGEST_WORD).contains(&length) { text[..length].to_ascii_uppercase() } else { "STATEMENT".to_owned() }
}

/// A span to be, around one future.
pub(crate) struct Watch(#[cfg(feature = "otel")] tracing::Span);

/// What a span is told of a failure.
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "without spans nobody asks"))]
pub(crate) trait Failure {
    /// The server's code, or what kind of error it is.
    fn kind(&self) -> String;
    fn code(&self) -> Option<String>;
}

impl Failure for Error {
    fn kind(&self) -> String {
        Self::kind(self).to_owned()
    }

    fn code(&self) -> Option<String> {
        self.sqlstate().map(Into::into)
    }
}

impl Failure for sqlx::Error {
    fn kind(&self) -> String {
        match self {
            Self::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(ours) => ours.kind().to_owned(),
                None => "Io".to_owned(),
            },
            _ => "Database".to_owned(),
        }
    }

    fn code(&self) -> Option<String> {
        self.as_database_error().and_then(sqlstate).map(Into::into)
    }
}

#[cfg(not(feature = "otel"))]
impl Watch {
    pub(crate) fn statement(_system: &str, _sql: &str) -> Self {
        Self()
    }

    pub(crate) fn connect(_system: &str, _host: &str, _port: u16) -> Self {
        Self()
    }

    pub(crate) fn over<T, E: Failure, F: Future<Output = Result<T, E>>>(self, future: F) -> F {
        future
    }
}

#[cfg(not(feature = "otel"))]
pub(crate) fn at(_host: &str, _port: u16) {}

#[cfg(not(feature = "otel"))]
pub(crate) fn inherited<F>(future: F) -> F {
    future
}

#[cfg(feature = "otel")]
pub(crate) use self::otel::{at, inherited};

#[cfg(feature = "otel")]
mod otel {
    use tracing::field::Empty;
    use tracing::{Instrument, Span, info_span};

    use super::{Failure, Watch, first_word};

    /// `db.system.name`: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/db/>.
    fn system(family: &str) -> &str {
        if family == "postgres" { "postgresql" } else { family }
    }

    impl Watch {
        /// Of a statement of the application, with all that it waits for: a connection, settings replayed, the server.
        pub(crate) fn statement(family: &str, sql: &str) -> Self {
            let summary = first_word(sql);
            Self(info_span!(
                target: "lambda_rds",
                "statement",
                otel.name = summary,
                otel.kind = "client",
                otel.status_code = Empty,
                db.system.name = system(family),
                db.operation.name = summary,
                db.query.summary = summary,
                db.response.status_code = Empty,
                server.address = Empty,
                server.port = Empty,
                "error.type" = Empty,
            ))
        }

        /// Of one connect, from the socket to the end of the login.
        pub(crate) fn connect(family: &str, host: &str, port: u16) -> Self {
            Self(info_span!(
                target: "lambda_rds",
                "connect",
                otel.name = "connect",
                otel.kind = "client",
                otel.status_code = Empty,
                db.system.name = system(family),
                db.response.status_code = Empty,
                server.address = host,
                server.port = port,
                "error.type" = Empty,
            ))
        }

        pub(crate) async fn over<T, E: Failure>(self, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
            let result = future.instrument(self.0.clone()).await;
            if let Err(error) = &result {
                let code = error.code();
                self.0.record("otel.status_code", "ERROR");
                self.0.record("error.type", code.clone().unwrap_or_else(|| error.kind()));
                if let Some(code) = code {
                    self.0.record("db.response.status_code", code);
                }
            }
            result
        }
    }

    /// Where the statement is run for which something is done now.
    pub(crate) fn at(host: &str, port: u16) {
        let span = Span::current();
        span.record("server.address", host);
        span.record("server.port", port);
    }

    /// What is begun for somebody, and may outlive him, is part of what he waits for.
    pub(crate) fn inherited<F: Future>(future: F) -> impl Future<Output = F::Output> {
        future.in_current_span()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_its_first_word_and_by_nothing_that_it_holds() {
        for (sql, name) in [
            ("select 'secret'", "SELECT"),
            ("  (select 1)", "SELECT"),
            ("Insert into t values (1)", "INSERT"),
            ("/* secret */ select 1", "STATEMENT"),
            ("'secret'", "STATEMENT"),
            ("abcdefghijklmnopqrstuvwxyz", "STATEMENT"),
            ("", "STATEMENT"),
        ] {
            assert_eq!(first_word(sql), name, "{sql}");
        }
    }
}
