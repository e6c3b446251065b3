//! Servers among each other.

use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::{Error, MySql};

use super::{liveness, occupancy, survey};
use crate::engine::{Cluster, Flavour, OwnLimits, Survey, without_panic};
use crate::occupancy::Occupancy;

impl Cluster for MySql {
    async fn survey(conn: &mut MySqlConnection, flavour: Flavour) -> Result<Survey, Error> {
        without_panic(survey::survey(conn, flavour)).await
    }

    async fn occupancy(conn: &mut MySqlConnection, own: OwnLimits) -> Result<(Occupancy, OwnLimits), Error> {
        without_panic(occupancy::occupancy(conn)).await.map(|occupancy| (occupancy, own))
    }

    async fn await_promotion(conn: &mut MySqlConnection, bound: Duration) -> Result<bool, Error> {
        without_panic(survey::await_promotion(conn, bound)).await
    }

    async fn check_liveness(at: std::net::SocketAddr) -> std::io::Result<()> {
        liveness::check_liveness(at).await
    }
}
