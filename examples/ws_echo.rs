//! A WebSocket echo server, with a page to try it in and a health check on the same port.
//!
//! ```sh
//! cargo run --release --example ws_echo                   # open http://127.0.0.1:8082 in a browser
//! cargo run --release --example ws_echo -- --broadcast    # what one says, all hear
//! ```
//!
//! Ctrl-C or SIGTERM stops it gracefully: peers are told that the server goes away (1001).

#[path = "shared/address.rs"]
mod address;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wheelhouse::codec::http::{Response, StatusCode};
use wheelhouse::codec::websocket::{DeflateOptions, Incoming, Outgoing, Upgrade, WebSocket};
use wheelhouse::{Config, Connection, HandlerError, Server, SlowConsumers, StopReport};

use self::address::address;

/// A WebSocket echo server.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:8082` is port 8082 on every interface
    #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// Send each message to everyone rather than back
    #[arg(long)]
    broadcast: bool,

    /// Compress messages for peers that offer it (permessage-deflate)
    #[arg(long)]
    deflate: bool,

    /// The longest message that is read
    #[arg(long, default_value_t = 16 * 1024 * 1024, value_name = "BYTES")]
    max_message: usize,
}

const GRACE: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(30);
const DEAD: Duration = Duration::from_secs(60);

const PAGE: &str = r#"<!doctype html><title>ws_echo</title>
<form id="form"><input id="said" autofocus></form><pre id="heard"></pre>
<script>
const socket = new WebSocket(location.href.replace("http", "ws"));
socket.onmessage = event => heard.textContent += event.data + "\n";
socket.onclose = event => heard.textContent += `closed: ${event.code} ${event.reason}\n`;
form.onsubmit = event => { event.preventDefault(); socket.send(said.value); said.value = ""; };
</script>
"#;

fn main() -> ExitCode {
    let args = Args::parse(); // a bad argument ends here, with exit code 2
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match serve(&args) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ws_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> std::io::Result<StopReport> {
    let mut protocol = WebSocket::new().max_message(args.max_message).max_fragments(1024 * 1024);
    if args.deflate {
        // Short ones, too, though it makes them longer: the Autobahn suite stumbles over a mixture.
        protocol = protocol.deflate(DeflateOptions::new().min_len(0));
    }
    let config = Config::default()
        .stop_on_signals(GRACE)
        .probe_after(Some(PROBE)) // a ping to whoever is silent, and the end if that is not answered
        .idle_timeout(Some(DEAD));
    let server = Server::bind(&args.addr, protocol)?.config(config);
    log::info!("listening on {}", server.local_addr());
    let broadcast = args.broadcast;
    server.run(move |_, conn| {
        conn.handlers()
            .on_read(move |_, conn, incoming| handle(conn, incoming, broadcast))
            .on_error(|_, conn, error| log::warn!("{}: {error}", conn.id()))
            .on_closed(|_, conn, reason| log::debug!("{}: {reason}", conn.id()))
    })
}

fn handle(
    conn: &mut Connection<'_, WebSocket, ()>,
    incoming: Incoming,
    broadcast: bool,
) -> Result<(), HandlerError> {
    match incoming {
        Incoming::Request(request) if Upgrade::is_wanted(&request) => {
            let answer: Outgoing = match Upgrade::from_request(&request) {
                Ok(upgrade) => upgrade.accept().into(),
                Err(refusal) => refusal.response().into(),
            };
            conn.write(answer)?;
        }
        Incoming::Request(request) => {
            let response = match request.path() {
                "/" => Response::html(StatusCode::OK, PAGE),
                "/healthz" => Response::text(StatusCode::OK, "ok\n"),
                _ => Response::text(StatusCode::NOT_FOUND, "there are / and /healthz\n"),
            };
            conn.write(response.into())?;
        }
        Incoming::Message(message) if broadcast => {
            conn.server().broadcast(message.into(), SlowConsumers::Disconnect);
        }
        Incoming::Message(message) => conn.write(message.into())?,
        Incoming::Closed(close) => log::debug!("{}: closes, {close:?}", conn.id()),
        _ => {}
    }
    Ok(())
}
