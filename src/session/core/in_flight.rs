//! The exchange under way, and what it changes in the account and in what the connection carries. Pure: whoever performs the
//! exchange says what came of it, and does what is answered.
//!
//! [`enter`](super::enter) has what happens before it is sent, [`failed`](super::failed) what a refusal means; here is what
//! happens when the server agrees, and when nobody waits for the answer any more.

use super::{SettingChange, State, Turn};
use crate::connector::Carried;
use crate::engine::{Cleanup, Dialect, PinEnd, Settings};
use crate::error::Phase;
use crate::pin::{PinCause, PinReason};

/// An exchange under way.
#[derive(Debug)]
pub(in crate::session) struct InFlight {
    pub(super) phase: Phase,
    /// The setting that it changes.
    pub(super) change: Option<SettingChange>,
    /// Of a reset: the settings that the connection has afterwards in the place of its login's.
    pub(super) reset: Settings,
    /// The transaction control that it is, as text.
    pub(super) turn: Option<Turn>,
    /// It may begin or end a transaction, and is not understood.
    pub(super) unclear: bool,
    /// It may end the transaction of a guard.
    pub(super) takes: bool,
    /// It is several statements, or calls several, and those before the one that fails are done.
    pub(super) unatomic: bool,
    /// It is a single statement of which a part may be kept when it fails after the server has begun with it.
    pub(super) partly: bool,
    /// It is a guard's `BEGIN`.
    pub(super) begins: bool,
    /// What it takes away of the session's pins.
    pub(super) ends: Option<PinEnd>,
    /// The cleaning that the connection needed already before this exchange.
    pub(super) before: Cleanup,
    /// It may have reached the server; until then there are only exchanges that make the connection fit.
    pub(super) sent: bool,
    /// A part of its answer has come.
    pub(super) heard: bool,
}

/// What is left of an exchange that nobody waits for any more.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum Left {
    /// The session settles it at its next use.
    Unread,
    /// No session is bound to the connection: it goes home as it is.
    Part,
    /// The transaction at depth 1 is abandoned.
    Abandon,
    /// Only the server knows what is open on the connection: it is closed.
    Close,
    /// Only the server knows what is set on it: the session stays.
    Pin(PinReason),
}

impl InFlight {
    pub(in crate::session) fn new(phase: Phase) -> Self {
        Self {
            phase,
            change: None,
            reset: Settings::default(),
            turn: None,
            unclear: false,
            takes: false,
            unatomic: false,
            partly: false,
            begins: false,
            ends: None,
            before: Cleanup::None,
            sent: false,
            heard: false,
        }
    }

    pub(in crate::session) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a part of it may have been done when it has failed.
    pub(in crate::session) fn is_unatomic(&self) -> bool {
        self.unatomic || self.partly
    }

    /// Whether it may commit what came before it.
    pub(in crate::session) fn may_commit(&self) -> bool {
        self.unclear
    }

    pub(in crate::session) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether the exchange itself may have reached the server.
    pub(in crate::session) fn set_sent(&mut self, sent: bool) {
        self.sent = sent;
    }

    /// Whether a part of its answer has come. It may be sent more than once.
    pub(in crate::session) fn set_heard(&mut self, heard: bool) {
        self.heard = heard;
    }

    /// Whether it was executed once everything that was sent is answered. `prepared`: the driver asks the server to prepare it, and
    /// sends it after that; nothing but its answer shows that it came so far.
    pub(in crate::session) fn is_executed_at_rest(&self, prepared: bool) -> bool {
        self.sent && (self.heard || !prepared)
    }

    /// Whether it may end the transaction of a guard without being noticed. Pins whose text is followed do not count.
    pub(in crate::session) fn may_end_unseen(&self, pin: Option<&PinReason>) -> bool {
        let is_read = |cause| matches!(cause, PinCause::SeveralStatements | PinCause::RawTransaction);
        self.takes || pin.is_some_and(|pin| !is_read(pin.cause()))
    }

    /// Whether it is a commit as text that the account follows, and whether the next transaction begins with it.
    pub(in crate::session) fn commits_as_text(&self) -> Option<bool> {
        match self.turn {
            Some(Turn::Commit { chain }) => Some(chain),
            _ => None,
        }
    }

    /// A guard's `BEGIN` is on its way, or answered.
    pub(in crate::session) fn set_begins(&mut self, begins: bool) {
        self.begins = begins;
    }

    /// What is sent instead is a rollback.
    pub(in crate::session) fn becomes_rollback(&mut self) {
        self.phase = Phase::Rollback;
    }

    /// The server has agreed. Whether the session is free of pins by it.
    pub(in crate::session) fn succeeded<D: Dialect>(&mut self, state: &mut State, carried: &mut Carried) -> bool {
        state.generated.succeeded();
        if let Some(change) = self.change.take() {
            state.changed(change);
            let mut settings = state.settings_at_rest();
            for (name, statement) in std::mem::take(&mut self.reset).iter() {
                settings.set(name.to_owned(), statement.to_owned());
            }
            carried.become_set::<D>(settings);
            carried.unsoil(self.before);
        }
        if let Some(turn) = self.turn.take() {
            turned::<D>(state, carried, turn);
        }
        let unpinned = self.ends.take().is_some_and(|end| state.pins_ended(end));
        if unpinned {
            // `close` only notes that no transaction is open. The cleanup that the pin made necessary stays due, because nothing but the
            // texts of the statements says that what had pinned the session is gone.
            carried.close();
        }
        unpinned
    }

    /// The connection is gone with it.
    pub(in crate::session) fn lost(&mut self, state: &mut State) {
        if self.turn.take().is_some_and(|turn| turn.is_of_transaction()) {
            // Whatever became of it, it is over.
            state.rolled_back(1);
        }
    }

    /// Nobody waits for the answer any more.
    pub(in crate::session) fn dropped<D: Dialect>(&mut self, state: &mut State) -> Left {
        match self.turn.take() {
            // Whatever of it has happened, no transaction goes on by it.
            Some(turn) if turn.is_of_transaction() => return Left::Abandon,
            Some(_) => state.aborted_beyond_repair("a savepoint's text was dropped half way"),
            None => {}
        }
        if state.is_free() {
            Left::Part
        } else if self.begins {
            // What the session did next would vanish with it.
            Left::Abandon
        } else if self.unclear && state.depth() == 0 {
            // Whether a transaction is open now is not known: what the session did next could vanish with it.
            state.lost();
            Left::Close
        } else if let Some(change) = self.change.take() {
            // Inside a transaction it may or may not have been set: from here on only the server knows. That a transaction is
            // still there is in doubt where they may begin by themselves from here on.
            let begins = D::begins_by_itself(&state.settings_after(&change));
            let known = begins == D::begins_by_itself(state.settings());
            let cause = if known { PinCause::Setting } else { PinCause::UnknownStatement };
            Left::Pin(PinReason::new(cause, "a SET that was dropped half way"))
        } else {
            Left::Unread
        }
    }
}

/// The server has agreed to transaction control.
fn turned<D: Dialect>(state: &mut State, carried: &mut Carried, turn: Turn) {
    let ends = matches!(turn, Turn::Commit { .. } | Turn::Rollback { .. });
    let takes_back = matches!(turn, Turn::Rollback { .. } | Turn::RollbackTo(_));
    state.turned(turn);
    if takes_back {
        // A transaction that is chained to a rollback starts with the settings that the one before started with: behind a pooler,
        // with none.
        let as_begun = if ends && state.pooled { Settings::default() } else { state.settings_at_rest() };
        carried.taken_back::<D>(as_begun);
    }
    ended(state, carried);
    if ends && state.depth() > 0 {
        // The next one has begun with it.
        carried.close();
        carried.open();
    }
}

/// The transaction or savepoint of a guard is committed.
pub(in crate::session) fn committed(state: &mut State, carried: &mut Carried, depth: usize) {
    state.committed(depth);
    state.sentinel_set_anew();
    ended(state, carried);
}

/// The transaction or savepoint of a guard is rolled back.
pub(in crate::session) fn rolled_back<D: Dialect>(state: &mut State, carried: &mut Carried, depth: usize) {
    state.rolled_back(depth);
    state.sentinel_set_anew();
    // The server took the settings back as well.
    carried.taken_back::<D>(state.settings_at_rest());
    ended(state, carried);
}

/// The server has rolled back what was abandoned.
pub(in crate::session) fn abandoned_rolled_back<D: Dialect>(state: &mut State, carried: &mut Carried) {
    state.sentinel_set_anew();
    carried.taken_back::<D>(state.settings_at_rest());
    ended(state, carried);
}

/// Something has ended; perhaps the transaction.
pub(in crate::session) fn ended(state: &State, carried: &mut Carried) {
    if state.depth() == 0 && state.pin_reason().is_none() {
        carried.close();
    }
}

impl State {
    /// The settings that the connection has, or will have once the exchange under way has succeeded. Behind a pooler there are none
    /// outside a transaction: the server's connection goes to somebody else with the transaction's end.
    pub(in crate::session) fn settings_at_rest(&self) -> Settings {
        if self.depth() == 0 && self.pooled { Settings::default() } else { self.settings().clone() }
    }
}
