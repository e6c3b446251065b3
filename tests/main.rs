//! One binary, so that there is one link and one shared server; one file per behaviour.

mod support;

mod attacks;
mod function;
mod session;
mod upkeep;
