//! A text that never shows itself.

use std::fmt;

/// A secret text: `Debug` prints a placeholder, there is no `Display`, and it is read only by [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// The text itself. Every caller of this is a place to look at when secrets leak.
    pub fn expose(&self) -> &str {
        &self.0
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
    fn debug_shows_nothing_of_it() {
        assert_eq!(
            format!("{:?} {:#?}", Redacted::from("hunter2"), Some(Redacted::from("hunter2"))).matches("hunter").count(),
            0
        );
    }
}
