//! The rules of the pool: who has what, who waits, who may dial. Nothing here awaits.
//!
//! Every connection, open or being dialled, occupies one of `limit` slots. The ledger keeps three promises:
//! a connection that comes home goes to the caller that has waited longest; nobody overtakes a waiter;
//! there is a dial under way for every waiter as long as there are vacant slots.

use std::collections::VecDeque;

use tokio::runtime::Id;

use crate::clock::Moment;

use super::fitness::Past;
use super::runtime;

/// A physical connection and what the pool knows of it.
#[derive(Debug)]
pub(crate) struct Physical<T> {
    pub(crate) conn: T,
    pub(super) slot: usize,
    pub(super) past: Past,
    /// On which it was opened.
    pub(super) runtime: Option<Id>,
}

impl<T> Physical<T> {
    /// Whether another runtime than the caller's has opened it.
    pub(super) fn is_foreign(&self) -> bool {
        self.runtime != runtime::current()
    }
}

/// Where a slot's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// -> `Dialling`, by an approval.
    Vacant,
    /// -> `Leased` or `Idle` when the connect succeeds, `Vacant` when it fails.
    Dialling,
    /// -> `Leased` when lent, `Vacant` when closed.
    Idle,
    /// -> `Idle` or `Leased` by another when it comes home, `Vacant` when it comes home broken.
    Leased { since: Moment },
}

/// Where a connection that came home went.
#[derive(Debug)]
pub(super) enum Home<T, W> {
    /// To this waiter, which is to be handed the connection.
    Handed(W, Box<Physical<T>>),
    /// To rest.
    Kept,
    /// Nowhere: the pool is closed, the slot is vacant, and the connection goes with this value.
    Closed {
        #[expect(dead_code, reason = "held so that the socket is closed outside the ledger's lock")]
        last: Box<Physical<T>>,
    },
}

/// `T` is a physical connection, `W` the way to reach a waiter.
#[derive(Debug)]
pub(super) struct Ledger<T, W> {
    slots: Vec<Slot>,
    /// Clean ones by last use, the newest last; dirty ones after them all.
    idle: Vec<Box<Physical<T>>>,
    waiters: VecDeque<(u64, W)>,
    next_id: u64,
    closed: bool,
    /// How many slots are `Leased`: counted as they change, for a peak cannot be counted afterwards.
    lent: usize,
    /// The most that were lent at a time since it was last asked.
    most_lent: usize,
}

impl<T, W> Ledger<T, W> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: vec![Slot::Vacant; limit],
            idle: Vec::with_capacity(limit),
            waiters: VecDeque::new(),
            next_id: 0,
            closed: false,
            lent: 0,
            most_lent: 0,
        }
    }

    /// The one writer of a slot.
    fn put(&mut self, slot: usize, state: Slot) {
        let was_lent = matches!(self.slots[slot], Slot::Leased { .. });
        let is_lent = matches!(state, Slot::Leased { .. });
        self.slots[slot] = state;
        self.lent = self.lent + usize::from(is_lent) - usize::from(was_lent);
        self.most_lent = self.most_lent.max(self.lent);
    }

    pub(super) fn peak(&self) -> usize {
        self.most_lent
    }

    /// The most that were lent at a time since this was asked last.
    pub(super) fn take_peak(&mut self) -> usize {
        std::mem::replace(&mut self.most_lent, self.lent)
    }

    /// A dirty connection, if there is one: what it holds, locks above all, may stand in everybody's way. Else the clean one
    /// that was used last.
    pub(super) fn take(&mut self, now: Moment) -> Option<Box<Physical<T>>> {
        let physical = self.idle.pop()?;
        self.put(physical.slot, Slot::Leased { since: now });
        Some(physical)
    }

    /// As [`take`](Self::take), a dirty one, if there is another dirty one besides.
    pub(super) fn take_spare_dirty(&mut self, now: Moment) -> Option<Box<Physical<T>>> {
        if self.dirty() > 1 { self.take(now) } else { None }
    }

    fn dirty(&self) -> usize {
        self.idle.iter().rev().take_while(|physical| physical.past.dirty).count()
    }

    /// The connection that [`take`](Self::take) would give next.
    pub(super) fn next(&self) -> Option<&Physical<T>> {
        self.idle.last().map(|physical| &**physical)
    }

    /// As [`take`](Self::take), the one of those that `chosen` picks.
    pub(super) fn take_one_where(
        &mut self,
        now: Moment,
        chosen: impl Fn(&Physical<T>) -> bool,
    ) -> Option<Box<Physical<T>>> {
        let position = self.idle.iter().rposition(|physical| chosen(physical))?;
        let physical = self.idle.remove(position);
        self.put(physical.slot, Slot::Leased { since: now });
        Some(physical)
    }

    /// All connections at rest that `chosen` picks, taken out on loan.
    pub(super) fn take_where(&mut self, now: Moment, chosen: impl Fn(&Physical<T>) -> bool) -> Vec<Box<Physical<T>>> {
        let taken: Vec<_> = self.idle.extract_if(.., |physical| chosen(physical)).collect();
        for physical in &taken {
            self.put(physical.slot, Slot::Leased { since: now });
        }
        taken
    }

    /// Joins the queue: at its end, or at its head when the caller had been served with something that turned out broken.
    pub(super) fn enqueue(&mut self, waiter: W, served_before: bool) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if served_before {
            self.waiters.push_front((id, waiter));
        } else {
            self.waiters.push_back((id, waiter));
        }
        id
    }

    /// Leaves the queue. `false` when it was served already.
    pub(super) fn withdraw(&mut self, id: u64) -> bool {
        let position = self.waiters.iter().position(|(waiter, _)| *waiter == id);
        position.is_some_and(|position| self.waiters.remove(position).is_some())
    }

    /// A slot to dial in, if somebody waits for whom nobody dials yet and there is room.
    pub(super) fn approve(&mut self) -> Option<usize> {
        let dialling = self.slots.iter().filter(|slot| **slot == Slot::Dialling).count();
        if self.closed || dialling >= self.waiters.len() {
            return None;
        }
        let slot = self.slots.iter().position(|slot| *slot == Slot::Vacant)?;
        self.put(slot, Slot::Dialling);
        Some(slot)
    }

    /// A connection comes home, or arrives for the first time.
    /// The clock is read only for a waiter that takes it over.
    pub(super) fn home(&mut self, physical: Box<Physical<T>>, now: impl FnOnce() -> Moment) -> Home<T, W> {
        if self.closed {
            self.put(physical.slot, Slot::Vacant);
            return Home::Closed { last: physical };
        }
        if let Some((_, waiter)) = self.waiters.pop_front() {
            self.put(physical.slot, Slot::Leased { since: now() });
            return Home::Handed(waiter, physical);
        }
        self.put(physical.slot, Slot::Idle);
        let place = if physical.past.dirty { self.idle.len() } else { self.idle.len() - self.dirty() };
        self.idle.insert(place, physical);
        Home::Kept
    }

    /// A slot's connection is gone, or never came.
    pub(super) fn vacate(&mut self, slot: usize) {
        self.put(slot, Slot::Vacant);
    }

    /// The caller that has waited longest, taken out of the queue to be told of a failure.
    pub(super) fn next_waiter(&mut self) -> Option<W> {
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }

    /// No more dials, nothing is kept; gives up everything at rest and everybody who waits.
    pub(super) fn close(&mut self) -> (Vec<Box<Physical<T>>>, Vec<W>) {
        self.closed = true;
        let idle = std::mem::take(&mut self.idle);
        for physical in &idle {
            self.put(physical.slot, Slot::Vacant);
        }
        (idle, self.waiters.drain(..).map(|(_, waiter)| waiter).collect())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn limit(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn dialling(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| **slot == Slot::Dialling).map(|(slot, _)| slot)
    }

    /// The slots on loan, and since when.
    pub(super) fn leased(&self) -> impl Iterator<Item = (usize, Moment)> {
        self.slots.iter().enumerate().filter_map(|(slot, state)| match state {
            Slot::Leased { since } => Some((slot, *since)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, VirtualClock};

    fn ledger(limit: usize) -> (Ledger<&'static str, &'static str>, Moment) {
        (Ledger::new(limit), Clock::Virtual(VirtualClock::new()).now())
    }

    fn physical(conn: &'static str, slot: usize, now: Moment, dirty: bool) -> Box<Physical<&'static str>> {
        Box::new(Physical {
            conn,
            slot,
            past: Past { opened: now, lifetime: Duration::MAX, used: now, dirty },
            runtime: None,
        })
    }

    #[tokio::test]
    async fn dials_are_approved_for_waiters_only_and_up_to_the_limit() {
        let (mut ledger, _) = ledger(2);
        assert_eq!(ledger.approve(), None, "nobody waits");
        for waiter in ["a", "b", "c"] {
            ledger.enqueue(waiter, false);
        }
        assert_eq!((ledger.approve(), ledger.approve(), ledger.approve()), (Some(0), Some(1), None));
        ledger.vacate(0);
        assert_eq!(ledger.next_waiter(), Some("a"), "one failure fails one waiter, the eldest");
        assert_eq!(ledger.approve(), Some(0), "and the next gets a dial of its own");
        assert_eq!(ledger.approve(), None);
    }

    #[tokio::test]
    async fn a_connection_that_comes_home_goes_to_the_eldest_waiter() {
        let (mut ledger, now) = ledger(1);
        let first = ledger.enqueue("first", false);
        ledger.enqueue("second", false);
        assert_eq!(ledger.approve(), Some(0));
        let Home::Handed("first", conn) = ledger.home(physical("x", 0, now, false), || now) else { panic!() };
        assert!(!ledger.withdraw(first), "served already");
        ledger.enqueue("served something broken", true);
        let Home::Handed("served something broken", conn) = ledger.home(conn, || now) else { panic!() };
        let Home::Handed("second", conn) = ledger.home(conn, || now) else { panic!() };
        assert!(matches!(ledger.home(conn, || now), Home::Kept));
        assert_eq!((ledger.idle(), ledger.waiting(), ledger.leased().count()), (1, 0, 0));
    }

    #[tokio::test]
    async fn a_dirty_connection_is_lent_first_and_then_the_clean_one_that_was_used_last() {
        let (mut ledger, now) = ledger(3);
        for (slot, name, dirty) in [(0, "old", false), (1, "dirty", true), (2, "new", false)] {
            ledger.home(physical(name, slot, now, dirty), || now);
        }
        let order: Vec<_> = std::iter::from_fn(|| ledger.take(now)).map(|p| p.conn).collect();
        assert_eq!(order, ["dirty", "new", "old"]);
        assert_eq!(ledger.leased().count(), 3);
    }

    #[tokio::test]
    async fn a_closed_ledger_keeps_nothing() {
        let (mut ledger, now) = ledger(2);
        ledger.home(physical("idle", 0, now, false), || now);
        ledger.enqueue("waiter", false);
        let (idle, waiters) = ledger.close();
        assert_eq!((idle.len(), waiters), (1, vec!["waiter"]));
        assert!(matches!(ledger.home(physical("late", 1, now, false), || now), Home::Closed { .. }));
        ledger.enqueue("too late", false);
        assert_eq!(ledger.approve(), None);
        assert_eq!((ledger.idle(), ledger.leased().count()), (0, 0));
    }
}
