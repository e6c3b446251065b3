//! The crate's own words for what a statement sets.

use super::call::{Argument, Call, calls, plain_name};
use super::replay::quoted;
use super::{Change, begins, change, dotted, modes};
use crate::engine::Setting;
use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, is};

/// The setting that a statement changes for good, with a statement of this crate's own that sets it again.
///
/// Not the application's text: a function in it would be looked up in the `search_path` of whoever had the connection
/// before, and run as the login. `SET` calls no function.
pub(in crate::engine::postgres) fn settings_of(statement: &str) -> Vec<(String, String)> {
    let Some(Change::Lasting(setting)) = change(statement) else { return Vec::new() };
    several(statement).unwrap_or_else(|| match setting {
        Setting::Set { name, .. } => {
            let key = name.key();
            let again = wording(statement, &key);
            again.map(|again| (key, again)).into_iter().collect()
        }
        _ => Vec::new(),
    })
}

/// The settings that are lists of names. No extension can add one:
/// <https://github.com/postgres/postgres/blob/master/src/bin/pg_dump/dumputils.c>, `variable_is_guc_list_quote`.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The same for statements that may set more than one.
pub(super) fn several(statement: &str) -> Option<Vec<(String, String)>> {
    let mut tokens = Lexer::new(statement);
    if is(tokens.next()?, "select") {
        let set = calls(statement, tokens)?.into_iter().map(|call| {
            let Call { name: Argument::Text(name), value: Argument::Text(value), .. } = call else { return None };
            let key = plain_name(name)?.key();
            // `SET` takes no snapshot; but of a list it makes a list of one.
            let again = if LISTS.contains(&&*key) {
                format!("SELECT pg_catalog.set_config('{key}', {value}, false)")
            } else {
                format!("SET {} TO {value}", quoted(&key))
            };
            Some((key, again))
        });
        return set.collect();
    }
    while !is(tokens.next()?, "characteristics") {}
    let set = modes(tokens)?.into_iter();
    Some(set.map(|(name, value)| (name.to_owned(), format!("SET \"{name}\" TO '{value}'"))).collect())
}

pub(super) fn wording(statement: &str, key: &str) -> Option<String> {
    let mut tokens = Lexer::new(statement);
    tokens.next()?;
    let mut token = tokens.next()?;
    let mut authorization = false;
    if begins(token, "session", &tokens) {
        token = tokens.next()?;
        authorization = is(token, "authorization");
    }
    let role = begins(token, "role", &tokens);
    let zone = begins(token, "time", &tokens);
    let schema = begins(token, "schema", &tokens);
    if zone {
        tokens.next()?;
    } else if !authorization && !role && !schema {
        dotted(token, &mut tokens)?;
    }
    let start = tokens.at();
    let mut ahead = tokens.clone();
    let first = ahead.next()?;
    let assigns = first == Token::Symbol(b'=') || is(first, "to");
    if assigns {
        tokens = ahead;
    }
    let start = if assigns { tokens.at() } else { start };
    let mut end = start;
    while tokens.next().is_some_and(|token| token != Token::End) {
        end = tokens.at();
    }
    let value = statement.get(start..end)?.trim_start();
    Some(match () {
        () if authorization => format!("SET SESSION AUTHORIZATION {value}"),
        () if assigns => format!("SET {} TO {value}", quoted(key)),
        () if role => format!("SET ROLE {value}"),
        () if zone => format!("SET TIME ZONE {value}"),
        () => format!("SET SCHEMA {value}"),
    })
}
