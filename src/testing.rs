//! For the tests of applications: error paths on request, and what a proxy did. The database is a real one, and nothing on it has to be
//! stopped: the faults are made in this crate.
//!
//! ```no_run
//! use lambda_rds::testing::{Fault, Faults, Recorder};
//! use lambda_rds::{Event, Outcome, PgProxy};
//!
//! # async fn example() -> Result<(), lambda_rds::Error> {
//! let (faults, recorder) = (Faults::new(), Recorder::new());
//! let proxy = PgProxy::builder().url("postgres://postgres:secret@localhost/postgres?sslmode=disable").faults(&faults).observer(recorder.clone()).build()?;
//! let mut conn = proxy.get_connection().await?;
//!
//! faults.next(Fault::CommitUnknown { executed: true });
//! let tx = conn.begin().await?;
//! let error = tx.commit().await.unwrap_err();
//! assert_eq!(error.outcome(), Outcome::Unknown);
//! recorder.assert_saw(1, |event| matches!(event, Event::Connected { .. }));
//! # Ok(()) }
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Event, Observer};

pub use crate::faults::{Fault, Faults};

/// An observer that remembers. Clones share what they remember: one goes to `observer(..)`, one is asked.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that has happened, in order.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// How many events are such.
    pub fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|event| is(event)).count()
    }

    /// That so many events are such.
    ///
    /// # Panics
    /// There are more or fewer. All that were seen are in the message.
    #[track_caller]
    pub fn assert_saw(&self, times: usize, is: impl Fn(&Event) -> bool) {
        let events = self.events();
        let seen = events.iter().filter(|event| is(event)).count();
        assert!(seen == times, "{seen} such events in the place of {times}, among these: {events:#?}");
    }

    /// Forgets all of it, so that what comes now is counted alone.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn observe(&self, event: &Event) {
        self.lock().push(event.clone());
    }
}
