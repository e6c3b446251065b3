//! The end of a transaction through a pooler, which gives the server's connection to somebody else with it: nothing that the
//! session has set is left there.
//!
//! Why not before the commit? What fires at it sees what the session has set, as it would without a pooler. So it is taken back
//! behind it, in the same text and in a transaction of its own, which keeps the server's connection: where taking back fails,
//! that connection is closed, and given to nobody.

use sqlx::Error;
use tokio::time::Instant;

use super::answer::{OfFirst, Sink};
use super::borrow::Borrow;
use super::query::Query;
use crate::deadline::TimeToCancel;
use crate::engine::{Engine, Settings};

impl<DB: Engine> Borrow<'_, DB> {
    /// Before the end of a transaction through a pooler: the names that the driver has given to questions of its own are taken
    /// away, while they are still in reach. Whoever gets the server's connection next does not find them.
    pub(super) async fn tidy(&mut self) -> Result<(), crate::error::Error> {
        if !self.session.connector().pools_transactions() {
            return Ok(());
        }
        let deadline = self.deadline()?;
        // Nothing is sent where there are none.
        self.until(deadline, async |wire| DB::forget(&mut wire.driver).await).await
    }

    /// A commit, and behind it what takes the settings back. `chain`: the next transaction begins with it.
    pub(super) fn and_hand_over(&mut self, commit: String, chain: bool) -> String {
        if !self.session.connector().pools_transactions() {
            return commit;
        }
        let wire = self.wire();
        let taken_back = DB::replay(wire.carried.settings(), &Settings::default(), &wire.login_defaults);
        let Some(taken_back) = taken_back else { return commit };
        wire.carried.hand_over();
        // The application's text may end with a remark.
        if chain {
            format!("{commit}\n; {taken_back}; COMMIT AND CHAIN")
        } else {
            format!("{commit}\n; BEGIN; {taken_back}; COMMIT")
        }
    }

    /// Reads what such a text is answered. As soon as the commit is done it is a success, whatever comes after it.
    pub(super) async fn read_handing_over<S: Sink<DB>>(
        &mut self,
        query: &Query<DB>,
        sink: &mut S,
        alarm: Option<Instant>,
    ) -> Result<(), Error> {
        let mut first = OfFirst { sink, is_over: false };
        let read = self.read_all(query, &mut first, alarm).await;
        let is_committed = first.is_over;
        match read {
            Ok(()) => self.wire().carried.handed_over(),
            Err(_) if is_committed => {
                if let Some(lease) = &mut self.session.lease {
                    lease.broke();
                }
            }
            // Still under way: whoever reads on sees what becomes of it.
            Err(error) if TimeToCancel::is_behind(&error) => return Err(error),
            Err(error) => {
                self.wire().carried.kept();
                return Err(error);
            }
        }
        Ok(())
    }
}
