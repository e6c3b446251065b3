//! How a session comes to a connection that is fit for its next exchange, and how it leaves one in the middle of something.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::borrow::Borrow;
use super::connection::{Connection, Parted};
use super::core::Intent;
use super::query::Query;
use crate::connector::Wire;
use crate::engine::{Control, Diagnosis, Engine};
use crate::error::{Error, Outcome, Phase, Purpose};
use crate::event::Discard;
use crate::failover::Failover;
use crate::pool::{Connect as _, Lease, Peek};

impl<DB: Engine> Connection<DB> {
    /// Gives the connection back as it is, in the middle of something.
    pub(super) fn part(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            let (parted, at_rest) = oneshot::channel();
            let wire = lease.conn();
            wire.parted = Some(parted);
            self.parted = Some(Parted { wire: wire.id, at_rest });
        }
    }

    /// Takes back the connection that this session left in the middle of something. If somebody else is bringing it to rest, waits
    /// until that is done and leaves it to them: the locks that it held are then released.
    async fn reclaim(&mut self, purpose: Purpose) -> Option<Lease<Failover<DB>>> {
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + self.pool.borrow_timeout();
        while let Some(Parted { wire, at_rest }) = &mut self.parted {
            if matches!(at_rest.try_recv(), Err(oneshot::error::TryRecvError::Closed)) || Instant::now() >= deadline {
                break;
            }
            let id = *wire;
            let reclaimed = self.pool.reclaim(purpose, |wire| wire.id == id).await;
            if reclaimed.is_some() {
                self.parted = None;
                return reclaimed;
            }
            // Whoever has it may be dropped too, and then it lies there again as it was.
            let _ = timeout(LOOK_AGAIN, at_rest).await;
        }
        self.parted = None;
        None
    }

    /// Has a connection that is fit for the next exchange. One that turns out not to be, before anything of the session was
    /// sent, is exchanged for another where nothing binds the session to it.
    async fn become_fit(&mut self, phase: Phase, intent: &Intent<'_>, query: Option<&Query<DB>>) -> Result<(), Error> {
        const MOST_LOSSES: u32 = 2;
        let mut losses = 0;
        loop {
            let error = match self.lease_and_settle(phase, intent, query).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let refused = std::mem::take(&mut self.refused_connection);
            let lost = matches!(error, Error::ConnectionLost { outcome: Outcome::NotExecuted, .. });
            if !self.state.is_free() || !refused && (!lost || losses == MOST_LOSSES) {
                return Err(error);
            }
            losses += u32::from(lost);
        }
    }

    async fn lease_and_settle(
        &mut self,
        phase: Phase,
        intent: &Intent<'_>,
        query: Option<&Query<DB>>,
    ) -> Result<(), Error> {
        if self.lease.is_some() {
            self.look_at_socket(phase)?;
        } else {
            let purpose = if phase == Phase::Begin { Purpose::Transaction } else { Purpose::Statement };
            let reclaimed = match self.parted {
                Some(_) => Box::pin(self.reclaim(purpose)).await,
                None => None,
            };
            let mut lease = match reclaimed {
                Some(lease) => lease,
                None => self.pool.lease(purpose).await?,
            };
            while let Err(why) = self.take_over(&mut lease).await {
                Box::pin(lease.close(why)).await;
                lease = self.pool.lease(purpose).await?;
            }
            self.lease = Some(lease);
        }
        let mut borrow = Borrow::new(self, phase);
        borrow.session.milestones.leased = Some(borrow.started);
        borrow.settle(intent).await?;
        if let Err(gone) = borrow.session.refuse_gone(phase, intent.class.control()) {
            borrow.rest();
            return Err(gone);
        }
        if let Some(query) = query {
            borrow.understand(query).await?;
        }
        borrow.check_generated(intent).await?;
        // A connection that does not come so far is exchanged for another, too.
        borrow.be_ready().await?;
        // At rest, and still this session's.
        borrow.done = true;
        Ok(())
    }

    /// A connection that the session has kept may be closed by now, which costs nothing to see: then nothing is sent, and
    /// what becomes of the work in hand is known. The same holds for a connection that was opened on another tokio runtime.
    /// Input that nobody asked for is read first.
    fn look_at_socket(&mut self, phase: Phase) -> Result<(), Error> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        if lease.is_foreign() {
            let message =
                "the session's connection belongs to the tokio runtime that it was opened on, and this is another";
            let foreign = sqlx::Error::Protocol(message.to_owned());
            return Err(self.lose(phase, false, Duration::ZERO, foreign, Diagnosis::Dead));
        }
        match self.pool.connector().peek(lease.conn()) {
            Peek::Quiet => Ok(()),
            Peek::Talking => {
                lease.conn().in_flight = true;
                Ok(())
            }
            Peek::Closed => {
                let hung_up = sqlx::Error::Io(io::ErrorKind::ConnectionAborted.into());
                Err(self.lose(phase, false, Duration::ZERO, hung_up, Diagnosis::Dead))
            }
        }
    }

    /// Makes a connection this session's, or says why it has to be closed.
    ///
    /// What was not worth a round trip at connect is asked when a second session has the connection: who the server is,
    /// and who its neighbours are. Nothing of the session has been sent by then, so that a look that fails costs the look,
    /// and at the worst the connection, and never a statement.
    async fn take_over(&self, lease: &mut Lease<Failover<DB>>) -> Result<(), Discard> {
        if self.is_beyond_cleaning(lease.conn()) {
            return Err(Discard::Unrecoverable);
        }
        lease.conn().carried.come_into(self.id);
        let failover = self.pool.connector();
        if self.state.is_free() && failover.wants_a_look(lease.conn()) {
            // Dropped from here on, the connection is brought to rest before anybody has it.
            lease.begin();
            lease.conn().carried.exchange();
            match Box::pin(failover.look(lease.conn())).await {
                // The server has refused to say: another session's time limit may still be set. It is at rest again.
                Err(Error::Database(refusal)) if DB::diagnose(&refusal).is_of_statement() => {}
                looked => {
                    looked.map_err(|_| Discard::Broken)?;
                }
            }
        }
        Ok(())
    }

    /// Whether this session needs the connection cleaned in a way that no statement can do, so that it has to be closed.
    fn is_beyond_cleaning(&self, wire: &Wire<DB>) -> bool {
        // Strict isolation takes no statement's word for it: `DISCARD ALL` leaves a seed, sessions with other servers and
        // whatever an interpreter or a library keeps.
        let strict = self.connector().is_strict() && wire.carried.is_anothers(self.id);
        // What a reset goes back to is not what the `init_query` had set.
        let initial = self.connector().has_init_query() && !wire.carried.settings().is_empty();
        let wanted = self.state.settings();
        let differs = wire.carried.settings() != wanted;
        let beyond = strict || !DB::RULES.has_session_reset && initial && differs;
        beyond || wire.cannot_go_to(wanted) || wire.carried.misleads(self.id)
    }

    /// The physical connection for the next exchange, with everything settled that an earlier one left open.
    pub(super) async fn borrow(&mut self, phase: Phase, intent: &mut Intent<'_>) -> Result<Borrow<'_, DB>, Error> {
        self.borrow_for(phase, intent, None).await
    }

    /// As [`borrow`](Self::borrow), and makes sure that the driver will bind the query's values as the types that this session means.
    pub(super) async fn borrow_for(
        &mut self,
        phase: Phase,
        intent: &mut Intent<'_>,
        query: Option<&Query<DB>>,
    ) -> Result<Borrow<'_, DB>, Error> {
        if self.state.is_lost() && !self.state.end_lost_transaction(intent.class.control()) {
            let phase = match intent.class.control() {
                Some(Control::Commit { .. }) => Phase::Commit,
                _ if phase == Phase::Statement && self.state.depth() > 0 => Phase::InTransaction,
                _ => phase,
            };
            let error = self.gone(phase);
            if phase == Phase::Commit && self.state.is_begun_by_text() {
                // A commit ends the application's transaction here too, so that its next statement starts afresh.
                self.state.rolled_back(1);
            }
            return Err(error);
        }
        self.refuse_gone(phase, intent.class.control())?;
        self.become_fit(phase, intent, query).await?;
        let mut borrow = Borrow::new(self, phase);
        borrow.session.milestones.fit = Some(borrow.started);
        borrow.enter(intent).await?;
        // From here on what is given to the driver is sent at the first poll, and the account of a savepoint's end depends on it.
        borrow.be_ready().await?;
        borrow.start(intent);
        Ok(borrow)
    }
}
