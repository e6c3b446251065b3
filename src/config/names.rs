//! What a name may look like. A secret's text or a URL that was put in a name's place by mistake would be shown, dialled,
//! sent to AWS and stand in its trail; so each kind of name is made of what it can be made of, and all else is refused
//! without being shown.

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

/// A user's or a database's name: letters and digits of any script, blanks, and signs that stand in no URL, no connection
/// string, no pair of a user and a password and no JSON.
pub(crate) fn is_name(text: &str) -> bool {
    let is_part =
        |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | '@' | '$' | '#' | '+' | '\\' | '~');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(is_part)
}

/// A path of a file, and no URL that was put in its place.
pub(super) fn is_path(path: &std::path::Path) -> bool {
    !path.to_string_lossy().contains("://")
}

fn is_arn(text: &str, is_part: impl Fn(char) -> bool) -> bool {
    text.starts_with("arn:aws") && text.chars().all(|c| c == ':' || is_part(c)) && !text.contains("//")
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
            "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:db-AbCdEf",
        ] {
            assert!(is_secret_id(id), "{id}");
        }
        for no_id in ["app:hunter2@db.example", "prod db", "'prod'", "arn:aws://app:hunter2@db"] {
            assert!(!is_secret_id(no_id), "{no_id}");
        }
        assert!(is_identifier("shop-1") && is_identifier("arn:aws:rds:eu-central-1:123456789012:cluster:shop"));
        assert!(!is_identifier("shop 1") && !is_identifier("shop/1"));
        for name in ["app", "app@example.com", "Domain\\user", "über", "app-1", "a b", "a$b#c+d~e.f"] {
            assert!(is_name(name), "{name}");
        }
    }
}
