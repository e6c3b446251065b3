//! What is prepared on a connection, and what its driver has learnt of types, beside what other sessions have prepared and taught.

use sqlx::{Either, Error as Cause, SqlStr};

use super::borrow::Borrow;
use super::connection::Connection;
use super::core::Intent;
use super::query::Query;
use crate::connector::Spelling;
use crate::deadline::{TimeToCancel, time_to_cancel};
use crate::engine::{Bound, Engine, next_of};
use crate::error::{Error, Phase};
use crate::pin::shorten;
use crate::random;

/// The types of its values that something prepared has, or how many there are.
pub(super) type Parameters<'a, DB> = Option<Either<&'a [<DB as sqlx::Database>::TypeInfo], usize>>;

impl<DB: Engine> Connection<DB> {
    /// An exchange in which the driver prepares a text for these types, and executes nothing: no text pins by it. `parameters`:
    /// what types it has come to have.
    pub(super) async fn prepare_here<T>(
        &mut self,
        sql: SqlStr,
        given: Option<Bound>,
        prepare: impl AsyncFnOnce(&mut DB::Connection, SqlStr) -> Result<T, Cause>,
        parameters: impl Fn(&T) -> Parameters<'_, DB>,
    ) -> Result<T, Cause> {
        let pooled = self.connector().pools_transactions();
        let given = given.filter(|_| !pooled && sql.as_str().contains('$'));
        let mut borrow = self.borrow(Phase::Statement, &mut Intent::none()).await?;
        let (failover, wire) = borrow.apart();
        let known = &mut wire.carried.prepared;
        if given.as_ref().is_some_and(|given| !given.names.is_empty()) {
            // The driver looks them up.
            known.doubt_names();
        }
        let spelled = match given.as_ref().map(|given| known.for_types(sql.as_str(), given)) {
            Some(Spelling::As(text)) => Query::<DB>::text(text),
            Some(Spelling::AsItIs) | None => sql,
        };
        wire.out_of_step = DB::RULES.prepares_ahead;
        let prepare = prepare(&mut wire.driver, spelled.clone());
        let mut prepared = failover.attend_until(time_to_cancel(), wire.peer.as_deref(), prepare).await;
        // Where its end was not waited for, it is still on its way.
        wire.out_of_step &= prepared.as_ref().is_err_and(TimeToCancel::is_behind);
        if let (Some(given), Ok(prepared)) = (&given, &prepared)
            && let Some(Either::Left(types)) = parameters(prepared)
            && let Some(own) = DB::prepared_for(types)
        {
            wire.carried.prepared.was_prepared(spelled.as_str(), given, &own);
        }
        if pooled && prepared.is_ok() {
            prepared = borrow.forget_names().await.and(prepared);
        }
        borrow.flight.set_sent(false);
        borrow.concluded(prepared).await
    }
}

impl<DB: Engine> Borrow<'_, DB> {
    /// The query with a text of its own, where what is prepared for its text on this connection is for values of other types.
    pub(super) fn spelled(&mut self, query: &Query<DB>) -> Option<Query<DB>> {
        if !self.wire().prepares_for_types {
            return None;
        }
        let bound = query.bound()?;
        if bound.types.is_none() && DB::RULES.prepares_ahead {
            // Kept without a text of its own it would be found by the next one.
            return Some(Query { persistent: false, ..query.clone() });
        }
        match self.wire().carried.prepared.for_values(query.sql.as_str(), bound, query.persistent) {
            Spelling::AsItIs => None,
            Spelling::As(text) => Some(query.clone().reworded(text)),
        }
    }

    /// Sees to it that the driver binds the query's values as what the names of their types mean to this session. It keeps the
    /// first type of a name that it has met anywhere; so the server is asked once, where another session has had the
    /// connection.
    pub(super) async fn understand(&mut self, query: &Query<DB>) -> Result<(), Error> {
        // In an aborted transaction the server refuses the question as it does the statement.
        if !self.wire().prepares_for_types || self.session.state.is_aborted() {
            return Ok(());
        }
        let Some(bound) = query.bound() else { return Ok(()) };
        let carried = &mut self.wire().carried;
        let shared = carried.was_shared();
        if bound.types.is_none() && shared && !DB::RULES.prepares_ahead {
            return Err(self.refuse_names(query));
        }
        let names = carried.prepared.unconfirmed(bound);
        if names.is_empty() {
            return Ok(());
        }
        if !shared {
            carried.prepared.bound(bound, false);
            return Ok(());
        }
        // A text that nobody can have prepared before.
        let text = format!("{} /* {:016x} */", DB::asks_for_names(&names), random::generator().u64(..));
        let asked = Query { persistent: false, ..query.clone().reworded(text) };
        let deadline = self.deadline()?;
        let answered = self.until(deadline, async |wire| {
            let mut steps = DB::start(&mut wire.driver, asked);
            let mut confirmed = false;
            loop {
                match next_of(&mut steps).await {
                    Ok(Some(step)) => confirmed |= step.right().is_some_and(|row| DB::are_confirmed(&row)),
                    Ok(None) => return Ok(Ok(confirmed)),
                    Err(error) if DB::diagnose(&error).is_of_statement() => return Ok(Err(error)),
                    Err(error) => return Err(error),
                }
            }
        });
        match answered.await? {
            Ok(true) => {
                self.session.interrupted = false;
                self.wire().carried.prepared.bound(bound, true);
                Ok(())
            }
            Ok(false) => Err(self.refuse_names(query)),
            // A value that is none of its type, perhaps for want of the right one: in a transaction that is the end of it.
            Err(error) if !self.session.state.is_free() => {
                self.session.interrupted = false;
                self.wire().carried.mix();
                Err(self.fail(error, Some(query)))
            }
            Err(_) => Err(self.refuse_names(query)),
        }
    }

    /// What its driver has learnt, it does not forget: the connection serves nobody any more. A session that nothing binds to
    /// it gets another one.
    fn refuse_names(&mut self, query: &Query<DB>) -> Error {
        self.wire().carried.mix();
        self.session.refused_connection = self.session.state.is_free();
        self.session.may_succeed_again = true;
        self.session.interrupted = false;
        self.rest();
        Error::Refused {
            statement: shorten(query.sql.as_str()),
            why: "binds a value whose type has a name that the connection's driver has learnt for another type",
            cure: "run the transaction again: its next connection is a new one",
            source: None,
        }
    }
}
