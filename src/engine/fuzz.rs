//! Any text at all, for both engines: what is read of it never panics, never differs from one time to the next, and what is
//! said of it can be relied upon. Texts are put together from the pieces of the hostile shapes, and from any characters.
//!
//! A few hundred a test run with all others. An hour of them, by hand, and the same texts again by their seed:
//! ```sh
//! PROPTEST_CASES=2000000 cargo test --release --all-features --lib -- no_text the_prefilter
//! PROPTEST_CASES=2000000 PROPTEST_RNG_SEED=7 cargo test --release --all-features --lib -- no_text the_prefilter
//! ```
//! The same goes for the parsers of URLs, secrets, host names and patterns, whose tests are called `no_text` as well.

use proptest::prelude::*;

use super::shapes::Shape;
use super::{Class, Dialect, Setting};
use crate::pin::{PinCause, PinReason};

/// So many texts, unless more are asked for. One that fails is printed, and becomes a row of a table.
pub(super) fn at_least(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(cases), failure_persistence: None, ..asked }
}

/// Pieces of shapes, and what is none of them.
fn texts(shapes: &'static [Shape]) -> impl Strategy<Value = String> {
    let pieces: Vec<_> = shapes.iter().flat_map(|(start, again, end)| [*start, *again, *end]).collect();
    let piece = prop_oneof![
        8 => prop::sample::select(pieces).prop_map(str::to_owned),
        1 => r#"[ -~]{0,9}"#,
        1 => r#"(\PC|[\x00-\x20]){0,5}"#,
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn is_read_in_one_way<D: Dialect>(text: &str) {
    let class = D::classify(text);
    assert_eq!(D::classify(text), class, "twice: {text}");
    // A buffer of its own, and in another place.
    let (padded, room) = (format!("  {text}"), 2);
    assert_eq!(D::classify(&padded[room..]), class, "{text}");
    match class.setting() {
        Some(Setting::Set { name, statement }) => {
            assert!(!name.key().is_empty() && !statement.is_empty(), "{text}");
            // What is replayed sets the same again.
            let again = D::classify(statement);
            assert_eq!((again.pins, again.setting()), (None, class.setting()), "{text}");
        }
        Some(Setting::Several(statement)) => {
            for (key, statement) in D::settings_of(statement) {
                let again = D::classify(&statement);
                let name = match again.setting() {
                    Some(Setting::Set { name, .. }) => name.key(),
                    setting => panic!("{text}: {statement} is {setting:?}"),
                };
                assert_eq!((again.pins, name), (None, key), "{text}");
            }
        }
        _ => {}
    }
    // What pins is nothing else besides.
    assert!(class.pins.is_none() || class.setting().is_none() && class.ends().is_none(), "{text}");
}

/// A session with a text before it, or after it, is no less pinned by it.
fn pins_among_others<D: Dialect>(text: &str) {
    let plain = |class: Class<'_>| class.pins.is_none() && class.setting().is_none();
    if !plain(D::classify(text)) {
        let after = format!("select 1; {text}");
        assert!(D::classify(&after).pins.is_some(), "{after}");
    }
}

proptest! {
    #[cfg(feature = "postgres")]
    #[test]
    fn no_text_is_read_in_two_ways_on_postgresql(text in texts(super::shapes::POSTGRES)) {
        is_read_in_one_way::<sqlx::Postgres>(&text);
        pins_among_others::<sqlx::Postgres>(&text);
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn no_text_is_read_in_two_ways_on_mysql(text in texts(super::shapes::MYSQL)) {
        is_read_in_one_way::<sqlx::MySql>(&text);
        pins_among_others::<sqlx::MySql>(&text);
    }

    #[test]
    fn no_text_shows_its_literals(
        before in texts(super::shapes::POSTGRES),
        after in texts(super::shapes::MYSQL),
        literal in prop::sample::select(vec!["'hunter2'", "\"hunter2\"", " 4111hunter2", "$$hunter2$$", "(-4111, hunter2"]),
    ) {
        for text in [format!("{before}{literal}{after}"), format!("{after}{literal}{before}")] {
            let shown = PinReason::new(PinCause::UnknownStatement, &text);
            assert!(!shown.statement().contains("hunter2"), "{text:?}: {shown:?}");
            assert!(shown.statement().chars().count() <= 83, "{text:?}: {shown:?}");
        }
    }
}
