//! `SET` and `USE`: which settings they change, and how to take a connection from one set of settings to another.
//!
//! Grammar: <https://dev.mysql.com/doc/refman/8.4/en/set-variable.html>, `set-transaction`, `set-names`, `use`,
//! <https://mariadb.com/kb/en/set/>.

use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Name, Setting, Settings};
use crate::pin::PinCause;

pub(super) const NAMES: &str = "names";
pub(super) const DATABASE: &str = "database";
const SQL_MODE: &str = "sql_mode";
const AUTOCOMMIT: &str = "autocommit";
const ISOLATION: &str = "transaction_isolation";
const READ_ONLY: &str = "transaction_read_only";

/// Other names of a setting, which would be taken for another one.
const ALIASES: [(&str, &str); 9] = [
    ("tx_isolation", ISOLATION),
    ("tx_read_only", READ_ONLY),
    ("storage_engine", "default_storage_engine"),
    ("sql_low_priority_updates", "low_priority_updates"),
    ("log_slow_query", "slow_query_log"),
    ("log_slow_query_time", "long_query_time"),
    ("log_slow_min_examined_row_limit", "min_examined_row_limit"),
    ("sql_max_join_size", "max_join_size"),
    ("max_insert_delayed_threads", "max_delayed_threads"),
];

/// Settings that are not moved: their values are changed in part, used up by the next statement, or change others.
const NOT_MOVED: [&str; 28] = [
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

/// Settings that no statement is read by: how long to wait, what to check, how transactions are. Any other one may be.
const OF_EXECUTION: [&str; 14] = [
    AUTOCOMMIT,
    ISOLATION,
    READ_ONLY,
    "wait_timeout",
    "interactive_timeout",
    "idle_transaction_timeout",
    "lock_wait_timeout",
    "innodb_lock_wait_timeout",
    "net_read_timeout",
    "net_write_timeout",
    "max_statement_time",
    "max_execution_time",
    "foreign_key_checks",
    "unique_checks",
];

/// What a statement does to settings, if that is all it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// It lasts.
    Lasting(Setting<'a>),
    /// It changes the server's settings, and none of the session's.
    None,
    /// It cannot be moved.
    Pins(PinCause),
}

/// `None` when the statement is something else.
pub(super) fn change<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let first = tokens.next()?;
    if is(first, "use") {
        return database(statement, tokens);
    }
    is(first, "set").then(|| set(statement, tokens).unwrap_or(Change::Pins(PinCause::UnknownStatement)))
}

fn database<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let name = tokens.next()?;
    let whole = matches!(name, Token::Word(_) | Token::Identifier(_)) && tokens.next().is_none();
    whole.then_some(Change::Lasting(Setting::Set { name: Name(DATABASE, None), statement }))
}

/// `None` when it is not understood.
fn set<'a>(statement: &'a str, tokens: Lexer<'a>) -> Option<Change<'a>> {
    let mut ahead = tokens.clone();
    let first = ahead.next()?;
    let second = ahead.next();
    let then = |word| second.is_some_and(|token| is(token, word));
    if is(first, "password") || is(first, "default") && then("role") {
        return Some(Change::None);
    }
    if is(first, "role") || is(first, "resource") && then("group") {
        return Some(Change::Pins(PinCause::Setting));
    }
    if is(first, "charset") || is(first, "character") && then("set") {
        let name = if is(first, "charset") { second? } else { ahead.next()? };
        return Some(Change::Pins(if is_character_set(name) { PinCause::Setting } else { PinCause::UnknownStatement }));
    }
    let scope = Scope::of(first);
    if is(first, "transaction") || scope.is_some() && then("transaction") {
        return transaction(statement, scope, ahead);
    }
    list(statement, tokens)
}

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Session,
    /// The server's, now or when it is started again.
    Global,
}

impl Scope {
    fn of(token: Token<'_>) -> Option<Self> {
        let among = |words: &[&str]| words.iter().any(|word| is(token, word));
        if among(&["session", "local"]) {
            Some(Self::Session)
        } else {
            among(&["global", "persist", "persist_only"]).then_some(Self::Global)
        }
    }
}

/// `SET [GLOBAL | SESSION] TRANSACTION …`, in the lexer's place what comes after that.
fn transaction<'a>(statement: &'a str, scope: Option<Scope>, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    match scope {
        Some(Scope::Global) => return Some(Change::None),
        Some(Scope::Session) => {}
        // Of the next transaction only.
        None => return Some(Change::Pins(PinCause::Setting)),
    }
    let (first, _) = characteristic(&mut tokens)?;
    let setting = match tokens.next() {
        None => Setting::Set { name: Name(first, None), statement },
        Some(Token::Symbol(b',')) => {
            characteristic(&mut tokens)?;
            tokens.next().is_none().then_some(Setting::Several(statement))?
        }
        Some(_) => return None,
    };
    Some(Change::Lasting(setting))
}

/// `ISOLATION LEVEL …`, `READ ONLY`, `READ WRITE`: the setting, and where its text ends.
fn characteristic(tokens: &mut Lexer<'_>) -> Option<(&'static str, usize)> {
    let first = tokens.next()?;
    let second = tokens.next()?;
    let key = if is(first, "isolation") && is(second, "level") {
        let level = tokens.next()?;
        if !is(level, "serializable") {
            let reads = tokens.next()?;
            let read = is(level, "read") && (is(reads, "committed") || is(reads, "uncommitted"));
            (read || is(level, "repeatable") && is(reads, "read")).then_some(())?;
        }
        ISOLATION
    } else {
        (is(first, "read") && (is(second, "only") || is(second, "write"))).then_some(READ_ONLY)?
    };
    Some((key, tokens.at()))
}

fn list<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let (mut count, mut globals) = (0, 0);
    let mut first = None;
    let mut pins: Option<PinCause> = None;
    loop {
        let (item, more) = Item::parse(statement, &mut tokens)?;
        count += 1;
        if item.scope == Some(Scope::Global) {
            globals += 1;
        } else {
            match item.unmoved() {
                Some(cause) if pins != Some(PinCause::UnknownStatement) => pins = Some(cause),
                Some(_) => {}
                None => first = first.or(Some(item.name)),
            }
        }
        if !more {
            break;
        }
    }
    Some(match (pins, first) {
        (None, _) if globals == count => Change::None,
        (Some(cause), _) => Change::Pins(cause),
        // With MariaDB one that does not say whose it is is whose the one before it was.
        _ if globals > 0 => Change::Pins(PinCause::Setting),
        (None, Some(name)) if count == 1 => {
            Change::Lasting(Setting::Set { name: Name(canonical(name), None), statement })
        }
        _ => Change::Lasting(Setting::Several(statement)),
    })
}

/// One of a list of settings.
struct Item<'a> {
    scope: Option<Scope>,
    /// `@@name`
    at: bool,
    name: &'a str,
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    /// As written, and without its quotes.
    Literal(&'a str, &'a str),
    /// It depends on something.
    Expression,
}

impl<'a> Item<'a> {
    /// The next one, and whether another follows. `None` if it is not understood.
    fn parse(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<(Self, bool)> {
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
    fn unmoved(&self) -> Option<PinCause> {
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

fn is_character_set(token: Token<'_>) -> bool {
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

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| name.eq_ignore_ascii_case(alias)).map_or(name, |(_, name)| name)
}

/// The settings of [`Setting::Several`], each with the statement that sets it alone.
pub(super) fn settings_of(statement: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut tokens = Lexer::new(statement);
    let mut ahead = tokens.clone();
    if ahead.nth(1).and_then(Scope::of).is_some() && ahead.next().is_some_and(|token| is(token, "transaction")) {
        let mut start = ahead.at();
        while let Some((key, end)) = characteristic(&mut ahead) {
            let text = statement.get(start..end).unwrap_or_default().trim();
            settings.push((key.to_owned(), format!("SET SESSION TRANSACTION {text}")));
            ahead.next();
            start = ahead.at();
        }
        return settings;
    }
    tokens.next();
    let mut more = true;
    while more && let Some((item, follows)) = Item::parse(statement, &mut tokens) {
        more = follows;
        let Value::Literal(value, _) = item.value else { continue };
        let text = match item.name {
            NAMES => format!("SET NAMES {value}"),
            name => format!("SET SESSION {name} = {value}"),
        };
        settings.push((Name(canonical(item.name), None).key(), text));
    }
    settings
}

/// The statements, in one text, that take a connection from `applied` to `wanted`.
///
/// How texts are read comes first.
pub(super) fn replay(applied: &Settings, wanted: &Settings, home: &Settings) -> Option<String> {
    if std::sync::Arc::ptr_eq(applied, wanted) || applied == wanted {
        return None;
    }
    let first = [NAMES, SQL_MODE];
    let names = first.into_iter().chain(
        applied
            .keys()
            .chain(wanted.keys().filter(|name| !applied.contains_key(*name)))
            .map(String::as_str)
            .filter(|name| !first.contains(name)),
    );
    let statements: Vec<_> = names
        .filter(|name| applied.get(*name) != wanted.get(*name))
        .filter_map(|name| wanted.get(name).cloned().or_else(|| back(name, home)))
        .collect();
    (!statements.is_empty()).then(|| statements.join(";\n"))
}

/// Whether a statement that was prepared under one set of settings may be another one under the other. The server keeps
/// what it found when it prepared: the database, the character set of literals, what `||` and quotes mean.
pub(super) fn reads_anew(before: &Settings, after: &Settings) -> bool {
    if std::sync::Arc::ptr_eq(before, after) {
        return false;
    }
    let mut names = before.keys().chain(after.keys()).filter(|name| !OF_EXECUTION.contains(&name.as_str()));
    names.any(|name| before.get(name) != after.get(name))
}

/// What takes a setting back to what it was at login.
fn back(name: &str, home: &Settings) -> Option<String> {
    if let Some(statement) = home.get(name) {
        return Some(statement.clone());
    }
    let name = match name {
        // No statement does, but for a login's own.
        DATABASE => return None,
        NAMES => return Some("SET NAMES DEFAULT".to_owned()),
        // MySQL 5.7.20 and later knows the second name, MariaDB up to 11.0 only the first; each takes the other's for a
        // comment.
        ISOLATION => "/*M! tx_isolation */ /*!50720 transaction_isolation */",
        READ_ONLY => "/*M! tx_read_only */ /*!50720 transaction_read_only */",
        name => name,
    };
    Some(format!("SET SESSION {name} = DEFAULT"))
}

/// Whether a transaction begins with whatever is sent outside of one.
pub(super) fn is_autocommit_off(settings: &Settings) -> bool {
    let value = settings.get(AUTOCOMMIT).and_then(|statement| Lexer::new(statement).last());
    let Some(Token::Word(value) | Token::String(value)) = value else { return false };
    ["0", "off", "false"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        std::sync::Arc::new(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    fn cause(sql: &str) -> Option<PinCause> {
        match change(sql, Lexer::new(sql)) {
            Some(Change::Pins(cause)) => Some(cause),
            _ => None,
        }
    }

    #[test]
    fn only_the_difference_is_replayed_and_how_texts_are_read_goes_first() {
        let none = settings(&[]);
        let home = settings(&[("names", "SET NAMES utf8mb4"), ("time_zone", "SET time_zone = '+00:00'")]);
        let zone = settings(&[("time_zone", "set time_zone = 'SYSTEM'")]);
        let all = settings(&[
            ("database", "use shop"),
            ("names", "set names latin1"),
            ("sql_mode", "set sql_mode = ''"),
            ("time_zone", "set time_zone = 'SYSTEM'"),
        ]);
        assert_eq!(replay(&none, &none, &home), None);
        assert_eq!(replay(&zone, &settings(&[("time_zone", "set time_zone = 'SYSTEM'")]), &home), None);
        assert_eq!(replay(&none, &zone, &home).unwrap(), "set time_zone = 'SYSTEM'");
        assert_eq!(replay(&zone, &none, &home).unwrap(), "SET time_zone = '+00:00'");
        assert_eq!(
            replay(&zone, &all, &home).unwrap(),
            "set names latin1;\nset sql_mode = '';\nuse shop",
            "the zone is there already"
        );
        assert_eq!(replay(&all, &zone, &home).unwrap(), "SET NAMES utf8mb4;\nSET SESSION sql_mode = DEFAULT");
        let own = settings(&[("database", "USE `d`")]);
        assert_eq!(replay(&settings(&[("database", "use shop")]), &none, &own).unwrap(), "USE `d`");
        assert_eq!(replay(&settings(&[("database", "use shop")]), &none, &none), None, "no statement does");
    }

    #[test]
    fn what_is_prepared_is_read_anew_where_a_setting_that_it_is_read_by_differs() {
        let none = settings(&[]);
        let waits =
            settings(&[("lock_wait_timeout", "set lock_wait_timeout = 1"), ("autocommit", "set autocommit = 0")]);
        let elsewhere = settings(&[("database", "use shop"), ("lock_wait_timeout", "set lock_wait_timeout = 1")]);
        assert!(!reads_anew(&none, &settings(&[])) && !reads_anew(&none, &waits) && !reads_anew(&waits, &none));
        assert!(reads_anew(&none, &elsewhere) && reads_anew(&elsewhere, &waits));
        assert!(reads_anew(&elsewhere, &settings(&[("database", "use stock")])));
        assert!(reads_anew(&none, &settings(&[("x_of_a_later_version", "set x_of_a_later_version = 1")])));
    }

    #[test]
    fn what_two_servers_call_by_two_names_goes_back_on_both() {
        let applied = settings(&[("transaction_isolation", "x"), ("transaction_read_only", "y")]);
        assert_eq!(
            replay(&applied, &settings(&[]), &settings(&[])).unwrap(),
            "SET SESSION /*M! tx_isolation */ /*!50720 transaction_isolation */ = DEFAULT;\n\
             SET SESSION /*M! tx_read_only */ /*!50720 transaction_read_only */ = DEFAULT"
        );
    }

    #[test]
    fn several_are_taken_apart() {
        for (sql, expected) in [
            (
                "SET @@session.Sql_Mode = 'a,b', local tx_isolation := 'serializable', names utf8 collate utf8_bin, x=-1",
                vec![
                    ("sql_mode", "SET SESSION Sql_Mode = 'a,b'"),
                    ("transaction_isolation", "SET SESSION tx_isolation = 'serializable'"),
                    ("names", "SET NAMES utf8 collate utf8_bin"),
                    ("x", "SET SESSION x = -1"),
                ],
            ),
            (
                "set session transaction read only, isolation level repeatable read",
                vec![
                    ("transaction_read_only", "SET SESSION TRANSACTION read only"),
                    ("transaction_isolation", "SET SESSION TRANSACTION isolation level repeatable read"),
                ],
            ),
        ] {
            assert_eq!(change(sql, Lexer::new(sql)), Some(Change::Lasting(Setting::Several(sql))), "{sql}");
            let found = settings_of(sql);
            let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_set_again_elsewhere_pins() {
        for (sql, expected) in [
            ("set transaction isolation level serializable", PinCause::Setting),
            ("set @@transaction_isolation = 'serializable'", PinCause::Setting),
            ("set @@tx_read_only = 1", PinCause::Setting),
            ("set x = 1 + 1", PinCause::Setting),
            ("set x = ?", PinCause::Setting),
            ("set x = @@y", PinCause::Setting),
            ("set x = 'a' 'b'", PinCause::Setting),
            ("set x = 'a\\b'", PinCause::Setting),
            ("set x = (select 1, 2), y = 1", PinCause::Setting),
            ("set x = current_user", PinCause::Setting),
            ("set global x = 1, y = 2", PinCause::Setting),
            ("set insert_id = 7", PinCause::Setting),
            ("set timestamp = 7, x = 1", PinCause::Setting),
            ("set optimizer_switch = 'mrr=on'", PinCause::Setting),
            ("set debug_sync = 'now'", PinCause::Setting),
            ("set collation_connection = utf8_bin", PinCause::Setting),
            ("set character set utf8", PinCause::Setting),
            ("set charset latin1", PinCause::Setting),
            ("set role r", PinCause::Setting),
            ("set resource group g", PinCause::Setting),
            ("set character set gbk", PinCause::UnknownStatement),
            ("set character_set_client = gbk", PinCause::UnknownStatement),
            ("set names gbk", PinCause::UnknownStatement),
            ("set names default", PinCause::UnknownStatement),
            ("set names utf8 collate", PinCause::UnknownStatement),
            ("set sql_mode = 'strict_all_tables, ANSI_QUOTES'", PinCause::UnknownStatement),
            ("set sql_mode = no_backslash_escapes", PinCause::UnknownStatement),
            ("set sql_mode = concat(@@sql_mode, ',ANSI')", PinCause::UnknownStatement),
            ("set sql_mode = 4", PinCause::UnknownStatement),
            ("set timestamp = 7, sql_mode = ansi", PinCause::UnknownStatement),
            ("set completion_type = 1", PinCause::UnknownStatement),
            ("set autocommit = default", PinCause::UnknownStatement),
            ("set autocommit = ?", PinCause::UnknownStatement),
            ("set", PinCause::UnknownStatement),
            ("set x", PinCause::UnknownStatement),
            ("set x = ", PinCause::UnknownStatement),
            ("set x y", PinCause::UnknownStatement),
            ("set 'x' = 1", PinCause::UnknownStatement),
            ("set session transaction", PinCause::UnknownStatement),
            ("set session transaction isolation level", PinCause::UnknownStatement),
        ] {
            assert_eq!(cause(sql), Some(expected), "{sql}");
        }
        for sql in ["use", "use 'x'", "use a.b", "select 1"] {
            assert_eq!(change(sql, Lexer::new(sql)), None, "{sql}");
        }
    }

    #[test]
    fn autocommit_is_off_where_it_was_set_off() {
        for (statement, off) in [
            ("set autocommit = 0", true),
            ("SET SESSION autocommit = OFF", true),
            ("set @@autocommit := 'off'", true),
            ("set autocommit=false", true),
            ("set autocommit = 1", false),
            ("set autocommit = 'ON'", false),
        ] {
            assert_eq!(is_autocommit_off(&settings(&[("autocommit", statement)])), off, "{statement}");
        }
        assert!(!is_autocommit_off(&settings(&[("sql_mode", "set sql_mode = 0")])));
    }
}
