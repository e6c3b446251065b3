//! What a proxy is told: plain values, their defaults with the reasons, and the one validation.
//!
//! A value set by hand wins over the same value in the URL. Nothing here does I/O, and nothing is guessed: a
//! contradiction is an error that names both sides.

mod check;
mod choices;
mod env;
mod error;
mod names;
mod pattern;
mod pem;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use crate::redacted::Redacted;

pub use self::choices::{Isolation, PinningFilter, Tls};
pub use self::error::ConfigError;
pub(crate) use self::names::{is_host, is_name};
use self::names::{is_identifier, is_path, is_secret_id};
pub use env::VARIABLES;
pub(crate) use pattern::HostPattern;
pub(crate) use pem::Pem;

/// Everything that can be set and is a plain value. `None` means "not said"; `resolve` turns it into the default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    pub(crate) url: Option<Redacted>,
    /// Of the environment at large: it counts only where nothing else says where the database is, for it may be about
    /// another one, whose password and TLS mode are not for this one.
    pub(crate) general_url: Option<Redacted>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) database: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Redacted>,
    pub(crate) secret: Option<String>,
    pub(crate) iam: bool,
    pub(crate) cluster: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) instance_host_pattern: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) ca_pem: Pem,
    pub(crate) add_ca_pem: Pem,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) via_proxy: Option<bool>,
    pub(crate) reader_fallback: bool,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) session_pinning: Option<PinningFilter>,
    pub(crate) init_query: Option<String>,
    pub(crate) log_statements: bool,
    pub(crate) application_name: Option<String>,
    pub(crate) statement_cache_capacity: Option<usize>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) borrow_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) validate_after: Option<Duration>,
    pub(crate) validate_timeout: Option<Duration>,
    pub(crate) idle_in_transaction_timeout: Option<Duration>,
    pub(crate) watch_interval: Option<Duration>,
    pub(crate) failover_timeout: Option<Duration>,
    pub(crate) slow_statements: Option<Duration>,
}

/// A member that the user vouches for: identifier, host, port.
pub(crate) type Instance = (String, String, u16);

/// Two on classic Lambda, where an environment serves one invocation at a time: one for the handler, and one so that a
/// second session beside an open transaction (an audit write, a `join!`) does not wait for itself.
const MAX_CONNECTIONS: usize = 2;
/// Long enough for a connect behind a busy server, short enough to answer within most functions' timeouts.
const BORROW_TIMEOUT: Duration = Duration::from_secs(10);
/// A connect within a region takes 5-50 ms; a lost SYN is repeated after 1 s and after 3 s
/// ([RFC 6298](https://www.rfc-editor.org/rfc/rfc6298)), and both repeats should fit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// RDS Proxy calls a connection idle after five minutes without activity, and NAT and load balancers forget a silent
/// flow after 350 s: <https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html>.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Bounds what a long-lived backend accumulates, and spreads a fleet over members that have come back.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// A connection that answered this recently is as good as validated: a round trip per lease would cost more than it finds.
const VALIDATE_AFTER: Duration = Duration::from_secs(1);
/// Far above any round trip within a region, far below what an invocation notices.
const VALIDATE_TIMEOUT: Duration = Duration::from_millis(250);
/// A transaction of a killed environment holds its locks until the server gives up on it.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// As often as AWS's own drivers look (`clusterTopologyRefreshRateMs`); what matters is learnt from the server in
/// between, and a large fleet looks less often (`topology::budget`).
const WATCH_INTERVAL: Duration = Duration::from_secs(30);
/// Aurora with a reader promises "under 60 seconds, often under 30", a Multi-AZ DB cluster under 35:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Concepts.AuroraHighAvailability.html>.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// As the driver's own log has it, whose entries are statements in full.
const SLOW_STATEMENTS: Duration = Duration::from_secs(1);
/// Lambda's own default is three seconds an invocation: within two a hiccup passes, and the error still gets out. The
/// standby of a Multi-AZ instance takes one to two minutes, and an invocation that waits for it is only billed for that:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.MultiAZ.Failover.html>.
const RESTART_TIMEOUT: Duration = Duration::from_secs(2);

impl Config {
    /// The one validation: takes the URL in, looks for contradictions. `scheme` is the engine's, as in its URLs.
    /// `host_may_follow`: whoever brings the credentials may bring the host too.
    pub(crate) fn resolve(mut self, schemes: &[&str], host_may_follow: bool) -> Result<Self, ConfigError> {
        if !self.says_where() && !host_may_follow {
            self.url = self.general_url.take();
        }
        if let Some(text) = self.url.take() {
            url::merge(&mut self, &text, schemes)?;
        }
        self.check_target(host_may_follow || self.secret.is_some())?;
        self.check_credentials()?;
        self.check_tls()?;
        self.check_members()?;
        self.check_names()?;
        self.check_values()?;
        Ok(self)
    }

    /// Nothing has said whether the target is a pooler, its name neither.
    pub(crate) fn may_be_pooler(&self) -> bool {
        self.via_proxy.is_none()
    }

    pub(crate) fn via_proxy(&self) -> bool {
        self.via_proxy.unwrap_or_default()
    }

    /// Whether anything says where the database is.
    fn says_where(&self) -> bool {
        let named = [&self.host, &self.cluster, &self.instance, &self.secret];
        self.url.is_some() || !self.instances.is_empty() || named.into_iter().any(Option::is_some)
    }

    /// As it may be printed: without the texts that hold secrets, by right or by mistake.
    pub(crate) fn shown(&self) -> Self {
        let unless = |name: &String, is_one: fn(&str) -> bool| {
            if is_one(name) { name.clone() } else { "<redacted>".to_owned() }
        };
        let member = |(id, host, port): &Instance| (unless(id, is_identifier), unless(host, is_host), *port);
        Self {
            host: self.host.as_ref().map(|host| unless(host, is_host)),
            secret: self.secret.as_ref().map(|id| unless(id, is_secret_id)),
            cluster: self.cluster.as_ref().map(|id| unless(id, is_identifier)),
            instance: self.instance.as_ref().map(|id| unless(id, is_identifier)),
            user: self.user.as_ref().map(|name| unless(name, is_name)),
            database: self.database.as_ref().map(|name| unless(name, is_name)),
            instances: self.instances.iter().map(member).collect(),
            instance_host_pattern: self
                .instance_host_pattern
                .as_ref()
                .map(|text| unless(text, |text| HostPattern::parse(text).is_some())),
            application_name: self.application_name.as_ref().map(|name| unless(name, is_name)),
            ca_file: self.ca_file.as_ref().map(|path| if is_path(path) { path.clone() } else { "<redacted>".into() }),
            init_query: self.init_query.as_ref().map(|query| format!("<{} bytes>", query.len())),
            ..self.clone()
        }
    }

    /// The options that say where credentials come from, as far as they are set.
    fn credentials_options(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            self.password.as_ref().map(|_| "password"),
            self.secret.as_ref().map(|_| "secret"),
            self.iam.then_some("iam"),
        ];
        given.into_iter().flatten()
    }

    pub(crate) fn credentials_option(&self) -> Option<&'static str> {
        self.credentials_options().next()
    }

    pub(crate) fn tls(&self) -> Tls {
        self.tls.unwrap_or_default()
    }

    pub(crate) fn pinning_filter(&self) -> PinningFilter {
        self.session_pinning.unwrap_or_default()
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation.unwrap_or_default()
    }

    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections.unwrap_or(MAX_CONNECTIONS)
    }

    pub(crate) fn borrow_timeout(&self) -> Duration {
        self.borrow_timeout.unwrap_or(BORROW_TIMEOUT)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(CONNECT_TIMEOUT)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout.unwrap_or(IDLE_TIMEOUT)
    }

    pub(crate) fn max_lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or(MAX_LIFETIME)
    }

    pub(crate) fn validate_after(&self) -> Duration {
        self.validate_after.unwrap_or(VALIDATE_AFTER)
    }

    pub(crate) fn validate_timeout(&self) -> Duration {
        self.validate_timeout.unwrap_or(VALIDATE_TIMEOUT)
    }

    pub(crate) fn idle_in_transaction_timeout(&self) -> Duration {
        self.idle_in_transaction_timeout.unwrap_or(IDLE_IN_TRANSACTION_TIMEOUT)
    }

    pub(crate) fn watch_interval(&self) -> Duration {
        self.watch_interval.unwrap_or(WATCH_INTERVAL)
    }

    pub(crate) fn failover_timeout(&self) -> Duration {
        self.failover_timeout.unwrap_or(FAILOVER_TIMEOUT)
    }

    pub(crate) fn slow_statements(&self) -> Duration {
        self.slow_statements.unwrap_or(SLOW_STATEMENTS)
    }

    /// As [`failover_timeout`](Self::failover_timeout), where there is nobody to fail over to.
    pub(crate) fn restart_timeout(&self) -> Duration {
        self.failover_timeout.unwrap_or(RESTART_TIMEOUT)
    }
}

#[cfg(test)]
mod tests;
