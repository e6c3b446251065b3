//! What a text does to its session.
//!
//! Careful until told better: only what begins like a query or a change of rows shares connections; everything else pins.

use crate::engine::Class;
use crate::engine::lexer::{Lexer, Token};
use crate::pin::PinCause;

pub(super) fn classify(sql: &str) -> Class {
    let mut tokens = Lexer::new(sql).skip_while(|token| matches!(token, Token::End | Token::Symbol(b'(')));
    let Some(first) = tokens.next() else { return Class::Plain };
    let Token::Word(word) = first else { return Class::Pins(PinCause::UnknownStatement) };
    let rest_is_empty = tokens.skip_while(|token| *token != Token::End).all(|token| token == Token::End);
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if !rest_is_empty {
        Class::Pins(PinCause::SeveralStatements)
    } else if is(&["select", "insert", "update", "delete", "with", "values"]) {
        Class::Plain
    } else if is(&["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"]) {
        Class::Pins(PinCause::RawTransaction)
    } else {
        Class::Pins(PinCause::UnknownStatement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plainly_a_query_or_a_change_of_rows_is_plain() {
        for (sql, class) in [
            ("select 1", Class::Plain),
            ("  SELECT 1;", Class::Plain),
            ("/* a */ -- b\n(select 1) union (select 2)", Class::Plain),
            ("with x as (select 1) insert into t select * from x", Class::Plain),
            ("values (1)", Class::Plain),
            ("insert into t values (';')", Class::Plain),
            ("", Class::Plain),
            (";", Class::Plain),
            ("begin", Class::Pins(PinCause::RawTransaction)),
            ("start transaction", Class::Pins(PinCause::RawTransaction)),
            ("set search_path = x", Class::Pins(PinCause::UnknownStatement)),
            ("create table t ()", Class::Pins(PinCause::UnknownStatement)),
            ("select 1; select 2", Class::Pins(PinCause::SeveralStatements)),
            ("selectx", Class::Pins(PinCause::UnknownStatement)),
            ("\"select\"", Class::Pins(PinCause::UnknownStatement)),
            ("$$select$$", Class::Pins(PinCause::UnknownStatement)),
        ] {
            assert_eq!(classify(sql), class, "{sql}");
        }
    }
}
