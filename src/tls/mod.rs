//! Whom to trust: the RDS roots built in, and what a failed handshake means.
//!
//! RDS signs its certificates with private authorities, three a region, that are in no system's store; RDS Proxy and
//! Aurora Serverless v1 use public ones (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html>).
//! So the driver gets the region's roots on top of its public ones. Only the region's are parsed: the driver parses them
//! anew at every connect.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, Error as RustlsError};

use crate::error::TlsProblem;

/// The unexpired regional RDS roots, each under a comment that names its region.
const ROOTS: &str = include_str!("rds-roots.pem");
const HEADING: &str = "# Amazon RDS ";

/// PEM of the region's roots; of all roots when the region is not known or has none here.
pub(crate) fn roots(region: Option<&str>) -> String {
    let region_roots: String = ROOTS
        .split(HEADING)
        .filter(|section| {
            region.is_some_and(|region| section.strip_prefix(region).is_some_and(|rest| rest.starts_with(' ')))
        })
        .collect();
    if region_roots.is_empty() { ROOTS.to_owned() } else { region_roots }
}

/// The region in an RDS host name: `….<region>.rds.amazonaws.com`, in China `….rds.<region>.amazonaws.com.cn`.
pub(crate) fn region_of(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let region = if let Some(rest) = host.strip_suffix(".rds.amazonaws.com") {
        rest.rsplit('.').next()
    } else if let Some(rest) = host.strip_suffix(".amazonaws.com.cn") {
        rest.rsplit_once(".rds.").map(|(_, region)| region)
    } else {
        None
    };
    region.filter(|region| region.contains('-')).map(str::to_owned)
}

/// What is wrong with root certificates in PEM, if anything is. A text without any would silently add nothing, and the
/// driver's complaint about a broken one quotes the whole text.
pub(crate) fn fault_in(pem: &[u8]) -> Option<&'static str> {
    let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
    if certificates.peek().is_none() {
        return Some("holds no PEM certificate");
    }
    certificates.any(|certificate| certificate.is_err()).then_some("holds PEM that is damaged")
}

/// What a connect error says about TLS, if it is about TLS.
pub(crate) fn problem(error: &sqlx::Error) -> Option<TlsProblem> {
    match error {
        sqlx::Error::Io(io) => io.get_ref()?.downcast_ref().map(problem_of),
        sqlx::Error::Tls(inner) => Some(match inner.downcast_ref::<RustlsError>() {
            // Before the handshake rustls speaks only to add the roots it is given.
            Some(RustlsError::InvalidCertificate(CertificateError::BadEncoding)) => TlsProblem::BadRoot,
            Some(error) => problem_of(error),
            None if inner.to_string().contains("does not support TLS") => TlsProblem::NotOffered,
            None => TlsProblem::Handshake,
        }),
        _ => None,
    }
}

fn problem_of(error: &RustlsError) -> TlsProblem {
    let RustlsError::InvalidCertificate(error) = error else { return TlsProblem::Handshake };
    match error {
        // A trusted authority has the issuer's name and another key: not the issuer, only its namesake.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsProblem::UnknownIssuer,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsProblem::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsProblem::NameMismatch,
        _ => TlsProblem::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_read_from_rds_names_only() {
        for (host, region) in [
            ("shop.cluster-abc123.eu-central-1.rds.amazonaws.com", Some("eu-central-1")),
            ("db.abc123.us-gov-west-1.rds.amazonaws.com.", Some("us-gov-west-1")),
            ("P.proxy-abc.US-EAST-1.rds.amazonaws.com", Some("us-east-1")),
            ("db.abc123.rds.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("db.example.com", None),
            ("localhost", None),
            ("rds.amazonaws.com", None),
            ("evil.rds.amazonaws.com.example.com", None),
        ] {
            assert_eq!(region_of(host).as_deref(), region, "{host}");
        }
    }

    #[test]
    fn a_region_has_its_three_roots_and_an_unknown_one_gets_all() {
        let count = |pem: &str| pem.matches("-----BEGIN CERTIFICATE-----").count();
        assert_eq!(count(&roots(Some("eu-central-1"))), 3);
        assert_eq!(count(&roots(Some("us-east-1"))), 3, "us-east-1 is no prefix of another");
        assert_eq!(roots(Some("moon-west-1")), ROOTS);
        assert_eq!(count(&roots(None)), count(ROOTS));
    }

    #[test]
    fn roots_that_are_none_are_noticed() {
        assert_eq!(fault_in(roots(Some("eu-west-1")).as_bytes()), None);
        assert_eq!(fault_in(b"hello"), Some("holds no PEM certificate"));
        assert_eq!(fault_in(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"), fault_in(b""));
        let damaged = b"-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----";
        assert_eq!(fault_in(damaged), Some("holds PEM that is damaged"));
    }

    #[test]
    fn no_root_expires_within_this_crates_life() {
        let expiries: Vec<u32> = ROOTS
            .lines()
            .filter_map(|line| {
                line.strip_prefix("# not after ")?.split(" GMT").next()?.rsplit(' ').next()?.parse().ok()
            })
            .collect();
        assert_eq!(expiries.len(), ROOTS.matches("BEGIN CERTIFICATE").count());
        assert!(expiries.iter().all(|year| *year >= 2060), "{expiries:?}");
    }
}
