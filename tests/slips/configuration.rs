//! Configurations that are none.

use super::*;

/// Whatever is configured, it is an error or it works, and never a panic.
#[tokio::test]
async fn no_span_number_or_text_in_the_configuration_panics() {
    let server = server().await;
    let tiny = Duration::from_nanos(1);
    let (day, year) = (Duration::from_secs(86_400), Duration::from_secs(365 * 86_400));
    type Change = fn(ProxyBuilder<Db>, Duration) -> ProxyBuilder<Db>;
    let changes: [(&str, Change); 9] = [
        ("borrow", |b, s| b.borrow_timeout(s)),
        ("connect", |b, s| b.connect_timeout(s)),
        ("idle", |b, s| b.idle_timeout(s)),
        ("life", |b, s| b.max_lifetime(s)),
        ("after", |b, s| b.validate_after(s)),
        ("validate", |b, s| b.validate_timeout(s)),
        ("transaction", |b, s| b.idle_in_transaction_timeout(s)),
        ("watch", |b, s| b.watch_interval(s)),
        ("failover", |b, s| b.failover_timeout(s)),
    ];
    let mut builders = Vec::new();
    for (name, change) in changes {
        for span in [Duration::ZERO, tiny, day, year, Duration::MAX, Duration::from_secs(u64::MAX)] {
            builders.push((format!("{name} {span:?}"), change(proxy_to(server), span)));
        }
    }
    for count in [0, 1, 10_000, 10_001, usize::MAX] {
        builders.push((format!("connections {count}"), proxy_to(server).max_connections(count)));
    }
    let odd = [
        "",
        " ",
        "\0",
        "a\0b",
        "'",
        "\"",
        "`",
        "\\",
        "%",
        "ü\u{202e}",
        "a\r\nb",
        ";",
        "--",
        "/*",
        "*/",
        "?",
        "[",
        "]",
        "🦀",
    ];
    let long = "ü".repeat(70_000);
    for text in odd.iter().copied().chain([long.as_str()]) {
        let shown: String = text.chars().take(6).collect();
        let named = format!("{}?application_name={}", server.url(), crate::support::site::percent_encoded(text));
        builders.push((format!("name {shown:?}"), proxy_to(server).url(named)));
        builders.push((format!("user {shown:?}"), proxy_to(server).user(text)));
        builders.push((
            format!("password {shown:?}"),
            proxy_to(server).url(server.url_for("nobody", "x", "app")).password(text),
        ));
        builders.push((format!("database {shown:?}"), proxy_to(server).database(text)));
        builders.push((format!("host {shown:?}"), proxy_to(server).url(format!("{FAMILY}://app@/app")).host(text)));
        builders.push((format!("pattern {shown:?}"), proxy_to(server).instance_host_pattern(text)));
        builders.push((format!("init {shown:?}"), proxy_to(server).init_query(text)));
        builders.push((format!("member {shown:?}"), proxy_to(server).instances([(text, "localhost", server.port())])));
        builders.push((format!("pem {shown:?}"), proxy_to(server).add_ca_pem(text)));
    }
    for capacity in ["1", "0", "-1", "18446744073709551615", "18446744073709551616"] {
        let url = format!("{}?statement-cache-capacity={capacity}", server.url());
        builders.push((format!("cache {capacity}"), proxy_to(server).url(url)));
    }
    let mut broken = Vec::new();
    for (name, builder) in builders {
        let shown = name.clone();
        let tried = tokio::spawn(async move {
            let short = name.starts_with("borrow") || name.starts_with("failover");
            let builder = if short { builder } else { builder.borrow_timeout(Duration::from_secs(3)) };
            let proxy = builder.build()?;
            let mut conn = proxy.get_connection().await?;
            sqlx::query("select 1").execute(&mut conn).await?;
            drop(conn);
            let mut conn = proxy.get_connection().await?;
            sqlx::query("select 1").execute(&mut conn).await?;
            drop(conn);
            proxy.close().await;
            Ok::<_, Error>(())
        });
        let tried = timeout(Duration::from_secs(20), tried).await;
        match &tried {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                let text = chain(error);
                if text.contains("panicked") {
                    broken.push(format!("{shown}: {}", text.chars().take(300).collect::<String>()));
                }
            }
            other => broken.push(format!("{shown}: {other:?}")),
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
