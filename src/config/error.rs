//! What is wrong with a configuration.

use std::fmt;

/// What is wrong with a configuration. Texts name the variable or option and the form expected; values are shown only
/// where they cannot be secrets.
#[derive(thiserror::Error)]
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

    /// The first login has shown that a pooler stands in between, and nothing had said so.
    #[error(
        "a pooler stands before the database at {host}, and was not announced ({source}); call via_proxy() or set LAMBDA_RDS_VIA_PROXY=true; where it lends its connections for a whole session, call direct() or set it to false, and let it ignore the startup parameters `extra_float_digits` and `options`"
    )]
    Pooler {
        /// The host that was dialled.
        host: String,
        /// What shows it.
        source: sqlx::Error,
    },

    /// `install` was called when there was a process-wide proxy already.
    #[error("a process-wide proxy is there already; call install() once, before get_connection() and init()")]
    AlreadyInstalled,
}

/// The text: what `main` prints of an error that it returns.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
