//! What keeps a session on one connection.

use super::State;
use crate::engine::PinEnd;
use crate::pin::{PinCause, PinReason};

impl State {
    pub(in crate::session) fn pin(&mut self, reason: PinReason, may_control: bool) {
        self.pinned_in_doubt |= may_control;
        self.spoken |= reason.cause() == PinCause::HandedOut;
        self.doubtful |= may_control;
        if self.pins.iter().all(|pin| pin.cause() != reason.cause()) {
            self.pins.push(reason);
        }
    }

    /// A statement has taken away what these causes had left behind. Not inside a transaction: a rollback would bring
    /// some of it back, so there the pin stays. Returns whether the session is free of pins by it.
    pub(in crate::session) fn pins_ended(&mut self, end: PinEnd) -> bool {
        if self.pins.is_empty() || !self.levels.is_empty() || self.doubtful {
            return false;
        }
        self.pins.retain(|pin| match end {
            PinEnd::Of(cause) => pin.cause() != cause,
            PinEnd::Everything => !pin.cause().can_end(),
            PinEnd::Other => true,
        });
        self.pins.is_empty()
    }

    /// The session ends.
    pub(in crate::session) fn unpin(&mut self) -> bool {
        !std::mem::take(&mut self.pins).is_empty()
    }
}
