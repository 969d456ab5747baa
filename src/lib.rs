//! A single-threaded event-loop reactor for TCP servers: small, predictable, bounded.
//!
//! One thread waits for sockets, cuts what they bring into packets, and calls your closures with them, one at a
//! time. There is no async runtime, no lock on the way of a packet, and no queue without a bound: what a Go program
//! gets from goroutines and channels (a full channel blocks its sender, a lagging reader slows its peer, a server
//! stops gracefully) is kept by the loop.
//!
//! ```text
//! socket → read buffer → Decoder → packet → handler → Encoder → write buffer → socket
//! ```
//!
//! This page is the guide, from the first server to the last knob; each section's example runs. [`Server`],
//! [`Connection`] and [`Config`] are the reference. `docs/design.md` in the repository says how it works inside,
//! and why.
//!
//! # An echo server
//!
//! A server needs an address, a [codec](mod@codec) and a closure for newcomers, which returns the handlers of that
//! connection.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//! use std::time::Duration;
//! use wheelhouse::Server;
//! use wheelhouse::codec::BytesCodec;
//!
//! // It listens from here on; port 0 is any that is free.
//! let server = Server::bind("127.0.0.1:0", BytesCodec::new())?;
//! let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     conn.handlers().on_read(|_, conn, data| {
//!         conn.write(data)?;
//!         Ok(())
//!     })
//! })?;
//!
//! let mut peer = TcpStream::connect(addr)?;
//! peer.write_all(b"hello")?;
//! peer.shutdown(Shutdown::Write)?; // what came before the end is answered first
//! let mut reply = String::new();
//! peer.read_to_string(&mut reply)?;
//! assert_eq!(reply, "hello");
//!
//! server.stop(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There are three ways to run it: [`run`](Server::run) takes this thread until the server is stopped,
//! [`start`](Server::start) takes one of its own and returns a [`ServerHandle`], and
//! [`into_reactor`](Server::into_reactor) leaves the loop to you.
//!
//! `conn.handlers()` rather than `Handlers::new()`, because it knows the types that the closures take. There is a
//! closure for each thing that can happen: [`on_read`](Handlers::on_read), [`on_error`](Handlers::on_error),
//! [`on_closed`](Handlers::on_closed), [`on_stop`](Handlers::on_stop), [`on_drain`](Handlers::on_drain),
//! [`on_end`](Handlers::on_end), and [`on_connect`](Handlers::on_connect) for connections that the server itself
//! makes. Set those that you need.
//!
//! # State
//!
//! Handlers run one at a time, so the state that they share reaches them as `&mut`: no `Rc<RefCell>`, no `Mutex`.
//!
//! ```
//! # use std::io::{BufRead, BufReader, Write};
//! # use std::net::TcpStream;
//! # use std::time::Duration;
//! use std::collections::HashMap;
//! use wheelhouse::codec::LinesCodec;
//! use wheelhouse::{ConnectionId, Server};
//!
//! #[derive(Default)]
//! struct World {
//!     positions: HashMap<ConnectionId, i32>,
//! }
//!
//! let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?.state(World::default());
//! # let addr = server.local_addr();
//! let server = server.start(|world, conn| {
//!     world.positions.insert(conn.id(), 0);
//!     conn.handlers()
//!         .on_read(|world, conn, line| {
//!             let step: i32 = line.trim().parse()?; // an error ends this connection, and no other
//!             let position = world.positions.entry(conn.id()).or_default();
//!             *position += step;
//!             let reply = format!("you are at {position}");
//!             Ok(conn.write(reply)?)
//!         })
//!         .on_closed(|world, conn, _reason| {
//!             world.positions.remove(&conn.id());
//!         })
//! })?;
//! # let mut peer = TcpStream::connect(addr)?;
//! # peer.write_all(b"2\n3\n")?;
//! # let replies: Vec<String> = BufReader::new(&peer).lines().take(2).collect::<Result<_, _>>()?;
//! # assert_eq!(replies, ["you are at 2", "you are at 5"]);
//! # server.stop(Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`ConnectionId`] is a name to keep: `Copy`, `Send`, a map's key. When its connection is over it finds nothing,
//! and never the stranger that came to sit in the same slot.
//!
//! What belongs to one connection alone can also stay with it: [`set_user_data`](Connection::set_user_data) keeps
//! any value, [`user_data`](Connection::user_data) and [`user_data_mut`](Connection::user_data_mut) give it back.
//!
//! # Codecs
//!
//! A codec cuts bytes into packets and turns packets into bytes; [`codec`] lists those that are here, for lines,
//! delimiters, lengths in front, fixed sizes and bytes as they come. One of your own is a
//! [`Decoder`](codec::Decoder) and an [`Encoder`](codec::Encoder):
//!
//! ```
//! use bytes::{Buf, BufMut, BytesMut};
//! use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};
//!
//! #[derive(Clone)]
//! struct MoveCodec;
//!
//! #[derive(PartialEq, Debug)]
//! struct Move {
//!     x: i16,
//!     y: i16,
//! }
//!
//! impl Decoder for MoveCodec {
//!     type Packet = Move;
//!     type Error = std::convert::Infallible;
//!
//!     fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Move>, Self::Error> {
//!         if src.len() < 4 {
//!             return Ok(None); // more bytes, please
//!         }
//!         Ok(Some(Move { x: src.get_i16(), y: src.get_i16() }))
//!     }
//! }
//!
//! impl Encoder<Move> for MoveCodec {
//!     type Error = std::convert::Infallible;
//!
//!     fn encode(&mut self, Move { x, y }: Move, dst: &mut WriteBuffer) -> Result<(), Self::Error> {
//!         dst.put_i16(x);
//!         dst.put_i16(y);
//!         Ok(())
//!     }
//!
//!     fn frame_len(&self, _: &Move) -> usize {
//!         4 // so that the outbox knows what fits before it takes the packet
//!     }
//! }
//!
//! // No server, no socket: a codec is tested as a value.
//! let mut src = BytesMut::from(&[0, 1, 0xff, 0xfe, 0][..]);
//! assert_eq!(MoveCodec.decode(&mut src)?, Some(Move { x: 1, y: -2 }));
//! assert_eq!(MoveCodec.decode(&mut src)?, None);
//! # Ok::<(), std::convert::Infallible>(())
//! ```
//!
//! The loop calls `decode` until it says `None`, so several packets in one read and one packet over many reads both
//! work. A codec that is `Clone` is its own [`Protocol`](codec::Protocol); implement that where reading and writing
//! differ in type.
//!
//! # Other connections
//!
//! [`Connection::server`] reaches everything else: another connection by its id, all of them, a broadcast. A
//! broadcast says what is to become of those that lag, and what became of all. Here is a chat.
//!
//! ```
//! # use std::io::{BufRead, BufReader, Write};
//! # use std::net::TcpStream;
//! # use std::time::Duration;
//! use wheelhouse::codec::LinesCodec;
//! use wheelhouse::{Server, SlowConsumers};
//!
//! struct Name(String);
//!
//! let server = Server::bind("127.0.0.1:0", LinesCodec::new(1024))?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     conn.handlers().on_read(|_, conn, line| {
//!         let Some(Name(name)) = conn.user_data() else {
//!             conn.set_user_data(Name(line)); // the first line is the name
//!             return Ok(conn.write("welcome".to_owned())?);
//!         };
//!         let said = format!("{name}: {line}");
//!         let speaker = conn.id();
//!         conn.server().broadcast_except(speaker, said, SlowConsumers::Disconnect);
//!         Ok(())
//!     })
//! })?;
//! # let join = |name: &str| -> std::io::Result<_> {
//! #     let mut peer = BufReader::new(TcpStream::connect(addr)?);
//! #     writeln!(peer.get_mut(), "{name}")?;
//! #     let mut welcome = String::new();
//! #     peer.read_line(&mut welcome)?;
//! #     assert_eq!(welcome, "welcome\n");
//! #     Ok(peer)
//! # };
//! # let (mut ann, mut bob) = (join("ann")?, join("bob")?);
//! # ann.get_mut().write_all(b"hello\n")?;
//! # let mut heard = String::new();
//! # bob.read_line(&mut heard)?;
//! # assert_eq!(heard, "ann: hello\n");
//! # server.stop(Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Handlers never run inside one another. What one does to another connection, a write or a close, takes effect on
//! its queues at once; that connection's own handlers run later in the turn.
//!
//! [`ServerRef::connect`] begins a connection to elsewhere, which then lives beside those that were accepted. A program
//! with no loop of its own, a tool or a test, has [`Client`]: blocking, with limits of time, over any codec.
//!
//! # Timers
//!
//! [`Connection::after`] and [`Connection::every`] set timers that die with the connection, [`ServerRef::after`]
//! and [`ServerRef::every`] those of the server. They count in milliseconds, never fire early, and a periodic one
//! does not drift.
//!
//! ```
//! # use std::io::Read;
//! # use std::net::TcpStream;
//! use std::time::Duration;
//! use wheelhouse::Server;
//! use wheelhouse::codec::LinesCodec;
//!
//! let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     conn.every(Duration::from_millis(5), |_, conn| {
//!         // A tick that does not fit is left out: the next will tell more.
//!         drop(conn.write("tick".to_owned()));
//!     });
//!     conn.after(Duration::from_millis(50), |_, conn| conn.close());
//!     conn.handlers()
//! })?;
//! # let mut heard = String::new();
//! # TcpStream::connect(addr)?.read_to_string(&mut heard)?;
//! # assert!(heard.starts_with("tick\n"), "{heard}");
//! # server.stop(Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Deadlines are settings rather than timers: [`Config::idle_timeout`], [`Config::packet_timeout`] for a packet
//! that stays half arrived, [`Config::write_timeout`] for a peer that takes no output.
//!
//! # Backpressure
//!
//! What waits for a peer waits in its outbox, which has three levels ([`Config::outbox`]; 16 KiB, 64 KiB and 1
//! MiB):
//!
//! - Over the high mark, the loop decodes and reads nothing more from that peer until the outbox has fallen to the
//!   low mark. So a handler that answers each packet never finds the outbox full, and a peer that does not read
//!   slows only itself.
//! - At the low mark again, [`on_drain`](Handlers::on_drain) is called once: time to go on, for a handler with more
//!   to say.
//! - At the cap, [`Connection::write`] refuses with [`WriteError::Full`] and gives the packet back. `on_drain` follows a
//!   refusal, too, also where the packet was so large that it had no room below the high mark.
//!
//! ```
//! # use std::io::{Read, Write};
//! # use std::net::TcpStream;
//! # use std::time::Duration;
//! use bytes::Bytes;
//! use wheelhouse::codec::{BytesCodec, Protocol};
//! use wheelhouse::{Connection, HandlerError, Server, WriteError};
//!
//! struct Download {
//!     chunks_left: u32,
//! }
//!
//! /// Writes as much as the outbox takes: the rest is written when it has drained.
//! fn pour<P: Protocol<Out = Bytes>>(conn: &mut Connection<'_, P, ()>) -> Result<(), HandlerError> {
//!     while let Some(download) = conn.user_data_mut::<Download>().filter(|left| left.chunks_left > 0) {
//!         download.chunks_left -= 1;
//!         match conn.write(Bytes::from_static(&[7; 4096])) {
//!             Ok(()) => {}
//!             Err(WriteError::Full(_)) => {
//!                 if let Some(download) = conn.user_data_mut::<Download>() {
//!                     download.chunks_left += 1;
//!                 }
//!                 return Ok(()); // on_drain goes on
//!             }
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//!     conn.close();
//!     Ok(())
//! }
//!
//! let server = Server::bind("127.0.0.1:0", BytesCodec::new())?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     conn.set_user_data(Download { chunks_left: 1_000 });
//!     conn.handlers()
//!         .on_read(|_, conn, _request| pour(conn))
//!         .on_drain(|_, conn| {
//!             if pour(conn).is_err() {
//!                 conn.abort();
//!             }
//!         })
//! })?;
//! # let mut peer = TcpStream::connect(addr)?;
//! # peer.write_all(b"go")?;
//! # let mut got = Vec::new();
//! # peer.read_to_end(&mut got)?;
//! # assert_eq!(got.len(), 1_000 * 4096);
//! # server.stop(Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Input has its bound, too. Without an `on_read`, packets wait in the inbox (100 of them, [`Config::inbox`]),
//! where [`Connection::read`] takes them; a full inbox stops the reading, and TCP slows the peer.
//! [`Connection::pause_read`] and [`Connection::resume_read`] do that by hand.
//!
//! # Errors
//!
//! An error ends one connection and nothing else. A handler returns one by `?` or by [`HandlerError::msg`]; the
//! loop finds the others: bytes that are not the protocol, a socket that fails, a packet that never ends, a panic.
//! Each goes to [`on_error`](Handlers::on_error), and then the connection closes; what `on_error` writes after a
//! protocol error or a handler's is still sent. An [`Error`] says who is to [blame](Error::blame). Without an
//! `on_error`, errors wait for [`Connection::take_error`].
//!
//! ```
//! # use std::io::{Read, Write};
//! # use std::net::TcpStream;
//! # use std::time::Duration;
//! use wheelhouse::codec::LinesCodec;
//! use wheelhouse::{Blame, HandlerError, Server};
//!
//! let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     conn.handlers()
//!         .on_read(|_, _, line| Err(HandlerError::msg(format!("what is {line:?}?"))))
//!         .on_error(|_, conn, error| {
//!             // A line over 80 bytes is the peer's fault, an error of `on_read` this program's.
//!             let who = if error.blame() == Blame::Peer { "you" } else { "we" };
//!             drop(conn.write(format!("{who} failed: {error}")));
//!         })
//! })?;
//! # let mut peer = TcpStream::connect(addr)?;
//! # peer.write_all(b"fish\n")?;
//! # let mut heard = String::new();
//! # peer.read_to_string(&mut heard)?;
//! # assert_eq!(heard, "we failed: the handler failed: what is \"fish\"?\n");
//! # server.stop(Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A panic in a handler or codec closes its connection, too, and the loop goes on; [`Config::panic_policy`] can
//! take the process down instead.
//!
//! # How a connection ends
//!
//! - [`close`](Connection::close) loses nothing: what is queued is sent, this side of the stream ends, and what the
//!   peer still sends is thrown away until it ends its side or [`Config::linger`] is over.
//! - [`finish`](Connection::finish) ends this side once all is sent, and goes on reading.
//! - [`abort`](Connection::abort) drops what is queued and resets.
//! - When the peer ends its stream, everything that came before is delivered and answered first. With
//!   [`Config::half_open`], [`on_end`](Handlers::on_end) is told and the handler closes in its own time.
//!
//! In each case [`on_closed`](Handlers::on_closed) runs exactly once, with the [`CloseReason`].
//!
//! # Stopping
//!
//! `stop(grace)` closes the listener and calls each connection's [`on_stop`](Handlers::on_stop), which may still
//! read, write and close; a connection without one closes as by `close()`. What is not over after the grace is
//! aborted. The [`StopReport`] says how it went. It can be called from a handler ([`ServerRef::stop`]), from
//! another thread ([`ServerHandle::stop`]), or by SIGINT and SIGTERM (`Config::stop_on_signals`, with the feature
//! `signals`).
//!
//! ```
//! # use std::io::Read;
//! # use std::net::TcpStream;
//! use std::time::Duration;
//! use wheelhouse::Server;
//! use wheelhouse::codec::LinesCodec;
//!
//! let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     drop(conn.write("hello".to_owned()));
//!     conn.handlers().on_stop(|_, conn| {
//!         drop(conn.write("goodbye".to_owned()));
//!         conn.close();
//!     })
//! })?;
//! # let mut peer = TcpStream::connect(addr)?;
//! # let mut hello = [0; 6];
//! # peer.read_exact(&mut hello)?;
//! # let reader = std::thread::spawn(move || {
//! #     let mut rest = String::new();
//! #     peer.read_to_string(&mut rest).map(|_| rest)
//! # });
//! let report = server.stop(Duration::from_secs(5))?; // returns as soon as the last connection is gone
//! assert_eq!((report.closed, report.forced), (1, 0));
//! # assert_eq!(reader.join().unwrap()?, "goodbye\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From other threads
//!
//! Slow work belongs elsewhere: while a handler runs, everybody waits. A [`ServerHandle`] and a
//! [`ConnectionHandle`] are `Send` and `Clone`, and their queues are bounded. [`ServerHandle::run`] runs a closure
//! on the loop and returns its value; [`ConnectionHandle`] has Go's channels, with blocking, `try_` and `_timeout`
//! forms:
//!
//! ```
//! # use std::io::{BufRead, BufReader, Write};
//! # use std::net::TcpStream;
//! # use std::time::Duration;
//! use std::thread;
//! use wheelhouse::Server;
//! use wheelhouse::codec::LinesCodec;
//!
//! let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?;
//! # let addr = server.local_addr();
//! let server = server.start(|_, conn| {
//!     let handle = conn.handle();
//!     thread::spawn(move || {
//!         for line in handle.packets() {
//!             let answer = line.to_uppercase(); // as slow as it likes to be
//!             if handle.write(answer).is_err() {
//!                 break; // the connection is over
//!             }
//!         }
//!     });
//!     conn.handlers() // no on_read: packets go to the handle
//! })?;
//! # let mut peer = BufReader::new(TcpStream::connect(addr)?);
//! # peer.get_mut().write_all(b"loud\n")?;
//! # let mut heard = String::new();
//! # peer.read_line(&mut heard)?;
//! # assert_eq!(heard, "LOUD\n");
//!
//! let open = server.run(|_state, server| server.connection_count())?;
//! assert_eq!(open, 1);
//! # server.stop(Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A blocking call on the loop's own thread would wait for itself; it returns an error that says so.
//!
//! # In a loop of your own
//!
//! A game has a loop already. [`Reactor::turn`] does what there is to do and returns: wait not at all, or for as
//! long as the frame leaves.
//!
//! ```
//! use std::time::Duration;
//! use wheelhouse::codec::LinesCodec;
//! use wheelhouse::{Server, SlowConsumers, Turn};
//!
//! let mut reactor = Server::bind("127.0.0.1:0", LinesCodec::new(80))?
//!     .state(Vec::new()) // what the players said since the last frame
//!     .into_reactor(|_, conn| {
//!         conn.handlers().on_read(|said: &mut Vec<String>, _, line| {
//!             said.push(line);
//!             Ok(())
//!         })
//!     })?;
//!
//! for frame in 0..3 {
//!     let _ = reactor.turn(Some(Duration::from_millis(1)))?;
//!     let (said, mut server) = reactor.parts();
//!     let news = format!("frame {frame}: {} lines", said.drain(..).count());
//!     server.broadcast(news, SlowConsumers::Skip);
//! }
//!
//! reactor.server().stop(Duration::ZERO);
//! while reactor.turn(None)? == Turn::Running {}
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Limits
//!
//! Every limit is in [`Config`], finite by default, and an `Option` where there may be none. Settings that
//! contradict each other are refused by name when the server starts. [`Stats`] counts what was refused, dropped and
//! turned away.
//!
//! # Testing
//!
//! A codec is a value: test it with bytes, as above, and cut the bytes at every place. Handlers can be tested
//! without a socket, too: the feature `testing` brings scripted streams, a clock that only the test moves, and
//! faults from a seed, under the same loop that ships.
//!
//! # Features
//!
//! All are off by default.
//!
//! | feature | brings |
//! | --- | --- |
//! | `signals` | `Config::stop_on_signals` |
//! | `testing` | the module `testing`: a server without sockets and without waiting |
//! | `json` | `codec::JsonLines` |
//! | `http` | `codec::http`: requests and answers, HTTP/1.1 |
//! | `websocket` | `codec::websocket`: RFC 6455, from either side, on the port of a page |
//! | `websocket-deflate` | permessage-deflate for it, where both ends want it |
//! | `tokio-codec` | `codec::TokioCodec`, which takes codecs written for tokio-util |
//!
//! # Other crates in this one's types
//!
//! A new major version of one of these is a new one of this crate: `bytes` (`Bytes`, `BytesMut`, what codecs are made
//! of), `log` (the logger of [`Config::logger`]), and with their features `http` (re-exported by `codec::http`),
//! `serde` and `serde_json` (bounds and errors of `codec::JsonLines`), `tokio-util` (what `codec::TokioCodec` adapts).
//! Enums that may grow are `#[non_exhaustive]`, as are structs of plain numbers like [`Stats`]. Those that are not are
//! complete: a [`Turn`] ends in one of two ways, a [`Blame`] falls on one of three.
//!
//! # What it is not
//!
//! One thread does everything, so a handler that computes for long keeps everybody waiting: give such work to a
//! thread of its own, or take another library. It runs on Unix systems with 64-bit pointers.

pub mod codec;
#[cfg(feature = "testing")]
pub mod testing;

mod buffer;
mod client;
mod clock;
mod config;
mod connection;
mod context;
mod error;
mod handle;
mod handlers;
mod id;
mod io;
mod logging;
mod queue;
mod reactor;
mod registry;
mod server;
mod stats;
mod timers;

pub use crate::client::{Client, ClientError, ClientReader, ClientWriter};
pub use crate::config::{Config, Overload, PanicPolicy};
pub use crate::context::{Broadcast, ConnectError, Connection, ServerRef, SlowConsumers};
pub use crate::error::{Blame, BoxError, CloseReason, Error, Late, WriteError};
pub use crate::handle::{ConnectionHandle, HandleError, Packets, ReadError, ServerHandle};
pub use crate::handlers::{HandlerError, Handlers};
pub use crate::id::{ConnectionId, TimerId};
pub use crate::reactor::{Reactor, StopReport, Turn};
pub use crate::server::Server;
pub use crate::stats::Stats;

/// The README's examples, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
