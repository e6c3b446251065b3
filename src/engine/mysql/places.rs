//! Where the values of a text stand: in which places MySQL keeps nothing of a value from one execution to the next but its type.
//! What is not listed here is no such place.

use super::lexer::{Lexer, Reading};
use crate::engine::token::{Token, is};

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Put into a column.
    Row,
    /// Compared with a column, or with what a function makes of one.
    Column,
    /// Where a text is wanted.
    Text,
    /// Where it counts for itself, or a number is wanted: in a list of what is selected, beside an operator, as a limit.
    Number,
    Other,
}

/// What a bracket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Row,
    Texts,
    /// What something is looked for in. The server sorts the values, and one that is none of the type that is looked for leaves
    /// what an earlier execution has put there.
    List,
    Other,
}

/// Those that want texts in all their places.
const OF_TEXTS: [&str; 16] = [
    "concat",
    "concat_ws",
    "lower",
    "lcase",
    "upper",
    "ucase",
    "trim",
    "ltrim",
    "rtrim",
    "json_extract",
    "json_contains",
    "json_unquote",
    "md5",
    "sha1",
    "against",
    "str_to_date",
];

/// The places in their order; `None` where it is not certain how the server reads the text.
pub(super) fn places_in(sql: &str) -> Option<Vec<Place>> {
    let mut tokens = Lexer::reading(sql, Reading::USUAL);
    let (mut open, mut closed) = (Vec::new(), Bracket::Other);
    let (mut trail, mut places) = (Trail::default(), Vec::new());
    // How many of the open brackets are lists: to look for one among them at each place would take the square of a text's length.
    let (mut lists, mut assigns) = (0_usize, false);
    while let Some((_, token)) = tokens.next_at() {
        match token {
            Token::Symbol(b'(') => {
                let bracket = bracket(&trail, open.is_empty(), closed);
                lists += usize::from(bracket == Bracket::List);
                open.push(bracket);
            }
            Token::Symbol(b')') => {
                closed = open.pop().unwrap_or(Bracket::Other);
                lists -= usize::from(closed == Bracket::List);
            }
            Token::Symbol(b'?') => {
                let next = tokens.clone().next_at().map_or(Token::End, |(_, token)| token);
                places.push(if lists > 0 {
                    Place::Other
                } else if assigns && trail.is_assignment() && is_over(next) {
                    Place::Row
                } else {
                    place(&trail, next, open.last().copied())
                });
            }
            _ if is(token, "select") && trail.back(0) == Token::Symbol(b'(') => {
                // A query of its own, and no list.
                lists -= usize::from(open.pop() == Some(Bracket::List));
                open.push(Bracket::Other);
            }
            Token::Word(_) if open.is_empty() => {
                let begins = is(token, "set") || is(token, "update") && trail.is(0, "key");
                let ends = || ["where", "order", "limit", "from", "select"].into_iter().any(|word| is(token, word));
                assigns = begins || assigns && !ends();
            }
            _ => {}
        }
        trail.push(token);
    }
    let is_read_otherwise = |reading: &Reading| Reading::USUAL.differs(*reading, tokens.doubts());
    let is_certain = !tokens.is_beyond_trying() && !Reading::OTHERS.iter().any(is_read_otherwise);
    is_certain.then_some(places)
}

/// The tokens before one.
#[derive(Debug, Default)]
struct Trail<'a> {
    /// The last one first.
    tokens: [Option<Token<'a>>; 6],
}

impl<'a> Trail<'a> {
    fn push(&mut self, token: Token<'a>) {
        self.tokens.rotate_right(1);
        self.tokens[0] = Some(token);
    }

    /// So many before the last one; a text begins as if another had ended.
    fn back(&self, number: usize) -> Token<'a> {
        self.tokens.get(number).copied().flatten().unwrap_or(Token::End)
    }

    /// The one so many before the last one is this word.
    fn is(&self, number: usize, word: &str) -> bool {
        is(self.back(number), word)
    }

    /// The last one is the sign of an assignment, where there are any.
    fn is_assignment(&self) -> bool {
        let mut begin = 1;
        while self.back(begin + 1) == Token::Symbol(b'.') {
            begin += 2;
        }
        let is_first = matches!(self.back(begin + 1), Token::Symbol(b',')) || self.is(begin + 1, "set");
        self.back(0) == Token::Symbol(b'=') && self.is_column(1) && (is_first || self.is(begin + 1, "update"))
    }

    /// How many symbols of a comparison the last tokens are.
    fn comparison(&self) -> usize {
        let is_of_one = |token: &Option<Token<'_>>| matches!(token, Some(Token::Symbol(b'=' | b'<' | b'>' | b'!')));
        self.tokens.iter().take_while(|token| is_of_one(token)).count()
    }

    /// Whether the one so many before the last one may be a column's name, and is no number, no variable and no word that ends
    /// another expression.
    fn is_column(&self, number: usize) -> bool {
        const ENDS: [&str; 5] = ["not", "end", "null", "true", "false"];
        let is_name = match self.back(number) {
            Token::Identifier(_) => true,
            Token::Word(word) => {
                !word.starts_with(|first: char| first.is_ascii_digit()) && !ENDS.iter().any(|end| self.is(number, end))
            }
            _ => false,
        };
        is_name && self.back(number + 1) != Token::Symbol(b'@')
    }
}

/// What the bracket holds that is opened after this. `outermost`: it stands in no other; `closed`: what the last one held.
fn bracket(trail: &Trail<'_>, outermost: bool, closed: Bracket) -> Bracket {
    let is_next_row = trail.back(0) == Token::Symbol(b',') && trail.back(1) == Token::Symbol(b')');
    let is_row = trail.is(0, "values") || trail.is(0, "value") || is_next_row && closed == Bracket::Row;
    if outermost && is_row {
        Bracket::Row
    } else if trail.is(0, "in") {
        Bracket::List
    } else if OF_TEXTS.into_iter().any(|word| trail.is(0, word)) {
        Bracket::Texts
    } else {
        Bracket::Other
    }
}

/// Whether what comes after a value makes nothing else of it.
fn is_over(next: Token<'_>) -> bool {
    // Any other word does.
    const GOES_ON: [&str; 16] = [
        "and", "or", "where", "order", "group", "having", "limit", "offset", "on", "for", "union", "join", "left",
        "inner", "from", "as",
    ];
    matches!(next, Token::End | Token::Symbol(b',' | b')')) || GOES_ON.into_iter().any(|word| is(next, word))
}

/// Where a value stands, by what comes before and after it, and what holds the bracket that it stands in.
fn place(trail: &Trail<'_>, next: Token<'_>, bracket: Option<Bracket>) -> Place {
    let comparison = trail.comparison();
    let ends_between = trail.is(0, "and") && trail.back(1) == Token::Symbol(b'?') && trail.is(2, "between");
    match trail.back(0) {
        _ if trail.is(0, "interval") => Place::Number,
        _ if !is_over(next) => Place::Other,
        Token::Symbol(b'(' | b',') if bracket == Some(Bracket::Row) => Place::Row,
        Token::Symbol(b'(' | b',') if bracket == Some(Bracket::Texts) => Place::Text,
        Token::Symbol(b',') if bracket.is_none() => Place::Number,
        Token::Symbol(b'=' | b'<' | b'>')
            if trail.is_column(comparison) || trail.back(comparison) == Token::Symbol(b')') =>
        {
            Place::Column
        }
        Token::Symbol(b'+' | b'-' | b'*' | b'/' | b'%') if trail.is_column(1) => Place::Number,
        _ if trail.is(0, "between") && trail.is_column(1) => Place::Column,
        _ if ends_between && trail.is_column(3) => Place::Column,
        _ if trail.is(0, "select") || trail.is(0, "limit") || trail.is(0, "offset") => Place::Number,
        _ if trail.is(0, "like") => Place::Text,
        _ => Place::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_what_is_around_them() {
        use Place::{Column, Number, Other, Row, Text};
        for (sql, expected) in [
            ("insert into t (a, b) values (?, ?), (?, now())", &[Row, Row, Row][..]),
            ("REPLACE INTO t VALUE (?) on duplicate key update a = ?", &[Row, Row]),
            ("insert into t values (coalesce(?, 1), ? + 1)", &[Other, Other]),
            ("insert into t values (1), f(?)", &[Other]),
            ("insert into t select ?, ? from u", &[Number, Number]),
            ("call p(?, ?)", &[Other, Other]),
            (
                "update t set a = ?, `b` = ?, c = c + ? where t.id = ? and d >= ? limit ?",
                &[Row, Row, Number, Column, Column, Number],
            ),
            ("select * from t where a <> ? or b != ? or c <=> ? or d < ?;", &[Column, Column, Column, Column]),
            ("select * from t where a between ? and ? and b not between ? and ?", &[Column, Column, Other, Other]),
            ("select ?, ? as b from t limit ?, ?", &[Number, Number, Number, Number]),
            ("select * from t limit ? offset ?", &[Number, Number]),
            ("select * from t where a = ? + 1", &[Other]),
            ("select * from t where year(a) = ? and lower(b) > ?", &[Column, Column]),
            ("update u.t join v set u.t.a = ?, b = c = ?, t.d = ? where e = ?", &[Column, Column, Row, Column]),
            ("insert into t set a = ?, b = ?", &[Row, Row]),
            ("select a, b = ? from t set", &[Column]),
            ("select * from t where a like ? and b like concat('%', ?, '%')", &[Text, Text]),
            ("select * from t where lower(a) = lower(?)", &[Text]),
            ("select * from t where b < now() - interval ? day", &[Number]),
            ("select * from t where match (a) against (? in boolean mode)", &[Other]),
            // What a list keeps.
            ("select * from t where a in (?, ?)", &[Other, Other]),
            ("select * from t where a not in (b, a = ?)", &[Other]),
            ("select * from t where a in (concat(?)) and b = ?", &[Other, Column]),
            ("select * from t where (a, b) in ((?, ?))", &[Other, Other]),
            ("select * from t where a in (select b from u where c = ?)", &[Column]),
            ("select * from t where a in (select b from u where c in (?))", &[Other]),
            ("select * from t where ? in (1, 2)", &[Other]),
            // What is no column.
            ("select 1 where @x = ?", &[Other]),
            ("select 1 where case a when 1 then 2 end = ?", &[Other]),
            ("select 1 where 1 = ?", &[Other]),
            ("select * from t where a = - ?", &[Other]),
            ("select hex(?)", &[Other]),
            ("select coalesce(?, 1), if(true, ?, 2)", &[Other, Other]),
        ] {
            assert_eq!(places_in(sql).as_deref(), Some(expected), "{sql}");
        }
    }

    #[test]
    fn lists_are_counted_however_they_are_nested_or_left_open() {
        for (sql, expected) in [
            ("select 1 from t where a in ((((?)))) and b = ?", &[Place::Other, Place::Column][..]),
            ("select 1 from t where a in (b in (?), ?) and b = ?", &[Place::Other, Place::Other, Place::Column]),
            ("select 1 from t where a in (select b from u where c in (?) and d = ?)", &[Place::Other, Place::Column]),
            ("select 1 from t where a in (?", &[Place::Other]),
            ("))) select a from t where a = ?", &[Place::Column]),
        ] {
            assert_eq!(places_in(sql).as_deref(), Some(expected), "{sql}");
        }
        let long = format!("select {} {}", "(".repeat(200_000), "?,".repeat(200_000));
        assert_eq!(places_in(&long).map(|places| places.len()), Some(200_000));
    }

    #[test]
    fn what_may_be_read_otherwise_has_no_places() {
        for sql in [
            "select * from t where a = ? /*! + hex(?) */",
            "select * from t where b = '\\' and a = ?",
            "select * from t where b = \"\\\" and a = ?",
            "select $$ ? $$",
        ] {
            assert_eq!(places_in(sql), None, "{sql}");
        }
    }
}
