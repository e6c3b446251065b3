//! A text judged without reading it: by how its words begin, wherever they stand.
//!
//! Why is this right? What pins, sets or asks does so by a word, and a text is judged here only when none of those words is
//! in it *anywhere*, be it in a string or a comment: then it does not matter where strings and comments begin and end.

const BLOCK: usize = 64;

/// Whether the text begins with this word, and white space after it.
pub(super) fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        && text.get(word.len()).is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r'))
}

/// A text without white space and a semicolon at its end.
pub(super) fn trimmed(sql: &str) -> &[u8] {
    let text = sql.trim_ascii_end();
    text.strip_suffix(';').unwrap_or(text).as_bytes()
}

/// Whether the text has none of these bytes, and no word that begins as these do: both are asked of every one.
#[inline]
pub(super) fn is_clear(text: &[u8], is_odd: impl Fn(u8) -> bool, is_suspect: impl Fn(&[u8]) -> bool) -> bool {
    let mut last_in_word = 0;
    for (number, block) in text.chunks(BLOCK).enumerate() {
        let Some(words) = words(block, &is_odd) else { return false };
        let mut starts = words & !(words << 1 | last_in_word);
        last_in_word = words >> (BLOCK - 1);
        while starts != 0 {
            let start = number * BLOCK + starts.trailing_zeros() as usize;
            if is_suspect(&text[start..]) {
                return false;
            }
            starts &= starts - 1;
        }
    }
    true
}

/// A bit for each byte that may stand in a word, the first byte's the lowest; `None` if one is odd.
#[inline]
fn words(block: &[u8], is_odd: &impl Fn(u8) -> bool) -> Option<u64> {
    let mut bytes = [b' '; BLOCK];
    bytes[..block.len()].copy_from_slice(block);
    let mut in_word = [0_u8; BLOCK];
    let mut odd = 0_u8;
    // No branches and no tables: the compiler does many bytes at once.
    for (is, byte) in in_word.iter_mut().zip(bytes) {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let digit = byte.wrapping_sub(b'0') < 10;
        *is = u8::from(letter | digit | (byte == b'_') | (byte == b'$') | (byte >= 0x80));
        odd |= u8::from(is_odd(byte));
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

/// Whether what begins as a number, or with `$`, goes on as a word: it may end before that.
#[inline]
pub(super) fn is_glued(text: &[u8]) -> bool {
    let after = text.iter().skip(1).find(|byte| !byte.is_ascii_digit());
    after.is_some_and(|byte| matches!(byte, b'_' | b'$' | 0x80..) || byte.is_ascii_alphabetic())
}
