//! What one small echo costs: user instructions by callgrind, system calls by strace.
//!
//! ```sh
//! cargo bench --bench cost                    # instructions: each codec, pipelines of 1 and 32; broadcasts
//! cargo bench --bench cost -- syscalls        # the calls of 100,000 echoes
//! cargo bench --bench cost -- serve bytes     # the server alone: prints its port, ends with its peer
//! cargo bench --bench cost -- load 8080 1000 1 bytes
//! ```
//!
//! The server is this same program in a process of its own, under the tool; the load comes from the parent, which is not
//! measured. Two runs of different length are subtracted, so that start and end cancel out: the result is repeatable to an
//! instruction or two, on any machine with the same toolchain, however busy.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wheelhouse::codec::websocket::{Incoming, Message, Offer, Upgrade, WebSocket};
use wheelhouse::codec::{
    BytesCodec, Decoder, Encoder, LengthDelimitedCodec, Protocol, WriteBuffer,
};
use wheelhouse::{Config, Server, SlowConsumers};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of one message, without its frame.
const MESSAGE: usize = 64;

const LONGEST_FRAME: usize = 64 * 1024;

/// The two lengths of a run under callgrind, in messages.
const SHORT: usize = 1_024;
const LONG: usize = 6_144;

const BROADCAST_PEERS: [usize; 2] = [64, 256];

const STRACE_MESSAGES: usize = 100_000;

/// A limit whose deadline moves with each message, and is always near enough for the poll's alarm.
const IDLE: Duration = Duration::from_millis(900);

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] | ["instructions"] => instructions(),
        ["syscalls"] => syscalls(),
        ["serve", codec] => serve(codec),
        ["load", port, messages, pipeline, codec] => {
            load(port.parse()?, messages.parse()?, pipeline.parse()?, codec)
        }
        _ => Err(format!("no such command: {}", args.join(" ")).into()),
    }
}

fn serve(codec: &str) -> Outcome<()> {
    match codec {
        "bytes" => serve_with(BytesCodec::new(), Config::default()),
        "idle" => serve_with(BytesCodec::new(), Config::default().idle_timeout(IDLE)),
        "length" => serve_with(LengthDelimitedCodec::new(LONGEST_FRAME), Config::default()),
        "websocket" => serve_websocket(),
        "broadcast" => serve_broadcast(),
        other => Err(format!("no such codec: {other}").into()),
    }
}

/// Echoes until its one peer has gone. No second thread: it would make the C library's calls dearer.
fn serve_with<P>(protocol: P, config: Config) -> Outcome<()>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    let server = Server::bind("127.0.0.1:0", protocol)?.config(config);
    println!("{}", server.local_addr().port());
    server.run(|_, conn| {
        conn.handlers()
            .on_read(|_, conn, packet| Ok(conn.write(packet)?))
            .on_closed(|_, conn, _| conn.server().stop(Duration::ZERO))
    })?;
    Ok(())
}

/// The same, after a handshake.
fn serve_websocket() -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0", WebSocket::new())?;
    println!("{}", server.local_addr().port());
    server.run(|_, conn| {
        conn.handlers()
            .on_read(|_, conn, incoming| {
                match incoming {
                    Incoming::Message(message) => conn.write(message.into())?,
                    Incoming::Request(request) => {
                        conn.write(Upgrade::from_request(&request)?.accept().into())?;
                    }
                    _ => {}
                }
                Ok(())
            })
            .on_closed(|_, conn, _| conn.server().stop(Duration::ZERO))
    })?;
    Ok(())
}

/// Tells everybody what anybody says.
fn serve_broadcast() -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0", BytesCodec::new())?;
    println!("{}", server.local_addr().port());
    server.run(|_, conn| {
        conn.handlers()
            .on_read(|_, conn, packet| {
                conn.server().broadcast(packet, SlowConsumers::Skip);
                Ok(())
            })
            .on_closed(|_, conn, _| conn.server().stop(Duration::ZERO))
    })?;
    Ok(())
}

/// Makes the connection what the codec begins with, and says what a message is, and what its answer.
fn open(peer: &mut TcpStream, codec: &str) -> Outcome<(WriteBuffer, WriteBuffer)> {
    let (mut message, mut answer) = (WriteBuffer::new(), WriteBuffer::new());
    let payload = Bytes::from(vec![b'x'; MESSAGE]);
    match codec {
        "length" => LengthDelimitedCodec::new(LONGEST_FRAME).encode(payload, &mut message)?,
        "websocket" => {
            let mut client = WebSocket::new().codec();
            let mut request = WriteBuffer::new();
            client.encode(Offer::random("localhost", "/")?.into(), &mut request)?;
            peer.write_all(&request)?;
            let mut accepted = BytesMut::new();
            while client.decode(&mut accepted)?.is_none() {
                let mut byte = [0];
                peer.read_exact(&mut byte)?;
                accepted.extend_from_slice(&byte);
            }
            let text = Message::text(String::from_utf8(payload.to_vec())?);
            client.encode(text.clone().into(), &mut message)?;
            WebSocket::new().upgraded().encode(text.into(), &mut answer)?;
            return Ok((message, answer));
        }
        _ => BytesCodec::new().encode(payload, &mut message)?,
    }
    answer.extend_from_slice(&message);
    Ok((message, answer))
}

/// Sends one message after another, and reads each at every one of `peers` before the next, `deliveries` in all.
fn load_broadcast(port: u16, deliveries: usize, peers: usize) -> Outcome<()> {
    let mut peers = (0..peers)
        .map(|_| TcpStream::connect(("127.0.0.1", port)))
        .collect::<std::io::Result<Vec<_>>>()?;
    let message = [b'x'; MESSAGE];
    for _ in 0..deliveries / peers.len() {
        // The last that came: the server has taken in all others before it reads this one.
        peers.last_mut().ok_or("no peers")?.write_all(&message)?;
        for peer in &mut peers {
            let mut heard = [0; MESSAGE];
            peer.read_exact(&mut heard)?;
            if heard != message {
                return Err("a delivery is not what was sent".into());
            }
        }
    }
    Ok(())
}

/// Sends `messages` in batches of `pipeline`, and reads each batch's answers before the next.
fn load(port: u16, messages: usize, pipeline: usize, codec: &str) -> Outcome<()> {
    if codec == "broadcast" {
        return load_broadcast(port, messages, pipeline);
    }
    let mut peer = TcpStream::connect(("127.0.0.1", port))?;
    peer.set_nodelay(true)?;
    let (message, answer) = open(&mut peer, codec)?;
    let (batch, expected) = (message.repeat(pipeline), answer.repeat(pipeline));
    let mut answers = BytesMut::zeroed(expected.len());
    for _ in 0..messages / pipeline {
        peer.write_all(&batch)?;
        peer.read_exact(&mut answers)?;
        if answers != expected {
            return Err("an answer is not what was sent".into());
        }
    }
    Ok(())
}

/// The server in a process of its own, as the last arguments of some tool.
fn start(tool: &mut Command, codec: &str) -> Outcome<(Child, u16)> {
    let mut child = tool
        .arg(std::env::current_exe()?)
        .args(["serve", codec])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    let mut out = child.stdout.take().ok_or("the server's output is not piped")?;
    let mut byte = [0];
    while out.read(&mut byte)? == 1 && byte != *b"\n" {
        said.push(byte[0]);
    }
    let port = str::from_utf8(&said)?.parse();
    let port = port.map_err(|error| format!("the server said no port: {error}"))?;
    Ok((child, port))
}

/// Whether a tool can be run here.
fn is_there(tool: &str) -> bool {
    let mut asked = Command::new(tool);
    asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let found = asked.status().is_ok_and(|status| status.success());
    if !found {
        println!("{tool} is not installed: nothing measured");
    }
    found
}

fn instructions() -> Outcome<()> {
    if !is_there("valgrind") {
        return Ok(());
    }
    println!("user instructions for each echo of {MESSAGE} bytes");
    for codec in ["bytes", "length", "websocket"] {
        for pipeline in [1, 32] {
            // What one read brings is one packet to the codec of plain bytes: only the framed one sees 32.
            let short = instructions_of(SHORT, pipeline, codec)?;
            let long = instructions_of(LONG, pipeline, codec)?;
            let each = (long - short) as f64 / (LONG - SHORT) as f64;
            println!("{codec:>9}, pipeline {pipeline:>2}: {each:>7.1}");
        }
    }
    for peers in BROADCAST_PEERS {
        let short = instructions_of(SHORT, peers, "broadcast")?;
        let long = instructions_of(LONG, peers, "broadcast")?;
        let each = (long - short) as f64 / (LONG - SHORT) as f64;
        println!("one of {peers:>3} deliveries of a broadcast: {each:>7.1}");
    }
    Ok(())
}

fn instructions_of(messages: usize, pipeline: usize, codec: &str) -> Outcome<u64> {
    let mut tool = Command::new("valgrind");
    let out = std::env::var("CALLGRIND_OUT").unwrap_or_else(|_| "/dev/null".into());
    tool.args(["--tool=callgrind", "--dump-instr=yes"]);
    tool.arg(format!("--callgrind-out-file={out}"));
    let (child, port) = start(&mut tool, codec)?;
    load(port, messages, pipeline, codec)?;
    let report = end(child)?;
    let line = report.lines().find(|line| line.contains("Collected"));
    let count = line.and_then(|line| line.split_whitespace().last());
    Ok(count.ok_or_else(|| format!("callgrind collected nothing: {report}"))?.parse()?)
}

fn syscalls() -> Outcome<()> {
    if !is_there("strace") {
        return Ok(());
    }
    for (codec, limits) in
        [("bytes", "without limits".to_owned()), ("idle", format!("idle after {IDLE:?}"))]
    {
        let (child, port) = start(Command::new("strace").args(["-c", "-f"]), codec)?;
        load(port, STRACE_MESSAGES, 1, codec)?;
        println!("system calls of {STRACE_MESSAGES} echoes, {limits}; start and end among them");
        println!("{}", end(child)?);
    }
    Ok(())
}

/// Waits for the server's end, and returns what the tool had to say.
fn end(child: Child) -> Outcome<String> {
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}
