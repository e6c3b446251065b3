//! The text that takes a connection from one set of settings to another.

use super::{AUTHORIZATION, ROLE};
use crate::engine::Settings;

/// Settings on which it depends what those after them mean: who sets them, and where names are looked up.
pub(super) const LEADING: [&str; 3] = [ROLE, AUTHORIZATION, "search_path"];

/// The statements, in one text, that take a connection from `applied` to `wanted`.
///
/// What both have in common from the start stays. What comes after it in `applied` is taken back, the last first, so that
/// each is reset by who had set it; then the rest of `wanted` is set in its own order.
pub(in crate::engine::postgres) fn replay(
    applied: &Settings,
    wanted: &Settings,
    login_defaults: &Settings,
) -> Option<String> {
    if applied == wanted {
        return None;
    }
    let kept = applied.common_start(wanted);
    let rest = || wanted.iter().skip(kept);
    let leads = applied.names().chain(wanted.names()).any(|name| LEADING.contains(&name));
    let mut text = String::new();
    for name in applied.names().skip(kept).collect::<Vec<_>>().into_iter().rev() {
        // What is set anew need not be taken back first, where nothing depends on it.
        if leads || !rest().any(|(other, _)| other == name) {
            match login_defaults.get(name) {
                Some(statement) => add(&mut text, statement),
                None => add(&mut text, &reset_of(name)),
            }
        }
    }
    for (_, statement) in rest() {
        add(&mut text, statement);
    }
    Some(text)
}

/// What a reset of everything leaves of what the login has set: the server's own, which the login's are set over again.
pub(in crate::engine::postgres) fn after_reset(login_defaults: &Settings) -> Settings {
    login_defaults.names().map(|name| (name, reset_of(name))).collect()
}

pub(super) fn add(text: &mut String, statement: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(statement);
}

pub(super) fn reset_of(name: &str) -> String {
    match name {
        ROLE => "RESET ROLE".to_owned(),
        // Becoming another user ends the role, also the one that the login was given.
        AUTHORIZATION => "RESET SESSION AUTHORIZATION; RESET ROLE".to_owned(),
        name => format!("RESET {}", quoted(name)),
    }
}

/// `"app"."tenant"`: a name that was quoted once must be quoted again.
pub(super) fn quoted(name: &str) -> String {
    let parts: Vec<_> = name.splitn(2, '.').map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}
