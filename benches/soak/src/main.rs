//! wheelhouse for a long time, and under too much.
//!
//! ```sh
//! cargo build --release -p wheelhouse-chat                                      # one of the servers of the soak
//! cargo run --release -p wheelhouse-soak -- soak --minutes 60 --out target/soak
//! cargo run --release -p wheelhouse-soak -- overload --out target/overload
//! ```
//!
//! `soak` runs good, slow and hostile peers against three servers and watches their memory, descriptors and latency;
//! `overload` offers up to three times what a server can do. Both write raw figures and a plot, print a table and a verdict,
//! and fail where it is not kept. Ctrl-C ends either early, with what there is by then.
//!
//! This file reads the arguments. The servers are this same program, started again (`serve.rs`), and `wheelhouse-chat`.

use std::process::ExitCode;

use clap::Parser;

mod latency;
mod overload;
mod plot;
mod process;
#[path = "../../versus/src/progress.rs"]
mod progress;
mod serve;
mod soak;
mod spin;
mod stop;
mod verdict;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Soaks wheelhouse in mixed load, or overloads it, and says whether it held.
#[derive(Parser, Debug)]
#[command(name = "wheelhouse-soak")]
enum Args {
    /// Good, slow and hostile peers for a long time: memory, descriptors, errors, latency
    Soak(soak::Args),
    /// Up to three times what can be served: goodput, latency, refusals
    Overload(overload::Args),
    /// A server: says where it listens, ends by SIGTERM or with who started it
    #[command(hide = true)]
    Serve(serve::Args),
}

fn main() -> ExitCode {
    let held = match Args::parse() {
        Args::Soak(args) => soak::run(&args),
        Args::Overload(args) => overload::run(&args),
        Args::Serve(args) => serve::run(&args).map(|()| true),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wheelhouse-soak: {error}");
            ExitCode::FAILURE
        }
    }
}
