//! Connections that come and go leave memory and descriptors where they were.
//!
//! ```sh
//! cargo bench --bench churn                    # 1,000,000 connections, ten minutes at most
//! cargo bench --bench churn -- 50000
//! ```
//!
//! Each connection is opened, echoes one packet, and is reset by its peer, so that no port waits in TIME_WAIT. Ten lines
//! show the process's resident memory and descriptors. Fails where there are more descriptors at the end than after the
//! first tenth, or much more memory.

#![expect(clippy::disallowed_methods, reason = "a bench bounds its own time by the real clock")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use wheelhouse::codec::BytesCodec;
use wheelhouse::{Server, ServerHandle};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CONNECTIONS: usize = 1_000_000;
const LONGEST: Duration = Duration::from_secs(600);

/// Memory may move by so much without a leak: some bytes for each connection would pass it long before the end.
const SLACK_KIB: usize = 2_048;

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: usize,
    descriptors: usize,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("churn: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let count = match std::env::args().skip(1).find(|arg| arg != "--bench") {
        Some(count) => count.parse().map_err(|_| format!("{count} is not a number"))?,
        None => CONNECTIONS,
    };
    let server = Server::bind("127.0.0.1:0", BytesCodec::new())?;
    let address = server.local_addr();
    let server = server.start(|_, conn| {
        conn.handlers()
            .on_read(|_, conn, data| Ok(conn.write(data)?))
            .on_error(|_, _, _| {}) // the resets
            .on_closed(|_, _, _| {})
    })?;

    let deadline = Instant::now() + LONGEST;
    let step = (count / 10).max(1);
    let mut first = None;
    let mut last = held()?;
    report(0, last);
    let mut done = 0;
    while done < count {
        for _ in 0..step.min(count - done) {
            one(address).map_err(|error| format!("after {done} connections: {error}"))?;
            done += 1;
            if Instant::now() > deadline {
                return Err(format!("{done} connections in {LONGEST:?}: too slow").into());
            }
        }
        settle(&server, deadline)?;
        last = held()?;
        first.get_or_insert(last);
        report(done, last);
    }
    let stats = server.stats()?;
    println!("accepted {}, closed {}, open {}", stats.accepted, stats.closed, stats.open);
    server.stop(Duration::ZERO)?;
    let first = first.unwrap_or(last);
    if last.descriptors > first.descriptors {
        return Err(format!("{} descriptors became {}", first.descriptors, last.descriptors).into());
    }
    if last.resident_kib > first.resident_kib + SLACK_KIB {
        return Err(format!("{} KiB became {} KiB", first.resident_kib, last.resident_kib).into());
    }
    Ok(())
}

/// One life: opened, one echo, reset.
fn one(address: SocketAddr) -> Outcome<()> {
    let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&address.into())?;
    let mut answer = [0; 4];
    socket.write_all(b"ping")?;
    socket.read_exact(&mut answer)?;
    Ok(())
}

/// Waits until the server has let go of every connection, by asking its loop again and again.
fn settle(server: &ServerHandle<BytesCodec, ()>, deadline: Instant) -> Outcome<()> {
    while server.run(|_, server| server.connection_count())? > 0 {
        if Instant::now() > deadline {
            return Err("connections that were reset are still open".into());
        }
    }
    Ok(())
}

/// What this process holds now.
fn held() -> Outcome<Held> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split_whitespace().nth(1).ok_or("statm has no second field")?;
    let resident_kib = resident.parse::<usize>()? * 4;
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
    Ok(Held { resident_kib, descriptors })
}

fn report(done: usize, held: Held) {
    let Held { resident_kib, descriptors } = held;
    println!("{done:>9} connections: {resident_kib:>6} KiB resident, {descriptors:>3} descriptors");
}
