//! Brings a connection to rest: what a dropped statement left on it is read, what sessions left is taken away.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep};

use super::cancel::{Cancel, Parts};
use super::{Connector, Wire};
use crate::clock::Moment;
use crate::deadline::by_the_clock;
use crate::engine::{Cleanup, Engine, Socket, Staleness};
use crate::error::Error;

/// A dropped statement gets this long to end by itself: a cancel takes a connect, and that is not worth it for less.
const PATIENCE: Duration = Duration::from_millis(30);

/// And so long at the most where rows come that are read to their end: a cancel would cost the transaction.
const MOST_PATIENCE: Duration = Duration::from_secs(4);

/// What is done with a long answer that nobody wants. The driver reads on without a pause as long as there is something to read,
/// and nothing else has its turn until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is read to its end: the connection holds a transaction, or what a session is pinned for.
    Read,
    /// The server is told to end it where it is long, and the rest is read: what the connection holds is rolled back in any case.
    Shorten,
    /// The server is told to end it before anything is read: its time is over.
    End,
    /// The connection is closed: another one is had in less time.
    Close,
}

/// A connection has come to rest.
#[derive(Debug)]
pub(crate) struct Rested {
    /// The error of the statement that was under way.
    pub(crate) late: Option<sqlx::Error>,
    /// It was cancelled, and may have felt it whatever it answered.
    pub(crate) cancelled: bool,
}

/// So much of an answer is read in any case, in bytes: small rows of so much take the driver some milliseconds.
const MOST_UNREAD: u64 = 32 * 1024;
/// And in so many turns, each of many rows where they come fast: then the driver has read what the socket had.
const MOST_TURNS: u32 = 64;
/// What has not grown in this time is all there is for now.
const SETTLING: Duration = Duration::from_millis(2);

impl<DB: Engine> Connector<DB> {
    /// Brings a connection to rest and takes off what sessions have left on it.
    pub(crate) async fn restore(self: &Arc<Self>, wire: &mut Wire<DB>) -> Result<(), Error> {
        let restored = async {
            // A late error belongs to a statement that nobody waits for any more.
            let _late: Rested = self.come_to_rest(wire, Unread::Close).await?;
            if let Some(before) = wire.carried.before_open().cloned() {
                DB::run(&mut wire.driver, "ROLLBACK".to_owned()).await?;
                // Elsewhere a rollback leaves settings alone, and what is noted of them still holds.
                if DB::RULES.rollback_restores_settings {
                    if self.pools_transactions() {
                        // These are the settings from before the transaction. If a commit was on its way instead, the text behind it
                        // has taken the settings back as well; where that failed, `come_to_rest` has ended in an error.
                        wire.carried.become_set::<DB>(before);
                    } else if *wire.carried.settings() != before {
                        // A commit may have been on its way, so that nobody knows whether the old or the new settings are in place.
                        wire.carried.soil(Cleanup::KeepPlans);
                    }
                }
                wire.carried.close();
            }
            let cleanup = wire.carried.cleanup();
            if cleanup == Cleanup::Impossible || cleanup != Cleanup::None && self.is_strict() {
                if self.pools_transactions() {
                    // The pooler goes on with the server's connection, and gives it to others: what can be is taken away.
                    self.clean(wire).await?;
                }
                return Err(out_of_reach("what was left on the connection cannot be taken away"));
            }
            if cleanup != Cleanup::None {
                // A sqlx transaction was forgotten, not dropped. Nothing brings the driver's count down again, and the
                // next one's `begin` would be a savepoint in nothing.
                if sqlx::Connection::is_in_transaction(&wire.driver) {
                    return Err(out_of_reach("the driver still counts a transaction"));
                }
                self.clean(wire).await?;
            }
            let renamed = DB::RULES.renamed_by.is_some_and(|setting| wire.carried.settings().contains(setting));
            if renamed && wire.number.is_none() && !self.config.via_proxy() {
                // The session no longer goes by the name that a cancel would look for, so that the server's number for it is asked.
                wire.number = match DB::number(&mut wire.driver).await {
                    // By a time limit, for example. It is asked another time.
                    Err(refusal) if DB::diagnose(&refusal).is_of_statement() => None,
                    number => number?,
                };
            }
            wire.parted = None;
            Ok(())
        };
        restored.await.map_err(Error::Database)
    }

    /// Has the server close a connection at rest when it has been idle for so long. That is a setting like those of sessions:
    /// the next one that has another takes it back before its first statement, unless that is one alone (`slot_term`).
    /// `used`: when the last exchange of a session on it was over, from where the server counts.
    pub(crate) async fn set_idle_term(
        &self,
        wire: &mut Wire<DB>,
        term: Duration,
        used: Moment,
    ) -> Result<(), sqlx::Error> {
        let is_old = self.old_servers().contains(&wire.at);
        // What a reset goes back to is not what the `init_query` had set; and a pooler has terms of its own.
        if self.config.via_proxy() || self.has_init_query() || is_old || term >= self.config.idle_timeout() {
            return Ok(());
        }
        let (text, term) = DB::idle_term(term);
        if wire.carried.keeps_term(term, used) {
            return Ok(());
        }
        let mut settings = wire.carried.settings().clone();
        for (name, statement) in DB::settings_of(&text) {
            settings.set(name, statement);
        }
        // Cut short, it may be set or not: then it is taken back for nothing.
        wire.carried.set_idle_term::<DB>(settings, term, self.clock.now());
        wire.carried.exchange();
        DB::run(&mut wire.driver, text).await
    }

    /// Brings a connection on which a statement was dropped to rest: reads what comes, and cancels the statement on the
    /// server when that takes long. Bounded by the caller.
    ///
    /// # Cancel safety
    /// What was begun goes on, and is taken up again: a connection that a cancel may still hit is not at rest.
    pub(crate) async fn come_to_rest(
        self: &Arc<Self>,
        wire: &mut Wire<DB>,
        unread: Unread,
    ) -> Result<Rested, sqlx::Error> {
        let cancelled = self.read_on(wire, unread).await?;
        wire.in_flight = false;
        let late = wire.carried.came_to_rest(wire.late.take())?;
        Ok(Rested { late, cancelled })
    }

    /// Reads to the end, and says whether the statement was cancelled, and may have felt it.
    async fn read_on(self: &Arc<Self>, wire: &mut Wire<DB>, unread: Unread) -> Result<bool, sqlx::Error> {
        wire.carried.exchange();
        if let Some(why) = unreadable(wire.out_of_step, wire.socket.as_ref(), unread).await {
            self.cancel(&wire.parts().whose);
            return Err(why);
        }
        let is_ended_first = match unread {
            Unread::End => true,
            Unread::Shorten => has_much_to_read(wire.socket.as_ref()).await,
            Unread::Read | Unread::Close => false,
        };
        wire.cancel.take_if(|cancel| cancel.is_unsent());
        let Parts { driver, late, whose, under_way } = wire.parts();
        if is_ended_first && under_way.is_none() {
            // The driver reads fast rows without a pause, so that a cancel begun beside it would never get its turn. Whether the cancel
            // failed is looked at below, when everything is read.
            *under_way = self.cancel(&whose);
            if let Some(cancel) = under_way {
                cancel.answered().await.ok();
                if unread == Unread::End && cancel.is_refused() {
                    return Err(out_of_reach("the server does not end the statement, which goes on"));
                }
            }
        }
        let socket = whose.socket.filter(|_| unread == Unread::Close);
        {
            // One and the same from beginning to end: MySQL's driver loses its place when it is dropped in the middle of a
            // long row (sqlx 0.9.0), and the transaction with it.
            let mut draining = pin!(drained::<DB>(driver, late, socket));
            if under_way.is_none() {
                let coming = whose.socket.filter(|_| unread == Unread::Read);
                if let Some(drained) = patiently(draining.as_mut(), coming).await {
                    return drained.map(|()| false);
                }
                *under_way = self.cancel(&whose);
            }
            // Without an answer the drain goes on; its bound is the caller's.
            let Some(cancel) = under_way.as_mut() else { return draining.await.map(|()| false) };
            match select(draining, pin!(cancel.idle())).await {
                Either::Left((drained, _)) => drained?,
                Either::Right(_) => {
                    return Err(out_of_reach("the server has answered everything, and the driver waits for more"));
                }
            }
        }
        let Some(cancel) = under_way else { return Ok(false) };
        if cancel.recall() {
            *under_way = None;
            return Ok(false);
        }
        cancel.answered().await?;
        // The answer may have come before the cancel did. Then the cancel hits this question, or nothing.
        drained::<DB>(driver, late, socket).await?;
        *under_way = None;
        Ok(true)
    }

    /// Begins to have the server end what may still go on on a connection that did not come to rest in time: it is closed, and
    /// nobody would notice for long.
    pub(crate) fn give_up(self: &Arc<Self>, wire: &mut Wire<DB>) {
        let Parts { whose, under_way, .. } = wire.parts();
        if under_way.as_ref().is_none_or(Cancel::is_unsent) {
            self.cancel(&whose);
        }
    }

    /// Makes a connection at rest as good as new.
    pub(crate) async fn clean(&self, wire: &mut Wire<DB>) -> Result<(), sqlx::Error> {
        // If this is dropped half way, the connection still needs a full cleanup, whatever it needed before.
        let cleanup = wire.carried.soil(Cleanup::Full);
        let stale = wire.carried.staleness() >= Staleness::Statements && DB::RULES.has_session_reset;
        DB::clean(&mut wire.driver, cleanup == Cleanup::KeepPlans && !stale).await?;
        let mut touched = false;
        if DB::RULES.has_session_reset
            && let Some(query) = &self.config.init_query
        {
            DB::run(&mut wire.driver, query.clone()).await?;
            touched = true;
        }
        // Without such a reset the settings are there as before.
        wire.carried.cleaned(DB::RULES.has_session_reset.then(|| DB::after_reset(&wire.login_defaults)));
        if touched {
            wire.carried.memory.touched();
        }
        Ok(())
    }
}

/// Drives `work` until `PATIENCE` is over. As long as more input keeps arriving on `coming`, the patience begins anew, up to
/// `MOST_PATIENCE`.
async fn patiently<F: Future>(mut work: Pin<&mut F>, coming: Option<&Socket>) -> Option<F::Output> {
    let last = Instant::now() + MOST_PATIENCE;
    loop {
        let mut has_come = false;
        let watched = poll_fn(|context| {
            has_come |= coming.and_then(Socket::unread).is_some_and(|unread| unread > 0);
            work.as_mut().poll(context)
        });
        let done = by_the_clock(Instant::now() + PATIENCE, watched).await;
        if done.is_some() || !has_come || Instant::now() >= last {
            return done;
        }
    }
}

/// Why an answer is not read to its end: its statement is ended on the server then, and the connection is closed.
async fn unreadable(out_of_step: bool, socket: Option<&Socket>, unread: Unread) -> Option<sqlx::Error> {
    if out_of_step {
        // What the server answers nobody would understand.
        return Some(out_of_reach("a statement was dropped while the driver prepared it"));
    }
    (unread == Unread::Close && has_much_to_read(socket).await).then(much_to_read)
}

/// Whether more of a dropped answer is there, or still coming, than is worth reading.
async fn has_much_to_read(socket: Option<&Socket>) -> bool {
    let unread = || socket.and_then(Socket::unread).unwrap_or_default();
    let mut before = unread();
    while before > 0 && before <= MOST_UNREAD {
        sleep(SETTLING).await;
        let now = unread();
        if now == before {
            return false;
        }
        before = now;
    }
    before > MOST_UNREAD
}

/// Reads to the end of an answer, as long as it does not become too much.
async fn drained<DB: Engine>(
    driver: &mut DB::Connection,
    late: &mut Option<sqlx::Error>,
    socket: Option<&Socket>,
) -> Result<(), sqlx::Error> {
    let mut drain = pin!(DB::drain(driver, late));
    let mut turns = 0;
    poll_fn(|context| {
        turns += 1;
        if socket.is_some_and(|socket| turns > MOST_TURNS || socket.unread().is_some_and(|unread| unread > MOST_UNREAD))
        {
            return Poll::Ready(Err(much_to_read()));
        }
        drain.as_mut().poll(context)
    })
    .await
}

fn much_to_read() -> sqlx::Error {
    out_of_reach("a statement was dropped with much of its answer unread")
}

/// The error of a connection that cannot be brought to rest, and has to be closed.
fn out_of_reach(why: &str) -> sqlx::Error {
    sqlx::Error::Protocol(why.to_owned())
}
