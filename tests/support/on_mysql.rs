//! What the tests that both engines share call things by, on MySQL.
