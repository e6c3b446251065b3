//! On MariaDB: the twins of the tests beside this folder. What differs on real MySQL 8, which the package registries of
//! this project do not have, is said where it does.

mod oracle;
mod session;
