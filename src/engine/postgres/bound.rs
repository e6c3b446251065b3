//! What types the values of a query are bound as: what is prepared for a text is prepared for these.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgConnection, PgTypeInfo};
use sqlx::{Arguments, AssertSqlSafe, Either, Error, Executor, Postgres, Row, SqlSafeStr, Statement};

use super::settings::quoted_text;
use crate::engine::bound::lists_in;
use crate::engine::question::row;
use crate::engine::{Bound, TypeName};
use crate::random;

/// <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>
const TEXT: u32 = 25;
const UNKNOWN: u32 = 705;

/// As many types as a statement can have are shown in so many letters, and values of most of a megabyte.
const MOST: usize = 4 * 1024 * 1024;

/// Of values that are to be sent.
pub(super) fn of_values(arguments: &PgArguments) -> Bound {
    // The list of types comes before the values.
    let list = lists_in(arguments, MOST);
    // Values of these may have others within, and the driver looks up the names of those as well.
    let have_others = |[list]: &[String; 1]| ["Declare", "Record"].into_iter().any(|word| list.contains(word));
    let may_hold_names = list.as_ref().is_some_and(have_others);
    let bound = read(list, arguments.len());
    if may_hold_names { with_names_within(bound, arguments) } else { bound }
}

/// The names within values are listed after those.
fn with_names_within(mut bound: Bound, arguments: &PgArguments) -> Bound {
    let within = lists_in(arguments, MOST).and_then(|[_types, _values, _patches, _places, within]| names_in(&within));
    let Some((_, within)) = within else { return Bound { hides_names: true, ..bound } };
    for name in within {
        if !bound.names.contains(&name) {
            bound.names.push(name);
        }
    }
    bound
}

/// Of types that a statement is prepared for.
pub(super) fn of_types(types: &[PgTypeInfo]) -> Bound {
    read(lists_in(&types, MOST), types.len())
}

/// What the names of types mean under the path of now. Nobody's code is run by it. Older servers refuse what cannot be read as a
/// name at all.
pub(super) async fn meant(conn: &mut PgConnection, names: &[TypeName]) -> Result<Vec<Option<u32>>, Error> {
    let asked = names.iter().map(|name| {
        let found = |name: &str| format!("pg_catalog.to_regtype({})::pg_catalog.oid", quoted_text(name));
        match name {
            TypeName::Plain(name) => found(name),
            TypeName::ArrayOf(name) => format!(
                "(SELECT t.typarray FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) {})",
                found(name)
            ),
        }
    });
    let row = row::<Postgres>(conn, format!("SELECT {}", asked.collect::<Vec<_>>().join(", "))).await?;
    // The server makes a text of what is to be found out, and says so when it is asked what it has prepared.
    let as_prepared = |oid: Oid| if oid.0 == UNKNOWN { TEXT } else { oid.0 };
    (0..names.len()).map(|at| Ok(row.try_get::<Option<Oid>, _>(at)?.map(as_prepared))).collect()
}

/// What the driver takes the names for: it shows that in what it prepares for them.
pub(super) async fn known(conn: &mut PgConnection, names: &[TypeName]) -> Result<Vec<Option<u32>>, Error> {
    let types: Option<Vec<_>> = names
        .iter()
        .map(|name| match name {
            TypeName::Plain(name) => Some(PgTypeInfo::with_name(lasting(name)?)),
            TypeName::ArrayOf(name) => Some(PgTypeInfo::array_of(lasting(name)?)),
        })
        .collect();
    let Some(types) = types else { return Ok(vec![None; names.len()]) };
    let places: Vec<_> = (1..=types.len()).map(|number| format!("${number}")).collect();
    // A text that nobody can have prepared.
    let text = format!("SELECT {} /* {:016x} */", places.join(", "), random::generator().u64(..));
    let prepared = conn.prepare_with(AssertSqlSafe(text).into_sql_str(), &types).await?;
    let Some(Either::Left(types)) = prepared.parameters() else { return Ok(vec![None; names.len()]) };
    Ok(types.iter().map(|known| known.oid().map(|oid| oid.0)).collect())
}

/// The driver takes a name only as one that lasts. Those that come here have lasted before: a program has no other ones.
fn lasting(name: &str) -> Option<&'static str> {
    /// More than a program has.
    const MOST: usize = 1024;
    static NAMES: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if !names.contains(name) && names.len() < MOST {
        names.insert(String::leak(name.to_owned()));
    }
    names.get(name).copied()
}

fn read(list: Option<[String; 1]>, length: usize) -> Bound {
    let Some([list]) = list else { return Bound::UNREADABLE };
    match names_in(&list) {
        Some((number, names)) if number == length => Bound::of(list, names),
        _ => Bound::UNREADABLE,
    }
}

/// How many types are in a list, and those of them that have names.
fn names_in(list: &str) -> Option<(usize, Vec<TypeName>)> {
    let (mut number, mut names) = (0, Vec::new());
    for element in elements_of(list) {
        number += 1;
        names.extend(type_of(element)?);
    }
    Some((number, names))
}

/// What stands between commas that are in no brackets.
fn elements_of(list: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut from, bytes) = (0_usize, 0, list.as_bytes());
    // No other letter has one of these bytes in it.
    let ends = (0..=bytes.len()).filter(move |at| match bytes.get(*at) {
        Some(b'(' | b'[' | b'{') => {
            depth += 1;
            false
        }
        Some(b')' | b']' | b'}') => {
            depth = depth.saturating_sub(1);
            false
        }
        Some(b',') => depth == 0,
        Some(_) => false,
        None => true,
    });
    let elements = ends.map(move |end| &list[std::mem::replace(&mut from, end + 1)..end]);
    elements.map(str::trim_ascii).filter(|element| !element.is_empty())
}

/// The name of a type that has one; `None` where the element is none that is known here. A type that the driver knows from
/// the server (`Custom`) shows a name that anybody may have given it.
fn type_of(element: &str) -> Option<Option<TypeName>> {
    let shown = element.strip_prefix("PgTypeInfo(")?.strip_suffix(')')?;
    if let Some(name) = shown.strip_prefix("DeclareWithName(") {
        return Some(Some(TypeName::Plain(name.strip_suffix(')')?.to_owned())));
    }
    if let Some(array) = shown.strip_prefix("DeclareArrayOf(PgArrayOf { elem_name: ") {
        let (name, again) = array.strip_suffix(" })")?.rsplit_once(", name: ")?;
        // The name of the array is the element's, with brackets.
        let is_one = again.trim_matches('"').strip_suffix("[]") == Some(name);
        return is_one.then(|| Some(TypeName::ArrayOf(name.to_owned())));
    }
    let is_builtin = shown.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_number = shown.starts_with("DeclareWithOid(Oid(") && shown.ends_with("))");
    (is_builtin || is_number).then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(add: impl FnOnce(&mut PgArguments)) -> Bound {
        let mut arguments = PgArguments::default();
        add(&mut arguments);
        of_values(&arguments)
    }

    struct Named(PgTypeInfo);

    impl sqlx::Encode<'_, Postgres> for Named {
        fn encode_by_ref(
            &self,
            buffer: &mut sqlx::postgres::PgArgumentBuffer,
        ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
            buffer.extend_from_slice(b"buffer: [], ] })");
            Ok(sqlx::encode::IsNull::No)
        }

        fn produces(&self) -> Option<PgTypeInfo> {
            Some(self.0.clone())
        }
    }

    impl sqlx::Type<Postgres> for Named {
        fn type_info() -> PgTypeInfo {
            PgTypeInfo::with_name("unnamed")
        }
    }

    #[test]
    fn types_are_told_apart_and_values_are_not() {
        let one = |value: i64| values(|arguments| arguments.add(value).unwrap());
        assert_eq!(one(1), one(-7));
        assert!(one(1).types.is_some() && one(1).names.is_empty());
        assert_ne!(one(1), values(|arguments| arguments.add(1.0_f64).unwrap()));
        assert_ne!(one(1), values(|arguments| arguments.add(vec![1_i64]).unwrap()));
        assert_ne!(one(1), values(|arguments| arguments.add(None::<String>).unwrap()));
        assert_eq!(
            values(|arguments| arguments.add("one").unwrap()),
            values(|arguments| arguments.add(None::<String>).unwrap())
        );
        let pair = |swapped| {
            values(|arguments| {
                arguments.add("[buffer: (").unwrap();
                if swapped { arguments.add(1.0_f32).unwrap() } else { arguments.add(1_i32).unwrap() }
            })
        };
        assert_eq!(pair(false), pair(false));
        assert_ne!(pair(false), pair(true));
        assert_ne!(values(|_| ()), one(1));
    }

    #[test]
    fn values_and_types_that_are_prepared_for_have_the_same_number() {
        use sqlx::{Type, TypeInfo as _};
        let types = [<i64 as Type<Postgres>>::type_info(), <str as Type<Postgres>>::type_info()];
        assert_eq!(types[0].name(), "INT8");
        let bound = values(|arguments| {
            arguments.add(1_i64).unwrap();
            arguments.add("x").unwrap();
        });
        assert_eq!(of_types(&types), bound);
        assert_eq!(of_types(&[]), values(|_| ()));
    }

    #[test]
    fn names_are_read() {
        let bound = values(|arguments| {
            arguments.add(1_i64).unwrap();
            arguments.add(Named(PgTypeInfo::with_name("mood"))).unwrap();
            arguments.add(Named(PgTypeInfo::array_of("public.mood"))).unwrap();
            arguments.add(Named(PgTypeInfo::with_name("numeric(10, 2)[]"))).unwrap();
        });
        assert!(bound.types.is_some());
        let plain = |name: &str| TypeName::Plain(name.to_owned());
        let array = TypeName::ArrayOf("public.mood".to_owned());
        assert_eq!(bound.names, [plain("mood"), array, plain("numeric(10, 2)[]")]);
    }

    #[test]
    fn names_within_values_are_read_as_well() {
        struct Pair;
        impl sqlx::Type<Postgres> for Pair {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name("pair")
            }
        }
        impl sqlx::Encode<'_, Postgres> for Pair {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                let mut record = sqlx::postgres::types::PgRecordEncoder::new(buffer);
                record.encode(Named(PgTypeInfo::with_name("evil.mood")))?;
                record.encode("] of ] brackets")?;
                record.finish();
                Ok(sqlx::encode::IsNull::No)
            }
        }
        let bound = values(|arguments| {
            arguments.add("]][[").unwrap();
            arguments.add(Pair).unwrap();
        });
        let plain = |name: &str| TypeName::Plain(name.to_owned());
        assert_eq!(bound.names, [plain("pair"), plain("evil.mood")]);
        assert!(!bound.hides_names && bound.types.is_some());
    }

    #[test]
    fn what_is_not_understood_is_not_guessed_at() {
        for (list, length) in [
            ("", 1),
            ("PgTypeInfo(Int8", 1),
            ("PgTypeInfo(Int8)", 2),
            ("PgTypeInfo(Int8), PgTypeInfo(Int8)", 1),
            ("Int8", 1),
            ("PgTypeInfo(Custom(PgCustomType { oid: Oid(7), name: mood, kind: Simple }))", 1),
            ("PgTypeInfo(DeclareWithName(x), PgTypeInfo(Int8)", 2),
            ("PgTypeInfo(DeclareArrayOf(PgArrayOf { elem_name: a, name: \"b[]\" }))", 1),
        ] {
            assert_eq!(read(Some([list.to_owned()]), length).types, None, "{list}");
        }
        assert!(read(Some(["PgTypeInfo(DeclareWithOid(Oid(25)))".to_owned()]), 1).types.is_some());
    }
}
