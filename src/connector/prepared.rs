//! For which types the driver has prepared what it keeps, and which names of types it is known to understand. Pure.
//!
//! The driver finds what it has prepared by its text alone, and whose types stand in it nobody asks (sqlx 0.9.0): a number
//! that one session binds would be read as what another one has bound. So a text is prepared for one list of types, and for
//! another list it gets a text of its own. And the driver keeps the first type of a name that it meets, in a row as well as
//! in a value: whose that was the server is asked once.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

use crate::engine::{Bound, TypeName};
use crate::random;

/// So many texts are remembered. Any other one is sent with its types in it.
const MOST: usize = 4096;

/// What has been prepared on a connection, as far as it has values.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    texts: HashMap<u64, Types>,
    hasher: RandomState,
    /// The names that were bound, and whether the server has confirmed since that they mean what they say.
    names: HashMap<TypeName, bool>,
    /// How often a name may have come to mean something else.
    generation: u64,
}

#[derive(Debug, Clone, Copy)]
struct Types {
    /// Those that its values must have.
    own: u64,
    /// Those that it was prepared with.
    given: u64,
}

/// How a text is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    AsItIs,
    As(String),
}

impl Prepared {
    /// How a text is sent with values of these types. `kept`: the driver keeps what it prepares for it.
    pub(crate) fn for_values(&mut self, sql: &str, bound: &Bound, kept: bool) -> Spelling {
        let Some(types) = self.number(bound) else { return Spelling::As(apart(sql)) };
        self.spelling(sql, types, |known| known.own == types, kept.then_some(Types { own: types, given: types }))
    }

    /// How a text is sent that is to be prepared with these types.
    pub(crate) fn for_types(&mut self, sql: &str, given: &Bound) -> Spelling {
        let Some(types) = self.number(given) else { return Spelling::As(apart(sql)) };
        self.spelling(sql, types, |known| known.given == types, None)
    }

    /// A text was prepared with these types, and has come to have those.
    pub(crate) fn was_prepared(&mut self, sql: &str, given: &Bound, own: &Bound) {
        // What cannot be read fits no values.
        let (Some(given), own) = (self.number(given), self.number(own).unwrap_or_default()) else { return };
        if self.texts.len() < MOST {
            self.texts.entry(self.hasher.hash_one(sql)).or_insert(Types { own, given });
        }
    }

    fn spelling(&mut self, sql: &str, types: u64, fits: impl Fn(&Types) -> bool, new: Option<Types>) -> Spelling {
        let mut spelled = None;
        for number in 0_u32.. {
            let text = spelled.as_deref().unwrap_or(sql);
            let key = self.hasher.hash_one(text);
            let fit = match self.texts.get(&key) {
                Some(known) => fits(known),
                // Somebody may have sent it when nothing more was remembered.
                None if self.texts.len() >= MOST => spelled.is_some(),
                None => {
                    self.texts.extend(new.map(|types| (key, types)));
                    true
                }
            };
            if fit {
                break;
            }
            spelled = Some(format!("{sql}\n/* {types:016x}.{number} */"));
        }
        spelled.map_or(Spelling::AsItIs, Spelling::As)
    }

    /// A number for these types, as the names among them are understood now.
    fn number(&self, bound: &Bound) -> Option<u64> {
        let types = bound.types?;
        if bound.names.is_empty() {
            return Some(types);
        }
        let mut hasher = DefaultHasher::new();
        (types, self.generation).hash(&mut hasher);
        Some(hasher.finish())
    }

    /// The names among them of which the server has to confirm that the driver binds what they mean.
    pub(crate) fn unconfirmed(&self, bound: &Bound) -> Vec<(usize, TypeName)> {
        bound.names.iter().filter(|(_, name)| self.names.get(name) != Some(&true)).cloned().collect()
    }

    /// They are bound for the first time, or again. The server has confirmed them, or nobody has asked.
    pub(crate) fn bound(&mut self, bound: &Bound, confirmed: bool) {
        // A name that is looked up may overwrite what the driver knows of another one.
        if bound.names.iter().any(|(_, name)| !self.names.contains_key(name)) {
            self.doubt_names();
        }
        self.names.extend(bound.names.iter().map(|(_, name)| (name.clone(), confirmed)));
    }

    /// Names may mean something else from here on, or the driver may have learnt them otherwise.
    pub(crate) fn doubt_names(&mut self) {
        self.generation += 1;
        self.names.values_mut().for_each(|confirmed| *confirmed = false);
    }
}

/// A text that nobody has sent before, nor sends again.
fn apart(sql: &str) -> String {
    format!("{sql}\n/* {:016x} */", random::generator().u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "select $1::text";

    fn types(number: u64) -> Bound {
        Bound { types: Some(number), names: Vec::new() }
    }

    fn named(name: &str) -> Bound {
        Bound { types: Some(9), names: vec![(1, TypeName::Plain(name.to_owned()))] }
    }

    fn sent(prepared: &mut Prepared, bound: &Bound) -> String {
        match prepared.for_values(SQL, bound, true) {
            Spelling::AsItIs => SQL.to_owned(),
            Spelling::As(text) => text,
        }
    }

    #[test]
    fn each_list_of_types_has_a_text_and_finds_it_again() {
        let mut prepared = Prepared::default();
        assert_eq!(sent(&mut prepared, &types(1)), SQL);
        let second = sent(&mut prepared, &types(2));
        assert!(second.starts_with(SQL) && second != SQL, "{second}");
        assert_ne!(sent(&mut prepared, &types(3)), second);
        assert_eq!(sent(&mut prepared, &types(2)), second);
        assert_eq!(sent(&mut prepared, &types(1)), SQL);
        // Somebody who has seen it sends the same text with other types.
        let mut other = Prepared::default();
        assert_eq!(other.for_values(SQL, &types(1), true), Spelling::AsItIs);
        assert_eq!(other.for_values(&second, &types(7), true), Spelling::AsItIs);
        let third = sent(&mut other, &types(2));
        assert!(third != second && third != SQL, "{third}");
    }

    #[test]
    fn what_is_not_kept_is_not_remembered_and_finds_nothing_of_others() {
        let mut prepared = Prepared::default();
        assert_eq!(prepared.for_values(SQL, &types(1), false), Spelling::AsItIs);
        assert_eq!(prepared.for_values(SQL, &types(2), true), Spelling::AsItIs);
        assert!(matches!(prepared.for_values(SQL, &types(1), false), Spelling::As(_)));
    }

    #[test]
    fn what_was_prepared_without_values_serves_those_that_it_has_come_to_have() {
        let (none, own) = (types(0), types(5));
        let mut prepared = Prepared::default();
        assert_eq!(prepared.for_types(SQL, &none), Spelling::AsItIs);
        prepared.was_prepared(SQL, &none, &own);
        assert_eq!(prepared.for_types(SQL, &none), Spelling::AsItIs);
        assert_eq!(sent(&mut prepared, &own), SQL);
        assert_ne!(sent(&mut prepared, &types(6)), SQL);
        assert!(matches!(prepared.for_types(SQL, &types(6)), Spelling::As(_)), "as somebody else had it prepared");
        // What a driver cannot show fits nothing.
        prepared.was_prepared("select $1", &none, &Bound { types: None, names: Vec::new() });
        assert!(matches!(prepared.for_values("select $1", &own, true), Spelling::As(_)));
    }

    #[test]
    fn what_cannot_be_read_is_sent_once() {
        let unread = Bound { types: None, names: Vec::new() };
        let mut prepared = Prepared::default();
        let (first, second) = (sent(&mut prepared, &unread), sent(&mut prepared, &unread));
        assert!(first.starts_with(SQL) && first != second, "{first}");
    }

    #[test]
    fn with_more_texts_than_are_remembered_each_has_its_types() {
        let mut prepared = Prepared::default();
        for number in 0..=MOST {
            prepared.for_values(&format!("select $1, {number}"), &types(1), true);
        }
        assert_eq!(prepared.texts.len(), MOST);
        assert_ne!(sent(&mut prepared, &types(1)), SQL);
        assert_eq!(sent(&mut prepared, &types(1)), sent(&mut prepared, &types(1)));
        assert_ne!(sent(&mut prepared, &types(1)), sent(&mut prepared, &types(2)));
        assert_eq!(prepared.for_values("select $1, 0", &types(1), true), Spelling::AsItIs);
    }

    #[test]
    fn a_name_is_confirmed_until_another_one_is_looked_up() {
        let (mood, pair) = (named("mood"), named("pair"));
        let mut prepared = Prepared::default();
        assert_eq!(prepared.unconfirmed(&mood).len(), 1);
        prepared.bound(&mood, true);
        let first = sent(&mut prepared, &mood);
        assert!(prepared.unconfirmed(&mood).is_empty());
        prepared.bound(&pair, false);
        assert_eq!(prepared.unconfirmed(&mood).len(), 1);
        assert_ne!(sent(&mut prepared, &mood), first, "what was prepared before may be for another type");
        for _ in 0..2 {
            prepared.bound(&mood, true);
            prepared.bound(&pair, true);
            assert!(prepared.unconfirmed(&mood).is_empty() && prepared.unconfirmed(&pair).is_empty());
        }
        prepared.doubt_names();
        assert_eq!(prepared.unconfirmed(&pair).len(), 1);
    }
}
