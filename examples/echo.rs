//! An echo server: the first rung of the ladder.
//!
//! ```sh
//! cargo run --release --example echo                        # listens on 127.0.0.1:8080
//! echo Hello | nc 127.0.0.1 8080                            # answers Hello
//! cargo run --release --example echo -- --addr :9000 --max-conn 100 --idle 60 --grace 5
//! cargo run --release --example echo -- --codec lines
//! ```
//!
//! Ctrl-C or SIGTERM stops it gracefully: connections get `--grace` seconds to finish, then the report is printed.
//! `RUST_LOG=debug` shows every event.

#[path = "shared/address.rs"]
mod address;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use wheelhouse::codec::{BytesCodec, LengthDelimitedCodec, LinesCodec, Protocol};
use wheelhouse::{Config, Server, StopReport};

use self::address::address;

/// A TCP echo server.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:8080` is port 8080 on every interface
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// Connections at a time [default: the limit of open files less a reserve]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_conn: Option<u32>,

    /// Close a connection that has been silent for so long [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    idle: Option<Duration>,

    /// How long connections may go on after Ctrl-C or SIGTERM
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    grace: Duration,

    /// What is echoed: bytes as they come, lines of text, or frames with their length in front
    #[arg(long, value_enum, default_value = "bytes")]
    codec: Codec,
}

#[derive(Clone, Copy, ValueEnum)]
enum Codec {
    /// Whatever one read brought
    Bytes,
    /// UTF-8 text, a line at a time, up to 64 KiB
    Lines,
    /// A big-endian u32, then so many bytes, up to 8 MiB
    Length,
}

const LONGEST_LINE: usize = 64 * 1024;
const LONGEST_FRAME: usize = 8 * 1024 * 1024;

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args = Args::parse(); // a bad argument ends here, with exit code 2
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let stopped = match args.codec {
        Codec::Bytes => serve(&args, BytesCodec::new()),
        Codec::Lines => serve(&args, LinesCodec::new(LONGEST_LINE)),
        Codec::Length => serve(&args, LengthDelimitedCodec::new(LONGEST_FRAME)),
    };
    match stopped {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve<P>(args: &Args, protocol: P) -> std::io::Result<StopReport>
where
    P: Protocol<In = <P as Protocol>::Out>,
    P::In: Send + Sync,
{
    let mut config = Config::default().stop_on_signals(args.grace).idle_timeout(args.idle);
    if let Some(limit) = args.max_conn {
        config = config.max_connections(limit as usize);
    }
    let server = Server::bind(&args.addr, protocol)?.config(config);
    log::info!("listening on {}", server.local_addr());
    server.run(|_, conn| {
        log::info!("{}: {} connected", conn.id(), conn.peer_addr());
        conn.handlers()
            .on_read(|_, conn, packet| {
                log::debug!("{}: a packet, echoed", conn.id());
                Ok(conn.write(packet)?)
            })
            .on_error(|_, conn, error| log::warn!("{}: {error}", conn.id()))
            .on_stop(|_, conn| {
                log::info!("{}: closing, the server stops", conn.id());
                conn.close();
            })
            .on_closed(|_, conn, reason| log::info!("{}: {reason}", conn.id()))
    })
}
