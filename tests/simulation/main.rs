//! The loop itself, on a simulated network with a clock that the tests move: nothing here opens a socket or sleeps.
//!
//! - [`splits`]: any split of the bytes gives the same packets and the same answers.
//! - [`scenarios`], [`limits`] and [`deadlines`]: one rule each, played step by step.
//! - [`busy_poll`]: looking before sleeping.
//! - [`voice`]: what a protocol says by itself.
//! - [`schedules`]: thousands of random ones, with everything that can go wrong, checked after each step.

mod busy_poll;
mod deadlines;
mod frames;
mod limits;
mod scenarios;
mod schedules;
mod splits;
mod talker;
mod voice;
mod watch;
