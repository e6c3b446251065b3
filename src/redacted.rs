//! A text that never shows itself.

use std::fmt;

use zeroize::Zeroize;

/// A secret text: `Debug` prints a placeholder, there is no `Display`, and it is read only by [`expose`](Self::expose).
///
/// Its memory is overwritten when it is dropped. Copies that others make (the driver's, the SDK's, the environment's own)
/// are not.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// The text itself. Every caller of this is a place to look at when secrets leak.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Redacted {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<String> for Redacted {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Redacted {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_dropped_is_overwritten_and_its_clone_is_not() {
        fn overwrites<T>() -> bool {
            std::mem::needs_drop::<T>()
        }
        assert!(overwrites::<Redacted>());
        let mut secret = Redacted::from("hunter2");
        let clone = secret.clone();
        // What `drop` does; the memory itself cannot be looked at afterwards.
        secret.0.zeroize();
        assert_eq!((secret.expose(), clone.expose()), ("", "hunter2"));
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(
            format!("{:?} {:#?}", Redacted::from("hunter2"), Some(Redacted::from("hunter2"))).matches("hunter").count(),
            0
        );
    }
}
