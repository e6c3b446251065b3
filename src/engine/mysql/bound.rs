//! What types the values of a query are bound as. MySQL 8.0.22 and later settle for the types of an execution, and read the values
//! of later ones as those: after a float, `select hex(?)` says `0` of a text. A value that is none has no type at first, and the
//! earlier one's after that.

use sqlx::Arguments;
use sqlx::mysql::MySqlArguments;

use super::lexer::{Lexer, Reading};
use crate::engine::Bound;
use crate::engine::bound::lists_in;
use crate::engine::token::{Token, is};

/// The values are shown before the types. With more letters than these, some seven kilobytes of values, it is faster to prepare
/// the statement once more than to look.
const MOST: usize = 32 * 1024;

pub(super) fn of_values(sql: &str, arguments: &MySqlArguments) -> Bound {
    let Some([_, types, nulls]) = lists_in(arguments, MOST) else { return Bound::UNREADABLE };
    // Each one is shown by its fields.
    if types.matches("MySqlTypeInfo {").count() != arguments.len() {
        return Bound::UNREADABLE;
    }
    // A bit for each value, in bytes.
    let some_are_none = nulls.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    let nulls = (some_are_none && !are_in_columns_places(sql)).then_some(nulls);
    Bound::of((types, nulls), Vec::new())
}

/// Whether each value stands where a column has a type for it, or where none is as good as another: in a row of `VALUES`, or
/// compared with a column or put into one. There a value that is none is that, whatever its type.
fn are_in_columns_places(sql: &str) -> bool {
    let mut tokens = Lexer::reading(sql, Reading::USUAL);
    // For each bracket that is open, whether it holds such a row; and whether the last one did that was closed.
    let (mut open, mut closed) = (Vec::new(), false);
    let (mut last, mut before) = (Token::End, Token::End);
    while let Some((_, token)) = tokens.next_at() {
        match token {
            Token::Symbol(b'(') => {
                let follows_row = last == Token::Symbol(b',') && before == Token::Symbol(b')') && closed;
                open.push(is(last, "values") || is(last, "value") || follows_row);
            }
            Token::Symbol(b')') => closed = open.pop().unwrap_or_default(),
            Token::Symbol(b'?') => {
                let next = tokens.clone().next_at().map(|(_, token)| token);
                let ends = matches!(next, Some(Token::Symbol(b',' | b')')));
                let is_good = match last {
                    Token::Symbol(b'(' | b',') => ends && open.last() == Some(&true),
                    Token::Symbol(b'=' | b'<' | b'>') => matches!(before, Token::Word(_) | Token::Identifier(_)),
                    _ => is(last, "limit") || is(last, "offset"),
                };
                if !is_good {
                    return false;
                }
            }
            _ => {}
        }
        (before, last) = (last, token);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(sql: &str, add: impl FnOnce(&mut MySqlArguments)) -> Option<u64> {
        let mut arguments = MySqlArguments::default();
        add(&mut arguments);
        of_values(sql, &arguments).types
    }

    #[test]
    fn types_are_told_apart_and_values_are_not() {
        let one = |value: i64| values("select ?", |arguments| arguments.add(value).unwrap());
        assert_eq!(one(1), one(-7));
        assert!(one(1).is_some());
        for other in [
            values("select ?", |arguments| arguments.add(1_u64).unwrap()),
            values("select ?", |arguments| arguments.add(1_i32).unwrap()),
            values("select ?", |arguments| arguments.add(1.0_f64).unwrap()),
            values("select ?", |arguments| arguments.add(None::<String>).unwrap()),
            values("select ?", |arguments| arguments.add(None::<i64>).unwrap()),
            values("select ?", |_| ()),
        ] {
            assert!(other.is_some() && other != one(1));
        }
        let text = |text: &str| values("select ?", |arguments| arguments.add(text).unwrap());
        assert_eq!(text(""), text("[MySqlTypeInfo {]"));
        assert_ne!(text(""), values("select ?", |arguments| arguments.add(&[1_u8][..]).unwrap()));
        assert_eq!(text(&"x".repeat(10_000)), None, "not looked for behind so much");
    }

    #[test]
    fn no_value_has_a_type_only_where_that_matters() {
        for (sql, matters) in [
            ("insert into t (a, b) values (?, ?), (?, now())", false),
            ("INSERT INTO t VALUES (?)", false),
            ("update t set a = ?, `b` = ? where t.id = ? and c > ? limit ?", false),
            ("select * from t where a = ?", false),
            ("select ?", true),
            ("select coalesce(?, 1)", true),
            ("insert into t values (coalesce(?, 1))", true),
            ("insert into t values (? + 1)", true),
            ("insert into t values (1), f(?)", true),
            ("insert into t select ?", true),
            ("select * from t where a in (?, 1)", true),
            ("select * from t where (?, 1) = (a, b)", true),
            ("select f(a, ?)", true),
            ("select * from t where 1 = coalesce(a, ?)", true),
        ] {
            let none = values(sql, |arguments| arguments.add(None::<i64>).unwrap());
            let some = values(sql, |arguments| arguments.add(1_i64).unwrap());
            assert_eq!(none != some, matters, "{sql}");
        }
    }
}
