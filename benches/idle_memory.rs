//! Resident memory of connections that have been served once and are idle.
//!
//! ```sh
//! cargo bench --bench idle_memory              # 9,000 connections
//! cargo bench --bench idle_memory -- 4000
//! cargo bench --bench idle_memory -- websocket
//! ```
//!
//! The server is this same program in a process of its own; the difference that the connections make to its resident pages
//! is divided by their number. What the kernel keeps for a socket is not in it. Each connection has an `on_read`, and has
//! echoed one packet; one of WebSocket has shaken hands before. Both processes need as many descriptors as there are connections.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use wheelhouse::codec::websocket::{Incoming, Upgrade, WebSocket};
use wheelhouse::codec::{BytesCodec, Protocol};
use wheelhouse::{Connection, HandlerError, Server};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CONNECTIONS: usize = 9_000;

/// Connections that warm the process up: its buffers, its code, the allocator's first pages.
const WARM_UP: usize = 100;

const PAGE: usize = 4_096;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Bytes of the answer to that.
const ANSWER: usize = 129;

/// What the connections speak.
#[derive(Clone, Copy)]
enum Codec {
    Bytes,
    WebSocket,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve"] => serve(BytesCodec::new(), |conn, data| Ok(conn.write(data)?)),
        ["serve", "websocket"] => serve(WebSocket::new(), echo),
        [] => measure(CONNECTIONS, Codec::Bytes),
        ["websocket"] => measure(CONNECTIONS, Codec::WebSocket),
        [count] => measure(count.parse()?, Codec::Bytes),
        ["websocket", count] => measure(count.parse()?, Codec::WebSocket),
        _ => Err(format!("no such command: {}", args.join(" ")).into()),
    }
}

fn echo(conn: &mut Connection<'_, WebSocket, ()>, incoming: Incoming) -> Result<(), HandlerError> {
    match incoming {
        Incoming::Message(message) => conn.write(message.into())?,
        Incoming::Request(request) => {
            conn.write(Upgrade::from_request(&request)?.accept().into())?;
        }
        _ => {}
    }
    Ok(())
}

type Echo<P> = fn(&mut Connection<'_, P, ()>, <P as Protocol>::In) -> Result<(), HandlerError>;

/// Echoes until the first connection ends.
fn serve<P: Protocol>(protocol: P, echo: Echo<P>) -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0", protocol)?;
    println!("{}", server.local_addr());
    let mut is_first = true;
    server.run(move |_, conn| {
        let echo = conn.handlers().on_read(move |_, conn, packet| echo(conn, packet));
        if std::mem::take(&mut is_first) {
            return echo.on_closed(|_, conn, _| conn.server().stop(Duration::ZERO));
        }
        echo
    })?;
    Ok(())
}

fn measure(count: usize, codec: Codec) -> Outcome<()> {
    let mut server = Command::new(std::env::current_exe()?);
    server.arg("serve").stdout(Stdio::piped());
    if let Codec::WebSocket = codec {
        server.arg("websocket");
    }
    let mut child = server.spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address: SocketAddr = line.trim().parse()?;

    let mut peers = Vec::with_capacity(count + WARM_UP);
    connect(&mut peers, address, WARM_UP, codec)?;
    let before = resident(child.id())?;
    connect(&mut peers, address, count, codec)?;
    let after = resident(child.id())?;
    let each = after.saturating_sub(before) / count;
    println!("{each} bytes for each of {count} idle connections ({before} before, {after} after)");
    drop(peers);
    child.wait()?;
    Ok(())
}

/// Opens connections and has each echo one packet.
fn connect(
    peers: &mut Vec<TcpStream>,
    address: SocketAddr,
    count: usize,
    codec: Codec,
) -> Outcome<()> {
    for _ in 0..count {
        let mut peer = TcpStream::connect(address)
            .map_err(|error| format!("connection {}: {error}", peers.len() + 1))?;
        match codec {
            Codec::Bytes => ask(&mut peer, b"ping", 4)?,
            Codec::WebSocket => {
                ask(&mut peer, REQUEST, ANSWER)?;
                ask(&mut peer, b"\x81\x84\0\0\0\0ping", 6)?;
            }
        }
        peers.push(peer);
    }
    Ok(())
}

fn ask(peer: &mut TcpStream, request: &[u8], answer: usize) -> Outcome<()> {
    peer.write_all(request)?;
    peer.read_exact(&mut vec![0; answer])?;
    Ok(())
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> Outcome<usize> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let resident = pages.split_whitespace().nth(1).ok_or("statm has no second field")?;
    Ok(resident.parse::<usize>()? * PAGE)
}
