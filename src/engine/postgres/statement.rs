//! One statement of a text, as far as its words tell.

use super::called::{Called, both};
use super::control;
use super::lexer::Lexer;
use super::settings::{self, Change, TEMPORARY};
use crate::engine::token::{Token, is};
use crate::engine::{Sequence, Staleness};
use crate::pin::PinCause;

/// Statements that leave nothing in the session by themselves: queries, changes of rows, definitions of lasting objects,
/// and what ends with its transaction. The functions they call and the temporary objects they make show in their words.
pub(super) fn is_plain(first: &str) -> bool {
    let known: &[&str] = match first.len() {
        4 => &["with", "copy", "drop", "lock", "move", "show"],
        5 => &["alter", "close", "fetch", "grant", "merge", "table"],
        // What a foreign server says to `IMPORT FOREIGN SCHEMA` may be definitions of foreign tables only.
        6 => &["select", "insert", "update", "delete", "create", "values", "notify", "revoke", "vacuum", "import"],
        // What SQL has prepared pins by its `PREPARE`, with all that its words tell.
        7 => &["analyse", "analyze", "cluster", "comment", "declare", "execute", "explain", "refresh", "reindex"],
        8 => &["reassign", "security", "truncate", "unlisten"],
        10 => &["checkpoint"],
        _ => &[],
    };
    known.iter().any(|known| first.eq_ignore_ascii_case(known))
}

/// Statements that are done all or nothing: in one transaction, if none is open. Others go through several, as `VACUUM` does,
/// `ANALYZE` of several tables, `REINDEX SCHEMA`, or leave what no rollback takes back.
fn is_in_one_transaction(first: &str) -> bool {
    const WORDS: [&str; 43] = [
        "select",
        "insert",
        "update",
        "delete",
        "merge",
        "values",
        "table",
        "with",
        "copy",
        "explain",
        "declare",
        "fetch",
        "move",
        "close",
        "lock",
        "truncate",
        "create",
        "alter",
        "drop",
        "comment",
        "grant",
        "revoke",
        "security",
        "reassign",
        "import",
        "refresh",
        "notify",
        "listen",
        "unlisten",
        "set",
        "reset",
        "show",
        "prepare",
        "deallocate",
        "discard",
        "begin",
        "start",
        "commit",
        "end",
        "abort",
        "rollback",
        "savepoint",
        "release",
    ];
    WORDS.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// Statements that define nothing, and give nothing to another owner.
fn defines_nothing(first: &str) -> bool {
    let known: &[&str] = match first.len() {
        3 => &["set", "end"],
        4 => &["with", "copy", "drop", "lock", "move", "show"],
        5 => &["abort", "begin", "close", "fetch", "grant", "merge", "reset", "start", "table"],
        6 => &["commit", "delete", "insert", "listen", "notify", "revoke", "select", "update", "values"],
        7 => &["analyse", "analyze", "comment", "declare", "discard", "execute", "explain", "prepare", "release"],
        8 => &["rollback", "security", "truncate", "unlisten"],
        9 => &["savepoint"],
        10 => &["deallocate"],
        _ => &[],
    };
    known.iter().any(|known| first.eq_ignore_ascii_case(known))
}

/// Objects that are outside of any transaction, in part or as a whole.
const OUTSIDE: [&str; 4] = ["database", "tablespace", "subscription", "system"];

/// One statement, as far as its words tell.
pub(super) struct Statement<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) first: Token<'a>,
    pub(super) second: Option<Token<'a>>,
    /// What pins whatever the statement is: a function, a temporary object, a cursor that is held.
    pub(super) cause: Option<PinCause>,
    /// It calls a function that runs a text.
    pub(super) runs_text: bool,
    pub(super) sequence: Sequence,
    /// `UPDATE` was among its words.
    pub(super) updates: bool,
    /// `ON COMMIT DROP`
    pub(super) drops: bool,
    /// `COPY` from or to the client.
    pub(super) copies: bool,
    /// `CONCURRENTLY`: in transactions of its own, of which the first stay when the last one fails.
    pub(super) concurrently: bool,
}

impl<'a> Statement<'a> {
    /// Of which only the first token is read.
    pub(super) fn of(start: usize, first: Token<'a>) -> Self {
        let generates = ["insert", "merge", "update", "copy"].iter().any(|word| is(first, word));
        Self {
            start,
            end: start,
            first,
            second: None,
            cause: None,
            runs_text: false,
            sequence: if generates { Sequence::GENERATES } else { Sequence::NONE },
            updates: is(first, "update"),
            drops: false,
            copies: false,
            concurrently: false,
        }
    }

    /// `name (`
    pub(super) fn called(&mut self, name: Token<'a>) {
        let mut called = Called::default();
        called.add(name);
        self.calls(called);
    }

    pub(super) fn calls(&mut self, called: Called) {
        self.sequence |= called.sequence;
        self.runs_text |= called.runs_text;
        if let Some(cause) = called.cause {
            self.pin(cause);
        }
    }

    /// A statement that leaves two different things behind is not understood: what ends the one leaves the other, and what
    /// cleans up after the one may not clean up after the other.
    pub(super) fn pin(&mut self, cause: PinCause) {
        self.cause = Some(both(self.cause, cause));
    }

    /// A word or identifier anywhere in the statement, and the two tokens before it.
    pub(super) fn named(&mut self, last_but_one: Token<'a>, last: Token<'a>, token: Token<'a>) {
        let (name, quoted) = match token {
            Token::Word(name) => (name.as_bytes(), false),
            Token::Identifier(name) => (name.as_bytes(), true),
            _ => return,
        };
        if quoted && last == Token::Symbol(b'&') && is(last_but_one, "u") {
            // U&"…" spells any name by escapes.
            self.pin(PinCause::UnknownStatement);
        }
        let Some(initial) = name.first().map(|byte| byte | 0x20) else { return };
        let same = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let cause = match (initial, name.len()) {
            // A column may be called so; an object is temporary only after these.
            (b't', 4 | 9) if !quoted && (same("temp") || same("temporary")) => {
                let made = ["create", "into", "replace", "global", "local"].iter().any(|word| is(last, word));
                // A lasting table may be called so.
                let is_filled = is(last, "into") && (is(self.first, "insert") || is(self.first, "merge"));
                (made && !is_filled).then_some(PinCause::TemporaryObject)
            }
            (b'h', 4) if !quoted && same("hold") && is(last, "with") && is(self.first, "declare") => {
                Some(PinCause::HoldableCursor)
            }
            (b'i' | b'u', 6) | (b'm', 5) if !quoted && (same("insert") || same("update") || same("merge")) => {
                self.changes_rows(last, token);
                None
            }
            // An update of that view is a `SET`.
            (b'p', 11) if self.updates && same("pg_settings") => Some(PinCause::UnknownStatement),
            (b'p', 7..) if name[..7].eq_ignore_ascii_case(TEMPORARY.as_bytes()) => Some(PinCause::TemporaryObject),
            _ => return,
        };
        if let Some(cause) = cause {
            self.pin(cause);
        }
    }

    /// `INSERT`, `UPDATE` or `MERGE` somewhere in the statement.
    pub(super) fn changes_rows(&mut self, last: Token<'a>, token: Token<'a>) {
        self.updates |= is(token, "update");
        // `FOR UPDATE` and `FOR NO KEY UPDATE` lock.
        if (is(self.first, "with") || is(self.first, "explain")) && !is(last, "for") && !is(last, "key") {
            self.sequence |= Sequence::GENERATES;
        }
    }

    pub(super) fn is_control(&self) -> bool {
        control::is_control(self.first, self.second)
    }

    pub(super) fn text<'t>(&self, sql: &'t str) -> &'t str {
        sql[self.start..self.end].trim_ascii_end()
    }

    /// What a statement that ends with its transaction makes of what is prepared: `SET LOCAL`, or a table that is dropped at
    /// the commit. `None` where it lasts, or is another one.
    pub(super) fn passes(&self, sql: &str) -> Option<Staleness> {
        if self.makes_passing(sql) {
            return Some(Staleness::Names);
        }
        if !["set", "reset", "select"].iter().any(|word| is(self.first, word))
            || is(self.first, "select") && self.cause.is_none()
        {
            return None;
        }
        match settings::change(self.text(sql)) {
            Some(Change::Passing(replans)) => Some(replans),
            _ => None,
        }
    }

    /// Whether it makes a temporary table that is dropped at the commit, and nothing else that stays.
    pub(super) fn makes_passing(&self, sql: &str) -> bool {
        let is_temporary = self.drops && self.cause == Some(PinCause::TemporaryObject) && !self.runs_text;
        is_temporary && is_dropped_at_commit(self.text(sql))
    }

    /// Whether it may define, or let live on, what is temporary although none of its words says so: a view of a temporary
    /// table, or a sequence that belongs to one and is given to somebody else. Both stay where the table is dropped.
    pub(super) fn defines(&self) -> bool {
        let Token::Word(first) = self.first else { return true };
        if first.eq_ignore_ascii_case("create") {
            return !["table", "index", "unique"].iter().any(|word| self.second.is_some_and(|second| is(second, word)));
        }
        !defines_nothing(first)
    }

    /// Whether the server refuses it outside of a transaction: <https://www.postgresql.org/docs/current/sql-lock.html>, `sql-declare`.
    pub(super) fn needs_transaction(&self) -> bool {
        is(self.first, "lock") || is(self.first, "declare") && self.cause != Some(PinCause::HoldableCursor)
    }

    /// Whether it is known to be done all or nothing. What SQL has prepared is, and `CALL` and `DO` are looked after by their
    /// cause.
    pub(super) fn is_atomic(&self) -> bool {
        let Token::Word(first) = self.first else { return false };
        let outside = OUTSIDE.iter().any(|word| self.second.is_some_and(|second| is(second, word)));
        let of_object = ["create", "alter", "drop"].iter().any(|word| is(self.first, word));
        let known = is_in_one_transaction(first) || is(self.first, "execute");
        known && !self.concurrently && !(of_object && outside)
    }

    pub(super) fn pins(&self) -> Option<PinCause> {
        self.pins_by(if self.runs_text { Some(PinCause::UnknownStatement) } else { self.cause })
    }

    /// Why it pins, where its functions and the objects that it makes are a cause or none.
    pub(super) fn pins_by(&self, cause: Option<PinCause>) -> Option<PinCause> {
        let Token::Word(first) = self.first else { return Some(PinCause::UnknownStatement) };
        let among = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
        let second = |word| self.second.is_some_and(|token| is(token, word));
        if among(&["execute"]) && self.second.is_none_or(is_drivers) {
            // It may do anything.
            return Some(PinCause::UnknownStatement);
        }
        if is_plain(first) {
            return cause;
        }
        if self.is_control() || among(&["commit", "rollback"]) && second("prepared") {
            return cause;
        }
        if let Some(cause) = cause.filter(|cause| *cause == PinCause::UnknownStatement) {
            return Some(cause);
        }
        Some(if among(&["listen"]) {
            PinCause::Listen
        } else if among(&["prepare"]) {
            // What it does each time that it is executed is to be said here.
            cause.map_or(PinCause::PreparedStatement, |_| PinCause::UnknownStatement)
        } else if among(&["load"]) {
            PinCause::Library
        } else if among(&["call", "do"]) {
            PinCause::Procedure
        } else if among(&["set", "reset"]) {
            PinCause::Setting
        } else {
            PinCause::UnknownStatement
        })
    }
}

/// Whether a statement that was prepared may be one of the driver's, which anybody may have prepared.
pub(super) fn is_drivers(name: Token<'_>) -> bool {
    pub(super) const NAMES: &str = "sqlx_s_";
    match name {
        Token::Word(name) | Token::Identifier(name) => {
            name.get(..NAMES.len()).is_none_or(|start| start.eq_ignore_ascii_case(NAMES)) && name.len() >= NAMES.len()
        }
        _ => true,
    }
}

/// `CREATE [LOCAL | GLOBAL] TEMPORARY TABLE …`, with nothing in it of the session's temporary schema: its `ON COMMIT DROP` was
/// seen.
pub(super) fn is_dropped_at_commit(statement: &str) -> bool {
    let mut tokens = Lexer::new(statement).skip(1);
    let mut next = tokens.next();
    if next.is_some_and(|token| is(token, "local") || is(token, "global")) {
        next = tokens.next();
    }
    let temporary = next.is_some_and(|token| is(token, "temp") || is(token, "temporary"));
    temporary && tokens.next().is_some_and(|token| is(token, "table"))
}
