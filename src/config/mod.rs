//! What a proxy is told: plain values, their defaults with the reasons, and the one validation.
//!
//! A value set by hand wins over the same value in the URL. Nothing here does I/O, and nothing is guessed: a
//! contradiction is an error that names both sides.

mod env;
mod names;
mod pattern;
mod pem;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use crate::redacted::Redacted;

pub(crate) use self::names::{is_host, is_name};
use self::names::{is_identifier, is_path, is_secret_id};

pub use env::VARIABLES;
pub(crate) use pattern::HostPattern;
pub(crate) use pem::Pem;

/// How a connection is protected, from strongest to none. `prefer` and `allow` are no choice: they fall back to plain text
/// without a word.
///
/// # What holds
/// The certificate's chain must lead to one of the roots of [`ca_pem`](crate::ProxyBuilder::ca_pem), or else of RDS, **or to
/// a public authority**: the driver (sqlx 0.9) brings about 120 of those (webpki-roots) and cannot be told to leave them
/// out. With [`VerifyFull`](Self::VerifyFull) that leaves one hole: a certificate that a public authority has issued for
/// exactly the host's name. For the names of RDS itself (`….rds.amazonaws.com`) only AWS gets one.
///
/// Cargo's features unify: an application that turns on `tls-native-tls` or `tls-rustls-ring-native-roots` in its own sqlx
/// gets this machine's roots in the place of those public ones, here too.
///
/// Nobody asks whether a certificate was revoked, and no login is bound to its TLS session (`channel_binding`): the
/// certificate is the only proof. A host that has it can ask for the password itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Tls {
    /// Encrypted; the certificate must be from a trusted authority and for the host's name. Default, because anything
    /// weaker lets whoever sits in between read the password.
    #[default]
    VerifyFull,
    /// Encrypted; the certificate must be from an authority of one's own, its name is not looked at. **Refused** by
    /// [`build`](crate::ProxyBuilder::build): it would mean something only if that authority were the only one, and with
    /// sqlx 0.9 none can be. Anybody's certificate from a public authority, free for any name, would pass. libpq refuses
    /// public roots without `verify-full` for the same reason. Take [`VerifyFull`](Self::VerifyFull), with a name that the
    /// certificate is for.
    VerifyCa,
    /// Encrypted; anybody's certificate is accepted. Keeps out who listens, not who sits in between: that one gets the
    /// password. IAM tokens are not sent so.
    Require,
    /// Plain text. Whoever answers, or listens, gets the data, and on MySQL the password for the asking: a server's first
    /// packet can demand it in clear. IAM tokens are not sent so.
    Disable,
}

/// How far sessions are kept apart on the connections they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// By what their statements say. Default: it costs nothing, and is right for all state that a statement names.
    #[default]
    ByStatement,
    /// A connection serves one session and is closed after it: for state that hides inside functions and procedures, where
    /// no text shows it. No statement takes all of that back; PostgreSQL's `DISCARD ALL` leaves the seed of `random()`,
    /// sessions with other servers (`dblink`, `postgres_fdw`) and what interpreters and libraries keep. Costs a connect
    /// for each session.
    Strict,
}

/// Which statements do not pin although what they leave behind cannot be followed. Named after RDS Proxy's setting:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PinningFilter {
    /// None: whatever cannot be followed pins. Default, because a session then keeps all that it has set.
    #[default]
    None,
    /// Statements that set a variable whose name or value their text does not tell, as `set_config($1, $2, false)` or
    /// `SET NAMES`. The variable holds until the end of the transaction or statement; then the connection is cleaned, so
    /// that no other session sees it, and the session has lost it. Settings whose text tells all are kept either way.
    ExcludeVariableSets,
}

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
/// between, and a large fleet looks less often (`topology::economy`).
const WATCH_INTERVAL: Duration = Duration::from_secs(30);
/// Aurora with a reader promises "under 60 seconds, often under 30", a Multi-AZ DB cluster under 35:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Concepts.AuroraHighAvailability.html>.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// Lambda's own default is three seconds an invocation: within two a hiccup passes, and the error still gets out. The
/// standby of a Multi-AZ instance takes one to two minutes, and an invocation that waits for it is only billed for that:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.MultiAZ.Failover.html>.
const RESTART_TIMEOUT: Duration = Duration::from_secs(2);

/// What a span that somebody waits for is at the most: far longer than any invocation.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// What a span that a connection lasts is at the most: enough to say "always", and no clock overflows.
const LONGEST_REST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// No server takes more.
const MOST_CONNECTIONS: usize = 10_000;

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

    fn check_target(&self, host_may_follow: bool) -> Result<(), ConfigError> {
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

    fn check_credentials(&self) -> Result<(), ConfigError> {
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

    fn check_tls(&self) -> Result<(), ConfigError> {
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
    fn check_names(&self) -> Result<(), ConfigError> {
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
            return Err(ConfigError::Value { option: "ca_file", problem: "must be the path of a file, and no URL" });
        }
        Ok(())
    }

    fn check_members(&self) -> Result<(), ConfigError> {
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

    fn check_values(&self) -> Result<(), ConfigError> {
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
        ];
        for (option, span, (longest, problem)) in spans {
            // Zero for this one means: validate always.
            if span.is_some_and(|span| span.is_zero()) && option != "validate_after" {
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

    /// As [`failover_timeout`](Self::failover_timeout), where there is nobody to fail over to.
    pub(crate) fn restart_timeout(&self) -> Duration {
        self.failover_timeout.unwrap_or(RESTART_TIMEOUT)
    }
}

/// What is wrong with a configuration. Texts name the variable or option and the form expected; values are shown only
/// where they cannot be secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nothing says which database to connect to.
    #[error(
        "no database is configured: set LAMBDA_RDS_URL (or DATABASE_URL), or LAMBDA_RDS_HOST with LAMBDA_RDS_SECRET, LAMBDA_RDS_IAM or LAMBDA_RDS_PASSWORD; in code, url() or host() on the builder"
    )]
    NothingConfigured,

    /// There is a user or there are credentials, and no host.
    #[error(
        "no host is configured: set LAMBDA_RDS_HOST, a URL, LAMBDA_RDS_CLUSTER, LAMBDA_RDS_INSTANCE or LAMBDA_RDS_INSTANCES, or use a secret that holds one"
    )]
    NoHost,

    /// IAM authentication needs to know the database user.
    #[error("no user is configured: IAM tokens are made for one database user; set LAMBDA_RDS_USER or the URL's user")]
    NoUser,

    /// A URL that cannot be understood. Its text is not shown: it may hold a password.
    #[error(
        "the database URL is malformed: {problem}; expected {scheme}://user[:password]@host[:port]/database, with special characters percent-encoded"
    )]
    Url {
        /// What is wrong with it.
        problem: String,
        /// The scheme expected.
        scheme: String,
    },

    /// A parameter in the URL's query that is not known, or whose value is not.
    #[error("the database URL's parameter {parameter}={value} is not understood; expected {expected}")]
    UrlParameter {
        /// The parameter's name.
        parameter: String,
        /// Its value.
        value: String,
        /// What would be understood.
        expected: &'static str,
    },

    /// An environment variable with a value that is not understood.
    #[error("{name}={value} is not understood; expected {expected}")]
    Variable {
        /// The variable's name.
        name: String,
        /// Its value, or a placeholder where it may be a secret.
        value: String,
        /// The form expected.
        expected: &'static str,
    },

    /// A `LAMBDA_RDS_*` variable that does not exist. Ignoring a misspelt one would be a silent guess.
    #[error("{name} is not a variable of lambda-rds; {hint}")]
    UnknownVariable {
        /// The variable's name.
        name: String,
        /// The nearest one that exists.
        hint: String,
    },

    /// Two settings that exclude each other.
    #[error("{first} and {second} are both configured and exclude each other; leave one out")]
    Conflict {
        /// The one.
        first: &'static str,
        /// The other.
        second: &'static str,
    },

    /// A setting outside its range.
    #[error("{option} {problem}")]
    Value {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A client certificate was asked for, or its key.
    #[error(
        "{name} asks for a client certificate, and lambda-rds has none to show; leave it out, and log in with a password, a secret or IAM"
    )]
    ClientCertificate {
        /// The URL's parameter, or the environment variable.
        name: String,
    },

    /// A variable of the driver's own is set, which would reach into every login unseen.
    #[error("{name} is set, and the driver would obey it at each login, unseen; remove it, {cure}")]
    DriverVariable {
        /// The variable's name.
        name: &'static str,
        /// What to do instead.
        cure: &'static str,
    },

    /// The file with root certificates cannot be read.
    #[error("the root certificates in {path} cannot be used; check LAMBDA_RDS_CA_FILE or sslrootcert")]
    CaFile {
        /// The path.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },

    /// `install` was called when there was a process-wide proxy already.
    #[error("a process-wide proxy is there already; call install() once, before get_connection() and init()")]
    AlreadyInstalled,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Config)) -> Result<Config, ConfigError> {
        let mut config = Config { host: Some("db".into()), user: Some("app".into()), ..Config::default() };
        change(&mut config);
        config.resolve(&["postgres", "postgresql"], false)
    }

    #[test]
    fn nothing_and_half_a_target_are_told_apart() {
        assert!(matches!(Config::default().resolve(&["postgres"], false), Err(ConfigError::NothingConfigured)));
        let user_only = Config { user: Some("app".into()), ..Config::default() };
        assert!(matches!(user_only.resolve(&["postgres"], false), Err(ConfigError::NoHost)));
        let secret_only = Config { secret: Some("s".into()), ..Config::default() };
        assert!(secret_only.resolve(&["postgres"], false).is_ok(), "a secret may bring the host");
    }

    #[test]
    fn members_may_be_the_target() {
        let two = vec![("a".to_owned(), "db-a".to_owned(), 5432), ("b".to_owned(), "db-b".to_owned(), 5432)];
        let members = Config { instances: two, user: Some("app".into()), ..Config::default() };
        assert!(members.resolve(&["postgres"], false).is_ok());
        let wrong = |change: fn(&mut Config)| match with(change) {
            Err(ConfigError::Value { option, .. }) => option,
            result => panic!("{result:?}"),
        };
        assert_eq!(wrong(|c| c.instances = vec![("a".into(), String::new(), 5432)]), "instances");
        assert_eq!(wrong(|c| c.instances = vec![("a".into(), "db".into(), 0)]), "instances");
        let twice = |c: &mut Config| c.instances = vec![("a".into(), "x".into(), 1), ("A".into(), "y".into(), 1)];
        assert_eq!(wrong(twice), "instances");
        assert_eq!(wrong(|c| c.instance_host_pattern = Some("db.example.com".into())), "instance_host_pattern");
        let proxied = with(|c| (c.via_proxy, c.instances) = (Some(true), vec![("a".into(), "x".into(), 1)]));
        assert!(matches!(proxied, Err(ConfigError::Conflict { first: "via_proxy", second: "instances" })));
    }

    #[test]
    fn contradictions_name_both_sides() {
        type Case = (fn(&mut Config), &'static str, &'static str);
        let cases: [Case; 6] = [
            (|c| (c.secret, c.iam) = (Some("s".into()), true), "secret", "iam"),
            (|c| c.secret = Some("s".into()), "user", "secret"),
            (|c| (c.password, c.secret) = (Some("p".into()), Some("s".into())), "password", "secret"),
            (|c| (c.iam, c.tls) = (true, Some(Tls::Disable)), "iam", "Tls::Disable"),
            (|c| (c.iam, c.tls) = (true, Some(Tls::Require)), "iam", "Tls::Require"),
            (|c| c.cluster = Some("c".into()), "host", "cluster"),
        ];
        for (change, one, other) in cases {
            match with(change) {
                Err(ConfigError::Conflict { first, second }) => assert_eq!((first, second), (one, other)),
                result => panic!("{one}/{other}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_zero_is_no_bound() {
        for change in [
            (|c| c.max_connections = Some(0)) as fn(&mut Config),
            |c| c.borrow_timeout = Some(Duration::ZERO),
            |c| c.connect_timeout = Some(Duration::ZERO),
            |c| c.watch_interval = Some(Duration::ZERO),
            |c| c.failover_timeout = Some(Duration::ZERO),
        ] {
            assert!(matches!(with(change), Err(ConfigError::Value { .. })));
        }
        assert!(with(|c| c.validate_after = Some(Duration::ZERO)).is_ok(), "zero means: validate always");
    }

    #[test]
    fn a_span_or_a_number_that_is_beyond_all_use_is_named_with_its_bound() {
        type Case = (&'static str, fn(&mut Config, Duration), Duration, &'static str);
        let (day, year) = (Duration::from_secs(86_400), Duration::from_secs(365 * 86_400));
        let cases: [Case; 9] = [
            ("borrow_timeout", |c, span| c.borrow_timeout = Some(span), day, "24 h"),
            ("connect_timeout", |c, span| c.connect_timeout = Some(span), day, "24 h"),
            ("validate_timeout", |c, span| c.validate_timeout = Some(span), day, "24 h"),
            ("failover_timeout", |c, span| c.failover_timeout = Some(span), day, "24 h"),
            ("idle_timeout", |c, span| c.idle_timeout = Some(span), year, "365 days"),
            ("max_lifetime", |c, span| c.max_lifetime = Some(span), year, "365 days"),
            ("validate_after", |c, span| c.validate_after = Some(span), year, "365 days"),
            ("idle_in_transaction_timeout", |c, span| c.idle_in_transaction_timeout = Some(span), year, "365 days"),
            ("watch_interval", |c, span| c.watch_interval = Some(span), year, "365 days"),
        ];
        for (name, set, bound, text) in cases {
            assert!(with(|c| set(c, bound)).is_ok(), "{name}");
            for span in [bound + Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX] {
                match with(|c| set(c, span)) {
                    Err(ConfigError::Value { option, problem }) => {
                        assert_eq!((option, problem), (name, &*format!("must be at most {text}")));
                    }
                    result => panic!("{name}: {result:?}"),
                }
            }
        }
        for (limit, is_fine) in [(1, true), (10_000, true), (10_001, false), (100_000_000_000, false)] {
            let result = with(|c| c.max_connections = Some(limit));
            assert_eq!(result.is_ok(), is_fine, "{limit}: {result:?}");
        }
    }

    #[test]
    fn verify_ca_is_refused_whoever_asks_for_it_and_verify_full_is_named() {
        let by_url = |c: &mut Config| c.url = Some("postgres://app@db/shop?sslmode=verify-ca&sslrootcert=/ca".into());
        for change in [by_url, |c: &mut Config| c.tls = Some(Tls::VerifyCa)] {
            let error = with(change).unwrap_err();
            assert!(matches!(error, ConfigError::Value { option: "tls", .. }), "{error:?}");
            assert!(error.to_string().contains("use verify-full"), "{error}");
        }
        assert!(with(|c| c.tls = Some(Tls::Require)).is_ok(), "whoever says require, means it");
    }

    #[test]
    fn a_secrets_text_and_a_url_in_a_names_place_are_refused_and_not_shown() {
        for (option, change) in [
            ("host", (|c| c.host = Some("postgres://app:hunter2@db.example/shop".into())) as fn(&mut Config)),
            ("host", |c| c.host = Some("app:hunter2@db.example".into())),
            ("host", |c| c.host = Some("db.example hunter2".into())),
            ("instances", |c| c.instances = vec![("a".into(), "app:hunter2@db".into(), 5432)]),
            ("secret", |c| (c.user, c.secret) = (None, Some(r#"{"password":"hunter2"}"#.into()))),
            ("secret", |c| (c.user, c.secret) = (None, Some("hunter2 ".into()))),
        ] {
            let mut config = Config { host: Some("db".into()), user: Some("app".into()), ..Config::default() };
            change(&mut config);
            config.init_query = Some("set app.key = 'hunter2'".into());
            config.ca_pem.add(b"hunter2");
            let shown = format!("{:?}", config.shown());
            assert!(!shown.contains("hunter2") && shown.contains("<23 bytes>"), "{shown}");
            assert!(shown.contains("ca_pem: <8 bytes>"), "{shown}");
            match config.resolve(&["postgres"], false) {
                Err(ConfigError::Value { option: named, problem }) => {
                    assert_eq!(named, option);
                    assert!(!problem.contains("hunter2"));
                }
                result => panic!("{option}: {result:?}"),
            }
        }
        let shown = format!("{:?}", Config { host: Some("db.example".into()), ..Config::default() }.shown());
        assert!(shown.contains("db.example"), "a host is no secret: {shown}");
    }

    /// But for its password and TLS mode, which go with the URL's own host: see `url`.
    #[test]
    fn what_is_set_by_hand_wins_over_the_url() {
        let config =
            with(|c| c.url = Some("postgres://other@elsewhere:6000/shop?application_name=till".into())).unwrap();
        assert_eq!((config.host.as_deref(), config.user.as_deref()), (Some("db"), Some("app")));
        assert_eq!((config.port, config.database.as_deref()), (Some(6000), Some("shop")));
        assert_eq!(config.application_name.as_deref(), Some("till"));
        let mixed = with(|c| c.url = Some("postgres://other:pw@elsewhere:6000/shop?sslmode=require".into()));
        assert!(matches!(mixed, Err(ConfigError::Conflict { first: "host", .. })), "{mixed:?}");
        let same = with(|c| c.url = Some("postgres://other:pw@db:6000/shop?sslmode=require".into())).unwrap();
        assert_eq!((same.user.as_deref(), same.tls()), (Some("app"), Tls::Require));
    }
}
