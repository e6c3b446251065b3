//! What misleads the driver: paths that put other schemas before the system's, and temporary types.
//!
//! The driver asks the server about types with operators of the session's path, and keeps what it is told for as long as the
//! connection lives (sqlx 0.9.0). Where `pg_catalog` is named after another schema, those are that schema's.

use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, has_letters, is};

const SYSTEM: &str = "pg_catalog";

/// The type as which the driver reads the names of types.
const CAST_TO: &str = "regtype";

/// A text in a text in a text is looked through; what is deeper may do anything.
const DEEPEST: usize = 3;

/// Whether a text may set such a path, or define what a type's name is then taken for. What it is not sure of it says yes to: that
/// costs a connection, and no more.
pub(in crate::engine::postgres) fn may_mislead(sql: &str) -> bool {
    let has = |word| has_letters(sql, word);
    let sets = has("pg_settings") && (has("update") || has("merge"));
    // Whatever has rows is a type too, and those that are temporary are looked for first.
    let is_mistaken = has(CAST_TO) && ["create", "into", "rename"].into_iter().any(has);
    sets || is_mistaken || may_in(sql, 0)
}

fn may_in(sql: &str, depth: usize) -> bool {
    let has = |word: &str| has_letters(sql, word);
    // `U&'…'` and `U&"…"` spell any name by escapes.
    let spells = ["search_path", "set_config", "u&"].into_iter().any(has);
    let defines = has("create") && (has("type") || has("domain"));
    let is_doubtful = spells || defines || has("begin") && has("execute");
    if !is_doubtful || depth > DEEPEST {
        return is_doubtful;
    }
    let mut tokens = Lexer::new(sql);
    let mut last = Token::End;
    while let Some(token) = tokens.next() {
        // The first of a list, or all of it.
        let begins = last == Token::Symbol(b'=') || is(last, "to") || is(last, "schema");
        let may = match token {
            Token::Word(name) | Token::Identifier(name) if name.eq_ignore_ascii_case("set_config") => {
                path_set(&mut tokens).is_none_or(|path| path.contains('\\') || has_letters(after_first(path), SYSTEM))
            }
            Token::Symbol(b'&') => is(last, "u"),
            // E'…' spells any name by escapes as well; and what stands beside another one is a part of that.
            Token::String(text) if text.contains('\\') || matches!(last, Token::String(_)) => true,
            Token::String(text) => {
                let is_first = begins && text.eq_ignore_ascii_case(SYSTEM);
                !is_first && has_letters(text, SYSTEM) || may_in(text, depth + 1)
            }
            Token::Word(text) | Token::Identifier(text) if text.eq_ignore_ascii_case(SYSTEM) => {
                // A name in it is qualified by that, and the path begins with it.
                !begins && tokens.clone().next() != Some(Token::Symbol(b'.'))
            }
            Token::Word(word)
                if is(last, "create") && ["type", "domain"].iter().any(|kind| word.eq_ignore_ascii_case(kind)) =>
            {
                true
            }
            // In a block: of a text that is put together.
            token => depth > 0 && is(token, "execute"),
        };
        if may {
            return true;
        }
        last = token;
    }
    false
}

/// The path that a call of `set_config` sets, as it is written: none where that is computed, and an empty one where it sets
/// something else.
fn path_set<'a>(tokens: &mut Lexer<'a>) -> Option<&'a str> {
    let mut ahead = tokens.clone();
    let is_call = ahead.next()? == Token::Symbol(b'(');
    let (Token::String(name), Token::Symbol(b',')) = (ahead.next()?, ahead.next()?) else { return None };
    if !is_call || name.contains('\\') {
        return None;
    }
    let is_path = name.eq_ignore_ascii_case("search_path");
    let (Token::String(value), Token::Symbol(b',')) = (ahead.next()?, ahead.next()?) else {
        return if is_path { None } else { Some("") };
    };
    *tokens = ahead;
    Some(if is_path { value } else { "" })
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
            ("set search_path = 'tenant', 'pg_catalog', public", true),
            ("set search_path to $$tenant$$, $$pg_catalog$$", true),
            ("set local search_path to 'tenant', 'PG_Catalog'", true),
            ("set search_path to 'pg_catalog', 'tenant'", false),
            ("set app.note = 'please execute'", false),
            ("select set_config('app.note', a.b || 'pg', false) from a", false),
            ("select set_config('search_path', 'tenant, pg_' || 'catalog, public', false)", true),
            ("select set_config('search_path', 'tenant, pg_'\n'catalog', true)", true),
            ("select set_config('search' || '_path', 'tenant, pg_catalog, public', false)", true),
            ("select set_config('Search_Path', p, false) from tenants", true),
            ("select \"set_config\"($1, $2, true)", true),
            ("select u&\"set\\005fconfig\"('search_path', 'tenant', true)", true),
            ("select set_config(setting_name => 'search_path', new_value => p, is_local => true) from tenants", true),
            ("do $$ begin execute 'set search_' || 'path = tenant, pg_' || 'catalog'; end $$", true),
            ("do 'begin perform set_config(''search_path'', concat(''a'', ''b''), false); end'", true),
            ("do $$ begin set search_path = tenant, public; end $$", false),
            ("prepare p as select set_config('search_path', $1, false)", true),
            ("update pg_settings set setting = 'tenant, pg_' || 'catalog' where name like 'search%'", true),
            ("create domain pg_temp.regtype as oid", true),
            ("create temp table t (type text)", false),
            ("create temp table regtype (a text)", true),
            ("create temp view \"RegType\" as select 1", true),
            ("select 1 as a into temp regtype", true),
            ("create temp table x (a text); alter table x rename to regtype", true),
            ("alter table pg_temp.x rename to regtype", true),
            ("select 'mood'::regtype", false),
            ("do 'begin create type pg_temp.x as enum (); end'", true),
        ] {
            assert_eq!(may_mislead(sql), sets, "{sql}");
        }
    }
}
