//! One statement, as far as its words tell.

mod effect;

use super::lexer::Lexer;
use super::passing::passes_for_one_statement;
use super::remembered;
use super::words::WORDS;
use crate::engine::Sequence;
use crate::engine::token::{Token, is};
use crate::engine::words::Word;
use crate::pin::PinCause;

/// Statements that leave nothing in the session by themselves: queries, changes of rows, definitions of lasting objects.
/// The functions they call, the variables they name and the temporary objects they make show in their words.
fn is_plain(first: &str) -> bool {
    let known: &[&str] = match first.len() {
        2 => &["do"],
        4 => &["with", "show", "desc", "drop", "load", "help", "kill"],
        5 => &["table", "alter", "grant", "check", "flush"],
        6 => &["select", "insert", "update", "delete", "values", "create", "rename", "revoke", "repair"],
        7 => &["replace", "explain", "analyze"],
        8 => &["describe", "truncate", "optimize", "checksum"],
        _ => &[],
    };
    known.iter().any(|known| first.eq_ignore_ascii_case(known))
}

/// Settings by which transactions begin or end. A password that is set commits.
pub(super) const CONTROLLING: [&str; 3] = ["autocommit", "completion_type", "password"];

/// What is created, altered, dropped and renamed by statements that commit, with MySQL and with MariaDB; the others are
/// not known to. `AGGREGATE` is a function's.
const OBJECTS: [&str; 20] = [
    "table",
    "tables",
    "view",
    "index",
    "database",
    "schema",
    "user",
    "role",
    "sequence",
    "server",
    "tablespace",
    "logfile",
    "procedure",
    "function",
    "trigger",
    "event",
    "package",
    "prepare",
    "aggregate",
    "library",
];

/// Definitions that may hold statements of their own, with their semicolons.
const ROUTINES: [&str; 6] = ["procedure", "function", "trigger", "event", "package", "aggregate"];

fn is_among(token: Option<Token<'_>>, words: &[&str]) -> bool {
    token.is_some_and(|token| words.iter().any(|word| is(token, word)))
}

/// Its first three words, the object that it defines if it is a definition, and what was found on the way.
pub(super) struct Statement<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) first: Token<'a>,
    pub(super) second: Option<Token<'a>>,
    pub(super) third: Option<Token<'a>>,
    is_plain: bool,
    is_definition: bool,
    /// `CREATE`, `ALTER`, `DROP`, `RENAME`: what.
    object: Option<Token<'a>>,
    /// Statements may follow that are part of it.
    pub(super) has_body: bool,
    temporary: bool,
    /// What pins whatever the statement is: a function, a variable, a temporary object.
    pub(super) cause: Option<PinCause>,
    pub(super) sequence: Sequence,
    /// `SQL_CALC_FOUND_ROWS`
    pub(super) counts: bool,
    /// It stands behind `SET STATEMENT … FOR`.
    prefixed: bool,
    /// `FLUSH TABLES … WITH READ LOCK`, `… FOR EXPORT`.
    locks: bool,
    /// `CREATE TABLE … START TRANSACTION`, of MySQL: it leaves a transaction open.
    begins: bool,
    /// Semicolons were part of it.
    pub(super) body: bool,
    /// It names a setting by which transactions begin or end, or one that may be.
    pub(super) controls: bool,
    /// `OR REPLACE`
    pub(super) replaces: bool,
    /// There is a comma in it, outside of parentheses.
    pub(super) lists: bool,
}

impl<'a> Statement<'a> {
    /// Of which only the first token is read.
    pub(super) fn of(start: usize, end: usize, first: Token<'a>) -> Self {
        let generates = is_among(Some(first), &["insert", "replace", "load", "call", "execute"]);
        // Others may leave standing what an earlier one has left:
        // https://dev.mysql.com/doc/refman/8.4/en/show-warnings.html
        let warns = is_among(Some(first), &["insert", "replace", "update", "delete"]);
        let left = if warns { Sequence::WARNS } else { Sequence::NONE };
        Self {
            start,
            end,
            first,
            second: None,
            third: None,
            is_plain: matches!(first, Token::Word(first) if is_plain(first)),
            is_definition: is_among(Some(first), &["create", "alter", "drop", "rename"]),
            object: None,
            has_body: false,
            temporary: false,
            cause: None,
            sequence: if generates { left | Sequence::GENERATES } else { left },
            counts: false,
            prefixed: false,
            locks: false,
            begins: false,
            body: false,
            controls: false,
            replaces: false,
            lists: false,
        }
    }

    /// `SET STATEMENT … FOR` is read; this one begins the statement itself.
    pub(super) fn followed_by(self, first: Token<'a>, end: usize) -> Self {
        let next = Self::of(self.start, end, first);
        Self { cause: self.cause, sequence: self.sequence | next.sequence, prefixed: true, ..next }
    }

    /// The next token, outside of a routine's body, and the two before it.
    pub(super) fn meet(&mut self, last_but_one: Token<'a>, last: Token<'a>, token: Token<'a>, rest: &Lexer<'a>) {
        match token {
            Token::Symbol(b'(') => self.called(last, rest),
            Token::Symbol(b'@') if !self.is_about_accounts() => self.pin(PinCause::UserVariable),
            Token::Word(word) => self.word(last_but_one, last, token, word),
            _ => {}
        }
        // After a scope the server takes a name in quotes of any kind.
        if let Token::Word(name) | Token::Identifier(name) | Token::String(name) = token
            && (is(last, "@@") || last == Token::Symbol(b'.'))
        {
            self.named(last_but_one, last, name);
        }
        if let Token::Word(name) | Token::Identifier(name) = token {
            self.controls |= CONTROLLING.iter().any(|known| name.eq_ignore_ascii_case(known));
            if self.is_prefix() && remembered::makes_null_a_question(name) {
                self.sequence |= Sequence::READS;
            }
            // The value goes back after the statement; what it has brought about may stay.
            let is_set = self.is_prefix() && (is(last, "statement") || last == Token::Symbol(b','));
            if is_set && !passes_for_one_statement(name) {
                self.pin(PinCause::UnknownStatement);
            }
            if self.shows_variables(last, name) {
                self.sequence |= remembered::shown(rest);
            }
            self.sequence |= remembered::in_oracle_mode(last_but_one, last, name);
        }
    }

    /// `SHOW [SESSION] VARIABLES`
    fn shows_variables(&self, last: Token<'_>, name: &str) -> bool {
        is(self.first, "show") && name.eq_ignore_ascii_case("variables") && !is(last, "global")
    }

    /// `name (`
    fn called(&mut self, name: Token<'a>, rest: &Lexer<'a>) {
        let (Token::Word(name) | Token::Identifier(name) | Token::String(name)) = name else { return };
        match WORDS.find(name) {
            Some(Word::Leaves(cause)) => self.pin(cause),
            Some(Word::Remembers(sequence)) => self.sequence |= sequence,
            Some(Word::InContext) if name.eq_ignore_ascii_case("last_insert_id") => {
                self.sequence |= remembered::last_insert_id(rest);
            }
            Some(Word::InContext | Word::RunsText) | None => {}
        }
    }

    /// `@@name` and `@@session.name`.
    fn named(&mut self, last_but_one: Token<'a>, last: Token<'a>, name: &str) {
        let of_session = is(last_but_one, "session") || is(last_but_one, "local");
        if !is(last, "@@") && !of_session {
            return;
        }
        self.sequence |= remembered::variable(name);
    }

    fn word(&mut self, last_but_one: Token<'a>, last: Token<'a>, token: Token<'a>, word: &str) {
        let same = |known: &str| word.eq_ignore_ascii_case(known);
        if self.is_heading() {
            // An account may have the name too.
            if same("temporary") && is_among(Some(last), &["create", "replace", "drop"]) {
                self.temporary = true;
                self.pin(PinCause::TemporaryObject);
            } else if is_among(Some(token), &OBJECTS) {
                self.object = Some(token);
                self.has_body = self.may_have_body();
            }
        } else if same("for") && is(last, "value") {
            // MariaDB's sequences.
            let numbers = match last_but_one {
                two if is(two, "next") => Sequence::GENERATES,
                two if is(two, "previous") => Sequence::READS_KEPT,
                _ => Sequence::NONE,
            };
            self.sequence |= numbers;
        } else if is(self.first, "flush") {
            self.locks |= same("read") && is(last, "with") || same("export") && is(last, "for");
        } else if is(self.first, "show") {
            // `SHOW WARNINGS`, `SHOW COUNT(*) ERRORS`
            let counted = last == Token::Symbol(b')') && is_among(self.second, &["count"]);
            if (is(last, "show") || counted) && (same("warnings") || same("errors")) {
                self.sequence |= Sequence::READS_WARNINGS;
            }
        } else if same("diagnostics") && is(self.first, "get") {
            self.sequence |= Sequence::READS_WARNINGS;
        } else if same("algorithm") && is(self.first, "load") {
            // MySQL's `ALGORITHM = BULK` commits.
            self.pin(PinCause::UnknownStatement);
        } else if same("transaction") && is(last, "start") && is(self.first, "create") {
            self.begins = true;
            self.pin(PinCause::UnknownStatement);
        } else if self.generates_by(token) {
            self.sequence |= Sequence::GENERATES;
        }
    }

    /// A word that makes a statement insert rows whose first word does not.
    fn generates_by(&self, token: Token<'_>) -> bool {
        is(self.first, "analyze") && is_among(Some(token), &["insert", "replace"])
            || is(self.first, "create") && is_among(self.object, &["table"]) && is(token, "select")
    }

    /// What a block does is not read.
    pub(super) fn generated_by_block(&self) -> Sequence {
        if is(self.first, "begin") && self.has_body { Sequence::GENERATES } else { Sequence::NONE }
    }

    /// What pins and goes away by a statement must not hide what does not.
    pub(super) fn pin(&mut self, cause: PinCause) {
        self.cause = match self.cause {
            Some(PinCause::AdvisoryLock) | None => Some(cause),
            kept => kept,
        };
    }

    /// What a definition defines is still to come.
    fn is_heading(&self) -> bool {
        self.is_definition && self.object.is_none()
    }

    /// Whether statements may follow that are part of it, by its second word or by what it defines.
    pub(super) fn may_have_body(&self) -> bool {
        is(self.first, "create") && is_among(self.object, &ROUTINES)
            || is(self.first, "alter") && is_among(self.object, &["event"])
            || is(self.first, "begin") && is_among(self.second, &["not"])
    }

    /// `SET STATEMENT`, of MariaDB.
    pub(super) fn is_prefix(&self) -> bool {
        is(self.first, "set") && is_among(self.second, &["statement"])
    }

    /// An `@` in it belongs to an account, `'user'@'host'`: it can name no variable.
    fn is_about_accounts(&self) -> bool {
        if self.is_definition {
            return self.object.is_none() || is_among(self.object, &["user", "role"]);
        }
        is_among(Some(self.first), &["grant", "revoke"])
            || is(self.first, "set") && is_among(self.second, &["password", "default"])
            || is(self.first, "show") && (is_among(self.second, &["grants"]) || is_among(self.third, &["user"]))
    }

    /// Whether a token that some servers read and others do not leaves this statement what it is.
    pub(super) fn is_understood_with(&self, token: Token<'_>) -> bool {
        self.is_plain && matches!(token, Token::Word(_) | Token::Symbol(b',' | b'='))
    }
}
