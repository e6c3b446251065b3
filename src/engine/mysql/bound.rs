//! What types the values of a query are bound as. MySQL 8.0.22 and later settle for the types of an execution, and read the values
//! of later ones as those: after a float, `select hex(?)` says `0` of a text.

use sqlx::Arguments;
use sqlx::mysql::MySqlArguments;

use crate::engine::Bound;
use crate::engine::bound::list_in;

/// The values are shown before the types. With more letters than these, some seven kilobytes of values, it is faster to prepare
/// the statement once more than to look.
const MOST: usize = 32 * 1024;

pub(super) fn of_values(arguments: &MySqlArguments) -> Bound {
    let list = list_in(arguments, 1, MOST);
    // Each one is shown by its fields.
    let types = list.matches("MySqlTypeInfo {").count();
    if types == arguments.len() { Bound::of(&list, Vec::new()) } else { Bound::UNREADABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(add: impl FnOnce(&mut MySqlArguments)) -> Option<u64> {
        let mut arguments = MySqlArguments::default();
        add(&mut arguments);
        of_values(&arguments).types
    }

    #[test]
    fn types_are_told_apart_and_values_are_not() {
        let one = |value: i64| values(|arguments| arguments.add(value).unwrap());
        assert_eq!(one(1), one(-7));
        assert!(one(1).is_some());
        for other in [
            values(|arguments| arguments.add(1_u64).unwrap()),
            values(|arguments| arguments.add(1_i32).unwrap()),
            values(|arguments| arguments.add(1.0_f64).unwrap()),
            values(|arguments| arguments.add(None::<String>).unwrap()),
            values(|_| ()),
        ] {
            assert!(other.is_some() && other != one(1));
        }
        let text = |text: &str| values(|arguments| arguments.add(text).unwrap());
        assert_eq!(text(""), text("[MySqlTypeInfo {]"));
        assert_ne!(text(""), values(|arguments| arguments.add(&[1_u8][..]).unwrap()));
        assert_eq!(text(&"x".repeat(10_000)), None, "not looked for behind so much");
    }
}
