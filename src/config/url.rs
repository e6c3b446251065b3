//! Database URLs as sqlx and libpq write them. Where they say nothing about TLS, nothing is assumed here: the default is
//! verify-full.

use percent_encoding::percent_decode_str;

use super::names::shown;
use super::{Config, ConfigError, Tls};
use crate::redacted::Redacted;

pub(super) const MODES: &str = "verify-full, require or disable";

/// The parameters that drivers know; any other name may be what comes after a bare `?` in a password.
const KNOWN: [&str; 27] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "sslkey",
    "ssl-cert",
    "ssl-key",
    "ssl-client-cert",
    "ssl-client-key",
    "sslcrl",
    "sslnegotiation",
    "channel_binding",
    "options",
    "connect_timeout",
    "target_session_attrs",
    "keepalives",
    "charset",
    "collation",
    "timezone",
    "socket",
    "hostaddr",
    "port",
    "passfile",
    "service",
    "statement-cache-capacity",
];

/// The parameters whose values can be wrong, and are no secret.
const SHOWN: [&str; 4] = ["sslmode", "ssl-mode", "port", "statement-cache-capacity"];

/// Puts what the URL says where the configuration says nothing.
///
/// A URL is about one database. Where another host was set by hand, its password would be shown to a stranger, and its
/// TLS mode and roots were chosen for another network: that is a contradiction, and nothing to be mixed.
pub(super) fn merge(config: &mut Config, text: &Redacted, schemes: &[&str]) -> Result<(), ConfigError> {
    let said = read(text, schemes)?;
    if let (Some(ours), Some(theirs)) = (&config.host, &said.host)
        && !is_same(ours, theirs)
    {
        let taken_over = [
            (config.password.is_none() && said.password.is_some(), "the password of a URL with another host"),
            (config.tls.is_none() && said.tls.is_some(), "the TLS mode of a URL with another host"),
            // Who has signed the one host would be trusted for the other.
            (config.ca_file.is_none() && said.ca_file.is_some(), "the roots of a URL with another host"),
        ];
        if let Some((_, second)) = taken_over.into_iter().find(|(is_taken_over, _)| *is_taken_over) {
            return Err(ConfigError::Conflict { first: "host", second });
        }
    }
    let Config {
        host, port, database, user, password, tls, ca_file, application_name, statement_cache_capacity, ..
    } = said;
    keep(&mut config.host, host);
    keep(&mut config.port, port);
    keep(&mut config.database, database);
    keep(&mut config.user, user);
    keep(&mut config.password, password);
    keep(&mut config.tls, tls);
    keep(&mut config.ca_file, ca_file);
    keep(&mut config.application_name, application_name);
    keep(&mut config.statement_cache_capacity, statement_cache_capacity);
    Ok(())
}

/// What was set by hand stays.
fn keep<T>(field: &mut Option<T>, said: Option<T>) {
    if field.is_none() {
        *field = said;
    }
}

/// Names are the same in any case, and with the dot of the root.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// What a URL says by itself.
fn read(text: &Redacted, schemes: &[&str]) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let malformed = |problem: String| ConfigError::Url { problem, scheme: schemes[0].to_owned() };
    let url = ::url::Url::parse(text.expose()).map_err(|error| malformed(error.to_string()))?;
    if !schemes.contains(&url.scheme()) {
        let problem = match url.scheme() {
            "mysql" | "mariadb" => "its scheme is MySQL's, whose type is lambda_rds::MySql",
            "postgres" | "postgresql" => "its scheme is PostgreSQL's, whose type is lambda_rds::Postgres",
            _ => "its scheme is another one",
        };
        return Err(malformed(problem.to_owned()));
    }
    // A bare `#`, `?` or `/` in a password ends the host for the parser: the rest would be dialled, or shown, as
    // something else.
    if url.fragment().is_some() || url[::url::Position::BeforePath..].contains('@') {
        return Err(malformed("there is a bare '#', or an '@' after the host".to_owned()));
    }
    let decode = |part: &'static str, text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        decoded.map_err(|_| malformed(format!("its {part} is not UTF-8 after percent-decoding")))
    };

    if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
        let host = decode("host", host.trim_start_matches('[').trim_end_matches(']'))?;
        fill(&mut config.host, host, "host")?;
    }
    if let Some(port) = url.port() {
        fill(&mut config.port, port, "port")?;
    }
    if !url.username().is_empty() {
        let user = decode("user", url.username())?;
        fill(&mut config.user, user, "user")?;
    }
    if let Some(password) = url.password() {
        let password = decode("password", password)?;
        fill(&mut config.password, password.into(), "password")?;
    }
    let path = url.path().trim_start_matches('/');
    if !path.is_empty() {
        let database = decode("database", path)?;
        fill(&mut config.database, database, "dbname")?;
    }
    for (name, value) in url.query_pairs() {
        parameter(&mut config, &name, &value)?;
    }
    Ok(config)
}

fn parameter(config: &mut Config, name: &str, value: &str) -> Result<(), ConfigError> {
    let wrong = |expected| ConfigError::UrlParameter {
        parameter: if KNOWN.contains(&name) { name.to_owned() } else { "<redacted>".to_owned() },
        // A misspelt name may be that of the password.
        value: if SHOWN.contains(&name) { shown(value) } else { "<redacted>".to_owned() },
        expected,
    };
    match name {
        "sslmode" | "ssl-mode" => {
            let mode = tls_mode(value).ok_or_else(|| wrong(MODES))?;
            fill(&mut config.tls, mode, name)
        }
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => fill(&mut config.ca_file, value.into(), name),
        "host" => fill(&mut config.host, value.to_owned(), name),
        "port" => {
            let port = value.parse().map_err(|_| wrong("a port number"))?;
            fill(&mut config.port, port, name)
        }
        "dbname" => fill(&mut config.database, value.to_owned(), name),
        "user" => fill(&mut config.user, value.to_owned(), name),
        "password" => fill(&mut config.password, value.into(), name),
        "application_name" => fill(&mut config.application_name, value.to_owned(), name),
        "statement-cache-capacity" => {
            let capacity = value.parse().map_err(|_| wrong("a number"))?;
            fill(&mut config.statement_cache_capacity, capacity, name)
        }
        "sslcert" | "sslkey" | "ssl-cert" | "ssl-key" => Err(ConfigError::ClientCertificate { name: name.to_owned() }),
        "options" => Err(wrong("no options here: say them as LAMBDA_RDS_INIT_QUERY (init_query), or ALTER ROLE … SET")),
        "connect_timeout" => Err(wrong("no time limit here: it is LAMBDA_RDS_CONNECT_TIMEOUT (connect_timeout)")),
        // An ignored parameter would be a silent guess about, say, TLS.
        _ => Err(wrong(
            "one of sslmode, sslrootcert, host, port, dbname, user, password, application_name, statement-cache-capacity",
        )),
    }
}

/// Two values that differ are a contradiction: which of them drivers follow differs, and with it where the password goes and
/// whether that is in clear.
fn fill<T: PartialEq>(field: &mut Option<T>, value: T, name: &str) -> Result<(), ConfigError> {
    match field {
        Some(said) if *said != value => Err(ConfigError::UrlParameter {
            parameter: name.to_owned(),
            value: "<redacted>".to_owned(),
            expected: "no other value than the URL has given before",
        }),
        _ => {
            *field = Some(value);
            Ok(())
        }
    }
}

/// libpq's and MySQL's names. `prefer` and `allow` are left out: they fall back to plain text without a word.
pub(super) fn tls_mode(value: &str) -> Option<Tls> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "verify-full" | "verify-identity" => Some(Tls::VerifyFull),
        "verify-ca" => Some(Tls::VerifyCa),
        "require" | "required" => Some(Tls::Require),
        "disable" | "disabled" => Some(Tls::Disable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        merge(&mut config, &text.into(), &["postgres", "postgresql"]).map(|()| config)
    }

    #[test]
    fn every_part_is_percent_decoded() {
        let config =
            parse("postgresql://us%40er:p%3A%2Fw@db.example:5433/my%20shop?sslmode=require&sslrootcert=/ca.pem")
                .unwrap();
        assert_eq!(config.user.as_deref(), Some("us@er"));
        assert_eq!(config.password.as_ref().map(Redacted::expose), Some("p:/w"));
        assert_eq!((config.host.as_deref(), config.port), (Some("db.example"), Some(5433)));
        assert_eq!(config.database.as_deref(), Some("my shop"));
        assert_eq!((config.tls(), config.ca_file), (Tls::Require, Some("/ca.pem".into())));
    }

    #[test]
    fn a_client_certificate_is_refused_by_name_and_its_value_is_not_shown() {
        for name in ["sslcert", "sslkey", "ssl-cert", "ssl-key"] {
            let error = parse(&format!("postgres://app@db/shop?{name}=/hunter2.pem")).unwrap_err();
            assert!(matches!(&error, ConfigError::ClientCertificate { name: given } if given == name), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("leave it out, and log in with a password, a secret or IAM"), "{text}");
            assert!(!format!("{text} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_url_for_another_host_gives_neither_password_nor_tls_mode_nor_roots() {
        type Case = (fn(&mut Config), &'static str, Option<&'static str>);
        let (password, mode) = ("the password of a URL with another host", "the TLS mode of a URL with another host");
        let roots = "the roots of a URL with another host";
        let other = |config: &mut Config| config.host = Some("other".into());
        let cases: [Case; 12] = [
            (|_| (), "postgres://app:hunter2@db/shop?sslmode=require", None),
            (|c| c.host = Some("DB.".into()), "postgres://app:hunter2@db/shop?sslmode=require", None),
            (other, "postgres://app:hunter2@db/shop", Some(password)),
            (other, "postgres://app@db/shop?password=hunter2", Some(password)),
            (other, "postgres://app@db/shop?sslmode=disable", Some(mode)),
            (other, "postgres://app@db:6000/shop", None),
            (other, "postgres:///shop?password=hunter2&sslmode=require", None),
            // What the URL says of both is not used.
            (
                |c| (c.host, c.password, c.tls) = (Some("other".into()), Some("p".into()), Some(Tls::VerifyFull)),
                "postgres://app:hunter2@db/shop?sslmode=disable",
                None,
            ),
            (
                |c| (c.host, c.password) = (Some("other".into()), Some("p".into())),
                "postgres://app:hunter2@db/shop?sslmode=disable",
                Some(mode),
            ),
            (|c| c.host = Some("other".into()), "postgres://app@db/shop?sslrootcert=/dev.pem", Some(roots)),
            (|c| c.host = Some("db".into()), "postgres://app@db/shop?sslrootcert=/dev.pem", None),
            (
                |c| (c.host, c.ca_file) = (Some("other".into()), Some("/own.pem".into())),
                "postgres://app@db/shop?sslrootcert=/dev.pem",
                None,
            ),
        ];
        for (change, url, expected) in cases {
            let mut config = Config::default();
            change(&mut config);
            let conflict = match merge(&mut config, &url.into(), &["postgres"]) {
                Ok(()) => None,
                Err(ConfigError::Conflict { first: "host", second }) => Some(second),
                Err(error) => panic!("{url}: {error:?}"),
            };
            assert_eq!(conflict, expected, "{url}");
        }
    }

    #[test]
    fn what_a_url_says_twice_and_otherwise_is_refused() {
        for (url, parameter) in [
            ("postgres://app:hunter2@db/shop?sslmode=disable&sslmode=verify-full", Some("sslmode")),
            ("postgres://app:hunter2@db/shop?sslmode=disable&ssl-mode=verify-full", Some("ssl-mode")),
            ("postgres://app:hunter2@db/shop?sslmode=require&ssl-mode=REQUIRED", None),
            ("postgres://app:hunter2@db/shop?host=other", Some("host")),
            ("postgres://app:hunter2@db/shop?host=db&port=5433&port=5433", None),
            ("postgres://app:hunter2@db:5432/shop?port=5433", Some("port")),
            ("postgres://app:hunter2@db/shop?user=other", Some("user")),
            ("postgres://app:hunter2@db/shop?password=hunter3", Some("password")),
            ("postgres://app:hunter2@db/shop?dbname=other", Some("dbname")),
            ("postgres://app:hunter2@db/shop?sslrootcert=/a&ssl-ca=/b", Some("ssl-ca")),
        ] {
            match (parse(url), parameter) {
                (Ok(_), None) => {}
                (Err(error @ ConfigError::UrlParameter { .. }), Some(name)) => {
                    let text = format!("{error} {error:?}");
                    assert!(text.contains(name) && !text.contains("hunter"), "{url}: {text}");
                }
                (other, _) => panic!("{url}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets() {
        assert_eq!(parse("postgres://u@[::1]:5432/d").unwrap().host.as_deref(), Some("::1"));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_no_password_shows() {
        for text in [
            "postgres//app:hunter2@db/x",
            "mysql://app:hunter2@db/x",
            "postgres://app:hunter2@db:port/x",
            "postgres://app:hunter2@db/x?sslmode=prefer",
            "postgres://app:hunter2@db/x?sslmod=require",
            "postgres://app:hunter2@db/x?port=high",
            "postgres://app:hunter2%ff@db/x",
            "postgres://app@db/x?pasword=hunter2",
            "postgres://app:#hunter2@db/x",
            "postgres://app:1?hunter2@db/x",
            "postgres://app:/hunter2@db/x",
            "hunter2",
            "",
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, ConfigError::Url { .. } | ConfigError::UrlParameter { .. }), "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_show_the_password(
            scheme in "(postgres|postgresql|mysql|POSTGRES|)(://|:|//|)",
            user in r#"(|app|us%40er|é|%|%ff|\[|:|/){0,2}"#,
            before in r#"(|[!-~]|%2f|%|/|\?|#|sslmode=|port=|&|:){0,3}"#,
            rest in r#"(|db|\[::1\]|:5432|:99999|/|x|\?|&|sslmode=|port=|host=|password=|require|%zz|#|\.\.|[ -~é]){0,9}"#,
        ) {
            let text = format!("{scheme}{user}:{before}hunter2@{rest}");
            let (first, again) = (parse(&text), parse(&text));
            assert_eq!(format!("{first:?}"), format!("{again:?}"), "{text}");
            if let Err(error) = first {
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error:?}");
            }
            let _ = parse(&rest);
        }
    }
}
