//! What the functions do that a text calls.

use super::words::function;
use crate::engine::Sequence;
use crate::engine::token::Token;
use crate::engine::words::Word;
use crate::pin::PinCause;

/// What is known of the functions that a statement calls.
#[derive(Default)]
pub(super) struct Called {
    pub(super) cause: Option<PinCause>,
    pub(super) runs_text: bool,
    pub(super) sequence: Sequence,
}

impl Called {
    pub(super) fn add(&mut self, name: Token<'_>) {
        match function(name) {
            Some(Word::Leaves(cause)) => self.cause = Some(both(self.cause, cause)),
            Some(Word::RunsText) => self.runs_text = true,
            Some(Word::Remembers(sequence)) => self.sequence |= sequence,
            Some(Word::InContext) | None => {}
        }
    }
}

/// Two causes are not known to be cleaned up together.
pub(super) fn both(one: Option<PinCause>, other: PinCause) -> PinCause {
    one.filter(|one| *one != other).map_or(other, |_| PinCause::UnknownStatement)
}
