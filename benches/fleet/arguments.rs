//! What the bench was asked for.

use std::collections::HashMap;
use std::time::Duration;

use crate::scenario::Scenario;
use crate::subject::Subject;

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) mysql: bool,
    pub(crate) random: bool,
    /// Variables of our functions.
    pub(crate) set: Vec<(String, String)>,
    numbers: HashMap<String, f64>,
}

const NUMBERS: [&str; 14] = [
    "environments",
    "slots",
    "invocations",
    "rounds",
    "newcomers",
    "busy",
    "rest",
    "patience",
    "stagger",
    "load",
    "rate",
    "seconds",
    "frequent",
    "seldom",
];

impl Arguments {
    /// # Panics
    /// At what it does not know, with what it knows.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self {
            scenarios: Vec::new(),
            subjects: Vec::new(),
            mysql: false,
            random: false,
            set: Vec::new(),
            numbers: HashMap::new(),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
            match word.strip_prefix("--") {
                // From cargo.
                Some("bench") => {}
                Some("random") => arguments.random = true,
                Some("engine") => arguments.mysql = value() == "mysql",
                Some("subjects") => {
                    let named = |name| Subject::named(name).unwrap_or_else(|| panic!("nobody is called {name}"));
                    arguments.subjects = value().split(',').map(named).collect();
                }
                Some("set") => {
                    let pair = value();
                    let (name, value) = pair.split_once('=').expect("--set NAME=VALUE");
                    arguments.set.push((name.to_owned(), value.to_owned()));
                }
                Some(name) if NUMBERS.contains(&name) => {
                    let number = value().parse().unwrap_or_else(|_| panic!("{word} wants a number"));
                    arguments.numbers.insert(name.to_owned(), number);
                }
                Some(_) => panic!("{word} is none of --subjects, --engine, --set, --random and {NUMBERS:?}"),
                None => {
                    let all = Scenario::ALL;
                    let named = all.into_iter().find(|scenario| scenario.name() == word);
                    arguments.scenarios.push(named.unwrap_or_else(|| panic!("{word} is none of {all:?}")));
                }
            }
        }
        if arguments.scenarios.is_empty() {
            arguments.scenarios.push(Scenario::Warm);
        }
        if arguments.subjects.is_empty() {
            arguments.subjects = Subject::ALL.to_vec();
        }
        if arguments.mysql {
            arguments.subjects.retain(|subject| !subject.is_pooled());
        }
        arguments
    }

    pub(crate) fn number(&self, name: &str, default: f64) -> f64 {
        debug_assert!(NUMBERS.contains(&name), "{name} is not among the arguments");
        self.numbers.get(name).copied().unwrap_or(default)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
    pub(crate) fn count(&self, name: &str, default: u16) -> usize {
        self.number(name, default.into()) as usize
    }

    pub(crate) fn milliseconds(&self, name: &str, default: u16) -> Duration {
        Duration::from_secs_f64(self.number(name, default.into()) / 1e3)
    }
}
