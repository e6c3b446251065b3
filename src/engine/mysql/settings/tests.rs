use super::*;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().copied().collect()
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
fn a_value_is_set_again_in_a_mode_that_takes_it() {
    let none = settings(&[]);
    let own = settings(&[
        ("group_concat_max_len", "set group_concat_max_len = 1"),
        ("sql_mode", "set sql_mode = 'strict_all_tables'"),
        ("time_zone", "set time_zone = 'SYSTEM'"),
    ]);
    assert_eq!(
        replay(&none, &own, &none).unwrap(),
        "SET sql_mode = '';\nset group_concat_max_len = 1;\nset time_zone = 'SYSTEM';\n\
         set sql_mode = 'strict_all_tables'"
    );
    let others = settings(&[("group_concat_max_len", "x"), ("sql_mode", "set sql_mode = 'strict_all_tables'")]);
    assert_eq!(
        replay(&others, &own, &none).unwrap(),
        "SET sql_mode = '';\nset group_concat_max_len = 1;\nset time_zone = 'SYSTEM';\n\
         set sql_mode = 'strict_all_tables'",
        "here, too"
    );
    let mode = settings(&[("sql_mode", "set sql_mode = ''"), ("time_zone", "set time_zone = 'SYSTEM'")]);
    assert_eq!(replay(&none, &mode, &none).unwrap(), "set sql_mode = '';\nset time_zone = 'SYSTEM'", "nothing to cut");
}

#[test]
fn the_name_of_a_database_is_read_as_the_driver_sends_it() {
    let (none, latin1) = (settings(&[]), settings(&[("names", "set names latin1")]));
    let own = settings(&[("database", "use `größe`"), ("names", "set names latin1")]);
    let alone = settings(&[("database", "use `größe`")]);
    assert_eq!(replay(&none, &alone, &none).unwrap(), "use `größe`");
    for (applied, expected) in [
        (&none, "SET NAMES utf8mb4;\nuse `größe`;\nset names latin1"),
        (&latin1, "SET NAMES utf8mb4;\nuse `größe`;\nset names latin1"),
        (&alone, "set names latin1"),
    ] {
        assert_eq!(replay(applied, &own, &none).unwrap(), expected);
    }
}

#[test]
fn what_is_prepared_is_read_anew_where_a_setting_that_it_is_read_by_differs() {
    let none = settings(&[]);
    let waits = settings(&[("lock_wait_timeout", "set lock_wait_timeout = 1"), ("autocommit", "set autocommit = 0")]);
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
fn checks_go_back_to_the_servers_value_and_not_to_what_mysql_takes_for_their_default() {
    let none = settings(&[]);
    for name in ["foreign_key_checks", "unique_checks"] {
        let off = settings(&[(name, "set it = 0")]);
        assert_eq!(replay(&off, &none, &none).unwrap(), format!("SET SESSION {name} = @@GLOBAL.{name}"));
        let home = settings(&[(name, "SET the login's own")]);
        assert_eq!(replay(&off, &none, &home).unwrap(), "SET the login's own");
    }
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
