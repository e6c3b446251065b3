//! An error with its story.

use std::fmt;

use super::Proxy;
use crate::engine::Engine;
use crate::error::{Error, chain};
use crate::status::Status;

/// An error, its causes, the proxy's numbers and its last events, as a text that can be pasted into an issue: made by
/// [`Proxy::report`].
///
/// No text of this crate's own holds a secret. Hosts and users are named, and what the server says is passed on as it is, which
/// may quote a value: look it through before you publish it.
#[derive(Debug, Clone)]
pub struct Report {
    error: String,
    status: Status,
    engine: &'static str,
    events: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lambda-rds {}, {}", env!("CARGO_PKG_VERSION"), self.engine)?;
        writeln!(f, "\n{}\n\n{}", self.error, self.status)?;
        writeln!(f, "\nthe last events:")?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl<DB: Engine> Proxy<DB> {
    /// What is known of an error that came from this proxy: for a log, or an issue.
    ///
    /// ```no_run
    /// # async fn example(proxy: lambda_rds::PgProxy) -> Result<(), lambda_rds::Error> {
    /// let done = sqlx::query("select 1").execute(&mut proxy.get_connection().await?).await;
    /// if let Err(error) = done {
    ///     let error = error.into();
    ///     eprintln!("{}", proxy.report(&error));
    ///     return Err(error);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn report(&self, error: &Error) -> Report {
        let code = error.sqlstate().map(|code| format!(", SQLSTATE {code}")).unwrap_or_default();
        let again = if error.is_retryable() { "can be tried again" } else { "not to be tried again as it is" };
        let outcome = error.outcome();
        Report {
            error: format!("{}: {}\n{outcome:?}{code}, {again}", error.kind(), chain(error)),
            status: self.status(),
            engine: DB::RULES.family,
            events: self.0.recent.lines(),
        }
    }
}
