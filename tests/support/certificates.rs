//! A certificate authority for servers on the loopback interface.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now, and for longer than any test runs.
    Current,
    /// Until a day in the past.
    Expired,
}

impl Validity {
    fn set(self, parameters: &mut CertificateParams) {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = match self {
            Self::Current => date_time_ymd(2120, 1, 1),
            Self::Expired => date_time_ymd(2021, 1, 1),
        };
    }
}

/// A certificate authority made up on the spot.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with its own key.
    pub fn new(name: &str) -> Self {
        Self::with_term(name, Validity::Current)
    }

    /// As [`new`](Self::new), with a term of its own: what it issues may be good for longer.
    pub fn with_term(name: &str, validity: Validity) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        validity.set(&mut parameters);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(parameters, key()).expect("an authority can sign itself");
        Self { issuer }
    }

    /// The authority's own certificate, for the trust store of a client.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate and private key, both PEM. Each name is a DNS name or an IP address.
    pub fn issue(&self, names: &[&str], validity: Validity) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).expect("each name is a DNS name or an IP address");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        validity.set(&mut parameters);
        let key = key();
        let certificate = parameters.signed_by(&key, &self.issuer).expect("an authority can sign a server's key");
        (certificate.pem(), key.serialize_pem())
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("the system has randomness for a key")
}
