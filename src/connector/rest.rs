//! Brings a connection to rest: what a dropped statement left on it is read, what sessions left is taken away.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::{Connector, Wire};
use crate::engine::{Engine, Settings};
use crate::error::{Error, chain};
use crate::event::Event;
use crate::pin::Soil;
use crate::topology::Address;

/// A dropped statement gets this long to end by itself: a cancel takes a connect, and that is not worth it for less.
const PATIENCE: Duration = Duration::from_millis(30);

impl<DB: Engine> Connector<DB> {
    /// Brings a connection to rest and takes off what sessions have left on it.
    pub(crate) async fn restore(&self, wire: &mut Wire<DB>) -> Result<(), Error> {
        let restored = async {
            // A late error belongs to a statement that nobody waits for any more.
            let _late: Option<sqlx::Error> = self.come_to_rest(wire).await?;
            if let Some(before) = wire.open.clone() {
                DB::run(&mut wire.driver, "ROLLBACK".to_owned()).await?;
                // A commit may have been on its way: whether the settings are the old ones or the new is not known.
                if !DB::ROLLBACK_RESETS {
                    // They are what they were.
                } else if self.is_forgetful() {
                    // Taken back before any commit.
                    wire.applied = before;
                } else if wire.applied != before {
                    wire.soil = wire.soil.max(Soil::Traces);
                }
                wire.open = None;
            }
            if wire.soil == Soil::Indelible || wire.soil != Soil::None && self.is_strict() {
                return Err(sqlx::Error::Protocol("what was left on the connection cannot be taken away".to_owned()));
            }
            if wire.soil != Soil::None {
                // A sqlx transaction was forgotten, not dropped. Nothing brings the driver's count down again, and the
                // next one's `begin` would be a savepoint in nothing.
                if sqlx::Connection::is_in_transaction(&wire.driver) {
                    return Err(sqlx::Error::Protocol("the driver still counts a transaction".to_owned()));
                }
                self.clean(wire).await?;
            }
            wire.unrest = None;
            Ok(())
        };
        restored.await.map_err(Error::Database)
    }

    /// Brings a connection on which a statement was dropped to rest: reads what comes, and cancels the statement on the
    /// server when that takes long. Returns the statement's late error. Bounded by the caller.
    pub(crate) async fn come_to_rest(&self, wire: &mut Wire<DB>) -> Result<Option<sqlx::Error>, sqlx::Error> {
        wire.exchanges += 1;
        if wire.out_of_step {
            // Only what the server does can be ended; what it answers, nobody would understand.
            self.cancel(wire.at.clone(), wire.name.clone(), &AtomicBool::new(false)).await;
            return Err(sqlx::Error::Protocol("a statement was dropped while the driver prepared it".to_owned()));
        }
        if let Ok(drained) = timeout(PATIENCE, DB::drain(&mut wire.driver)).await {
            return drained;
        }
        // Without an answer the drain goes on; its bound is the caller's.
        let sent = AtomicBool::new(false);
        let drained = {
            let cancel = Box::pin(self.cancel(wire.at.clone(), wire.name.clone(), &sent));
            let drain = DB::drain(&mut wire.driver);
            match select(pin!(drain), cancel).await {
                // A cancel that is on its way would hit whatever comes next.
                Either::Left((drained, cancel)) if sent.load(Ordering::Relaxed) => {
                    cancel.await;
                    drained?
                }
                Either::Left((drained, _)) => return drained,
                Either::Right(((), drain)) => return drain.await,
            }
        };
        let later = DB::drain(&mut wire.driver).await?;
        Ok(drained.or(later))
    }

    /// Cancels over a connection of its own, which may be one more than `max_connections` for a moment. What fails
    /// here shows in the drain that waits beside it.
    async fn cancel(&self, at: Address, name: String, sent: &AtomicBool) {
        if self.config.via_proxy {
            // A pooler in between has sessions of its own.
            return;
        }
        let Ok(mut side) = self.log_in_beside(at.host, at.port).await else { return };
        sent.store(true, Ordering::Relaxed);
        let cancelled = DB::cancel(&mut side.driver, &name).await;
        if let Err(error) = cancelled {
            self.events.emit(&Event::CancelFailed { error: chain(&error) });
        }
        self.close(side).await;
    }

    /// Makes a connection at rest as good as new.
    pub(crate) async fn clean(&self, wire: &mut Wire<DB>) -> Result<(), sqlx::Error> {
        // A clean that is dropped half way asks for no less than it was.
        let soil = wire.soil;
        wire.soil = soil.max(Soil::Unknown);
        DB::clean(&mut wire.driver, soil == Soil::Traces && !(wire.forgetful && DB::CLEANS)).await?;
        wire.memory.cleaned();
        if DB::CLEANS {
            wire.forgetful = false;
            if let Some(query) = &self.config.init_query {
                DB::run(&mut wire.driver, query.clone()).await?;
                wire.memory.touched();
            }
            // Otherwise they are there as before.
            wire.applied = Settings::default();
        }
        (wire.hands, wire.session) = (0, 0);
        wire.soil = Soil::None;
        Ok(())
    }
}
