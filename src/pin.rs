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
    /// Several statements in one text, not all of them plain.
    SeveralStatements,
    /// A temporary table, view or sequence, or a reference to the session's temporary schema.
    TemporaryObject,
    /// An advisory lock that belongs to the session.
    AdvisoryLock,
    /// `LISTEN`.
    Listen,
    /// A statement prepared by SQL.
    PreparedStatement,
    /// A cursor that outlives its transaction.
    HoldableCursor,
    /// A library loaded into the server process.
    Library,
    /// A procedure or a block of code, which may do anything to the session.
    Procedure,
    /// A variable of the session's own: `@x`.
    UserVariable,
    /// Tables locked by the session: `LOCK TABLES`.
    TableLock,
    /// A table opened with `HANDLER`.
    Handler,
    /// A setting whose name or value the text does not tell, or that cannot be moved to another connection.
    Setting,
}

/// What sessions may have left on a connection, from nothing to anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums, reason = "sealed in with the trait that speaks of it")]
#[allow(unnameable_types, reason = "sealed in with the trait that speaks of it")]
pub enum Soil {
    /// Nothing.
    #[default]
    None,
    /// What the server can take away, and what the driver has prepared stays good.
    Traces,
    /// What the server can take away.
    Unknown,
    /// What nothing takes away.
    Indelible,
}

impl PinCause {
    /// Whether a statement can take away all that it stands for.
    pub(crate) fn can_end(self) -> bool {
        matches!(
            self,
            Self::TemporaryObject
                | Self::AdvisoryLock
                | Self::Listen
                | Self::PreparedStatement
                | Self::HoldableCursor
                | Self::TableLock
        )
    }
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
        let cause = match self.cause {
            PinCause::HandedOut => return f.write_str("the physical connection was handed out"),
            PinCause::UnknownStatement => "a statement that may change the session",
            PinCause::RawTransaction => "transaction control as text",
            PinCause::SeveralStatements => "several statements in one text",
            PinCause::TemporaryObject => "a temporary object",
            PinCause::AdvisoryLock => "an advisory lock of the session",
            PinCause::Listen => "a channel listened to",
            PinCause::PreparedStatement => "a statement prepared by SQL",
            PinCause::HoldableCursor => "a cursor that outlives its transaction",
            PinCause::Library => "a library loaded",
            PinCause::Procedure => "a procedure or a block of code",
            PinCause::UserVariable => "a variable of the session",
            PinCause::TableLock => "tables locked by the session",
            PinCause::Handler => "a table opened with HANDLER",
            PinCause::Setting => "a setting that cannot be followed",
        };
        write!(f, "{cause}: {}", self.statement)
    }
}

/// One line of at most [`SHOWN`] characters, up to the first literal, number or comment: those may hold what must not be
/// logged.
///
/// What comes after it is not shown either: where a literal ends takes more than counting quotes (`E'\\''`, an apostrophe
/// in a comment), and a wrong guess shows the next one. No more of a long text is looked at than is shown.
pub(crate) fn shorten(sql: &str) -> String {
    let mut line = String::with_capacity(SHOWN);
    let (mut shown, mut in_word, mut spaced) = (0, false, false);
    for (at, found) in sql.char_indices() {
        if found.is_whitespace() {
            (in_word, spaced) = (false, !line.is_empty());
            continue;
        }
        let mark = secret_begins(found, &sql[at + found.len_utf8()..], in_word);
        if shown + usize::from(spaced) >= SHOWN || mark.is_some() {
            let blank = if spaced && mark.is_some() { " " } else { "" };
            line.push_str(blank);
            line.push_str(mark.unwrap_or("…"));
            break;
        }
        if spaced {
            line.push(' ');
            shown += 1;
        }
        line.push(found);
        shown += 1;
        (in_word, spaced) = (found.is_alphanumeric() || matches!(found, '_' | '$'), false);
    }
    line
}

/// What stands in the place of a literal, a number or a comment that begins here.
fn secret_begins(first: char, rest: &str, in_word: bool) -> Option<&'static str> {
    match first {
        // A string for MySQL, a name for PostgreSQL.
        '\'' | '"' => Some("'…'"),
        // A dollar quote, `$$` or `$tag$`, and not a parameter.
        '$' if !rest.starts_with(|next: char| next.is_ascii_digit()) => Some("'…'"),
        // `0x68756e74657232` is a string too.
        '0' if !in_word && rest.starts_with(['x', 'X']) => Some("'…'"),
        '0'..='9' if !in_word => Some("…"),
        '-' if rest.starts_with('-') => Some("…"),
        '/' if rest.starts_with('*') => Some("…"),
        // A comment of MySQL's; an operator elsewhere, and no loss.
        '#' => Some("…"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_shown_on_one_line_without_its_literals() {
        for (sql, shown) in [
            ("listen  orders", "listen orders"),
            ("create role x\n  password 'hunter2'", "create role x password '…'"),
            ("set x = 'a b  c', y = 'd'", "set x = '…'"),
            (r"set x = E'\'hunter2'", "set x = E'…'"),
            ("do $body$ hunter2 $body$", "do '…'"),
            ("set x = $$hunter2$$", "set x = '…'"),
            ("-- don't\nset x = 'hunter2'", "…"),
            ("call charge(4111111111111111, 123)", "call charge(…"),
            ("execute p(4111111111111111)", "execute p(…"),
            ("select 1 /* token=hunter5 */; select 2", "select …"),
            ("select a /* token=hunter5 */; select 2", "select a …"),
            ("select a -- token=hunter5", "select a …"),
            ("select a # token=hunter5", "select a …"),
            ("savepoint s1", "savepoint s1"),
            ("lock t1, t2_3", "lock t1, t2_3"),
            ("set @pw = \"hunter2\"", "set @pw = '…'"),
            ("set @pw = 0x68756e74657232", "set @pw = '…'"),
            ("set @n = 10", "set @n = …"),
            ("listen $1", "listen $1"),
            ("", ""),
        ] {
            assert_eq!(shorten(sql), shown);
        }
        assert_eq!(shorten(&"é".repeat(500)).chars().count(), SHOWN + 1);
        assert!(shorten(&"a b ".repeat(500)).chars().count() <= SHOWN + 1);
    }
}
