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
#[derive(Debug)]
pub(crate) struct Prepared {
    /// [`Rules::remarks_first`](crate::engine::Rules::remarks_first)
    remarks_first: bool,
    texts: HashMap<u64, Types>,
    hasher: RandomState,
    /// The names of types that were bound.
    names: HashMap<TypeName, Known>,
    /// How often the driver may have come to take a name for something else.
    generation: u64,
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The type for which the driver takes it, as the server numbers types.
    taken_for: Option<u32>,
    /// That is what it means.
    confirmed: bool,
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
    /// Of a new login.
    pub(crate) fn new(remarks_first: bool) -> Self {
        let (texts, names) = (HashMap::new(), HashMap::new());
        Self { remarks_first, texts, hasher: RandomState::new(), names, generation: 0 }
    }

    /// How a text is sent with values of these types. `has_parameters`: it may have some; `kept`: the driver keeps what it
    /// prepares for it.
    pub(crate) fn for_values(&mut self, sql: &str, bound: &Bound, has_parameters: bool, kept: bool) -> Spelling {
        let Some(types) = self.number(bound) else { return Spelling::As(self.unique(sql)) };
        let new = kept.then_some(Types { own: types, given: types });
        self.spelling(sql, types, has_parameters, |known| known.own == types, new)
    }

    /// How a text is sent that is to be prepared with these types.
    pub(crate) fn for_types(&mut self, sql: &str, given: &Bound, has_parameters: bool) -> Spelling {
        let Some(types) = self.number(given) else { return Spelling::As(self.unique(sql)) };
        // Dropped before its end, it may be kept by the driver, and nobody knows for what.
        let nobodys = random::generator().u64(..);
        let new = Types { own: nobodys, given: nobodys };
        self.spelling(sql, types, has_parameters, |known| known.given == types, Some(new))
    }

    /// A text was prepared with these types, and has come to have those.
    pub(crate) fn was_prepared(&mut self, sql: &str, given: &Bound, own: &Bound) {
        // What cannot be read fits no values.
        let (Some(given), own) = (self.number(given), self.number(own).unwrap_or_default()) else { return };
        if let Some(known) = self.texts.get_mut(&self.hasher.hash_one(sql)).filter(|known| known.given != given) {
            *known = Types { own, given };
        }
    }

    fn spelling(
        &mut self,
        sql: &str,
        types: u64,
        has_parameters: bool,
        fits: impl Fn(&Types) -> bool,
        new: Option<Types>,
    ) -> Spelling {
        /// The first text of their own is free, but for whoever has read it on the server and sent it with other types.
        const MOST_TRIES: u32 = 4;
        // A text without parameters may be sent as it is only without values. PostgreSQL would prepare it with values too, so that
        // with values it gets a text of its own.
        let mut spelled = (!has_parameters).then(|| self.with_number(sql, types, 0));
        for number in 1..=MOST_TRIES {
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
                return spelled.map_or(Spelling::AsItIs, Spelling::As);
            }
            spelled = Some(self.with_number(sql, types, number));
        }
        Spelling::As(self.unique(sql))
    }

    /// The text with a number of its types that nobody else can know before.
    fn with_number(&self, sql: &str, types: u64, number: u32) -> String {
        self.remarked(sql, self.hasher.hash_one((types, number)))
    }

    /// A text that nobody has sent before, nor sends again.
    fn unique(&self, sql: &str) -> String {
        self.remarked(sql, random::generator().u64(..))
    }

    fn remarked(&self, sql: &str, number: u64) -> String {
        if self.remarks_first { format!("/* {number:016x} */ {sql}") } else { format!("{sql}\n/* {number:016x} */") }
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

    /// The names among them of which it is not known that the driver takes them for what they mean.
    pub(crate) fn unconfirmed(&self, bound: &Bound) -> Vec<TypeName> {
        let mut names = Vec::new();
        for name in &bound.names {
            if !self.names.get(name).is_some_and(|known| known.confirmed) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Those for which it is not known what the driver takes them for.
    pub(crate) fn untaken(&self, names: &[TypeName]) -> Vec<TypeName> {
        let is_taken = |name| self.names.get(name).is_some_and(|known| known.taken_for.is_some());
        names.iter().filter(|name| !is_taken(*name)).cloned().collect()
    }

    /// The driver looks up those among them that it does not know, and may overwrite what it knows of others.
    pub(crate) fn look_up(&mut self, names: &[TypeName]) {
        if names.iter().any(|name| !self.names.contains_key(name)) {
            self.forget_names();
        }
        for name in names {
            self.names.entry(name.clone()).or_default();
        }
    }

    /// The driver takes them for these.
    pub(crate) fn took(&mut self, names: &[TypeName], types: &[Option<u32>]) {
        for (name, taken_for) in names.iter().zip(types) {
            self.names.insert(name.clone(), Known { taken_for: *taken_for, confirmed: false });
        }
    }

    /// They mean these now. Whether the driver takes them for the same.
    pub(crate) fn confirm(&mut self, names: &[TypeName], meant: &[Option<u32>]) -> bool {
        let mut all = names.len() == meant.len();
        for (name, meant) in names.iter().zip(meant) {
            let known = self.names.entry(name.clone()).or_default();
            known.confirmed = meant.is_some() && known.taken_for == *meant;
            all &= known.confirmed;
        }
        all
    }

    /// Names may mean something else from here on.
    pub(crate) fn doubt_names(&mut self) {
        self.names.values_mut().for_each(|known| known.confirmed = false);
    }

    /// The driver may have come to take them for something else.
    pub(crate) fn forget_names(&mut self) {
        self.generation += 1;
        self.names.values_mut().for_each(|known| *known = Known::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "select $1::text";

    fn types(number: u64) -> Bound {
        Bound { types: Some(number), names: Vec::new(), hides_names: false }
    }

    fn named(name: &str) -> Bound {
        Bound { types: Some(9), names: vec![TypeName::Plain(name.to_owned())], hides_names: false }
    }

    fn sent(prepared: &mut Prepared, bound: &Bound) -> String {
        match prepared.for_values(SQL, bound, true, true) {
            Spelling::AsItIs => SQL.to_owned(),
            Spelling::As(text) => text,
        }
    }

    #[test]
    fn each_list_of_types_has_a_text_and_finds_it_again() {
        let mut prepared = Prepared::new(false);
        assert_eq!(sent(&mut prepared, &types(1)), SQL);
        let second = sent(&mut prepared, &types(2));
        assert!(second.starts_with(SQL) && second != SQL, "{second}");
        assert_ne!(sent(&mut prepared, &types(3)), second);
        assert_eq!(sent(&mut prepared, &types(2)), second);
        assert_eq!(sent(&mut prepared, &types(1)), SQL);
        // Somebody who has seen it sends the same text with other types.
        let mut other = Prepared::new(false);
        assert_eq!(other.for_values(SQL, &types(1), true, true), Spelling::AsItIs);
        assert_eq!(other.for_values(&second, &types(7), true, true), Spelling::AsItIs);
        let third = sent(&mut other, &types(2));
        assert!(third != second && third != SQL, "{third}");
    }

    #[test]
    fn a_remark_leaves_no_place_elsewhere_or_ends_no_comment() {
        for (remarks_first, text) in [(false, "select $1::text\n/* "), (true, "/* ")] {
            let mut prepared = Prepared::new(remarks_first);
            sent(&mut prepared, &types(1));
            let second = sent(&mut prepared, &types(2));
            assert!(second.starts_with(text) && second.contains(SQL), "{second}");
            assert_eq!(second.ends_with(SQL), remarks_first, "{second}");
        }
    }

    #[test]
    fn what_is_not_kept_is_not_remembered_and_finds_nothing_of_others() {
        let mut prepared = Prepared::new(false);
        assert_eq!(prepared.for_values(SQL, &types(1), true, false), Spelling::AsItIs);
        assert_eq!(prepared.for_values(SQL, &types(2), true, true), Spelling::AsItIs);
        assert!(matches!(prepared.for_values(SQL, &types(1), true, false), Spelling::As(_)));
    }

    #[test]
    fn what_was_prepared_without_values_serves_those_that_it_has_come_to_have() {
        let (none, own) = (types(0), types(5));
        let mut dropped = Prepared::new(false);
        dropped.for_types(SQL, &none, true);
        assert_ne!(sent(&mut dropped, &own), SQL, "nobody knows for what it was prepared");
        let mut prepared = Prepared::new(false);
        assert_eq!(prepared.for_types(SQL, &none, true), Spelling::AsItIs);
        prepared.was_prepared(SQL, &none, &own);
        assert_eq!(prepared.for_types(SQL, &none, true), Spelling::AsItIs);
        assert_eq!(sent(&mut prepared, &own), SQL);
        assert_ne!(sent(&mut prepared, &types(6)), SQL);
        assert!(
            matches!(prepared.for_types(SQL, &types(6), true), Spelling::As(_)),
            "as somebody else had it prepared"
        );
        // What a driver cannot show fits nothing.
        prepared.for_types("select $1", &none, true);
        prepared.was_prepared("select $1", &none, &Bound { types: None, names: Vec::new(), hides_names: true });
        assert!(matches!(prepared.for_values("select $1", &own, true, true), Spelling::As(_)));
    }

    #[test]
    fn what_cannot_be_read_is_sent_once() {
        let unread = Bound { types: None, names: Vec::new(), hides_names: true };
        let mut prepared = Prepared::new(false);
        let (first, second) = (sent(&mut prepared, &unread), sent(&mut prepared, &unread));
        assert!(first.starts_with(SQL) && first != second, "{first}");
    }

    #[test]
    fn with_more_texts_than_are_remembered_each_has_its_types() {
        let mut prepared = Prepared::new(false);
        for number in 0..=MOST {
            prepared.for_values(&format!("select $1, {number}"), &types(1), true, true);
        }
        assert_eq!(prepared.texts.len(), MOST);
        assert_ne!(sent(&mut prepared, &types(1)), SQL);
        assert_eq!(sent(&mut prepared, &types(1)), sent(&mut prepared, &types(1)));
        assert_ne!(sent(&mut prepared, &types(1)), sent(&mut prepared, &types(2)));
        assert_eq!(prepared.for_values("select $1, 0", &types(1), true, true), Spelling::AsItIs);
    }

    #[test]
    fn a_text_without_places_is_nobodys_with_values() {
        let mut prepared = Prepared::new(false);
        for _ in 0..2 {
            let Spelling::As(text) = prepared.for_values("select 1", &types(1), false, true) else { panic!() };
            assert_ne!(text, "select 1");
            assert_eq!(prepared.for_values("select 1", &types(1), false, true), Spelling::As(text));
            assert!(matches!(prepared.for_types("select 1", &types(1), false), Spelling::As(_)));
        }
    }

    #[test]
    fn nobody_makes_others_try_for_long() {
        let mut prepared = Prepared::new(false);
        let mut text = SQL.to_owned();
        for _ in 0..10 {
            // Whoever sees what was sent last sends the same with other types.
            prepared.texts.insert(prepared.hasher.hash_one(&text), Types { own: 7, given: 7 });
            text = sent(&mut prepared, &types(1));
        }
        let again = sent(&mut prepared, &types(1));
        assert_ne!(text, again, "a text of its own each time");
    }

    #[test]
    fn a_name_is_confirmed_until_another_one_is_looked_up() {
        let (mood, pair) = (named("mood"), named("pair"));
        let mut prepared = Prepared::new(false);
        assert_eq!(prepared.unconfirmed(&mood), mood.names);
        prepared.look_up(&mood.names);
        assert_eq!(prepared.untaken(&mood.names), mood.names);
        prepared.took(&mood.names, &[Some(7)]);
        assert!(!prepared.confirm(&mood.names, &[Some(8)]) && !prepared.confirm(&mood.names, &[None]));
        assert!(prepared.untaken(&mood.names).is_empty());
        assert!(prepared.confirm(&mood.names, &[Some(7)]));
        let first = sent(&mut prepared, &mood);
        assert!(prepared.unconfirmed(&mood).is_empty());
        prepared.look_up(&pair.names);
        assert_eq!(
            (prepared.unconfirmed(&mood), prepared.untaken(&mood.names)),
            (mood.names.clone(), mood.names.clone())
        );
        assert_ne!(sent(&mut prepared, &mood), first, "what was prepared before may be for another type");
        for (names, number) in [(&mood, 7), (&pair, 9), (&mood, 7), (&pair, 9)] {
            prepared.look_up(&names.names);
            prepared.took(&names.names, &[Some(number)]);
            assert!(prepared.confirm(&names.names, &[Some(number)]));
        }
        assert!(prepared.unconfirmed(&mood).is_empty() && prepared.unconfirmed(&pair).is_empty());
        prepared.doubt_names();
        assert_eq!((prepared.unconfirmed(&pair), prepared.untaken(&pair.names)), (pair.names.clone(), Vec::new()));
    }
}
