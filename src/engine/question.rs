//! What this crate asks a server on its own account. A server that has been taken over may answer without end: no answer
//! keeps the thread, and none is kept beyond what a question can have.

use futures_core::stream::BoxStream;
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Error};
use tokio::task::coop::consume_budget;

use super::{Driver, without_panic};

/// More rows than a question of this crate's has are no answer.
pub(super) const MOST_ROWS: usize = 100;

/// The next step of an answer. What the driver has in its buffer is there at once, however much it is: without a share of
/// the runtime's budget an answer without end would keep every timer of the thread from firing.
pub(crate) async fn next_of<T>(steps: &mut BoxStream<'_, Result<T, Error>>) -> Result<Option<T>, Error> {
    consume_budget().await;
    steps.try_next().await
}

/// The rows of all statements of a text.
pub(super) async fn rows<D: Driver>(conn: &mut D::Connection, text: impl Into<String>) -> Result<Vec<D::Row>, Error> {
    let mut steps = D::start(conn, sqlx::raw_sql(AssertSqlSafe(text.into())));
    let mut rows = Vec::new();
    while let Some(step) = next_of(&mut steps).await? {
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
        let mut steps = D::start(conn, sqlx::raw_sql(AssertSqlSafe(text)));
        while next_of(&mut steps).await?.is_some() {}
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
