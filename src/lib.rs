//! Amazon RDS Proxy's job inside an AWS Lambda function, over [sqlx].
//!
//! ```no_run
//! use lambda_rds::{Postgres, get_connection};
//! use lambda_runtime::{LambdaEvent, service_fn};
//!
//! async fn handler(event: LambdaEvent<String>) -> Result<i64, lambda_rds::Error> {
//!     let mut conn = get_connection::<Postgres>().await?;
//!     let id = sqlx::query_scalar("insert into orders (item) values ($1) returning id")
//!         .bind(&event.payload)
//!         .fetch_one(&mut conn)
//!         .await?;
//!     Ok(id)
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), lambda_runtime::Error> {
//!     lambda_runtime::tracing::init_default_subscriber();
//!     lambda_rds::init::<Postgres>().await?;
//!     lambda_rds::lambda::run(service_fn(handler)).await
//! }
//! ```
//!
//! Variables say where the database is and with what to log in: `LAMBDA_RDS_URL`, or `LAMBDA_RDS_HOST` with
//! `LAMBDA_RDS_SECRET` or `LAMBDA_RDS_IAM`. [`guide::configuration`] has them all, and [`guide`] the other pages: from a pool or
//! from RDS Proxy to this, how many connections, deployment, rotation, tenants, what sharing changes, errors.
//!
//! # What one does with it
//! ```no_run
//! # use lambda_rds::{Connection, Error, Postgres, get_reader};
//! # async fn example(conn: &mut Connection<Postgres>) -> Result<(), Error> {
//! // A transaction. It is rolled back where it is dropped.
//! let mut tx = conn.begin().await?;
//! sqlx::query("update stock set n = n - 1 where item = $1").bind("tea").execute(&mut *tx).await?;
//! // Where the answer is lost the error's `outcome()` is `Outcome::Unknown`: the server may have committed. How such work is done
//! // again safely is in `examples/idempotent.rs`.
//! tx.commit().await?;
//!
//! // A question that a reader of the cluster may answer.
//! let mut reader = get_reader::<Postgres>().await?;
//! let n: i64 = sqlx::query_scalar("select count(*) from orders").fetch_one(&mut reader).await?;
//!
//! // The physical connection, for what is more than statements. It is this session's alone from here on.
//! let mut copy = conn.pin().await?.copy_in_raw("copy orders (item) from stdin").await?;
//! copy.send("tea\n".as_bytes()).await?;
//! copy.finish().await?;
//! # Ok(()) }
//! ```
//!
//! # Where to begin
//! * [`get_connection`] is what a handler calls; [`init`] in `main` pays for the first connection before the first event;
//!   [`lambda::run`] does the work around each invocation.
//! * [`Connection`] is the session that it returns, an executor of sqlx's; [`Connection::begin`] begins a [`Transaction`],
//!   [`Proxy::transaction`] one that is run again after a failover.
//! * [`ProxyBuilder`] configures in code, [`VARIABLES`] lists what the environment may say.
//! * [`Error::outcome`] tells what the database did with the statement that failed, [`Error::is_retryable`] whether to try again.
//! * [`PinReason`] says why a session keeps its physical connection; every [`Event`] goes to `tracing`, under the target
//!   `lambda_rds`, and to an [`Observer`].
//! * [`architecture`] is the map for those who read the code.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `postgres` | yes | PostgreSQL and Aurora PostgreSQL |
//! | `mysql` | no | MySQL, MariaDB and Aurora MySQL |
//! | `secrets-manager` | yes | credentials from AWS Secrets Manager |
//! | `iam` | yes | IAM database authentication |
//! | `rds-api` | yes | a cluster's or instance's endpoint by its identifier, and its members |
//! | `lambda` | yes | the layer, the shutdown hook, the invocation's deadline |
//! | `http` | no | `lambda::run_http` for services of HTTP requests, such as axum's router |
//! | `metrics` | no | CloudWatch Embedded Metric Format |
//! | `metrics-facade` | no | the same numbers for the recorder behind the `metrics` crate |
//! | `otel` | no | spans in OpenTelemetry's words for database clients |
//! | `testing` | no | faults and a recorder, for the tests of applications |
//! | `migrate` | no | `Connection::migrate` for `sqlx::migrate!` |
//! | `sea-orm` | no | [`sea_orm`]: SeaORM 2 on a [`Proxy`] |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    allow(
        dead_code,
        unused_imports,
        unused_macros,
        reason = "each feature builds alone, and without an engine nothing has a user"
    )
)]

#[doc = include_str!("ARCHITECTURE.md")]
pub mod architecture {}
pub mod guide;

// The map. A room uses rooms of the floors below its own, and no others: `tests/map.rs` reads it here and keeps it true.

// What a Lambda function meets.
#[cfg(feature = "_internals")]
#[doc(hidden)]
#[allow(clippy::missing_errors_doc, reason = "no part of the interface")]
pub mod internals;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "sea-orm")]
pub mod sea_orm;
#[cfg(feature = "testing")]
pub mod testing;

// The handle that stays alive across invocations, and the only place where all parts are put together.
mod proxy;

// What the application holds.
mod session;

// Which server is the writer, and what an error means for the work in hand.
mod failover;

// How a physical connection comes about, and what it carries.
mod connector;

// Who lends connections, who logs in, who the members are: none of them knows the others.
pub mod credentials;
mod pool;
mod topology;

// All that differs between databases, and what happens told.
#[cfg_attr(
    not(all(feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "the seam between the engines is as wide as both of them need")
)]
mod engine;
pub mod event;
mod span;
mod tls;

// What can go wrong.
pub mod error;

// Leaves' first users.
mod config;
// Each of the three uses a part of it.
#[cfg(any(feature = "secrets-manager", feature = "rds-api", feature = "iam"))]
#[cfg_attr(not(all(feature = "secrets-manager", feature = "rds-api")), allow(dead_code))]
mod remembered_failure;
mod status;

// Leaves.
#[cfg(feature = "_aws")]
mod aws;
mod backoff;
mod clock;
mod deadline;
#[cfg(feature = "testing")]
mod faults;
mod occupancy;
mod panicked;
mod pin;
mod random;
mod redacted;
mod usage;

pub use config::{ConfigError, Isolation, PinningFilter, Tls, VARIABLES};
pub use credentials::{Credentials, CredentialsError, CredentialsProvider};
pub use engine::Engine;
pub use error::{Error, Outcome};
pub use event::{Event, Observer};
pub use occupancy::Occupancy;
pub use pin::{PinCause, PinReason};
pub use proxy::{Proxy, ProxyBuilder, Report, get_connection, get_reader, init, init_with, install};
pub use redacted::Redacted;
pub use session::{Connection, Transaction};
pub use status::Status;
pub use usage::{Distribution, Usage};

#[cfg(feature = "mysql")]
pub use proxy::MySqlProxy;
#[cfg(feature = "postgres")]
pub use proxy::PgProxy;
/// MySQL, as sqlx names it.
#[cfg(feature = "mysql")]
pub use sqlx::MySql;
/// PostgreSQL, as sqlx names it.
#[cfg(feature = "postgres")]
pub use sqlx::Postgres;
