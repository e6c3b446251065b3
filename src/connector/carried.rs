//! What a physical connection carries from one session to the next, as far as this side knows. Pure: nothing here awaits.
//!
//! All but `memory` and `prepared`, which have rules of their own, is written by these methods alone. Each says one thing that has
//! happened to the connection, so that whoever lets it happen need not know what follows from it.

use std::time::Duration;

use super::memory::Memory;
use super::prepared::Prepared;
use super::slot_term::SlotTerm;
use crate::clock::Moment;
use crate::engine::{Cleanup, Dialect, Settings, Staleness};

/// What sessions have left on a connection.
#[derive(Debug)]
pub(crate) struct Carried {
    /// What is set on it that differs from the login, and from what `init_query` set.
    applied: Settings,
    /// A transaction may be open on it; a rollback takes the settings back to these.
    open: Option<Settings>,
    /// A commit is under way, and behind it what takes the settings back.
    hands_over: bool,
    /// What has to be taken away before another session may have it.
    cleanup: Cleanup,
    /// The session under whose settings the driver may have been told of types what nobody else is to be told.
    misled: Option<u64>,
    /// What has become of the statements that were prepared on it.
    stale: Staleness,
    /// What the open transaction has made stale by settings of its own (`SET LOCAL`). They go back at its end, which makes stale what was
    /// prepared meanwhile: [`outside`](Self::outside) adds this to `stale`.
    local: Staleness,
    /// Names have stood for different things since its login, and the driver remembers what it learnt of them.
    mixed: bool,
    /// The session that had it last since it was as good as new; 0 is none.
    session: u64,
    /// How many sessions have had it since its login.
    owners: u64,
    /// How often one of them was lent it.
    loans: u64,
    /// For how long the server was last told to let it lie idle.
    term: Option<SlotTerm>,
    /// How many exchanges there were on it, this crate's own included.
    exchanges: u64,
    /// What sessions may have left in the server's memory.
    pub(crate) memory: Memory,
    /// For which types the driver has prepared what it keeps.
    pub(crate) prepared: Prepared,
}

impl Carried {
    /// Of a new login. `pooled`: through a pooler that keeps a connection for a transaction only.
    pub(crate) fn of<D: Dialect>(pooled: bool) -> Self {
        Self {
            applied: Settings::default(),
            open: None,
            hands_over: false,
            cleanup: Cleanup::None,
            misled: None,
            stale: Staleness::Fresh,
            local: Staleness::Fresh,
            mixed: false,
            session: 0,
            owners: 0,
            loans: 0,
            term: None,
            exchanges: 0,
            memory: Memory::new(pooled),
            prepared: Prepared::new(D::RULES.remarks_first),
        }
    }

    /// This session has it now.
    pub(crate) fn come_into(&mut self, session: u64) {
        self.loans += 1;
        if self.session != session {
            self.session = session;
            self.owners += 1;
        }
    }

    /// Another session has had it since it was as good as new.
    pub(crate) fn is_anothers(&self, session: u64) -> bool {
        self.session != 0 && self.session != session
    }

    /// More than one session has had it since its login.
    pub(crate) fn was_shared(&self) -> bool {
        self.owners > 1
    }

    /// The number of the last exchange.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Something is sent.
    pub(crate) fn exchange(&mut self) {
        self.exchanges += 1;
    }

    /// A transaction may be open from here on.
    pub(crate) fn open(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.applied.clone());
        }
    }

    /// None is open any more.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// The settings to which a rollback takes it back, if a transaction may be open.
    pub(crate) fn before_open(&self) -> Option<&Settings> {
        self.open.as_ref()
    }

    /// Whether another session may have it as it is. If the note that a transaction may be open stayed on it, the other session's
    /// transaction would be taken back to the settings that are in this note, and not to the ones that it began with.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open.is_none() && self.cleanup() == Cleanup::None
    }

    /// What is set on it.
    pub(crate) fn settings(&self) -> &Settings {
        &self.applied
    }

    /// The settings are these from here on, and what was prepared was prepared under those before.
    pub(crate) fn become_set<D: Dialect>(&mut self, settings: Settings) {
        // What was set for the transaction alone may have gone back with this, or be hidden by it.
        self.outdate(D::staleness(&self.applied, &settings).max(self.local));
        self.applied = settings;
    }

    /// A rollback has taken the settings back to these, and with them what was defined.
    pub(crate) fn taken_back<D: Dialect>(&mut self, settings: Settings) {
        self.become_set::<D>(settings);
        self.prepared.doubt_names();
    }

    /// Whether the term that it was let for serves for this one as well: then it begins anew.
    pub(super) fn keeps_term(&mut self, wanted: Duration, used: Moment) -> bool {
        let Some(term) = self.term.as_mut().filter(|term| term.serves(&self.applied, wanted)) else { return false };
        term.after_work(used, self.loans);
        true
    }

    /// The server closes it when it lies idle for so long. `settings`: the term is among them.
    pub(super) fn set_idle_term<D: Dialect>(&mut self, settings: Settings, span: Duration, now: Moment) {
        let term = SlotTerm::new(settings.clone(), span, now, self.loans).following(self.term.take());
        self.become_set::<D>(settings);
        self.term = Some(term);
    }

    /// Whether it differs from a login by the term alone that it was let for, and one statement may run under that.
    pub(crate) fn bears_one(&self, now: impl FnOnce() -> Moment) -> bool {
        self.term.as_ref().is_some_and(|term| term.bears_one(&self.applied, now(), self.loans))
    }

    /// The settings are these, and what was prepared means what it meant: they are equal by value, so that they share memory
    /// from here on and the next comparison is one of pointers; or a pooler keeps nothing prepared.
    pub(crate) fn agree_on(&mut self, settings: Settings) {
        self.applied = settings;
    }

    /// A commit is sent, and behind it, in the same text, what takes the settings back: a pooler gives the server's connection to
    /// others with the end of that.
    pub(crate) fn hand_over(&mut self) {
        self.hands_over = true;
    }

    /// Whether that is under way, or has failed half way.
    pub(crate) fn hands_over(&self) -> bool {
        self.hands_over
    }

    /// It has come to its end: nothing is set any more.
    pub(crate) fn handed_over(&mut self) {
        (self.hands_over, self.applied) = (false, Settings::default());
    }

    /// The commit was refused, and everything rolled back with it.
    pub(crate) fn kept(&mut self) {
        self.hands_over = false;
    }

    /// What was left on its way has come to its end, with this error or without.
    ///
    /// # Errors
    /// The settings may have been committed, and not taken back: whoever gets the server's connection must not find them.
    pub(crate) fn came_to_rest(&mut self, late: Option<sqlx::Error>) -> Result<Option<sqlx::Error>, sqlx::Error> {
        match late {
            // Of which part it is nobody has seen.
            Some(error) if self.hands_over => Err(sqlx::Error::Protocol(format!(
                "a commit, or what takes the settings back behind it, was refused: {error}"
            ))),
            late => {
                if self.hands_over {
                    self.handed_over();
                }
                Ok(late)
            }
        }
    }

    /// What has to be taken away before another session may have it.
    pub(crate) fn cleanup(&self) -> Cleanup {
        self.cleanup
    }

    /// So much more may have to be taken away. Returns what it was before, for [`unsoil`](Self::unsoil).
    pub(crate) fn soil(&mut self, cleanup: Cleanup) -> Cleanup {
        let before = self.cleanup;
        self.cleanup = before.max(cleanup);
        before
    }

    /// What was feared has not come, or is accounted for by the settings.
    pub(crate) fn unsoil(&mut self, before: Cleanup) {
        self.cleanup = before;
    }

    /// It was made as good as new. `reset`: its settings too, to these, and what is kept of its plans is made anew.
    pub(crate) fn cleaned(&mut self, reset: Option<Settings>) {
        self.memory.cleaned();
        if let Some(settings) = reset {
            (self.stale, self.local) = (Staleness::Fresh, Staleness::Fresh);
            self.applied = settings;
        }
        self.session = 0;
        self.cleanup = Cleanup::None;
    }

    /// Its session sets what misleads the driver.
    pub(crate) fn mislead(&mut self) {
        self.misled = Some(self.session);
    }

    /// Whether the driver may have been misled by another session: no statement makes it forget.
    pub(crate) fn misleads(&self, session: u64) -> bool {
        self.misled.is_some_and(|by| by != session)
    }

    /// What is prepared no longer means what it meant.
    pub(crate) fn outdate(&mut self, staleness: Staleness) {
        self.stale = self.stale.max(staleness);
        if staleness == Staleness::Names {
            self.mixed = true;
            self.prepared.doubt_names();
        }
    }

    /// The same by what is set until the transaction ends, and once more when it does.
    pub(crate) fn outdate_for_transaction(&mut self, staleness: Staleness) {
        self.outdate(staleness);
        self.local = self.local.max(staleness);
    }

    /// The transaction may be over, and what it had set for itself gone back.
    pub(crate) fn may_be_outside(&mut self) {
        self.outdate(self.local);
    }

    /// No transaction is open: what the last one had set for itself has gone back.
    pub(crate) fn outside(&mut self) {
        let local = std::mem::take(&mut self.local);
        self.outdate(local);
    }

    /// What has become of the statements that were prepared on it.
    pub(crate) fn staleness(&self) -> Staleness {
        self.stale
    }

    /// What is prepared has been planned anew, or forgotten by the driver.
    pub(crate) fn planned_anew(&mut self) {
        self.stale = Staleness::Fresh;
    }

    /// The driver takes a name for something else than the server does, and does not forget it.
    pub(crate) fn mix(&mut self) {
        self.mixed = true;
        self.cleanup = Cleanup::Impossible;
    }

    /// A name may mislead the driver: it has stood for different things.
    pub(crate) fn is_mixed(&self) -> bool {
        self.mixed
    }
}
