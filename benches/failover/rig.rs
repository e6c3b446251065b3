//! A writer and a replica, of either engine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use crate::application::Contestant;
use crate::support::cluster::{Cluster, Imitation};
use crate::support::mariadb_cluster::MariaDbCluster;

pub(crate) enum Rig {
    Postgres(Cluster),
    /// It tells of its members by the table of a Multi-AZ DB cluster; Aurora's cannot be imitated there.
    MariaDb(MariaDbCluster),
}

/// The same for both.
macro_rules! either {
    ($rig:expr, $cluster:ident => $does:expr) => {
        match $rig {
            Rig::Postgres($cluster) => $does,
            Rig::MariaDb($cluster) => $does,
        }
    };
}

impl Rig {
    pub(crate) async fn set(contestant: Contestant, addresses_vary: bool) -> Self {
        let rig = if contestant == Contestant::OursOnMariaDb {
            // The table would tell of the addresses that a case has put others before.
            let imitation = if addresses_vary { Imitation::Nothing } else { Imitation::MultiAz };
            Self::MariaDb(MariaDbCluster::start(imitation, 1).await)
        } else {
            Self::Postgres(Cluster::start(Imitation::Aurora, 1).await)
        };
        match &rig {
            Self::Postgres(cluster) => {
                let table = "create table ledger (at timestamptz default clock_timestamp()); \
                             grant all on ledger to app, plain";
                cluster.node(0).execute(table).await;
            }
            Self::MariaDb(cluster) => {
                let table = "create table app.ledger (at timestamp(6) default current_timestamp(6))";
                cluster.node(0).execute(table).await;
                cluster.wait_until_follows(1, 0).await;
            }
        }
        rig
    }

    pub(crate) fn host(&self) -> &'static str {
        either!(self, cluster => cluster.node(0).host())
    }

    pub(crate) fn ca_pem(&self) -> &[u8] {
        either!(self, cluster => cluster.ca_pem())
    }

    pub(crate) fn instances(&self) -> Vec<(String, String, u16)> {
        either!(self, cluster => cluster.instances())
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, either!(self, cluster => cluster.node(node).port())).into()
    }

    pub(crate) async fn kill(&self) {
        either!(self, cluster => cluster.node(0).kill().await);
    }

    pub(crate) fn suspend(&self) {
        either!(self, cluster => cluster.node(0).suspend());
    }

    pub(crate) async fn cut_sessions(&self) {
        either!(self, cluster => cluster.node(1).terminate_sessions("app").await);
    }

    /// When the replica first took a write.
    pub(crate) async fn promote(&self) -> Instant {
        either!(self, cluster => cluster.promote(1).await)
    }
}
