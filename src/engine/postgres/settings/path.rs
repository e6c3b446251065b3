//! Paths that put other schemas before the system's.
//!
//! The driver asks the server about types with operators of the session's path, and keeps what it is told for as long as the
//! connection lives (sqlx 0.9.0). Where `pg_catalog` is named after another schema, those are that schema's.

use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, has_letters, is};

const SYSTEM: &str = "pg_catalog";

/// Whether a text may set such a path. What it is not sure of it says yes to: that costs a connection, and no more.
pub(in crate::engine::postgres) fn may_put_others_first(sql: &str) -> bool {
    if !["search_path", "schema"].iter().any(|word| has_letters(sql, word)) {
        return false;
    }
    let mut tokens = Lexer::new(sql);
    let mut last = Token::End;
    while let Some(token) = tokens.next() {
        let begins = last == Token::Symbol(b'=') || is(last, "to") || is(last, "schema");
        let spelled = match token {
            // U&'…' and U&"…" spell any name by escapes; so does E'…'.
            Token::Symbol(b'&') => true,
            Token::String(text) => text.contains('\\') || has_letters(after_first(text), SYSTEM),
            Token::Word(text) | Token::Identifier(text) if text.eq_ignore_ascii_case(SYSTEM) => {
                // A name in it is qualified by that, and the path begins with it.
                !begins && tokens.clone().next() != Some(Token::Symbol(b'.'))
            }
            _ => false,
        };
        if spelled {
            return true;
        }
        last = token;
    }
    false
}

/// What comes after the system's schema where a list of names begins with that.
fn after_first(names: &str) -> &str {
    let names = names.trim_start();
    let Some(first) = names.get(..SYSTEM.len()).filter(|first| first.eq_ignore_ascii_case(SYSTEM)) else {
        return names;
    };
    let rest = &names[first.len()..];
    if rest.trim_start().starts_with(',') || rest.trim_start().is_empty() { rest } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_the_systems_schema_after_another_is_seen_in_every_spelling() {
        for (sql, sets) in [
            ("set search_path = tenant, public", false),
            ("set search_path = pg_catalog, tenant", false),
            ("set search_path to \"pg_catalog\"", false),
            ("set search_path = tenant, pg_catalog_of_mine", false),
            ("select pg_catalog.set_config('search_path', 'tenant, public', false)", false),
            ("select pg_catalog.set_config('search_path', ' PG_catalog , tenant', false)", false),
            ("SELECT pg_catalog.set_config('app.x', 'tenant, pg_catalog', false)", false),
            ("set schema 'pg_catalog'", false),
            ("set search_path = tenant, pg_catalog", true),
            ("set search_path = pg_catalog, tenant, pg_catalog, x", true),
            ("SET Search_Path TO tenant, \"pg_catalog\"", true),
            ("set local search_path = tenant, U&\"pg\\005fcatalog\"", true),
            ("set search_path = e'tenant', E'pg\\137catalog'", true),
            ("select set_config('search_path', 'tenant,pg_catalog', true)", true),
            ("select set_config('search_path', 'pg_catalogs, pg_catalog', false)", true),
            ("do $$ begin set search_path = tenant, pg_catalog; end $$", true),
            ("select 1; set search_path = /* , */ tenant /* , */ , pg_catalog", true),
        ] {
            assert_eq!(may_put_others_first(sql), sets, "{sql}");
        }
    }
}
