//! Why a session keeps a physical connection to itself.

use std::fmt;

/// How much of a statement a [`PinReason`] shows: enough to find it in the code, never a whole text.
const SHOWN: usize = 80;

/// How much of a statement is looked at for that, in bytes: comments and white space may come before it, and megabytes of
/// them are no reason to read megabytes.
const LOOKED_AT: usize = 1024;

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

    /// The statement that pinned, on one line, without comments, and up to its first string or number; parameters are
    /// never part of it.
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

/// One line of at most [`SHOWN`] characters, without comments, up to the first literal: a string, a number, or what one of
/// the engines may take for one. That may hold what must not be logged.
///
/// What comes after it is not shown either: where a literal ends takes more than counting quotes (`E'\''`, a backslash that
/// is one or not), and a wrong guess shows the next one.
pub(crate) fn shorten(sql: &str) -> String {
    let looked_at = &sql[..sql.floor_char_boundary(LOOKED_AT)];
    let is_whole = looked_at.len() == sql.len();
    let mut line = String::with_capacity(SHOWN);
    let (mut shown, mut at) = (0, 0);
    // What stands before the next character: a part of the same word, or a gap.
    let (mut in_word, mut gap) = (false, false);
    while let Some(next) = looked_at[at..].chars().next() {
        let rest = &looked_at[at..];
        let passed = if next.is_whitespace() { Some(next.len_utf8()) } else { comment(rest, is_whole) };
        if let Some(length) = passed {
            (in_word, gap) = (false, !line.is_empty());
            at += length;
            continue;
        }
        if shown + usize::from(gap) >= SHOWN {
            break;
        }
        if gap {
            line.push(' ');
            shown += 1;
        }
        let is_secret = match next {
            // A string for MySQL, a name for PostgreSQL.
            '\'' | '"' => true,
            '0'..='9' => !in_word,
            // A dollar quote, `$$` or `$tag$`, and not a parameter.
            '$' => !rest[1..].starts_with(|next: char| next.is_ascii_digit()),
            // A value that needs no quotes: a token may be a word.
            _ if !in_word && gives_a_value(&line) => true,
            _ => next == '#' || rest.starts_with("--") || rest.starts_with("/*"),
        };
        if is_secret {
            line.push_str("'…'");
            return line;
        }
        line.push(next);
        shown += 1;
        (in_word, gap) = (next.is_alphanumeric() || matches!(next, '_' | '$') || !next.is_ascii(), false);
        at += next.len_utf8();
    }
    if at < sql.len() {
        line.push('…');
    }
    line
}

/// Whether what comes next is what something is set to.
fn gives_a_value(line: &str) -> bool {
    let line = line.rsplit(';').next().unwrap_or_default().trim();
    let sets = line.split_whitespace().any(|word| word.eq_ignore_ascii_case("set"));
    let ends_with = |word: &str| {
        line.len() > word.len() && line.as_bytes()[line.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    };
    ends_with("=") || ends_with(" to") && sets
}

/// The length of the comment that begins here, if it is one to both engines and ends at the same place for them: PostgreSQL's
/// lie in one another, MySQL may execute some, and a line ends at a carriage return for one of them only.
fn comment(text: &str, is_whole: bool) -> Option<usize> {
    if let Some(inside) = text.strip_prefix("/*") {
        let end = inside.find("*/")?;
        let plain = !inside.starts_with(['!', 'M']) && !inside[..=end].contains("/*");
        return plain.then_some(end + 4);
    }
    let line = text.strip_prefix("--").filter(|line| line.is_empty() || line.starts_with([' ', '\t', '\n']))?;
    let end = line.find('\n').or_else(|| is_whole.then_some(line.len()))?;
    (!line[..end].contains('\r')).then_some(end + 2)
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
            (r"set x = E'\'hunter2'", "set x = '…'"),
            ("set app.jwt = hunter2x; select 1", "set app.jwt = '…'"),
            ("SET app.jwt TO hunter2x", "SET app.jwt TO '…'"),
            ("set app.jwt=hunter2x", "set app.jwt='…'"),
            ("alter table a rename to b", "alter table a rename to b"),
            ("begin; set app.jwt to hunter2x; commit", "begin; set app.jwt to '…'"),
            (
                "create temp table t (); set session app.jwt to hunter2x",
                "create temp table t (); set session app.jwt to '…'",
            ),
            ("alter role app set app.jwt to hunter2x", "alter role app set app.jwt to '…'"),
            ("set x = 1; alter table a rename to b", "set x = '…'"),
            ("do $body$ hunter2 $body$", "do '…'"),
            ("set x = $$hunter2$$", "set x = '…'"),
            ("-- don't\nset x = 'hunter2'", "set x = '…'"),
            ("set @pw = \"hunter2\"", "set @pw = '…'"),
            ("set @pw = 0x68756e74657232", "set @pw = '…'"),
            ("set @n = 10", "set @n = '…'"),
            ("call charge(4111111111111111, 123)", "call charge('…'"),
            ("execute p(4111111111111111)", "execute p('…'"),
            ("call charge(-4111)", "call charge(-'…'"),
            ("call charge(.5)", "call charge(.'…'"),
            ("set x=4111", "set x='…'"),
            ("call `4111`", "call `'…'"),
            ("call p1(t2.c_3, x4y5, é6, 7)", "call p1(t2.c_3, x4y5, é6, '…'"),
            ("call charge($1, ?, $2)", "call charge($1, ?, $2)"),
            ("listen $1", "listen $1"),
            ("", ""),
            (" 'hunter2'", "'…'"),
        ] {
            assert_eq!(shorten(sql), shown, "{sql}");
        }
    }

    #[test]
    fn no_comment_is_shown_nor_what_only_one_engine_takes_for_its_end() {
        for (sql, shown) in [
            ("/* orders.rs:12 token=hunter5 */ listen /**/ x -- hunter5", "listen x"),
            ("select 1 /* token=hunter5 */; select 2", "select '…'"),
            ("call p() /* token=hunter5 */; call q()", "call p() ; call q()"),
            ("/*+ hint */ -- hunter5\n--\ncall p()", "call p()"),
            ("call p() # hunter5\n; call q()", "call p() '…'"),
            ("call p() --hunter5\n; call q()", "call p() '…'"),
            ("call p(--'\nhunter5')", "call p('…'"),
            ("call p() -- a\rhunter5\n; call q()", "call p() '…'"),
            ("/* /* */ ' */ hunter5'", "'…'"),
            ("/* a /*/ ' */ hunter5'", "'…'"),
            ("/*! ' */ hunter5'", "'…'"),
            ("/*M! ' */ hunter5'", "'…'"),
            ("call p() /* hunter5", "call p() '…'"),
            ("a - b / c", "a - b / c"),
        ] {
            assert_eq!(shorten(sql), shown, "{sql}");
        }
    }

    #[test]
    fn a_long_statement_is_shown_as_far_as_it_is_looked_at() {
        let count = |sql: &str| shorten(sql).chars().count();
        assert_eq!(count(&"é".repeat(500)), SHOWN + 1);
        assert_eq!(count(&"é".repeat(SHOWN)), SHOWN);
        assert!(count(&"a ".repeat(500)) <= SHOWN + 1);
        for before in
            [" ".repeat(1 << 20), format!("/*{}*/", "é".repeat(1 << 20)), format!("-- {}\n", "a".repeat(1 << 20))]
        {
            assert!(count(&format!("{before}call p(4111)")) <= SHOWN + 3);
            assert!(!shorten(&format!("{before}call p(4111)")).contains('p'), "nobody looks that far");
        }
    }
}
