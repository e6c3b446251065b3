//! The classifier, opened to the tests and benches of this crate.

use super::classify;
use crate::engine::{Dialect, Setting, inspect, shapes};

/// Texts that would be slow to read for who reads carelessly.
pub use crate::engine::shapes::{POSTGRES as SHAPES, Shape, text};

/// What the text is called, in a word or two.
pub fn verdict(sql: &str) -> String {
    let class = classify::classify(sql);
    if let Some(Setting::Several(statement)) = class.setting() {
        let names: Vec<_> = sqlx::Postgres::settings_of(statement).into_iter().map(|(name, _)| name).collect();
        return format!("setting:{}", names.join(","));
    }
    inspect::verdict(class)
}

/// How many statements the text holds that are not empty.
pub fn statements(sql: &str) -> usize {
    classify::statements(sql).count()
}

/// The statements that the text holds, the empty ones left out.
pub fn split(sql: &str) -> impl Iterator<Item = &str> {
    classify::statements(sql)
}

/// Whether the text leaves nothing in its session; as if it were new.
pub fn is_plain(sql: &str) -> bool {
    inspect::is_plain(classify::classify(sql))
}

/// As `is_plain`, the way a session asks: a text seen before is known.
pub fn is_plain_again(sql: &str) -> bool {
    inspect::is_plain(sqlx::Postgres::classify(sql))
}

/// Does all that is done with a text before it is sent.
pub fn weigh(sql: &str) {
    shapes::weigh::<sqlx::Postgres>(sql);
}
