//! The classes of most texts, without reading them.
//!
//! Why is this right? What pins, sets or asks does so by a word, and a text is judged here only when none of those words is
//! in it *anywhere*, be it in a string or a comment: then it does not matter where strings and comments begin and end. A
//! text with a semicolon, an `&` (which may spell a name by escapes) or an unusual beginning is left to who reads.

use crate::engine::{Class, Sequence};

/// How all the words begin that `classify` looks for in these statements. A word that begins so is left to who reads.
const SUSPECTS: [&[u8]; 14] = [
    b"temp",
    b"hold",
    b"pg_",
    b"set_",
    b"setseed",
    b"setval",
    b"dblink",
    b"nextval",
    b"currval",
    b"lastval",
    b"query_to_xml",
    b"ts_stat",
    b"ts_rewrite",
    b"hypopg_",
];

const BLOCK: usize = 64;

/// The class of a text that holds nothing to be found by reading.
pub(super) fn classify<'a>(sql: &str) -> Option<Class<'a>> {
    let text = sql.trim_ascii_end();
    let text = text.strip_suffix(';').unwrap_or(text).as_bytes();
    let begins = |word: &[u8]| {
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && text.get(word.len()).is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r'))
    };
    let with = begins(b"with");
    let sequence = if with || begins(b"select") || begins(b"delete") {
        Sequence::None
    } else if begins(b"insert") || begins(b"update") {
        Sequence::Draws
    } else {
        return None;
    };
    let mut last_in_word = 0;
    for (number, block) in text.chunks(BLOCK).enumerate() {
        let words = words(block)?;
        let mut starts = words & !(words << 1 | last_in_word);
        last_in_word = words >> (BLOCK - 1);
        while starts != 0 {
            let start = number * BLOCK + starts.trailing_zeros() as usize;
            if is_suspect(&text[start..], with) {
                return None;
            }
            starts &= starts - 1;
        }
    }
    Some(Class { sequence, ..Class::default() })
}

/// A bit for each byte that may stand in a word, the first byte's the lowest; `None` if it is not that simple.
fn words(block: &[u8]) -> Option<u64> {
    let mut bytes = [b' '; BLOCK];
    bytes[..block.len()].copy_from_slice(block);
    let mut in_word = [0_u8; BLOCK];
    let mut odd = 0_u8;
    // No branches and no tables: the compiler does many bytes at once.
    for (is, byte) in in_word.iter_mut().zip(bytes) {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let digit = byte.wrapping_sub(b'0') < 10;
        *is = u8::from(letter | digit | (byte == b'_') | (byte == b'$') | (byte >= 0x80));
        odd |= u8::from((byte == b';') | (byte == b'&'));
    }
    if odd != 0 {
        return None;
    }
    let mut words = 0;
    for (number, eight) in in_word.as_chunks::<8>().0.iter().enumerate() {
        // Gathers the lowest bits of eight bytes in the highest byte.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        words |= bits << (number * 8);
    }
    Some(words)
}

/// Whether a word that begins here may be one of those. What begins as a number or a parameter and goes on may end before
/// a word, and a dollar quote may too.
fn is_suspect(text: &[u8], with: bool) -> bool {
    let mut four = [b' '; 4];
    let length = text.len().min(4);
    four[..length].copy_from_slice(&text[..length]);
    if four[0].is_ascii_digit() || four[0] == b'$' {
        let after = text.iter().skip(1).find(|byte| !byte.is_ascii_digit());
        return after.is_some_and(|byte| matches!(byte, b'_' | b'$' | 0x80..) || byte.is_ascii_alphabetic());
    }
    // The underscore too has that bit set here.
    match &four.map(|byte| byte | 0x20) {
        b"temp"
        | b"hold"
        | b"set\x7f"
        | b"sets"
        | b"setv"
        | b"dbli"
        | b"next"
        | b"curr"
        | b"last"
        | b"quer"
        | b"ts\x7fs"
        | b"ts\x7fr"
        | b"hypo"
        | [b'p', b'g', 0x7f, _] => {
            SUSPECTS.iter().any(|known| text.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known)))
        }
        // Rows may be changed anywhere in it.
        b"inse" | b"upda" | b"merg" => with,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify::{PINNING, read};
    use super::*;

    #[test]
    fn usual_statements_are_known_at_a_glance() {
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
        let words = PINNING.iter().map(|(name, _)| *name);
        for word in words.chain(["temp", "temporary", "hold", "nextval", "setval", "currval", "lastval", "pg_temp_3"]) {
            // Wherever it stands, and across the blocks.
            for before in 0..2 * BLOCK {
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
        #![proptest_config(proptest::test_runner::Config::with_cases(2000))]
        #[test]
        fn a_glance_sees_what_reading_sees(
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
