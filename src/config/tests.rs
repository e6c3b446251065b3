use super::*;

fn with(change: impl FnOnce(&mut Config)) -> Result<Config, ConfigError> {
    let mut config = Config { host: Some("db".into()), user: Some("app".into()), ..Config::default() };
    change(&mut config);
    config.resolve(&["postgres", "postgresql"], false)
}

#[test]
fn nothing_and_half_a_target_are_told_apart() {
    assert!(matches!(Config::default().resolve(&["postgres"], false), Err(ConfigError::NothingConfigured)));
    let user_only = Config { user: Some("app".into()), ..Config::default() };
    assert!(matches!(user_only.resolve(&["postgres"], false), Err(ConfigError::NoHost)));
    let secret_only = Config { secret: Some("s".into()), ..Config::default() };
    assert!(secret_only.resolve(&["postgres"], false).is_ok(), "a secret may bring the host");
}

#[test]
fn members_may_be_the_target() {
    let two = vec![("a".to_owned(), "db-a".to_owned(), 5432), ("b".to_owned(), "db-b".to_owned(), 5432)];
    let members = Config { instances: two, user: Some("app".into()), ..Config::default() };
    assert!(members.resolve(&["postgres"], false).is_ok());
    let wrong = |change: fn(&mut Config)| match with(change) {
        Err(ConfigError::Value { option, .. }) => option,
        result => panic!("{result:?}"),
    };
    assert_eq!(wrong(|c| c.instances = vec![("a".into(), String::new(), 5432)]), "instances");
    assert_eq!(wrong(|c| c.instances = vec![("a".into(), "db".into(), 0)]), "instances");
    let twice = |c: &mut Config| c.instances = vec![("a".into(), "x".into(), 1), ("A".into(), "y".into(), 1)];
    assert_eq!(wrong(twice), "instances");
    assert_eq!(wrong(|c| c.instance_host_pattern = Some("db.example.com".into())), "instance_host_pattern");
    let proxied = with(|c| (c.via_proxy, c.instances) = (Some(true), vec![("a".into(), "x".into(), 1)]));
    assert!(matches!(proxied, Err(ConfigError::Conflict { first: "via_proxy", second: "instances" })));
}

#[test]
fn contradictions_name_both_sides() {
    type Case = (fn(&mut Config), &'static str, &'static str);
    let cases: [Case; 6] = [
        (|c| (c.secret, c.iam) = (Some("s".into()), true), "secret", "iam"),
        (|c| c.secret = Some("s".into()), "user", "secret"),
        (|c| (c.password, c.secret) = (Some("p".into()), Some("s".into())), "password", "secret"),
        (|c| (c.iam, c.tls) = (true, Some(Tls::Disable)), "iam", "Tls::Disable"),
        (|c| (c.iam, c.tls) = (true, Some(Tls::Require)), "iam", "Tls::Require"),
        (|c| c.cluster = Some("c".into()), "host", "cluster"),
    ];
    for (change, one, other) in cases {
        match with(change) {
            Err(ConfigError::Conflict { first, second }) => assert_eq!((first, second), (one, other)),
            result => panic!("{one}/{other}: {result:?}"),
        }
    }
}

#[test]
fn a_zero_is_no_bound() {
    for change in [
        (|c| c.max_connections = Some(0)) as fn(&mut Config),
        |c| c.borrow_timeout = Some(Duration::ZERO),
        |c| c.connect_timeout = Some(Duration::ZERO),
        |c| c.watch_interval = Some(Duration::ZERO),
        |c| c.failover_timeout = Some(Duration::ZERO),
    ] {
        assert!(matches!(with(change), Err(ConfigError::Value { .. })));
    }
    assert!(with(|c| c.validate_after = Some(Duration::ZERO)).is_ok(), "zero means: validate always");
}

#[test]
fn a_span_or_a_number_that_is_beyond_all_use_is_named_with_its_bound() {
    type Case = (&'static str, fn(&mut Config, Duration), Duration, &'static str);
    let (day, year) = (Duration::from_secs(86_400), Duration::from_secs(365 * 86_400));
    let cases: [Case; 9] = [
        ("borrow_timeout", |c, span| c.borrow_timeout = Some(span), day, "24 h"),
        ("connect_timeout", |c, span| c.connect_timeout = Some(span), day, "24 h"),
        ("validate_timeout", |c, span| c.validate_timeout = Some(span), day, "24 h"),
        ("failover_timeout", |c, span| c.failover_timeout = Some(span), day, "24 h"),
        ("idle_timeout", |c, span| c.idle_timeout = Some(span), year, "365 days"),
        ("max_lifetime", |c, span| c.max_lifetime = Some(span), year, "365 days"),
        ("validate_after", |c, span| c.validate_after = Some(span), year, "365 days"),
        ("idle_in_transaction_timeout", |c, span| c.idle_in_transaction_timeout = Some(span), year, "365 days"),
        ("watch_interval", |c, span| c.watch_interval = Some(span), year, "365 days"),
    ];
    for (name, set, bound, text) in cases {
        assert!(with(|c| set(c, bound)).is_ok(), "{name}");
        for span in [bound + Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX] {
            match with(|c| set(c, span)) {
                Err(ConfigError::Value { option, problem }) => {
                    assert_eq!((option, problem), (name, &*format!("must be at most {text}")));
                }
                result => panic!("{name}: {result:?}"),
            }
        }
    }
    for (limit, is_fine) in [(1, true), (10_000, true), (10_001, false), (100_000_000_000, false)] {
        let result = with(|c| c.max_connections = Some(limit));
        assert_eq!(result.is_ok(), is_fine, "{limit}: {result:?}");
    }
}

#[test]
fn verify_ca_is_refused_whoever_asks_for_it_and_verify_full_is_named() {
    let by_url = |c: &mut Config| c.url = Some("postgres://app@db/shop?sslmode=verify-ca&sslrootcert=/ca".into());
    for change in [by_url, |c: &mut Config| c.tls = Some(Tls::VerifyCa)] {
        let error = with(change).unwrap_err();
        assert!(matches!(error, ConfigError::Value { option: "tls", .. }), "{error:?}");
        assert!(error.to_string().contains("use verify-full"), "{error}");
    }
    assert!(with(|c| c.tls = Some(Tls::Require)).is_ok(), "whoever says require, means it");
}

#[test]
fn a_secrets_text_and_a_url_in_a_names_place_are_refused_and_not_shown() {
    for (option, change) in [
        ("host", (|c| c.host = Some("postgres://app:hunter2@db.example/shop".into())) as fn(&mut Config)),
        ("host", |c| c.host = Some("app:hunter2@db.example".into())),
        ("host", |c| c.host = Some("db.example hunter2".into())),
        ("instances", |c| c.instances = vec![("a".into(), "app:hunter2@db".into(), 5432)]),
        ("secret", |c| (c.user, c.secret) = (None, Some(r#"{"password":"hunter2"}"#.into()))),
        ("secret", |c| (c.user, c.secret) = (None, Some("hunter2 ".into()))),
    ] {
        let mut config = Config { host: Some("db".into()), user: Some("app".into()), ..Config::default() };
        change(&mut config);
        config.init_query = Some("set app.key = 'hunter2'".into());
        config.ca_pem.add(b"hunter2");
        let shown = format!("{:?}", config.shown());
        assert!(!shown.contains("hunter2") && shown.contains("<23 bytes>"), "{shown}");
        assert!(shown.contains("ca_pem: <8 bytes>"), "{shown}");
        match config.resolve(&["postgres"], false) {
            Err(ConfigError::Value { option: named, problem }) => {
                assert_eq!(named, option);
                assert!(!problem.contains("hunter2"));
            }
            result => panic!("{option}: {result:?}"),
        }
    }
    let shown = format!("{:?}", Config { host: Some("db.example".into()), ..Config::default() }.shown());
    assert!(shown.contains("db.example"), "a host is no secret: {shown}");
}

/// But for its password and TLS mode, which go with the URL's own host: see `url`.
#[test]
fn what_is_set_by_hand_wins_over_the_url() {
    let config = with(|c| c.url = Some("postgres://other@elsewhere:6000/shop?application_name=till".into())).unwrap();
    assert_eq!((config.host.as_deref(), config.user.as_deref()), (Some("db"), Some("app")));
    assert_eq!((config.port, config.database.as_deref()), (Some(6000), Some("shop")));
    assert_eq!(config.application_name.as_deref(), Some("till"));
    let mixed = with(|c| c.url = Some("postgres://other:pw@elsewhere:6000/shop?sslmode=require".into()));
    assert!(matches!(mixed, Err(ConfigError::Conflict { first: "host", .. })), "{mixed:?}");
    let same = with(|c| c.url = Some("postgres://other:pw@db:6000/shop?sslmode=require".into())).unwrap();
    assert_eq!((same.user.as_deref(), same.tls()), (Some("app"), Tls::Require));
}
