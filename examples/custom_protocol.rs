//! A binary protocol of one's own: requests and replies are types of their own, and both ends are in this file.
//!
//! ```sh
//! cargo run --release --example custom_protocol                                       # serves on 127.0.0.1:8081
//! cargo run --release --example custom_protocol -- --connect 127.0.0.1:8081 time     # asks
//! ```
//!
//! Wire format, big-endian. Every frame, there and back:
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | magic: `W` `H` |
//! | 1 | version: 1 |
//! | 1 | kind: 1 PING, 2 TIME, 3 STATS; in a reply with the high bit set; 0xFF is an error |
//! | 2 | length of the body, at most 1,024 |
//! | n | body |
//! | 4 | checksum: FNV-1a (32 bits) over all that comes before |
//!
//! Bodies: PING has any bytes, which come back. TIME asks with none, and brings the milliseconds since 1970 (u64). STATS
//! asks with none, and brings connections now (u32), connections ever (u64), requests (u64) and the milliseconds that the
//! server has run (u64). An error brings a code (u8) and a text; the server then closes.

#[path = "shared/address.rs"]
mod address;

use std::error::Error as _;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use wheelhouse::codec::{Decoder, Encoder, Protocol, WriteBuffer};
use wheelhouse::{Client, Config, Connection, Error, HandlerError, Server, StopReport};

use self::address::address;

/// Tells the time, counts, and answers pings, in a binary protocol.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; `:8081` is port 8081 on every interface
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "HOST:PORT", value_parser = address)]
    addr: String,

    /// Ask the server there, instead of being one
    #[arg(long, value_name = "HOST:PORT", requires = "command")]
    connect: Option<String>,

    /// What to ask
    #[arg(value_enum, requires = "connect")]
    command: Option<Command>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Command {
    /// The server's clock
    Time,
    /// What the server has done
    Stats,
    /// How long an answer takes
    Ping,
}

fn main() -> ExitCode {
    let args = Args::parse(); // a bad argument ends here, with exit code 2
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let done = match (&args.connect, args.command) {
        (Some(server), Some(command)) => ask(server, command),
        _ => serve(&args).map(|report| report.to_string()).map_err(Into::into),
    };
    match done {
        Ok(outcome) => {
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("custom_protocol: {error}");
            ExitCode::FAILURE
        }
    }
}

// The server.

struct World {
    begun: Instant,
    connections: u64,
    requests: u64,
}

fn serve(args: &Args) -> std::io::Result<StopReport> {
    let config = Config::default()
        .idle_timeout(Duration::from_secs(60))
        .packet_timeout(Duration::from_secs(5))
        .stop_on_signals(Duration::from_secs(5));
    let server = Server::bind(&args.addr, Wheel)?.config(config).state(World {
        begun: now(),
        connections: 0,
        requests: 0,
    });
    log::info!("listening on {}", server.local_addr());
    server.run(|world, conn| {
        world.connections += 1;
        conn.handlers().on_read(answer).on_error(explain)
    })
}

type Conn<'a> = Connection<'a, Wheel, World>;

fn answer(world: &mut World, conn: &mut Conn<'_>, request: Request) -> Result<(), HandlerError> {
    world.requests += 1;
    let reply = match request {
        Request::Ping(body) => Response::Pong(body),
        Request::Time => Response::Time { millis: millis_since_1970()? },
        Request::Stats => Response::Stats(Stats {
            connections: u32::try_from(conn.server().connection_count())?,
            connections_ever: world.connections,
            requests: world.requests,
            uptime_millis: u64::try_from(
                conn.server().now().saturating_duration_since(world.begun).as_millis(),
            )?,
        }),
    };
    Ok(conn.write(reply)?)
}

/// Who breaks the protocol is told how. What is written here goes out before the connection closes.
fn explain(_: &mut World, conn: &mut Conn<'_>, error: Error) {
    log::warn!("{}: {error}", conn.id());
    let fault = error.source().and_then(|source| source.downcast_ref::<WheelError>());
    let (code, text) = match (&error, fault) {
        (_, Some(fault)) => (fault.code(), fault.to_string()),
        (Error::Truncated { .. } | Error::Late(_), _) => (Code::Unfinished, error.to_string()),
        (Error::Io { .. }, _) => return, // nobody is there to be told
        _ => (Code::Server, "the server failed".to_owned()),
    };
    if let Err(error) = conn.write(Response::Error { code: code as u8, text }) {
        log::debug!("{}: not told: {error}", conn.id());
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of day is what is asked for")]
fn millis_since_1970() -> Result<u64, HandlerError> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

#[expect(clippy::disallowed_methods, reason = "the program's own beginning, and a client's wait")]
fn now() -> Instant {
    Instant::now()
}

// The client.

fn ask(server: &str, command: Command) -> Result<String, Box<dyn std::error::Error>> {
    let mut client = Client::connect(server, WheelCodec::<Response>::new())
        .map_err(|error| format!("{server}: {error}"))?;
    client.set_read_timeout(Some(Duration::from_secs(5)));
    let request = match command {
        Command::Time => Request::Time,
        Command::Stats => Request::Stats,
        Command::Ping => Request::Ping(Bytes::from_static(b"how long?")),
    };
    let asked = now();
    client.write(request)?;
    let reply = client.read()?.ok_or("the server closed without an answer")?;
    let took = now().saturating_duration_since(asked);
    client.close()?;
    match reply {
        Response::Pong(_) => Ok(format!("pong after {took:.1?}")),
        Response::Time { millis } => {
            Ok(format!("{}.{:03} s since 1970", millis / 1_000, millis % 1_000))
        }
        Response::Stats(stats) => Ok(stats.to_string()),
        Response::Error { code, text } => {
            Err(format!("the server says: {text} (error {code})").into())
        }
    }
}

// The protocol: what is said.

#[derive(Clone, PartialEq, Eq, Debug)]
enum Request {
    Ping(Bytes),
    Time,
    Stats,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Response {
    Pong(Bytes),
    Time { millis: u64 },
    Stats(Stats),
    Error { code: u8, text: String },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stats {
    connections: u32,
    connections_ever: u64,
    requests: u64,
    uptime_millis: u64,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, connections_ever, requests, uptime_millis } = self;
        write!(
            f,
            "{connections} connections now, {connections_ever} ever, {requests} requests, up for {uptime_millis} ms"
        )
    }
}

/// What an error reply says in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    NotThisProtocol = 1,
    Version = 2,
    UnknownKind = 3,
    TooLong = 4,
    Checksum = 5,
    BadBody = 6,
    Unfinished = 7,
    Server = 8,
}

// The protocol: how it is written.

const MAGIC: [u8; 2] = *b"WH";
const VERSION: u8 = 1;
const HEADER: usize = 6;
const CHECKSUM: usize = 4;
const LONGEST_BODY: usize = 1_024;
const REPLY: u8 = 0x80;
const PING: u8 = 1;
const TIME: u8 = 2;
const STATS: u8 = 3;
const ERROR: u8 = 0xFF;

/// What can be wrong with a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
enum WheelError {
    NotThisProtocol { found: Bytes },
    Version { found: u8 },
    UnknownKind { kind: u8 },
    TooLong { length: usize },
    Checksum { told: u32, computed: u32 },
    BadBody { kind: u8, length: usize },
}

impl WheelError {
    fn code(&self) -> Code {
        match self {
            Self::NotThisProtocol { .. } => Code::NotThisProtocol,
            Self::Version { .. } => Code::Version,
            Self::UnknownKind { .. } => Code::UnknownKind,
            Self::TooLong { .. } => Code::TooLong,
            Self::Checksum { .. } => Code::Checksum,
            Self::BadBody { .. } => Code::BadBody,
        }
    }
}

impl fmt::Display for WheelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThisProtocol { found } => {
                write!(f, "a frame begins with \"WH\", not with {found:?}")
            }
            Self::Version { found } => write!(f, "version {found}, where {VERSION} is spoken"),
            Self::UnknownKind { kind } => write!(f, "unknown kind 0x{kind:02x}"),
            Self::TooLong { length } => {
                write!(f, "a body of {length} bytes, where {LONGEST_BODY} are allowed")
            }
            Self::Checksum { told, computed } => {
                write!(f, "checksum 0x{told:08x}, where the bytes come to 0x{computed:08x}")
            }
            Self::BadBody { kind, length } => {
                write!(f, "a body of {length} bytes does not suit kind 0x{kind:02x}")
            }
        }
    }
}

impl std::error::Error for WheelError {}

/// The server's side of the protocol: requests come in, responses go out.
struct Wheel;

impl Protocol for Wheel {
    type In = Request;
    type Out = Response;
    type Codec = WheelCodec<Request>;

    fn codec(&mut self) -> WheelCodec<Request> {
        WheelCodec::new()
    }
}

/// Reads messages of one kind, and writes any: the server reads requests, the client responses.
struct WheelCodec<In> {
    reads: std::marker::PhantomData<fn() -> In>,
}

impl<In> WheelCodec<In> {
    fn new() -> Self {
        Self { reads: std::marker::PhantomData }
    }
}

/// One kind of message, as a kind and a body.
trait Message: Sized {
    fn parse(kind: u8, body: &[u8]) -> Result<Self, WheelError>;
    fn kind(&self) -> u8;
    fn put_body(&self, dst: &mut WriteBuffer);
    fn body_len(&self) -> usize;
}

impl<In: Message> Decoder for WheelCodec<In> {
    type Packet = In;
    type Error = WheelError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<In>, WheelError> {
        // A stranger is told at its first wrong byte, not when a header is complete.
        let begun = src.len().min(MAGIC.len());
        if src[..begun] != MAGIC[..begun] {
            let found = Bytes::copy_from_slice(&src[..src.len().min(8)]);
            return Err(WheelError::NotThisProtocol { found });
        }
        if let Some(&found) = src.get(2).filter(|version| **version != VERSION) {
            return Err(WheelError::Version { found });
        }
        let Some(&[_, _, _, kind, high, low]) = src.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST_BODY {
            return Err(WheelError::TooLong { length });
        }
        let covered = HEADER + length;
        if src.len() < covered + CHECKSUM {
            return Ok(None);
        }
        let frame = src.split_to(covered);
        let (told, computed) = (src.get_u32(), checksum(&frame));
        if told != computed {
            return Err(WheelError::Checksum { told, computed });
        }
        In::parse(kind, &frame[HEADER..]).map(Some)
    }
}

impl<In, Out: Message> Encoder<Out> for WheelCodec<In> {
    type Error = WheelError;

    fn encode(&mut self, message: Out, dst: &mut WriteBuffer) -> Result<(), WheelError> {
        let length = message.body_len();
        if length > LONGEST_BODY {
            return Err(WheelError::TooLong { length });
        }
        let start = dst.len(); // what stands there already belongs to earlier packets
        dst.put_slice(&MAGIC);
        dst.put_u8(VERSION);
        dst.put_u8(message.kind());
        dst.put_u16(length as u16); // at most LONGEST_BODY
        message.put_body(dst);
        let sum = checksum(&dst[start..]);
        dst.put_u32(sum);
        Ok(())
    }

    fn frame_len(&self, message: &Out) -> usize {
        HEADER + message.body_len() + CHECKSUM
    }

    fn is_stateless(&self, _packet: &Out) -> bool {
        true
    }
}

/// FNV-1a: it finds the accidents of a line or a program, and stops nobody who forges.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Message for Request {
    fn parse(kind: u8, body: &[u8]) -> Result<Self, WheelError> {
        match (kind, body.len()) {
            (PING, _) => Ok(Self::Ping(Bytes::copy_from_slice(body))),
            (TIME, 0) => Ok(Self::Time),
            (STATS, 0) => Ok(Self::Stats),
            (TIME | STATS, length) => Err(WheelError::BadBody { kind, length }),
            _ => Err(WheelError::UnknownKind { kind }),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Ping(_) => PING,
            Self::Time => TIME,
            Self::Stats => STATS,
        }
    }

    fn put_body(&self, dst: &mut WriteBuffer) {
        if let Self::Ping(body) = self {
            dst.put_slice(body);
        }
    }

    fn body_len(&self) -> usize {
        if let Self::Ping(body) = self { body.len() } else { 0 }
    }
}

const STATS_LENGTH: usize = 4 + 8 + 8 + 8;

impl Message for Response {
    fn parse(kind: u8, mut body: &[u8]) -> Result<Self, WheelError> {
        match (kind ^ REPLY, body.len()) {
            _ if kind == ERROR && !body.is_empty() => {
                let code = body.get_u8();
                Ok(Self::Error { code, text: String::from_utf8_lossy(body).into_owned() })
            }
            (PING, _) => Ok(Self::Pong(Bytes::copy_from_slice(body))),
            (TIME, 8) => Ok(Self::Time { millis: body.get_u64() }),
            (STATS, STATS_LENGTH) => Ok(Self::Stats(Stats {
                connections: body.get_u32(),
                connections_ever: body.get_u64(),
                requests: body.get_u64(),
                uptime_millis: body.get_u64(),
            })),
            (TIME | STATS, length) => Err(WheelError::BadBody { kind, length }),
            _ if kind == ERROR => Err(WheelError::BadBody { kind, length: 0 }),
            _ => Err(WheelError::UnknownKind { kind }),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Pong(_) => PING | REPLY,
            Self::Time { .. } => TIME | REPLY,
            Self::Stats(_) => STATS | REPLY,
            Self::Error { .. } => ERROR,
        }
    }

    fn put_body(&self, dst: &mut WriteBuffer) {
        match self {
            Self::Pong(body) => dst.put_slice(body),
            Self::Time { millis } => dst.put_u64(*millis),
            Self::Stats(stats) => {
                dst.put_u32(stats.connections);
                dst.put_u64(stats.connections_ever);
                dst.put_u64(stats.requests);
                dst.put_u64(stats.uptime_millis);
            }
            Self::Error { code, text } => {
                dst.put_u8(*code);
                dst.put_slice(text.as_bytes());
            }
        }
    }

    fn body_len(&self) -> usize {
        match self {
            Self::Pong(body) => body.len(),
            Self::Time { .. } => 8,
            Self::Stats(_) => STATS_LENGTH,
            Self::Error { text, .. } => 1 + text.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: impl Message) -> Vec<u8> {
        let mut dst = WriteBuffer::new();
        WheelCodec::<Request>::new().encode(message, &mut dst).expect("a body within the limit");
        dst.to_vec()
    }

    fn decoded<In: Message>(bytes: &[u8]) -> Result<Option<In>, WheelError> {
        WheelCodec::<In>::new().decode(&mut BytesMut::from(bytes))
    }

    fn responses() -> [Response; 4] {
        let stats = Stats { connections: 1, connections_ever: 2, requests: 3, uptime_millis: 4 };
        [
            Response::Pong(Bytes::from_static(b"\0body")),
            Response::Time { millis: u64::MAX },
            Response::Stats(stats),
            Response::Error { code: 5, text: "так не пойдёт".to_owned() },
        ]
    }

    #[test]
    fn the_bytes_of_a_ping_are_those_of_the_format() {
        let bytes = encoded(Request::Ping(Bytes::from_static(b"hi")));
        assert_eq!(bytes[..8], *b"WH\x01\x01\x00\x02hi");
        assert_eq!(bytes[8..], 0xcb0f_21b9_u32.to_be_bytes());
    }

    #[test]
    fn every_message_comes_back_from_any_two_pieces() {
        for response in responses() {
            let bytes = encoded(response.clone());
            for cut in 0..bytes.len() {
                let mut codec = WheelCodec::<Response>::new();
                let mut src = BytesMut::from(&bytes[..cut]);
                assert_eq!(codec.decode(&mut src), Ok(None), "{response:?} cut at {cut}");
                src.extend_from_slice(&bytes[cut..]);
                assert_eq!(codec.decode(&mut src), Ok(Some(response.clone())), "cut at {cut}");
                assert!(src.is_empty());
            }
        }
        for request in [Request::Time, Request::Stats, Request::Ping(Bytes::new())] {
            assert_eq!(decoded(&encoded(request.clone())), Ok(Some(request)));
        }
    }

    #[test]
    fn any_byte_that_is_changed_is_found_out() {
        let whole = encoded(Request::Ping(Bytes::from_static(b"0123456789")));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let found = decoded::<Request>(&bytes);
            // A longer length waits for bytes that do not come, which `packet_timeout` ends.
            let waits = found == Ok(None) && (4..6).contains(&at);
            assert!(waits || found.is_err(), "byte {at}: {found:?}");
        }
    }

    #[test]
    fn a_fault_is_told_from_the_first_bytes_that_show_it() {
        assert!(matches!(decoded::<Request>(b"G"), Err(WheelError::NotThisProtocol { .. })));
        assert_eq!(decoded::<Request>(b"WH\x02"), Err(WheelError::Version { found: 2 }));
        let long = decoded::<Request>(b"WH\x01\x01\xff\xff");
        assert_eq!(long, Err(WheelError::TooLong { length: 65_535 }));
        assert_eq!(long.expect_err("too long").code() as u8, 4);
    }

    #[test]
    fn a_reply_is_no_request() {
        let kind = TIME | REPLY;
        let reply = encoded(Response::Time { millis: 0 });
        assert_eq!(decoded::<Request>(&reply), Err(WheelError::UnknownKind { kind }));
        let request = encoded(Request::Time);
        assert_eq!(decoded::<Response>(&request), Err(WheelError::UnknownKind { kind: TIME }));
    }

    #[test]
    fn a_body_over_the_maximum_is_not_written() {
        let mut dst = WriteBuffer::new();
        let long = Request::Ping(Bytes::from(vec![0; LONGEST_BODY + 1]));
        let refused = WheelCodec::<Response>::new().encode(long, &mut dst);
        assert_eq!(refused, Err(WheelError::TooLong { length: LONGEST_BODY + 1 }));
        assert!(dst.is_drained());
    }
}
