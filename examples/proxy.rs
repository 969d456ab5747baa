//! A TCP proxy: each connection that comes in is joined to one that goes out.
//!
//! ```sh
//! cargo run --release --example proxy -- --to 127.0.0.1:8080          # listens on 127.0.0.1:9090
//! cargo run --release --example proxy -- --addr :9000 --to example.org:80
//! ```
//!
//! Memory stays small however fast one side sends and however slowly the other reads: once a peer's outbox is over its high
//! mark the other side is not read any more, until `on_drain` says that the outbox is nearly empty. The end of one side's
//! stream ends the other side's output, and the way back stays open (`half_open`). `benches/proxy_memory.sh` measures it.

#[path = "shared/address.rs"]
mod address;

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wheelhouse::codec::BytesCodec;
use wheelhouse::{CloseReason, Config, Connection, ConnectionId, Handlers, Server, StopReport};

use self::address::address;

/// A TCP proxy.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:9090` is port 9090 on every interface
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// Where to pass connections on to
    #[arg(long, value_name = "HOST:PORT")]
    to: String,

    /// How long the other side may take to answer
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    connect_timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
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
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

type Conn<'a> = Connection<'a, BytesCodec, ()>;

/// Bytes that may wait for one peer; what is read from the other meanwhile is at most one more read.
const HIGH_MARK: usize = 256 * 1024;

fn serve(args: &Args) -> std::io::Result<StopReport> {
    let to = resolve(&args.to)?;
    let limit = args.connect_timeout;
    let config = Config::default()
        .half_open(true)
        .outbox(HIGH_MARK / 4, HIGH_MARK, 4 * HIGH_MARK)
        .write_timeout(None) // a slow reader is what a proxy is patient with
        .stop_on_signals(Duration::from_secs(5));
    let server = Server::bind(&args.addr, BytesCodec::new())?.config(config);
    log::info!("listening on {}, passing on to {to}", server.local_addr());
    server.run(move |(), conn| {
        let inside = conn.id();
        log::info!("{inside}: {} connected", conn.peer_addr());
        let handlers = joined_to(inside, conn.handlers());
        match conn.server().connect(to, limit, handlers) {
            Ok(outside) => {
                conn.pause_read(); // until there is somewhere to pass it on to
                joined_to(outside, conn.handlers())
            }
            Err(error) => {
                log::warn!("{inside}: {error}");
                conn.abort();
                conn.handlers()
            }
        }
    })
}

fn resolve(to: &str) -> std::io::Result<SocketAddr> {
    let fault = |why: String| std::io::Error::other(format!("cannot pass on to {to}: {why}"));
    let mut addresses = to.to_socket_addrs().map_err(|error| fault(error.to_string()))?;
    addresses.next().ok_or_else(|| fault("the name has no address".into()))
}

/// The handlers of a connection whose bytes go to `other`, and whose end is the other's. Both sides have the same.
fn joined_to(other: ConnectionId, handlers: Handlers<BytesCodec, ()>) -> Handlers<BytesCodec, ()> {
    handlers
        .on_read(move |(), conn, bytes| {
            let mut server = conn.server();
            let Some(mut other) = server.connection(other) else { return Ok(()) };
            other.write(bytes)?;
            if other.queued() >= HIGH_MARK {
                conn.pause_read();
            }
            Ok(())
        })
        .on_connect(move |(), conn| resume(conn, other))
        .on_drain(move |(), conn| resume(conn, other))
        .on_end(move |(), conn| finish(conn, other))
        .on_error(|(), conn, error| log::warn!("{} with {}: {error}", conn.id(), conn.peer_addr()))
        .on_closed(move |(), conn, reason| {
            log::info!("{}: {reason}", conn.id());
            let mut server = conn.server();
            let Some(mut other) = server.connection(other) else { return };
            match reason {
                // All that came from here has been passed on, and nothing can be sent back any more.
                CloseReason::Peer | CloseReason::Local | CloseReason::Shutdown => other.close(),
                _ => other.abort(), // so that the peer does not take a torn stream for a whole one
            }
        })
}

/// There is room for what the other side sends.
fn resume(conn: &mut Conn<'_>, other: ConnectionId) {
    if let Some(mut other) = conn.server().connection(other) {
        other.resume_read();
    }
}

/// Nothing more comes for the other side.
fn finish(conn: &mut Conn<'_>, other: ConnectionId) {
    if let Some(mut other) = conn.server().connection(other) {
        other.finish();
    }
}
