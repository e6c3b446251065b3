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
//!     lambda_runtime::run(service_fn(handler)).await
//! }
//! ```
//!
//! # The house
//! `lambda -> proxy -> session -> failover -> connector -> {pool, credentials, topology, tls} -> engine`; `config`,
//! `error`, `event`, `pin`, `clock`, `retry`, `redacted` and `aws` are leaves. Arrows never point up. The way of a
//! statement: `session` classifies its text -> `pool` lends a connection (fresh: at once; doubtful: validated; none:
//! `failover` knows the writer or searches for it, `connector` asks `credentials` and `tls`, and dials) -> the driver runs
//! it -> the connection goes home, clean, dirty or broken. Only on an error does `failover` speak again: a verdict, perhaps
//! a hunt, perhaps a second run.
//!
//! # Pull, don't push
//! A Lambda environment is frozen between invocations: timers stop, background tasks stop half way, the monotonic clock
//! may stand still. So nothing here depends on a task that runs later. Time is judged at the moment of use, by the wall
//! clock; upkeep happens before a lease, at the start of an invocation, and after its response; `Drop` never waits.
//!
//! # Every await is bounded
//! | what is awaited | ends after |
//! |---|---|
//! | a connection: queue, credentials, connect, validation | `borrow_timeout`, or `failover_timeout` while the writer is searched for; never past the invocation's deadline |
//! | one connect attempt, one request for credentials | `connect_timeout` |
//! | the validation of an idle connection, the recovery of one that was left in the middle of something | `validate_timeout`, with a replacement dialled beside it |
//! | a look at a server's role and neighbours | half a second |
//! | what a session sends by itself: settings, rollbacks, questions, prepared statements forgotten | `borrow_timeout` |
//! | upkeep after the response | half a second |
//! | a statement of the application, a commit | as long as its server is alive: a silent host is asked beside it from 250 ms on, and given up within about a second. How long a statement may run is the application's to say (`statement_timeout`, `max_execution_time`) |
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
//! | `metrics` | no | CloudWatch Embedded Metric Format |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "the seam between the engines is as wide as both of them need")
)]
#![cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    allow(
        unused_imports,
        unused_macros,
        reason = "each feature builds alone, and without an engine nothing has a user"
    )
)]

// The way in.
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "metrics")]
pub mod metrics;
mod proxy;

// What the application holds.
mod session;

// Physical connections.
mod connector;
pub mod credentials;
mod engine;
#[cfg(feature = "_inner")]
#[doc(hidden)]
#[allow(clippy::missing_errors_doc, reason = "no part of the interface")]
pub mod inner;
mod pool;
mod tls;
mod topology;

// Leaves: usable by all, using none of the above.
#[cfg(feature = "_aws")]
mod aws;
mod clock;
mod config;
pub mod error;
pub mod event;
mod failover;
#[cfg(any(feature = "secrets-manager", feature = "rds-api"))]
mod lapse;
mod occupancy;
mod panicked;
mod pin;
mod redacted;
mod retry;

pub use config::{ConfigError, Isolation, PinningFilter, Tls, VARIABLES};
pub use credentials::{Credentials, CredentialsError, CredentialsProvider};
pub use engine::Engine;
pub use error::{Error, Outcome};
pub use event::{Event, Observer};
pub use occupancy::Occupancy;
pub use pin::{PinCause, PinReason};
pub use proxy::{Proxy, ProxyBuilder, Status, get_connection, init, init_with, install};
pub use redacted::Redacted;
pub use session::{Connection, Transaction};

/// For the crate's own tests and benches.
#[cfg(all(feature = "mysql", feature = "_bench"))]
#[doc(hidden)]
pub use engine::mysql::inspect as inspect_mysql;
/// For the crate's own tests and benches.
#[cfg(all(feature = "postgres", feature = "_bench"))]
#[doc(hidden)]
pub use engine::postgres::inspect;
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
