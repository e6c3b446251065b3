//! The classifier, opened to the tests and benches of this crate.

use super::classify;
use crate::engine::{Class, Driver, Setting};

/// `plain`, `setting:name`, `reset:name`, `reset:*`, `pin:Cause`, `control` of a transaction, or the
/// `end` of what pins.
pub fn verdict(sql: &str) -> String {
    match classify::classify(sql) {
        Class { pins: Some(cause), .. } => format!("pin:{cause:?}"),
        Class { control: Some(_), .. } => "control".to_owned(),
        Class { ends: Some(_), .. } => "end".to_owned(),
        Class { setting: Some(Setting::Set { name, .. }), .. } => format!("setting:{}", name.key()),
        Class { setting: Some(Setting::Reset(name)), .. } => format!("reset:{}", name.key()),
        Class { setting: Some(Setting::ResetAll), .. } => "reset:*".to_owned(),
        _ => "plain".to_owned(),
    }
}

/// How many statements the text holds that are not empty.
pub fn statements(sql: &str) -> usize {
    classify::statements(sql)
}

/// Whether the text leaves nothing in its session; as if it were new.
pub fn is_plain(sql: &str) -> bool {
    let class = classify::classify(sql);
    class == Class { sequence: class.sequence, ..Class::default() }
}

/// As `is_plain`, the way a session asks: a text seen before is known.
pub fn is_plain_again(sql: &str) -> bool {
    let class = sqlx::Postgres::classify(sql);
    class == Class { sequence: class.sequence, ..Class::default() }
}
