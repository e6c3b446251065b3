//! What a statement does to its session. Pure.

use super::{SettingChange, State};
use crate::config::PinningFilter;
use crate::engine::{Class, Control, Dialect, PinEnd, Question, Sequence, Staleness};
use crate::pin::{PinCause, PinReason};

/// A statement as its session sees it.
pub(in crate::session) struct Intent<'a> {
    pub(in crate::session) sql: &'a str,
    pub(in crate::session) pin: Option<PinReason>,
    pub(in crate::session) change: Option<SettingChange>,
    pub(in crate::session) sequence: Sequence,
    pub(in crate::session) control: Option<Control<'a>>,
    /// Its first statement is a commit.
    pub(in crate::session) begins_with_commit: bool,
    pub(in crate::session) ends: Option<PinEnd>,
    pub(in crate::session) uncacheable: bool,
    /// It commits whatever transaction is open.
    pub(in crate::session) commits: bool,
    /// The first of its statements may be done when a later one is refused.
    pub(in crate::session) several: bool,
    /// A part of it may stay done when it fails.
    pub(in crate::session) partly: bool,
    /// It leaves something behind that the session has been told not to be pinned for.
    pub(in crate::session) leaves_untracked: bool,
    /// What it sets until the transaction ends makes this of what is prepared.
    pub(in crate::session) replans: Staleness,
    /// It makes a temporary table that goes with its transaction.
    pub(in crate::session) passing_table: bool,
    /// It may define what is temporary as such a table of its transaction is, and does not go with it.
    pub(in crate::session) follows_table: bool,
    /// It wants rows from the client, or sends it some, in a way of their own.
    pub(in crate::session) copies: bool,
}

impl<'a> Intent<'a> {
    /// An exchange of the session's own.
    pub(in crate::session) const fn none() -> Self {
        Self {
            sql: "",
            pin: None,
            change: None,
            sequence: Sequence::NONE,
            control: None,
            begins_with_commit: false,
            ends: None,
            uncacheable: false,
            commits: false,
            several: false,
            partly: false,
            leaves_untracked: false,
            replans: Staleness::Fresh,
            passing_table: false,
            follows_table: false,
            copies: false,
        }
    }

    /// What a text of this class does to a session. `filter`: what the configuration says need not pin; `init_query`: what a
    /// reset goes back to is not what other sessions expect.
    pub(in crate::session) fn of<D: Dialect>(
        class: Class<'a>,
        sql: &'a str,
        state: &State,
        filter: PinningFilter,
        init_query: bool,
    ) -> Self {
        let Class {
            pins,
            setting,
            sequence,
            control,
            begins_with_commit,
            ends,
            uncacheable,
            commits,
            several,
            partly,
            replans,
            passing_table,
            defines,
            copies,
        } = class;
        let follows_table = defines && state.has_passing_table();
        let mut change = setting.map(SettingChange::of::<D>);
        if ends == Some(PinEnd::Everything) {
            change = Some(SettingChange::Discard);
        }
        let leaves_untracked = pins == Some(PinCause::Setting) && filter == PinningFilter::ExcludeVariableSets;
        let pins = pins.filter(|_| !leaves_untracked);
        let stray = init_query && change.as_ref().is_some_and(SettingChange::is_reset);
        let pins = if stray { Some(PinCause::UnknownStatement) } else { pins };
        // Too many are not carried along: the session stays where they were made.
        let crowded = change.take_if(|change| state.has_no_room_for(change)).map(|change| {
            let controls = change.sets(|name| D::RULES.controlling_settings.contains(&name));
            if controls { PinCause::UnknownStatement } else { PinCause::Setting }
        });
        let follows = follows_table.then_some(PinCause::TemporaryObject);
        let pin = pins.or(crowded).or(follows).map(|cause| PinReason::new(cause, sql));
        Self {
            sql,
            pin,
            change,
            sequence,
            control,
            begins_with_commit,
            ends,
            uncacheable,
            commits,
            several,
            partly,
            leaves_untracked,
            replans,
            passing_table,
            follows_table,
            copies,
        }
    }

    /// It pins for this as well; the first cause is the one that is told.
    pub(in crate::session) fn pin_for(&mut self, cause: PinCause) {
        self.pin.get_or_insert_with(|| PinReason::new(cause, self.sql));
    }

    /// What the server has to be asked before a statement that pins only because its text does not tell what it sets.
    pub(in crate::session) fn question<D: Dialect>(&self) -> Option<Question> {
        let unseen = self.leaves_untracked || self.pin.as_ref().is_some_and(|pin| pin.cause() == PinCause::Setting);
        if unseen { D::question(self.sql) } else { None }
    }
}
