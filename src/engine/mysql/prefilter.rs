//! The classes of most texts, without reading them.
//!
//! A text with a semicolon, an `@`, an `!` (which may begin a comment that is executed) or an unusual beginning is left to
//! who reads.

use super::words::WORDS;
use crate::engine::prefilter::{begins, is_clear, is_glued, trimmed};
use crate::engine::{Class, Sequence};

/// The class of a text that holds nothing to be found by reading.
pub(super) fn classify<'a>(sql: &str) -> Option<Class<'a>> {
    let text = trimmed(sql);
    let begins = |word| begins(text, word);
    let sequence = if begins(b"select") || begins(b"with") {
        Sequence::NONE
    } else if begins(b"update") || begins(b"delete") {
        Sequence::WARNS
    } else if begins(b"insert") || begins(b"replace") {
        Sequence::GENERATES | Sequence::WARNS
    } else {
        return None;
    };
    is_clear(text, |byte| (byte == b';') | (byte == b'@') | (byte == b'!'), is_suspect)
        .then_some(Class { sequence, ..Class::default() })
}

/// Whether a word that begins here may be one that is looked for in these statements; then it is left to who reads. What
/// begins as a number and goes on may end before a word, and what begins with `$` may be a string.
fn is_suspect(text: &[u8]) -> bool {
    if text[0].is_ascii_digit() {
        return is_glued(text);
    }
    if text[0] == b'$' {
        return true;
    }
    WORDS.begin(text)
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
            "select * from t where id = ?",
            "SELECT current_timestamp, `a`.`b` FROM a LIMIT 10;",
            "insert into t (a) values (?, 'it\\'s') on duplicate key update a = values(a) ;\n",
            "replace into t set a = ?",
            "update t set released = ?, lasting = now() # monthly",
            "with x as (select 1) select * from x",
        ] {
            assert_eq!(classify(sql), Some(read(sql)), "{sql}");
        }
    }

    #[test]
    fn every_word_that_counts_is_left_to_who_reads() {
        for word in
            WORDS.rows().map(|(word, _)| word).chain(["next value for", "previous value for", "sql_calc_found_rows"])
        {
            // Wherever it stands, and across the blocks.
            for before in 0..LONG {
                let sql = format!("select {} {}(1)", "x".repeat(before), word.to_uppercase());
                assert_eq!(classify(&sql), None, "{sql}");
            }
        }
        for sql in ["select 1e1get_lock", "select @a", "select 1; select 2", "select /*! 1 */", "selectx", "set x = 1"]
        {
            assert_eq!(classify(sql), None, "{sql}");
        }
    }

    proptest::proptest! {
        #![proptest_config(crate::engine::fuzz::at_least(2000))]
        #[test]
        fn the_prefilter_sees_what_reading_sees(
            start in "(select|insert into|update|with|delete|replace|Select|SET)",
            text in r#"( |\n|into |create |temporary|_|x|1|\$|'|"|`|\\|-- |#|/\*|\*/|/\*!|!=|;|@|\(|get_lock|last_insert_id\(|row_count\(|nextval|sql_calc_found_rows |from |next |value |for |insert |é|a{61}){0,14}"#,
        ) {
            let sql = format!("{start} {text}");
            if let Some(class) = classify(&sql) {
                assert_eq!(class, read(&sql), "{sql}");
            }
        }
    }
}
