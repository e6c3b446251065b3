//! Whom to trust: the RDS roots built in, or those that the user gives, and what a failed handshake means.
//!
//! RDS signs its certificates with private authorities, three a region, that are in no system's store; RDS Proxy and
//! Aurora Serverless v1 use public ones (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html>).
//! So the driver gets the region's roots on top of its public ones. Only the region's are parsed: the driver parses them
//! anew at every connect.
//!
//! The public ones should count only where a host can have a certificate of theirs, and never beside an authority of one's
//! own. sqlx 0.9 gives no way: each of its features that brings rustls a provider brings it a set of roots too
//! (`import_root_certs`), and a PEM text is added to that set. What follows is written at [`Tls`](crate::Tls).

mod expiry;

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, Error as RustlsError};

use crate::error::{LEFT_OUT, TlsProblem};

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

/// The root certificates in a PEM text whose term is not over at `now`, counted from 1970. One whose term is over is left
/// out, as a bundle may hold a few of them.
///
/// # Errors
/// What is wrong with the text. One without a certificate would silently trust nobody, or everybody; and the driver's
/// complaint about a broken one quotes the whole text.
pub(crate) fn in_term(pem: &[u8], now: Duration) -> Result<Vec<u8>, &'static str> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (mut good, mut is_any) = (Vec::new(), false);
    for section in sections(pem) {
        let Ok(certificate) = CertificateDer::from_pem_slice(section) else {
            return Err("holds PEM that is damaged");
        };
        let Some(end) = expiry::end(&certificate) else {
            return Err("holds a certificate that cannot be read");
        };
        is_any = true;
        if now <= end {
            good.extend_from_slice(section);
            good.push(b'\n');
        }
    }
    match (good.is_empty(), is_any) {
        (false, _) => Ok(good),
        (true, true) => Err("holds no root certificate whose own term is not over; get the authority's new one"),
        (true, false) => Err("holds no PEM certificate"),
    }
}

/// The certificates of a PEM text, and nothing else of it: what stands between them may be a key, and the driver would read it.
fn sections(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let starts: Vec<usize> = (0..pem.len()).filter(|at| pem[*at..].starts_with(BEGIN)).collect();
    let nexts: Vec<usize> = starts.iter().skip(1).copied().chain([pem.len()]).collect();
    starts.into_iter().zip(nexts).map(|(start, next)| {
        let section = &pem[start..next];
        let end = section.windows(END.len()).position(|part| part == END);
        end.map_or(section, |end| &section[..end + END.len()])
    })
}

/// An error about TLS whose words are left out, for they hold the names in a certificate.
#[derive(Debug, thiserror::Error)]
#[error("{}", LEFT_OUT)]
struct Unquoted(TlsProblem);

/// The same error without the certificate's names, where `is_unfit` says so of its words. What the system says is left as it is.
pub(crate) fn unquoted(error: sqlx::Error, is_unfit: impl Fn(&str) -> bool) -> sqlx::Error {
    match problem(&error) {
        Some(problem) if is_unfit(&error.to_string()) => sqlx::Error::Tls(Box::new(Unquoted(problem))),
        _ => error,
    }
}

/// What a connect error says about TLS, if it is about TLS.
pub(crate) fn problem(error: &sqlx::Error) -> Option<TlsProblem> {
    match error {
        sqlx::Error::Io(io) => io.get_ref()?.downcast_ref().map(problem_of),
        sqlx::Error::Tls(inner) if inner.is::<Unquoted>() => inner.downcast_ref().map(|Unquoted(problem)| *problem),
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
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

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

    fn root(name: &str, year: i32) -> String {
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(year, 1, 1);
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    /// Around the turn of 2026 and 2027.
    const NOW: Duration = Duration::from_secs(1_798_761_600);

    #[test]
    fn roots_that_are_none_are_noticed() {
        let fault_in = |pem: &[u8]| in_term(pem, NOW).err();
        assert_eq!(fault_in(roots(Some("eu-west-1")).as_bytes()), None);
        assert_eq!(fault_in(ROOTS.as_bytes()), None);
        assert_eq!(fault_in(b"hello"), Some("holds no PEM certificate"));
        assert_eq!(fault_in(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"), fault_in(b""));
        let damaged = b"-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----";
        assert_eq!(fault_in(damaged), Some("holds PEM that is damaged"));
        let cut = &root("a", 2100).into_bytes()[..200];
        assert_eq!(fault_in(cut), Some("holds PEM that is damaged"));
        let no_certificate = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----";
        assert_eq!(fault_in(no_certificate), Some("holds a certificate that cannot be read"));
        let one_is_damaged = [root("a", 2100).as_bytes(), damaged].concat();
        assert_eq!(fault_in(&one_is_damaged), Some("holds PEM that is damaged"));
    }

    #[test]
    fn nothing_but_certificates_is_handed_on() {
        let root = root("a", 2100);
        for key in [
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n",
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0!!\n-----END PRIVATE KEY-----",
            "-----BEGIN X509 CRL-----\nc2VjcmV0",
            "# c2VjcmV0",
        ] {
            for text in [format!("{root}{key}"), format!("{key}\n{root}"), format!("{root}\n{key}\n{root}")] {
                let good = String::from_utf8(in_term(text.as_bytes(), NOW).unwrap()).unwrap();
                assert!(!good.contains("c2VjcmV0") && good.contains("CERTIFICATE"), "{text}");
            }
        }
    }

    #[test]
    fn a_root_whose_own_term_is_over_is_not_trusted() {
        let (old, new) = (root("old", 2027), root("new", 2028));
        let end = Duration::from_secs(1_798_761_600);
        assert!(in_term(old.as_bytes(), end).is_ok(), "its last second");
        let after = end + Duration::from_secs(1);
        let over = "holds no root certificate whose own term is not over; get the authority's new one";
        assert_eq!(in_term(old.as_bytes(), after), Err(over));
        assert_eq!(in_term(old.as_bytes(), Duration::MAX), Err(over));
        for bundle in [format!("# both\n{old}\n# and\n{new}"), format!("{new}{old}")] {
            let good = in_term(bundle.as_bytes(), after).unwrap();
            let all: Vec<_> = CertificateDer::pem_slice_iter(&good).map(Result::unwrap).collect();
            assert_eq!(all, [CertificateDer::from_pem_slice(new.as_bytes()).unwrap()]);
        }
        let all = in_term(ROOTS.as_bytes(), NOW).unwrap();
        let count = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).count();
        assert_eq!(count(&all), count(ROOTS.as_bytes()), "the built-in ones are good");
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
