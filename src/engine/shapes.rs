//! Texts that lead a careless reader to read again what it has read: the same few bytes over and over, inside of what
//! quotes, nests, lists or never ends.
//!
//! Why must reading be linear? A session classifies a text before anything is sent: no timeout fires meanwhile, and the
//! whole process stands still for as long as it takes.

use super::{Dialect, Setting};
use crate::pin::{PinCause, PinReason};

/// How a text begins, what is repeated in it (`{n}` counts), and how it ends.
pub type Shape = (&'static str, &'static str, &'static str);

/// A text of this shape, about as long as that, in bytes.
pub fn text((start, again, end): Shape, length: usize) -> String {
    let mut text = String::with_capacity(length + start.len() + end.len());
    text.push_str(start);
    for n in 0.. {
        if text.len() >= length {
            break;
        }
        match again.split_once("{n}") {
            Some((before, after)) => {
                text.push_str(before);
                text.push_str(&format!("{n}{}", after.replace("{n}", &n.to_string())));
            }
            None => text.push_str(again),
        }
    }
    text.push_str(end);
    text
}

/// All that is done with a text before it is sent.
pub(super) fn weigh<D: Dialect>(text: &str) {
    let class = D::classify(text);
    if let Some(Setting::Several(statement)) = class.setting() {
        D::settings_of(statement);
    }
    PinReason::new(class.pins.unwrap_or(PinCause::UnknownStatement), text);
}

/// For PostgreSQL.
pub const POSTGRES: &[Shape] = &[
    ("create function f() returns int begin atomic ", ";", ""),
    ("create function f() returns int begin atomic ", "select 1; ", "end"),
    ("create function f() returns int ", "begin atomic ", ""),
    ("create procedure p() ", ";", ""),
    ("create ", "or replace ", ""),
    ("create rule r as on insert to t do also (", "delete from t; ", ")"),
    ("create table t as ", "execute ", "p"),
    ("create table t as ", "(", "execute p"),
    ("explain ", "analyze ", "execute p"),
    ("explain ", "(analyze) ", "execute p"),
    ("with ", "a as (insert into t values (1)), ", "b as (select 1) select 1"),
    ("do $$ ", "begin ", "$$"),
    ("values ", "$a$ $b$ ", ""),
    ("values ", "$a{n}$ ", ""),
    ("values ", "$a", ""),
    ("values ", "$a ", ""),
    ("values ", "$1$", ""),
    ("values ", "$", ""),
    ("select $", "a", ""),
    ("select $a$", "$a", ""),
    ("select $a$ ", "$b$ $a ", "$a$"),
    ("", "/*", ""),
    ("", "/* ", "*/"),
    ("", "/**/", "select 1"),
    ("", "/*/**/*/", "select 1"),
    ("", "--\n", "select 1"),
    ("", " ", "select 1"),
    ("select 1;select '", "a", ""),
    ("select 1;select '", "''", ""),
    ("show ", "'a' ", ""),
    ("select e'", "\\'", ""),
    ("select e'", "\\", "'"),
    ("show ", "e'a' ", ""),
    ("show ", "e'a' -- b\n", "1"),
    ("select e'a'", "\n'a'", ""),
    ("select e'a'", "-- a\n", "'b'"),
    ("select e'a' ", "  ", "'b'"),
    ("select 1;select \"", "\"\"", ""),
    ("show ", "\"a\",", "1"),
    ("show ", "u&\"a\",", "1"),
    ("show ", "u&", ""),
    ("show ", "(", ""),
    ("show ", "()", ""),
    ("", ")", ""),
    ("", "(", ""),
    ("select ", "set_config('a{n}','b',true),", "set_config('a','b',true)"),
    ("select ", "set_config('a','b',", ""),
    ("select set_config('search_path', '", "pg_tem", "', true)"),
    ("set search_path = ", "a,", "a"),
    ("set search_path = '", "pg_tem", "'"),
    ("set datestyle = '", "iso,", "'"),
    ("set a = ", "'a',", "'a'"),
    ("set ", "a.", "a = 1"),
    ("set ", "session ", "a = 1"),
    ("set ", "a", " = 1"),
    ("reset ", "a.", "a"),
    ("", "set a{n} = 1;", ""),
    ("", "select 1;", ""),
    ("", "begin;commit;", ""),
    ("", "begin;", ""),
    ("", "savepoint a{n};rollback to a{n};", ""),
    ("rollback to ", "savepoint ", ""),
    ("", ";", ""),
    ("show ", "1,", "1"),
    ("show ", "1", ""),
    ("show ", "1.", ""),
    ("show ", "1e", ""),
    ("show ", "1e+1", ""),
    ("", "a", ""),
    ("show ", "é", ""),
    ("show ", "nextval('a'),", "1"),
    ("show ", "pg_temp.a,", "1"),
    ("show ", "::a", ""),
    ("show ", "@", "1"),
    ("show ", "- ", "1"),
    ("show ", "/", "1"),
    ("select 1;insert into t values ", "(1,'a'),", "(1,'a')"),
    ("prepare transaction '", "a", "'"),
    ("listen ", "a", ""),
    ("copy t from stdin;", "1\n", "\\."),
];

/// For MySQL and MariaDB.
pub const MYSQL: &[Shape] = &[
    ("create procedure p() ", ";", ""),
    ("create procedure p() select '\\\\'", ";", ""),
    ("create procedure p() /*! select 1 */", ";", ""),
    ("create procedure p() select '\\\\', \"\\\\\" /*! 1 */", ";", ""),
    ("do '\\\\', \"\\\\\" /*! 1 */", ", a.b", ""),
    ("create procedure p() begin ", "select 1; ", "end"),
    ("create procedure p() begin select '\\\\';", "select 1; ", "end"),
    ("create trigger t before insert on t for each row begin ", "set @a = 1;", "end"),
    ("create function f() returns int language javascript as $$", "a;", "$$"),
    ("create ", "definer ", ""),
    ("show variables like '", "%", "'"),
    ("", "show variables like '%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%';", ""),
    ("", "show variables like '%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a';", ""),
    ("begin not atomic ", ";", ""),
    ("begin not atomic ", "select 1;", "end"),
    ("alter event e do ", ";", ""),
    ("alter event e do begin ", "/*!1*/;", "end"),
    ("", "/*", ""),
    ("", "/* ", "*/"),
    ("", "/**/", "select 1"),
    ("", "/*!1*/", ""),
    ("", "/*!", ""),
    ("", "/*! ", "*/"),
    ("/*!99999 ", "/* */", "*/"),
    ("/*! ", "a ", "*/"),
    ("select /*!99999 ", "1,", "1 */"),
    ("", "-- \n", "select 1"),
    ("", "#\n", "select 1"),
    ("", " ", "select 1"),
    ("do '", "a", ""),
    ("do '", "''", ""),
    ("do '", "\\'", ""),
    ("do '", "\\", "'"),
    ("do ", "'\\\\',", "1"),
    ("do \"", "\\\"", ""),
    ("do ", "'a' ", ""),
    ("do `", "``", ""),
    ("do ", "`a`,", "1"),
    ("do ", "(", ""),
    ("do ", "()", ""),
    ("", ")", ""),
    ("", "(", ""),
    ("set ", "a=1,", "a=1"),
    ("set sql_mode='\\\\',", "a=1,", "a=1"),
    ("set ", "a{n}=1,", "a=1"),
    ("set ", "@@a=1,", "a=1"),
    ("set ", "@@global.a=1,", "a=1"),
    ("set ", "@a=1,", "@a=1"),
    ("set ", "names utf8,", "names utf8"),
    ("set sql_mode = '", "a,", "'"),
    ("set a = ", "(", ""),
    ("set a = (", "1,", "1)"),
    ("set password = '", "a", "', b = 1"),
    ("set ", "session ", "a = 1"),
    ("set ", "a", " = 1"),
    ("set session transaction ", "read only,", "read only"),
    ("set statement a = 1 for ", "set statement a = 1 for ", "select 1"),
    ("select ", "@", "1"),
    ("select ", "@a,", "1"),
    ("select ", "@@a.", "a"),
    ("do ", "1,", "1"),
    ("do ", "1", ""),
    ("do ", "1.", ""),
    ("do ", "1e", ""),
    ("do ", "1e+1", ""),
    ("", "a", ""),
    ("do ", "é", ""),
    ("", "select 1;", ""),
    ("select '\\\\';", "select 1;", ""),
    ("", "begin;commit;", ""),
    ("", "begin;", ""),
    ("", "savepoint a{n};rollback to a{n};", ""),
    ("rollback to ", "savepoint ", ""),
    ("", ";", ""),
    ("select ", "last_insert_id(", ""),
    ("do ", "get_lock('a',1),", "1"),
    ("select ", "$a$ $b$ ", ""),
    ("select ", "$a{n}$ ", ""),
    ("select ", "$", ""),
    ("select 1;insert into t values ", "(1,'a\\'b'),", "(1,'a')"),
    ("grant select on t to ", "a@b,", "a@b"),
    ("do ", "- ", "1"),
    ("do ", "--", "1"),
    ("do ", "/", "1"),
    ("use ", "a", ""),
    ("execute p using ", "@a,", "@a"),
    ("call p(", "1,", "1)"),
];

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;
    use crate::engine::cursor::visited;

    const KIB: usize = 1 << 10;

    /// How many bytes are looked at for a text of this length: the same in each run.
    fn looks<D: Dialect>(shape: Shape, length: usize) -> usize {
        let text = text(shape, length);
        let before = visited();
        weigh::<D>(&text);
        visited() - before
    }

    /// How long this thread works on a text, in nanoseconds: what other threads do meanwhile does not count.
    fn work<D: Dialect>(text: &str) -> i64 {
        let now = || clock_gettime(ClockId::ThreadCPUTime);
        let before = now();
        weigh::<D>(text);
        let spent = now() - before;
        spent.tv_sec * 1_000_000_000 + spent.tv_nsec
    }

    fn looks_as_often_however_long_the_text<D: Dialect>(shapes: &[Shape]) {
        for shape in shapes {
            let mut before = looks::<D>(*shape, 8 * KIB);
            for length in [16 * KIB, 32 * KIB] {
                let looks = looks::<D>(*shape, length);
                assert!(looks * 10 <= before * 23, "{shape:?}: {looks} at {length}, {before} at half of it");
                before = looks;
            }
        }
    }

    /// What the count does not see, whatever searches or copies without the lexer, shows in the time it takes. Time is
    /// never exact: three times doubled, what is linear takes 8 times as long and what is quadratic 64 times, and the limit
    /// lies in the middle. The least of a few looks at each is judged.
    fn takes_as_long_as_the_text<D: Dialect>(shapes: &[Shape]) {
        const LIMIT: i64 = 23;
        const TRIES: usize = 8;
        for shape in shapes {
            let (short, long) = (text(*shape, 8 * KIB), text(*shape, 64 * KIB));
            let (mut least, mut most) = (i64::MAX, i64::MAX);
            let is_linear = (0..TRIES).any(|_| {
                least = least.min(work::<D>(&short));
                most = most.min(work::<D>(&long));
                most <= least * LIMIT
            });
            assert!(is_linear, "{shape:?}: {most} ns for {} bytes, {least} ns for {}", long.len(), short.len());
        }
    }

    /// As long as servers take them by default, and longer than anybody writes them.
    fn is_the_same_for_four_megabytes<D: Dialect>(shapes: &[Shape]) {
        for shape in shapes {
            let (short, long) = (looks::<D>(*shape, 64 * KIB), looks::<D>(*shape, 4096 * KIB));
            assert!(long <= short * 70, "{shape:?}: {long}, and {short} for a 64th of it");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_postgresql_text_costs_as_much_as_it_is_long() {
        looks_as_often_however_long_the_text::<sqlx::Postgres>(POSTGRES);
        takes_as_long_as_the_text::<sqlx::Postgres>(POSTGRES);
        is_the_same_for_four_megabytes::<sqlx::Postgres>(&POSTGRES[..3]);
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn a_mysql_text_costs_as_much_as_it_is_long() {
        looks_as_often_however_long_the_text::<sqlx::MySql>(MYSQL);
        takes_as_long_as_the_text::<sqlx::MySql>(MYSQL);
        is_the_same_for_four_megabytes::<sqlx::MySql>(&MYSQL[..1]);
    }
}
