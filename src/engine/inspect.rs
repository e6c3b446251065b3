//! A class in words, for the tests and benches of this crate.

use super::{Class, Effect, Setting};

/// `plain`, `setting:name`, `reset:name`, `reset:*`, `pin:Cause`, `control` of a transaction, or the
/// `end` of what pins.
pub(super) fn verdict(class: Class<'_>) -> String {
    match class {
        Class { pins: Some(cause), .. } => format!("pin:{cause:?}"),
        Class { effect: Effect::Controls(_), .. } => "control".to_owned(),
        Class { effect: Effect::Ends(_), .. } => "end".to_owned(),
        Class { effect: Effect::Sets(Setting::Set { name, .. }), .. } => format!("setting:{}", name.key()),
        Class { effect: Effect::Sets(Setting::Reset(name)), .. } => format!("reset:{}", name.key()),
        Class { effect: Effect::Sets(Setting::ResetAll), .. } => "reset:*".to_owned(),
        Class { copies: true, .. } => "copy".to_owned(),
        _ => "plain".to_owned(),
    }
}

/// Nothing is left in the session; as if it were new.
pub(super) fn is_plain(class: Class<'_>) -> bool {
    class == Class { sequence: class.sequence, ..Class::default() }
}
