//! What the pool asks of the way to a server: a connection to the right one, and whether one that it has still is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Failover, changed_role};
use crate::clock::Moment;
use crate::connector::Wire;
use crate::engine::{Engine, OwnLimits};
use crate::error::{ConnectionLimit, Error, chain};
use crate::event::Event;
use crate::occupancy::Occupancy;
use crate::pool::{Attempt, Connect, Peek, Standing};

impl<DB: Engine> Connect for Failover<DB> {
    type Conn = Wire<DB>;

    async fn connect(&self, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let connected = match &self.readers {
            Some(readers) => self.connect_reader(readers, attempt).await,
            None => self.connect_writer(attempt).await,
        };
        if let Err(Error::TooManyConnections { limit: ConnectionLimit::Role | ConnectionLimit::Database, .. }) =
            connected
        {
            // It may have had none when it was asked about last.
            *self.own_limits() = OwnLimits::Unknown;
        }
        connected
    }

    fn standing(&self, wire: &Wire<DB>) -> Standing {
        self.belief.standing(wire.proof)
    }

    fn patience(&self) -> Option<Duration> {
        (self.searching.load(Ordering::Relaxed) > 0).then_some(self.spans.failover)
    }

    fn obstacle(&self, waited: Duration) -> Option<Error> {
        let searches = self.searching.load(Ordering::Relaxed) + self.persisting.load(Ordering::Relaxed) > 0;
        searches.then(|| Error::NoWriter { elapsed: waited, answers: self.heard().clone() })
    }

    fn peek(&self, wire: &Wire<DB>) -> Peek {
        self.connector.peek(wire)
    }

    async fn restore(&self, wire: &mut Wire<DB>) -> Result<(), Error> {
        self.connector.restore(wire).await?;
        let doubtful = self.belief.is_doubtful(wire.proof);
        if wire.stands_in && doubtful {
            return Err(Error::Database(sqlx::Error::Protocol("the writer stood in for a reader".to_owned())));
        }
        if self.has_roles() && !wire.stands_in && (doubtful || self.is_due(wire.looked)) {
            let told = self.look(wire).await?;
            if told != self.wanted() {
                return Err(changed_role(&wire.at, told));
            }
            self.proven(wire);
        }
        Ok(())
    }

    fn give_up(&self, wire: &mut Wire<DB>) {
        self.connector.give_up(wire);
    }

    async fn occupancy(&self, wire: &mut Wire<DB>) -> Result<Option<Occupancy>, Error> {
        // Behind a pooler, what the server has room for is the pooler's affair.
        if self.connector.via_proxy() {
            return Ok(None);
        }
        wire.carried.exchange();
        let own = *self.own_limits();
        match DB::occupancy(&mut wire.driver, own).await {
            Ok((occupancy, own)) => {
                *self.own_limits() = own;
                Ok(Some(occupancy))
            }
            Err(error) if is_answer::<DB>(&error) => {
                self.events.emit(&Event::LookFailed { host: wire.at.to_string(), error: chain(&error) });
                Ok(None)
            }
            Err(error) => Err(Error::Database(error)),
        }
    }

    async fn set_idle_term(&self, wire: &mut Wire<DB>, term: Duration, used: Moment) -> Result<(), Error> {
        self.connector.set_idle_term(wire, term, used).await.map_err(Error::Database)
    }

    async fn settled(&self) {
        tokio::join!(self.connector.settled(), self.monitor.leave());
    }

    async fn close(&self, wire: Wire<DB>) {
        self.connector.close(wire).await;
    }
}

/// The server has answered, if not with what was asked for.
fn is_answer<DB: Engine>(error: &sqlx::Error) -> bool {
    DB::diagnose(error).is_of_statement() || matches!(error, sqlx::Error::ColumnNotFound(_) | sqlx::Error::RowNotFound)
}
