//! The other end, for tools and tests: one blocking connection that speaks any codec, on the thread that calls.
//!
//! What moves bytes is in `client/wire.rs`, what can go wrong in `client/error.rs`. No loop, no handlers: for connections
//! beside those of a server there is [`ServerRef::connect`](crate::ServerRef::connect).

mod error;
mod wire;

use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

pub use self::error::ClientError;
use self::wire::{Input, Output};
use crate::clock::system_now;
use crate::codec::{Decoder, Encoder};
use crate::error::CloseReason;

/// How long [`Client::connect`] tries.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long [`Client::close`] waits for the peer to end its side.
const LINGER: Duration = Duration::from_secs(2);

/// A blocking connection to a server, which reads and writes packets of a codec.
///
/// ```
/// use std::time::Duration;
/// use wheelhouse::codec::LinesCodec;
/// use wheelhouse::{Client, Server};
///
/// let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?;
/// let addr = server.local_addr();
/// let server = server.start(|_, conn| {
///     conn.handlers().on_read(|_, conn, line| Ok(conn.write(format!("you said: {line}"))?))
/// })?;
///
/// let mut client = Client::connect(addr, LinesCodec::new(80))?;
/// client.set_read_timeout(Some(Duration::from_secs(5)));
/// client.write("hello")?;
/// assert_eq!(client.read()?.as_deref(), Some("you said: hello"));
/// client.finish()?; // the server sees the end, and ends its side
/// assert_eq!(client.read()?, None);
/// # server.stop(Duration::ZERO)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The limits are for whole packets: a peer that sends a byte now and then does not move them. A read has none at first,
/// a write 30 s. After [`ClientError::TimedOut`] nothing is lost, and the same call goes on; every other error of a read
/// is final.
///
/// To read and write at the same time, [`split`](Self::split) it. Dropped, it closes at once; [`close`](Self::close)
/// makes sure of what was written.
pub struct Client<C> {
    codec: C,
    input: Input,
    output: Output,
}

impl<C> Client<C> {
    /// Connects within 10 s; as [`connect_timeout`](Self::connect_timeout) otherwise.
    ///
    /// # Errors
    ///
    /// As [`connect_timeout`](Self::connect_timeout).
    pub fn connect(address: impl ToSocketAddrs, codec: C) -> Result<Self, ClientError> {
        Self::connect_timeout(address, CONNECT_LIMIT, codec)
    }

    /// Connects within `limit`. Of several addresses, as a host name may have, the first that answers is taken; the limit
    /// is for all of them together.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`], with the address that was tried last; [`ClientError::TimedOut`].
    pub fn connect_timeout(
        address: impl ToSocketAddrs,
        limit: Duration,
        codec: C,
    ) -> Result<Self, ClientError> {
        let begun = system_now();
        let resolved = address.to_socket_addrs();
        let addresses =
            resolved.map_err(|source| ClientError::Connect { address: None, source })?;
        let mut failure = None;
        for address in addresses {
            let left = limit.saturating_sub(system_now().saturating_duration_since(begun));
            if left.is_zero() {
                failure = Some(ClientError::TimedOut { during: "connect", limit, bytes: 0 });
                break;
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return Self::over(stream, codec),
                Err(source) if source.kind() == std::io::ErrorKind::TimedOut => {
                    failure = Some(ClientError::TimedOut { during: "connect", limit, bytes: 0 });
                }
                Err(source) => {
                    failure = Some(ClientError::Connect { address: Some(address), source });
                }
            }
        }
        Err(failure.unwrap_or_else(ClientError::no_address))
    }

    /// Takes over a connection that there is, which must be blocking.
    ///
    /// # Errors
    ///
    /// [`ClientError::Io`] when its addresses or options cannot be had: it has been reset, say.
    pub fn over(stream: TcpStream, codec: C) -> Result<Self, ClientError> {
        let option = |source| ClientError::Io { during: "setting up", source };
        stream.set_nodelay(true).map_err(option)?;
        let stream = Arc::new(stream);
        Ok(Self { codec, input: Input::new(Arc::clone(&stream)), output: Output::new(stream) })
    }

    /// This side's address.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.output.stream().local_addr()
    }

    /// The server's address.
    ///
    /// # Errors
    ///
    /// As `getpeername(2)`: when the connection has been reset.
    pub fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.output.stream().peer_addr()
    }

    /// How long [`read`](Self::read) waits for a whole packet. Default: `None`, for ever.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) {
        self.input.limit = limit;
    }

    /// How long [`write`](Self::write) waits for the peer to take a whole packet. Default: 30 s.
    pub fn set_write_timeout(&mut self, limit: Option<Duration>) {
        self.output.limit = limit;
    }

    /// Sends what an earlier write left unsent, when it timed out.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.output.flush()
    }

    /// Ends this side of the stream (a half-close). What the peer still sends can be read.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unsent`] after a write that timed out; [`ClientError::Io`].
    pub fn finish(&mut self) -> Result<(), ClientError> {
        self.output.finish()
    }
}

impl<C: Decoder> Client<C> {
    /// The next packet; `None` once the peer has ended its stream and everything in it has been read.
    ///
    /// # Errors
    ///
    /// - [`ClientError::TimedOut`] when no whole packet comes in time. What has come of one is kept for the next call.
    /// - [`ClientError::Protocol`], [`ClientError::Truncated`] and [`ClientError::Io`] end the reading:
    ///   [`ClientError::Broken`] from then on.
    ///
    /// What the protocol answers by itself (a pong, say) is sent while this waits for a packet.
    pub fn read(&mut self) -> Result<Option<C::Packet>, ClientError> {
        let Self { codec, input, output } = self;
        input.read(codec, |codec| output.speak(codec))
    }

    /// Closes with nothing lost: sends what is unsent, ends this side, and throws away what the peer sends until it ends
    /// its own, for 2 s at most. A protocol that has words for that says them. (A socket that is closed while input waits in
    /// it takes the last output down with it.)
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); [`ClientError::TimedOut`] when the peer does not end its side.
    pub fn close(mut self) -> Result<(), ClientError> {
        self.output.flush()?;
        self.output.take_leave(&mut self.codec, CloseReason::Local);
        self.output.flush()?;
        self.output.finish()?;
        self.input.discard(LINGER)
    }
}

impl<C> Client<C> {
    /// Sends a packet, and returns when the system has taken all of it.
    ///
    /// # Errors
    ///
    /// - [`ClientError::Encode`] when the codec refuses the packet; nothing of it was sent.
    /// - [`ClientError::TimedOut`] when the peer does not take it in time. The rest waits for [`flush`](Self::flush);
    ///   until that has succeeded, writes are refused with [`ClientError::Unsent`].
    /// - [`ClientError::Io`] when the connection failed.
    pub fn write<T>(&mut self, packet: T) -> Result<(), ClientError>
    where
        C: Encoder<T>,
    {
        self.output.write(&mut self.codec, packet)
    }
}

impl<C: Clone> Client<C> {
    /// The two directions, one for each thread. Each has a codec of its own.
    ///
    /// ```
    /// use wheelhouse::codec::LinesCodec;
    /// use wheelhouse::{Client, Server};
    ///
    /// # let server = Server::bind("127.0.0.1:0", LinesCodec::new(80))?;
    /// # let addr = server.local_addr();
    /// # let server = server.start(|_, conn| {
    /// #     conn.handlers().on_read(|_, conn, line| Ok(conn.write(line)?))
    /// # })?;
    /// let (mut reader, mut writer) = Client::connect(addr, LinesCodec::new(80))?.split();
    /// let hearing = std::thread::spawn(move || reader.read());
    /// writer.write("heard at the same time")?;
    /// let heard = hearing.join().expect("no panic")?;
    /// assert_eq!(heard.as_deref(), Some("heard at the same time"));
    /// # server.stop(std::time::Duration::ZERO)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn split(self) -> (ClientReader<C>, ClientWriter<C>) {
        let Self { codec, input, output } = self;
        (ClientReader { codec: codec.clone(), input }, ClientWriter { codec, output })
    }
}

/// What a [`Client`] reads, by itself. The connection closes when the reader and the writer are both gone.
pub struct ClientReader<C> {
    codec: C,
    input: Input,
}

impl<C: Decoder> ClientReader<C> {
    /// As [`Client::read`].
    ///
    /// # Errors
    ///
    /// As [`Client::read`].
    pub fn read(&mut self) -> Result<Option<C::Packet>, ClientError> {
        self.input.read(&mut self.codec, |_| Ok(()))
    }
}

impl<C> ClientReader<C> {
    /// As [`Client::set_read_timeout`].
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) {
        self.input.limit = limit;
    }
}

/// What a [`Client`] writes, by itself. The connection closes when the reader and the writer are both gone.
pub struct ClientWriter<C> {
    codec: C,
    output: Output,
}

impl<C> ClientWriter<C> {
    /// As [`Client::write`].
    ///
    /// # Errors
    ///
    /// As [`Client::write`].
    pub fn write<T>(&mut self, packet: T) -> Result<(), ClientError>
    where
        C: Encoder<T>,
    {
        self.output.write(&mut self.codec, packet)
    }

    /// As [`Client::flush`].
    ///
    /// # Errors
    ///
    /// As [`Client::write`].
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.output.flush()
    }

    /// As [`Client::set_write_timeout`].
    pub fn set_write_timeout(&mut self, limit: Option<Duration>) {
        self.output.limit = limit;
    }

    /// As [`Client::finish`]: the reader goes on.
    ///
    /// # Errors
    ///
    /// As [`Client::finish`].
    pub fn finish(&mut self) -> Result<(), ClientError> {
        self.output.finish()
    }

    /// Ends both directions at once: a reader that waits on another thread is told that the stream has ended.
    pub fn hang_up(self) {
        // An error: the connection is over already, and the reader knows.
        drop(self.output.stream().shutdown(Shutdown::Both));
    }
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("input", &self.input).field("output", &self.output).finish()
    }
}

impl<C> fmt::Debug for ClientReader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientReader").field("input", &self.input).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for ClientWriter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientWriter").field("output", &self.output).finish_non_exhaustive()
    }
}
