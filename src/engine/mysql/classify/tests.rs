use super::*;
use crate::engine::mysql::words::WORDS;
use crate::engine::words::Word;
use crate::engine::{Name, PinEnd, Sequence, Setting};

fn pins(sql: &str) -> Option<PinCause> {
    classify(sql).pins
}

#[test]
fn every_word_does_what_its_row_says() {
    for (name, word) in WORDS.rows() {
        for sql in
            [format!("select {}(1) from t", name.to_uppercase()), format!("select * from t where `{name}` ('a') > 1")]
        {
            let class = classify(&sql);
            match word {
                Word::Leaves(cause) => assert_eq!(class.pins, Some(cause), "{sql}"),
                Word::Remembers(sequence) => assert_eq!((class.pins, class.sequence), (None, sequence), "{sql}"),
                Word::InContext => assert_eq!(class.pins, None, "{sql}"),
                Word::RunsText => panic!("{sql}: nothing runs a text"),
            }
        }
        assert_eq!(classify(&format!("select {name}s(1), {name} from t")), Class::default(), "{name}");
    }
    for (sql, sequence) in [
        ("select last_insert_id()", Sequence::READS),
        ("select last_insert_id(7)", Sequence::GENERATES),
        ("select next value for s", Sequence::GENERATES),
        ("select previous value for s", Sequence::READS_KEPT),
        ("select s.currval", Sequence::READS_KEPT),
        ("select sql%rowcount", Sequence::READS_COUNT),
        ("select sql_calc_found_rows a from t", Sequence::FINDS),
    ] {
        assert_eq!(classify(sql).sequence, sequence, "{sql}");
    }
}

#[test]
fn what_shows_all_variables_shows_the_last_number() {
    for (sql, reads) in [
        ("show variables", true),
        ("show session variables where value > 0", true),
        ("SHOW LOCAL VARIABLES LIKE 'last%'", true),
        ("show variables like 'l%_id'", true),
        ("show variables like 'last\\_insert\\_id'", true),
        ("show variables like '%TITY'", true),
        ("show variables like 'innodb%'", false),
        ("show variables like 'version'", false),
        ("show variables like ''", false),
        ("show global variables", false),
    ] {
        assert_eq!(classify(sql).sequence.reads(), reads, "{sql}");
    }
}

#[test]
fn queries_changes_and_definitions_are_plain() {
    for sql in [
        "select 1",
        "  SELECT 1;",
        "/* a */ -- b\n(select 1) union (select 2) # c",
        "with x as (select 1) select * from x",
        "values row(1)",
        "table t",
        "insert into t values (';') on duplicate key update n = values(n)",
        "replace into t values ('a@b', \"c@d\", `e@f`)",
        "select `temporary`, 'get_lock(1)' from t where `set` = ?",
        "select @@version, @@session.sql_mode, @@global.max_connections, @@`port`",
        "select release_lock('a'), is_free_lock('b'), is_used_lock('c')",
        "select * from t for update skip locked",
        "select sql_calc_found_rows * from t limit 1",
        "select n from t into outfile '/tmp/x'",
        "load data infile 'x' into table t",
        "do sleep(0)",
        "explain select 1",
        "explain for connection 7",
        "analyze format=json select 1",
        "show tables",
        "show grants for 'a'@'b'",
        "show create user a@b",
        "kill query 7",
        "select /*!40001 sql_no_cache */ /*+ max_execution_time(7) */ * from t",
        "select 'it\\'s', \"a\\\\b\"",
        "select 1; update t set n = 1; delete from t",
        "",
        " ; ; ",
    ] {
        let class = classify(sql);
        assert_eq!((class.pins, class.setting(), class.control(), class.commits), (None, None, None, false), "{sql}");
    }
}

#[test]
fn definitions_commit() {
    for sql in [
        "create definer = temporary@localhost view v as select 1",
        "create table t (temporary int, user int)",
        "create or replace table t (n int)",
        "create unique index i on t (n)",
        "create or replace algorithm = merge definer = `a`@`b` sql security invoker view v as select 1",
        "create definer=a@b procedure p() select @x, get_lock('a', 1)",
        "create definer = current_user function f() returns int return 1;",
        "create trigger tr before insert on t for each row set @n = 1",
        "create user 'a'@'b' identified by 'c'",
        "create role r",
        "alter user a@b account lock",
        "alter table t add n int",
        "drop table if exists t",
        "drop user a@b",
        "rename table a to b",
        "truncate t",
        "grant select on d.* to 'a'@'b'",
        "revoke r from a@b",
        "set password for a@b = 'c'",
        "set default role r to a@b",
        "check table t",
        "analyze table t",
        "analyze local table t",
        "optimize table t",
        "repair table t",
        "flush privileges",
        "set statement max_statement_time = 1 for create table t (n int)",
        "create table t /*!40101 engine = innodb, comment = x */ select 1",
    ] {
        let class = classify(sql);
        assert_eq!((class.pins, class.control(), class.commits), (None, None, true), "{sql}");
    }
    for sql in [
        "create temporary table t (n int)",
        "drop temporary table t",
        "create table t (n int) start transaction",
        "set autocommit = 1",
        "unlock tables",
    ] {
        assert!(!classify(sql).commits, "{sql}");
    }
}

#[test]
fn what_leaves_something_behind_pins_and_says_why() {
    for (sql, cause) in [
        ("select @x", PinCause::UserVariable),
        ("select@x", PinCause::UserVariable),
        ("select @'x', 1", PinCause::UserVariable),
        ("select n into @x from t", PinCause::UserVariable),
        ("set @x = 1", PinCause::UserVariable),
        ("set @x = 1, @y = concat('a', 'b')", PinCause::UserVariable),
        ("set @x = 1, sql_mode = ''", PinCause::UserVariable),
        ("set @x = 1, áutocommit = 1", PinCause::UnknownStatement),
        ("set sql_big_selects = 1, autocommit = 1", PinCause::UnknownStatement),
        ("set sql_big_selects = 1, password = password('x')", PinCause::UnknownStatement),
        ("set system_versioning_asof = '2024-01-01 12:00:00'", PinCause::Setting),
        ("set statement max_statement_time = (@x := 5) for lock tables t read", PinCause::UnknownStatement),
        ("set sql_mode = @x", PinCause::UserVariable),
        ("create table t as select@x", PinCause::UserVariable),
        ("insert into t (a) values ('b'), (@`c`)", PinCause::UserVariable),
        ("create temporary table t (n int)", PinCause::TemporaryObject),
        ("CREATE OR REPLACE TEMPORARY TABLE t (n int)", PinCause::TemporaryObject),
        ("drop temporary table t", PinCause::TemporaryObject),
        ("select get_lock('a', 1)", PinCause::AdvisoryLock),
        ("do get_lock /* x */ ('a', 1)", PinCause::AdvisoryLock),
        ("select `get_lock`('a', 1)", PinCause::AdvisoryLock),
        ("select \"get_lock\"('a', 1)", PinCause::AdvisoryLock),
        ("select get_lock('a', 1) into @x", PinCause::UserVariable),
        ("set sort_buffer_size = get_lock('a', 1)", PinCause::UnknownStatement),
        ("lock tables t write", PinCause::TableLock),
        ("lock instance for backup", PinCause::UnknownStatement),
        ("flush tables with read lock", PinCause::TableLock),
        ("flush tables t with read lock", PinCause::TableLock),
        ("flush tables t for export", PinCause::TableLock),
        ("backup lock t", PinCause::UnknownStatement),
        ("drop database d", PinCause::UnknownStatement),
        ("drop schema if exists d", PinCause::UnknownStatement),
        ("set @x = @@autocommit, autocommit = 0", PinCause::UnknownStatement),
        ("set @x = 1, @@session.completion_type = 1", PinCause::UnknownStatement),
        ("set autocommit = @x", PinCause::UnknownStatement),
        ("set password = password('x'), autocommit = 0", PinCause::UnknownStatement),
        ("set default role none, autocommit = 0", PinCause::UnknownStatement),
        ("create /*!99999 table */ /*!40000 temporary */ table t (n int)", PinCause::UnknownStatement),
        ("handler t open", PinCause::Handler),
        ("handler t read first", PinCause::Handler),
        ("prepare p from 'select 1'", PinCause::PreparedStatement),
        ("execute p", PinCause::PreparedStatement),
        ("execute immediate 'select 1'", PinCause::PreparedStatement),
        ("set statement max_statement_time = 1 for execute p", PinCause::PreparedStatement),
        ("begin not atomic execute immediate 'select 1'; end", PinCause::Procedure),
        ("explain format = json into @x select 1", PinCause::UserVariable),
        ("deallocate prepare p", PinCause::PreparedStatement),
        ("drop prepare p", PinCause::PreparedStatement),
        ("call p()", PinCause::Procedure),
        ("begin not atomic select 1; select 2; end", PinCause::Procedure),
        ("xa start 'x'", PinCause::RawTransaction),
        ("commit release", PinCause::RawTransaction),
        ("commit nonsense", PinCause::RawTransaction),
        ("load index into cache t", PinCause::UnknownStatement),
        ("load data infile 'x' into table t algorithm = bulk", PinCause::UnknownStatement),
        ("create table t (n int) start transaction", PinCause::UnknownStatement),
        ("cache index t in default", PinCause::UnknownStatement),
        ("create procedure p() begin select 1; end", PinCause::UnknownStatement),
        ("create something t", PinCause::UnknownStatement),
        ("shutdown", PinCause::UnknownStatement),
        ("selectx", PinCause::UnknownStatement),
        ("`select`", PinCause::UnknownStatement),
        ("?", PinCause::UnknownStatement),
        ("select 1; set sql_mode = ''", PinCause::SeveralStatements),
        ("select 1; select @x", PinCause::SeveralStatements),
        ("commit; select 1", PinCause::SeveralStatements),
        ("unlock tables; select 1", PinCause::SeveralStatements),
        ("begin; select 1", PinCause::SeveralStatements),
        ("begin; create table t (n int); commit", PinCause::SeveralStatements),
        ("begin; commit; begin; commit", PinCause::SeveralStatements),
        ("set statement max_statement_time = 1 for call p()", PinCause::Procedure),
        ("set statement max_statement_time = 1 for set x = 1", PinCause::UnknownStatement),
        ("set statement max_statement_time = 1 for commit", PinCause::UnknownStatement),
        ("set statement max_statement_time = 1", PinCause::UnknownStatement),
    ] {
        assert_eq!(pins(sql), Some(cause), "{sql}");
    }
}

#[test]
fn what_the_server_may_read_otherwise_pins() {
    for sql in [
        "/*!40101 SET NAMES utf8 */",
        "/*! select */ 1",
        "select 1 /*! ; lock tables t write */",
        "select /*!99999 get_lock */ ('a', 1)",
        "select 1 /*!50000 into outfile 'x' */",
        "create /*!99999 temporary */ table t (n int)",
        "set sql_mode = '' /*!99999 , autocommit = 0 */",
        "set sql_mode = '' /*!99999 , sort_buffer_size = 7 */, autocommit = 0",
        "select '\\'; lock tables t write; -- '",
        "select '\\', get_lock(\"a\", 1) -- '",
        "select \"\\\", get_lock('a', 1) -- \"",
        "select $$",
        "create function f() returns int language javascript as $$ // it's $$; begin; insert into t values (1)",
        "insert into t values ($tag$ ' $tag$)",
        "select '\\' $$ '",
        "select '\\', /*! 1, */ /*!99999 get_lock('a', 1) */ '",
    ] {
        assert_eq!(pins(sql), Some(PinCause::UnknownStatement), "{sql}");
    }
    for sql in [
        "select '\\'; commit; -- '",
        "select $$ ' $$; commit",
        "commit /*!99999 and chain */",
        "/*!99999 x */ rollback",
    ] {
        assert_eq!(classify(sql).control(), Some(Control::Unclear { ends: true }), "{sql}");
    }
    assert_eq!(classify("commit /*!50000 work */").control(), Some(Control::Commit { chain: false }));
}

#[test]
fn transaction_control_and_the_ends_of_pins_do_not_pin() {
    for (sql, cause) in [
        ("unlock tables", PinCause::TableLock),
        ("UNLOCK TABLE;", PinCause::TableLock),
        ("select release_all_locks()", PinCause::AdvisoryLock),
        ("do release_all_locks ( ) -- x", PinCause::AdvisoryLock),
    ] {
        let class = classify(sql);
        assert_eq!((class.pins, class.ends()), (None, Some(PinEnd::Of(cause))), "{sql}");
    }
    let class = classify("select release_all_locks() from t where false");
    assert_eq!((class.pins, class.ends()), (None, None));
    for (sql, control) in [
        ("begin", Some(Control::Begin)),
        ("start transaction read only", Some(Control::Begin)),
        ("begin; insert into t values (1); select 1; commit", Some(Control::Whole)),
        ("start transaction; rollback", Some(Control::Whole)),
        ("select 1; select 2", None),
        ("create table t (n int); create table u (n int)", None),
    ] {
        assert_eq!((classify(sql).pins, classify(sql).control()), (None, control), "{sql}");
    }
    for (sql, ends) in [("begin; select 1", false), ("select 1; commit", true), ("rollback; begin", true)] {
        assert_eq!(classify(sql).control(), Some(Control::Unclear { ends }), "{sql}");
    }
    for (sql, several, commits) in [
        ("begin", false, true),
        ("select 1;", false, false),
        ("select 1; create table t (n int)", true, true),
        ("begin; select 1; commit", true, true),
    ] {
        assert_eq!((classify(sql).several, classify(sql).commits), (several, commits), "{sql}");
    }
}

#[test]
fn settings_are_seen_with_their_names() {
    for (sql, name) in [
        ("set sql_mode = 'traditional'", "sql_mode"),
        ("SET SESSION Wait_Timeout := 7;", "Wait_Timeout"),
        ("set @@session.time_zone = '+00:00'", "time_zone"),
        ("set @@lc_time_names = de_DE", "lc_time_names"),
        ("set local `time_zone` = default", "time_zone"),
        ("set names utf8mb4", "names"),
        ("set names 'utf8mb4' collate \"utf8mb4_bin\"", "names"),
        ("use shop", "database"),
        ("use `sh``op`", "database"),
        ("set session transaction isolation level read committed", "transaction_isolation"),
        ("set local transaction read only", "transaction_read_only"),
        ("set tx_isolation = 'serializable'", "transaction_isolation"),
        ("set @@session.transaction_read_only = on", "transaction_read_only"),
        ("set autocommit = 0", "autocommit"),
        ("set sort_buffer_size = /* x */ +400000", "sort_buffer_size"),
    ] {
        let set = Some(Setting::Set { name: Name(name, None), statement: sql.trim_end_matches(';') });
        let class = classify(sql);
        assert_eq!((class.pins, class.setting()), (None, set), "{sql}");
    }
    let several = "set sql_mode = '', names utf8mb4, autocommit = 0";
    assert_eq!(classify(several).setting(), Some(Setting::Several(several)));
    for sql in ["set global x = 1", "set persist x = 1", "set @@global.x = (select 1), @@persist_only.y = 2"] {
        assert_eq!(classify(sql), Class::default(), "{sql}");
    }
}

#[test]
fn a_list_of_settings_that_nobody_would_write_is_not_taken_apart() {
    let list = |count: usize| format!("set a = 1{}", ", a = 1".repeat(count - 1));
    assert!(matches!(classify(&list(256)), Class { pins: None, effect: Effect::Sets(Setting::Several(_)), .. }));
    assert!(matches!(classify(&list(257)), Class { pins: Some(PinCause::UnknownStatement), effect: Effect::None, .. }));
}

#[test]
fn the_memory_of_the_session_is_seen() {
    for (sql, sequence) in [
        ("insert into t values (1)", Sequence::GENERATES),
        ("replace into t values (1)", Sequence::GENERATES),
        ("load data infile 'x' into table t", Sequence::GENERATES),
        ("call p()", Sequence::GENERATES),
        ("begin", Sequence::NONE),
        ("begin not atomic select 1; end", Sequence::GENERATES),
        ("create table t (id int auto_increment primary key) select 1 as n", Sequence::GENERATES),
        ("create view v as select 1", Sequence::NONE),
        ("update t set n = n + 1", Sequence::NONE),
        ("update t set n = last_insert_id(n + 1)", Sequence::GENERATES),
        ("select nextval(s)", Sequence::GENERATES),
        ("select next value for s", Sequence::GENERATES),
        ("select last_insert_id()", Sequence::READS),
        ("select LAST_INSERT_ID ( /* x */ )", Sequence::READS),
        ("select @@identity", Sequence::READS),
        ("select @@session.last_insert_id", Sequence::READS),
        ("select previous value for s", Sequence::READS_KEPT),
        ("select lastval(s)", Sequence::READS_KEPT),
        ("insert into t values (last_insert_id())", Sequence::GENERATES | Sequence::READS),
        ("insert into t values (1); select last_insert_id()", Sequence::GENERATES | Sequence::READS),
        ("update t set n = 1; select row_count()", Sequence::NONE),
        ("select row_count(); update t set n = 1", Sequence::READS_COUNT),
        ("update t set n = 1; do 0; show warnings", Sequence::NONE),
        ("do 0; show warnings", Sequence::READS_WARNINGS),
        ("select sql_calc_found_rows n from t limit 2; select found_rows()", Sequence::NONE),
        ("select n from t limit 2; select found_rows()", Sequence::READS_FOUND),
        ("select sql_calc_found_rows 1 from dual; select found_rows()", Sequence::READS_FOUND),
        ("select 1; show warnings", Sequence::READS_WARNINGS),
        ("update t set n = 1; select found_rows()", Sequence::READS_FOUND),
        ("select row_count()", Sequence::READS_COUNT),
        ("select row_count(), last_insert_id()", Sequence::READS_COUNT | Sequence::READS),
        ("select @@identity; show warnings", Sequence::READS | Sequence::READS_WARNINGS),
        ("select found_rows()", Sequence::READS_FOUND),
        ("show warnings limit 1", Sequence::READS_WARNINGS),
        ("show count(*) errors", Sequence::READS_WARNINGS),
        ("select @@warning_count", Sequence::READS_WARNINGS),
        ("get diagnostics @n = number", Sequence::READS_WARNINGS),
        ("select identity, t.last_insert_id from t", Sequence::NONE),
        ("select row_count from t", Sequence::NONE),
        ("select @@session.\"identity\"", Sequence::READS),
        ("select @@local . 'last_insert_id'", Sequence::READS),
        ("select @@session.'id\u{e9}ntity'", Sequence::READS | Sequence::READS_KEPT | Sequence::READS_WARNINGS),
        ("select @@session.'sort_buffer_size', t.'identity' from t", Sequence::NONE),
        ("select @@last_gtid", Sequence::READS_KEPT),
        ("show variables like 'last%'", Sequence::READS | Sequence::READS_KEPT),
        ("show variables like 'sort%'", Sequence::NONE),
        ("show variables", Sequence::READS | Sequence::READS_KEPT),
        ("select s.currval, s.nextval", Sequence::READS_KEPT | Sequence::GENERATES),
        ("select sql%rowcount", Sequence::READS_COUNT),
        ("select n % rowcount from t", Sequence::NONE),
        ("select /*+ set_var(sql_auto_is_null = 1) */ * from t where id is null", Sequence::READS),
        ("select /*+ SET_VAR(SQL_\u{c1}UTO_IS_NULL=1) */ 1", Sequence::READS),
        ("select /*+ set_var(sort_buffer_size = 1) */ 1 from t", Sequence::NONE),
        ("set statement sql_auto_is_null = 1 for select 1", Sequence::READS),
        ("set statement max_statement_time = 1 for select 1", Sequence::NONE),
    ] {
        assert_eq!(classify(sql).sequence.done(), sequence, "{sql}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_another_one_in_a_way_that_is_left_out(text in r#"(select|set a=1|commit|create procedure p\(\)|@a|;|get_lock\(1\)|--|é|\$|/\*!|/\*|\*/|\\'|\\"|[ '"`\\\n,=@:)0-]){0,20}"#) {
        assert_eq!(read(&text), read_in_ways(&text, |_, _, _| true), "{text}");
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"(set|select|names|session|transaction|autocommit|create|procedure|for|statement|é|@@|/\*!|[ ('"`;/*\\\n&.,=@:)0-]){0,30}"#) {
        let class = classify(&text);
        if let Some(Setting::Several(statement)) = class.setting() {
            let _ = settings::settings_of(statement);
        }
    }
}
