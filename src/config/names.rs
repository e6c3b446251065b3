//! What a name may look like. A secret's text or a URL that was put in a name's place by mistake would be shown, dialled,
//! sent to AWS and stand in its trail; so each kind of name is made of what it can be made of, and all else is refused
//! without being shown.

use std::path::Path;

/// The longest name of a host.
const LONGEST_HOST: usize = 253;
/// The longest identifier that RDS gives.
const LONGEST_IDENTIFIER: usize = 63;

/// A host's name or address; a port, a user or a scheme are none of it.
pub(crate) fn is_host(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty()
        && text.len() <= LONGEST_HOST
        && (text.chars().all(is_part) || text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A secret's name, of letters, digits and `/_+=.@-`, or its ARN.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
pub(super) fn is_secret_id(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '=' | '.' | '@' | '-' | '!');
    !text.is_empty() && (text.chars().all(is_part) || is_arn(text, is_part))
}

/// An identifier of RDS, or an ARN.
pub(super) fn is_identifier(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !text.is_empty() && (text.len() <= LONGEST_IDENTIFIER && text.chars().all(is_part) || is_arn(text, is_part))
}

/// The longest name that a server takes.
const LONGEST_NAME: usize = 255;
/// The longest path that Linux takes.
const LONGEST_PATH: usize = 4096;
/// Longer than every word that is expected anywhere.
const LONGEST_WORD: usize = 24;

/// A user's or a database's name: letters and digits of any script, with the marks that belong to them, blanks, and signs
/// that stand in no URL, no connection string, no pair of a user and a password and no JSON.
pub(crate) fn is_name(text: &str) -> bool {
    let is_part =
        |c: char| is_of_a_script(c) || matches!(c, ' ' | '_' | '-' | '.' | '@' | '$' | '#' | '+' | '\\' | '~');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(is_part)
}

/// A path of a file, as paths of certificates are.
pub(super) fn is_path(path: &Path) -> bool {
    let is_part = |c: char| is_of_a_script(c) || matches!(c, '/' | '.' | '_' | '-' | '~' | '+' | ' ' | ',');
    path.to_str().is_some_and(|path| !path.is_empty() && path.len() <= LONGEST_PATH && path.chars().all(is_part))
}

/// A value that is wrong, as an error may show it: one word, or nothing. What else stands where a word is expected came there
/// by a wrong separator, and may hold a password.
pub(super) fn shown(value: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_word = value.len() <= LONGEST_WORD && value.chars().all(is_part);
    if is_word { value.to_owned() } else { "<redacted>".to_owned() }
}

/// Beyond ASCII there are no signs of a connection string's grammar, and marks and joiners are parts of words.
fn is_of_a_script(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() } else { !c.is_whitespace() && !c.is_control() }
}

/// `arn:aws:service:region:account:resource`, the partition and the service being words.
fn is_arn(text: &str, is_part: impl Fn(char) -> bool) -> bool {
    let fields: Vec<_> = text.splitn(6, ':').collect();
    let [arn, partition, service, _, _, resource] = fields[..] else { return false };
    let is_word = |field: &str| !field.is_empty() && field.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    arn == "arn"
        && partition.starts_with("aws")
        && [partition, service].into_iter().all(is_word)
        && !resource.is_empty()
        && text.chars().all(|c| c == ':' || is_part(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = r#"{"username":"app","password":"hunter2"}"#;
    const URL: &str = "postgres://app:hunter2@db.example/app";

    #[test]
    fn a_secrets_text_or_a_url_is_no_name_of_any_kind() {
        const LIBPQ: &str = "host=db user=app password=hunter2";
        for text in
            [SECRET, URL, LIBPQ, "Server=db;Pwd=hunter2", "app?password=x", "app/hunter2", "app:hunter2", "", "a\nb"]
        {
            for is in [is_host, is_identifier, is_name] {
                assert!(!is(text), "{text}");
            }
            assert!(!is_path(Path::new(text)) || text == "app/hunter2", "{text}");
            assert!(shown(text) == "<redacted>" || text.is_empty(), "{text}");
            // A secret's name may have a slash and an equals sign.
            assert!(!is_secret_id(text) || text.contains('/') && text.len() < 12, "{text}");
        }
    }

    #[test]
    fn each_kind_of_name_is_one() {
        for host in
            ["localhost", "db_1.example.com.", "shop.cluster-abc.eu-central-1.rds.amazonaws.com", "10.0.0.1", "::1"]
        {
            assert!(is_host(host), "{host}");
        }
        for no_host in ["db.example?password=x", "db example", "db.example:5432", "a@b", "db/app", "dßb"] {
            assert!(!is_host(no_host), "{no_host}");
        }
        for id in [
            "prod/shop/db",
            "rds!db-0a1b2c",
            "a+b=c.d@e-f",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-AbCdEf",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod//db-AbCdEf",
            "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:db-AbCdEf",
        ] {
            assert!(is_secret_id(id), "{id}");
        }
        for no_id in ["app:hunter2@db.example", "prod db", "'prod'", "arn:aws://app:hunter2@db"] {
            assert!(!is_secret_id(no_id), "{no_id}");
        }
        assert!(is_identifier("shop-1") && is_identifier("arn:aws:rds:eu-central-1:123456789012:cluster:shop"));
        assert!(!is_identifier("shop 1") && !is_identifier("shop/1"));
        for name in [
            "app",
            "app@example.com",
            "Domain\\user",
            "über",
            "u\u{308}ber",
            "हिन्दी",
            "ที่",
            "app-1",
            "a b",
            "a$b#c+d~e.f",
        ] {
            assert!(is_name(name), "{name}");
        }
        for path in ["/opt/ca.pem", "./certs/rds-ca, 2026.pem", "zertifikate/über.pem"] {
            assert!(is_path(Path::new(path)), "{path}");
        }
        for word in ["prefer", "verify-ca", "5432x", "5s", ""] {
            assert_eq!(shown(word), word);
        }
    }
}
