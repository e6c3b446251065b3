//! Servers among each other.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Error, Postgres};

use super::{liveness, occupancy, survey};
use crate::engine::{Cluster, Flavour, OwnLimits, Survey, without_panic};
use crate::occupancy::Occupancy;

impl Cluster for Postgres {
    async fn survey(conn: &mut PgConnection, flavour: Flavour) -> Result<Survey, Error> {
        without_panic(survey::survey(conn, flavour)).await
    }

    async fn occupancy(conn: &mut PgConnection, own: OwnLimits) -> Result<(Occupancy, OwnLimits), Error> {
        without_panic(occupancy::occupancy(conn, own)).await
    }

    async fn await_promotion(conn: &mut PgConnection, bound: Duration) -> Result<bool, Error> {
        without_panic(survey::await_promotion(conn, bound)).await
    }

    async fn check_liveness(at: std::net::SocketAddr) -> std::io::Result<()> {
        liveness::check_liveness(at).await
    }
}
