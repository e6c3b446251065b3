//! What goes on in each slot, for the errors of those who wait in vain. Written and read without the pool's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Phase, Purpose};

/// What goes on in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Held(Purpose),
    Dialling(Phase),
}

/// All notes. A slot's is kept as its place in this list, which fits an atomic.
const ALL: [Note; 9] = [
    Note::Held(Purpose::Check),
    Note::Held(Purpose::Statement),
    Note::Held(Purpose::Transaction),
    Note::Held(Purpose::Pin),
    Note::Dialling(Phase::Credentials),
    Note::Dialling(Phase::Dialling),
    Note::Dialling(Phase::Handshake),
    Note::Dialling(Phase::Setup),
    Note::Dialling(Phase::Searching),
];

/// The notes of all slots. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Notes(Arc<[AtomicU8]>);

impl Notes {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU8::new(0)).collect())
    }

    pub(super) fn held(&self, slot: usize, purpose: Purpose) {
        self.write(slot, Note::Held(purpose));
    }

    pub(super) fn dialling(&self, slot: usize, phase: Phase) {
        self.write(slot, Note::Dialling(phase));
    }

    /// What the slot's lease is for. Whoever has it may not have said so yet.
    pub(super) fn purpose(&self, slot: usize) -> Purpose {
        match self.read(slot) {
            Note::Held(purpose) => purpose,
            Note::Dialling(_) => Purpose::Check,
        }
    }

    /// How far the dial in the slot is. It may not have said so yet.
    pub(super) fn phase(&self, slot: usize) -> Phase {
        match self.read(slot) {
            Note::Dialling(phase) => phase,
            Note::Held(_) => Phase::Credentials,
        }
    }

    fn write(&self, slot: usize, note: Note) {
        let place = ALL.iter().position(|known| *known == note).unwrap_or_default();
        self.0[slot].store(u8::try_from(place).unwrap_or_default(), Ordering::Relaxed);
    }

    fn read(&self, slot: usize) -> Note {
        ALL[usize::from(self.0[slot].load(Ordering::Relaxed)) % ALL.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slot_was_for_before_is_not_said_of_what_it_is_for_now() {
        let notes = Notes::new(2);
        for (note, purpose, phase) in ALL.map(|note| match note {
            Note::Held(purpose) => (note, purpose, Phase::Credentials),
            Note::Dialling(phase) => (note, Purpose::Check, phase),
        }) {
            notes.write(1, note);
            assert_eq!((notes.purpose(1), notes.phase(1)), (purpose, phase), "{note:?}");
            assert_eq!(
                (notes.purpose(0), notes.phase(0)),
                (Purpose::Check, Phase::Credentials),
                "nothing was said of it"
            );
        }
    }
}
