//! A proxy configured in code.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigError, Isolation, PinningFilter, Tls};
use crate::credentials::CredentialsProvider;
use crate::engine::Engine;
use crate::event::{Observer, TracingObserver};

/// Sets up a [`Proxy`](crate::Proxy). Every setter takes the builder and gives it back; [`build`](Self::build) validates.
///
/// ```
/// use lambda_rds::{Postgres, Proxy};
///
/// let proxy = Proxy::<Postgres>::builder()
///     .host("shop.cluster-abc123.eu-central-1.rds.amazonaws.com")
///     .database("shop")
///     .secret("prod/shop/db")
///     .max_connections(4)
///     .build()?;
/// # Ok::<_, lambda_rds::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until build() is called"]
pub struct ProxyBuilder<DB: Engine> {
    pub(super) config: Config,
    pub(super) provider: Option<Arc<dyn CredentialsProvider>>,
    pub(super) observers: Vec<Box<dyn Observer>>,
    #[cfg(feature = "_aws")]
    pub(super) aws: crate::aws::Aws,
    #[cfg(feature = "testing")]
    pub(super) faults: crate::faults::Faults,
    engine: PhantomData<fn() -> DB>,
}

impl<DB: Engine> ProxyBuilder<DB> {
    /// What the environment says, see [`VARIABLES`](crate::VARIABLES); setters come on top. Does no I/O.
    ///
    /// # Errors
    /// The first variable that is not understood.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self::new(Config::from_vars(std::env::vars_os())?))
    }

    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            provider: None,
            observers: vec![Box::new(TracingObserver)],
            #[cfg(feature = "_aws")]
            aws: crate::aws::Aws::default(),
            #[cfg(feature = "testing")]
            faults: crate::faults::Faults::default(),
            engine: PhantomData,
        }
    }

    /// A URL as sqlx and libpq write it: `postgres://user[:password]@host[:port]/database`, with `sslmode` and
    /// `sslrootcert`, or `mysql://…` with `ssl-mode` and `ssl-ca`. What other setters say wins over it. But its password and
    /// TLS mode are for its own host: with another [`host`](Self::host), [`build`](Self::build) refuses to take them over.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.config.url = Some(url.into().into());
        self
    }

    /// The host to connect to: its name alone, without scheme, user or path. Default: the secret's.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.config.host = Some(host.into());
        self
    }

    /// The port. Default: the secret's when the host is the secret's too, else the engine's.
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = Some(port);
        self
    }

    /// The database. Default: the secret's, else on PostgreSQL the one that is named like the user, and on MySQL none.
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.config.database = Some(database.into());
        self
    }

    /// The database user. IAM needs it; a secret brings its own, and excludes it.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.config.user = Some(user.into());
        self
    }

    /// A fixed password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.config.password = Some(password.into().into());
        self
    }

    /// User and password (and host, port and database where they are not configured) from this secret in AWS Secrets
    /// Manager, by name or ARN. The secret's text in that place is refused: it would be sent to AWS as a name.
    #[cfg(feature = "secrets-manager")]
    pub fn secret(mut self, id: impl Into<String>) -> Self {
        self.config.secret = Some(id.into());
        self
    }

    /// An IAM token in the password's place, signed locally. Goes with [`Tls::VerifyFull`] only: whoever it is shown to can
    /// log in with it for a quarter of an hour.
    ///
    /// It is signed for the region in the host's name, else for the one that is configured (`aws_config`, `AWS_REGION`), which
    /// is the function's own by default. The writer endpoint of an Aurora global database
    /// (`<name>.global-<id>.global.rds.amazonaws.com`) names none: while its writer is in another region, the token is
    /// refused, unless that region is configured or the writer is called by its cluster's endpoint.
    #[cfg(feature = "iam")]
    pub fn iam(mut self) -> Self {
        self.config.iam = true;
        self
    }

    /// A credentials provider of the application's own. Excludes `password`, `secret` and `iam`.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.provider = Some(Arc::new(provider));
        self
    }

    /// The identifier of an Aurora or Multi-AZ DB cluster: its writer endpoint is looked up at the RDS API at the first
    /// connect. A configured host saves that call.
    #[cfg(feature = "rds-api")]
    pub fn cluster(mut self, id: impl Into<String>) -> Self {
        self.config.cluster = Some(id.into());
        self
    }

    /// The identifier of a DB instance, looked up likewise.
    #[cfg(feature = "rds-api")]
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.config.instance = Some(id.into());
        self
    }

    /// Members of the cluster, by identifier, host and port: they are candidates at once when the writer is lost, whatever
    /// else is known. With them the host may be left out. Whom you name here is believed: a server that is none of the
    /// cluster's, and takes writes, would pass for its writer.
    pub fn instances(
        mut self,
        instances: impl IntoIterator<Item = (impl Into<String>, impl Into<String>, u16)>,
    ) -> Self {
        let owned = instances.into_iter().map(|(id, host, port)| (id.into(), host.into(), port));
        self.config.instances.extend(owned);
        self
    }

    /// How the members' hosts are called, with a `?` for the identifier, and perhaps a port: `?.db.example.com:5432`.
    /// Needed only for an Aurora cluster behind names of one's own. Default: as the cluster's endpoint implies.
    pub fn instance_host_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.config.instance_host_pattern = Some(pattern.into());
        self
    }

    /// How often the RDS API may be asked who the members are; a large fleet asks less often by itself, and a server's own
    /// news do not wait for it. Default: 30 s, as AWS's own drivers.
    pub fn watch_interval(mut self, span: Duration) -> Self {
        self.config.watch_interval = Some(span);
        self
    }

    /// How long the search for a new writer may take; those who wait for it wait so long too, and not only for
    /// `borrow_timeout`. Never past the invocation's deadline. Default: 60 s, within which Aurora with a reader and a
    /// Multi-AZ DB cluster promise one; where there is nobody to fail over to, 2 s, for a hiccup.
    pub fn failover_timeout(mut self, span: Duration) -> Self {
        self.config.failover_timeout = Some(span);
        self
    }

    /// Without any reader, the writer serves [`get_reader`](crate::Proxy::get_reader), read-only. Default: no, for a writer
    /// that is loaded with what its readers were meant for may be the next to fail.
    pub fn reader_fallback(mut self, allowed: bool) -> Self {
        self.config.reader_fallback = allowed;
        self
    }

    /// The target is RDS Proxy, PgBouncer or another pooler, which may give each transaction another connection of the
    /// server. Default: yes where the host is configured and its name is one of RDS Proxy's
    /// (`<name>.proxy-<hash>.<region>.rds.amazonaws.com`, and its further endpoints), no for all others;
    /// [`direct`](Self::direct) says otherwise.
    ///
    /// Where nothing says it and the host's name is not one of RDS, the first login on PostgreSQL shows it, at one round trip: a
    /// pooler refuses settings of a login, or ignores them. That one was not announced is an error then
    /// ([`ConfigError::Pooler`]), before anything else is sent.
    ///
    /// Nothing is set at login that a pooler would refuse or pin on, and nothing is left on the server's connection: a
    /// prepared statement outside a transaction is sent in one of its own (two round trips more than without a pooler,
    /// none for `raw_sql`), and settings are made inside each transaction and taken back before its commit. A statement
    /// that must not run in a transaction (`VACUUM`) is sent by itself, unless the session has settings.
    ///
    /// What pins cannot be kept through a pooler in transaction mode: temporary tables that outlive their transaction,
    /// session locks, held cursors, SQL's `PREPARE`, `SET`s that are not understood or stand among other statements. They
    /// are refused ([`Error::Refused`](crate::Error::Refused)), unless [`pin`](crate::Connection::pin) was called before:
    /// they are right where the pooler itself pins (RDS Proxy) or lends for a session, and only there. So is a `DO` block of
    /// which a statement is not known to leave nothing, such as one that runs a text that it has put together. What procedures
    /// and functions do is not seen: what they set, lock or make temporary stays on the server's connection.
    pub fn via_proxy(mut self) -> Self {
        self.config.via_proxy = Some(true);
        self
    }

    /// The target is the database itself, or a pooler that lends its connections for a whole session, whatever its name.
    pub fn direct(mut self) -> Self {
        self.config.via_proxy = Some(false);
        self
    }

    /// How connections are protected. Default: [`Tls::VerifyFull`]. [`Tls::VerifyCa`] is refused; it says why.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.config.tls = Some(tls);
        self
    }

    /// Root certificates of one's own authority, in PEM, **in the place of** the RDS roots, as libpq's `sslrootcert` and
    /// MySQL's `ssl-ca` are (and as those are here, and `LAMBDA_RDS_CA_PEM` and `LAMBDA_RDS_CA_FILE`; together they are one
    /// set). May be called more than once. To trust one besides the RDS roots, take [`add_ca_pem`](Self::add_ca_pem).
    ///
    /// What remains: the driver's public authorities stay trusted beside it, so a certificate that one of them has issued
    /// for exactly the host's name passes too; see [`Tls`]. A name that public authorities issue nothing for, such as
    /// `db.internal`, has no such hole.
    ///
    /// A root whose own term is over is not trusted. Where none is left, and where a text holds no certificate,
    /// [`build`](Self::build) refuses it; a file is read, and looked at so, at each connect.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.config.ca_pem.add(pem.as_ref());
        self
    }

    /// Root certificates, in PEM, **besides** the RDS roots, or besides those of [`ca_pem`](Self::ca_pem): for members of
    /// both kinds, and while an authority is replaced. May be called more than once. Otherwise as `ca_pem`.
    pub fn add_ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.config.add_ca_pem.add(pem.as_ref());
        self
    }

    /// The most physical connections of this environment. Default: `AWS_LAMBDA_MAX_CONCURRENCY` where an environment
    /// serves several invocations at a time (Lambda Managed Instances), else 2: one for the handler, and one so that a
    /// second session beside an open transaction does not wait for itself. Opened only when needed. At most 10,000.
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.config.max_connections = Some(limit);
        self
    }

    /// How long a caller waits for a connection, in all: queue, credentials, connect, validation. Default: 10 s, and
    /// never past the invocation's deadline. At most 24 h, as all spans that somebody waits for; those that a connection
    /// lasts, 365 days.
    pub fn borrow_timeout(mut self, span: Duration) -> Self {
        self.config.borrow_timeout = Some(span);
        self
    }

    /// How long one attempt to connect may take, from DNS to the end of the login, and likewise one request for
    /// credentials. Default: 5 s, which leaves room for two lost packets.
    pub fn connect_timeout(mut self, span: Duration) -> Self {
        self.config.connect_timeout = Some(span);
        self
    }

    /// A connection that was idle for this long is not lent again, and the server is told to drop it
    /// (`idle_session_timeout`, PostgreSQL 14 and later; `wait_timeout`, in whole seconds, on MySQL). Default: 5 min, as RDS Proxy counts idle.
    pub fn idle_timeout(mut self, span: Duration) -> Self {
        self.config.idle_timeout = Some(span);
        self
    }

    /// A connection older than this, less up to 10 % at random, is not lent again. Default: 30 min.
    pub fn max_lifetime(mut self, span: Duration) -> Self {
        self.config.max_lifetime = Some(span);
        self
    }

    /// A connection used within this span, without a freeze in between, is lent without a round trip. Zero validates
    /// always, but for a connection whose first session has it within 100 ms of the login: that has proven it. Default: 1 s.
    pub fn validate_after(mut self, span: Duration) -> Self {
        self.config.validate_after = Some(span);
        self
    }

    /// How long a validation may take before the connection is given up. Default: 250 ms.
    pub fn validate_timeout(mut self, span: Duration) -> Self {
        self.config.validate_timeout = Some(span);
        self
    }

    /// The server ends a transaction in which nothing happened for this long: what a killed environment left open holds
    /// its locks until then. As often it looks whether somebody still waits for the statement that runs
    /// (`client_connection_check_interval`, PostgreSQL 14 and later). Default: 60 s.
    ///
    /// MySQL has nothing of the kind, and MariaDB (10.3 and later) the first alone: on MySQL such a transaction lasts until
    /// `idle_timeout` has passed, and on both a statement runs to its end.
    pub fn idle_in_transaction_timeout(mut self, span: Duration) -> Self {
        self.config.idle_in_transaction_timeout = Some(span);
        self
    }

    /// Which statements do not pin although they leave behind what cannot be followed; RDS Proxy's
    /// `SessionPinningFilters`. Default: [`PinningFilter::None`].
    pub fn session_pinning(mut self, filter: PinningFilter) -> Self {
        self.config.session_pinning = Some(filter);
        self
    }

    /// How far sessions are kept apart on the connections they share. Default: [`Isolation::ByStatement`].
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.config.isolation = Some(isolation);
        self
    }

    /// Statements to run on every new connection, as RDS Proxy's `InitQuery`. Costs a round trip a connect. One that begins
    /// a transaction, or sets `autocommit`, is refused by [`build`](Self::build); so is any one before a pooler of PostgreSQL, which
    /// would give what it has set to others.
    pub fn init_query(mut self, sql: impl Into<String>) -> Self {
        self.config.init_query = Some(sql.into());
        self
    }

    /// The driver logs each statement (`sqlx::query`, at `DEBUG`; at `WARN` where it takes a second), as it does by itself.
    /// Default: no. The connections of a session are made here and so are some of the statements on them: replayed
    /// settings and the [`init_query`](Self::init_query), which may set keys and tenants, would stand in the log in full,
    /// and the driver cannot leave out single ones. What a server says by itself (`raise notice`) the driver logs either
    /// way, at `INFO` under `sqlx::postgres::notice`.
    pub fn log_statements(mut self, on: bool) -> Self {
        self.config.log_statements = on;
        self
    }

    /// A statement or commit that takes so long is told as [`Event::SlowStatement`](crate::Event::SlowStatement), with its first
    /// word and where its time went: waiting for a connection, making it fit, the server. Zero tells all. Default: 1 s.
    pub fn slow_statements(mut self, span: Duration) -> Self {
        self.config.slow_statements = Some(span);
        self
    }

    /// The AWS SDK's configuration. Default: loaded from the environment when it is first needed.
    #[cfg(feature = "_aws")]
    pub fn aws_config(mut self, config: aws_config::SdkConfig) -> Self {
        self.aws = crate::aws::Aws::given(config);
        self
    }

    /// Somebody to tell what happens, besides `tracing`. May be called more than once.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Faults that are to come, for the tests of an application; see [`testing`](crate::testing).
    #[cfg(feature = "testing")]
    pub fn faults(mut self, faults: &crate::faults::Faults) -> Self {
        self.faults = faults.clone();
        self
    }
}

impl<DB: Engine> std::fmt::Debug for ProxyBuilder<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBuilder")
            .field("engine", &DB::RULES.family)
            .field("config", &self.config.shown())
            .finish_non_exhaustive()
    }
}
