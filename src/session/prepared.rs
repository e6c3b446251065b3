//! What is prepared on a connection, and what its driver has learnt of types, beside what other sessions have prepared and taught.

use sqlx::{Either, Error as Cause, SqlStr};

use super::borrow::Borrow;
use super::connection::Connection;
use super::core::Intent;
use super::query::Query;
use crate::connector::Spelling;
use crate::deadline::{TimeToCancel, time_to_cancel};
use crate::engine::{Bound, Diagnosis, Engine, TypeName};
use crate::error::{Error, Phase};
use crate::pin::shorten;

/// Which types the driver takes some names for.
enum DriverTypes {
    Known(Vec<Option<u32>>),
    /// There is no type of such a name on the server either.
    Missing,
    /// The server refuses the question, for instance for a type that is gone.
    Refused,
}

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
        let has_parameters = sql.as_str().contains(DB::RULES.parameter);
        let given = given.filter(|given| !pooled && (has_parameters || Some(given) != DB::prepared_for(&[]).as_ref()));
        let text = sql.clone();
        let mut intent = Intent { sql: text.as_str(), ..Intent::none() };
        let mut borrow = self.borrow(Phase::Statement, &mut intent).await?;
        let (failover, wire) = borrow.connected();
        let known = &mut wire.carried.prepared;
        if let Some(given) = &given {
            // The driver looks them up.
            known.look_up(&given.names);
        }
        let spelled = match given.as_ref().map(|given| known.for_types(sql.as_str(), given, has_parameters)) {
            Some(Spelling::As(text)) => Query::<DB>::text(text),
            Some(Spelling::AsItIs) | None => sql,
        };
        wire.out_of_step = DB::RULES.prepares_ahead;
        let prepare = prepare(&mut wire.driver, spelled.clone());
        let mut prepared = failover.attend_until(time_to_cancel(wire.login), wire.peer.as_deref(), prepare).await;
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
        let has_parameters = query.may_have_parameters();
        match self.wire().carried.prepared.for_values(query.sql.as_str(), bound, has_parameters, query.persistent) {
            Spelling::AsItIs => None,
            Spelling::As(text) => Some(query.clone().reworded(text)),
        }
    }

    /// Sees to it that the driver binds the query's values as what the names of their types mean to this session. It keeps the
    /// first type of a name that it has met anywhere; so the server is asked once, where another session has had the
    /// connection. No value goes with the question, for the checks of a type may be anybody's.
    pub(super) async fn understand(&mut self, query: &Query<DB>) -> Result<(), Error> {
        // In an aborted transaction the server refuses the question as it does the statement.
        if !self.wire().prepares_for_types || self.session.state.is_aborted() {
            return Ok(());
        }
        let Some(bound) = query.bound() else { return Ok(()) };
        let carried = &mut self.wire().carried;
        let (shared, known) = (carried.was_shared(), &mut carried.prepared);
        if bound.hides_names && shared && !DB::RULES.prepares_ahead {
            return Err(self.refuse_names(query));
        }
        let names = known.unconfirmed(bound);
        if names.is_empty() {
            return Ok(());
        }
        known.look_up(&names);
        if !shared {
            return Ok(());
        }
        let untaken = known.untaken(&names);
        let deadline = self.deadline()?;
        let meant = self.until(deadline, async |wire| match DB::types_meant(&mut wire.driver, &names).await {
            Err(error) if DB::diagnose(&error).is_of_statement() => Ok(Err(error)),
            meant => meant.map(Ok),
        });
        let meant = match meant.await? {
            Ok(meant) => meant,
            // The text is not a type's name at all. The driver's own question would be refused in the same way.
            Err(error) => return Err(self.fail(error, Some(query))),
        };
        let is_answered = untaken.is_empty() || self.learn_names(&untaken).await?;
        let known = &mut self.wire().carried.prepared;
        // A type that neither the driver nor the server knows makes the statement itself fail, with the server's own error.
        if !is_answered || known.confirm(&names, &meant) { Ok(()) } else { Err(self.refuse_names(query)) }
    }

    /// Asks the driver which types it takes these names for. Returns `false` if there is no such type on the server either.
    async fn learn_names(&mut self, names: &[TypeName]) -> Result<bool, Error> {
        // Behind a pooler the server may have something prepared under the driver's next name; the one after it is free.
        const TRIES: usize = 2;
        for _ in 0..TRIES {
            match self.ask_driver_for_types(names).await? {
                DriverTypes::Known(types) => {
                    self.wire().carried.prepared.took(names, &types);
                    break;
                }
                DriverTypes::Missing => return Ok(false),
                DriverTypes::Refused => {}
            }
        }
        if self.session.connector().pools_transactions() {
            // The name of what was prepared is not for whoever gets the server's connection next.
            let forgotten = self.forget_names().await;
            forgotten.map_err(|error| self.lose(error))?;
        }
        Ok(true)
    }

    /// One try. In a transaction within a savepoint, for what the server refuses would abort it.
    async fn ask_driver_for_types(&mut self, names: &[TypeName]) -> Result<DriverTypes, Error> {
        let deadline = self.deadline()?;
        let inside = self.session.state.depth() > 0;
        if inside && self.send(deadline, "SAVEPOINT lambda_rds_names".to_owned()).await?.is_some() {
            return Ok(DriverTypes::Refused);
        }
        let answer = self.until(deadline, async |wire| match DB::types_known(&mut wire.driver, names).await {
            Err(Cause::TypeNotFound { .. }) => Ok(DriverTypes::Missing),
            Err(error) if DB::diagnose(&error).is_of_statement() || DB::diagnose(&error) == Diagnosis::StalePlan => {
                Ok(DriverTypes::Refused)
            }
            types => types.map(DriverTypes::Known),
        });
        let answer = answer.await?;
        if inside {
            let back = match &answer {
                DriverTypes::Known(_) => "",
                DriverTypes::Missing | DriverTypes::Refused => "ROLLBACK TO SAVEPOINT lambda_rds_names; ",
            };
            self.send(deadline, format!("{back}RELEASE SAVEPOINT lambda_rds_names")).await?;
        }
        Ok(answer)
    }

    /// What its driver has learnt, it does not forget: the connection serves nobody any more. A session that nothing binds to
    /// it gets another one.
    fn refuse_names(&mut self, query: &Query<DB>) -> Error {
        self.wire().carried.mix();
        self.session.may_succeed_again = true;
        if self.session.state.is_free()
            && let Some(mut lease) = self.session.lease.take()
        {
            lease.broke();
            self.session.refused_connection = true;
        }
        self.done = true;
        Error::Refused {
            statement: shorten(query.sql.as_str()),
            why: "binds a value whose type has a name that the connection's driver has learnt for another type",
            cure: "run the transaction again: its next connection is a new one",
            source: None,
        }
    }
}
