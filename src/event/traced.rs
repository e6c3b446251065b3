//! Events in the application's log.

use std::time::Duration;

use super::{Event, Observer};

/// The observer that is always there: events as `tracing` events of the target `lambda_rds`, with a message and fields.
///
/// Levels: what needs a person is `warn`, what explains a slow invocation is `info`, the rest is `debug`.
#[derive(Debug)]
pub(crate) struct TracingObserver;

/// A length of time as logs are queried for it.
fn ms(length: &Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

macro_rules! log {
    ($level:ident, $message:literal, $($fields:tt)+) => {
        tracing::$level!(target: "lambda_rds", $($fields)+, $message)
    };
}

impl Observer for TracingObserver {
    fn observe(&self, event: &Event) {
        match event {
            Event::ConnectFailed { error, elapsed } => log!(warn, "a connect failed", %error, elapsed_ms = ms(elapsed)),
            Event::CredentialsKept { error, age } => {
                log!(warn, "the source of the credentials failed, and those at hand stay in use",
                    %error, age_ms = ms(age));
            }
            Event::CredentialsRefused { error, refused } => {
                log!(warn, "the database refused the credentials", %error, refused);
            }
            Event::CancelFailed { error } => log!(warn, "a dropped statement could not be cancelled", %error),
            Event::ClaimIgnored { host, claim } => {
                log!(warn, "a server named what nobody vouches for, and it is ignored", %host, %claim);
            }
            Event::LookFailed { host, error } => {
                log!(warn, "a server could not be asked for its neighbours", %host, %error);
            }
            Event::Outgrown { max_connections, seen } => {
                log!(warn, "the server admits fewer sessions than the environments may open together",
                    max_connections, %seen);
            }
            Event::UpkeepCutShort { bound } => log!(warn, "the upkeep did not end in time", bound_ms = ms(bound)),
            Event::Connected { host, elapsed } => log!(info, "a connection is open", %host, elapsed_ms = ms(elapsed)),
            Event::SlowStatement { statement, elapsed, waited, settled, answered } => {
                log!(info, "a statement was slow", %statement, elapsed_ms = ms(elapsed),
                    waited_ms = ms(waited), settled_ms = ms(settled), answered_ms = ms(answered));
            }
            Event::Suspected { host, error } => log!(info, "something speaks against the writer", %host, %error),
            Event::WriterFound { host, moved, epoch, elapsed } => {
                log!(info, "the writer is known", %host, moved, epoch, elapsed_ms = ms(elapsed));
            }
            Event::Refused { error, pause } => {
                log!(info, "the server takes no connection now, and is tried again", %error, pause_ms = ms(pause));
            }
            Event::CredentialsFetched { source, elapsed } => {
                log!(info, "credentials were fetched", %source, elapsed_ms = ms(elapsed));
            }
            Event::Discarded { why, error } => log!(info, "a connection was closed", ?why, error = error.as_deref()),
            Event::Pinned { reason } => log!(info, "a session is pinned", cause = ?reason.cause(), statement = %reason),
            Event::SocketsUnreachable { error } => log!(info, "the driver's sockets are out of reach", %error),
            Event::WatchGivenUp { cluster, problem, error } => {
                log!(info, "the RDS API is not asked for the members any more",
                    %cluster, %problem, %error);
            }
            Event::Validated { idle, elapsed } => {
                log!(debug, "an idle connection has answered", idle_ms = ms(idle), elapsed_ms = ms(elapsed));
            }
            Event::Recovered { elapsed } => log!(debug, "a connection was brought to rest", elapsed_ms = ms(elapsed)),
            Event::Thawed { frozen } => log!(debug, "the environment was frozen", frozen_ms = ms(frozen)),
            Event::Unpinned { held } => log!(debug, "a session is pinned no longer", held_ms = ms(held)),
            Event::UpkeepDone { status } => {
                log!(trace, "the upkeep is done", connections = status.connections, leased = status.leased);
            }
        }
    }
}
