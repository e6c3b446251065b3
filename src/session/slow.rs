//! Statements that took long, and where their time went.

use tokio::time::Instant;

use super::connection::Connection;
use crate::engine::Engine;
use crate::event::Event;
use crate::span::first_word;

impl<DB: Engine> Connection<DB> {
    /// Tells of a statement that has ended, if it took long. Of several attempts the last one counts as the server's time.
    pub(super) fn tell_if_slow(&self, sql: &str, begun: Instant) {
        // The clock was read when the answer came. A second reading is made only for a statement that failed.
        let end = self.milestones.answered.filter(|answered| *answered >= begun).unwrap_or_else(Instant::now);
        let elapsed = end - begun;
        if elapsed < self.connector().slow_statements() {
            return;
        }
        let leased = self.milestones.leased.filter(|leased| *leased >= begun).unwrap_or(end);
        let fit = self.milestones.fit.filter(|fit| *fit >= leased).unwrap_or(end);
        self.pool.events().emit(&Event::SlowStatement {
            statement: first_word(sql),
            elapsed,
            waited: leased - begun,
            settled: fit - leased,
            answered: end - fit,
        });
    }
}
