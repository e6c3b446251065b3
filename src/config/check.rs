//! What a configuration has to be like. All of it is checked when a proxy is built, and nothing later.

use std::time::Duration;

use super::names::{is_host, is_identifier, is_name, is_path, is_secret_id};
use super::{Config, ConfigError, HostPattern, Tls};

/// What a span that somebody waits for is at the most: far longer than any invocation.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a span that a connection lasts is at the most: enough to say "always", and no clock overflows.
const LONGEST_REST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// No server takes more.
const MOST_CONNECTIONS: usize = 10_000;

impl Config {
    pub(super) fn check_target(&self, host_may_follow: bool) -> Result<(), ConfigError> {
        if self.host.as_deref().is_some_and(|host| !is_host(host)) {
            let problem = "must be a host name, without scheme, user, port or path";
            return Err(ConfigError::Value { option: "host", problem });
        }
        let named = [
            self.host.as_ref().map(|_| "host"),
            self.cluster.as_ref().map(|_| "cluster"),
            self.instance.as_ref().map(|_| "instance"),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(first), Some(second)) => Err(ConfigError::Conflict { first, second }),
            (None, _) if !host_may_follow && self.instances.is_empty() => {
                Err(if self.iam || self.user.is_some() || self.password.is_some() {
                    ConfigError::NoHost
                } else {
                    ConfigError::NothingConfigured
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_credentials(&self) -> Result<(), ConfigError> {
        let mut given = self.credentials_options();
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(ConfigError::Conflict { first, second });
        }
        if self.user.is_some() && self.secret.is_some() {
            // The secret's user goes with its password, and changes where a rotation alternates between two.
            return Err(ConfigError::Conflict { first: "user", second: "secret" });
        }
        if self.secret.as_deref().is_some_and(|id| !is_secret_id(id)) {
            // It would be sent to AWS as the secret's name, and stand in CloudTrail.
            let problem = "must be a secret's name or ARN, and not its text";
            return Err(ConfigError::Value { option: "secret", problem });
        }
        if self.iam && self.user.is_none() {
            return Err(ConfigError::NoUser);
        }
        Ok(())
    }

    pub(super) fn check_tls(&self) -> Result<(), ConfigError> {
        let weaker = match self.tls() {
            Tls::VerifyFull => return Ok(()),
            Tls::VerifyCa => {
                return Err(ConfigError::Value {
                    option: "tls",
                    problem: "cannot be verify-ca: the driver trusts the public authorities besides your own, so that \
                              anybody's certificate would pass; use verify-full, with a name that the certificate is for",
                });
            }
            Tls::Require => "Tls::Require",
            Tls::Disable => "Tls::Disable",
        };
        if self.iam {
            // Whoever answered could log in with the token for a quarter of an hour; and without TLS RDS refuses it:
            // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
            return Err(ConfigError::Conflict { first: "iam", second: weaker });
        }
        Ok(())
    }

    /// What would be shown in errors and events, and sent to AWS or to the server, is what it is said to be.
    pub(super) fn check_names(&self) -> Result<(), ConfigError> {
        let identifier = "must be an identifier or an ARN of RDS";
        let name = "must be a name, of letters, digits, blanks and _-.@$#+\\~: a URL, a connection string or a secret's text is none";
        for (option, text, is, problem) in [
            ("cluster", &self.cluster, is_identifier as fn(&str) -> bool, identifier),
            ("instance", &self.instance, is_identifier, identifier),
            ("user", &self.user, is_name, name),
            ("database", &self.database, is_name, name),
        ] {
            if text.as_deref().is_some_and(|text| !is(text)) {
                return Err(ConfigError::Value { option, problem });
            }
        }
        if self.ca_file.as_deref().is_some_and(|path| !is_path(path)) {
            return Err(ConfigError::Value {
                option: "ca_file",
                problem: "must be the path of a file, of letters, digits, blanks and /._-~+, in it: certificates themselves are for ca_pem",
            });
        }
        Ok(())
    }

    pub(super) fn check_members(&self) -> Result<(), ConfigError> {
        let pattern = self.instance_host_pattern.as_deref();
        let members = [pattern.map(|_| "instance_host_pattern"), (!self.instances.is_empty()).then_some("instances")];
        if self.via_proxy()
            && let Some(second) = members.into_iter().flatten().next()
        {
            // Behind a pooler there is one endpoint, and which member it leads to is the pooler's affair.
            return Err(ConfigError::Conflict { first: "via_proxy", second });
        }
        if pattern.is_some_and(|text| HostPattern::parse(text).is_none()) {
            let problem = "must be a host name with one '?' in the identifier's place, and perhaps a port";
            return Err(ConfigError::Value { option: "instance_host_pattern", problem });
        }
        for (n, (id, host, port)) in self.instances.iter().enumerate() {
            if !is_identifier(id) || !is_host(host) || *port == 0 {
                return Err(ConfigError::Value {
                    option: "instances",
                    problem: "need an identifier, a host and a port",
                });
            }
            if self.instances[..n].iter().any(|(other, ..)| other.eq_ignore_ascii_case(id)) {
                return Err(ConfigError::Value { option: "instances", problem: "must have different identifiers" });
            }
        }
        Ok(())
    }

    pub(super) fn check_values(&self) -> Result<(), ConfigError> {
        let (waits, rests) = ((LONGEST_WAIT, "must be at most 24 h"), (LONGEST_REST, "must be at most 365 days"));
        let spans = [
            ("borrow_timeout", self.borrow_timeout, waits),
            ("connect_timeout", self.connect_timeout, waits),
            ("validate_timeout", self.validate_timeout, waits),
            ("failover_timeout", self.failover_timeout, waits),
            ("idle_timeout", self.idle_timeout, rests),
            ("max_lifetime", self.max_lifetime, rests),
            ("validate_after", self.validate_after, rests),
            ("idle_in_transaction_timeout", self.idle_in_transaction_timeout, rests),
            ("watch_interval", self.watch_interval, rests),
            ("slow_statements", self.slow_statements, rests),
        ];
        for (option, span, (longest, problem)) in spans {
            // Zero for these means: always.
            if span.is_some_and(|span| span.is_zero()) && !["validate_after", "slow_statements"].contains(&option) {
                return Err(ConfigError::Value { option, problem: "must be longer than zero" });
            }
            if span.is_some_and(|span| span > longest) {
                return Err(ConfigError::Value { option, problem });
            }
        }
        if self.max_connections.is_some_and(|limit| !(1..=MOST_CONNECTIONS).contains(&limit)) {
            return Err(ConfigError::Value { option: "max_connections", problem: "must be from 1 to 10,000" });
        }
        if self.statement_cache_capacity == Some(0) {
            // sqlx would leak a named statement on the server with every query (sqlx #4328).
            return Err(ConfigError::Value { option: "statement-cache-capacity", problem: "must be at least 1" });
        }
        Ok(())
    }
}
