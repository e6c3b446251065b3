use super::*;

#[test]
fn an_error_of_ours_survives_the_way_through_sqlx() {
    let lost = || Error::ConnectionLost {
        phase: Phase::Commit,
        elapsed: Duration::from_millis(3),
        outcome: Outcome::Unknown,
        source: sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into()),
    };
    let back = Error::from(sqlx::Error::from(lost()));
    assert!(matches!(back, Error::ConnectionLost { phase: Phase::Commit, outcome: Outcome::Unknown, .. }));
    assert!(!back.is_retryable());

    let config = Error::from(sqlx::Error::from(Error::from(ConfigError::NothingConfigured)));
    assert!(matches!(config, Error::Config(ConfigError::NothingConfigured)));
    assert!(matches!(Error::from(sqlx::Error::from(Error::Closed)), Error::Closed));
}

#[test]
fn a_driver_error_keeps_its_shape() {
    let error = sqlx::Error::from(Error::from(sqlx::Error::RowNotFound));
    assert!(matches!(error, sqlx::Error::RowNotFound));
    assert_eq!(Error::from(error).outcome(), Outcome::Completed);
    let undecoded = Error::from(sqlx::Error::Decode("not a number".into()));
    assert_eq!(undecoded.outcome(), Outcome::Unknown, "its statement may not have ended");
}

#[test]
fn exhaustion_names_who_holds_what() {
    let numbers = PoolNumbers {
        limit: 1,
        holders: vec![Holder { purpose: Purpose::Transaction, held: Duration::from_millis(1200) }],
        waiting: 1,
        ..PoolNumbers::default()
    };
    let error = Error::PoolExhausted {
        waited: Duration::from_secs(1),
        phase: Phase::Waiting,
        numbers: Box::new(numbers),
        last: None,
    };
    let text = error.to_string();
    assert!(text.contains("after 1.0s of waiting for a connection"), "{text}");
    assert!(text.contains("1 of 1 leased: held by a session in a transaction for 1.2s; 0 idle; 1 waiting"), "{text}");
    assert!(error.is_retryable());
    assert_eq!(error.outcome(), Outcome::NotExecuted);
}

#[test]
fn errors_stay_small_enough_to_return() {
    assert!(size_of::<Error>() <= 128, "{}", size_of::<Error>());
}
