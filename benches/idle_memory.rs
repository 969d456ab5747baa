//! Resident memory of connections that have been served once and are idle.
//!
//! ```sh
//! cargo bench --bench idle_memory              # 9,000 connections
//! cargo bench --bench idle_memory -- 4000
//! ```
//!
//! The server is this same program in a process of its own; the difference that the connections make to its resident pages
//! is divided by their number. What the kernel keeps for a socket is not in it. Each connection has an `on_read`, and has
//! echoed one packet. Both processes need as many descriptors as there are connections.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use wheelhouse::Server;
use wheelhouse::codec::BytesCodec;

type Outcome<T> = Result<T, Box<dyn Error>>;

const CONNECTIONS: usize = 9_000;

/// Connections that warm the process up: its buffers, its code, the allocator's first pages.
const WARM_UP: usize = 100;

const PAGE: usize = 4_096;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("serve") => serve(),
        Some(count) => measure(count.parse()?),
        None => measure(CONNECTIONS),
    }
}

/// Echoes until the first connection ends.
fn serve() -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0", BytesCodec::new())?;
    println!("{}", server.local_addr());
    let mut is_first = true;
    server.run(move |_, conn| {
        let echo = conn.handlers().on_read(|_, conn, data| Ok(conn.write(data)?));
        if std::mem::take(&mut is_first) {
            return echo.on_closed(|_, conn, _| conn.server().stop(Duration::ZERO));
        }
        echo
    })?;
    Ok(())
}

fn measure(count: usize) -> Outcome<()> {
    let mut child =
        Command::new(std::env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address: SocketAddr = line.trim().parse()?;

    let mut peers = Vec::with_capacity(count + WARM_UP);
    connect(&mut peers, address, WARM_UP)?;
    let before = resident(child.id())?;
    connect(&mut peers, address, count)?;
    let after = resident(child.id())?;
    let each = after.saturating_sub(before) / count;
    println!("{each} bytes for each of {count} idle connections ({before} before, {after} after)");
    drop(peers);
    child.wait()?;
    Ok(())
}

/// Opens connections and has each echo one packet.
fn connect(peers: &mut Vec<TcpStream>, address: SocketAddr, count: usize) -> Outcome<()> {
    for _ in 0..count {
        let mut peer = TcpStream::connect(address)
            .map_err(|error| format!("connection {}: {error}", peers.len() + 1))?;
        let mut answer = [0; 4];
        peer.write_all(b"ping")?;
        peer.read_exact(&mut answer)?;
        peers.push(peer);
    }
    Ok(())
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> Outcome<usize> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let resident = pages.split_whitespace().nth(1).ok_or("statm has no second field")?;
    Ok(resident.parse::<usize>()? * PAGE)
}
