//! What a statement does to its session. Pure.

use super::{SettingChange, State};
use crate::config::PinningFilter;
use crate::engine::{Class, Dialect, Effect, PinEnd, Question, Staleness, has_letters};
use crate::pin::{PinCause, PinReason};

/// A statement as its session sees it.
pub(in crate::session) struct Intent<'a> {
    pub(in crate::session) sql: &'a str,
    /// The text with what the server has told of it, where it was asked.
    pub(in crate::session) told: &'a str,
    /// What its text says. Whether it pins and what it sets stand below, as this session takes it.
    pub(in crate::session) class: Class<'a>,
    pub(in crate::session) pin: Option<PinReason>,
    pub(in crate::session) change: Option<SettingChange>,
    /// It leaves something behind that the session has been told not to be pinned for.
    pub(in crate::session) leaves_untracked: bool,
    /// It may create an object that is temporary because it depends on a temporary table of the transaction, and that is not dropped
    /// with that table.
    pub(in crate::session) follows_table: bool,
}

impl<'a> Intent<'a> {
    /// An exchange of the session's own.
    pub(in crate::session) fn none() -> Self {
        Self {
            sql: "",
            told: "",
            class: Class::default(),
            pin: None,
            change: None,
            leaves_untracked: false,
            follows_table: false,
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
        let follows_table = class.defines && state.has_passing_table();
        let mut change = class.setting().map(SettingChange::of::<D>);
        if class.ends() == Some(PinEnd::Everything) {
            change = Some(SettingChange::Discard);
        }
        let leaves_untracked = class.pins == Some(PinCause::Setting) && filter == PinningFilter::ExcludeVariableSets;
        let pins = class.pins.filter(|_| !leaves_untracked);
        let stray = init_query && change.as_ref().is_some_and(SettingChange::is_reset);
        let pins = if stray { Some(PinCause::UnknownStatement) } else { pins };
        // Too many are not carried along: the session stays where they were made.
        let crowded = change.take_if(|change| state.has_no_room_for(change)).map(|change| {
            let controls = change.sets(|name| D::RULES.controlling_settings.contains(&name));
            if controls { PinCause::UnknownStatement } else { PinCause::Setting }
        });
        let follows = follows_table.then_some(PinCause::TemporaryObject);
        let pin = pins.or(crowded).or(follows).map(|cause| PinReason::new(cause, sql));
        Self { sql, told: sql, class, pin, change, leaves_untracked, follows_table }
    }

    /// Whether nothing of it outlasts it: no transaction, no setting, nothing that pins; and it does not ask for settings, among
    /// which the server would tell one of this crate's own.
    pub(in crate::session) fn is_self_contained<D: Dialect>(&self) -> bool {
        let Class { effect, copies, .. } = self.class;
        let leaves = self.pin.is_some() || self.change.is_some() || self.leaves_untracked || effect != Effect::None;
        !self.sql.is_empty()
            && !leaves
            && !copies
            && !D::RULES.asks_for_settings.iter().any(|letters| has_letters(self.sql, letters))
    }

    /// Whether it may set what misleads the driver.
    pub(super) fn may_mislead_driver<D: Dialect>(&self) -> bool {
        let Class { pins, replans, .. } = self.class;
        let sets = |set: &[(String, String)]| set.iter().any(|(_, statement)| D::may_mislead_driver(statement));
        match &self.change {
            Some(SettingChange::Set(set)) => sets(set),
            Some(_) => false,
            None => (pins.is_some() || replans != Staleness::Fresh) && D::may_mislead_driver(self.told),
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
