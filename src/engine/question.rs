//! What this crate asks a server on its own account. A server that has been taken over may answer without end: no answer
//! keeps the thread, and none is kept beyond what a question can have.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, Error};
use tokio::task::coop::consume_budget;

use super::driver::{Item, Steps};
use super::{Driver, without_panic};

/// More rows than a question of this crate's has are no answer.
pub(super) const MOST_ROWS: usize = 100;

/// So many statements of a text may end in one turn of the task.
const MOST_ENDS: u32 = 64;

/// An answer that is read step by step. What the driver has in its buffer is there at once, however much it is: without a share
/// of the runtime's budget an answer without end would keep every timer of the thread from firing.
pub(crate) struct Answer<'c, DB: Driver> {
    steps: Steps<'c, DB>,
    /// The next step is paid for with a share.
    owes: bool,
    ends: u32,
}

impl<'c, DB: Driver> Answer<'c, DB> {
    pub(crate) fn of(steps: Steps<'c, DB>) -> Self {
        Self { steps, owes: false, ends: 0 }
    }

    /// The next step.
    ///
    /// Rows are paid for. The first poll is not: it gives the driver what is to be sent, so that a future that is dropped after it
    /// has sent that, however busy its task was; the account of a savepoint's end depends on it. Nor is the one after a
    /// statement's end, for dropped there MySQL's driver would wait for that end once more (sqlx 0.9.0).
    pub(crate) async fn next(&mut self) -> Result<Option<Item<DB>>, Error> {
        if std::mem::take(&mut self.owes) {
            consume_budget().await;
        }
        let step = self.steps.try_next().await?;
        self.owes = match &step {
            Some(Either::Right(_)) => true,
            Some(Either::Left(_)) => {
                self.ends = (self.ends + 1) % MOST_ENDS;
                self.ends == 0
            }
            None => false,
        };
        Ok(step)
    }
}

/// The rows of all statements of a text.
pub(super) async fn rows<D: Driver>(conn: &mut D::Connection, text: impl Into<String>) -> Result<Vec<D::Row>, Error> {
    let mut answer = Answer::<D>::of(D::start(conn, sqlx::raw_sql(AssertSqlSafe(text.into()))));
    let mut rows = Vec::new();
    while let Some(step) = answer.next().await? {
        if let Some(row) = step.right() {
            keep(&mut rows, row)?;
        }
    }
    Ok(rows)
}

/// The first of them.
pub(super) async fn row<D: Driver>(conn: &mut D::Connection, text: impl Into<String>) -> Result<D::Row, Error> {
    rows::<D>(conn, text).await?.into_iter().next().ok_or(Error::RowNotFound)
}

/// Runs a text, and drops whatever rows it has.
pub(super) fn run<D: Driver>(conn: &mut D::Connection, text: String) -> impl Future<Output = Result<(), Error>> + Send {
    without_panic(async move {
        let mut answer = Answer::<D>::of(D::start(conn, sqlx::raw_sql(AssertSqlSafe(text))));
        while answer.next().await?.is_some() {}
        Ok(())
    })
}

/// Keeps a row, if there may be so many.
fn keep<R>(rows: &mut Vec<R>, row: R) -> Result<(), Error> {
    if rows.len() == MOST_ROWS {
        return Err(Error::Protocol("a question was answered with rows without end".to_owned()));
    }
    rows.push(row);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_rows_are_kept_than_a_question_can_have() {
        let mut rows = Vec::new();
        for row in 0..MOST_ROWS {
            keep(&mut rows, row).unwrap();
        }
        assert!(keep(&mut rows, MOST_ROWS).is_err());
        assert_eq!(rows.len(), MOST_ROWS);
        // With the server's own row, and with whom it follows.
        assert!(super::super::survey::most_sightings!().parse::<usize>().unwrap() + 2 < MOST_ROWS);
    }
}
