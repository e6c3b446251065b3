//! What a text leaves beyond its transaction on a connection, as far as its words tell: where a pooler in between lends
//! connections, whoever gets this one next would find it, and nothing cleans up.
//!
//! The texts within the text are read as well, the block of a `DO` and what is handed to a function that runs it. A block is
//! known to leave nothing where each of its statements is one that leaves nothing; of what it puts together at run time nobody
//! knows. What procedures and functions do is not seen, wherever they are called from.

use super::block::{block, constants, is_of_known_statements, is_value};
use super::called::Called;
use super::lexer::Lexer;
use super::pin_ends;
use super::scan::next_statement;
use super::settings;
use super::statement::Statement;
use super::words::runs_text;
use crate::engine::token::{Token, is};
use crate::pin::PinCause;

/// What each statement of a text leaves, if anything.
pub(super) fn leaves(sql: &str) -> Vec<PinCause> {
    let mut lexer = Lexer::new(sql);
    let mut passing_table = false;
    let one = |statement: Statement<'_>| {
        let makes_passing = statement.makes_passing(sql);
        let follows = passing_table && !makes_passing && statement.defines();
        passing_table |= makes_passing;
        of_statement(&statement, sql).or_else(|| follows.then_some(PinCause::TemporaryObject))
    };
    std::iter::from_fn(|| next_statement(&mut lexer)).filter_map(one).collect()
}

fn of_statement(statement: &Statement<'_>, sql: &str) -> Option<PinCause> {
    let text = statement.text(sql);
    if statement.is_control() || statement.passes(sql).is_some() || pin_ends::pin_end(text).is_some() {
        return None;
    }
    if settings::change(text).is_some() {
        return Some(PinCause::Setting);
    }
    if is(statement.first, "execute") {
        return Some(PinCause::PreparedStatement);
    }
    if is(statement.first, "do") {
        return of_block(text);
    }
    if statement.runs_text
        && let Some(left) = of_run_texts(text)
    {
        return Some(left);
    }
    if is(statement.first, "call") { statement.cause } else { statement.pins_by(statement.cause) }
}

/// Whether the block of a `DO` may leave what no statement takes away, or change how the next text is read: each of its words is
/// asked, and none speaks for the others.
pub(super) fn block_stays(statement: &str) -> bool {
    let is_cleaned =
        |cause| matches!(cause, PinCause::AdvisoryLock | PinCause::TemporaryObject | PinCause::HoldableCursor);
    let Some(block) = block(statement) else { return true };
    let called = called_in(&block);
    let mut lexer = Lexer::new(&block);
    let mut named = std::iter::from_fn(|| next_statement(&mut lexer)).filter_map(|statement| statement.cause);
    called.runs_text
        || !called.cause.into_iter().all(is_cleaned)
        || !named.all(is_cleaned)
        || !is_of_known_statements(&block)
}

fn of_block(statement: &str) -> Option<PinCause> {
    match block(statement) {
        Some(block) => words_leave(&block).or_else(|| (!is_of_known_statements(&block)).then_some(PinCause::Procedure)),
        None => Some(PinCause::Procedure),
    }
}

/// What the texts leave that functions of a statement run: constants, each of which is one query, or empty. Of what is put
/// together or comes with the values nobody knows.
fn of_run_texts(statement: &str) -> Option<PinCause> {
    if !runs_constants_only(statement) {
        return Some(PinCause::UnknownStatement);
    }
    let is_query = |text: &str| {
        let mut lexer = Lexer::new(text);
        let Some(statement) = next_statement(&mut lexer) else { return true };
        let reads = ["select", "with", "values", "table"].iter().any(|word| is(statement.first, word));
        reads && next_statement(&mut lexer).is_none()
    };
    constants(statement).find_map(|text| match text {
        Some(text) if is_query(&text) => words_leave(&text),
        _ => Some(PinCause::UnknownStatement),
    })
}

/// Whether what a statement hands to functions that run a text are constants, with commas and casts between them.
fn runs_constants_only(statement: &str) -> bool {
    let mut tokens = Lexer::new(statement);
    let mut last = Token::End;
    while let Some(token) = tokens.next() {
        // `(x).f`
        if runs_text(token) && tokens.clone().next() != Some(Token::Symbol(b'(')) {
            return false;
        }
        if token == Token::Symbol(b'(') && runs_text(last) {
            let mut before = token;
            loop {
                let Some(argument) = tokens.next() else { return false };
                let is_cast = before == Token::Symbol(b':');
                match argument {
                    Token::Symbol(b')') => break,
                    Token::Symbol(b',' | b':') => {}
                    // Two in a row are one text, of which neither is read as a whole.
                    Token::String(_) if !matches!(before, Token::String(_)) => {}
                    Token::Word(word) if is_cast || is_value(word) => {}
                    _ => return false,
                }
                before = argument;
            }
        }
        last = token;
    }
    true
}

/// What is called anywhere in a text, by `f (x)` or `(x).f`.
fn called_in(text: &str) -> Called {
    let mut called = Called::default();
    let mut last = Token::End;
    for token in Lexer::new(text) {
        if token == Token::Symbol(b'(') {
            called.add(last);
        } else if last == Token::Symbol(b'.') {
            called.add(token);
        }
        last = token;
    }
    called
}

/// What a temporary object, a setting or a lock of the session that is named anywhere in it leaves. Nothing in it is taken for a
/// definition, in which a function is only mentioned: the word that begins one may be the name of a variable.
fn words_leave(text: &str) -> Option<PinCause> {
    let called = called_in(text);
    let mut lexer = Lexer::new(text);
    let named = std::iter::from_fn(|| next_statement(&mut lexer)).find_map(|statement| statement.cause);
    called.cause.or(named).or_else(|| called.runs_text.then_some(PinCause::UnknownStatement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_statement_by_statement() {
        let nothing: &[PinCause] = &[];
        for (sql, left) in [
            ("select set_config('lock_timeout', '7s', false); select 1", &[PinCause::Setting][..]),
            ("begin; set lock_timeout = '7s'; commit", &[PinCause::Setting]),
            ("begin; set local lock_timeout = '7s'; select 1; commit", nothing),
            ("begin; create temp table t (n int) on commit drop; commit", nothing),
            ("create temp table t (n int); listen x", &[PinCause::TemporaryObject, PinCause::Listen]),
            // What is defined beside a table that goes with its transaction may stay.
            (
                "create temp table t (n serial) on commit drop; alter sequence s owned by none",
                &[PinCause::TemporaryObject],
            ),
            ("create temp table t (n int) on commit drop; create view v as table t", &[PinCause::TemporaryObject]),
            ("create temp table t (n int) on commit drop; do $$ begin end $$", &[PinCause::TemporaryObject]),
            (
                "create temp table t (n int) on commit drop; create temp table u (n int) on commit drop; create index on t (n); \
                 insert into t values (1); create table p as table t; drop table t",
                nothing,
            ),
            (
                "create view v as select 1; alter sequence s owned by none; create temp table t (n int) on commit drop",
                nothing,
            ),
            ("prepare p as select 1", &[PinCause::PreparedStatement]),
            ("execute p", &[PinCause::PreparedStatement]),
            ("declare c cursor with hold for select 1", &[PinCause::HoldableCursor]),
            ("do $$ begin end $$; call p(); select crosstab('select 1')", nothing),
            ("prepare p as select query_to_xml('select 1', true, true, '')", &[PinCause::PreparedStatement]),
            ("select connectby('t', 'a', 'b', 'c', 0)", &[PinCause::UnknownStatement]),
            ("select crosstab('select 1'), pg_advisory_lock(1)", &[PinCause::AdvisoryLock]),
            ("set standard_conforming_strings = off", &[PinCause::Setting]),
            ("commit; select 1; unlisten *", nothing),
        ] {
            assert_eq!(leaves(sql), left, "{sql}");
        }
    }

    #[test]
    fn a_block_leaves_nothing_where_all_its_statements_are_known() {
        for sql in [
            "do $$ begin end $$",
            "DO LANGUAGE plpgsql 'begin perform now(); end'",
            "do $x$ begin perform 1; end $x$ language 'PLpgSQL'",
            "do $$ <<a>> declare settings int := 1; r record; begin update t set a = 1 where b = 2; \
             insert into t values (1) on conflict (a) do update set a = excluded.a; end a $$",
            "do $$ begin if not exists (select from pg_type where typname = 'x') then create type x as enum ('a'); end if; end $$",
            "do $$ begin for r in select case when a then 1 else b end as c from t loop r.a := case when a then b else c end; \
             x = 2; y[1] := 3; raise notice 'set %', r; continue when false; end loop; \
             exception when others then null; end $$",
            "do $$ begin x := case when a then 'b' when c then 1 else -d end; return; end $$",
            "do $$ begin case x when 1 then delete from t; else call p(); end case; end $$",
        ] {
            assert_eq!(of_block(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_block_of_which_that_is_not_known_leaves_something() {
        for sql in [
            "do $$ begin perform set_config('app.x', '1', false); end $$",
            "do $$ begin set app.x = 1; end $$",
            "do $$ begin perform '--'; set app.x = 1; end $$",
            "do 'begin perform ''--''; set app.x = 1; end'",
            "do e'begin perform \\'--\\'; set app.x = 1; end'",
            "do 'begin '\n'set app.x = 1; end'",
            "do 'begin create temp table tt (n int); end'",
            "do $$ begin perform pg_advisory_lock(7); end $$",
            "do $$ begin if true then set app.x = 1; end if; end $$",
            "do $$ begin if true then null; else reset all; end if; end $$",
            "do $$ begin loop listen x; end loop; end $$",
            "do $$ <<a>> begin discard all; end $$",
            "do $$ begin declare x int; begin load 'x'; end; end $$",
            "do $$ begin case x when 1 then set app.x = 1; end case; end $$",
            "do $$ begin exception when others then set app.x = 1; end $$",
            "do $$ begin execute 'select 1'; end $$",
            "do $$ begin if (select 1 as case) = 1 then set app.x = 1; end if; end $$",
            "do $$ begin if (select 1 case) = 1 then listen x; end if; end $$",
            "do $$ begin perform t.case from t; if a then null; else set app.x = 1; end if; end $$",
            "do $$ begin for r in select 1 as case loop set app.x = 1; end loop; end $$",
            "do $$ declare r record; begin for r in execute 'select ' || 1 loop null; end loop; end $$",
            "do $$ declare c refcursor; begin open c scroll for execute 'select ' || 1; end $$",
            "do $$ begin if a then execute('set app.x = 1'); end if; end $$",
            "do $$ begin if a then commit; end if; end $$",
            "do $$ begin x := (select case when true then declare else 1 end from t); set app.x = 1; end $$",
            "do $$ begin perform t.begin declare from t; set app.x = 1; end $$",
            "do $$ begin perform 1 from t where t.begin < 3; set app.x = 1; perform 1 where 2 > 1 and 3 > 2; end $$",
            "do $$ begin perform 1; < set app.x = 1; end $$",
            "do $$ declare function text := 'set app.x = 1'; begin execute function using 1; end $$",
            "do $$ begin grant execute on function f to app; end $$",
            "do $$ begin if false then create function f() returns int language sql begin atomic (select 1); declare c cursor \
             for select 1; end; end if; set app.x = 1; end $$",
            "do $$ begin if false then create rule r as on insert to t do also (select 1; declare c cursor for select 1); end if; \
             set app.x = 1; end $$",
            "do $$ begin if false then perform (1; declare c cursor for select 1); end if; set app.x = 1; end $$",
            "do $$ begin if false then perform a[1; declare c cursor for select 1]; end if; set app.x = 1; end $$",
            "do $$ begin execute('set app.x = 1'); end $$",
            "do $$ begin perform query_to_xml('select 1', true, true, ''); end $$",
            "do $$ begin u&\"\\0073et\" := 1; end $$",
            "do $$ declare a int; comment text := set_config('app.x', '1', false); begin end $$",
            "do $$ declare drop bool; begin drop := pg_try_advisory_lock(7); end $$",
            "do $$ <<revoke>> declare grant text[]; begin null; revoke.grant[1] = query_to_xml('x', true, true, ''); end $$",
            "do $$ begin update pg_settings set setting = 1; end $$",
            "do language plpython3u $$ x = 1 $$",
            "do $$ begin null; commit; end $$",
            "do",
            "do 'begin end' 'x'",
        ] {
            assert!(of_block(sql).is_some(), "{sql}");
        }
    }

    #[test]
    fn a_constant_is_looked_through_where_a_function_runs_it() {
        for (sql, left) in [
            ("select crosstab('x')", Some(PinCause::UnknownStatement)),
            ("select query_to_xml('select 1; select 2', true, true, '')", Some(PinCause::UnknownStatement)),
            ("select query_to_xml(e'select set_conf\\x69g(1)', true, true, '')", Some(PinCause::UnknownStatement)),
            ("select query_to_xml('select 1', true, true, '')", None),
            ("select query_to_xml('select pg_advisory_lock(1)', true, true, '')", Some(PinCause::AdvisoryLock)),
            (
                "select query_to_xml('select set_config(''a.b'', ''1'', false)', true, true, '')",
                Some(PinCause::Setting),
            ),
            ("select query_to_xml($1, true, true, '')", Some(PinCause::UnknownStatement)),
            ("select query_to_xml('select 1' || t.a, true, true, '') from t", Some(PinCause::UnknownStatement)),
            ("select query_to_xml(concat('select', ' 1'), true, true, '')", Some(PinCause::UnknownStatement)),
            ("select query_to_xml('select pg_advisory_lo'\n'ck(1)', true, true, '')", Some(PinCause::UnknownStatement)),
            ("select query_to_xml(t.a, true, true, '') from t", Some(PinCause::UnknownStatement)),
            ("select * from crosstab('select 1', 2) as (a int)", None),
            ("select * from crosstab('select 1'::text, 'select 2') as (a int)", None),
            ("select query_to_xml($$select query_to_xml('select 1')$$)", Some(PinCause::UnknownStatement)),
        ] {
            assert_eq!(of_run_texts(sql), left, "{sql}");
        }
    }

    proptest::proptest! {
        #![proptest_config(crate::engine::fuzz::at_least(2000))]
        #[test]
        fn no_setting_hides_in_a_block(
            before in r"(begin |null; |perform 1; |if a then |else |end if; |loop |x := 1; |<<a>> |select case when a then b end; |declare x int; begin |'--' |/\* \*/|-- \n){0,6}",
            after in r"(; end|;| end if;| end){0,2}",
        ) {
            // After what ends or opens a statement, it is one.
            let opened = ["begin ", "; ", "then ", "else ", "loop "].iter().any(|end| before.ends_with(end));
            if opened || before.is_empty() {
                let sql = format!("do $q$ {before}set app.x = 1{after} $q$");
                proptest::prop_assert!(of_block(&sql).is_some(), "{}", sql);
            }
        }
    }
}
