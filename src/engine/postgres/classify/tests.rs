use super::*;
use crate::engine::postgres::words::WORDS;
use crate::engine::words::Word;
use crate::engine::{Name, PinEnd, Sequence, Setting, Staleness};

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
        assert_eq!(classify(sql).setting(), None, "{sql}");
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
        ("with a as (insert into b values (1) returning n) select n into temp t from a", PinCause::TemporaryObject),
        ("select set_user('admin')", PinCause::UnknownStatement),
        ("select auth.jwt_session_init('a')", PinCause::UnknownStatement),
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
        ("execute sqlx_s_1", PinCause::UnknownStatement),
        ("execute \"SQLX_S_1\" (2)", PinCause::UnknownStatement),
        ("execute u&\"\\0073qlx_s_1\"", PinCause::UnknownStatement),
        ("execute", PinCause::UnknownStatement),
        ("execute p (setseed(1))", PinCause::UnknownStatement),
        ("discard nothing", PinCause::UnknownStatement),
        ("selectx", PinCause::UnknownStatement),
        ("\"select\"", PinCause::UnknownStatement),
        ("$$select$$", PinCause::UnknownStatement),
        ("set session characteristics as transaction snapshot 'x'", PinCause::Setting),
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
fn what_leaves_two_things_behind_is_not_understood() {
    for sql in [
        "create temp table z as select dblink_connect('leaky', 'x')",
        "select pg_advisory_lock(1), setseed(0.5)",
        "create temp table zz as select pg_try_advisory_lock(99)",
        "select pg_advisory_lock(1); select dblink_connect('x')",
        "prepare p as select setseed(1)",
        "prepare p as select pg_advisory_lock(1)",
        "create temp table z on commit drop as select pg_advisory_lock(1)",
    ] {
        assert_eq!(pins(sql), Some(PinCause::UnknownStatement), "{sql}");
    }
}

#[test]
fn what_runs_a_statement_of_the_drivers_pins_wherever_it_stands() {
    for text in [
        "create table copied as execute p",
        "create table if not exists a.copied (x, y) with (fillfactor = 70) tablespace z as execute p (1) with no data",
        "create global table copied as execute p",
        "CREATE UNLOGGED TABLE copied AS /* as */ EXECUTE p",
        "explain execute p",
        "explain analyze execute p(1)",
        "explain analyse verbose execute p",
        "explain (analyze, buffers (true)) execute p",
        "explain (analyze) create table copied as execute p",
        "explain create table copied as execute p",
        "execute p",
        "execute p (1, 'x')",
    ] {
        // What SQL has prepared has pinned already, or is not there.
        assert_eq!(pins(text), None, "{text}");
        for name in ["sqlx_s_1", "SQLX_S_20", "\"sqlx_s_3\""] {
            let sql = text.replace("ecute p", &format!("ecute {name}")).replace("ECUTE p", &format!("ECUTE {name}"));
            assert_eq!(pins(&sql), Some(PinCause::UnknownStatement), "{sql}");
            assert_eq!(pins(&format!("select 1; {sql}")), Some(PinCause::UnknownStatement), "{sql}");
        }
    }
    for sql in [
        "grant execute on function f() to public",
        "revoke grant option for execute on all functions in schema s from r",
        "alter default privileges in schema s grant execute on functions to r",
        "create trigger t before insert on x for each row execute function f()",
        "create constraint trigger t after insert on x for each row when (new.a is null) execute procedure f()",
        "create event trigger t on ddl_command_end execute function f()",
        "create table execute (execute int, as_execute int)",
        "create table t as select execute from x as execute",
        "create table t as (select 1 as execute)",
        "create view v as table execute",
        "create function f() returns int language plpgsql as $$ begin execute 'select 1'; end $$",
        "create function f() returns int language sql begin atomic select 1 as execute; end",
        "explain select execute from t as execute",
        "explain (analyze) select 1 execute",
        "explain insert into execute values (1)",
        "select has_function_privilege('f()', 'execute') as execute",
        "insert into t (execute) select 1 as execute",
    ] {
        assert_eq!(pins(sql), None, "{sql}");
    }
}

#[test]
fn what_a_definition_mentions_is_not_called() {
    let mentions = |call: &str| {
        [
            format!("create table t (n int default {call})"),
            format!("create unlogged table if not exists t (n int check ({call} > 1), m int)"),
            format!("create or replace view v as select {call}"),
            format!("create recursive view v (n) as select {call}"),
            format!("create function f() returns int language sql begin atomic select {call}; end"),
            format!("create or replace procedure p() language sql begin atomic select {call}; end"),
            format!("create rule r as on insert to t do also select {call}"),
            format!("create trigger t before insert on x for each row when ({call} > 1) execute function f()"),
            format!("create policy p on t using ({call} > 1)"),
            format!("create domain d as int default {call}"),
        ]
    };
    for call in ["pg_advisory_lock(1)", "setseed(1)", "set_config('a.b', 'c', false)", "ts_stat('x')"] {
        for sql in mentions(call) {
            assert_eq!(pins(&sql), None, "{sql}");
            assert!(pins(&format!("{sql}; select {call}")).is_some(), "{sql}");
        }
        for sql in [
            format!("create table t as select {call}"),
            format!("create table t (n, m) as select {call}"),
            format!("create table p partition of t for values in ({call})"),
            format!("create materialized view v as select {call}"),
            format!("create index on t ({call})"),
            format!("alter table t add column n int default {call}"),
            format!("explain create table t as select {call}"),
        ] {
            assert!(pins(&sql).is_some(), "{sql}");
        }
    }
    for sql in mentions("currval('s')") {
        assert_eq!(classify(&sql).sequence, Sequence::NONE, "{sql}");
    }
    for sql in [
        "grant execute on function pg_advisory_lock(bigint) to r",
        "revoke all on function setseed (double precision) from public",
        "comment on function set_config(text, text, boolean) is 'x'",
        "drop function if exists a.crosstab(text)",
    ] {
        assert_eq!(classify(sql), Class::default(), "{sql}");
    }
    let import = "import foreign schema x from server s into y";
    assert_eq!(classify(import), Class { defines: true, ..Class::default() });
    assert!(classify("create table t as select currval('s')").sequence.reads());
}

#[test]
fn what_is_defined_beside_a_table_that_is_dropped_at_the_commit_pins() {
    for (sql, defines) in [
        ("create view v as table t", true),
        ("create or replace recursive view v (n) as table v", true),
        ("create rule r as on select to v do instead select 1", true),
        ("create unlogged table u (n int)", true),
        ("alter sequence s owned by \"none\"", true),
        ("alter table t add n serial", true),
        ("do $$ begin end $$", true),
        ("call p()", true),
        ("\"select\"", true),
        ("create table u (n int)", false),
        ("create unique index on t (n)", false),
        ("create temp table u (n int) on commit drop", false),
        ("insert into t select 1", false),
        ("with x as (select 1) table x", false),
        ("drop table t cascade", false),
        ("set local search_path = x", false),
    ] {
        assert_eq!(classify(sql).defines, defines, "{sql}");
        let beside = format!("create temp table t (n serial) on commit drop; {sql}");
        assert_eq!(pins(&beside).is_some(), defines, "{sql}");
        // What was defined before it is no matter of it.
        let before = format!("{sql}; create temp table t (n int) on commit drop");
        assert_eq!(pins(&before), pins(&format!("{sql}; select 1")), "{sql}");
    }
}

#[test]
fn a_table_that_is_dropped_at_the_commit_does_not_pin() {
    for sql in [
        "create temp table t (n int) on commit drop",
        "CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t (n int) WITH (fillfactor = 70) ON COMMIT DROP TABLESPACE x",
        "create temp table t on commit drop as select 1 as n",
    ] {
        let passing = Class { replans: Staleness::Names, passing_table: true, ..Class::default() };
        assert_eq!(classify(sql), passing, "{sql}");
        let whole = format!("begin; {sql}; insert into t values (1); commit");
        assert_eq!((pins(&whole), classify(&whole).control()), (None, Some(Control::Whole)), "{whole}");
    }
    for sql in [
        "create temp table t (n int) on commit delete rows",
        "create temp table t (n int) on commit preserve rows",
        "create temp table t (n int /* on commit drop */)",
        "create temp table t as select 'on commit drop'",
        "create table pg_temp.t (n int) on commit drop",
    ] {
        assert_eq!(pins(sql), Some(PinCause::TemporaryObject), "{sql}");
    }
}

#[test]
fn a_copy_from_or_to_the_client_is_seen() {
    for sql in [
        "copy t from stdin",
        "COPY t (a, b) FROM /* x */ STDIN WITH (format csv)",
        "copy (select 1) to stdout",
        "copy binary t from stdout",
        "select 1; copy t to stdout",
    ] {
        assert!(classify(sql).copies, "{sql}");
    }
    for sql in [
        "copy t from '/tmp/stdin'",
        "copy stdin from program 'cat'",
        "copy t (stdin) to 'x'",
        "copy (select 1 from stdin) to 'x'",
        "select 1 from stdin",
        "copy t from \"stdin\"",
    ] {
        assert!(!classify(sql).copies, "{sql}");
    }
}

#[test]
fn every_word_does_what_its_row_says() {
    for (name, word) in WORDS.rows() {
        let called = [
            format!("select {}(a) from t", name.to_uppercase()),
            format!("select * from contrib.{name} ('select 1') as t(a int)"),
            format!("select (a).{name} from t"),
        ];
        for sql in &called {
            let class = classify(sql);
            match word {
                Word::Leaves(cause) => assert_eq!(class.pins, Some(cause), "{sql}"),
                Word::RunsText => assert_eq!(class.pins, Some(PinCause::UnknownStatement), "{sql}"),
                Word::Remembers(sequence) => assert_eq!((class.pins, class.sequence), (None, sequence), "{sql}"),
                Word::InContext => {}
            }
        }
        if word != Word::InContext {
            assert_eq!(classify(&format!("select {name}s(1), {name} from t")), Class::default(), "{name}");
        }
    }
    for (sql, cause) in [
        ("create temp table t (n int)", PinCause::TemporaryObject),
        ("declare c cursor with hold for select 1", PinCause::HoldableCursor),
        ("update pg_settings set setting = '1'", PinCause::UnknownStatement),
        ("insert into pg_temp.t values (1)", PinCause::TemporaryObject),
    ] {
        assert_eq!(pins(sql), Some(cause), "{sql}");
    }
}

/// Another statement than the words tell may be in a text that is read in another way.
#[test]
fn what_may_change_how_texts_are_read_is_the_end_of_its_connection() {
    for sql in [
        "set standard_conforming_strings = off",
        "set local standard_conforming_strings = off",
        "begin; set local standard_conforming_strings = off",
        "select 1; set backslash_quote = on",
        "set client_encoding = 'SJIS'",
        "set session client_encoding to gbk",
        "set names 'SJIS'",
        "select 1; reset client_encoding",
        "select set_config('standard_conforming_strings', 'off', false)",
        "select set_config('Client_Encoding', 'SJIS', true)",
        "select pg_catalog.set_config('client_encoding', $1, false)",
        "select 1, set_config('client_encoding'::text, lower('SJIS'), false)",
        "select set_config(E'client\\x5fencoding', 'SJIS', false), 1",
        "select set_config(U&'client\\005fencoding', 'SJIS', false), 1",
        "select set_config('client' || '_encoding', 'SJIS', false)",
        "select set_config(name, 'SJIS', false) from t",
        "select set_config('client_'\n'encoding', 'SJIS', false), 1",
        "prepare x as select set_config($1, $2, false)",
        "call noop(set_config('standard_conforming_strings', 'off', false))",
        "select 1, set_config('standard_'::text||'conforming_strings', 'off', false)",
        "select 1, set_config('standard_conforming_stringsX'::varchar(27), 'off', false)",
        "select 1, \"set_config\"('standard_' || 'conforming_strings', 'off', false)",
        "select ('x'::text).dblink_connect",
        "select (c).\"dblink_connect\" from (select 'x'::text c) t",
        "select (0.5::float8) . /* x */ setseed",
        "select ('select 1'::text).ts_stat",
        "prepare p as select (c).dblink_connect from t",
    ] {
        let class = classify(sql);
        assert!(class.stays || class.pins.is_some_and(stays), "{sql}: {class:?}");
    }
    for sql in [
        "do $$ begin perform set_config('standard_conforming_strings', 'off', false); end $$",
        "do $$ begin set client_encoding = 'SJIS'; end $$",
        "select 1; do $$ begin perform set_config('client_encoding', 'SJIS', false); end $$",
        "do $$ begin perform ('x'::text).dblink_connect; end $$",
        "do $$ begin create temp table z (a int); perform query_to_xml('select x' || y, true, true, ''); end $$",
        "do $$ begin drop table if exists pg_temp.z; set standard_conforming_strings = off; end $$",
        "do $$ begin perform pg_advisory_lock(3); load 'auto_explain'; end $$",
        "do $$ declare x int := 1; begin execute 'select ' || x; end $$",
        "do $$ begin perform pg_advisory_lock(3); perform dblink_connect('x'); end $$",
    ] {
        assert!(classify(sql).stays, "{sql}");
    }
    for sql in [
        "select set_config('app.t', lower('X'), false)",
        "select 1, set_config('app.t'::text, 'x', false)",
        "select 1; set timezone = 'UTC'",
        "select 1, set_config('app.t'::text, lower('x'), true)",
    ] {
        assert!(matches!(pins(sql), Some(PinCause::Setting | PinCause::SeveralStatements)), "{sql}: {:?}", pins(sql));
        assert!(!classify(sql).stays, "{sql}");
    }
    for sql in ["do $$ begin perform pg_advisory_lock(3); end $$", "do $$ begin create temp table z (a int); end $$"] {
        assert!(!classify(sql).stays, "{sql}");
    }
    assert_eq!(pins("select (7::bigint).pg_advisory_lock"), Some(PinCause::AdvisoryLock));
    assert_eq!(classify("select ('s'::regclass).currval").sequence, classify("select currval('s')").sequence);
    for sql in ["set client_encoding = 'UTF8'", "set names 'utf-8'", "set standard_conforming_strings = on"] {
        assert_eq!(pins(sql), None, "{sql}");
        assert!(!classify(sql).stays, "{sql}");
    }
}

#[test]
fn transaction_control_and_the_ends_of_pins_do_not_pin() {
    let end = |sql| (classify(sql).pins, classify(sql).ends());
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
        assert_eq!((classify(sql).pins, classify(sql).control()), (None, control), "{sql}");
    }
    for (sql, ends) in [("begin; select 1", false), ("select 1; commit", true), ("rollback; begin", true)] {
        assert_eq!(classify(sql).control(), Some(Control::Unclear { ends }), "{sql}");
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
            Class { pins: None, effect: Effect::Sets(Setting::Set { name: found, .. }), .. } => {
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
        ("reset role", "role"),
        ("set session authorization default", "session_authorization"),
        ("reset session authorization", "session_authorization"),
    ] {
        assert_eq!(classify(sql).setting(), Some(Setting::Reset(Name(name, None))), "{sql}");
    }
    assert_eq!(classify("reset all").setting(), Some(Setting::ResetAll));
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
        "begin; set local app.tenant = '7'; select 1; commit",
        "set local datestyle = iso",
        "select set_config('datestyle', 'iso', true)",
        "set local session characteristics as transaction read only",
    ] {
        if let Class { effect: Effect::Controls(Control::Whole), pins: None, .. } = classify(sql) {
            continue;
        }
        let replans = classify(sql).replans;
        assert_eq!(classify(sql), Class { replans, ..Class::default() }, "{sql}");
    }
    for (sql, replans) in [
        ("set local search_path = x", Staleness::Names),
        ("set local time zone 'UTC'", Staleness::Plans),
        ("set local lock_timeout = 1", Staleness::Fresh),
        ("select set_config('app.tenant', $1, true), set_config('datestyle', 'ISO, DMY', true)", Staleness::Plans),
        ("set transaction isolation level serializable", Staleness::Fresh),
    ] {
        assert_eq!(classify(sql).replans, replans, "{sql}");
    }
}

#[test]
fn the_memory_of_sequences_is_seen() {
    for (sql, sequence) in [
        ("insert into t default values", Sequence::GENERATES),
        ("select nextval('s')", Sequence::GENERATES),
        ("select lastval()", Sequence::READS),
        ("insert into t values (currval('s'))", Sequence::GENERATES | Sequence::READS),
        ("insert into t default values; select lastval()", Sequence::GENERATES | Sequence::READS),
        ("with x as (insert into t default values) select currval('s')", Sequence::GENERATES | Sequence::READS),
        ("select lastval from t", Sequence::NONE),
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
