//! The classifier, opened to the tests and benches of this crate.

use super::lexer::Lexer;
use super::{classify, settings};
use crate::engine::token::Token;
use crate::engine::{Dialect, Sequence, Setting, inspect, shapes};

/// Texts that would be slow to read for who reads carelessly.
pub use crate::engine::shapes::{MYSQL as SHAPES, Shape, text};

/// What the text is called, in a word or two; `settings:name,name` if it sets several.
pub fn verdict(sql: &str) -> String {
    let class = classify::classify(sql);
    match class.setting() {
        Some(Setting::Several(statement)) => {
            let names: Vec<_> = settings::settings_of(statement).into_iter().map(|(name, _)| name).collect();
            format!("settings:{}", names.join(","))
        }
        _ => inspect::verdict(class),
    }
}

/// Whether the text commits the transaction that is open.
pub fn commits(sql: &str) -> bool {
    classify::classify(sql).commits
}

/// Whether a later statement may see what the text has generated.
pub fn draws(sql: &str) -> bool {
    classify::classify(sql).sequence.done() != Sequence::NONE
}

/// Whether a text that pins may have begun or ended a transaction, unseen.
pub fn may_control(sql: &str) -> bool {
    classify::classify(sql).pins.is_some_and(sqlx::MySql::may_control)
}

/// How many statements the text holds that are not empty.
pub fn statements(sql: &str) -> usize {
    classify::statements(sql)
}

/// How many semicolons end a statement in the text, an empty one too.
pub fn semicolons(sql: &str) -> usize {
    Lexer::new(sql).filter(|token| *token == Token::End).count()
}

/// Whether the text leaves nothing in its session; as if it were new.
pub fn is_plain(sql: &str) -> bool {
    inspect::is_plain(classify::classify(sql))
}

/// As `is_plain`, the way a session asks: a text seen before is known.
pub fn is_plain_again(sql: &str) -> bool {
    inspect::is_plain(sqlx::MySql::classify(sql))
}

/// Does all that is done with a text before it is sent.
pub fn weigh(sql: &str) {
    shapes::weigh::<sqlx::MySql>(sql);
}
