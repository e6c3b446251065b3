//! What is believed of the writer, and of the connections that were proven to lead to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::connector::Proof;
use crate::pool::Standing;

/// How far the writer is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Nobody has been reached yet: the target is where it is said to be.
    Untried,
    /// Nobody has been reached, and it is searched for.
    Sought,
    /// It was reached, and was the writer.
    Proven,
    /// It was, and something speaks against it since: what is dialled now is searched for.
    Lost,
}

/// What is heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Something speaks against it.
    Doubt,
    /// A connection leads to where it should.
    Proof,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Untried, Self::Sought, Self::Proven, Self::Lost];

    fn after(self, news: News) -> Self {
        match (self, news) {
            (_, News::Proof) => Self::Proven,
            (Self::Untried | Self::Sought, News::Doubt) => Self::Sought,
            (Self::Proven | Self::Lost, News::Doubt) => Self::Lost,
        }
    }
}

/// What is believed, read at every lease and so without a lock.
#[derive(Debug)]
pub(super) struct Belief {
    stage: AtomicU8,
    /// The target is a reader, and tells of nobody else: whoever configured it means it.
    solitary: AtomicBool,
    /// How many doubts there were. A connection that was proven before the last one is doubtful.
    doubts: AtomicU64,
    /// How many connections have been proven.
    proofs: AtomicU64,
    /// As the topology's. Readers have the writer's.
    epoch: Arc<AtomicU64>,
}

impl Belief {
    pub(super) fn new() -> Self {
        Self::sharing(Arc::default())
    }

    /// Of the readers beside it.
    pub(super) fn of_readers(&self) -> Self {
        Self::sharing(Arc::clone(&self.epoch))
    }

    fn sharing(epoch: Arc<AtomicU64>) -> Self {
        Self {
            stage: AtomicU8::new(Stage::Untried as u8),
            solitary: AtomicBool::new(false),
            doubts: AtomicU64::new(0),
            proofs: AtomicU64::new(0),
            epoch,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Something speaks against the writer.
    pub(super) fn doubt(&self) {
        self.doubt_connections();
        self.hear(News::Doubt);
    }

    /// Connections are doubtful, and the writer is not.
    pub(super) fn doubt_connections(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection leads to where it should, in this epoch of the topology.
    pub(super) fn prove(&self, epoch: u64) -> Proof {
        self.epoch.store(epoch, Ordering::Release);
        self.hear(News::Proof);
        self.proofs.fetch_add(1, Ordering::AcqRel);
        Proof { epoch, doubt: self.doubts.load(Ordering::Acquire) }
    }

    fn hear(&self, news: News) {
        let after = |stage| Some(stage_of(stage).after(news) as u8);
        // It always has an answer.
        let _ = self.stage.fetch_update(Ordering::AcqRel, Ordering::Acquire, after);
    }

    fn stage(&self) -> Stage {
        stage_of(self.stage.load(Ordering::Acquire))
    }

    /// What is dialled now is searched for.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self.stage(), Stage::Sought | Stage::Lost)
    }

    /// A connection to the target has succeeded before: when that fails, something has happened.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.stage(), Stage::Proven | Stage::Lost)
    }

    pub(super) fn is_solitary(&self) -> bool {
        self.solitary.load(Ordering::Relaxed)
    }

    pub(super) fn be_solitary(&self) {
        self.solitary.store(true, Ordering::Relaxed);
    }

    /// Changes with every doubt and every proof: a dial that began before the last of them failed for an old reason.
    pub(super) fn news(&self) -> (u64, u64) {
        (self.doubts.load(Ordering::Acquire), self.proofs.load(Ordering::Acquire))
    }

    /// Whether nothing was heard since.
    pub(super) fn is_current(&self, proof: Proof) -> bool {
        self.standing(proof) == Standing::Good
    }

    pub(super) fn standing(&self, proof: Proof) -> Standing {
        if proof.epoch != self.epoch() {
            Standing::Obsolete
        } else if self.is_doubtful(proof) {
            Standing::Doubtful
        } else {
            Standing::Good
        }
    }

    /// Something was heard against connections since.
    pub(super) fn is_doubtful(&self, proof: Proof) -> bool {
        proof.doubt != self.doubts.load(Ordering::Acquire)
    }
}

fn stage_of(number: u8) -> Stage {
    Stage::ALL[usize::from(number) % Stage::ALL.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_the_end_of_every_doubt_and_what_was_proven_once_is_established() {
        use News::{Doubt, Proof};
        use Stage::{Lost, Proven, Sought, Untried};
        for (stage, news, after) in [
            (Untried, Doubt, Sought),
            (Sought, Doubt, Sought),
            (Proven, Doubt, Lost),
            (Lost, Doubt, Lost),
            (Untried, Proof, Proven),
            (Sought, Proof, Proven),
            (Proven, Proof, Proven),
            (Lost, Proof, Proven),
        ] {
            assert_eq!(stage.after(news), after, "{stage:?}, {news:?}");
            assert_eq!(stage_of(stage as u8), stage);
        }
    }

    #[test]
    fn a_connection_is_good_until_something_is_heard_and_obsolete_in_another_epoch() {
        let belief = Belief::new();
        assert!(!belief.is_in_doubt() && !belief.is_established());
        let first = belief.prove(1);
        assert!(belief.is_current(first) && belief.is_established());
        belief.doubt();
        assert_eq!((belief.standing(first), belief.is_in_doubt()), (Standing::Doubtful, true));
        let second = belief.prove(2);
        assert_eq!((belief.standing(first), belief.standing(second)), (Standing::Obsolete, Standing::Good));
        assert!(!belief.is_in_doubt());
    }

    #[test]
    fn readers_have_the_writers_epoch_and_doubts_of_their_own() {
        let writer = Belief::new();
        let readers = writer.of_readers();
        let reader = readers.prove(1);
        writer.doubt();
        assert!(readers.is_current(reader));
        readers.doubt_connections();
        assert_eq!((readers.standing(reader), readers.is_in_doubt()), (Standing::Doubtful, false));
        writer.prove(2);
        assert_eq!(readers.standing(reader), Standing::Obsolete);
    }
}
