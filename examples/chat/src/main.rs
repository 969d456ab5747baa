//! A scratch main, until the server's own.
#![forbid(unsafe_code)]
#![allow(dead_code, unreachable_pub)]
mod cluster;
mod config;
mod history;
mod ids;
fn main() {}
