//! A chat of rooms over WebSocket, with history and a page: one program, and the flagship of wheelhouse's examples.
//!
//! ```sh
//! cargo run --release -p wheelhouse-chat                       # then open http://127.0.0.1:8080
//! cargo run --release -p wheelhouse-chat -- --help             # every setting
//! websocat ws://127.0.0.1:8080/ws <<< '{"text":"hi","user":"ann"}'
//! ```
//!
//! What it teaches is in `hub.rs`: the hub is the server's state, every handler gets it as `&mut Hub`, and so it needs no
//! mutex and no channel. What must wait (a disk, another server) waits on threads of its own, in `services.rs`. The tour
//! through all files is in `docs/chat.md`.

mod client;
#[allow(unreachable_pub, reason = "documented as a library would be")]
mod cluster;
mod commands;
#[allow(unreachable_pub, reason = "documented as a library would be")]
mod config;
mod event;
#[allow(unreachable_pub, reason = "documented as a library would be")]
mod history;
mod http;
mod hub;
#[allow(unreachable_pub, reason = "documented as a library would be")]
mod ids;
mod live;
mod message;
mod metrics;
mod names;
mod pace;
mod page;
mod presence;
mod rooms;
mod services;
mod wire;

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use wheelhouse::codec::http::Http;
use wheelhouse::codec::websocket::WebSocket;
use wheelhouse::{Config, Server, StopReport};

use self::config::Settings;
use self::event::Limits;
use self::http::Gate;
use self::hub::{Hub, Rules, TICK};
use self::ids::Ids;
use self::pace::Rate;
use self::services::{Loop, Services};

fn main() -> ExitCode {
    let settings = match Settings::load() {
        Ok(settings) => settings,
        Err(code) => return code, // it has said why
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    settings.log();
    match serve(&settings) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("wheelhouse-chat: {line}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: &Settings) -> Result<StopReport, String> {
    let gate = Rc::new(Gate::new(settings)?);
    let server = Server::bind(&*settings.addr, protocol(settings)).map_err(|e| e.to_string())?;
    let to_loop: Loop = Arc::new(OnceLock::new());
    let ids = Arc::new(Ids::new(settings.node.unwrap_or_default()));
    let (services, opened) = Services::start(settings, &ids, &to_loop)?;
    let services = Arc::new(services);

    let addr = server.local_addr();
    let hub = Hub::new(rules(settings), ids, &opened, Box::new(Arc::clone(&services)));
    let mut reactor = server
        .config(limits(settings))
        .state(hub)
        .into_reactor(move |_, conn| http::handlers(conn, &gate))
        .map_err(|error| error.to_string())?;
    reactor.server().every(TICK, |hub, server| hub.tick(server));
    drop(to_loop.set(reactor.handle())); // it is set here alone
    println!("listening on http://{addr}");

    let report = reactor.run().map_err(|error| error.to_string());
    // The hub went with the reactor, so this is the last that holds them: what is queued is finished now.
    if let Some(services) = Arc::into_inner(services) {
        services.stop();
    }
    report
}

/// A message's text in JSON has at most twelve bytes for each character; the rest of a frame is small.
fn protocol(settings: &Settings) -> WebSocket {
    let longest = settings.text_limit.saturating_mul(12).saturating_add(16 * 1024);
    WebSocket::new().max_message(longest).http(Http::new())
}

fn limits(settings: &Settings) -> Config {
    let high = settings.outbox.min(64 * 1024);
    Config::default()
        .max_connections(settings.clients)
        .max_connections_per_address(settings.address_clients.saturating_add(BROWSER_REQUESTS))
        .outbox(high / 4, high, settings.outbox)
        .probe_after(settings.ping_after)
        .idle_timeout(settings.idle_timeout)
        .stop_on_signals(settings.stop_grace)
}

fn rules(settings: &Settings) -> Rules {
    let &Settings { rate, burst, address_rate, .. } = settings;
    Rules {
        limits: Limits {
            text: settings.text_limit,
            name: settings.name_limit,
            room: settings.name_limit,
        },
        page: settings.page,
        replay: settings.history.min(LONGEST_REPLAY),
        outbox: settings.outbox,
        rooms: settings.rooms,
        rooms_per_client: ROOMS_PER_CLIENT,
        connections_per_address: settings.address_clients,
        client_rate: Rate { per_second: rate, burst },
        address_rate: Rate { per_second: address_rate, burst: address_rate.saturating_mul(2) },
    }
}

/// Connections from one address beside its clients, for pages and the like. The hub holds its clients to their number and
/// says so to them; this is for those who only connect.
const BROWSER_REQUESTS: usize = 64;

/// Rooms that one client may be in.
const ROOMS_PER_CLIENT: usize = 20;

/// Messages that a room is replayed with, however many are kept.
const LONGEST_REPLAY: u32 = 500;
