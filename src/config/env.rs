//! The environment variables, in one table.

use std::ffi::OsString;
use std::time::Duration;

use super::names::{is_host, is_secret_id, shown};
use super::{Config, ConfigError, HostPattern, Instance, Isolation, PinningFilter, url};

/// A variable: its name, the form of its value, and how it gets into the configuration.
type Variable = (&'static str, &'static str, fn(&mut Config, &str) -> Option<()>);

const SPAN: &str = "a number with a unit, such as 250ms, 5s, 2m or 1h";
const TEXT: &str = "a text that is not empty";
const YES_OR_NO: &str = "true or false (or 1, yes, on; 0, no, off)";

/// All variables that `from_env` reads, with the form of their values. `DATABASE_URL` stands in for `LAMBDA_RDS_URL` where
/// no other variable says where the database is.
pub const VARIABLES: &[(&str, &str)] = &{
    let mut names = [("", ""); TABLE.len()];
    let mut n = 0;
    while n < TABLE.len() {
        names[n] = (TABLE[n].0, TABLE[n].1);
        n += 1;
    }
    names
};

const TABLE: [Variable; 34] = [
    ("LAMBDA_RDS_URL", "postgres:// or mysql://user[:password]@host[:port]/database", |c, v| {
        set(&mut c.url, text(v)?.into())
    }),
    ("LAMBDA_RDS_HOST", "a host name, without scheme, user, port or path", |c, v| {
        set(&mut c.host, text(v).filter(|host| is_host(host))?)
    }),
    ("LAMBDA_RDS_PORT", "a port number", |c, v| set(&mut c.port, v.parse().ok()?)),
    ("LAMBDA_RDS_DATABASE", TEXT, |c, v| set(&mut c.database, text(v)?)),
    ("LAMBDA_RDS_USER", TEXT, |c, v| set(&mut c.user, text(v)?)),
    ("LAMBDA_RDS_PASSWORD", TEXT, |c, v| set(&mut c.password, text(v)?.into())),
    ("LAMBDA_RDS_SECRET", "a secret's name or ARN, not its text", |c, v| {
        set(&mut c.secret, text(v).filter(|id| is_secret_id(id))?)
    }),
    ("LAMBDA_RDS_IAM", YES_OR_NO, |c, v| yes_or_no(v).map(|yes| c.iam = yes)),
    ("LAMBDA_RDS_CLUSTER", "a cluster's identifier", |c, v| set(&mut c.cluster, text(v)?)),
    ("LAMBDA_RDS_INSTANCE", "an instance's identifier", |c, v| set(&mut c.instance, text(v)?)),
    ("LAMBDA_RDS_INSTANCES", "id=host:port, several of them with commas in between", |c, v| {
        instances(v).map(|list| c.instances = list)
    }),
    (
        "LAMBDA_RDS_INSTANCE_HOST_PATTERN",
        "a host name with one '?', and perhaps a port: ?.db.example.com:5432",
        |c, v| HostPattern::parse(v).and_then(|_| set(&mut c.instance_host_pattern, text(v)?)),
    ),
    ("LAMBDA_RDS_TLS", url::MODES, |c, v| set(&mut c.tls, url::tls_mode(v)?)),
    ("LAMBDA_RDS_CA_FILE", "the path of a PEM file", |c, v| set(&mut c.ca_file, text(v)?.into())),
    ("LAMBDA_RDS_CA_PEM", "PEM text", |c, v| text(v).map(|pem| c.ca_pem.add(pem.as_bytes()))),
    ("LAMBDA_RDS_ADD_CA_PEM", "PEM text", |c, v| text(v).map(|pem| c.add_ca_pem.add(pem.as_bytes()))),
    ("LAMBDA_RDS_READER_FALLBACK", YES_OR_NO, |c, v| yes_or_no(v).map(|yes| c.reader_fallback = yes)),
    ("LAMBDA_RDS_VIA_PROXY", YES_OR_NO, |c, v| set(&mut c.via_proxy, yes_or_no(v)?)),
    ("LAMBDA_RDS_SESSION_PINNING", "none or exclude-variable-sets", |c, v| {
        set(&mut c.session_pinning, pinning_filter(v)?)
    }),
    ("LAMBDA_RDS_ISOLATION", "by-statement or strict", |c, v| set(&mut c.isolation, isolation(v)?)),
    ("LAMBDA_RDS_INIT_QUERY", TEXT, |c, v| set(&mut c.init_query, text(v)?)),
    ("LAMBDA_RDS_LOG_STATEMENTS", YES_OR_NO, |c, v| yes_or_no(v).map(|yes| c.log_statements = yes)),
    ("LAMBDA_RDS_APPLICATION_NAME", TEXT, |c, v| set(&mut c.application_name, text(v)?)),
    ("LAMBDA_RDS_MAX_CONNECTIONS", "a number from 1", |c, v| {
        set(&mut c.max_connections, v.parse().ok().filter(|n| *n > 0)?)
    }),
    ("LAMBDA_RDS_BORROW_TIMEOUT", SPAN, |c, v| set(&mut c.borrow_timeout, span(v)?)),
    ("LAMBDA_RDS_CONNECT_TIMEOUT", SPAN, |c, v| set(&mut c.connect_timeout, span(v)?)),
    ("LAMBDA_RDS_IDLE_TIMEOUT", SPAN, |c, v| set(&mut c.idle_timeout, span(v)?)),
    ("LAMBDA_RDS_MAX_LIFETIME", SPAN, |c, v| set(&mut c.max_lifetime, span(v)?)),
    ("LAMBDA_RDS_VALIDATE_AFTER", SPAN, |c, v| set(&mut c.validate_after, span(v)?)),
    ("LAMBDA_RDS_VALIDATE_TIMEOUT", SPAN, |c, v| set(&mut c.validate_timeout, span(v)?)),
    ("LAMBDA_RDS_IDLE_IN_TRANSACTION_TIMEOUT", SPAN, |c, v| set(&mut c.idle_in_transaction_timeout, span(v)?)),
    ("LAMBDA_RDS_WATCH_INTERVAL", SPAN, |c, v| set(&mut c.watch_interval, span(v)?)),
    ("LAMBDA_RDS_FAILOVER_TIMEOUT", SPAN, |c, v| set(&mut c.failover_timeout, span(v)?)),
    ("LAMBDA_RDS_SLOW_STATEMENTS", SPAN, |c, v| set(&mut c.slow_statements, span(v)?)),
];

/// Variables whose wrong values are shown. Nobody puts a secret there by mistake; every other one may hold it.
const SHOWN: [&str; 18] = [
    "LAMBDA_RDS_IAM",
    "LAMBDA_RDS_TLS",
    "LAMBDA_RDS_READER_FALLBACK",
    "LAMBDA_RDS_VIA_PROXY",
    "LAMBDA_RDS_SESSION_PINNING",
    "LAMBDA_RDS_ISOLATION",
    "LAMBDA_RDS_LOG_STATEMENTS",
    "LAMBDA_RDS_MAX_CONNECTIONS",
    "LAMBDA_RDS_BORROW_TIMEOUT",
    "LAMBDA_RDS_SLOW_STATEMENTS",
    "LAMBDA_RDS_CONNECT_TIMEOUT",
    "LAMBDA_RDS_IDLE_TIMEOUT",
    "LAMBDA_RDS_MAX_LIFETIME",
    "LAMBDA_RDS_VALIDATE_AFTER",
    "LAMBDA_RDS_VALIDATE_TIMEOUT",
    "LAMBDA_RDS_IDLE_IN_TRANSACTION_TIMEOUT",
    "LAMBDA_RDS_WATCH_INTERVAL",
    "LAMBDA_RDS_FAILOVER_TIMEOUT",
];

/// Variables that are taken as they are: a password may begin or end with a blank.
const UNTRIMMED: [&str; 2] = ["LAMBDA_RDS_URL", "LAMBDA_RDS_PASSWORD"];

impl Config {
    /// What the environment says; not validated yet.
    ///
    /// # Errors
    /// The first variable whose name or value is not understood.
    pub(crate) fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut fallback = None;
        for (name, value) in vars {
            let Some(name) = name.to_str() else { continue };
            if name == "DATABASE_URL" {
                fallback = Some(value);
            } else if name.starts_with("LAMBDA_RDS_") {
                config.set(name, value)?;
            }
        }
        if !config.says_where()
            && let Some(value) = fallback
        {
            let shown = || variable("DATABASE_URL", "<redacted>".to_owned(), TABLE[0].1);
            config.general_url = Some(value.into_string().map_err(|_| shown())?.into());
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: OsString) -> Result<(), ConfigError> {
        let Some((_, expected, setter)) = TABLE.iter().find(|(known, ..)| *known == name) else {
            return Err(ConfigError::UnknownVariable { name: name.to_owned(), hint: hint(name) });
        };
        let value_shown = if SHOWN.contains(&name) { shown(&value.to_string_lossy()) } else { "<redacted>".to_owned() };
        let trimmed = |value| if UNTRIMMED.contains(&name) { value } else { str::trim(value) };
        let parsed = value.to_str().and_then(|value| setter(self, trimmed(value)));
        parsed.ok_or_else(|| variable(name, value_shown, expected))
    }
}

fn variable(name: &str, value: String, expected: &'static str) -> ConfigError {
    ConfigError::Variable { name: name.to_owned(), value, expected }
}

/// The known name that shares the most with a misspelt one.
fn hint(name: &str) -> String {
    let shared = |known: &str| {
        let prefix = known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        let suffix = known.bytes().rev().zip(name.bytes().rev()).take_while(|(a, b)| a == b).count();
        prefix + suffix
    };
    match TABLE.iter().map(|(known, ..)| *known).max_by_key(|known| shared(known)) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "see the README's table".to_owned(),
    }
}

fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    *field = Some(value);
    Some(())
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// `writer-1=10.0.0.1:5432, reader-1=[fd00::1]:5432`.
fn instances(value: &str) -> Option<Vec<Instance>> {
    let instance = |text: &str| {
        let (id, place) = text.split_once('=')?;
        let (host, port) = place.rsplit_once(':')?;
        let bare = host.trim().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let port = port.trim().parse().ok().filter(|port| *port != 0)?;
        Some((text_of(id)?, text_of(bare.unwrap_or(host)).filter(|host| is_host(host))?, port))
    };
    value.split(',').map(instance).collect()
}

fn text_of(value: &str) -> Option<String> {
    text(value.trim())
}

fn isolation(value: &str) -> Option<Isolation> {
    match value.to_ascii_lowercase().as_str() {
        "by-statement" => Some(Isolation::ByStatement),
        "strict" => Some(Isolation::Strict),
        _ => None,
    }
}

fn pinning_filter(value: &str) -> Option<PinningFilter> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "none" => Some(PinningFilter::None),
        // RDS Proxy writes it with underscores.
        "exclude-variable-sets" => Some(PinningFilter::ExcludeVariableSets),
        _ => None,
    }
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A unit is demanded: whether a bare `5` means seconds or milliseconds would be a guess.
fn span(value: &str) -> Option<Duration> {
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = value.split_at(digits);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, milliseconds) in
            [("250ms", Some(250)), ("1.5s", Some(1500)), ("2m", Some(120_000)), ("1h", Some(3_600_000))]
        {
            assert_eq!(span(text), milliseconds.map(Duration::from_millis), "{text}");
        }
        for text in ["5", "", "s", "fast", "-1s", "1d", "1e400s", ".s"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_names_variable_value_and_form() {
        let error = read(&[("LAMBDA_RDS_MAX_CONNECTIONS", "many")]).unwrap_err().to_string();
        assert_eq!(error, "LAMBDA_RDS_MAX_CONNECTIONS=many is not understood; expected a number from 1");
        for (name, value) in [
            ("LAMBDA_RDS_TLS", "prefer"),
            ("LAMBDA_RDS_IAM", "maybe"),
            ("LAMBDA_RDS_MAX_CONNECTIONS", "0"),
            ("LAMBDA_RDS_BORROW_TIMEOUT", "5"),
            ("LAMBDA_RDS_HOST", " "),
            ("LAMBDA_RDS_INSTANCES", "db-a:5432"),
            ("LAMBDA_RDS_INSTANCES", "a=db-a"),
            ("LAMBDA_RDS_INSTANCES", "a=db-a:0"),
            ("LAMBDA_RDS_INSTANCES", "a=db-a:5432,"),
            ("LAMBDA_RDS_INSTANCES", ""),
            ("LAMBDA_RDS_INSTANCE_HOST_PATTERN", "db.example.com"),
            ("LAMBDA_RDS_WATCH_INTERVAL", "30"),
            ("LAMBDA_RDS_FAILOVER_TIMEOUT", "soon"),
        ] {
            assert!(matches!(read(&[(name, value)]), Err(ConfigError::Variable { .. })), "{name}={value}");
        }
    }

    #[test]
    fn members_are_listed_with_their_addresses() {
        let config = read(&[("LAMBDA_RDS_INSTANCES", "a=10.0.0.1:5432, b = [fd00::1]:6000")]).unwrap();
        let owned = |id: &str, host: &str, port| (id.to_owned(), host.to_owned(), port);
        assert_eq!(config.instances, [owned("a", "10.0.0.1", 5432), owned("b", "fd00::1", 6000)]);
    }

    #[test]
    fn a_misspelt_name_is_an_error_with_the_nearest() {
        let error = read(&[("LAMBDA_RDS_SECERT", "x")]).unwrap_err().to_string();
        assert!(error.contains("did you mean LAMBDA_RDS_SECRET?"), "{error}");
    }

    #[test]
    fn the_general_url_is_a_fallback() {
        let both = [("DATABASE_URL", "postgres://fallback"), ("LAMBDA_RDS_URL", "postgres://own")];
        assert_eq!(read(&both).unwrap().url.unwrap().expose(), "postgres://own");
        assert_eq!(read(&both[..1]).unwrap().general_url.unwrap().expose(), "postgres://fallback");
    }

    #[test]
    fn the_general_url_does_not_count_where_the_database_is_named_otherwise() {
        let url = ("DATABASE_URL", "postgres://dev:hunter2@other/dev?sslmode=disable");
        for (name, value) in [
            ("LAMBDA_RDS_URL", "postgres://own"),
            ("LAMBDA_RDS_HOST", "db"),
            ("LAMBDA_RDS_CLUSTER", "shop"),
            ("LAMBDA_RDS_INSTANCE", "shop-1"),
            ("LAMBDA_RDS_INSTANCES", "a=db-a:5432"),
            ("LAMBDA_RDS_SECRET", "prod/shop/db"),
        ] {
            for variables in [[url, (name, value)], [(name, value), url]] {
                let taken = read(&variables).unwrap().url;
                assert!(taken.is_none_or(|taken| taken.expose() == "postgres://own"), "{name}");
            }
        }
        for (name, value) in [("LAMBDA_RDS_USER", "app"), ("LAMBDA_RDS_TLS", "require"), ("LAMBDA_RDS_PORT", "5433")] {
            assert!(read(&[url, (name, value)]).unwrap().general_url.is_some(), "{name} says nothing of where");
        }
        // What is set after the variables were read has the same say.
        type Set = fn(&mut Config);
        let says: [(Set, bool); 6] = [
            (|_| (), false),
            (|c| c.user = Some("app".into()), false),
            (|c| c.host = Some("db".into()), true),
            (|c| c.secret = Some("prod/db".into()), true),
            (|c| (c.cluster, c.iam, c.user) = (Some("shop".into()), true, Some("app".into())), true),
            (|c| (c.instances, c.user) = (vec![("a".into(), "db".into(), 5432)], Some("app".into())), true),
        ];
        for (set, says_where) in says {
            let mut config = read(&[url]).unwrap();
            set(&mut config);
            let resolved = config.resolve(&["postgres"], false).unwrap();
            assert_eq!(resolved.host.as_deref() == Some("other"), !says_where);
            assert_eq!((resolved.password.is_some(), resolved.tls.is_some()), (!says_where, !says_where));
        }
        let provided = read(&[url]).unwrap().resolve(&["postgres"], true).unwrap();
        assert!(provided.host.is_none(), "a provider may bring the host");
    }

    #[test]
    fn secrets_are_not_shown_in_whatever_variable_they_stand() {
        let url = "postgres://app:hunter2@db.example/shop";
        let json = r#"{"username":"app","password":"hunter2"}"#;
        for (name, value) in [
            ("LAMBDA_RDS_PASSWORD", ""),
            ("LAMBDA_RDS_HOST", url),
            ("LAMBDA_RDS_HOST", "app:hunter2@db.example"),
            ("LAMBDA_RDS_HOST", "db.example hunter2"),
            ("LAMBDA_RDS_HOST", "db.example/hunter2"),
            ("LAMBDA_RDS_PORT", "hunter2"),
            ("LAMBDA_RDS_INSTANCES", "a=hunter2"),
            ("LAMBDA_RDS_INSTANCES", "a=postgres://app:hunter2@db.example:5432"),
            ("LAMBDA_RDS_INSTANCE_HOST_PATTERN", url),
            ("LAMBDA_RDS_SECRET", json),
            ("LAMBDA_RDS_SECRET", "{hunter2"),
            ("LAMBDA_RDS_SECRET", "\"hunter2\""),
            ("LAMBDA_RDS_SECRET", "'hunter2'"),
            ("LAMBDA_RDS_SECRET", "the hunter2"),
            ("LAMBDA_RDS_SECRET", "hunter2\nhunter2"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(name) && text.contains("<redacted>") && !text.contains("hunter2"), "{name}: {text}");
        }
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-1a2b-AbCdEf";
        for id in ["prod/shop/db", "shop_db+1=a.b@c-d", arn] {
            assert_eq!(read(&[("LAMBDA_RDS_SECRET", id)]).unwrap().secret.as_deref(), Some(id));
        }
    }

    #[test]
    fn a_variable_that_is_not_named_harmless_is_not_shown() {
        assert!(SHOWN.iter().chain(&UNTRIMMED).all(|name| TABLE.iter().any(|(known, ..)| known == name)));
        assert!(UNTRIMMED.iter().all(|name| !SHOWN.contains(name)));
    }

    #[test]
    fn a_password_is_taken_as_it_is_and_other_values_are_trimmed() {
        let read = |name, value| read(&[(name, value)]).unwrap();
        assert_eq!(read("LAMBDA_RDS_PASSWORD", " pass word\n").password.unwrap().expose(), " pass word\n");
        assert_eq!(read("LAMBDA_RDS_URL", "postgres://db/ ").url.unwrap().expose(), "postgres://db/ ");
        assert_eq!(read("LAMBDA_RDS_HOST", " db\n").host.as_deref(), Some("db"));
    }
}
