//! Which addresses may be dialled when a server has named them.
//!
//! Why not simply believe the server? Whoever is dialled is sent the password, and may ask for it in clear; verify-full
//! proves only that the host is the one that was *named*. So the one who names a host decides where the password goes,
//! and a server's tables and functions may have been written by anybody who may write there. A claim of a server only
//! counts where the configuration, the target's own domain or the RDS API says the same.

use super::member::Address;
use crate::config::HostPattern;

/// More members than this are not kept: an Aurora cluster has at most sixteen, a Multi-AZ DB cluster three
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Replication.html>).
pub(crate) const MOST_MEMBERS: usize = 64;

/// What the configuration adds to what is seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// The port of members that have none of their own.
    pub(crate) port: u16,
    /// How the members' hosts are called: configured, or implied by the target's own RDS name.
    pub(crate) pattern: Option<HostPattern>,
    /// Where the configuration, the secret or the API says that the target is.
    pub(crate) target: Option<Address>,
}

impl Rules {
    /// Whether a server's word is enough for this address: it is the target's own, or it is called as the members are, on
    /// the port that members have.
    pub(crate) fn vouch_for(&self, host: &str, port: Option<u16>) -> bool {
        let port = port.unwrap_or(self.port);
        let is_target = self.target.as_ref().is_some_and(|target| target.is(&Address::new(host, port)));
        is_target
            || self
                .pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(host) && port == pattern.port().unwrap_or(self.port))
    }
}

/// Whether it is an identifier as RDS gives them: `[A-Za-z0-9-]{1,63}`. Anything else would become a part of a host name.
pub(crate) fn is_identifier(id: &str) -> bool {
    (1..=63).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::names;

    #[test]
    fn a_server_is_believed_about_the_targets_own_domain_and_port_only() {
        let cluster = "shop.cluster-abc.eu-central-1.rds.amazonaws.com";
        let implied =
            Rules { port: 5432, pattern: names::implied_pattern(cluster), target: Some(Address::new(cluster, 5432)) };
        for (host, port, believed) in [
            ("shop-1.abc.eu-central-1.rds.amazonaws.com", None, true),
            ("SHOP-1.ABC.EU-CENTRAL-1.RDS.AMAZONAWS.COM", Some(5432), true),
            ("shop-1.abc.eu-central-1.rds.amazonaws.com", Some(7777), false),
            (cluster, Some(5432), true),
            ("shop-1.other.eu-central-1.rds.amazonaws.com", None, false),
            ("shop-1.abc.us-east-1.rds.amazonaws.com", None, false),
            ("evil.example", None, false),
            ("evil.example.abc.eu-central-1.rds.amazonaws.com", None, false),
            ("shop-1.abc.eu-central-1.rds.amazonaws.com.evil.example", None, false),
            (".abc.eu-central-1.rds.amazonaws.com", None, false),
            ("evil/shop-1.abc.eu-central-1.rds.amazonaws.com", None, false),
            ("127.0.0.1", None, false),
            ("", None, false),
        ] {
            assert_eq!(implied.vouch_for(host, port), believed, "{host}:{port:?}");
        }
        let own = Rules {
            port: 5432,
            pattern: HostPattern::parse("?.db.example.com:6000"),
            target: Some(Address::new("db.example.com", 5432)),
        };
        for (host, port, believed) in [
            ("a.db.example.com", Some(6000), true),
            ("a.db.example.com", Some(5432), false),
            ("db.example.com", Some(5432), true),
            ("db.example.com", None, true),
            ("db.example.com", Some(6000), false),
            ("a.b.db.example.com", Some(6000), false),
        ] {
            assert_eq!(own.vouch_for(host, port), believed, "{host}:{port:?}");
        }
        let unknown = Rules { port: 5432, target: Some(Address::new("10.0.0.1", 5432)), ..Rules::default() };
        assert!(!unknown.vouch_for("10.0.0.2", None) && unknown.vouch_for("10.0.0.1", None));
    }

    #[test]
    fn an_identifier_is_made_of_letters_digits_and_hyphens() {
        for (id, is) in
            [("shop-1", true), ("db-ABC123", true), ("7", true), ("", false), ("a.b", false), ("a/b", false)]
        {
            assert_eq!(is_identifier(id), is, "{id}");
        }
        assert!(!is_identifier(&"a".repeat(64)));
    }
}
