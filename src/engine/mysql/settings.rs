//! `SET` and `USE`: which settings they change.
//!
//! Grammar: <https://dev.mysql.com/doc/refman/8.4/en/set-variable.html>, `set-transaction`, `set-names`, `use`,
//! <https://mariadb.com/kb/en/set/>.

mod item;
mod replay;

use self::item::{Item, Scope, Value, canonical, is_character_set};
pub(super) use self::replay::replay;
use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Name, Setting, Settings};
use crate::pin::PinCause;

const NAMES: &str = "names";
pub(super) const DATABASE: &str = "database";
const SQL_MODE: &str = "sql_mode";
const AUTOCOMMIT: &str = "autocommit";
const ISOLATION: &str = "transaction_isolation";
const READ_ONLY: &str = "transaction_read_only";

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

/// A session carries no more settings than so many. Who sets more in one statement means no good.
const LONGEST_LIST: usize = 256;

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
        // MariaDB takes more settings after a comma.
        let more = ahead.any(|token| token == Token::Symbol(b','));
        return Some(if more { Change::Pins(PinCause::UnknownStatement) } else { Change::None });
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
        if count > LONGEST_LIST {
            return None;
        }
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

/// The settings that a statement sets, each with the statement that sets it alone.
pub(super) fn settings_of(statement: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut tokens = Lexer::new(statement);
    let mut used = tokens.clone();
    if used.next().is_some_and(|token| is(token, "use")) {
        let start = used.at();
        used.next();
        let name = statement.get(start..used.at()).unwrap_or_default().trim();
        return vec![(DATABASE.to_owned(), format!("USE {name}"))];
    }
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

/// Whether a statement that was prepared under one set of settings may be another one under the other. The server keeps
/// what it found when it prepared: the database, the character set of literals, what `||` and quotes mean.
pub(super) fn reads_anew(before: &Settings, after: &Settings) -> bool {
    before != after && before.differences(after).any(|name| !OF_EXECUTION.contains(&name))
}

/// Whether a transaction begins with whatever is sent outside of one.
pub(super) fn is_autocommit_off(settings: &Settings) -> bool {
    let value = settings.get(AUTOCOMMIT).and_then(|statement| Lexer::new(statement).last());
    let Some(Token::Word(value) | Token::String(value)) = value else { return false };
    ["0", "off", "false"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
