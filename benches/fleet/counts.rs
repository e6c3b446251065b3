//! What the server has counted, read from its log.

use std::collections::HashSet;

use crate::support::{on_mysql, on_postgres};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Logins that led to a session.
    pub(crate) connects: usize,
    /// Those that found no slot, before the login or after it.
    pub(crate) refused: usize,
    /// Meaningful while the server logs them.
    pub(crate) statements: usize,
}

impl Counts {
    pub(crate) fn of_postgres(log: &str) -> Self {
        let (mut logins, mut late, mut refused, mut statements) = (0_usize, 0, 0, 0);
        for line in log.lines() {
            let is_refusal = line.contains(" 53300 ") && line.contains("FATAL:");
            refused += usize::from(is_refusal);
            // The reserved slots are refused after the login.
            late += usize::from(is_refusal && line.contains("remaining connection slots"));
            logins += usize::from(line.contains(on_postgres::LOGIN));
            let of_ours = line.contains(" app@app LOG:  ");
            let is_statement = line.contains("LOG:  execute ") || line.contains("LOG:  statement: ");
            statements += usize::from(of_ours && is_statement);
        }
        Self { connects: logins.saturating_sub(late), refused, statements }
    }

    /// `early` were refused before their login. The server lets one more in than it has slots for, in case it is an
    /// administrator, logs that it came, and sends it away: a session is one that has asked something.
    pub(crate) fn of_mysql(log: &str, early: usize) -> Self {
        let (mut came, mut asked) = (HashSet::new(), HashSet::new());
        let mut statements = 0;
        let login = format!(" {}", on_mysql::LOGIN);
        for line in log.lines() {
            if let Some(session) = session(line, &login) {
                came.insert(session);
            } else if let Some(session) = session(line, " Query\t").or_else(|| session(line, " Execute\t")) {
                asked.insert(session);
                statements += usize::from(came.contains(session));
            }
        }
        let connects = came.intersection(&asked).count();
        Self { connects, refused: early + came.len() - connects, statements }
    }
}

/// Whose line this is: the server's number of the session stands before what happened.
fn session<'a>(line: &'a str, event: &str) -> Option<&'a str> {
    let (before, _) = line.split_once(event)?;
    before.split_whitespace().last()
}
