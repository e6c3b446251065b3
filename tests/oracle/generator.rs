//! Texts put together from pieces of a grammar, with odd spacing, comments, cases and quotes; and from pieces that make no
//! sense.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

const CASES: u32 = 300;

/// The pieces that texts of an engine are made of.
pub(crate) struct Pieces {
    /// Between two words.
    pub(crate) gaps: &'static [&'static str],
    pub(crate) literals: &'static [&'static str],
    pub(crate) names: &'static [&'static str],
    pub(crate) settings: &'static [&'static str],
    /// What may stand before a function's name.
    pub(crate) schemas: &'static [&'static str],
    /// Statements as words; `?` is a literal, `@` a name, `%` a setting, `~` a schema. What stands in one piece stays so.
    pub(crate) statements: &'static [&'static [&'static str]],
    /// No piece of these is whole.
    pub(crate) soup: &'static [&'static str],
}

/// Judges generated texts, always the same ones unless their number is given; panics with what is wrong about the
/// shortest that fails.
pub(crate) fn try_texts(pieces: &'static Pieces, judge: impl Fn(&str) -> Result<(), String>) {
    let cases = std::env::var("ORACLE_CASES").ok().and_then(|cases| cases.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(CASES), failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = match cases {
        Some(_) => TestRunner::new(config),
        None => {
            let rng = TestRng::deterministic_rng(config.rng_algorithm);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let texts = prop_oneof![3 => text(pieces).boxed(), 1 => soup(pieces).boxed()];
    let judged = runner.run(&texts, |text| judge(&text).map_err(TestCaseError::fail));
    if let Err(problem) = judged {
        panic!("{problem}");
    }
}

fn text(pieces: &'static Pieces) -> impl Strategy<Value = String> {
    (vec(statement(pieces), 1..4), vec(select(pieces.gaps), 8), any::<bool>()).prop_map(|(statements, gaps, ended)| {
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

fn soup(pieces: &'static Pieces) -> impl Strategy<Value = String> {
    vec(select(pieces.soup), 1..14).prop_map(|pieces| pieces.concat())
}

fn statement(pieces: &'static Pieces) -> impl Strategy<Value = String> {
    select(pieces.statements).prop_flat_map(move |statement| {
        let words: Vec<_> = statement.iter().map(|piece| (word(pieces, piece), select(pieces.gaps))).collect();
        words.prop_map(|words| words.into_iter().map(|(word, gap)| word + gap).collect())
    })
}

fn word(pieces: &'static Pieces, piece: &'static str) -> BoxedStrategy<String> {
    let among = |pieces: &'static [&'static str]| select(pieces).prop_map(str::to_owned).boxed();
    match piece {
        "?" => among(pieces.literals),
        "@" => among(pieces.names),
        "%" => among(pieces.settings),
        "~" => among(pieces.schemas),
        word if word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') => {
            select(vec![word.to_owned(), word.to_owned(), word.to_uppercase(), capital(word)]).boxed()
        }
        piece => Just(piece.to_owned()).boxed(),
    }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}
