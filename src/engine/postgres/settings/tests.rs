use super::*;
use crate::engine::Settings;

fn settings(statements: &[&str]) -> Settings {
    statements.iter().flat_map(|statement| settings_of(statement)).collect()
}

fn text(applied: &[&str], wanted: &[&str]) -> Option<String> {
    replay(&settings(applied), &settings(wanted), &Settings::default())
}

#[test]
fn a_setting_is_set_again_in_words_of_ones_own() {
    for (sql, again) in [
        ("set work_mem = '1MB' -- x", "SET \"work_mem\" TO '1MB'"),
        ("SET SESSION Statement_Timeout TO 5", "SET \"statement_timeout\" TO 5"),
        ("set search_path to a, \"B\" /* x */ ;", "SET \"search_path\" TO a, \"B\""),
        ("set app.tenant = 'it''s; drop table t'", "SET \"app\".\"tenant\" TO 'it''s; drop table t'"),
        ("set \"a\"\"b\".c = E'\\''", "SET \"a\"\"b\".\"c\" TO E'\\''"),
        ("set time zone 'UTC'", "SET TIME ZONE 'UTC'"),
        ("set time zone interval '1' hour", "SET TIME ZONE interval '1' hour"),
        ("set schema 'x'", "SET SCHEMA 'x'"),
        ("set role \"r\"", "SET ROLE \"r\""),
        ("set role = r", "SET \"role\" TO r"),
        ("set session role r", "SET ROLE r"),
        ("set session authorization a", "SET SESSION AUTHORIZATION a"),
        ("select set_config('app.tenant', 'a''b' :: text, false)", "SET \"app\".\"tenant\" TO 'a''b'"),
    ] {
        let found = settings_of(sql);
        assert_eq!(found.len(), 1, "{sql}");
        assert_eq!(found[0].1, again, "{sql}");
    }
}

#[test]
fn only_the_difference_is_replayed_in_the_order_in_which_it_was_set() {
    let tenant = "set app.tenant = 7";
    assert_eq!(text(&[], &[]), None);
    assert_eq!(text(&[tenant], &["set app.tenant = 7 -- x"]), None);
    assert_eq!(text(&[], &[tenant]).unwrap(), "SET \"app\".\"tenant\" TO 7");
    assert_eq!(text(&[tenant], &[]).unwrap(), "RESET \"app\".\"tenant\"");
    assert_eq!(text(&[tenant], &["set app.tenant = 8"]).unwrap(), "SET \"app\".\"tenant\" TO 8");
    assert_eq!(
        text(&[tenant, "set work_mem = 1"], &[tenant, "set role r"]).unwrap(),
        "RESET \"work_mem\"; SET ROLE r",
        "what both have from the start stays"
    );
    let admin = ["set role admin", "set session_replication_role = replica"];
    assert_eq!(text(&[], &admin).unwrap(), "SET ROLE admin; SET \"session_replication_role\" TO replica");
    assert_eq!(
        text(&admin, &[tenant]).unwrap(),
        "RESET \"session_replication_role\"; RESET ROLE; SET \"app\".\"tenant\" TO 7",
        "taken back by who had set it"
    );
    let search = ["set search_path = rts, public", "set default_text_search_config = 'rts.conf'"];
    assert_eq!(
        text(&[search[1], search[0]], &search).unwrap(),
        "RESET \"search_path\"; RESET \"default_text_search_config\"; SET \"search_path\" TO rts, public; \
             SET \"default_text_search_config\" TO 'rts.conf'",
        "another order is another setting"
    );
    assert_eq!(text(&["set session authorization a"], &[]).unwrap(), "RESET SESSION AUTHORIZATION; RESET ROLE");
    assert_eq!(text(&["set role none"], &[]).unwrap(), "RESET ROLE");
}

#[test]
fn a_name_that_the_server_cuts_is_not_moved() {
    let (fits, cut) = ("x".repeat(63), "x".repeat(64));
    for (name, moves) in [
        (fits.clone(), true),
        (format!("my.{fits}"), true),
        (format!("{fits}.{fits}"), true),
        (cut.clone(), false),
        (format!("my.{cut}"), false),
        (format!("{cut}.my"), false),
        (format!("\"{cut}\""), false),
    ] {
        for sql in [format!("set {name} = 1"), format!("set {name} to default"), format!("reset {name}")] {
            let lasts = matches!(change(&sql), Some(Change::Lasting(_)));
            let pins = change(&sql) == Some(Change::Pins(PinCause::Setting));
            assert_eq!((lasts, pins), (moves, !moves), "{sql}");
        }
        if !name.contains('"') {
            let sql = format!("select set_config('{name}', 'y', false)");
            assert_eq!(change(&sql).is_some(), moves, "{sql}");
        }
    }
}

#[test]
fn what_the_login_has_fixed_may_be_set_again() {
    for sql in [
        "set client_encoding = 'UTF8'",
        "SET client_encoding TO utf8",
        "set session client_encoding = 'utf-8'",
        "set local client_encoding to 'Unicode'",
        "set names 'UTF8'",
        "set standard_conforming_strings = on",
        "set standard_conforming_strings to 'true'",
        "select set_config('client_encoding', 'UTF8', false)",
        "select pg_catalog.set_config('standard_conforming_strings', 'on', false)",
    ] {
        assert_eq!(change(sql), Some(Change::Passing(Staleness::Fresh)), "{sql}");
    }
    for sql in [
        "set client_encoding = 'LATIN1'",
        "set client_encoding = 'UTF8', 'LATIN1'",
        "set client_encoding = utf8 latin1",
        "set client_encoding = E'\\125TF8'",
        "set client_encoding = U&'UTF8'",
        "set client_encoding 'UTF8'",
        "set client_encoding = ''",
        "set names",
        "set names 'LATIN1'",
        "set names = 'UTF8'",
        "set client_encoding to default",
        "reset client_encoding",
    ] {
        assert_eq!(change(sql), Some(Change::Pins(PinCause::Setting)), "{sql}");
    }
    for sql in ["set standard_conforming_strings = off", "reset standard_conforming_strings"] {
        assert_eq!(change(sql), Some(Change::Pins(PinCause::UnknownStatement)), "{sql}");
    }
    assert_eq!(change("select set_config('client_encoding', 'LATIN1', false)"), None);
}

#[test]
fn characteristics_are_settings() {
    let (level, only) = ("default_transaction_isolation", "default_transaction_read_only");
    let later = "default_transaction_deferrable";
    for (sql, expected) in [
        ("isolation level serializable", &[(level, "serializable")][..]),
        ("ISOLATION LEVEL READ COMMITTED", &[(level, "read committed")]),
        ("isolation level read uncommitted", &[(level, "read uncommitted")]),
        ("read only", &[(only, "on")]),
        ("not deferrable", &[(later, "off")]),
        (
            "isolation level repeatable read, read write deferrable",
            &[(level, "repeatable read"), (only, "off"), (later, "on")],
        ),
    ] {
        for start in
            ["set session characteristics as transaction", "set session session characteristics as transaction"]
        {
            let sql = format!("{start} {sql}");
            let again = |(name, value): &(&str, &str)| ((*name).to_owned(), format!("SET \"{name}\" TO '{value}'"));
            assert_eq!(settings_of(&sql), expected.iter().map(again).collect::<Vec<_>>(), "{sql}");
        }
    }
    for rest in
        ["", "as transaction", "as transaction read", "as transaction read only,", "as transaction snapshot 'x'"]
    {
        assert_eq!(change(&format!("set session characteristics {rest}")), None, "{rest}");
    }
}

#[test]
fn several_calls_of_set_config_are_several_settings() {
    let sql = "select set_config('App.A', 'it''s', false), pg_catalog.set_config('work_mem', $$1MB$$::text, false)";
    assert!(matches!(change(sql), Some(Change::Lasting(Setting::Several(_)))));
    let again = [("app.a", "SET \"app\".\"a\" TO 'it''s'"), ("work_mem", "SET \"work_mem\" TO $$1MB$$")];
    assert_eq!(settings_of(sql), again.map(|(name, text)| (name.to_owned(), text.to_owned())));
}

#[test]
fn what_a_text_does_not_tell_is_asked_for() {
    let style = "SHOW DateStyle";
    for (sql, text) in [
        ("select set_config('a.b', $1, false)", "SELECT ($1)::pg_catalog.text"),
        ("select set_config($1, $2, false)", "SELECT ($1)::pg_catalog.text, ($2)::pg_catalog.text"),
        (
            "select pg_catalog.set_config('a.b', $1::int::text, $2)",
            "SELECT ($1::int::text)::pg_catalog.text, ($2)::pg_catalog.text",
        ),
        (
            "select set_config('a.b', $2, false), set_config('a.c', $1, false)",
            "SELECT ($2)::pg_catalog.text, ($1)::pg_catalog.text",
        ),
        ("set datestyle to iso", style),
        ("set session DateStyle = 'DMY'", style),
        ("select set_config('datestyle', 'SQL', false)", style),
    ] {
        assert_eq!(question(sql).map(|question| question.text).as_deref(), Some(text), "{sql}");
    }
    for sql in [
        "select set_config('a.b', 'c', false)",
        "select set_config('a.b', $1 || 'c', false)",
        "select set_config('a.b', $1::mood, false)",
        "select set_config('a.b', $1, false) from t",
        "select set_config('a.b', $1, false), 1",
        "set datestyle to iso, dmy",
        "set datestyle to nonsense",
        "set datestyle to e'is\\157'",
        "set local datestyle to iso",
        "set a.datestyle to iso",
        "set client_encoding = 'LATIN1'",
    ] {
        assert!(question(sql).is_none(), "{sql}");
    }
}

#[test]
fn what_is_looked_up_by_the_path_moves_with_its_schema_only() {
    for (value, moves) in [
        ("= pg_catalog.english", true),
        ("to 'tenant_a.mine'", true),
        ("to default", true),
        ("= english", false),
        ("= 'english'", false),
        ("= 'a.b.c'", false),
        ("= 'pg_temp.mine'", false),
        ("= pg_temp_3.mine", false),
        ("= a.b.c", false),
        ("= a.b, c", false),
        ("= \"A\".mine", false),
        ("= e'a.\\155ine'", false),
        ("= ''", false),
        ("= 'a.'", false),
    ] {
        let statement = format!("set default_text_search_config {value}");
        assert_eq!(matches!(change(&statement), Some(Change::Lasting(_))), moves, "{statement}");
    }
    assert!(matches!(change("set local default_text_search_config = x"), Some(Change::Passing(_))));
    assert!(change("select set_config('default_text_search_config', $1, true)").is_none());
    let call = "select set_config('default_text_search_config', 'mine', false)";
    assert_eq!(change(call), Some(Change::Pins(PinCause::Setting)));
}

#[test]
fn answers_stand_in_the_place_of_what_is_not_told() {
    let text = |text: &str| Some(text.to_owned());
    for (sql, answers, spelled_so) in [
        (
            "select set_config('a.b', $1, false)",
            vec![text("it's $1 \\")],
            Some("SELECT set_config('a.b', 'it''s $1 \\', false)"),
        ),
        (
            "select set_config($1, $2, $3)",
            vec![text("a.b"), text("c"), text("true")],
            Some("SELECT set_config('a.b', 'c', true)"),
        ),
        (
            "select set_config($1, $2, $3)",
            vec![text("a.b"), text("c"), None],
            Some("SELECT set_config('a.b', 'c', false)"),
        ),
        ("select set_config('a.b', $1, false)", vec![None], Some("SET \"a\".\"b\" TO DEFAULT")),
        ("select set_config('a.b', $1, true)", vec![None], Some("SET LOCAL \"a\".\"b\" TO DEFAULT")),
        ("select set_config($1, 'c', false)", vec![None], None),
        ("select set_config('a.b', $1, false)", vec![], None),
        ("set datestyle to iso", vec![text("SQL, DMY")], Some("SET datestyle TO 'iso, DMY'")),
        ("set datestyle = 'dmy', mdy", vec![text("Postgres, YMD")], Some("SET datestyle TO 'dmy, mdy, Postgres'")),
    ] {
        assert_eq!(spelled(sql, &answers).as_deref(), spelled_so, "{sql}");
    }
    // And then they are classified as if they had been written so.
    let classed = |answer: &str| {
        change(&spelled("select set_config($1, 'pg_temp', false)", &[text(answer)]).unwrap()).map(drop_text)
    };
    fn drop_text(change: Change<'_>) -> &'static str {
        match change {
            Change::Lasting(Setting::Set { .. }) => "set",
            Change::Pins(PinCause::UnknownStatement) => "temporary",
            _ => "else",
        }
    }
    assert_eq!(classed("a.b"), Some("set"));
    assert_eq!(classed("search_path"), Some("temporary"));
    for hidden in ["client_encoding", "seed", "a\"b", "", "x'y"] {
        assert_eq!(classed(hidden), None, "{hidden}");
    }
}

#[test]
fn what_is_not_understood_is_no_setting() {
    for sql in [
        "set",
        "set x",
        "set x y",
        "set a.b.c = 1",
        "set 'x' = 1",
        "reset",
        "select set_config($1, 'x', false)",
        "select set_config('x', $1, false)",
        "select set_config('x', 'y', $1)",
        "select set_config('x', 'y', false), 1",
        "select set_config('x', 'y', false), set_config('z', 'y', true)",
        "select set_config('x', 'y'::citext, false)",
        "select set_config('x', lower('Y'), true)",
        "select set_config('x', 'y', false) from t",
        "select set_config('we\"ird', 'y', false)",
        "select 1",
    ] {
        assert_eq!(change(sql), None, "{sql}");
    }
}

#[test]
fn a_longer_text_than_a_session_carries_is_not_taken_apart() {
    let long = |text: &str, more: &str| format!("{text}{}", more.repeat(LONGEST / more.len() + 1));
    assert_eq!(change(&long("set search_path = a", ", a")), Some(Change::Pins(PinCause::Setting)));
    assert_eq!(change(&long("set local search_path = a", ", a")), Some(Change::Pins(PinCause::Setting)));
    for name in
        ["standard_conforming_strings", "session \"Standard_Conforming_Strings\"", "local backslash_quote", "seed"]
    {
        let text = long(&format!("set /* {name} */ {name} = off"), " -- \n");
        assert_eq!(change(&text), Some(Change::Pins(PinCause::UnknownStatement)), "{name}");
    }
    let calls = long("select set_config('a.b', 'c', false)", ", set_config('a.b', 'c', false)");
    assert_eq!(change(&calls), None, "it pins for what it calls");
    assert!(question(&long("select set_config('a.b', $1, false)", ", set_config('a.b', $1, false)")).is_none());
    assert_eq!(settings_of(&calls), []);
}
