//! The classes of most texts, without reading them.
//!
//! A text with a semicolon, an `&` (which may spell a name by escapes) or an unusual beginning is left to who reads.

use super::words::{CHANGES, WORDS};
use crate::engine::prefilter::{begins, is_clear, is_glued, trimmed};
use crate::engine::{Class, Sequence};

/// The class of a text that holds nothing to be found by reading.
pub(super) fn classify<'a>(sql: &str) -> Option<Class<'a>> {
    let text = trimmed(sql);
    let begins = |word| begins(text, word);
    let with = begins(b"with");
    let sequence = if with || begins(b"select") || begins(b"delete") {
        Sequence::NONE
    } else if begins(b"insert") || begins(b"update") {
        Sequence::GENERATES
    } else {
        return None;
    };
    is_clear(text, |byte| (byte == b';') | (byte == b'&'), |word| is_suspect(word, with))
        .then_some(Class { sequence, ..Class::default() })
}

/// Whether a word that begins here may be one of those. What begins as a number or a parameter and goes on may end before
/// a word, and a dollar quote may too.
fn is_suspect(text: &[u8], with: bool) -> bool {
    if text[0].is_ascii_digit() || text[0] == b'$' {
        return is_glued(text);
    }
    WORDS.begin(text) || with && CHANGES.begin(text)
}

#[cfg(test)]
mod tests {
    use super::super::classify::read;
    use super::*;

    /// More than one of the blocks that a text is looked at in.
    const LONG: usize = 128;

    #[test]
    fn usual_statements_pass_the_prefilter() {
        for sql in [
            "select * from t where id = $1",
            "SELECT current_timestamp, \"a\".\"b\" FROM a LIMIT 10;",
            "insert into t (a) values ($1, 'x') returning id ;\n",
            "update t set settings = $1, lasting = now()",
            "with x as (select 1) select * from x",
        ] {
            assert_eq!(classify(sql), Some(read(sql)), "{sql}");
        }
    }

    #[test]
    fn every_word_that_counts_is_left_to_who_reads() {
        for word in WORDS.rows().map(|(word, _)| word).chain(["temporary", "pg_temp_3"]) {
            // Wherever it stands, and across the blocks.
            for before in 0..LONG {
                let sql = format!("select {} {}(1)", "x".repeat(before), word.to_uppercase());
                assert_eq!(classify(&sql), None, "{sql}");
            }
        }
        for sql in [
            "select 1into temp x",
            "select $$a$$temp",
            "select 1; select 2",
            "select u&\"x\"",
            "selecttemp",
            "set x = 1",
        ] {
            assert_eq!(classify(sql), None, "{sql}");
        }
    }

    proptest::proptest! {
        #![proptest_config(crate::engine::fuzz::at_least(2000))]
        #[test]
        fn the_prefilter_sees_what_reading_sees(
            start in "(select|insert into|update|with|delete|Select|SET)",
            text in r#"( |\n|into |create |temp|_|x|1|\$|\$\$|'|"|--|/\*|\*/|;|u&|\(|nextval|lastval\(|set_config\(|pg_temp|update |insert |for |é|a{61}){0,14}"#,
        ) {
            let sql = format!("{start} {text}");
            if let Some(class) = classify(&sql) {
                assert_eq!(class, read(&sql), "{sql}");
            }
        }
    }
}
