//! A window into the classifiers, the topology and the invocation, for the crate's own tests and benches. No part of its
//! interface.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::Database;

use crate::clock::Clock;
use crate::engine::{Cluster as _, Engine, Survey};
use crate::event::{Events, Observer};
use crate::topology::{Address, Target, Topology};

pub use crate::engine::Flavour;
#[cfg(feature = "mysql")]
pub use crate::engine::mysql::inspect as mysql;
#[cfg(feature = "postgres")]
pub use crate::engine::postgres::inspect as postgres;

/// Work that an invocation waits for, which ends after so long.
pub async fn invocation<T>(left: Duration, work: impl Future<Output = T>) -> T {
    crate::deadline::INVOCATION.scope(tokio::time::Instant::now() + left, work).await
}

/// Reads a secret's text.
#[cfg(feature = "secrets-manager")]
pub fn secret(text: &str) -> Result<(), crate::error::CredentialsError> {
    crate::credentials::parse_secret("secret", text, "postgres").map(|_| ())
}

/// What a survey said, in one line: `writer`, or `reader`, the flavour, the own name, the members, the writer's with a
/// `*`.
pub async fn survey<C>(conn: &mut C, flavour: Flavour) -> Result<String, sqlx::Error>
where
    C: sqlx::Connection<Database: Engine + Database<Connection = C>>,
{
    Ok(line(&C::Database::survey(conn, flavour).await?))
}

/// As [`survey`], of Aurora MySQL, whose table and variable are called otherwise on the stage.
#[cfg(feature = "mysql")]
pub async fn survey_aurora(conn: &mut sqlx::MySqlConnection, status: &str, me: &str) -> Result<String, sqlx::Error> {
    use crate::engine::mysql::{Aurora, survey_as};
    Ok(line(&survey_as(conn, Flavour::Aurora, Aurora { status, me }).await?))
}

/// How many sessions a survey counted.
pub async fn sessions<C>(conn: &mut C) -> Result<Option<u32>, sqlx::Error>
where
    C: sqlx::Connection<Database: Engine + Database<Connection = C>>,
{
    Ok(C::Database::survey(conn, Flavour::Unknown).await?.sessions)
}

/// Whether the server is a writer, now or within the bound.
pub async fn await_promotion<C>(conn: &mut C, bound: Duration) -> Result<bool, sqlx::Error>
where
    C: sqlx::Connection<Database: Engine + Database<Connection = C>>,
{
    C::Database::await_promotion(conn, bound).await
}

/// A topology of its own.
#[derive(Debug)]
pub struct Map(Topology);

impl Map {
    /// Of these members, and what is learnt.
    pub fn new(instances: Vec<(String, String, u16)>, observer: impl Observer) -> Self {
        let target = Target { port: 5432, instances, watch_interval: Duration::from_millis(1), ..Target::default() };
        Self(Topology::new(target, Clock::system(), Events::new(vec![Box::new(observer)])))
    }

    /// With the RDS API as a source.
    #[cfg(feature = "rds-api")]
    pub fn watched(self, cluster: &str, aws: aws_config::SdkConfig) -> Self {
        Self(self.0.watched(Some(cluster), &crate::aws::Aws::given(aws)))
    }

    /// Surveys the server behind a URL; what changed.
    pub async fn learn<DB>(&self, host: &str, port: u16, url: &str) -> Result<String, sqlx::Error>
    where
        DB: Engine,
    {
        let mut conn = <DB::Connection as sqlx::Connection>::connect(url).await?;
        let survey = DB::survey(&mut conn, self.0.flavour()).await?;
        Ok(format!("{:?}", self.0.learn(&Address::new(host, port), &survey)))
    }

    /// The writer is in doubt.
    pub fn suspect(&self) {
        self.0.suspect();
    }

    /// One look at the RDS API when it may be asked; what came of it.
    #[cfg(feature = "rds-api")]
    pub async fn watch(&self, bound: Duration) -> String {
        format!("{:?}", self.0.watch(false, crate::deadline::Deadline::after(bound)).await)
    }

    /// The identifier of the writer, and whether it is proven.
    pub fn writer(&self) -> Option<(String, bool)> {
        self.0.writer().map(|writer| (writer.id.unwrap_or_else(|| writer.address.to_string()), writer.proven))
    }

    /// `id=host:port` of all members, in the order in which a hunt asks them.
    pub fn candidates(&self) -> Vec<String> {
        let members = self.0.candidates().members.into_iter();
        members.map(|member| format!("{}={}", member.id.unwrap_or_default(), member.address)).collect()
    }

    /// How often another writer was proven.
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }
}

fn line(survey: &Survey) -> String {
    let role = if survey.is_reader { "reader" } else { "writer" };
    let mut line = format!("{role} {:?}", survey.flavour);
    if let Some(me) = &survey.me {
        let _ = write!(line, " {me}");
    }
    for sighting in &survey.sightings {
        let mark = if sighting.writer { "*" } else { "" };
        let _ = write!(line, " {mark}{}", sighting.id);
        if let (Some(host), Some(port)) = (&sighting.host, sighting.port) {
            let _ = write!(line, "={host}:{port}");
        }
    }
    line
}
