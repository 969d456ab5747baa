//! A chat of lines, for plain `nc` as well as for the example `chat_client`.
//!
//! ```sh
//! cargo run --release --example tcp_chat                       # listens on 127.0.0.1:8866
//! cargo run --release --example tcp_chat -- --lang uk --addr :8866
//! nc 127.0.0.1 8866                                            # the first line is a name; then talk, or /help
//! ```
//!
//! What a line does is in `room.rs`, what the server says in `words.rs`, how fast one may talk in `pace.rs`; here is how
//! connections live. One that has no name yet has other handlers than one that has: the name changes them.
//!
//! Nobody holds up the rest: who talks too fast is read more slowly, who does not read is dropped, who is silent without
//! a name is sent away. Ctrl-C or SIGTERM says goodbye to all and stops.

#[path = "../shared/address.rs"]
mod address;
mod pace;
mod room;
mod words;

use std::error::Error as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use wheelhouse::codec::{LinesCodec, LinesError};
use wheelhouse::{
    CloseReason, Config, Connection, Error, HandlerError, Handlers, Server, StopReport,
};

use self::address::address;
use self::room::{Room, Then};
use self::words::{Lang, Line};

/// How long a newcomer may take to say its name.
const NAME_WITHIN: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(5);

/// A chat server of lines.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:8866` is port 8866 on every interface
    #[arg(long, default_value = "127.0.0.1:8866", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// The language of what the server says
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,

    /// People at a time
    #[arg(long, default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_conn: u32,

    /// Bytes in a message; a longer one ends its connection
    #[arg(long, default_value = "1024", value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=65_536))]
    max_line: u32,

    /// Lines a second from one person, in the long run; twice as many may come at once
    #[arg(long, default_value = "5", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
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
            eprintln!("tcp_chat: {error}");
            ExitCode::FAILURE
        }
    }
}

type Conn<'a> = Connection<'a, LinesCodec, Room>;

fn serve(args: &Args) -> std::io::Result<StopReport> {
    let config = Config::default().max_connections(args.max_conn as usize).stop_on_signals(GRACE);
    // Lossy: a terminal of another encoding is hard to read, and not sent away.
    let codec = LinesCodec::new(args.max_line as usize).lossy();
    let server =
        Server::bind(&args.addr, codec)?.config(config).state(Room::new(args.lang, args.rate));
    log::info!("listening on {}", server.local_addr());
    server.run(|room, conn| {
        log::info!("{}: {} connected", conn.id(), conn.peer_addr());
        tell(room, conn, Line::WhatName);
        conn.after(NAME_WITHIN, |room, conn| {
            if room.name(conn.id()).is_none() {
                tell(room, conn, Line::NoName);
                conn.close();
            }
        });
        nameless(conn)
    })
}

/// The handlers of a newcomer: each line is an attempt at a name.
fn nameless(conn: &Conn<'_>) -> Handlers<LinesCodec, Room> {
    common(conn).on_read(|room, conn, line| {
        let now = conn.server().now();
        match room.join(conn.id(), &line, now) {
            Ok(online) => {
                conn.write(online)?;
                let name = room.name(conn.id()).unwrap_or_default();
                log::info!("{}: is {name}", conn.id());
                let joined = room.lang.say(Line::Joined(name));
                room.tell_others(conn, joined);
                let handlers = named(conn);
                conn.set_handlers(handlers); // the next line is talk
            }
            Err(why) => tell(room, conn, why),
        }
        Ok(())
    })
}

/// The handlers of somebody with a name.
fn named(conn: &Conn<'_>) -> Handlers<LinesCodec, Room> {
    common(conn).on_read(talk).on_closed(|room, conn, reason| {
        closed(conn, reason);
        let Some(name) = room.leave(conn.id()) else { return };
        if !conn.server().is_shutting_down() {
            let left = room.lang.say(Line::Left(&name));
            room.tell_others(conn, left);
        }
    })
}

fn common(conn: &Conn<'_>) -> Handlers<LinesCodec, Room> {
    conn.handlers()
        .on_error(|room, conn, error| {
            log::warn!("{}: {error}", conn.id());
            let source = error.source().and_then(|source| source.downcast_ref());
            if let (Error::Protocol(_), Some(LinesError::TooLong { max, .. })) = (&error, source) {
                tell(room, conn, Line::TooLong { max: *max }); // it goes out before the close
            }
        })
        .on_stop(|room, conn| {
            tell(room, conn, Line::Stopping);
            conn.close();
        })
        .on_closed(|_, conn, reason| closed(conn, reason))
}

fn closed(conn: &Conn<'_>, reason: CloseReason) {
    log::info!("{}: {reason}", conn.id());
}

fn talk(room: &mut Room, conn: &mut Conn<'_>, line: String) -> Result<(), HandlerError> {
    let then = room.hear(conn, &line)?;
    if then == Then::Leave {
        conn.close();
        return Ok(());
    }
    let now = conn.server().now();
    if let Some((rest, first)) = room.spend(conn.id(), now) {
        // Its next lines wait in the socket, and when that is full, at the sender.
        if first {
            tell(room, conn, Line::TooFast);
        }
        conn.pause_read();
        conn.after(rest, |_, conn| conn.resume_read());
    }
    Ok(())
}

/// Says a line to one connection. One that cannot take a single line more is as good as gone.
fn tell(room: &Room, conn: &mut Conn<'_>, line: Line<'_>) {
    if let Err(error) = conn.write(room.lang.say(line)) {
        log::debug!("{}: not told: {error}", conn.id());
    }
}
