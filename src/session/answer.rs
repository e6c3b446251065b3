//! Where the answer of a query goes: collected to its end, or handed on step by step.

use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};

use futures_core::Stream;
use futures_util::stream::poll_fn as stream_of;
use sqlx::{Either, Error};

use crate::engine::{Engine, Item};

/// Takes the steps of an answer.
pub(super) trait Sink<DB: Engine>: Send {
    /// A run begins. What an earlier one has brought does not count.
    fn begin(&mut self);

    /// Keeps a step, or gives it back where somebody waits for it: then it is [handed on](Self::hand_on).
    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>>;

    /// Hands a step on, and ends when it was taken.
    fn hand_on(&mut self, _: Item<DB>) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Whether its steps are handed on while the answer is read.
    fn streams(&self) -> bool {
        false
    }

    /// Whether somebody has seen a part of the answer: then the query cannot be run again unnoticed.
    fn is_handed_on(&self) -> bool {
        false
    }
}

/// What all statements of a text have done together.
pub(super) struct Done<DB: Engine>(pub(super) DB::QueryResult);

impl<DB: Engine> Sink<DB> for Done<DB> {
    fn begin(&mut self) {
        self.0 = DB::QueryResult::default();
    }

    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>> {
        if let Either::Left(done) = step {
            self.0.extend([done]);
        }
        None
    }
}

/// All rows.
pub(super) struct Rows<DB: Engine>(pub(super) Vec<DB::Row>);

impl<DB: Engine> Sink<DB> for Rows<DB> {
    fn begin(&mut self) {
        self.0.clear();
    }

    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>> {
        self.0.extend(step.right());
        None
    }
}

/// The first row. All are read: MySQL's driver would stop at the first and leave the rest unread (sqlx 0.9.0), and a
/// deferred error may come after it.
pub(super) struct First<DB: Engine>(pub(super) Option<DB::Row>);

impl<DB: Engine> Sink<DB> for First<DB> {
    fn begin(&mut self) {
        self.0 = None;
    }

    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>> {
        if self.0.is_none() {
            self.0 = step.right();
        }
        None
    }
}

/// What the first statement of a text has done: the rest is nobody's.
pub(super) struct OfFirst<'s, S> {
    pub(super) sink: &'s mut S,
    pub(super) is_over: bool,
}

impl<DB: Engine, S: Sink<DB>> Sink<DB> for OfFirst<'_, S> {
    fn begin(&mut self) {
        self.sink.begin();
    }

    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>> {
        if self.is_over {
            return None;
        }
        self.is_over = step.is_left();
        self.sink.keep(step)
    }

    async fn hand_on(&mut self, step: Item<DB>) {
        self.sink.hand_on(step).await;
    }

    fn is_handed_on(&self) -> bool {
        self.sink.is_handed_on()
    }
}

/// The place in which a step lies until whoever reads the stream has taken it.
type Slot<DB> = Arc<Mutex<Option<Item<DB>>>>;

/// Hands an answer on step by step, and goes on when the step is taken.
pub(super) struct Streamed<DB: Engine> {
    slot: Slot<DB>,
    handed_on: bool,
}

impl<DB: Engine> Sink<DB> for Streamed<DB> {
    fn begin(&mut self) {}

    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>> {
        Some(step)
    }

    async fn hand_on(&mut self, step: Item<DB>) {
        self.handed_on = true;
        put(&self.slot, Some(step));
        // Nobody has to be woken: what takes the step is what polls this.
        poll_fn(|_| if is_empty(&self.slot) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn streams(&self) -> bool {
        true
    }

    fn is_handed_on(&self) -> bool {
        self.handed_on
    }
}

/// All steps, to be handed on when the exchange is over and accounted for.
pub(super) struct Items<DB: Engine>(pub(super) Vec<Item<DB>>);

impl<DB: Engine> Sink<DB> for Items<DB> {
    fn begin(&mut self) {
        self.0.clear();
    }

    fn keep(&mut self, step: Item<DB>) -> Option<Item<DB>> {
        self.0.push(step);
        None
    }
}

/// The stream of what `run` hands over. It runs while the stream is polled.
pub(super) fn stream<DB, F>(run: impl FnOnce(Streamed<DB>) -> F) -> impl Stream<Item = Result<Item<DB>, Error>>
where
    DB: Engine,
    F: Future<Output = Result<(), Error>>,
{
    let slot = Slot::<DB>::default();
    let mut run = Some(Box::pin(run(Streamed { slot: Arc::clone(&slot), handed_on: false })));
    stream_of(move |context| {
        let Some(running) = &mut run else { return Poll::Ready(None) };
        let polled = running.as_mut().poll(context);
        if let Some(step) = put(&slot, None) {
            return Poll::Ready(Some(Ok(step)));
        }
        let ended = task::ready!(polled);
        run = None;
        Poll::Ready(ended.err().map(Err))
    })
}

fn put<T>(slot: &Mutex<Option<T>>, step: Option<T>) -> Option<T> {
    std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), step)
}

fn is_empty<T>(slot: &Mutex<Option<T>>) -> bool {
    slot.lock().unwrap_or_else(PoisonError::into_inner).is_none()
}
