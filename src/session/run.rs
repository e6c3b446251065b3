//! How a query is run: made ready, sent, read to its end, and where the server provably did not execute it, run again.
//!
//! One loop for whole answers and for streams; [`Sink`] is what tells them apart.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{Error, SqlStr};
use tokio::time::Instant;

use super::answer::{First, Items, Sink};
use super::borrow::{Borrow, Parts};
use super::connection::Connection;
use super::core::Intent;
use super::query::Query;
use crate::connector::Wire;
use crate::deadline::{TimeToCancel, time_to_cancel};
use crate::engine::{Answer, Class, Control, Engine, Question};
use crate::error::Phase;
use crate::failover::Verdict;
use crate::pin::PinCause;
use crate::span::{self, Watch};
use crate::usage::Meter;

/// At most so many attempts. A second failover during a retry is rare; after that the error is returned.
pub(super) const MOST_RUNS: usize = 3;

/// Whether a text begins or ends a transaction, sets something, or ends a pin: that is done as soon as a part of its answer is there.
fn is_accounted_for<DB: Engine>(sql: &str) -> bool {
    let class = DB::classify(sql);
    let controls = class.control().is_some_and(Control::is_single_statement);
    // What it sets is asked for before it.
    let is_asked_for = class.pins == Some(PinCause::Setting) && DB::question(sql).is_some();
    controls || class.setting().is_some() || class.ends().is_some() || is_asked_for
}

impl<DB: Engine> Connection<DB> {
    /// Runs a query and collects its answer.
    pub(super) async fn collect<S: Sink<DB>>(&mut self, query: &Query<DB>, mut sink: S) -> Result<S, Error> {
        self.run(query, &mut sink).await?;
        Ok(sink)
    }

    /// Runs a query; behind a pooler, in a transaction of its own where it would be torn apart otherwise.
    pub(super) async fn run<S: Sink<DB>>(&mut self, query: &Query<DB>, sink: &mut S) -> Result<(), Error> {
        let begun = Instant::now();
        let watch = Watch::statement(DB::RULES.family, query.sql.as_str());
        if self.state.asks_for_open_transaction() {
            Box::pin(self.ask_for_open_transaction()).await?;
        }
        let result = if self.would_be_torn(query) {
            watch.over(Box::pin(self.run_together(query, sink))).await
        } else if sink.streams() && is_accounted_for::<DB>(query.sql.as_str()) {
            watch.over(Box::pin(self.run_to_its_end(query, sink))).await
        } else {
            watch.over(self.run_here(query, sink)).await
        };
        self.tell_if_slow(query.sql.as_str(), begun);
        result
    }

    /// Runs a text that changes the session's account, whose answer is handed on when it is accounted for: whoever has seen that it
    /// is done, and looks no further, goes on in what it has begun or set.
    async fn run_to_its_end<S: Sink<DB>>(&mut self, query: &Query<DB>, sink: &mut S) -> Result<(), Error> {
        let mut items = Items(Vec::new());
        self.run_here(query, &mut items).await?;
        for item in items.0 {
            if let Some(item) = sink.keep(item) {
                sink.hand_on(item).await;
            }
        }
        Ok(())
    }

    /// Runs a query. A stale plan is made anew once, and what the server provably did not execute is sent again on another
    /// connection.
    pub(super) async fn run_here<S: Sink<DB>>(&mut self, query: &Query<DB>, sink: &mut S) -> Result<(), Error> {
        let mut run = 1;
        loop {
            let (mut borrow, spelled) = self.ready_for(query).await?;
            let query = spelled.as_deref().unwrap_or(query);
            let at = &borrow.wire().at;
            span::at(&at.host, at.port);
            let mut result = borrow.exchange(query, sink).await;
            if let Err(error) = &result
                && !sink.is_handed_on()
                && query.is_prepared()
                && Box::pin(borrow.heal(error, query.sql.as_str())).await
            {
                result = borrow.exchange(query, sink).await;
            }
            let answered = Instant::now();
            borrow.session.pool.meter().answers.record(answered - borrow.started);
            let Err(error) = result else {
                borrow.session.milestones.answered = Some(answered);
                borrow.finish();
                return Ok(());
            };
            match borrow.judged(error, Some(query), sink.is_handed_on()).await {
                (Verdict::Again, _) if run < MOST_RUNS => {
                    run += 1;
                    Meter::count(&self.pool.meter().reruns);
                }
                (_, error) => return Err(error.into()),
            }
        }
    }

    /// Borrows a connection for this query. Also returns the query as it has to be sent there, if that differs from what was given.
    async fn ready_for(&mut self, query: &Query<DB>) -> Result<(Borrow<'_, DB>, Option<Box<Query<DB>>>), Error> {
        let pooled = self.connector().pools_transactions();
        let mut intent = self.intent(DB::classify(query.sql.as_str()), query.sql.as_str());
        let told = match intent.question::<DB>() {
            Some(question) => Box::pin(self.ask(question, query)).await?,
            None => None,
        };
        if let Some(told) = &told {
            intent = Intent { told, ..self.intent(DB::classify(told), query.sql.as_str()) };
        }
        self.refuse(&intent)?;
        let uncacheable = intent.class.uncacheable;
        self.texts += u64::from(!uncacheable);
        let mut whole = false;
        if pooled && intent.class.control().is_some() {
            self.refuse_whole(intent.class.control())?;
            // Transaction control goes out unprepared: between preparing and executing the pooler may switch to another connection of
            // the server. Several statements stay prepared, so that the server refuses them as the caller expects.
            let is_refused = query.has_values() || intent.class.several && query.is_prepared();
            whole = !is_refused;
        }
        let mut borrow = self.borrow_for(Phase::Statement, &mut intent, Some(query)).await?;
        if !pooled && !uncacheable {
            let spelled = borrow.spelled(query).map(Box::new);
            return Ok((borrow, spelled));
        }
        let mut spelled = query.clone();
        // A pooler in between may run the next statement elsewhere: nothing named is left on the server.
        spelled.persistent &= !pooled;
        if whole {
            spelled = spelled.unprepared();
            if let Some(chain) = borrow.flight.commits_as_text() {
                let text = borrow.and_hand_over(spelled.sql.as_str().to_owned(), chain);
                spelled = spelled.reworded(text);
            }
        }
        if uncacheable {
            spelled = borrow.session.set_apart(spelled);
        }
        Ok((borrow, Some(Box::new(spelled))))
    }

    /// What a statement does to this session.
    fn intent<'a>(&self, class: Class<'a>, sql: &'a str) -> Intent<'a> {
        let connector = self.connector();
        Intent::of::<DB>(class, sql, &self.state, connector.pinning_filter(), connector.has_init_query())
    }

    /// What the server says to a question about a statement, in the place of what the statement's text does not tell.
    /// Why before it, and not after? What it sets is known when it is sent, like that of any other one, whatever becomes of
    /// its answer; and a question that fails has executed nothing.
    async fn ask(&mut self, question: Question, query: &Query<DB>) -> Result<Option<String>, Error> {
        if question.given && query.arguments.is_none() {
            // The server will refuse it.
            return Ok(None);
        }
        let mut run = 1;
        loop {
            let asked = query.clone().reworded(question.text.clone());
            let mut asked = if question.given { asked } else { asked.unprepared() };
            asked.persistent &= !self.connector().pools_transactions();
            let mut intent = Intent { sql: &question.text, ..Intent::none() };
            let mut borrow = self.borrow_for(Phase::Statement, &mut intent, Some(&asked)).await?;
            let asked = borrow.spelled(&asked).unwrap_or(asked);
            borrow.flight.set_sent(false);
            let mut first = First(None);
            let error = match borrow.read(&asked, &mut first, None).await {
                Ok(()) => {
                    borrow.finish();
                    return Ok(first.0.and_then(|answers| DB::spelled(query.sql.as_str(), &answers)));
                }
                Err(error) => error,
            };
            if run < MOST_RUNS && Box::pin(borrow.heal(&error, query.sql.as_str())).await {
                borrow.finish();
            } else {
                match borrow.judged(error, None, false).await {
                    (Verdict::Again, _) if run < MOST_RUNS => {}
                    (_, error) => return Err(error.into()),
                }
            }
            run += 1;
        }
    }

    /// The same text may have other columns the next time, those of another cursor, so that what is prepared for it must
    /// not be found again. Without a name of its own it would be lost when the driver asks the server about a type in
    /// between (sqlx 0.9.0); so it gets a text of its own, which serves until something else was run.
    fn set_apart(&self, query: Query<DB>) -> Query<DB> {
        if DB::RULES.prepares_ahead || !query.persistent {
            return Query { persistent: false, ..query };
        }
        let text = format!("{}\n/* {}.{} */", query.sql.as_str(), self.id, self.texts);
        query.reworded(text)
    }
}

impl<DB: Engine> Borrow<'_, DB> {
    /// Sends a query and reads its answer.
    async fn exchange<S: Sink<DB>>(&mut self, query: &Query<DB>, sink: &mut S) -> Result<(), Error> {
        #[cfg(feature = "testing")]
        self.lose_if_asked()?;
        if DB::RULES.prepares_ahead
            && let Some(arguments) = &query.arguments
        {
            let values = sqlx::Arguments::len(arguments);
            self.prepare_ahead(query.sql.clone(), values, query.persistent).await?;
        }
        let alarm = time_to_cancel(self.wire().login);
        self.read(query, sink, alarm).await
    }

    /// Prepares the statement before it is sent. If this future is dropped, the driver is out of step: it would take the answer to its
    /// own question for the statement's. Where the driver prepares and executes in one go, that lasts until the answer begins.
    async fn prepare_ahead(&mut self, sql: SqlStr, values: usize, persistent: bool) -> Result<(), Error> {
        // What fails here has executed nothing.
        self.flight.set_sent(!persistent);
        let (failover, wire) = self.connected();
        wire.out_of_step = true;
        if persistent {
            let prepare = DB::prepare(&mut wire.driver, sql, values);
            let prepared = failover.attend_until(time_to_cancel(wire.login), wire.peer.as_deref(), prepare).await;
            // What is not kept is prepared again, and executed in one go with that; what was not waited for is on its way.
            wire.out_of_step = match &prepared {
                Ok(kept) => !kept,
                Err(error) => TimeToCancel::is_behind(error),
            };
            prepared?;
        }
        self.flight.set_sent(true);
        Ok(())
    }

    /// Reads an answer to its end, or until the alarm rings.
    pub(super) async fn read<S: Sink<DB>>(
        &mut self,
        query: &Query<DB>,
        sink: &mut S,
        alarm: Option<Instant>,
    ) -> Result<(), Error> {
        if self.wire().carried.hands_over() {
            return Box::pin(self.read_handing_over(query, sink, alarm)).await;
        }
        self.read_all(query, sink, alarm).await
    }

    /// As [`read`](Self::read), but takes every statement of the text for the query's own, also where a hand-over follows the commit.
    pub(super) async fn read_all<S: Sink<DB>>(
        &mut self,
        query: &Query<DB>,
        sink: &mut S,
        alarm: Option<Instant>,
    ) -> Result<(), Error> {
        sink.begin();
        let Parts { failover, flight, wire, .. } = self.parts();
        flight.set_heard(false);
        let Wire { driver, peer, out_of_step, .. } = wire;
        let mut answer = Answer::<DB>::of(DB::start(driver, query.clone()));
        let heard = AtomicBool::new(false);
        loop {
            let next = async {
                loop {
                    let step = answer.next().await;
                    // The answer is there, and with it the end of what was prepared.
                    *out_of_step = false;
                    flight.set_heard(step.is_ok());
                    heard.store(true, Ordering::Relaxed);
                    let Some(step) = step? else { return Ok(None) };
                    if let Some(step) = sink.keep(step) {
                        return Ok(Some(step));
                    }
                }
            };
            match failover.attend_answer(alarm, peer.as_deref(), &heard, next).await? {
                Some(step) => sink.hand_on(step).await,
                None => return Ok(()),
            }
            // A step that is there at once is taken without a look at the alarm.
            TimeToCancel::check(alarm)?;
        }
    }
}
