//! The watch on the members: by SQL on a connection at hand, and by the RDS API when it is this environment's turn. At known
//! moments only, and never with somebody waiting for it.

use super::Failover;
use crate::connector::Wire;
use crate::deadline::Deadline;
use crate::engine::Engine;
#[cfg(feature = "rds-api")]
use crate::topology::{Address, Change};

impl<DB: Engine> Failover<DB> {
    /// Offers the RDS API its turn, and counts the fleet for it where there is a connection to count on. Whether that is at
    /// rest afterwards: what a look finds shows in the topology; that it failed, in the connection's next check.
    pub(crate) async fn watch(&self, wire: Option<&mut Wire<DB>>, deadline: Deadline) -> bool {
        let Some(wire) = wire else {
            self.consult(false, deadline).await;
            return true;
        };
        let mut rests = true;
        if self.is_due(wire.looked) {
            rests = self.look(wire).await.is_ok();
        }
        if self.consult(true, deadline).await == Consulted::CountFirst {
            rests = rests && self.look(wire).await.is_ok();
            self.consult(false, deadline).await;
        }
        rests
    }

    #[cfg(feature = "rds-api")]
    pub(super) async fn consult(&self, can_count: bool, deadline: Deadline) -> Consulted {
        use crate::topology::Watched;
        let heard = self.topology.watch(can_count, deadline).await;
        if matches!(heard, Watched::CountFirst) {
            return Consulted::CountFirst;
        }
        if matches!(heard, Watched::Heard(Change::Doubt)) && !self.belief.is_in_doubt() {
            let at = self.topology.writer().map(|writer| writer.address);
            let unknown = || Address::new("the writer", 0);
            self.doubt(&at.unwrap_or_else(unknown), "the RDS API names another writer");
        }
        Consulted::Done
    }

    #[cfg(not(feature = "rds-api"))]
    #[expect(clippy::unused_async, reason = "there is nobody to ask without the API")]
    pub(super) async fn consult(&self, _: bool, _: Deadline) -> Consulted {
        Consulted::Done
    }
}

/// What became of the RDS API's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consulted {
    /// It was asked, or it was not its turn.
    Done,
    /// The fleet has to be counted before it is asked.
    #[cfg_attr(not(feature = "rds-api"), allow(dead_code, reason = "there is nobody to ask without the API"))]
    CountFirst,
}
