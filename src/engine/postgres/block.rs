//! The texts within a text: its constants, and the block of a `DO`, which is one of them.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-do.html> and `plpgsql-statements`.

use std::borrow::Cow;

use super::lexer::Lexer;
use super::statement::is_plain;
use crate::engine::token::{Token, is};

/// The block of a `DO`, where that is one constant, in the language that is read here.
pub(super) fn block(statement: &str) -> Option<Cow<'_, str>> {
    let mut tokens = Lexer::new(statement).skip(1);
    while let Some(token) = tokens.next() {
        if is(token, "language") {
            let (Token::Word(name) | Token::Identifier(name) | Token::String(name)) = tokens.next()? else {
                return None;
            };
            if !name.eq_ignore_ascii_case("plpgsql") {
                return None;
            }
        } else if !matches!(token, Token::String(_)) {
            return None;
        }
    }
    let mut blocks = constants(statement);
    let is_language =
        |text: &Option<Cow<'_, str>>| text.as_deref().is_some_and(|text| text.eq_ignore_ascii_case("plpgsql"));
    let block = blocks.find(|text| !is_language(text))??;
    blocks.all(|text| is_language(&text)).then_some(block)
}

/// Whether every statement of a PL/pgSQL block is one that leaves nothing.
pub(super) fn is_of_known_statements(block: &str) -> bool {
    let mut tokens = Lexer::new(block).peekable();
    // Whether a statement may begin here, as far as words tell that may be names of columns as well; and whether one does.
    let (mut may_begin, mut begins) = (true, true);
    // Between `DECLARE` and `BEGIN` there are names.
    let mut declares = false;
    let mut depth = 0_usize;
    while let Some(token) = tokens.next() {
        match token {
            Token::Symbol(b'(' | b'[') => depth += 1,
            Token::Symbol(b')' | b']') => depth = depth.saturating_sub(1),
            // It ends no statement.
            Token::End if depth > 0 => return false,
            // What it runs is put together at run time; it is the name of a right as well, and then this is a pity.
            _ if is(token, "execute") => return false,
            _ => {}
        }
        if declares {
            declares = !is(token, "begin");
            (may_begin, begins) = (!declares, !declares);
            continue;
        }
        if begins && token == Token::Symbol(b'<') {
            // `<<label>>`
            let [open, name, close, closed] = std::array::from_fn(|_| tokens.next());
            let is_label = open == Some(token) && [close, closed] == [Some(Token::Symbol(b'>')); 2];
            if !is_label || !matches!(name, Some(Token::Word(_) | Token::Identifier(_))) {
                return false;
            }
            continue;
        }
        declares = begins && is(token, "declare");
        if may_begin && !declares && !is_known(token, tokens.peek().copied()) {
            return false;
        }
        begins = token == Token::End || begins && is(token, "begin");
        may_begin = begins || ["begin", "then", "else", "loop"].iter().any(|word| is(token, word));
    }
    true
}

/// Whether a statement that begins so leaves nothing by itself, or this is the beginning of an expression.
fn is_known(first: Token<'_>, next: Option<Token<'_>>) -> bool {
    const WORDS: [&str; 23] = [
        "begin",
        "end",
        "if",
        "elsif",
        "elseif",
        "else",
        "case",
        "when",
        "loop",
        "while",
        "for",
        "foreach",
        "exit",
        "continue",
        "return",
        "raise",
        "assert",
        "perform",
        "get",
        "null",
        "exception",
        "call",
        "open",
    ];
    // A routine's body and a rule have statements of their own, which end nothing here.
    let has_statements = ["or", "function", "procedure", "rule"];
    if is(first, "create") && next.is_some_and(|next| has_statements.iter().any(|word| is(next, word))) {
        return false;
    }
    // Only words begin statements that leave something, and those go on with a word or a constant, or are commits.
    let Token::Word(word) = first else { return true };
    let goes_on = match next {
        Some(Token::Symbol(_)) => true,
        Some(next) => ["end", "else", "when"].iter().any(|word| is(next, word)),
        None => false,
    };
    goes_on || is_value(word) || WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)) || is_plain(word)
}

/// The constants of a statement; `None` for one that has escapes.
pub(super) fn constants(statement: &str) -> impl Iterator<Item = Option<Cow<'_, str>>> {
    let mut lexer = Lexer::new(statement);
    std::iter::from_fn(move || {
        loop {
            let (start, token) = lexer.next_at()?;
            let Token::String(text) = token else { continue };
            return Some(match statement.as_bytes()[start] {
                b'$' => Some(text.into()),
                b'\'' if text.contains("''") => Some(text.replace("''", "'").into()),
                b'\'' => Some(text.into()),
                _ => (!text.contains(['\\', '\''])).then_some(text.into()),
            });
        }
    })
}

/// A number or a word that is a value.
pub(super) fn is_value(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
        || ["true", "false", "null"].iter().any(|known| word.eq_ignore_ascii_case(known))
}
