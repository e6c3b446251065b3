//! What applications do, told by the same world: who is answered, who is refused, and what it costs.

use super::*;

/// Sessions that speak one after the other on one connection, and which of their texts are refused.
fn refused(refuses: bool, texts: &[(usize, &[Deed])]) -> Vec<bool> {
    let mut world = World::new(refuses, false);
    let mut play = |(session, text): &(usize, &[Deed])| {
        let op = says(*session, text);
        let (alone, together) = world.play(&op).unwrap();
        assert_eq!(alone, together, "{op:?}");
        together == Seen::Refused
    };
    texts.iter().map(&mut play).collect()
}

#[test]
fn everyday_sessions_are_answered_and_interleaved_ones_refused() {
    use Deed::{Generate, GenerateUnseen, Nothing, Read, ReadCount, ReadFound, ReadKept, ReadLast, Select};
    for (refuses, texts, want) in [
        // One session after the other, and each asks.
        (true, vec![(0, vec![Generate(0)]), (0, vec![ReadLast]), (1, vec![Generate(0)]), (1, vec![Read(0)])], "----"),
        (false, vec![(0, vec![Generate(0)]), (0, vec![ReadLast]), (1, vec![Generate(0)]), (1, vec![ReadLast])], "----"),
        // Another was in between, and what came then was about something else.
        (
            true,
            vec![(0, vec![Generate(0)]), (1, vec![Generate(0)]), (0, vec![Generate(1)]), (0, vec![Read(0)])],
            "---R",
        ),
        (true, vec![(0, vec![Generate(0)]), (1, vec![Generate(0)]), (0, vec![Nothing]), (0, vec![ReadLast])], "---R"),
        (false, vec![(0, vec![Generate(0)]), (1, vec![Generate(0)]), (0, vec![Nothing]), (0, vec![ReadLast])], "---R"),
        // The other's was seen by nobody.
        (true, vec![(0, vec![Generate(0)]), (1, vec![GenerateUnseen(0)]), (0, vec![ReadLast])], "--R"),
        // Who was refused has not been there.
        (true, vec![(0, vec![Generate(0)]), (1, vec![ReadLast]), (0, vec![ReadLast])], "-R-"),
        // Within a text.
        (true, vec![(0, vec![Generate(0)]), (1, vec![Generate(0), ReadLast])], "--"),
        (false, vec![(0, vec![Generate(0)]), (1, vec![Generate(0), ReadLast])], "--"),
        (false, vec![(0, vec![Select, ReadCount])], "-"),
        (false, vec![(1, vec![Nothing]), (0, vec![Nothing, ReadCount])], "--"),
        (false, vec![(1, vec![Select]), (0, vec![Select, ReadFound])], "--"),
        (false, vec![(1, vec![Select]), (0, vec![Nothing, ReadFound])], "-R"),
        // What nobody can make the server forget.
        (
            false,
            vec![(0, vec![Generate(0)]), (0, vec![ReadKept(0)]), (1, vec![Generate(0)]), (1, vec![ReadKept(0)])],
            "---R",
        ),
        (
            false,
            vec![(0, vec![Select]), (0, vec![Nothing]), (0, vec![ReadFound]), (1, vec![Nothing]), (1, vec![ReadFound])],
            "----R",
        ),
    ] {
        let texts: Vec<_> = texts.iter().map(|(session, text)| (*session, text.as_slice())).collect();
        let found: String =
            refused(refuses, &texts).into_iter().map(|refused| if refused { 'R' } else { '-' }).collect();
        assert_eq!(found, want, "{texts:?}");
    }
}

#[test]
fn an_application_that_never_asks_stops_paying_and_one_that_asks_goes_on() {
    let mut world = World::new(true, false);
    let mut round = |asks: bool| {
        let mut exchanges = world.wires[0].number;
        for session in 0..2 {
            let mut text = vec![Deed::Generate(0)];
            text.extend(asks.then_some(Deed::ReadLast));
            world.play(&says(session, &text));
        }
        exchanges = world.wires[0].number - exchanges;
        exchanges
    };
    let paid = (0..100).filter(|_| round(false) > 2).count();
    assert!((1..50).contains(&paid), "{paid} rounds");
    assert_eq!(round(false), 2);
    round(true);
    assert_eq!(round(false), 4);
}

#[test]
fn what_was_found_before_a_pooler_has_changed_the_servers_session_is_not_read_after_it() {
    let mut world = World::new(false, true);
    let text = |deed, held, backend| Op::Text {
        session: 0,
        wire: 0,
        text: vec![deed],
        fails: None,
        pins: false,
        begins: false,
        held,
        backend,
    };
    world.play(&text(Deed::Select, false, 0));
    world.play(&text(Deed::Nothing, false, 1));
    let (_, together) = world.play(&text(Deed::ReadFound, true, 1)).unwrap();
    assert_eq!(together, Seen::Refused);
}
