//! One connection's exchanges with its server.

use std::future::{Future, ready};

use futures_core::stream::BoxStream;

use super::{Dialect, Dialled, Login, Target, TypeName, question};

/// So many dropped statements may have failed, one after the other, before somebody reads their answers.
pub(super) const MOST_LATE: usize = 64;

/// What a look for a transaction of unknown state has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is open, and healthy.
    Healthy,
    /// One is open, and aborted.
    Aborted,
    /// It is not there: something else has ended it, one way or the other.
    Nothing,
}

/// A step of an answer: the end of one statement of a text, or a row.
pub(crate) type Item<DB> = sqlx::Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>;

/// An answer, step by step.
pub(crate) type Steps<'c, DB> = BoxStream<'c, Result<Item<DB>, sqlx::Error>>;

/// What is done over one connection. Each exchange is one round trip, unless it says otherwise.
pub(crate) trait Driver: Dialect {
    /// One login.
    fn dial(login: &Login) -> impl Future<Output = Result<Dialled<Self::Connection>, sqlx::Error>> + Send;

    /// What the driver has to do before a statement that it prepares can be sent, in an exchange of its own. Dropped, it
    /// leaves the connection out of step. Refuses a wrong number of values. True: the statement is kept, and only its
    /// execution is left to do.
    fn prepare(
        conn: &mut Self::Connection,
        sql: sqlx::SqlStr,
        values: usize,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Ends when the driver has read what belongs to the answers that it has told, so that it sends at once what it is given. May
    /// be dropped and asked again.
    fn ready(_: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        ready(Ok(()))
    }

    /// Sends a query. Its answer is what the stream brings.
    fn start<'c>(conn: &'c mut Self::Connection, query: impl sqlx::Execute<'c, Self> + 'c) -> Steps<'c, Self>;

    /// Runs a text without parameters and drops its rows.
    fn run(conn: &mut Self::Connection, sql: String) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        question::run::<Self>(conn, sql)
    }

    /// Reads what is still on its way, and so proves that the connection answers. A statement's late error belongs to whoever
    /// dropped the statement: it is put into `late` as soon as it is read, because this future may be dropped as well.
    fn drain(
        conn: &mut Self::Connection,
        late: &mut Option<sqlx::Error>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The number that was generated last in the server's session, or zero. Not asked where the server
    /// [refuses](super::Rules::refuses_ungenerated).
    fn last_generated(conn: &mut Self::Connection) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Whether the driver keeps any statement that it has prepared.
    fn has_prepared(conn: &Self::Connection) -> bool;

    /// Forgets the statements that the driver has prepared.
    fn forget(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The server's number for this session, and since when: no other one has both. Asked where the name is not its own
    /// any more.
    fn number(conn: &mut Self::Connection) -> impl Future<Output = Result<Option<String>, sqlx::Error>> + Send;

    /// Cancels, over another connection of the same user, whatever a session is doing. False: there is no such session.
    fn cancel(side: &mut Self::Connection, target: &Target) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Whether a session waits for its client's next word: it has answered everything that it was asked. Over the
    /// connection that has cancelled what it was doing. Asked where the driver [loses its place](super::Rules::loses_its_place).
    fn is_idle(side: &mut Self::Connection, target: &Target) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// What the names of these types mean to the session now, as the server numbers types; `None` means nothing. Refused only
    /// for what cannot be read as a name at all.
    fn types_meant(
        _: &mut Self::Connection,
        _: &[TypeName],
    ) -> impl Future<Output = Result<Vec<Option<u32>>, sqlx::Error>> + Send {
        ready(Ok(Vec::new()))
    }

    /// What the driver takes the names for, as it binds them. Prepares something, and executes nothing.
    fn types_known(
        _: &mut Self::Connection,
        _: &[TypeName],
    ) -> impl Future<Output = Result<Vec<Option<u32>>, sqlx::Error>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Makes a connection that sessions have left their traces on as good as new. `keep`: what the driver has prepared
    /// is known to be whole, and stays.
    fn clean(conn: &mut Self::Connection, keep: bool) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Asks whether a transaction is open, and whether it is aborted. Changes nothing.
    fn probe(conn: &mut Self::Connection) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// Whether the transaction that is open is the one in which the sentinel was set with this mark. The sentinel may be gone then.
    fn find_marked(conn: &mut Self::Connection, mark: u64) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// Says goodbye.
    fn close(conn: Self::Connection) -> impl Future<Output = ()> + Send;
}
