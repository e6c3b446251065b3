//! One of the settings in a `SET`, and whether it moves.

use super::{AUTOCOMMIT, ISOLATION, NAMES, READ_ONLY, SQL_MODE};
use crate::engine::mysql::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::pin::PinCause;

/// Other names of a setting, which would be taken for another one.
const ALIASES: [(&str, &str); 10] = [
    ("tx_isolation", ISOLATION),
    ("tx_read_only", READ_ONLY),
    ("storage_engine", "default_storage_engine"),
    ("sql_low_priority_updates", "low_priority_updates"),
    ("tmp_memory_table_size", "tmp_table_size"),
    ("log_slow_query", "slow_query_log"),
    ("log_slow_query_time", "long_query_time"),
    ("log_slow_min_examined_row_limit", "min_examined_row_limit"),
    ("sql_max_join_size", "max_join_size"),
    ("max_insert_delayed_threads", "max_delayed_threads"),
];

/// Settings that are not moved: their values are changed in part, used up by the next statement, or change others.
const NOT_MOVED: [&str; 30] = [
    // The instant is that of the time zone in which it was set.
    "system_versioning_asof",
    // What `SET NAMES utf8` means.
    "old_mode",
    "optimizer_switch",
    "optimizer_trace",
    "optimizer_trace_features",
    "insert_id",
    "last_insert_id",
    "identity",
    "timestamp",
    "rand_seed1",
    "rand_seed2",
    "sql_log_bin",
    "sql_auto_is_null",
    "max_join_size",
    "sql_big_selects",
    "default_collation_for_utf8mb4",
    "profiling",
    "skip_replication",
    "server_id",
    "require_row_format",
    "resultset_metadata",
    "immediate_server_version",
    "original_server_version",
    "original_commit_timestamp",
    "xa_detach_on_prepare",
    "old",
    "old_alter_table",
    "log_queries_not_using_indexes",
    "log_slow_admin_statements",
    "log_slow_slave_statements",
];

/// How the names of others begin.
const NOT_MOVED_BY_PREFIX: [&str; 7] =
    ["character_set_", "collation_", "pseudo_", "gtid_", "debug", "wsrep_", "session_track_"];

/// Character sets in which no byte of a character is a quote or a backslash.
const CHARACTER_SETS: [&str; 6] = ["utf8", "utf8mb3", "utf8mb4", "latin1", "ascii", "binary"];

/// Parts of `sql_mode` that change how a text is read, with those that stand for them.
const READING_MODES: [&str; 10] = [
    "ansi",
    "ansi_quotes",
    "no_backslash_escapes",
    "db2",
    "maxdb",
    "mssql",
    "oracle",
    "postgresql",
    "mysql323",
    "mysql40",
];

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Session,
    /// The server's, now or when it is started again.
    Global,
}

impl Scope {
    pub(super) fn of(token: Token<'_>) -> Option<Self> {
        let among = |words: &[&str]| words.iter().any(|word| is(token, word));
        if among(&["session", "local"]) {
            Some(Self::Session)
        } else {
            among(&["global", "persist", "persist_only"]).then_some(Self::Global)
        }
    }
}

/// One of a list of settings.
pub(super) struct Item<'a> {
    pub(super) scope: Option<Scope>,
    /// `@@name`
    at: bool,
    pub(super) name: &'a str,
    pub(super) value: Value<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// As written, and without its quotes.
    Literal(&'a str, &'a str),
    /// It depends on something.
    Expression,
}

impl<'a> Item<'a> {
    /// The next one, and whether another follows. `None` if it is not understood.
    pub(super) fn parse(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<(Self, bool)> {
        let mut token = tokens.next()?;
        if is(token, NAMES) {
            return Self::names(statement, tokens);
        }
        let mut scope = Scope::of(token);
        let at = is(token, "@@");
        if at || scope.is_some() {
            token = tokens.next()?;
        }
        if at && Scope::of(token).is_some() {
            scope = Scope::of(token);
            token = (tokens.next()? == Token::Symbol(b'.')).then(|| tokens.next())??;
        }
        let (Token::Word(name) | Token::Identifier(name)) = token else { return None };
        let mut next = tokens.next()?;
        if next == Token::Symbol(b'.') && scope == Some(Scope::Global) {
            // A key cache's.
            tokens.next()?;
            next = tokens.next()?;
        }
        if next == Token::Symbol(b':') {
            next = tokens.next()?;
        }
        let known = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !known || next != Token::Symbol(b'=') {
            return None;
        }
        let (value, more) = Value::parse(statement, tokens)?;
        Some((Self { scope, at, name, value }, more))
    }

    /// `charset [COLLATE collation]`, with `NAMES` read already.
    fn names(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<(Self, bool)> {
        let (start, set) = tokens.next_at()?;
        let mut end = tokens.at();
        if !is_character_set(set) {
            return None;
        }
        let mut next = tokens.next();
        if next.is_some_and(|token| is(token, "collate")) {
            matches!(tokens.next()?, Token::Word(_) | Token::String(_)).then_some(())?;
            end = tokens.at();
            next = tokens.next();
        }
        let text = statement.get(start..end)?;
        let more = next == Some(Token::Symbol(b','));
        let item = Self { scope: None, at: false, name: NAMES, value: Value::Literal(text, text) };
        (more || next.is_none()).then_some((item, more))
    }

    /// Why it cannot be set again elsewhere with the same effect.
    pub(super) fn unmoved(&self) -> Option<PinCause> {
        let name = canonical(self.name);
        let same = |known: &str| name.eq_ignore_ascii_case(known);
        let begins =
            |start: &str| name.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start));
        // From these on a text may mean something else.
        let unknown = match self.value {
            _ if same("character_set_client") || same("completion_type") || same("resultset_metadata") => true,
            Value::Literal(_, mode) if same(SQL_MODE) => changes_reading(mode),
            Value::Literal(_, value) if same(AUTOCOMMIT) => !is_switch(value),
            Value::Expression => same(SQL_MODE) || same(AUTOCOMMIT),
            Value::Literal(..) => false,
        };
        if unknown {
            return Some(PinCause::UnknownStatement);
        }
        // `SET @@transaction_isolation` is for the next transaction only, and `SET transaction_isolation` is not.
        let passing = self.at && self.scope.is_none() && (same(ISOLATION) || same(READ_ONLY));
        let unmoved = passing
            || matches!(self.value, Value::Expression)
            || NOT_MOVED.iter().any(|known| same(known))
            || NOT_MOVED_BY_PREFIX.iter().any(|start| begins(start));
        unmoved.then_some(PinCause::Setting)
    }
}

impl<'a> Value<'a> {
    /// What stands up to the next comma or the end, and whether it was a comma.
    fn parse(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<(Self, bool)> {
        let (start, mut token) = tokens.next_at()?;
        let signed = matches!(token, Token::Symbol(b'-' | b'+'));
        if signed {
            token = tokens.next()?;
        }
        let bare = match token {
            Token::Word(word) if !signed && is_constant(word) || is_number(word) => Some(word),
            Token::String(text) if !signed && !text.contains('\\') => Some(text),
            _ => None,
        };
        let end = tokens.at();
        let comma = Token::Symbol(b',');
        match (bare, tokens.next()) {
            (Some(bare), next) if next.is_none_or(|token| token == comma) => {
                Some((Self::Literal(statement.get(start..end)?, bare), next.is_some()))
            }
            (None, None) => Some((Self::Expression, false)),
            (_, next) => {
                let mut depth = usize::from(token == Token::Symbol(b'('));
                let mut next = next;
                while let Some(token) = next {
                    match token {
                        Token::Symbol(b'(') => depth += 1,
                        Token::Symbol(b')') => depth = depth.saturating_sub(1),
                        token if token == comma && depth == 0 => return Some((Self::Expression, true)),
                        _ => {}
                    }
                    next = tokens.next();
                }
                Some((Self::Expression, false))
            }
        }
    }
}

/// A word that stands for itself: `ON`, `DEFAULT`, the name of something. Some are functions without parentheses.
fn is_constant(word: &str) -> bool {
    let begins = |start: &str| word.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start));
    word != "@@" && !begins("current_") && !begins("utc_") && !begins("local") && !begins("sysdate")
}

fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

pub(super) fn is_character_set(token: Token<'_>) -> bool {
    let (Token::Word(name) | Token::String(name)) = token else { return false };
    CHARACTER_SETS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a value of `sql_mode` is, or may be, one that changes where a string ends.
fn changes_reading(mode: &str) -> bool {
    is_number(mode)
        || mode.split(',').any(|part| READING_MODES.iter().any(|known| part.trim().eq_ignore_ascii_case(known)))
}

fn is_switch(value: &str) -> bool {
    ["0", "1", "on", "off", "true", "false"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| name.eq_ignore_ascii_case(alias)).map_or(name, |(_, name)| name)
}
