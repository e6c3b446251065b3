//! What a text does to its session: one pass over its words, without allocating.
//!
//! Only what is known is plain; whatever is not understood pins. State that hides inside functions, procedures and `DO`
//! blocks is not seen: `CALL` and `DO` pin, a function called from a query does not.

use super::control;
use super::settings::{self, Change};
use crate::engine::lexer::{Lexer, Token};
use crate::engine::{Class, Control, PinEnd, Sequence};
use crate::pin::PinCause;

/// Statements that leave nothing in the session by themselves: queries, changes of rows, definitions of lasting objects,
/// and what ends with its transaction. The functions they call and the temporary objects they make show in their words.
const PLAIN: [&str; 34] = [
    "select",
    "insert",
    "update",
    "delete",
    "merge",
    "with",
    "values",
    "table",
    "create",
    "alter",
    "drop",
    "truncate",
    "comment",
    "grant",
    "revoke",
    "analyze",
    "analyse",
    "vacuum",
    "reindex",
    "cluster",
    "refresh",
    "explain",
    "show",
    "lock",
    "notify",
    "declare",
    "fetch",
    "move",
    "close",
    "unlisten",
    "checkpoint",
    "reassign",
    "security",
    "copy",
];

/// Functions that leave something behind in the session that calls them.
const PINNING: [(&str, PinCause); 10] = [
    ("set_config", PinCause::Setting),
    ("setseed", PinCause::UnknownStatement),
    ("pg_advisory_lock", PinCause::AdvisoryLock),
    ("pg_advisory_lock_shared", PinCause::AdvisoryLock),
    ("pg_try_advisory_lock", PinCause::AdvisoryLock),
    ("pg_try_advisory_lock_shared", PinCause::AdvisoryLock),
    ("dblink_connect", PinCause::UnknownStatement),
    ("dblink_connect_u", PinCause::UnknownStatement),
    ("dblink_open", PinCause::UnknownStatement),
    ("pg_replication_origin_session_setup", PinCause::UnknownStatement),
];

pub(super) fn classify(sql: &str) -> Class<'_> {
    let mut lexer = Lexer::new(sql);
    let mut found: Option<Statement<'_>> = None;
    let mut all = Class::default();
    let mut sequence = Series::default();
    while let Some(statement) = Statement::scan(&mut lexer) {
        let control = statement.is_control().then(|| control::parse(&sql[statement.start..statement.end]));
        sequence.add(control, found.is_some());
        all.sequence = all.sequence.max(statement.sequence);
        all.pins = all.pins.or_else(|| statement.pins());
        // The columns are those of the cursor, or of the statement that SQL prepared under the name.
        all.shifting |= is(statement.first, "fetch") || is(statement.first, "execute");
        found = Some(statement);
    }
    let Some(statement) = found else { return all };
    if sequence.several {
        // A setting among several statements is not taken apart from them.
        all.control = sequence.control();
        let pins = all.pins.is_some() || matches!(all.control, Some(Control::Unclear { .. }));
        return Class { pins: pins.then_some(PinCause::SeveralStatements), ..all };
    }
    let text = &sql[statement.start..statement.end];
    if let Some(control) = sequence.first {
        let pins = control.is_none().then_some(PinCause::RawTransaction);
        return Class { pins, control: control.or(Some(Control::Unclear { ends: true })), ..all };
    }
    if let Some(ends) = pin_end(statement.first, text) {
        return Class { pins: None, ends: Some(ends), ..all };
    }
    match settings::change(text) {
        Some(Change::Lasting(setting)) => Class { pins: None, setting: Some(setting), ..all },
        Some(Change::Passing) => Class { pins: None, ..all },
        None => all,
    }
}

/// The transaction control in a text of one or more statements.
#[derive(Default)]
struct Series<'a> {
    several: bool,
    /// Of the first statement: whether it is control, and which if it is understood.
    first: Option<Option<Control<'a>>>,
    last: Option<Option<Control<'a>>>,
    /// Something that neither begins nor ends a transaction stands in the middle.
    any: bool,
    /// Control where a transaction from begin to end has none.
    astray: bool,
    ends: bool,
}

impl<'a> Series<'a> {
    fn add(&mut self, control: Option<Option<Control<'a>>>, follows: bool) {
        if follows {
            self.several = true;
            // What was the last until now stands in the middle.
            self.astray |= self.any && self.last.is_some();
            self.any = true;
        } else {
            self.first = control;
        }
        self.last = control;
        self.ends |= match control {
            None | Some(Some(Control::Begin | Control::Savepoint(_) | Control::Release(_))) => false,
            Some(_) => true,
        };
    }

    /// What several statements are together.
    fn control(&self) -> Option<Control<'a>> {
        let ended =
            matches!(self.last, Some(Some(Control::Commit { chain: false } | Control::Rollback { chain: false })));
        if self.first == Some(Some(Control::Begin)) && ended && !self.astray {
            return Some(Control::Whole);
        }
        let none = self.first.is_none() && self.last.is_none() && !self.astray;
        (!none).then_some(Control::Unclear { ends: self.ends })
    }
}

/// Statements that take away what earlier ones left behind in the session.
fn pin_end(first: Token<'_>, statement: &str) -> Option<PinEnd> {
    let mut tokens = Lexer::new(statement).skip(1);
    let mut next = || tokens.next();
    let end = match first {
        first if is(first, "unlisten") => (next()? == Token::Symbol(b'*')).then_some(PinEnd::Of(PinCause::Listen))?,
        first if is(first, "close") => is(next()?, "all").then_some(PinEnd::Of(PinCause::HoldableCursor))?,
        first if is(first, "deallocate") => {
            let mut what = next()?;
            if is(what, "prepare") {
                what = next()?;
            }
            if is(what, "all") { PinEnd::Of(PinCause::PreparedStatement) } else { PinEnd::Other }
        }
        first if is(first, "discard") => match next()? {
            what if is(what, "all") => PinEnd::Everything,
            what if is(what, "temp") || is(what, "temporary") => PinEnd::Of(PinCause::TemporaryObject),
            what if is(what, "plans") || is(what, "sequences") => PinEnd::Other,
            _ => return None,
        },
        first if is(first, "select") => {
            let mut name = next()?;
            if is(name, "pg_catalog") && next()? == Token::Symbol(b'.') {
                name = next()?;
            }
            let call = is(name, "pg_advisory_unlock_all") && next()? == Token::Symbol(b'(');
            (call && next()? == Token::Symbol(b')')).then_some(PinEnd::Of(PinCause::AdvisoryLock))?
        }
        _ => return None,
    };
    // Anything after it may keep it from running.
    tokens.next().is_none().then_some(end)
}

/// One statement, as far as its words tell.
struct Statement<'a> {
    start: usize,
    end: usize,
    first: Token<'a>,
    second: Option<Token<'a>>,
    /// What pins whatever the statement is: a function, a temporary object, a cursor that is held.
    cause: Option<PinCause>,
    sequence: Sequence,
    /// It names a setting that changes how texts are read, or one that no reset takes back.
    changes_reading: bool,
}

impl<'a> Statement<'a> {
    /// The next statement that is not empty.
    fn scan(lexer: &mut Lexer<'a>) -> Option<Self> {
        let (start, first) = loop {
            let (start, token) = lexer.next_at()?;
            if !matches!(token, Token::End | Token::Symbol(b'(')) {
                break (start, token);
            }
        };
        let draws = ["insert", "merge", "update", "copy"].iter().any(|word| is(first, word));
        let sequence = if draws { Sequence::Draws } else { Sequence::None };
        let mut statement =
            Self { start, end: lexer.at(), first, second: None, cause: None, sequence, changes_reading: false };
        let mut depth = 0_usize;
        let (mut last_but_one, mut last) = (first, first);
        while let Some(token) = lexer.next() {
            match token {
                // The one statement with semicolons inside is a rule's list of commands, in parentheses.
                Token::End if depth == 0 => return Some(statement),
                Token::Symbol(b'(') => {
                    depth += 1;
                    statement.called(last);
                }
                Token::Symbol(b')') => depth = depth.saturating_sub(1),
                Token::Word(_) | Token::Identifier(_) => statement.named(last_but_one, last, token),
                _ => {}
            }
            statement.second = statement.second.or(Some(token));
            statement.end = lexer.at();
            (last_but_one, last) = (last, token);
        }
        Some(statement)
    }

    /// `name (`
    fn called(&mut self, name: Token<'a>) {
        let (Token::Word(name) | Token::Identifier(name)) = name else { return };
        if let Some((_, cause)) = PINNING.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) {
            self.cause = self.cause.or(Some(*cause));
        }
        let drawn = match name.len() {
            7 if name.eq_ignore_ascii_case("nextval") => Sequence::Draws,
            6 if name.eq_ignore_ascii_case("setval") => Sequence::Draws,
            7 if name.eq_ignore_ascii_case("currval") || name.eq_ignore_ascii_case("lastval") => Sequence::Asks,
            _ => return,
        };
        self.sequence = self.sequence.max(drawn);
    }

    /// A word or identifier anywhere in the statement, and the two tokens before it.
    fn named(&mut self, last_but_one: Token<'a>, last: Token<'a>, token: Token<'a>) {
        let (Token::Word(name) | Token::Identifier(name)) = token else { return };
        self.changes_reading |= ["standard_conforming_strings", "backslash_quote", "seed"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        let cause = if name.len() >= 7 && name.as_bytes()[..7].eq_ignore_ascii_case(b"pg_temp") {
            PinCause::TemporaryObject
        } else if is(token, "temp") || is(token, "temporary") {
            // A column may be called so; an object is temporary only after these.
            if !["create", "into", "replace", "global", "local"].iter().any(|word| is(last, word)) {
                return;
            }
            PinCause::TemporaryObject
        } else if is(token, "hold") && is(last, "with") && is(self.first, "declare") {
            PinCause::HoldableCursor
        } else if matches!(token, Token::Identifier(_)) && last == Token::Symbol(b'&') && is(last_but_one, "u") {
            // U&"…" spells any name by escapes.
            PinCause::UnknownStatement
        } else {
            return;
        };
        self.cause = self.cause.or(Some(cause));
    }

    fn is_control(&self) -> bool {
        control::is_control(self.first, self.second)
    }

    fn pins(&self) -> Option<PinCause> {
        let Token::Word(first) = self.first else { return Some(PinCause::UnknownStatement) };
        let among = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
        let second = |word| self.second.is_some_and(|token| is(token, word));
        if among(&PLAIN) {
            return self.cause;
        }
        if self.is_control() || among(&["commit", "rollback"]) && second("prepared") {
            return self.cause;
        }
        Some(if among(&["listen"]) {
            PinCause::Listen
        } else if among(&["prepare"]) {
            PinCause::PreparedStatement
        } else if among(&["load"]) {
            PinCause::Library
        } else if among(&["call", "do"]) {
            PinCause::Procedure
        } else if among(&["set", "reset"]) && !self.changes_reading {
            PinCause::Setting
        } else {
            PinCause::UnknownStatement
        })
    }
}

/// Whether a token is this keyword. A quoted identifier never is one.
pub(super) fn is(token: Token<'_>, keyword: &str) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Name, Setting};

    fn pins(sql: &str) -> Option<PinCause> {
        classify(sql).pins
    }

    #[test]
    fn queries_changes_and_definitions_are_plain() {
        for sql in [
            "select 1",
            "  SELECT 1;",
            "/* a */ -- b\n(select 1) union (select 2)",
            "with x as (select 1) insert into t select * from x",
            "values (1)",
            "table t",
            "insert into t values (';')",
            "merge into t using s on true when matched then do nothing",
            "create table t (temp int, temporary text)",
            "select temp, hold from t where listen = 'begin'",
            "create or replace function f() returns int language sql set search_path = x as $$ select set_config('a', 'b', false) $$",
            "create rule r as on insert to t do also (delete from u; delete from v)",
            "alter role app set search_path = x",
            "select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2), pg_advisory_unlock(3)",
            "select 'pg_advisory_lock(1)', \"pg_advisory_lock\" from t",
            "declare c cursor for select 1",
            "select 1; update t set n = 1; create index on t (n)",
            "explain analyze select 1",
            "notify orders",
            "",
            " ; ; ",
        ] {
            assert_eq!(classify(sql).pins, None, "{sql}");
            assert_eq!(classify(sql).setting, None, "{sql}");
        }
    }

    #[test]
    fn what_leaves_something_behind_pins_and_says_why() {
        for (sql, cause) in [
            ("commit nonsense", PinCause::RawTransaction),
            ("commit; select 1", PinCause::SeveralStatements),
            ("select 1; set x = 1", PinCause::SeveralStatements),
            ("create temp table t ()", PinCause::TemporaryObject),
            ("CREATE OR REPLACE TEMPORARY VIEW v as select 1", PinCause::TemporaryObject),
            ("create global temp table t ()", PinCause::TemporaryObject),
            ("select 1 into temp t", PinCause::TemporaryObject),
            ("create table pg_temp.t ()", PinCause::TemporaryObject),
            ("insert into \"pg_temp\".t values (1)", PinCause::TemporaryObject),
            ("create function pg_temp_3.f() returns int language sql as ''", PinCause::TemporaryObject),
            ("select pg_advisory_lock(1)", PinCause::AdvisoryLock),
            ("select pg_catalog . pg_try_advisory_lock /* x */ (1)", PinCause::AdvisoryLock),
            ("select \"pg_advisory_lock\"(1)", PinCause::AdvisoryLock),
            ("select u&\"\\0070g_advisory_lock\"(1)", PinCause::UnknownStatement),
            ("insert into t select set_config('a', v, false) from s", PinCause::Setting),
            ("listen orders", PinCause::Listen),
            ("prepare p as select 1", PinCause::PreparedStatement),
            ("declare c cursor with hold for select 1", PinCause::HoldableCursor),
            ("load 'auto_explain'", PinCause::Library),
            ("do $$ begin end $$", PinCause::Procedure),
            ("call p()", PinCause::Procedure),
            ("discard nothing", PinCause::UnknownStatement),
            ("selectx", PinCause::UnknownStatement),
            ("\"select\"", PinCause::UnknownStatement),
            ("$$select$$", PinCause::UnknownStatement),
            ("set session characteristics as transaction read only", PinCause::Setting),
            ("set standard_conforming_strings = off", PinCause::UnknownStatement),
            ("set seed to 0.5", PinCause::UnknownStatement),
            ("begin; set x = 1; commit", PinCause::SeveralStatements),
            ("begin; select 1", PinCause::SeveralStatements),
            ("begin; commit; begin; commit", PinCause::SeveralStatements),
        ] {
            assert_eq!(pins(sql), Some(cause), "{sql}");
        }
    }

    #[test]
    fn transaction_control_and_the_ends_of_pins_do_not_pin() {
        let end = |sql| (classify(sql).pins, classify(sql).ends);
        for (sql, ends) in [
            ("unlisten *", PinEnd::Of(PinCause::Listen)),
            ("close all", PinEnd::Of(PinCause::HoldableCursor)),
            ("deallocate prepare all", PinEnd::Of(PinCause::PreparedStatement)),
            ("deallocate p", PinEnd::Other),
            ("discard all;", PinEnd::Everything),
            ("DISCARD TEMPORARY", PinEnd::Of(PinCause::TemporaryObject)),
            ("select pg_catalog.pg_advisory_unlock_all()", PinEnd::Of(PinCause::AdvisoryLock)),
        ] {
            assert_eq!(end(sql), (None, Some(ends)), "{sql}");
        }
        for sql in ["unlisten orders", "close c", "select pg_advisory_unlock_all() where false"] {
            assert_eq!(end(sql), (None, None), "{sql}");
        }
        assert_eq!(classify("commit prepared 'x'"), Class::default());
        for (sql, control) in [
            ("begin", Some(Control::Begin)),
            ("begin; insert into t values (1); select 1; commit", Some(Control::Whole)),
            ("begin; rollback", Some(Control::Whole)),
            ("select 1; select 2", None),
        ] {
            assert_eq!((classify(sql).pins, classify(sql).control), (None, control), "{sql}");
        }
        for (sql, ends) in [("begin; select 1", false), ("select 1; commit", true), ("rollback; begin", true)] {
            assert_eq!(classify(sql).control, Some(Control::Unclear { ends }), "{sql}");
        }
    }

    #[test]
    fn settings_are_seen_with_their_names() {
        let set = |name, rest| Some(Name(name, rest));
        for (sql, name) in [
            ("set search_path = a, \"B\"", set("search_path", None)),
            ("SET SESSION statement_timeout TO '5s';", set("statement_timeout", None)),
            ("set time zone 'UTC'", set("timezone", None)),
            ("set role app", set("role", None)),
            ("set session authorization app", set("session_authorization", None)),
            ("set schema 'x'", set("search_path", None)),
            ("set app.tenant = '7'", set("app", Some("tenant"))),
            ("set \"Search_Path\" to x", set("Search_Path", None)),
            ("select set_config('search_path', 'x', false)", set("search_path", None)),
            ("select pg_catalog.set_config('app.tenant', '7''s', FALSE) -- x", set("app.tenant", None)),
        ] {
            match classify(sql) {
                Class { pins: None, setting: Some(Setting::Set { name: found, .. }), .. } => {
                    assert_eq!(Some(found), name, "{sql}");
                }
                class => panic!("{sql}: {class:?}"),
            }
        }
        for (sql, name) in [
            ("reset search_path", "search_path"),
            ("set search_path to default", "search_path"),
            ("set time zone local", "timezone"),
            ("reset time zone", "timezone"),
            ("set role none", "role"),
            ("reset role", "role"),
            ("set session authorization default", "session_authorization"),
            ("reset session authorization", "session_authorization"),
        ] {
            assert_eq!(classify(sql).setting, Some(Setting::Reset(Name(name, None))), "{sql}");
        }
        assert_eq!(classify("reset all").setting, Some(Setting::ResetAll));
    }

    #[test]
    fn what_ends_with_its_transaction_is_passing() {
        for sql in [
            "set local search_path = x",
            "set local role r",
            "set local session authorization r",
            "set transaction isolation level serializable",
            "set constraints all deferred",
            "select set_config('search_path', 'x', true)",
            "select set_config('app.tenant', $1, true)",
            "select set_config('app.tenant', $1::text, true), pg_catalog.set_config('role', 'x', true)",
        ] {
            assert_eq!(classify(sql), Class::default(), "{sql}");
        }
    }

    #[test]
    fn the_memory_of_sequences_is_seen() {
        for (sql, sequence) in [
            ("insert into t default values", Sequence::Draws),
            ("select nextval('s')", Sequence::Draws),
            ("select lastval()", Sequence::Asks),
            ("insert into t values (currval('s'))", Sequence::Asks),
            ("select lastval from t", Sequence::None),
        ] {
            assert_eq!(classify(sql).sequence, sequence, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(set|select|temp|set_config|é|[ ('"$;/*\\eE\n&.,=)u-]){0,30}"#) {
            let _ = classify(&text);
        }
    }
}
