//! A panic in what is called from here: the application's providers and observers, and the driver.
//!
//! It is caught, becomes an error like any other, and nothing that it was working on is used again. A panic message may
//! hold what the panicking code was working on, a password for instance. So only a message that stands in the source
//! code as it is (`panic!("…")`, a payload of type `&'static str`) is shown; one that was put together at run time goes to
//! the application's own panic hook, which by default prints it, and nowhere else. Where a build aborts on panics
//! (`panic = "abort"`) nothing is caught.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// That somebody has panicked.
#[derive(Debug, Clone)]
pub(crate) struct Panicked {
    who: &'static str,
    message: Option<&'static str>,
}

impl Panicked {
    fn new(who: &'static str, payload: &(dyn Any + Send)) -> Self {
        Self { who, message: payload.downcast_ref::<&'static str>().copied() }
    }

    /// By what was thrown, which may be anything, and panic again when it is thrown away.
    fn by(who: &'static str, payload: Box<dyn Any + Send>) -> Self {
        let panicked = Self::new(who, &*payload);
        if let Err(again) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
        panicked
    }

    /// Whether an error has come of a panic.
    pub(crate) fn is_behind(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            // The source of an `io::Error` is the source of what is in it.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if error.is::<Self>() || inside.is_some_and(|inside| inside.is::<Self>()) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some(message) => write!(f, "{} panicked: {message}", self.who),
            None => write!(f, "{} panicked; its message may hold a secret, and is with the panic hook only", self.who),
        }
    }
}

impl Error for Panicked {}

impl From<Panicked> for sqlx::Error {
    fn from(panicked: Panicked) -> Self {
        Self::Io(io::Error::other(panicked))
    }
}

/// `work`, or that `who` has panicked over it.
pub(crate) fn caught<T>(who: &'static str, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Panicked>> {
    let work = AssertUnwindSafe(work).catch_unwind();
    work.map(move |done| done.map_err(|payload| Panicked::by(who, payload)))
}

/// As [`caught`], of what does not wait.
pub(crate) fn caught_at_once<T>(who: &'static str, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panicked::by(who, payload))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::credentials::CredentialsError;
    use crate::error::{Phase, chain};

    #[tokio::test]
    async fn a_message_that_was_put_together_at_run_time_is_not_shown() {
        let password = String::from("hunter2");
        let shown = caught("the provider", async { panic!("the vault is sealed") }).await;
        let shown: Result<(), _> = shown;
        assert_eq!(shown.unwrap_err().to_string(), "the provider panicked: the vault is sealed");
        let hidden = caught("the provider", async { panic!("no vault takes {password}") }).await;
        let hidden: Result<(), _> = hidden;
        let text = hidden.unwrap_err().to_string();
        assert!(text.starts_with("the provider panicked; ") && !text.contains("hunter2"), "{text}");
        assert_eq!(caught("the provider", async { 7 }).await.unwrap(), 7);
    }

    #[test]
    fn an_error_tells_whether_it_came_of_a_panic() {
        let panicked = || Panicked { who: "the driver", message: Some("out of range") };
        let connect = |source| crate::Error::Connect {
            host: "db".to_owned(),
            phase: Phase::Handshake,
            elapsed: Duration::ZERO,
            source,
        };
        let driver = connect(panicked().into());
        assert!(Panicked::is_behind(&driver), "{driver}");
        assert!(chain(&driver).contains("the driver panicked: out of range"), "{}", chain(&driver));
        let provider = crate::Error::from(CredentialsError::Provider(Box::new(panicked())));
        assert!(Panicked::is_behind(&provider), "{provider}");
        assert!(Panicked::is_behind(&crate::Error::from(sqlx::Error::from(provider))), "on its way through sqlx");
        for other in [sqlx::Error::PoolClosed, sqlx::Error::Io(io::ErrorKind::TimedOut.into())] {
            assert!(!Panicked::is_behind(&connect(other)));
        }
    }
}
