//! Why a session keeps a physical connection to itself.

use std::fmt;

/// How much of a statement a [`PinReason`] shows: enough to find it in the code, never a whole text.
const SHOWN: usize = 80;

/// Why a session is pinned to one physical connection.
///
/// A pinned session holds its connection until it ends; then the connection is cleaned before anybody else gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinReason {
    cause: PinCause,
    statement: String,
}

/// The causes of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinCause {
    /// The application asked for the physical connection (`pin()`, `Acquire`).
    HandedOut,
    /// A statement whose effect on the session is not known to end with it.
    UnknownStatement,
    /// Transaction control sent as a text of its own.
    RawTransaction,
    /// Several statements in one text.
    SeveralStatements,
}

impl PinReason {
    pub(crate) fn new(cause: PinCause, sql: &str) -> Self {
        Self { cause, statement: shorten(sql) }
    }

    /// What kind of cause it was.
    pub fn cause(&self) -> PinCause {
        self.cause
    }

    /// The statement that pinned, on one line and shortened; parameters are never part of it.
    pub fn statement(&self) -> &str {
        &self.statement
    }
}

impl fmt::Display for PinReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            PinCause::HandedOut => f.write_str("the physical connection was handed out"),
            PinCause::UnknownStatement => write!(f, "a statement that may change the session: {}", self.statement),
            PinCause::RawTransaction => write!(f, "transaction control as text: {}", self.statement),
            PinCause::SeveralStatements => write!(f, "several statements in one text: {}", self.statement),
        }
    }
}

/// One line of at most [`SHOWN`] characters, with string literals left out: they may hold what must not be logged.
fn shorten(sql: &str) -> String {
    let mut line = String::with_capacity(SHOWN);
    let mut quoted = false;
    let mut shown = 0;
    for word in sql.split_whitespace() {
        if shown > 0 && !quoted {
            line.push(' ');
            shown += 1;
        }
        for character in word.chars() {
            if character == '\'' {
                if !quoted {
                    line.push_str("'…'");
                    shown += 3;
                }
                quoted = !quoted;
            } else if !quoted {
                line.push(character);
                shown += 1;
            }
            if shown >= SHOWN {
                line.push('…');
                return line;
            }
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_shown_on_one_line_without_its_literals() {
        for (sql, shown) in [
            ("listen  orders", "listen orders"),
            ("create role x\n  password 'hunter2'", "create role x password '…'"),
            ("set x = 'a b  c', y = 'd'", "set x = '…', y = '…'"),
            ("", ""),
        ] {
            assert_eq!(shorten(sql), shown);
        }
        assert_eq!(shorten(&"é".repeat(500)).chars().count(), SHOWN + 1);
    }
}
