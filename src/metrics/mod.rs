//! Metrics: for CloudWatch by the Embedded Metric Format, a line of JSON on stdout, no call, no agent ([`Emf`]); or for whatever
//! recorder the application has installed behind the [`metrics`](https://docs.rs/metrics) facade (`Facade`, feature
//! `metrics-facade`).
//!
//! The names are RDS Proxy's (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html>), where there
//! is such a thing here, and means what RDS Proxy means by it. RDS Proxy has no query metrics for PostgreSQL's extended
//! protocol, which is nearly all that sqlx speaks; here every statement passes through. What RDS Proxy does not have begins
//! with `LambdaRds`.
//!
//! | metric | unit | of the time since the last one |
//! |---|---|---|
//! | `DatabaseConnections`, `DatabaseConnectionsWithTLS`, `MaxDatabaseConnectionsAllowed` | Count | at this moment |
//! | `DatabaseConnectionsCurrentlyBorrowed`, `DatabaseConnectionsCurrentlySessionPinned` | Count | the most at a time |
//! | `DatabaseConnectionRequests`, `DatabaseConnectionRequestsWithTLS` | Count | connects, whether they succeeded or not |
//! | `DatabaseConnectionsSetupSucceeded`, `DatabaseConnectionsSetupFailed` | Count | of those |
//! | `DatabaseConnectionsBorrowRequests`, `DatabaseConnectionsBorrowRequestsAborted` | Count | waits for a connection, and those that ended without one |
//! | `DatabaseConnectionsBorrowLatency` | Microseconds | how long they took, where they ended with one |
//! | `AvailabilityPercentage` | Percent | the share of waits that ended with a connection |
//! | `QueryRequests`, `QueryRequestsTLS`, `QueryRequestsNoTLS` | Count | statements; a text of several is one |
//! | `QueryDatabaseResponseLatency` | Microseconds | from the moment when a statement had its connection to the end of its answer |
//! | `LambdaRdsSetupLatency` | Microseconds | a connect, from the credentials to the end of the set-up |
//! | `LambdaRdsReplays`, `LambdaRdsReruns` | Count | settings put on another connection; statements run again by themselves |
//! | `LambdaRdsPins` | Count | sessions that were pinned; the field `Pins` beside it has their causes |
//! | `LambdaRdsFailovers`, `LambdaRdsSuspicions` | Count | another writer was found; something spoke against the writer |
//! | `LambdaRdsRefused`, `LambdaRdsGivenBack` | Count | refusals of a full server that were waited out; connections given back for others |
//! | `LambdaRdsThaws`, `LambdaRdsRecovered`, `LambdaRdsCredentialsFetched` | Count | what the names say |
//!
//! Latencies are distributions, so that CloudWatch can tell percentiles. Counts of none, and distributions without a value,
//! are left out. RDS Proxy's metrics of its clients (`ClientConnections…`) have no meaning here: there is no connection
//! between the application and this crate. Nor is there a `…CurrentlyInTransaction`: at the end of an invocation there is none.
//!
//! Dimensions are `ProxyName`; `ProxyName, FunctionName`; `ProxyName, Target, TargetRole`. CloudWatch asks a price for each
//! metric in each of them; [`Emf::by_proxy_only`] has the first alone.

mod counts;
mod emf;
#[cfg(feature = "metrics-facade")]
mod facade;
#[cfg(feature = "metrics-facade")]
mod histogram;
mod line;
mod measured;
#[cfg(all(feature = "metrics-facade", feature = "otel"))]
mod otel;

pub use self::emf::Emf;
#[cfg(feature = "metrics-facade")]
pub use self::facade::Facade;

#[cfg(test)]
mod tests;
