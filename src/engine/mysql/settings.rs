//! `SET` and `USE`: which settings they change, and how to take a connection from one set of settings to another.

use crate::engine::Settings;

pub(super) fn settings_of(_: &str) -> Vec<(String, String)> {
    Vec::new()
}

pub(super) fn replay(applied: &Settings, wanted: &Settings, _home: &Settings) -> Option<String> {
    if std::sync::Arc::ptr_eq(applied, wanted) || applied == wanted {
        return None;
    }
    Some(String::new())
}

pub(super) fn is_autocommit_off(_: &Settings) -> bool {
    false
}
