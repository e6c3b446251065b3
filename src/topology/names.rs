//! What a host name says: whose endpoint it is, and what a member's own name must be.
//!
//! Rules: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html>. That all members
//! of a cluster share the cluster's hash is no promise of AWS; its own drivers rely on it as well.

use crate::config::HostPattern;

/// What stands in the place of a region in a global database's name:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-global-database-connecting.html>.
const EVERY_REGION: &str = "global";

const DOMAINS: [&str; 2] = [".rds.amazonaws.com", ".amazonaws.com.cn"];

/// What kind of endpoint a host name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Follows the writer, some seconds late.
    ClusterWriter,
    /// Leads to any reader.
    ClusterReader,
    /// Follows the writer of a global database, in whatever region that is.
    GlobalWriter,
    /// Leads to some members that somebody has chosen.
    Custom,
    /// One instance: a member of a cluster, or one of its own.
    Instance,
    /// RDS Proxy.
    Proxy,
    /// An address, a name of one's own, something local.
    Other,
}

/// The parts of an RDS name: `<name>.<mark><hash>.<the rest>`.
struct Parts<'a> {
    name: &'a str,
    kind: Kind,
    hash: &'a str,
    rest: &'a str,
}

fn parts(host: &str) -> Option<Parts<'_>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (name, tail) = host.split_once('.')?;
    let (label, rest) = tail.split_once('.')?;
    let domain = DOMAINS.iter().find(|domain| ends_with(host, domain))?;
    // `<region>.rds.amazonaws.com`, and in China `rds.<region>.amazonaws.com.cn`.
    let region = rest.get(..rest.len().checked_sub(domain.len())?)?;
    let region = if *domain == DOMAINS[1] { strip_prefix(region, "rds.")? } else { region };
    if name.is_empty() || region.is_empty() || region.contains('.') {
        return None;
    }
    if region.eq_ignore_ascii_case(EVERY_REGION) {
        // `<name>.global-<hash>.global.rds.amazonaws.com`. Its hash is the global database's, and no member's.
        let hash = strip_prefix(label, "global-").filter(|hash| !hash.is_empty())?;
        return Some(Parts { name, kind: Kind::GlobalWriter, hash, rest });
    }
    // The longer mark first: each begins with the next.
    let marks = [
        ("cluster-custom-", Kind::Custom),
        ("cluster-ro-", Kind::ClusterReader),
        ("cluster-", Kind::ClusterWriter),
        ("proxy-", Kind::Proxy),
    ];
    let marked = marks.iter().find_map(|(mark, kind)| Some((strip_prefix(label, mark)?, *kind)));
    let (hash, kind) = marked.unwrap_or((label, Kind::Instance));
    // A proxy's further endpoints are `<name>.endpoint.proxy-<hash>.…`: one label more, and none of our names.
    (!hash.is_empty()).then_some(Parts { name, kind, hash, rest })
}

/// What kind of name `host` is.
pub(crate) fn kind(host: &str) -> Kind {
    match parts(host) {
        Some(parts) => parts.kind,
        None if DOMAINS.iter().any(|domain| ends_with(host.trim_end_matches('.'), domain))
            && host.to_ascii_lowercase().contains(".endpoint.proxy-") =>
        {
            Kind::Proxy
        }
        None => Kind::Other,
    }
}

/// Whether RDS has given the name.
pub(crate) fn is_of_rds(host: &str) -> bool {
    kind(host) != Kind::Other
}

/// Whether it is an endpoint of RDS Proxy.
pub(crate) fn is_rds_proxy(host: &str) -> bool {
    kind(host) == Kind::Proxy
}

/// The identifier of the cluster whose writer or reader endpoint this is.
pub(crate) fn cluster_id(host: &str) -> Option<&str> {
    let parts = parts(host)?;
    matches!(parts.kind, Kind::ClusterWriter | Kind::ClusterReader).then_some(parts.name)
}

/// The identifier of the instance whose endpoint this is.
pub(crate) fn instance_id(host: &str) -> Option<&str> {
    let parts = parts(host)?;
    (parts.kind == Kind::Instance).then_some(parts.name)
}

/// The endpoint that follows the writer, from this one or the reader's.
pub(crate) fn writer_endpoint(host: &str) -> Option<String> {
    let parts = parts(host)?;
    let follows = matches!(parts.kind, Kind::ClusterWriter | Kind::ClusterReader);
    follows.then(|| format!("{}.cluster-{}.{}", parts.name, parts.hash, parts.rest))
}

/// Whether the name leads to whatever region the writer is in: it says nothing of the region.
pub(crate) fn is_of_every_region(host: &str) -> bool {
    kind(host) == Kind::GlobalWriter
}

/// The pattern that the name of any endpoint of a cluster implies. A global database's implies none: its clusters each
/// have their own.
pub(crate) fn implied_pattern(host: &str) -> Option<HostPattern> {
    let parts = parts(host)?;
    (!matches!(parts.kind, Kind::Proxy | Kind::GlobalWriter))
        .then(|| HostPattern::new("", &format!(".{}.{}", parts.hash, parts.rest)))
}

fn ends_with(text: &str, suffix: &str) -> bool {
    let start = text.len().checked_sub(suffix.len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "abc123.eu-central-1.rds.amazonaws.com";

    #[test]
    fn a_name_says_whose_endpoint_it_is() {
        for (host, expected) in [
            ("shop.cluster-abc123.eu-central-1.rds.amazonaws.com", Kind::ClusterWriter),
            ("SHOP.CLUSTER-ABC123.EU-CENTRAL-1.RDS.AMAZONAWS.COM.", Kind::ClusterWriter),
            ("shop.cluster-ro-abc123.eu-central-1.rds.amazonaws.com", Kind::ClusterReader),
            ("report.cluster-custom-abc123.eu-central-1.rds.amazonaws.com", Kind::Custom),
            ("shop-1.abc123.eu-central-1.rds.amazonaws.com", Kind::Instance),
            ("shop.proxy-abc123.eu-central-1.rds.amazonaws.com", Kind::Proxy),
            ("ro.endpoint.proxy-abc123.eu-central-1.rds.amazonaws.com", Kind::Proxy),
            ("shop.cluster-abc123.rds.cn-north-1.amazonaws.com.cn", Kind::ClusterWriter),
            ("shop-1.abc123.rds.cn-north-1.amazonaws.com.cn", Kind::Instance),
            ("shop-1.abc123.us-gov-west-1.rds.amazonaws.com", Kind::Instance),
            ("shop.global-abc123.global.rds.amazonaws.com", Kind::GlobalWriter),
            ("Shop.Global-abc123.GLOBAL.rds.amazonaws.com.", Kind::GlobalWriter),
            ("shop.global-.global.rds.amazonaws.com", Kind::Other),
            ("shop.abc123.global.rds.amazonaws.com", Kind::Other),
            ("shop.cluster-abc123.global.rds.amazonaws.com", Kind::Other),
            ("rds.eu-central-1.amazonaws.com", Kind::Other),
            ("eu-central-1.rds.amazonaws.com", Kind::Other),
            ("shop.cluster-.eu-central-1.rds.amazonaws.com", Kind::Other),
            ("shop.abc123.rds.amazonaws.com", Kind::Other),
            ("shop.abc123.rds.amazonaws.com.evil.example", Kind::Other),
            ("shop.abc123.ec2.cn-north-1.amazonaws.com.cn", Kind::Other),
            ("db.example.com", Kind::Other),
            ("10.0.0.1", Kind::Other),
            ("::1", Kind::Other),
            ("localhost", Kind::Other),
            ("größe.cluster-ä.rds.amazonaws.com", Kind::Other),
            ("", Kind::Other),
            ("..", Kind::Other),
        ] {
            assert_eq!(kind(host), expected, "{host}");
        }
    }

    #[test]
    fn a_members_host_follows_from_any_endpoint_of_its_cluster() {
        for host in [
            "shop.cluster-abc123.eu-central-1.rds.amazonaws.com",
            "shop.cluster-ro-abc123.eu-central-1.rds.amazonaws.com",
            "report.cluster-custom-abc123.eu-central-1.rds.amazonaws.com",
            "shop-9.abc123.eu-central-1.rds.amazonaws.com",
        ] {
            let pattern = implied_pattern(host).unwrap();
            assert_eq!(pattern.host_of("shop-1"), (format!("shop-1.{TAIL}"), None), "{host}");
        }
        let china = implied_pattern("shop.cluster-abc.rds.cn-north-1.amazonaws.com.cn").unwrap();
        assert_eq!(china.host_of("shop-1").0, "shop-1.abc.rds.cn-north-1.amazonaws.com.cn");
        for host in [
            "shop.proxy-abc123.eu-central-1.rds.amazonaws.com",
            "shop.global-abc123.global.rds.amazonaws.com",
            "db.example.com",
            "10.0.0.1",
        ] {
            assert_eq!(implied_pattern(host), None, "{host}");
        }
    }

    #[test]
    fn endpoints_name_cluster_and_instance() {
        let reader = format!("shop.cluster-ro-{TAIL}");
        assert_eq!(cluster_id(&reader), Some("shop"));
        assert_eq!(writer_endpoint(&reader), Some(format!("shop.cluster-{TAIL}")));
        let custom = format!("report.cluster-custom-{TAIL}");
        assert_eq!((cluster_id(&custom), writer_endpoint(&custom)), (None, None), "a custom name is not the cluster's");
        let instance = format!("shop-1.{TAIL}");
        assert_eq!((instance_id(&instance), instance_id(&reader)), (Some("shop-1"), None));
        assert_eq!((cluster_id(&instance), instance_id("10.0.0.1")), (None, None));
        let global = "shop.global-abc123.global.rds.amazonaws.com";
        assert_eq!((cluster_id(global), instance_id(global), writer_endpoint(global)), (None, None, None));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_says_agrees(
            host in r#"(shop|\.|global-|\.global|cluster-|cluster-ro-|cluster-custom-|proxy-|endpoint|abc123|eu-central-1|rds|\.amazonaws\.com|\.cn|\.rds\.amazonaws\.com|-|é|ä\.|[ -~]){0,12}"#,
        ) {
            let of_cluster = matches!(kind(&host), Kind::ClusterWriter | Kind::ClusterReader);
            assert_eq!(cluster_id(&host).is_some(), of_cluster, "{host}");
            assert_eq!(instance_id(&host).is_some(), kind(&host) == Kind::Instance, "{host}");
            if let Some(writer) = writer_endpoint(&host) {
                assert_eq!((kind(&writer), cluster_id(&writer)), (Kind::ClusterWriter, cluster_id(&host)), "{host}");
                assert_eq!(implied_pattern(&writer), implied_pattern(&host), "{host}");
            }
            // AWS's hashes are letters and digits.
            let is_hash = |label: &str| label.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if let Some(pattern) = implied_pattern(&host)
                && let (member, port) = pattern.host_of("shop-1")
                && member.split('.').nth(1).is_some_and(is_hash)
            {
                assert_eq!((kind(&member), instance_id(&member), port), (Kind::Instance, Some("shop-1"), None), "{host}");
                assert_eq!(implied_pattern(&member), Some(pattern), "{host}");
            }
        }
    }
}
