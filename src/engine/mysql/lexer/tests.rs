//! Where texts are split, and what of them is a token.

use super::*;

fn statements(tokens: Lexer<'_>) -> usize {
    let mut open = false;
    let mut count = 0;
    for token in tokens {
        count += usize::from(!open && token != Token::End);
        open = token != Token::End;
    }
    count
}

#[test]
fn a_text_is_split_where_the_server_splits_it() {
    for (text, count) in [
        ("", 0),
        (" ; ; ", 0),
        ("select 1", 1),
        ("select 1;", 1),
        ("select 1; select 2", 2),
        ("select ';'", 1),
        ("select 'it''s; fine'", 1),
        (r"select '\'; select 2'", 1),
        (r"select '\\'; select 2", 2),
        (r#"select "\"; select 2""#, 1),
        (r#"select "a;b"";c" from t"#, 1),
        ("select `a;b``;c` from t", 1),
        (r"select `\`; select 2", 2),
        ("select 1 # ; select 2", 1),
        ("select 1 # ; \n; select 2", 2),
        ("select 1 # ; \r; select 2", 1),
        ("select 1 -- ; select 2", 1),
        ("select 1 --\t; select 2", 1),
        ("select 1 --\u{1}; select 2", 1),
        ("select 1 --; select 2", 2),
        ("select 5--1; select 2", 2),
        ("select 1; --", 1),
        ("select /* ; /* ; */ 1; select 2", 2),
        ("select /*/ ; */ 1; select 2", 2),
        ("select 2*/* ; */3; select 2", 2),
        ("select /*+ x */ 1; select 2", 2),
        ("select /*! 1; select */ 2", 2),
        ("select /*!50000 1; select */ 2", 2),
        ("select /*M!100300 1; select */ 2", 2),
        ("select /*m!100300 1; select */ 2", 1),
        ("select 'never closed; select 2", 1),
        ("/* never closed ; select 2", 0),
        ("select n'\\';', _utf8mb4'\\';'", 1),
        ("select é';', `é;`", 1),
        ("select $$;$$", 2),
    ] {
        assert_eq!(statements(Lexer::new(text)), count, "{text}");
    }
}

#[test]
fn each_way_to_read_a_text_is_one_of_a_servers() {
    let [skips, quotes, _, raw, _] = Reading::OTHERS;
    for (reading, text, count) in [
        (skips, "select /*! 1; select */ 2", 1),
        (skips, "select /*!50000 1 /* ; */ ; */ 2; select 3", 2),
        (quotes, r#"select "\"; select '\'; '"#, 2),
        (raw, r"select '\'; select 2", 2),
        (raw, r#"select "\"; select 2"#, 2),
    ] {
        assert_eq!(statements(Lexer::reading(text, reading)), count, "{text}");
    }
}

#[test]
fn what_may_be_read_in_another_way_is_known() {
    let ambiguous = |text| {
        let mut lexer = Lexer::new(text);
        lexer.by_ref().count();
        lexer.doubts() != Doubts::default()
    };
    for text in [r"'\'", r#""\n""#, "/*! x */", "/*M! x */", "/*!99999 x */"] {
        assert!(ambiguous(text), "{text}");
    }
    for text in [r"\N", r"`\`", "/*+ x */", r"# \", "-- /*!", "'it''s /*! */'"] {
        assert!(!ambiguous(text), "{text}");
    }
}

#[test]
fn what_one_server_takes_for_a_string_and_another_for_a_name_is_known() {
    let beyond = |text| {
        let mut lexer = Lexer::new(text);
        lexer.by_ref().count();
        lexer.is_beyond_trying()
    };
    for text in ["$$", "as $$ // it's $$", "$tag$ ; $tag$", "1e5$$ $$", ".$é$", "$a$b"] {
        assert!(beyond(text), "{text}");
    }
    for text in ["$", "$a", "a$b$c", "1$$", "'$$'", "`$$`", "/* $$ */", "# $$", "$1, $2"] {
        assert!(!beyond(text), "{text}");
    }
}

#[test]
fn two_at_signs_are_one_word() {
    let tokens: Vec<_> = Lexer::new("@@x @y").collect();
    assert_eq!(tokens, [Token::Word("@@"), Token::Word("x"), Token::Symbol(b'@'), Token::Word("y")]);
}

#[test]
fn a_version_is_no_word() {
    for text in ["/*!50110select*/", "/*!100300select */", "/*M!100300 select */", "/*! select */"] {
        assert_eq!(Lexer::new(text).collect::<Vec<_>>(), [Token::Word("select")], "{text}");
    }
}

#[test]
fn a_word_may_begin_with_digits() {
    for (text, words) in [
        ("1into", vec!["1into"]),
        ("1e5into", vec!["1e5", "into"]),
        ("1.into", vec!["1.", "into"]),
        ("1.5E-3into", vec!["1.5E-3", "into"]),
        ("1einto", vec!["1einto"]),
        ("0x1Finto", vec!["0x1Finto"]),
        ("$1 a$b", vec!["$1", "a$b"]),
    ] {
        let found: Vec<_> = words.iter().map(|word| Token::Word(word)).collect();
        assert_eq!(Lexer::new(text).collect::<Vec<_>>(), found, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic_or_stand_still(text in r#"[ -~'"`#!M;/*\\eE\n\u{1}ü-]{0,60}"#) {
        for reading in Reading::OTHERS.into_iter().chain([Reading::USUAL]) {
            assert!(Lexer::reading(&text, reading).count() <= text.len());
        }
    }
}
