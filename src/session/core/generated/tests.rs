//! The rule beside a plain model: sessions that have a server session each, and the same sessions on wires that they share.

mod everyday;

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SESSIONS: usize = 3;
const WIRES: usize = 2;
/// What a pooler has behind each wire.
const BACKENDS: usize = 2;

/// One statement of a text.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Generate(usize),
    /// No text tells.
    GenerateUnseen(usize),
    Select,
    Update,
    Nothing,
    /// The number of one sequence, the last number of all.
    Read(usize),
    ReadLast,
    /// The number of one sequence that nothing makes the server forget.
    ReadKept(usize),
    ReadCount,
    ReadFound,
    ReadWarnings,
}

impl Deed {
    fn sequence(self) -> Sequence {
        match self {
            Self::Generate(_) => Sequence::GENERATES,
            Self::GenerateUnseen(_) | Self::Nothing => Sequence::NONE,
            Self::Select => Sequence::FINDS,
            Self::Update => Sequence::WARNS,
            Self::Read(_) | Self::ReadLast => Sequence::READS,
            Self::ReadKept(_) => Sequence::READS_KEPT,
            Self::ReadCount => Sequence::READS_COUNT,
            Self::ReadFound => Sequence::READS_FOUND,
            Self::ReadWarnings => Sequence::READS_WARNINGS,
        }
    }
}

fn sequence(text: &[Deed]) -> Sequence {
    text.iter().map(|deed| deed.sequence()).reduce(Sequence::then).unwrap_or_default()
}

/// What a server session remembers.
#[derive(Debug, Clone, Default)]
struct Server {
    numbers: HashMap<usize, u64>,
    last: Option<u64>,
    kept: HashMap<usize, u64>,
    count: u64,
    found: u64,
    warnings: u64,
}

impl Server {
    /// Does it, as this statement of all; the answer is `None` where there is nothing to tell.
    fn does(&mut self, deed: Deed, number: u64) -> Option<u64> {
        let answer = match deed {
            Deed::Generate(sequence) | Deed::GenerateUnseen(sequence) => {
                self.numbers.insert(sequence, number);
                self.kept.insert(sequence, number);
                self.last = Some(number);
                None
            }
            Deed::Read(sequence) => self.numbers.get(&sequence).copied(),
            Deed::ReadLast => self.last,
            Deed::ReadKept(sequence) => self.kept.get(&sequence).copied(),
            Deed::ReadCount => Some(self.count),
            Deed::ReadFound => Some(self.found),
            Deed::ReadWarnings => Some(self.warnings),
            Deed::Select | Deed::Update | Deed::Nothing => None,
        };
        self.count = number;
        match deed {
            Deed::Select => self.found = number,
            Deed::Update => self.warnings = number,
            _ => {}
        }
        answer
    }

    /// An exchange of the crate's own.
    fn is_spoken_to(&mut self, number: u64) {
        (self.count, self.found, self.warnings) = (number, number, number);
    }

    fn forgets(&mut self) {
        self.numbers.clear();
        self.last = None;
    }
}

struct Wire {
    memory: Memory,
    number: u64,
    behind: Vec<Server>,
    at: usize,
    user: Option<usize>,
}

/// What a session gets to see of a text.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The answer to each statement, and whether the last one was refused by the server.
    Answers(Vec<Option<u64>>, bool),
    Refused,
}

#[derive(Debug, Clone)]
enum Op {
    Text {
        session: usize,
        wire: usize,
        text: Vec<Deed>,
        /// At this statement of it.
        fails: Option<usize>,
        pins: bool,
        begins: bool,
        held: bool,
        backend: usize,
    },
    /// The crate brings the connection to rest.
    Rest(usize),
    Clean(usize),
}

/// One session's text on the first connection.
fn says(session: usize, text: &[Deed]) -> Op {
    let text = text.to_vec();
    Op::Text { session, wire: 0, text, fails: None, pins: false, begins: false, held: false, backend: 0 }
}

struct World {
    /// As PostgreSQL.
    refuses: bool,
    pooled: bool,
    forgets: bool,
    clock: u64,
    wires: Vec<Wire>,
    sessions: Vec<Generated>,
    alone: Vec<Server>,
}

impl World {
    fn new(refuses: bool, pooled: bool) -> Self {
        let wire = |_| Wire {
            memory: Memory::fresh(pooled),
            number: 0,
            behind: vec![Server::default(); BACKENDS],
            at: 0,
            user: None,
        };
        Self {
            refuses,
            pooled,
            forgets: true,
            clock: 1,
            wires: (0..WIRES).map(wire).collect(),
            sessions: (0..SESSIONS).map(|id| Generated::new(id as u64 + 1, refuses)).collect(),
            alone: vec![Server::default(); SESSIONS],
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn speaks(&mut self, wire: usize) {
        let now = self.tick();
        let wire = &mut self.wires[wire];
        wire.number += 1;
        wire.behind[wire.at].is_spoken_to(now);
    }

    /// The answers alone, and together.
    fn play(&mut self, op: &Op) -> Option<(Seen, Seen)> {
        match op {
            Op::Rest(wire) => self.speaks(*wire),
            Op::Clean(wire) => {
                self.speaks(*wire);
                let wire = &mut self.wires[*wire];
                wire.user = None;
                if !self.pooled {
                    wire.behind[wire.at].forgets();
                }
                wire.memory.clean_up();
            }
            Op::Text { session, wire, text, fails, pins, begins, held, backend } => {
                let held = *held && self.wires[*wire].user == Some(*session);
                if self.pooled && !held {
                    self.wires[*wire].at = *backend;
                }
                if !held {
                    self.wires[*wire].user = None;
                }
                let mut next = Use {
                    text: sequence(text),
                    begins: *begins && !held,
                    pins: *pins,
                    held,
                    aborted: false,
                    was_refused: false,
                };
                return Some(loop {
                    let place = &mut self.wires[*wire];
                    let at = Exchange { wire: *wire as u64, number: place.number };
                    match self.sessions[*session].before(at, &mut place.memory, next) {
                        Step::Go => break self.run(*session, *wire, text, *fails),
                        Step::Refuse(_) => break (Seen::Refused, Seen::Refused),
                        Step::Empty => {
                            let done = self.forgets;
                            self.speaks(*wire);
                            let place = &mut self.wires[*wire];
                            if done {
                                place.behind[place.at].forgets();
                            }
                            self.sessions[*session].emptied(at.wire, &mut place.memory, held, done);
                            next.was_refused = !done;
                        }
                        Step::Look => {
                            self.speaks(*wire);
                            let place = &mut self.wires[*wire];
                            let number = place.behind[place.at].last.unwrap_or_default();
                            if !self.sessions[*session].told(at.wire, &mut place.memory, held, number) {
                                break (Seen::Refused, Seen::Refused);
                            }
                        }
                    }
                });
            }
        }
        None
    }

    fn run(&mut self, session: usize, wire: usize, text: &[Deed], fails: Option<usize>) -> (Seen, Seen) {
        let place = &mut self.wires[wire];
        place.user = Some(session);
        let at = |number| Exchange { wire: wire as u64, number };
        place.number += 1;
        self.sessions[session].sent(at(place.number - 1), at(place.number));
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for (number, deed) in text.iter().enumerate() {
            if fails == Some(number) {
                self.clock += 1;
                self.alone[session].count = self.clock;
                place.behind[place.at].count = self.clock;
                return (Seen::Answers(alone, true), Seen::Answers(together, true));
            }
            self.clock += 1;
            let own = self.alone[session].does(*deed, self.clock);
            let answer = place.behind[place.at].does(*deed, self.clock);
            let asks = matches!(deed, Deed::Read(_) | Deed::ReadLast);
            if self.refuses && asks && answer.is_none() {
                // The server does not go on with the text.
                if self.sessions[session].failed(true).is_some() {
                    return (Seen::Refused, Seen::Refused);
                }
                return (Seen::Answers(alone, own.is_none()), Seen::Answers(together, true));
            }
            alone.push(own);
            together.push(answer);
        }
        self.sessions[session].succeeded();
        (Seen::Answers(alone, false), Seen::Answers(together, false))
    }
}

fn deed(refuses: bool) -> impl Strategy<Value = Deed> {
    let shared = prop_oneof![
        3 => (0..2_usize).prop_map(Deed::Generate),
        1 => Just(Deed::Select),
        1 => Just(Deed::Update),
        1 => Just(Deed::Nothing),
        3 => Just(Deed::ReadLast),
    ];
    if refuses {
        prop_oneof![
            3 => shared,
            1 => (0..2_usize).prop_map(Deed::GenerateUnseen),
            2 => (0..2_usize).prop_map(Deed::Read),
        ]
        .boxed()
    } else {
        prop_oneof![
            3 => shared,
            1 => Just(Deed::ReadCount),
            1 => Just(Deed::ReadFound),
            1 => Just(Deed::ReadWarnings),
            1 => (0..2_usize).prop_map(Deed::ReadKept),
        ]
        .boxed()
    }
}

fn op(refuses: bool, sessions: usize, wires: usize) -> impl Strategy<Value = Op> {
    let text = prop::collection::vec(deed(refuses), 1..4);
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1), 0..BACKENDS);
    let fails = prop::option::weighted(0.2, 0..3_usize);
    let text = (0..sessions, 0..wires, text, fails, flags).prop_map(
        |(session, wire, text, fails, (held, begins, pins, backend))| Op::Text {
            session,
            wire,
            text,
            fails,
            pins,
            begins,
            held,
            backend,
        },
    );
    prop_oneof![12 => text, 1 => (0..wires).prop_map(Op::Rest), 1 => (0..wires).prop_map(Op::Clean)]
}

fn ops(sessions: usize, wires: usize) -> impl Strategy<Value = (bool, Vec<Op>)> {
    any::<bool>()
        .prop_flat_map(move |refuses| (Just(refuses), prop::collection::vec(op(refuses, sessions, wires), 1..24)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_the_one_of_a_connection_of_ones_own(
        (refuses, ops) in ops(SESSIONS, WIRES), pooled in prop::bool::weighted(0.3), forgets in prop::bool::weighted(0.9)
    ) {
        let mut world = World::new(refuses, pooled);
        world.forgets = forgets;
        for op in &ops {
            if let Some((alone, together)) = world.play(op) {
                prop_assert_eq!(alone, together, "at {:?}", op);
            }
        }
    }

    #[test]
    fn nothing_is_refused_where_nobody_else_has_been((refuses, ops) in ops(1, 1)) {
        let mut world = World::new(refuses, false);
        // What is read at first is what the crate has left.
        world.play(&says(0, &[Deed::Select]));
        for op in ops.iter().filter(|op| matches!(op, Op::Text { .. })) {
            let number = world.wires[0].number;
            let (alone, together) = world.play(op).unwrap();
            prop_assert_ne!(&together, &Seen::Refused, "at {:?}", op);
            prop_assert_eq!(alone, together, "at {:?}", op);
            prop_assert_eq!(world.wires[0].number, number + 1, "one exchange");
        }
    }
}
