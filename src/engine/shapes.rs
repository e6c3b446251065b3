//! Texts that are made to be read slowly. Reading takes time in proportion to a text, whatever the text is: the process
//! stands still for as long, no timeout fires, and a tenant may decide what it says.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A beginning, what is repeated, and an end.
type Shape = (&'static str, &'static str, &'static str);

/// For both engines: to each other's forms they are adversarial as well.
const SHAPES: [Shape; 46] = [
    ("create procedure p() ", ";", ""),
    ("create procedure p() begin ", ";", "end"),
    ("create procedure p() ", "; ", "select '\\\\'"),
    ("create procedure p() /*! 1 */ ", ";", ""),
    ("begin not atomic ", ";", " end"),
    ("begin not atomic ", "select 1;", " end"),
    ("alter event e do ", ";", ""),
    ("create function f() returns int begin atomic ", "select 1;", " end"),
    ("create function f() returns int begin atomic ", ";", ""),
    ("create rule r as on insert to t do (", "select 1;", ")"),
    ("", ";", ""),
    ("", "select 1;", ""),
    ("", "begin;commit;", ""),
    ("", "begin;", ""),
    ("", "savepoint a;", ""),
    ("begin;", "set x = 1;", "commit"),
    ("set ", "a = 1, ", "a = 1"),
    ("set ", "@a = 1, ", "@a = 1"),
    ("set ", "a = (((1))), ", "a = 1"),
    ("set sql_mode = '", "ansi,", "'"),
    ("set search_path = ", "a, ", "a"),
    ("set names ", "utf8 ", ""),
    ("set transaction ", "read only, ", "read only"),
    ("set session transaction isolation level ", "repeatable read, ", "read only"),
    ("select ", "set_config('a', 'b', true), ", "set_config('a', 'b', true)"),
    ("select ", "set_config(", ""),
    ("select ", "last_insert_id(", ""),
    ("select ", "last_insert_id() /* */ ", ""),
    ("select ", "@@a ", ""),
    ("select ", "@", ""),
    ("select ", "a.", "b"),
    ("select ", "1,", "1"),
    ("select ", "(", ""),
    ("select ", ")", ""),
    ("select ", "'a' ", ""),
    ("select '", "''", ""),
    ("select '", "\\\\", ""),
    ("select \"", "\"\"", ""),
    ("select ", "U&\"\\\\0061\" ", ""),
    ("select ", "$a$ $b$ ", ""),
    ("select ", "$a", ""),
    ("select ", "/* ", ""),
    ("select ", "/*! ", ""),
    ("select ", "-- x\n", "1"),
    ("with a as (", "insert ", ")"),
    ("explain ", "execute ", "p"),
];

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn text((begins, repeated, ends): Shape, size: usize) -> String {
    format!("{begins}{}{ends}", repeated.repeat(size / repeated.len()))
}

/// Asserts that `read` takes four times as long for a text of four times the size, and not sixteen times.
///
/// Counted is the time that this thread had a processor, of the quickest of some runs in turns, so that what else the machine
/// does is left out; what is too quick to be measured is not judged.
pub(crate) fn assert_linear(read: impl Fn(&str)) {
    const SMALL: usize = 64 * 1024;
    const NOISE: Duration = Duration::from_millis(2);
    for shape in SHAPES {
        let texts = [text(shape, SMALL), text(shape, 4 * SMALL)];
        let mut best = [Duration::MAX; 2];
        for _ in 0..9 {
            for (text, best) in texts.iter().zip(&mut best) {
                let began = processor_time();
                read(black_box(text));
                *best = processor_time().saturating_sub(began).min(*best);
            }
            if best[1] < NOISE || best[1] <= best[0] * 6 {
                break;
            }
        }
        assert!(best[1] < NOISE || best[1] <= best[0] * 8, "{shape:?}: {best:?}");
    }
}
