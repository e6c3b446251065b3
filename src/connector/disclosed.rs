//! The passwords that servers may have been told in clear: who was given one can say it, and its words go to the log, where others
//! read them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::error::Judged;
use crate::redacted::Redacted;

/// What is shorter stands in words that have nothing to do with it; RDS wants as many
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html>).
const SHORTEST: usize = 8;

/// So many are remembered, the last ones: more than the versions of a secret that are tried, and those before a rotation.
const MOST: usize = 16;

/// What is longer no server has reason to say of a login, and to look through it would take its time.
const LONGEST: usize = 8192;

/// In each token, of whichever moment.
const IN_A_TOKEN: &str = "X-Amz-";

/// See the module.
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

    /// What a server says of a login, without words that hold one of them.
    pub(super) fn hush(&self, error: sqlx::Error) -> sqlx::Error {
        let disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Judged::hush(error, |text| {
            let holds = |password: &Redacted| {
                let password = password.expose();
                // The driver writes some of what it does not understand as `Debug` does.
                text.contains(password) || text.contains(&password.escape_debug().to_string())
            };
            text.len() <= LONGEST && !text.contains(IN_A_TOKEN) && !disclosed.iter().any(holds)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_that_was_told_is_repeated_in_any_of_the_drivers_ways() {
        let disclosed = Disclosed::default();
        let said = |text: String| disclosed.hush(sqlx::Error::Protocol(text)).to_string();
        let password = |n| format!("a \"password\" {n:02}");
        (0..MOST).for_each(|n| disclosed.add(&password(n).into(), &["app", "db"]));
        for n in 0..MOST {
            for text in [format!("not {}!", password(n)), format!("unknown severity: {:?}", password(n))] {
                assert!(!said(text).contains(&format!("{n:02}")), "{n}");
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
}
