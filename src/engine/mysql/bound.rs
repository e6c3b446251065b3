//! What the values of a query are bound as. MySQL 8.0.22 and later keep more of an execution than they say: the types of its
//! values, for which they take later ones (after a float, `select hex(?)` says `0` of a text), and in places the values
//! themselves (`in (?, ?)` of a `DATE` finds what an earlier execution has looked for). So what is prepared serves others
//! only for the same types, and only where each value stands in a place that is known to keep nothing.

use sqlx::Arguments;
use sqlx::mysql::MySqlArguments;

use super::places::{Place, places_in};
use crate::engine::Bound;
use crate::engine::bound::lists_in;

/// The values are shown before the types, and what that takes grows with them: no more letters than these are looked at, some seven
/// kilobytes of values.
const MOST: usize = 32 * 1024;

/// What a place may make of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// It is none. It has no type at first, and the earlier one's after that.
    None,
    /// A whole number, a date or a time: it has the type that it says, whatever it is.
    Typed,
    /// As well; but compared with a date it is kept whether it can be one.
    Fraction,
    /// A text or bytes. Where a number is wanted, the server takes them for the kind of number that they look like, and the next
    /// ones for the same.
    Text {
        /// They do not look like a number, or like a small one without a sign: what the server would have taken them for anyhow.
        plain: bool,
    },
}

pub(super) fn of_values(sql: &str, arguments: &MySqlArguments) -> Bound {
    let Some([values, types, nulls]) = lists_in(arguments, MOST) else { return Bound::UNREADABLE };
    let kinds = types.split("MySqlTypeInfo { type: ").skip(1).map(Kind::of).collect::<Vec<_>>();
    // Each one is shown by its fields.
    if kinds.len() != arguments.len() {
        return Bound::UNREADABLE;
    }
    if kinds.is_empty() {
        return Bound::of((types, None::<String>), Vec::new());
    }
    let (Some(values), Some(places)) = (values_in(&values, &kinds, &nulls), places_in(sql)) else {
        return Bound::UNREADABLE;
    };
    // Some are hidden where this reading sees none.
    if places.len() != values.len() || places.iter().zip(&values).any(|(place, value)| !serves(*place, *value)) {
        return Bound::UNREADABLE;
    }
    let matters = |(place, value): (&Place, &Value)| *value == Value::None && !is_column(*place);
    let nulls = places.iter().zip(&values).any(matters).then_some(nulls);
    Bound::of((types, nulls), Vec::new())
}

/// Whether nothing of the value is left there but its type.
fn serves(place: Place, value: Value) -> bool {
    match place {
        Place::Row => value != Value::Text { plain: false },
        Place::Column => !matches!(value, Value::Text { plain: false } | Value::Fraction),
        Place::Number => !matches!(value, Value::Text { .. }),
        Place::Text => true,
        Place::Other => false,
    }
}

/// Whether a value that is none is that there, whatever its type.
fn is_column(place: Place) -> bool {
    matches!(place, Place::Row | Place::Column)
}

/// How a value is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// In so many bytes.
    Whole(usize),
    Float(usize),
    /// Behind a byte that says how many.
    Temporal,
    Decimal,
    Text,
}

impl Kind {
    fn of(shown: &str) -> Self {
        let end = shown.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(shown.len());
        match &shown[..end] {
            "Tiny" => Self::Whole(1),
            "Short" | "Year" => Self::Whole(2),
            "Int24" | "Long" => Self::Whole(4),
            "LongLong" => Self::Whole(8),
            "Float" => Self::Float(4),
            "Double" => Self::Float(8),
            "Date" | "Time" | "Datetime" | "Timestamp" => Self::Temporal,
            "Decimal" | "NewDecimal" => Self::Decimal,
            _ => Self::Text,
        }
    }
}

/// The values, by what their bytes and a bit for each, which says that it is none, are shown as. `None` where they are not what
/// their types say.
fn values_in(bytes: &str, kinds: &[Kind], nulls: &str) -> Option<Vec<Value>> {
    let (bytes, nulls) = (bytes_in(bytes)?, bytes_in(nulls)?);
    let mut rest = &bytes[..];
    let mut values = Vec::with_capacity(kinds.len());
    for (at, kind) in kinds.iter().enumerate() {
        if nulls.get(at / 8)? & (1 << (at % 8)) != 0 {
            values.push(Value::None);
            continue;
        }
        let length = match kind {
            Kind::Whole(length) | Kind::Float(length) => *length,
            Kind::Temporal => usize::from(*rest.split_off_first()?),
            Kind::Decimal | Kind::Text => length(&mut rest)?,
        };
        let value = rest.split_off(..length)?;
        values.push(match kind {
            Kind::Whole(_) | Kind::Temporal => Value::Typed,
            Kind::Float(_) | Kind::Decimal => Value::Fraction,
            Kind::Text => Value::Text { plain: is_plain(value) },
        });
    }
    rest.is_empty().then_some(values)
}

fn bytes_in(shown: &str) -> Option<Vec<u8>> {
    shown.split(", ").filter(|byte| !byte.is_empty()).map(|byte| byte.parse().ok()).collect()
}

/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>
fn length(rest: &mut &[u8]) -> Option<usize> {
    let size = match *rest.split_off_first()? {
        length @ 0..=250 => return Some(length.into()),
        252 => 2,
        253 => 3,
        254 => 8,
        _ => return None,
    };
    let mut length = [0; 8];
    length[..size].copy_from_slice(rest.split_off(..size)?);
    usize::try_from(u64::from_le_bytes(length)).ok()
}

/// Whether the server makes a number of it as it would without having met another one: it begins like none, or with a few digits
/// and neither a point nor an exponent behind them.
fn is_plain(text: &[u8]) -> bool {
    /// All numbers with so many digits are in each kind of number.
    const MOST_DIGITS: usize = 15;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(digits) {
        None => digits <= MOST_DIGITS,
        Some(next) if digits > 0 => digits <= MOST_DIGITS && !matches!(next, b'.' | b'e' | b'E'),
        Some(first) => {
            !first.is_ascii_whitespace() && !first.is_ascii_control() && !matches!(first, b'+' | b'-' | b'.')
        }
    }
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
        for length in [250, 251, 7_000] {
            assert_eq!(text(&"[".repeat(length)), text(""), "{length}");
        }
    }

    #[test]
    fn no_value_has_a_type_only_where_that_matters() {
        for (sql, matters) in [
            ("insert into t (a, b) values (?, ?), (?, now())", false),
            ("update t set a = ?, `b` = ? where t.id = ? and c > ?", false),
            ("select * from t where a = ? and b = ? or c < ?", false),
            ("select ?", true),
            ("select * from t limit ?", true),
        ] {
            let number = sql.matches('?').count();
            let none = values(sql, |arguments| (0..number).for_each(|_| arguments.add(None::<i64>).unwrap()));
            let some = values(sql, |arguments| (0..number).for_each(|_| arguments.add(1_i64).unwrap()));
            assert!(none.is_some() && some.is_some(), "{sql}");
            assert_eq!(none != some, matters, "{sql}");
        }
    }

    #[test]
    fn what_keeps_something_of_a_value_serves_once() {
        for (sql, kept) in [
            ("update t set a = ? where b = ? and c like ?", true),
            ("select * from t where lower(a) = lower(?)", true),
            ("update t set a = ? / 3", false),
            ("select coalesce(?, 1)", false),
            ("select * from t where a in (?, 1)", false),
            ("select 'a = ?' -- ?", false),
        ] {
            let add = |arguments: &mut MySqlArguments| sql.matches('?').for_each(|_| arguments.add(1_i64).unwrap());
            assert_eq!(values(sql, add).is_some(), kept, "{sql}");
        }
    }

    #[test]
    fn a_text_that_looks_like_a_number_serves_only_where_texts_are_wanted() {
        let shared = |sql: &str, text: &[u8]| {
            let as_bytes = values(sql, |arguments| arguments.add(text).unwrap()).is_some();
            let text = std::str::from_utf8(text).unwrap();
            assert_eq!(values(sql, |arguments| arguments.add(text).unwrap()).is_some(), as_bytes, "{text:?}");
            as_bytes
        };
        for (text, plain) in [
            ("", true),
            ("x", true),
            ("é", true),
            ("7", true),
            ("007", true),
            ("2020-01-02", true),
            ("123456789012345", true),
            ("1234567890123456", false),
            ("1.9", false),
            ("1e400", false),
            ("1E5", false),
            ("1x5", true),
            ("-1", false),
            ("+1", false),
            (".5", false),
            (" 7", false),
            ("\n7", false),
            ("\u{b}7", false),
        ] {
            assert_eq!(shared("select 1 from t where a = ?", text.as_bytes()), plain, "{text:?}");
            assert_eq!(shared("insert into t values (?)", text.as_bytes()), plain, "{text:?}");
            assert!(shared("select 1 from t where a like ?", text.as_bytes()), "{text:?}");
            assert!(!shared("select ?", text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn values_of_all_kinds_are_found_in_their_bytes() {
        let sql = "insert into t values (?, ?, ?, ?, ?, ?, ?)";
        let all = |text: &str| {
            values(sql, |arguments| {
                arguments.add(1_i8).unwrap();
                arguments.add(None::<String>).unwrap();
                arguments.add(2.5_f32).unwrap();
                arguments.add(u64::MAX).unwrap();
                arguments.add(text).unwrap();
                arguments.add(3_u16).unwrap();
                arguments.add("y".repeat(300)).unwrap();
            })
        };
        assert!(all("x").is_some());
        assert_eq!(all("-1"), None);
        assert_eq!(values_in("1, 2", &[Kind::Whole(1)], "0"), None, "one too many");
        assert_eq!(values_in("5, 120", &[Kind::Text], "0"), None, "some are missing");
        assert_eq!(values_in("", &[Kind::Whole(1)], ""), None);
        assert_eq!(values_in("x", &[Kind::Whole(1)], "0"), None);
    }
}
