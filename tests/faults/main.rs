//! Faults on real sockets: servers in processes of their own, attacked from here, and what became of them in figures.
//!
//! Each file is one fault. A run of `cargo test` makes each attack small, in a few seconds; `WHEELHOUSE_FULL=1` makes it as
//! large as `docs/reliability.md` tells, and then a figure that is missed fails its test. What must hold at any size (nobody
//! is dropped, nothing is lost) is asserted always; of a time, a small run asserts only that it is not ten times what is
//! promised, since machines that run tests are busy. `tests/faults/full.sh` runs all of it and keeps the figures.
//!
//! What the machine lacks (strace, faketime, a network namespace) is said, and left out.
//!
//! Wants the examples built, the chat among them, as `cargo test --workspace` does; with `--test faults`,
//! `cargo build --workspace --bins --examples` first.

#[path = "../common/mod.rs"]
mod common;
#[path = "../kit/mod.rs"]
mod kit;

mod ground;

mod crowd;
mod holder;
mod host;

mod accept_errors;
mod chaos;
mod chaos_proxy;
mod chaos_scripts;
mod clock;
mod descriptors;
mod flood;
mod frozen;
mod lossy;
mod panics;
mod resets;
mod slow;
mod slow_headers;
mod stop;
mod unread;
