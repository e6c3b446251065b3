//! What a statement does to its session.

use super::connection::Connection;
use super::core::SettingChange;
use crate::config::PinningFilter;
use crate::engine::{Class, Control, Engine, PinEnd, Question, Sequence, Staleness};
use crate::pin::{PinCause, PinReason};

/// A statement as its session sees it.
pub(super) struct Intent<'a> {
    pub(super) sql: &'a str,
    pub(super) pin: Option<PinReason>,
    pub(super) change: Option<SettingChange>,
    pub(super) sequence: Sequence,
    pub(super) control: Option<Control<'a>>,
    pub(super) ends: Option<PinEnd>,
    pub(super) uncacheable: bool,
    /// It commits whatever transaction is open.
    pub(super) commits: bool,
    /// The first of its statements may be done when a later one is refused.
    pub(super) several: bool,
    /// It leaves something behind that the session has been told not to be pinned for.
    pub(super) leaves_untracked: bool,
    /// What it sets until the transaction ends makes this of what is prepared.
    pub(super) replans: Staleness,
    /// It wants rows from the client, or sends it some, in a way of their own.
    pub(super) copies: bool,
}

impl Intent<'_> {
    /// An exchange of the session's own.
    pub(super) const NONE: Self = Self {
        sql: "",
        pin: None,
        change: None,
        sequence: Sequence::NONE,
        control: None,
        ends: None,
        uncacheable: false,
        commits: false,
        several: false,
        leaves_untracked: false,
        replans: Staleness::Fresh,
        copies: false,
    };
}

impl<DB: Engine> Connection<DB> {
    /// What a statement does to this session.
    pub(super) fn intent<'a>(&self, sql: &'a str) -> Intent<'a> {
        self.intent_of(DB::classify(sql), sql)
    }

    /// The same for a text of a class that is known.
    pub(super) fn intent_of<'a>(&self, class: Class<'a>, sql: &'a str) -> Intent<'a> {
        let Class { pins, setting, sequence, control, ends, uncacheable, commits, several, replans, copies } = class;
        let mut change = setting.map(|setting| SettingChange::of::<DB>(setting));
        if ends == Some(PinEnd::Everything) {
            change = Some(SettingChange::Discard);
        }
        let filtered =
            pins == Some(PinCause::Setting) && self.connector().pinning_filter() == PinningFilter::ExcludeVariableSets;
        let pins = pins.filter(|_| !filtered);
        // On a connection with an `init_query`, what a reset goes back to is not what other sessions expect.
        let stray = self.connector().has_init_query() && change.as_ref().is_some_and(SettingChange::is_reset);
        let pins = if stray { Some(PinCause::UnknownStatement) } else { pins };
        // Too many are not carried along: the session stays where they were made.
        let crowded = change.take_if(|change| self.state.has_no_room_for(change)).map(|change| {
            let controls = change.sets(|name| DB::RULES.controlling_settings.contains(&name));
            if controls { PinCause::UnknownStatement } else { PinCause::Setting }
        });
        let pins = pins.or(crowded);
        let pin = pins.map(|cause| PinReason::new(cause, sql));
        let leaves_untracked = filtered;
        Intent {
            sql,
            pin,
            change,
            sequence,
            control,
            ends,
            uncacheable,
            commits,
            several,
            leaves_untracked,
            replans,
            copies,
        }
    }

    /// What the server has to be asked before a statement that pins only because its text does not tell what it sets.
    pub(super) fn question(&self, intent: &Intent<'_>) -> Option<Question> {
        let unseen = intent.leaves_untracked || intent.pin.as_ref().is_some_and(|pin| pin.cause() == PinCause::Setting);
        if unseen { DB::question(intent.sql) } else { None }
    }

    /// Whether a change of settings commits: the end of the time in which transactions begin by themselves does.
    pub(super) fn commits_by(&self, change: Option<&SettingChange>) -> bool {
        let before = self.state.settings();
        change.is_some_and(|change| {
            DB::begins_by_itself(before) && !DB::begins_by_itself(&self.state.settings_after(change))
        })
    }
}
