//! How the hosts of a cluster's members are called.

/// A text with one `?` where the identifier goes, and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    before: String,
    after: String,
    port: Option<u16>,
}

impl HostPattern {
    pub(crate) fn new(before: &str, after: &str) -> Self {
        Self { before: before.to_owned(), after: after.to_owned(), port: None }
    }

    /// `?.db.example.com`, `?.db.example.com:6000`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
            None => (text, None),
        };
        let (before, after) = host.split_once('?')?;
        let is_plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        (is_plain(before) && is_plain(after)).then(|| Self { port, ..Self::new(before, after) })
    }

    /// The host and port of the member `id`.
    pub(crate) fn host_of(&self, id: &str) -> (String, Option<u16>) {
        (format!("{}{id}{}", self.before, self.after), self.port)
    }

    /// Whether the resolver would read the host of this identifier as a number, and so as an address: `2130706434` is 127.0.0.2.
    pub(crate) fn makes_an_address(&self, id: &str) -> bool {
        self.before.is_empty() && self.after.is_empty() && id.starts_with(|c: char| c.is_ascii_digit())
    }

    /// Whether a host is called so: an identifier, of letters, digits and hyphens, stands where the `?` is.
    pub(crate) fn matches(&self, host: &str) -> bool {
        let (start, end) = (self.before.len(), host.len().checked_sub(self.after.len()));
        let Some(end) = end.filter(|end| *end > start) else { return false };
        let (Some(before), Some(id), Some(after)) = (host.get(..start), host.get(start..end), host.get(end..)) else {
            return false;
        };
        let is_part_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        before.eq_ignore_ascii_case(&self.before)
            && after.eq_ignore_ascii_case(&self.after)
            && id.bytes().all(is_part_of_a_name)
            && !self.makes_an_address(id)
    }

    /// The members' port, where the pattern says one.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_place_for_the_identifier() {
        for (text, expected) in [
            ("?.db.example.com", Some(("a.db.example.com", None))),
            ("?.db.example.com:6000", Some(("a.db.example.com", Some(6000)))),
            ("db-?.internal", Some(("db-a.internal", None))),
            ("?", Some(("a", None))),
            ("db.example.com", None),
            ("?.?.example.com", None),
            ("?.example.com:", None),
            ("?.example.com:0", None),
            ("?.example.com:70000", None),
            ("?.exam ple.com", None),
            ("http://?.example.com", None),
            ("", None),
        ] {
            let hosts = HostPattern::parse(text).map(|pattern| pattern.host_of("a"));
            assert_eq!(hosts, expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn a_number_is_no_name_where_the_pattern_says_nothing_else() {
        for (pattern, host, matches) in [
            ("?", "shop-1", true),
            ("?", "2130706434", false),
            ("?", "0x7f000002", false),
            ("?:6000", "0x7f000002", false),
            ("db-?", "db-7", true),
            ("?.internal", "7.internal", true),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().matches(host), matches, "{pattern}: {host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_is_a_host(text in r#"(\?|\.|:|db|5432|0|65536|-|_|/|@|é|[ -~]){0,9}"#) {
            if let Some((host, port)) = HostPattern::parse(&text).map(|pattern| pattern.host_of("a")) {
                assert_eq!(host, text.split(':').next().unwrap().replacen('?', "a", 1), "{text}");
                assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{text}");
                assert_ne!(port, Some(0), "{text}");
            }
        }
    }
}
