//! What a session has set, and how a statement changes it.

use std::collections::BTreeSet;

use super::State;
use crate::engine::{Dialect, Setting, Settings};

/// A change of a setting that is under way: noted when the server has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) enum SettingChange {
    /// Settings, each with the statement that sets it.
    Set(Vec<(String, String)>),
    Reset(String),
    ResetAll,
    /// `RESET ALL`, and who the session acts as.
    Discard,
}

impl SettingChange {
    pub(in crate::session) fn is_reset(&self) -> bool {
        !matches!(self, Self::Set(_))
    }

    /// Whether it sets one of those.
    pub(in crate::session) fn sets(&self, among: impl Fn(&str) -> bool) -> bool {
        matches!(self, Self::Set(set) if set.iter().any(|(name, _)| among(name)))
    }

    /// The settings that stay on the connection after this reset. `reset`: those that stay after a reset of everything.
    pub(super) fn leaves(&self, mut reset: Settings) -> Settings {
        match self {
            Self::Set(_) => Settings::default(),
            Self::Reset(name) => {
                reset.retain(|other| other == name);
                reset
            }
            Self::ResetAll | Self::Discard => reset,
        }
    }

    fn apply(self, settings: &mut Settings) {
        match self {
            Self::Set(set) => {
                for (name, statement) in set {
                    if name == IDENTITY[1] {
                        // Becoming another session user ends the role: https://www.postgresql.org/docs/current/sql-set-role.html
                        settings.remove(IDENTITY[0]);
                    }
                    settings.set(name, statement);
                }
            }
            Self::Reset(name) => {
                if name == IDENTITY[1] {
                    settings.remove(IDENTITY[0]);
                }
                settings.remove(&name);
            }
            Self::ResetAll => settings.retain(|name| IDENTITY.contains(&name)),
            Self::Discard => *settings = Settings::default(),
        }
    }

    pub(in crate::session) fn of<D: Dialect>(setting: Setting<'_>) -> Self {
        match setting {
            Setting::Set { statement, .. } | Setting::Several(statement) => Self::Set(D::settings_of(statement)),
            Setting::Reset(name) => Self::Reset(name.key()),
            Setting::ResetAll => Self::ResetAll,
        }
    }
}

/// How many settings a session may carry. Each change copies them all, and whoever comes after on the connection takes back
/// all of them: without a bound, ten thousand names keep a processor busy for seconds. No application has so many.
pub(super) const MOST_SETTINGS: usize = 256;

/// And how long they may be together, for the same reason: in bytes, as they are written.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// And how much is kept of what they were when the savepoints around began, each of which may be rolled back to.
pub(super) const MOST_KEPT: usize = 16 * MOST_BYTES;

/// Settings that `RESET ALL` leaves: who the session acts as.
const IDENTITY: [&str; 2] = ["role", "session_authorization"];

impl State {
    /// Whether a change brings more settings, or longer ones, than a session may carry. One that is known already may
    /// change as often as it likes.
    pub(in crate::session) fn has_no_room_for(&self, change: &SettingChange) -> bool {
        let SettingChange::Set(set) = change else { return false };
        let new: BTreeSet<_> = set.iter().map(|(name, _)| name).filter(|name| !self.settings.contains(name)).collect();
        let kept = |name: &str| set.iter().all(|(changed, _)| changed != name);
        let before = self.settings.iter().filter(|(name, _)| kept(name));
        let after = set.iter().map(|(name, statement)| (name.as_str(), statement.as_str()));
        let bytes: usize = before.chain(after).map(|(name, statement)| name.len() + statement.len()).sum();
        let kept = self.levels.last().map_or(0, |level| level.kept);
        !new.is_empty() && self.settings.len() + new.len() > MOST_SETTINGS || bytes > MOST_BYTES || kept > MOST_KEPT
    }

    /// What the settings will be when the server agrees to a change.
    pub(in crate::session) fn settings_after(&self, change: &SettingChange) -> Settings {
        let mut settings = self.settings.clone();
        change.clone().apply(&mut settings);
        settings
    }

    /// The server has agreed to a change of a setting.
    pub(in crate::session) fn changed(&mut self, change: SettingChange) {
        change.apply(&mut self.settings);
    }
}
