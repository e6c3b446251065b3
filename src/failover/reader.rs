//! The way to a reader: read-only sessions, spread over the members that are not the writer.
//!
//! A reader is asked for its role as the writer is. One that was promoted, or does not answer, is left for another; the
//! one with the fewest connections comes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{FIRST_BOUND, Failover, Told};
use crate::connector::{Access, Wire};
use crate::engine::Engine;
use crate::error::{Answer, Error, chain};
use crate::pool::Attempt;
use crate::random;
use crate::topology::{Address, Place};

/// Whoever failed is asked after the others for this long.
const SHUNNED: Duration = Duration::from_secs(5);

/// What is known of the readers' use.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Without any reader the writer serves, read-only.
    fall_back: bool,
    shares: Mutex<HashMap<Address, Share>>,
}

/// One reader's part.
#[derive(Debug, Default)]
struct Share {
    /// Held by each connection to it as well, so that they count themselves.
    token: Arc<()>,
    failed: Option<Instant>,
}

impl Readers {
    pub(crate) fn new(fall_back: bool) -> Self {
        Self { fall_back, shares: Mutex::default() }
    }

    /// The readers, those first that have the fewest connections and did not fail a moment ago.
    fn ranked(&self, mut readers: Vec<Address>) -> Vec<Address> {
        let shares = self.shares();
        // Among equals it is chance, so that the environments of a fleet do not all begin with the same one.
        random::generator().shuffle(&mut readers);
        readers.sort_by_key(|at| {
            let share = shares.get(at);
            let failed = share.and_then(|share| share.failed).is_some_and(|failed| failed.elapsed() < SHUNNED);
            (failed, share.map_or(0, |share| Arc::strong_count(&share.token)))
        });
        readers
    }

    fn took(&self, at: &Address) -> Arc<()> {
        let mut shares = self.shares();
        let share = shares.entry(at.clone()).or_default();
        share.failed = None;
        Arc::clone(&share.token)
    }

    pub(super) fn failed(&self, at: &Address) {
        self.shares().entry(at.clone()).or_default().failed = Some(Instant::now());
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Address, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Engine> Failover<DB> {
    /// A connection to a reader, for a read-only session.
    pub(super) async fn connect_reader(&self, readers: &Readers, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let begun = Instant::now();
        let mut answers = Vec::new();
        if !self.topology.has_others() && self.has_roles() {
            // Whoever the target is, it tells who the others are.
            let place = self.connector.home(attempt.deadline).await?;
            let mut wire = self.connector.reach(place, Access::ReadOnly, attempt).await?;
            self.topology.aim_first(&wire.at);
            if self.look(&mut wire).await? == Told::Reader {
                return Ok(self.reader(wire, readers));
            }
            answers.push(Answer { host: wire.at.to_string(), answer: "I am the writer".to_owned() });
        }
        let (mut refusal, mut others) = (None, false);
        for at in readers.ranked(self.topology.readers()) {
            let host = at.to_string();
            match self.reach_reader(&at, attempt).await {
                Ok(Some(wire)) => return Ok(self.reader(wire, readers)),
                Ok(None) => answers.push(Answer { host, answer: "I am the writer".to_owned() }),
                Err(error) => {
                    readers.failed(&at);
                    answers.push(Answer { host, answer: chain(&error) });
                    (refusal, others) = if error.is_refusal() { (Some(error), others) } else { (refusal, true) };
                }
            }
        }
        if !readers.fall_back {
            // All that there are turned it away for now, which is worth another attempt.
            if let Some(error) = refusal.filter(|_| !others) {
                return Err(error);
            }
            return Err(Error::NoReader { elapsed: begun.elapsed(), answers });
        }
        let place = match self.topology.writer() {
            Some(writer) => Place { host: Some(writer.address.host), port: Some(writer.address.port) },
            None => self.connector.home(attempt.deadline).await?,
        };
        let mut wire = self.connector.reach(place, Access::ReadOnly, attempt).await?;
        wire.stands_in = true;
        Ok(self.reader(wire, readers))
    }

    async fn reach_reader(&self, at: &Address, attempt: &Attempt) -> Result<Option<Wire<DB>>, Error> {
        let attempt = attempt.within(attempt.deadline.within(FIRST_BOUND));
        let place = Place { host: Some(at.host.clone()), port: Some(at.port) };
        let mut wire = self.connector.reach(place, Access::ReadOnly, &attempt).await?;
        Ok((self.look(&mut wire).await? == Told::Reader).then_some(wire))
    }

    fn reader(&self, mut wire: Wire<DB>, readers: &Readers) -> Wire<DB> {
        wire.share = Some(readers.took(&wire.at));
        self.proven(&mut wire);
        wire
    }
}
