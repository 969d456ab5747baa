//! What the tests of threads and handles share: a server of lines, peers on loopback, and a watch over calls that might
//! hang. Every wait here has an end, so that a fault shows as a failure and not as a test that never returns.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod programs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use wheelhouse::codec::LinesCodec;
use wheelhouse::{Config, Connection, ConnectionHandle, Handlers, Server, ServerHandle, Stats};

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What one thread opens and another finds open, or not yet.
pub(crate) fn gate() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    (Arc::clone(&open), open)
}

/// A server whose packets are lines of at most 1 MiB.
pub(crate) fn lines() -> Server<LinesCodec> {
    Server::bind("127.0.0.1:0", LinesCodec::new(1 << 20)).expect("a free port")
}

/// A server of lines whose `on_accept` hands each connection's handle out, and whose handlers are `handlers`.
pub(crate) fn handing_out(
    config: Config,
    mut handlers: impl FnMut(&mut Connection<'_, LinesCodec, ()>) -> Handlers<LinesCodec, ()>
    + Send
    + 'static,
) -> (ServerHandle<LinesCodec, ()>, Receiver<ConnectionHandle<LinesCodec>>) {
    let (give, take) = mpsc::channel();
    let server = lines()
        .config(config)
        .start(move |(), conn| {
            give.send(conn.handle()).expect("the test takes handles");
            handlers(conn)
        })
        .expect("a server");
    (server, take)
}

/// A peer that fails, rather than hangs, where nothing comes.
pub(crate) fn peer(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).expect("a connection on loopback"))
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

/// A peer with a small receive buffer, which does not grow: what it does not read fills the server's outbox soon. (The
/// kernel's own measure may be 32 MiB.)
pub(crate) fn narrow_peer(address: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a socket option");
    socket.connect(&address.into()).expect("a connection on loopback");
    patient(socket.into())
}

/// One of everything: a server without handlers, a peer of it, and that connection's handle.
pub(crate) fn trio(
    config: Config,
) -> (ServerHandle<LinesCodec, ()>, TcpStream, ConnectionHandle<LinesCodec>) {
    let (server, handles) = handing_out(config, |conn| conn.handlers());
    let peer = peer(server.local_addr());
    let handle = take(&handles);
    (server, peer, handle)
}

/// How the server stands when what has been written so far has been flushed: in the turn after this one.
pub(crate) fn after_a_turn(server: &ServerHandle<LinesCodec, ()>) -> Stats {
    let (tell, told) = mpsc::channel();
    let begin = server.run(move |(), server| {
        // A timer that is set by a command fires in the same turn, before the flush; one that is set by it, after.
        server.after(Duration::ZERO, move |(), server| {
            server.after(Duration::ZERO, move |(), server| {
                tell.send(server.stats()).expect("a test");
            });
        });
    });
    begin.expect("a running server");
    take(&told)
}

/// The next thing from a channel that is sure to bring one.
pub(crate) fn take<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(PATIENCE).expect("it comes in time")
}

pub(crate) fn say(peer: &mut TcpStream, text: &str) {
    peer.write_all(text.as_bytes()).expect("the server reads");
}

/// A peer's lines, without their ends, until its stream ends.
pub(crate) fn read_lines(peer: TcpStream) -> impl Iterator<Item = String> {
    BufReader::new(peer).lines().map(|line| line.expect("a line in time"))
}

/// The whole rest of a peer's stream.
pub(crate) fn read_to_end(peer: &mut TcpStream) -> String {
    let mut text = String::new();
    peer.read_to_string(&mut text).expect("the stream's end, in time");
    text
}

/// Runs `work` on a thread of its own, and fails if it is not over in time.
pub(crate) fn in_time<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    begin(work).wait(what)
}

/// Work under way on another thread.
pub(crate) struct Work<T> {
    thread: thread::JoinHandle<()>,
    result: Receiver<T>,
}

pub(crate) fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Work<T> {
    let (tell, result) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = tell.send(work()); // an error: nobody waits any more
    });
    Work { thread, result }
}

impl<T> Work<T> {
    /// What it came to.
    pub(crate) fn wait(self, what: &str) -> T {
        match self.result.recv_timeout(PATIENCE) {
            Ok(value) => value,
            Err(RecvTimeoutError::Timeout) => panic!("{what} has not returned within {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                let panic = self.thread.join().expect_err("the sender went with the thread");
                std::panic::resume_unwind(panic)
            }
        }
    }
}

/// Holds a server's loop where it is, until dropped: what other threads leave meanwhile stays in its queues.
pub(crate) struct Hold(Option<mpsc::Sender<()>>);

impl Hold {
    pub(crate) fn of<S: 'static>(server: &ServerHandle<LinesCodec, S>) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (tell, held) = mpsc::channel();
        server
            .try_run(move |_, _| {
                tell.send(()).expect("the test waits");
                let _ = released.recv(); // an error: the sender is gone
            })
            .expect("room for a command");
        take(&held);
        Self(Some(release))
    }

    pub(crate) fn release(mut self) {
        self.0.take();
    }
}
