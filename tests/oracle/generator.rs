//! Texts put together from pieces of the grammar, with odd spacing, comments, cases and quotes; and from pieces that make
//! no sense.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Between two words.
const GAPS: &[&str] = &[
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "  ",
    "\r\n",
    "/**/",
    " /* ; */ ",
    "-- ' ;\n",
    "/* /* ' */ \" $$ */",
    " --\r",
    " -- $a$;\n\t",
];

const LITERALS: &[&str] = &[
    "'a'",
    "';'",
    "''''",
    "'it''s; '",
    r"'\'",
    r"E'\''",
    r"e'\\'",
    r"E';\'; '",
    "'a'\n'b;'",
    "E'a'\n'\\';'",
    "e'a' -- '\n'\\';'",
    "$$;$$",
    "$$'$$",
    "$a$ $b$;$a$",
    "$a$ $$;' $a$",
    "$é$;$é$",
    "U&'\\0041'",
    "U&'!0041;' uescape '!'",
    "N';'",
    "B'1'",
    "X'1F'",
    "'--'",
    "'/*'",
    "1",
    "-1.5e1",
    ".5",
];

const NAMES: &[&str] = &[
    "x",
    "\"a;b\"",
    "\"'\"",
    "\"a\"\"; b\"",
    "é$$",
    "a$b$c",
    "\"$$\"",
    "\"--\"",
    "\"/*\"",
    "temp",
    "hold",
    "begin",
    "U&\"\\0061;\"",
];

const SETTINGS: &[&str] = &[
    "work_mem",
    "\"work_mem\"",
    "Lock_Timeout",
    "app.tenant",
    "\"App.tenant\"",
    "session.x",
    "role.x",
    "transaction.x",
    "local.x",
];

/// Statements as words; `?` is a literal, `@` a name, `%` a setting, `~` nothing or `pg_catalog .`. What stands in one
/// piece stays so.
const STATEMENTS: &[&[&str]] = &[
    &["select", "?"],
    &["select", "?", "as", "@"],
    &["(", "select", "?", ")"],
    &["select", "@", "from", "(", "select", "1", "as", "@", ")", "y"],
    &["insert", "into", "t", "(", "doc", ")", "values", "(", "?", ")"],
    &["with", "x", "as", "(", "insert", "into", "t", "(", "doc", ")", "values", "(", "?", ")", ")", "select", "1"],
    &["update", "t", "set", "doc", "=", "?", "where", "id", "=", "1"],
    &["update", "~", "pg_settings", "set", "setting", "=", "'77'", "where", "name", "=", "'lock_timeout'"],
    &["explain", "select", "?"],
    &["set", "%", "=", "'77'"],
    &["set", "%", "to", "77"],
    &["set", "session", "%", "to", "'77'"],
    &["set", "local", "%", "=", "'77'"],
    &["set", "%", "to", "default"],
    &["reset", "%"],
    &["set", "time", "zone", "3"],
    &["set", "role", "clerk"],
    &["set", "search_path", "=", "shop", ",", "pg_temp"],
    &["set", "datestyle", "=", "'DMY'"],
    &["select", "~", "set_config", "(", "'lock_timeout'", ",", "'78'", ",", "false", ")"],
    &["select", "~", "set_config", "(", "'lock_timeout'", ",", "'78'", ",", "true", ")"],
    &["select", "~", "\"set_config\"", "(", "'app.tenant'", ",", "?", ",", "false", ")"],
    &["select", "~", "pg_advisory_lock", "(", "1", ")"],
    &["select", "U&\"\\0070g_advisory_lock\"", "(", "1", ")"],
    &["create", "temp", "table", "if", "not", "exists", "g", "(", "n", "int", ")"],
    &["select", "1", "as", "n", "into", "temporary", "@"],
    &["create", "or", "replace", "temp", "view", "gv", "as", "select", "?", "::text", "as", "n"],
    &["create", "table", "if", "not", "exists", "\"pg_temp\"", ".", "@", "(", "n", "int", ")"],
    &["create", "table", "if", "not", "exists", "@", "(", "n", "int", ")"],
    &[
        "create",
        "or",
        "replace",
        "procedure",
        "gp",
        "(",
        ")",
        "begin",
        "atomic",
        "select",
        "?",
        ";",
        "select",
        "2",
        ";",
        "end",
    ],
    &[
        "create",
        "or",
        "replace",
        "procedure",
        "gq",
        "(",
        ")",
        "begin",
        "atomic",
        "select",
        "1",
        "as",
        "case",
        ";",
        "end",
    ],
    &[
        "create", "or", "replace", "rule", "gr", "as", "on", "delete", "to", "u", "do", "also", "(", "select", "1",
        ";", "select", "?", ")",
    ],
    &["listen", "@"],
    &["notify", "\"un;heard\""],
    &["prepare", "@", "as", "select", "?"],
    &["declare", "@", "cursor", "with", "hold", "for", "select", "?"],
    &["declare", "@", "cursor", "for", "select", "?"],
    &["begin"],
    &["commit"],
    &["do", "$$ begin perform 1; end $$"],
    &[],
];

/// No piece of these is whole.
const SOUP: &[&str] = &[
    "'",
    "\"",
    "$$",
    "$a$",
    "$",
    ";",
    " ",
    " ",
    "\n",
    "--",
    "/*",
    "*/",
    "\\",
    "E",
    "e'",
    "U&",
    "1",
    "(",
    ")",
    "select 1",
    "select ",
    " as ",
    "x",
    "é",
    "set work_mem = '2MB'",
    "set work_mem=",
    " into temp x",
    "create function f() returns int ",
    "begin atomic ",
    " end",
    " case",
    "or replace ",
    "create ",
    "temp ",
    "table x (n int)",
    "listen x",
    "pg_advisory_lock(1)",
    "set_config(",
    "||",
    "+",
    "-",
    "*",
    "/",
    ".",
    ",",
    "''",
    "1e",
    "0x1",
    "null",
];

pub(super) fn text() -> impl Strategy<Value = String> {
    (vec(statement(), 1..4), vec(gap(), 8), any::<bool>()).prop_map(|(statements, gaps, ended)| {
        let mut text = gaps[0].to_owned();
        for (at, statement) in statements.iter().enumerate() {
            if at > 0 {
                text.push_str(gaps[at * 2 - 1]);
                text.push(';');
                text.push_str(gaps[at * 2]);
            }
            text.push_str(statement);
        }
        text.push_str(gaps[7]);
        text.push_str(if ended { ";" } else { "" });
        text
    })
}

pub(super) fn soup() -> impl Strategy<Value = String> {
    vec(select(SOUP), 1..14).prop_map(|pieces| pieces.concat())
}

fn gap() -> impl Strategy<Value = &'static str> {
    select(GAPS)
}

fn statement() -> impl Strategy<Value = String> {
    select(STATEMENTS).prop_flat_map(|pieces| {
        let words: Vec<_> = pieces.iter().map(|piece| (word(piece), gap())).collect();
        words.prop_map(|words| words.into_iter().map(|(word, gap)| word + gap).collect())
    })
}

fn word(piece: &'static str) -> BoxedStrategy<String> {
    let among = |pieces: &'static [&'static str]| select(pieces).prop_map(str::to_owned).boxed();
    match piece {
        "?" => among(LITERALS),
        "@" => among(NAMES),
        "%" => among(SETTINGS),
        "~" => select(vec!["", "pg_catalog .", "\"pg_catalog\"."]).prop_map(str::to_owned).boxed(),
        word if word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') => {
            select(vec![word.to_owned(), word.to_owned(), word.to_uppercase(), capital(word)]).boxed()
        }
        piece => Just(piece.to_owned()).boxed(),
    }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}
