//! What types the values of a query are bound as. MySQL 8.0.22 and later settle for the types of an execution, and read the values
//! of later ones as those: after a float, `select hex(?)` says `0` of a text. A value that is none has no type at first, and the
//! earlier one's after that.

use sqlx::Arguments;
use sqlx::mysql::MySqlArguments;

use super::lexer::{Lexer, Reading};
use crate::engine::Bound;
use crate::engine::bound::lists_in;
use crate::engine::token::{Token, is};

/// The values are shown before the types, and what that takes grows with them: no more letters than these are looked at, some seven
/// kilobytes of values.
const MOST: usize = 32 * 1024;

pub(super) fn of_values(sql: &str, arguments: &MySqlArguments) -> Bound {
    let Some([_, types, nulls]) = lists_in(arguments, MOST) else { return Bound::UNREADABLE };
    let are_typed = types.split("MySqlTypeInfo { type: ").skip(1).map(is_typed).collect::<Vec<_>>();
    // Each one is shown by its fields.
    if are_typed.len() != arguments.len() {
        return Bound::UNREADABLE;
    }
    // A bit for each value, in bytes.
    let some_are_none = nulls.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    let has_texts = are_typed.contains(&false);
    if !some_are_none && !has_texts {
        return Bound::of((types, None::<String>), Vec::new());
    }
    let places = places_in(sql, arguments.len());
    if has_texts && !places.take_texts {
        return Bound::UNREADABLE;
    }
    let nulls = (some_are_none && !places.are_columns).then_some(nulls);
    Bound::of((types, nulls), Vec::new())
}

/// Whether a value has the type that it says, whatever it is. Where a number is wanted, the server takes a text for the kind of
/// number that it looks like, and the next one for the same.
fn is_typed(shown: &str) -> bool {
    const TYPES: [&str; 16] = [
        "Tiny",
        "Short",
        "Int24",
        "Long",
        "LongLong",
        "Float",
        "Double",
        "Decimal",
        "NewDecimal",
        "Date",
        "Time",
        "Datetime",
        "Timestamp",
        "Year",
        "Bit",
        "Null",
    ];
    let end = shown.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(shown.len());
    TYPES.contains(&&shown[..end])
}

/// Where the values of a text stand.
struct Places {
    /// Each one where a column has a type for it, or where none is as good as another: in a row of `VALUES`, or compared with a
    /// column or put into one. There a value that is none is that, whatever its type.
    are_columns: bool,
    /// Each one there, or where a text is wanted, or among what a column is looked for in.
    take_texts: bool,
}

/// What a bracket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Row,
    Texts,
    Other,
}

/// Those that want texts in all their places.
const OF_TEXTS: [&str; 16] = [
    "concat",
    "concat_ws",
    "lower",
    "lcase",
    "upper",
    "ucase",
    "trim",
    "ltrim",
    "rtrim",
    "json_extract",
    "json_contains",
    "json_unquote",
    "md5",
    "sha1",
    "against",
    "str_to_date",
];

/// Whether this may be a column's name after that, and is no number, no variable and no word that ends another expression.
fn is_column(token: Token<'_>, after: Token<'_>) -> bool {
    const ENDS: [&str; 5] = ["not", "end", "null", "true", "false"];
    let is_name = match token {
        Token::Identifier(_) => true,
        Token::Word(word) => {
            !word.starts_with(|first: char| first.is_ascii_digit()) && !ENDS.into_iter().any(|end| is(token, end))
        }
        _ => false,
    };
    is_name && after != Token::Symbol(b'@')
}

fn places_in(sql: &str, values: usize) -> Places {
    let mut tokens = Lexer::reading(sql, Reading::USUAL);
    let (mut open, mut closed) = (Vec::new(), Bracket::Other);
    let (mut last, mut before, mut earlier) = (Token::End, Token::End, Token::End);
    let mut places = Places { are_columns: true, take_texts: true };
    let mut met = 0;
    while let Some((_, token)) = tokens.next_at() {
        match token {
            Token::Symbol(b'(') => {
                let is_word = |word: &str| is(last, word);
                let is_next_row = last == Token::Symbol(b',')
                    && before == Token::Symbol(b')')
                    && closed == Bracket::Row
                    && open.is_empty();
                let is_search = is_word("in") && is_column(before, earlier);
                open.push(match last {
                    _ if (is_word("values") || is_word("value")) && open.is_empty() || is_next_row => Bracket::Row,
                    _ if is_search || OF_TEXTS.into_iter().any(is_word) => Bracket::Texts,
                    _ => Bracket::Other,
                });
            }
            Token::Symbol(b')') => closed = open.pop().unwrap_or(Bracket::Other),
            Token::Symbol(b'?') => {
                met += 1;
                let next = tokens.clone().next_at().map(|(_, token)| token);
                let bracket = open.last().copied().unwrap_or(Bracket::Other);
                let place = place(last, is_column(before, earlier), next, bracket);
                places.are_columns &= place.are_columns;
                places.take_texts &= place.take_texts;
            }
            _ => {}
        }
        (earlier, before, last) = (before, last, token);
    }
    // Some are hidden where this reading sees none.
    let all = met >= values;
    Places { are_columns: places.are_columns && all, take_texts: places.take_texts && all }
}

/// Where a value stands, by what comes before and after it. `of_column`: what comes before that may be a column.
fn place(last: Token<'_>, of_column: bool, next: Option<Token<'_>>, bracket: Bracket) -> Places {
    // Any other word makes something else of the value.
    const GOES_ON: [&str; 8] = ["and", "or", "where", "order", "group", "limit", "on", "for"];
    let in_list = matches!(next, Some(Token::Symbol(b',' | b')')));
    let goes_on = next.is_some_and(|next| GOES_ON.into_iter().any(|word| is(next, word)));
    let is_over = in_list || goes_on || matches!(next, None | Some(Token::End));
    let (are_columns, take_texts) = match last {
        Token::Symbol(b'(' | b',') if in_list => (bracket == Bracket::Row, bracket != Bracket::Other),
        Token::Symbol(b'=' | b'<' | b'>') if is_over => (of_column, of_column),
        _ if is(last, "limit") || is(last, "offset") => (true, false),
        _ => (false, is(last, "like") && is_over),
    };
    Places { are_columns, take_texts }
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
            values("select ?", |arguments| arguments.add(None::<i64>).unwrap()),
            values("select ?", |_| ()),
        ] {
            assert!(other.is_some() && other != one(1));
        }
        let text = |text: &str| values("select lower(?)", |arguments| arguments.add(text).unwrap());
        assert_eq!(text(""), text("[MySqlTypeInfo { type: Long]"));
        assert_ne!(text(""), values("select lower(?)", |arguments| arguments.add(&[1_u8][..]).unwrap()));
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
            ("select * from t where a = ? + 1", true),
            ("select * from t where a = ? and b = ? or c < ?", false),
            ("select greatest(values(c), (?))", true),
            ("select 1 from t where @x = ?", true),
            ("select 1 from t where case a when 1 then 2 end = ?", true),
            ("select * from t where a = ? /*! + hex(?) */", true),
            ("select * from t where 1 = coalesce(a, ?)", true),
        ] {
            let none = values(sql, |arguments| arguments.add(None::<i64>).unwrap());
            let some = values(sql, |arguments| arguments.add(1_i64).unwrap());
            assert_eq!(none != some, matters, "{sql}");
        }
        let hidden =
            |number| values("select ? -- ?", |arguments| (0..number).for_each(|_| arguments.add(None::<i64>).unwrap()));
        assert_ne!(hidden(2), hidden(1));
    }

    #[test]
    fn a_text_is_prepared_for_where_it_is_wanted_as_one() {
        for (sql, kept) in [
            ("insert into t (a, b) values (?, 1), (?, now())", true),
            ("update t set a = ? where b = ? and c like ? or d in (?, ?)", true),
            ("select * from t where a like concat('%', ?, '%') order by b", true),
            ("select * from t where lower(a) = lower(?)", true),
            ("update t set a = ? / 3", false),
            ("select ? + 1", false),
            ("select coalesce(?, 1)", false),
            ("select * from t where ? in (1, 2)", false),
            ("select * from t where 2 in (1, ?)", false),
            ("select * from t where a = - ?", false),
            ("select concat(? / 3)", false),
            ("select * from t limit ?", false),
        ] {
            let text = values(sql, |arguments| sql.matches('?').for_each(|_| arguments.add("1.9").unwrap()));
            assert_eq!(text.is_some(), kept, "{sql}");
            assert!(values(sql, |arguments| sql.matches('?').for_each(|_| arguments.add(1_i64).unwrap())).is_some());
        }
    }
}
