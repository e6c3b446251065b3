//! Every number that the diagnosis knows, and what it proves.

use super::{by_number, of_login_number};
use crate::engine::Diagnosis::{
    self, Authentication, Dead, Full, HungUp, NotReady, ReadOnly, RolledBack, StalePlan, Statement, TlsDemanded,
    UnknownDatabase, Unsure,
};
use crate::engine::proof::{LOST, Proof, READ_ONLY, REFUSED, TURNED_AWAY, UNREAD, proof};

const READ_ONLY_OPTION: &str = "The MariaDB server is running with the --read-only option";
const CONNECTIONS: &str = "User 'app' has exceeded the 'max_user_connections' resource (current value: 3)";
const LOGINS: &str = "User 'app' has exceeded the 'max_connections_per_hour' resource (current value: 3)";
const QUERIES: &str = "User 'app' has exceeded the 'max_questions' resource (current value: 3)";
const INACTIVE: &str = "The client was disconnected by the server because of inactivity.";
const NO_TRIGGER: &str = "Referenced trigger 'x' for the given action time and event type does not exist";
const MEMORY: &str = "Connection closed. Connection memory limit 1 bytes exceeded. Consumed 2 bytes.";

/// Number and text; what it means as the answer to a statement, and what it proves then; what it means at a login.
type Row = (u16, &'static str, Diagnosis, Proof, Diagnosis);

const TABLE: &[Row] = &[
    // Full: nobody has read anything.
    (1040, "", Full, TURNED_AWAY, Full),
    (1203, "", Full, TURNED_AWAY, Full),
    (1226, CONNECTIONS, Full, TURNED_AWAY, Full),
    (1226, LOGINS, Full, TURNED_AWAY, Full),
    (1226, QUERIES, Statement, REFUSED, Statement),
    // Of a login. A statement that is told so was refused for something else, such as another server's account.
    (1044, "", Statement, REFUSED, UnknownDatabase),
    (1045, "", Statement, REFUSED, Authentication),
    (1049, "", Statement, REFUSED, UnknownDatabase),
    (1820, "", Statement, REFUSED, Authentication),
    (1862, "", Statement, REFUSED, Authentication),
    (3032, "", Statement, REFUSED, NotReady),
    (3118, "", Statement, REFUSED, Authentication),
    (3159, "", Statement, REFUSED, TlsDemanded),
    (3955, "", Statement, REFUSED, Authentication),
    (4150, "", Statement, REFUSED, Authentication),
    (4151, "", Statement, REFUSED, Authentication),
    // It takes no writes.
    (1290, READ_ONLY_OPTION, ReadOnly, READ_ONLY, ReadOnly),
    (1290, "", Statement, REFUSED, Statement),
    (1792, "", ReadOnly, READ_ONLY, ReadOnly),
    (1836, "", ReadOnly, READ_ONLY, ReadOnly),
    (1874, "", ReadOnly, READ_ONLY, ReadOnly),
    // It shuts down; in the middle of a statement, as far as is known.
    (1053, "", Dead, LOST, NotReady),
    // The session was killed, or the network or the protocol was.
    (1043, "", Dead, LOST, Dead),
    (1047, "", Dead, LOST, Dead),
    (1152, "", Dead, LOST, Dead),
    (1153, "", Dead, LOST, Dead),
    (1154, "", Dead, LOST, Dead),
    (1155, "", Dead, LOST, Dead),
    (1156, "", Dead, LOST, Dead),
    (1157, "", Dead, LOST, Dead),
    (1158, "", Dead, LOST, Dead),
    (1159, "", Dead, LOST, Dead),
    (1160, "", Dead, LOST, Dead),
    (1161, "", Dead, LOST, Dead),
    (1184, "", Dead, LOST, Dead),
    (1927, "", Dead, LOST, Dead),
    (3169, "", Dead, LOST, Dead),
    (4081, MEMORY, Dead, LOST, Dead),
    (4082, MEMORY, Dead, LOST, Dead),
    // Another thing, of MariaDB.
    (4082, "", Statement, REFUSED, Statement),
    // In the middle of a commit.
    (1180, "", Dead, LOST, Dead),
    // A pooler has lost the server.
    (2002, "", Dead, LOST, Dead),
    (2003, "", Dead, LOST, Dead),
    (2006, "", Dead, LOST, Dead),
    (2013, "", Dead, LOST, Dead),
    (2055, "", Dead, LOST, Dead),
    // Its last word, said while nobody had sent anything.
    (4031, INACTIVE, HungUp, UNREAD, HungUp),
    (4031, NO_TRIGGER, Statement, REFUSED, Statement),
    // All of the transaction is gone.
    (1206, "", RolledBack, REFUSED, RolledBack),
    (1213, "", RolledBack, REFUSED, RolledBack),
    (1614, "", RolledBack, REFUSED, RolledBack),
    (3101, "", RolledBack, REFUSED, RolledBack),
    // The statement is, and perhaps the transaction.
    (1020, "", Unsure, REFUSED, Unsure),
    (1205, "", Unsure, REFUSED, Unsure),
    // It has forgotten what was prepared.
    (1243, "Unknown prepared statement handler (1) given to mysqld_stmt_execute", StalePlan, REFUSED, StalePlan),
    (1243, "Unknown prepared statement handler (p) given to EXECUTE", Statement, REFUSED, Statement),
    (1615, "", StalePlan, REFUSED, StalePlan),
    // The statement's own: a key twice, a syntax error, no table, a value that does not fit, a statement that was ended.
    (1062, "", Statement, REFUSED, Statement),
    (1064, "", Statement, REFUSED, Statement),
    (1146, "", Statement, REFUSED, Statement),
    (1264, "", Statement, REFUSED, Statement),
    (1317, "", Statement, REFUSED, Statement),
    (1969, "", Statement, REFUSED, Statement),
    (3024, "", Statement, REFUSED, Statement),
];

#[test]
fn every_number_that_is_known_proves_what_the_table_says() {
    for (number, message, diagnosis, proven, at_login) in TABLE {
        assert_eq!(by_number(*number, message), *diagnosis, "{number} {message}");
        assert_eq!(proof(*diagnosis), *proven, "{number} {message}: not sent, sent, in a transaction, a commit");
        assert_eq!(of_login_number(*number, message), *at_login, "{number} {message} at a login");
    }
}

#[test]
fn no_number_is_known_that_the_table_does_not_have() {
    for number in 0..=u16::MAX {
        // Whatever the text of any row is.
        let texts = TABLE.iter().map(|(_, message, ..)| *message);
        let known = texts.clone().any(|text| by_number(number, text) != Statement)
            || texts.clone().any(|text| of_login_number(number, text) != Statement);
        let listed = TABLE.iter().any(|(listed, ..)| *listed == number);
        assert!(!known || listed, "{number}");
    }
}
