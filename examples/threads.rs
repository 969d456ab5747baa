//! A thread for each connection, with calls that block: how a Go program is written, on the same loop.
//!
//! ```sh
//! cargo run --release --example threads                     # listens on 127.0.0.1:8080
//! echo Hello | nc 127.0.0.1 8080                            # answers Hello
//! cargo run --release --example threads -- --addr :9000 --max-conn 50
//! ```
//!
//! The loop reads and writes for all; a thread gets the packets of one connection from its handle, at most 100 ahead, and
//! is held up by `write` while 100 wait to be sent. So a peer that does not read holds up its own thread and nobody else's,
//! and a thread that is slow slows its own peer down through TCP. Ctrl-C or SIGTERM ends every `packets()`.

#[path = "shared/address.rs"]
mod address;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use wheelhouse::codec::BytesCodec;
use wheelhouse::{Config, ConnectionHandle, Server, StopReport, WriteError};

use self::address::address;

/// An echo server with a thread for each connection.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:8080` is port 8080 on every interface
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// Connections at a time, each of which costs a thread
    #[arg(long, default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_conn: u32,
}

fn main() -> ExitCode {
    let args = Args::parse(); // a bad argument ends here, with exit code 2
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match serve(&args) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("threads: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> std::io::Result<StopReport> {
    let config = Config::default()
        .max_connections(args.max_conn as usize)
        .half_open(true) // the peer's end ends `packets()`; what is still to be answered is answered, then `close`
        .stop_on_signals(Duration::from_secs(5));
    let server = Server::bind(&args.addr, BytesCodec::new())?.config(config);
    log::info!("listening on {}", server.local_addr());
    server.run(|_, conn| {
        let handle = conn.handle();
        let name = conn.id().to_string();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let id = handle.id();
            match echo(&handle) {
                Ok(()) => log::info!("{id}: done"),
                Err(error) => log::warn!("{id}: {error}"),
            }
        });
        if let Err(error) = thread {
            log::error!("{}: no thread for it: {error}", conn.id());
            conn.abort();
        }
        conn.handlers() // no `on_read`: packets go to the handle
    })
}

/// What one connection's thread does, from its beginning to its end.
fn echo(handle: &ConnectionHandle<BytesCodec>) -> Result<(), WriteError<Bytes>> {
    log::info!("{}: {} connected", handle.id(), handle.peer_addr());
    for packet in handle.packets() {
        handle.write(packet)?;
    }
    handle.close();
    Ok(())
}
