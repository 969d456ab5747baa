//! What the tests on real sockets share: clients that never hang, a loop that is turned until something is so, a protocol
//! with a fault for every occasion, and a test that runs itself again in a process of its own.
//!
//! All traffic stays on loopback, all ports are the system's choice.

#![allow(dead_code, reason = "no file uses all of it")]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use wheelhouse::codec::{Decoder, Encoder, Protocol, WriteBuffer};
use wheelhouse::{Config, ConnectionId, Reactor, Server, Stats, Turn};

/// How long a test waits for what must come. Only a failing one waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The time, for measuring the loop from outside.
#[expect(clippy::disallowed_methods, reason = "the loop's clock is what is being tested")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

// Clients.

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    connect_from(Ipv4Addr::LOCALHOST, address)
}

/// Connects from an address of one's own choice: all of 127.0.0.0/8 is this machine.
pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    if source != Ipv4Addr::LOCALHOST {
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into()).expect("a loopback address");
    }
    socket.connect_timeout(&address.into(), PATIENCE).expect("a listener");
    ready_client(socket.into())
}

/// Connects with a small receive buffer, so that the server's output gets stuck soon.
pub(crate) fn connect_narrow(address: SocketAddr) -> TcpStream {
    connect_with_buffer(address, 32 * 1024)
}

/// Connects with a receive buffer that does not grow.
pub(crate) fn connect_with_buffer(address: SocketAddr, bytes: usize) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(bytes).expect("a small buffer");
    socket.connect_timeout(&address.into(), PATIENCE).expect("a listener");
    ready_client(socket.into())
}

fn ready_client(client: TcpStream) -> TcpStream {
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    client.set_nodelay(true).expect("no delay");
    client
}

/// Makes the client's close a reset.
pub(crate) fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a linger of zero");
}

pub(crate) fn read_exactly(mut client: &TcpStream, bytes: usize) -> Vec<u8> {
    let mut buf = vec![0; bytes];
    client.read_exact(&mut buf).expect("as many bytes as were promised");
    buf
}

pub(crate) fn read_line(client: &TcpStream) -> String {
    let mut line = Vec::new();
    loop {
        match read_exactly(client, 1)[0] {
            b'\n' => return String::from_utf8(line).expect("text"),
            byte => line.push(byte),
        }
    }
}

pub(crate) fn read_to_end(mut client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).map(|_| all)
}

pub(crate) fn send(mut client: &TcpStream, bytes: impl AsRef<[u8]>) {
    client.write_all(bytes.as_ref()).expect("a peer that takes it");
}

/// Nothing more comes: an end, or a reset.
pub(crate) fn assert_over(mut client: &TcpStream) {
    match client.read(&mut [0; 64]) {
        Ok(0) => {}
        Ok(some) => panic!("{some} bytes where the end was due"),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

/// Reads until the reset, and panics if there is an orderly end.
pub(crate) fn assert_reset(client: &TcpStream) {
    let error = read_to_end(client).expect_err("a reset, not an end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Whether bytes, or the end, are there to be read at once.
pub(crate) fn has_news(client: &TcpStream) -> bool {
    client.set_nonblocking(true).expect("non-blocking");
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).expect("blocking");
    !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

// The loop.

/// A server of words whose turns the test takes.
pub(crate) fn words(config: Config) -> Server<Words> {
    Server::bind(ANY_PORT, Words).expect("a port").config(config)
}

/// The same, which answers each word by itself.
pub(crate) fn echo(config: Config) -> Reactor<Words, ()> {
    words(config)
        .into_reactor(|_, conn| conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?)))
        .expect("a loop")
}

pub(crate) fn stats<P: Protocol, S: 'static>(reactor: &mut Reactor<P, S>) -> Stats {
    reactor.server().stats()
}

/// The id of the only connection.
pub(crate) fn first_id(reactor: &mut Reactor<Words, ()>) -> ConnectionId {
    let mut id = None;
    reactor.server().for_each_connection(|conn| id = Some(conn.id()));
    id.expect("a connection")
}

/// Turns the loop until `done`.
#[track_caller]
pub(crate) fn turn_until<P: Protocol, S: 'static>(
    reactor: &mut Reactor<P, S>,
    mut done: impl FnMut(&mut Reactor<P, S>) -> bool,
) {
    let give_up = now() + PATIENCE;
    while !done(reactor) {
        assert!(now() < give_up, "it never came: {:?}", reactor.server().stats());
        let _ = turn(reactor);
    }
}

/// One turn that waits no longer than a moment.
pub(crate) fn turn<P: Protocol, S: 'static>(reactor: &mut Reactor<P, S>) -> Turn {
    reactor.turn(Some(ms(5))).expect("a working poll")
}

/// Turns the loop while another thread works, and returns what that thread returns.
pub(crate) fn turn_while<P: Protocol, S: 'static, T: Send + 'static>(
    reactor: &mut Reactor<P, S>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let worker = std::thread::spawn(work);
    turn_until(reactor, |_| worker.is_finished());
    worker.join().expect("a worker that does not panic")
}

/// Turns the loop until nothing is left to do: a turn that had all of `quiet` to find something moved no counter.
pub(crate) fn settle<P: Protocol, S: 'static>(reactor: &mut Reactor<P, S>) {
    let quiet = ms(20);
    loop {
        let before = reactor.server().stats();
        let began = now();
        let state = reactor.turn(Some(quiet)).expect("a working poll");
        let slept = began.elapsed() >= quiet;
        if state == Turn::Stopped {
            return;
        }
        if slept && reactor.server().stats() == before {
            // A turn may have taken that long without sleeping, on a busy machine: what came meanwhile is there by now.
            let state = reactor.turn(Some(Duration::ZERO)).expect("a working poll");
            if state == Turn::Stopped || reactor.server().stats() == before {
                return;
            }
        }
    }
}

#[track_caller]
pub(crate) fn told<T>(by: &Receiver<T>) -> T {
    match by.recv_timeout(PATIENCE) {
        Ok(news) => news,
        Err(RecvTimeoutError::Timeout) => panic!("nobody told"),
        Err(RecvTimeoutError::Disconnected) => panic!("nobody is left to tell"),
    }
}

// A protocol.

/// Lines of text as packets. `!malformed` is an error of the decoder, `!panic` a panic in it and in the encoder, `!stall`
/// makes it yield packets without end; the packet `unspeakable` is refused by the encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) &'static str);

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unfit: {}", self.0)
    }
}

impl std::error::Error for Unfit {}

impl Decoder for Words {
    type Packet = String;
    type Error = Unfit;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<String>, Unfit> {
        if src.starts_with(b"!stall\n") {
            return Ok(Some("nothing".into()));
        }
        let Some(end) = src.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = src.split_to(end + 1);
        match &line[..end] {
            b"!malformed" => Err(Unfit("a malformed line")),
            b"!panic" => panic!("the decoder panics, as told"),
            line => Ok(Some(String::from_utf8_lossy(line).into_owned())),
        }
    }
}

impl Encoder<String> for Words {
    type Error = Unfit;

    fn encode(&mut self, packet: String, dst: &mut WriteBuffer) -> Result<(), Unfit> {
        match &*packet {
            "unspeakable" => return Err(Unfit("an unspeakable packet")),
            "!panic" => panic!("the encoder panics, as told"),
            _ => {}
        }
        dst.put_slice(packet.as_bytes());
        dst.put_u8(b'\n');
        Ok(())
    }

    fn frame_len(&self, packet: &String) -> usize {
        packet.len() + 1
    }
}

// A process of its own.

const CHILD: &str = "WHEELHOUSE_TEST_CHILD";

/// Whether this is the second run of a test, in a process that belongs to it alone.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The named test of this binary, to be run again, alone in a process: for what changes the whole process.
pub(crate) fn child(test: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().expect("a path"));
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    child
}

pub(crate) fn run_child(test: &str) -> Output {
    child(test).output().expect("a second process")
}

/// As [`run_child`], where the child is to end well.
#[track_caller]
pub(crate) fn pass_in_child(test: &str) {
    let output = run_child(test);
    assert!(
        output.status.success(),
        "{}:\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("1 passed"), "no test is called {test}:\n{stdout}");
}
