//! The words of a text, whatever its engine.

/// A piece of a text. Comments and white space are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword, an identifier or a number, as written.
    Word(&'a str),
    /// A string constant: what stands between its quotes, as written.
    String(&'a str),
    /// A quoted identifier: what stands between its quotes, as written.
    Identifier(&'a str),
    /// `;`
    End,
    /// Any other character.
    Symbol(u8),
}

/// Whether these letters are in a text, large or small, as a word of their own or not.
pub(crate) fn has_letters(text: &str, letters: &str) -> bool {
    text.as_bytes().windows(letters.len()).any(|part| part.eq_ignore_ascii_case(letters.as_bytes()))
}

/// Whether a token is this keyword. A quoted identifier never is one.
pub(crate) fn is(token: Token<'_>, keyword: &str) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
}
