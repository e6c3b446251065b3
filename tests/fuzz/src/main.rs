//! One target for all parsers: the first byte says which of them reads the rest.
#![no_main]

use lambda_rds::{MySql, Postgres, Proxy, ProxyBuilder, internals};
use libfuzzer_sys::fuzz_target;

/// What is read of a text is the same every time, wherever it lies, and a text before it makes it no less pinned.
macro_rules! is_read_in_one_way {
    ($engine:ident, $text:expr) => {{
        use internals::$engine::{is_plain, is_plain_again, verdict};
        let (text, read) = ($text, verdict($text));
        assert_eq!(verdict(&format!(" {text}")[1..]), read);
        assert_eq!(is_plain(text), is_plain_again(text));
        assert!(!read.starts_with("pin:") || !is_plain(&format!("select 1; {text}")));
    }};
}

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match which % 6 {
        0 => is_read_in_one_way!(postgres, text),
        1 => is_read_in_one_way!(mysql, text),
        2 => url::<Postgres>("postgres", text, Proxy::builder),
        3 => url::<MySql>("mysql", text, Proxy::builder),
        4 => names(text),
        _ => secret(text),
    }
});

/// A URL is taken, or refused without its password.
fn url<DB: lambda_rds::Engine>(scheme: &str, text: &str, builder: fn() -> ProxyBuilder<DB>) {
    let _ = builder().url(text).build();
    if let Err(error) = builder().url(format!("{scheme}://app:hunter2@{text}")).build() {
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2") || text.contains("hunter2"), "{said}");
    }
}

/// Names of hosts, patterns, secrets, identifiers, users, databases.
fn names(text: &str) {
    let builder = || Proxy::<Postgres>::builder().user("app").password("hunter2");
    for built in [
        builder().host(text).build(),
        builder().host("localhost").instance_host_pattern(text).build(),
        builder().host("localhost").database(text).build(),
        builder().host("localhost").user(text).build(),
    ] {
        if let Err(error) = built {
            assert!(!format!("{error} {error:?}").contains("hunter2") || text.contains("hunter2"));
        }
    }
}

fn secret(text: &str) {
    for text in [text.to_owned(), format!(r#"{{"username":"app","password":"hunter2"{text}"#)] {
        if let Err(error) = internals::secret(&text) {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
