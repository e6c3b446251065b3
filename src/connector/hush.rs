//! The passwords that servers may have been told in clear: who was given one can say it, and its words go to the log, where others
//! read them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::error::{Judged, LEFT_OUT};
use crate::redacted::Redacted;
use crate::tls;

/// What is shorter stands in words that have nothing to do with it; RDS wants as many
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html>).
const SHORTEST: usize = 8;

/// So many are remembered, the last ones: more than the versions of a secret that are tried, and those before a rotation.
const MOST: usize = 16;

/// What is longer no server has reason to say of a login, and to look through it would take its time.
const LONGEST: usize = 8192;

/// Every IAM token contains this, also one that is not remembered here.
const IN_A_TOKEN: &str = "X-Amz-";

/// The passwords that logins of this process may have disclosed, the latest last.
#[derive(Debug, Default)]
pub(super) struct Disclosed(Mutex<VecDeque<Redacted>>);

impl Disclosed {
    /// A login is about to tell this one, if it is asked for it. `shown`: what errors and events show of the login.
    pub(super) fn add(&self, password: &Redacted, shown: &[&str]) {
        let is_shown = shown.iter().any(|shown| shown.contains(password.expose()));
        let mut disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if password.expose().len() < SHORTEST || is_shown || disclosed.contains(password) {
            return;
        }
        if disclosed.len() == MOST {
            disclosed.pop_front();
        }
        disclosed.push_back(password.clone());
    }

    /// Nothing of it is part of a snapshot.
    #[cfg(feature = "lambda")]
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What came of a login, without words of the server that hold one of them. The words of the system, of the resolver and of
    /// what was configured are none of the server's.
    pub(super) fn hush(&self, error: sqlx::Error) -> sqlx::Error {
        let may_be_shown = |text: &str| text.len() <= LONGEST && !self.is_in(text);
        match error {
            sqlx::Error::Database(refusal) => {
                let may_be_shown = may_be_shown(refusal.message());
                Judged::hush(refusal, may_be_shown)
            }
            sqlx::Error::Protocol(text) if !may_be_shown(&text) => sqlx::Error::Protocol(LEFT_OUT.to_owned()),
            // A certificate's names are shown where none of them is the host's.
            error => tls::unquoted(error, |text| self.is_in(text)),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        let disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.contains(IN_A_TOKEN) || disclosed.iter().any(|password| holds(text, password))
    }
}

/// Whether a password is in a text, as it is or as the driver writes what it does not understand: like `Debug` of a text, of bytes
/// or of a list of them.
fn holds(text: &str, password: &Redacted) -> bool {
    let bytes = password.expose().as_bytes();
    let forms = [format!("{:?}", password.expose()), format!("\"{}\"", bytes.escape_ascii()), format!("{bytes:?}")];
    // Without their quotes or brackets, for more may stand between those.
    let is_in = |form: &str| text.contains(&form[1..form.len() - 1]);
    text.contains(password.expose()) || forms.map(Redacted::from).iter().any(|form| is_in(form.expose()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::CertificateError;
    use rustls::pki_types::ServerName;

    use super::*;
    use crate::error::TlsProblem;

    #[test]
    fn no_password_that_was_told_is_repeated_in_any_of_the_drivers_ways() {
        let disclosed = Disclosed::default();
        let said = |text: String| disclosed.hush(sqlx::Error::Protocol(text)).to_string();
        let password = |n| format!("it's a \"p\u{e4}ss\u{301}word\" {n:02}");
        (0..MOST).for_each(|n| disclosed.add(&password(n).into(), &["app", "db"]));
        for n in 0..MOST {
            let (password, last) = (password(n), format!("{n:02}"));
            for text in [
                format!("not {password}!"),
                format!("unknown severity: {password:?}"),
                format!("received b\"{}\"", password.as_bytes().escape_ascii()),
                format!("received {:?}", format!("salt={password}").into_bytes()),
            ] {
                assert!(!said(text.clone()).contains(&last) && said(text).contains("left out"), "{n}");
            }
        }
        assert!(said("not with this".to_owned()).contains("not with this"));
        let token = "db:5432/?Action=connect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0123";
        assert!(!said(token.to_owned()).contains("0123"));
        assert!(!said("x".repeat(LONGEST + 1)).contains("xx"));
        // The last ones.
        disclosed.add(&password(MOST).into(), &[]);
        assert!(!said(password(MOST)).contains("16") && said(password(0)).contains("00"));
    }

    #[test]
    fn what_is_shown_anyway_or_is_a_word_is_no_secret() {
        let disclosed = Disclosed::default();
        for password in ["short", "", "application"] {
            disclosed.add(&password.into(), &["the application", "db"]);
        }
        let text = "a short word of the application";
        assert!(disclosed.hush(sqlx::Error::Protocol(text.to_owned())).to_string().contains(text));
    }

    #[cfg(feature = "lambda")]
    #[test]
    fn nothing_of_it_is_in_a_snapshot() {
        let disclosed = Disclosed::default();
        disclosed.add(&"a-fetched-password".into(), &[]);
        disclosed.forget();
        assert!(disclosed.0.lock().unwrap().is_empty());
    }

    /// They stay what they are: it depends on that what is done about them.
    #[test]
    fn the_systems_words_are_not_looked_through_and_a_certificates_are() {
        let disclosed = Disclosed::default();
        disclosed.add(&"information".into(), &[]);
        let unknown = io::Error::other("failed to lookup address information");
        assert!(matches!(disclosed.hush(sqlx::Error::Io(unknown)), sqlx::Error::Io(_)));
        let certificate = |names: &[&str]| {
            let presented = names.iter().map(|name| format!("DnsName(\"{name}\")")).collect();
            let expected = ServerName::try_from("db.example").unwrap();
            let context = CertificateError::NotValidForNameContext { expected, presented };
            rustls::Error::InvalidCertificate(context)
        };
        for error in [
            sqlx::Error::Tls(Box::new(certificate(&["information.example"]))),
            sqlx::Error::Io(io::Error::other(certificate(&["information.example"]))),
        ] {
            let hushed = disclosed.hush(error);
            assert_eq!(tls::problem(&hushed), Some(TlsProblem::NameMismatch), "{hushed}");
            assert!(!hushed.to_string().contains("information"), "{hushed}");
        }
        let long = certificate(&["a-name-of-some-length.example"; 1000]);
        assert!(disclosed.hush(sqlx::Error::Tls(Box::new(long))).to_string().contains("a-name-of-some-length"));
    }
}
