//! The JSON that RDS, its rotation functions and RDS Proxy keep in a secret.
//!
//! Shapes: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>.
//! Managed secrets hold user and password only; `port` is a number in AWS's template and a text in some of its examples.

use serde_json::Value;

use super::{Credentials, CredentialsError};
use crate::config::{is_host, is_name};

/// The engines that RDS has secrets for.
const KNOWN: [&str; 11] = [
    "postgres",
    "postgresql",
    "aurora-postgresql",
    "mysql",
    "mariadb",
    "aurora",
    "aurora-mysql",
    "oracle",
    "sqlserver",
    "db2",
    "redshift",
];

/// Reads a secret's text.
pub(crate) fn parse(secret: &str, text: &str, engine: &'static str) -> Result<Credentials, CredentialsError> {
    let malformed = |problem: String| CredentialsError::Malformed { secret: secret.to_owned(), problem };
    // serde_json's error would quote nothing of the text but its position; only that is passed on.
    // The mark that some editors begin a file with is none of it.
    let json: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| malformed(format!("it is not JSON (line {}, column {})", error.line(), error.column())))?;
    let Value::Object(fields) = json else { return Err(malformed("it is JSON but not an object".to_owned())) };
    let text_of = |key: &str| match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed(format!("\"{key}\" is not a text"))),
    };
    let needed = |key: &str| text_of(key)?.ok_or_else(|| malformed(format!("\"{key}\" is missing")));

    let user = needed("username")?;
    let password = needed("password")?;
    let port = match fields.get("port") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(malformed("\"port\" is neither a number nor a text".to_owned())),
    };
    let port = port.map(|port| match port.trim().parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(malformed("\"port\" is no port".to_owned())),
    });
    match text_of("engine")? {
        Some(found) if !is_engine(&found, engine) => {
            // Any other text may be something else that came to stand there.
            let found = KNOWN.iter().find(|known| found.eq_ignore_ascii_case(known)).unwrap_or(&"that is not known");
            return Err(malformed(format!("it is for the engine {found}, and {engine} is being connected to")));
        }
        _ => {}
    }
    let host = text_of("host")?;
    if host.as_deref().is_some_and(|host| !is_host(host)) {
        return Err(malformed("\"host\" is no host's name".to_owned()));
    }
    let database = text_of("dbname")?;
    if !is_name(&user) {
        return Err(malformed("\"username\" is no user's name".to_owned()));
    }
    if database.as_deref().is_some_and(|name| !is_name(name)) {
        return Err(malformed("\"dbname\" is no database's name".to_owned()));
    }
    Ok(Credentials { host, port: port.transpose()?, database, ..Credentials::new(user, password) })
}

/// `aurora-postgresql`, `mariadb` and the like belong to their families.
fn is_engine(found: &str, engine: &str) -> bool {
    let found = found.to_ascii_lowercase();
    let found = found.strip_prefix("aurora-").unwrap_or(&found);
    match engine {
        "postgres" => matches!(found, "postgres" | "postgresql"),
        _ => matches!(found, "mysql" | "mariadb" | "aurora"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_shape_is_read() {
        for (text, host, port, database) in [
            (r#"{"username":"app","password":"pw"}"#, None, None, None),
            (
                r#"{"engine":"postgres","host":"db.example","username":"app","password":"pw","dbname":"shop","port":5433}"#,
                Some("db.example"),
                Some(5433),
                Some("shop"),
            ),
            (
                // As templates write what they have no value for, after the mark that some editors begin a file with.
                "\u{feff}{\"username\":\"app\",\"password\":\"pw\",\"host\":\"\",\"port\":\"\",\"dbname\":\"\"}",
                None,
                None,
                None,
            ),
            (
                r#"{"engine":"aurora-postgresql","host":"db","username":"app","password":"pw","dbname":null,"port":"5432","masterarn":"arn:x"}"#,
                Some("db"),
                Some(5432),
                None,
            ),
        ] {
            let read = parse("s", text, "postgres").unwrap();
            assert_eq!((read.user.as_str(), read.password.expose()), ("app", "pw"));
            assert_eq!((read.host.as_deref(), read.port, read.database.as_deref()), (host, port, database), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_showing_the_secret() {
        for (text, problem) in [
            ("hunter2", "not JSON"),
            (r#"["hunter2"]"#, "not an object"),
            (r#"{"username":"app"}"#, "\"password\" is missing"),
            (r#"{"username":"app","password":""}"#, "\"password\" is missing"),
            (r#"{"password":"hunter2"}"#, "\"username\" is missing"),
            (r#"{"username":"app","password":["hunter2"]}"#, "\"password\" is not a text"),
            (r#"{"username":"app","password":"hunter2","port":"high"}"#, "no port"),
            (r#"{"username":"app","password":"hunter2","port":70000}"#, "no port"),
            (r#"{"username":"app","password":"hunter2","port":0}"#, "no port"),
            (r#"{"username":"app","password":"hunter2","engine":"mysql"}"#, "engine mysql"),
            (r#"{"username":"app","password":"p","engine":"hunter2"}"#, "engine that is not known"),
            (r#"{"username":"app","password":"p","port":"hunter2"}"#, "\"port\" is no port"),
            (r#"{"username":"app","password":"p","host":"postgres://app:hunter2@db"}"#, "\"host\" is no host's name"),
        ] {
            let error = parse("prod/db", text, "postgres").unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("prod/db"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_show_the_password(
            pieces in proptest::collection::vec(
                r#"("(username|password|host|port|engine|dbname)"|:|,|\{|\}|\[|\]|"app"|"postgres"|5432|-1|1e999|null|true|"\\u00e9"|"\\ud800"|[ -~é]){0,3}"#,
                0..9,
            ),
        ) {
            let text = pieces.concat();
            let inside = format!(r#"{{"username":"app","password":"hunter2"{text}}}"#);
            for text in [text.as_str(), &inside, &format!(r#"{{"password":"hunter2","username":"app",{text}"#)] {
                for engine in ["postgres", "mysql"] {
                    let read = || parse("s", text, engine);
                    assert_eq!(format!("{:?}", read()), format!("{:?}", read()), "{text}");
                    match read() {
                        Ok(read) => assert!(!read.user.is_empty() && !read.password.expose().is_empty(), "{text}"),
                        Err(error) => assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error:?}"),
                    }
                }
            }
        }

        #[test]
        fn no_text_nests_deeper_than_the_stack(bracket in r#"(\[|\{"a":|\[\{"a":)"#, count in 0..100_000_usize) {
            assert!(parse("s", &bracket.repeat(count), "postgres").is_err());
        }
    }
}
