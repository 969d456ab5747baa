//! A connected socket: bytes in, bytes out, the end of a stream.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;

use crate::buffer::{MAX_SLICES, WriteBuffer};

/// A byte stream that never blocks: what a connection runs on.
///
/// TCP is one, without a detour; tests bring others.
pub(crate) trait Stream {
    /// Reads what there is, as `read(2)`: 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing now; anything else ends the connection.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as fits, as `write(2)`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing fits now; anything else ends the connection.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize>;

    /// Writes as much as fits of several slices, in order, as `writev(2)`.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends this side of the stream, as `shutdown(SHUT_WR)`.
    ///
    /// # Errors
    ///
    /// When the connection is gone already.
    fn end(&mut self) -> io::Result<()>;

    /// Makes the close that follows a reset rather than an end.
    fn reset(&mut self);

    /// This side's address.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// What became of a connection that was being made: `SO_ERROR`, then whether there is a peer.
    ///
    /// # Errors
    ///
    /// Why there is no connection; `NotConnected` while it is still being made.
    fn connected(&self) -> io::Result<()>;
}

/// TCP, without a detour, or anything else.
pub(crate) enum Socket {
    Tcp(TcpStream),
    /// Boxed twice, to keep the common case small.
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "tests bring these")
    )]
    Custom(Box<Box<dyn Stream>>),
}

impl Socket {
    #[inline(always)]
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => {
                tcp.try_io(|| match rustix::net::recv(&*tcp, buf, RecvFlags::empty()) {
                    Ok((_, got)) => Ok(got),
                    Err(errno) => refused(errno),
                })
            }
            Self::Custom(stream) => read_custom(stream.as_mut(), buf),
        }
    }

    /// Writes the front of a buffer: by a plain write where it is in one place, otherwise by a vectored one.
    #[inline(always)]
    pub(crate) fn write_from(&mut self, buffer: &WriteBuffer) -> io::Result<usize> {
        match (self, buffer.contiguous()) {
            (Self::Tcp(tcp), Some(bytes)) => {
                tcp.try_io(|| match rustix::net::send(&*tcp, bytes, no_signal()) {
                    Ok(taken) => Ok(taken),
                    Err(errno) => refused(errno),
                })
            }
            (Self::Custom(stream), Some(bytes)) => write_custom(stream.as_mut(), bytes),
            (socket, None) => socket.write_vectored(buffer),
        }
    }

    #[cold]
    fn write_vectored(&mut self, buffer: &WriteBuffer) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let filled = buffer.fill_slices(&mut slices);
        match self {
            Self::Tcp(tcp) => send_vectored(tcp, &slices[..filled]),
            Self::Custom(stream) => stream.write_vectored(&slices[..filled]),
        }
    }

    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.shutdown(std::net::Shutdown::Write),
            Self::Custom(stream) => stream.end(),
        }
    }

    pub(crate) fn reset(&mut self) {
        match self {
            // Without it the close is an ordinary one: nothing more to be done about a failure.
            Self::Tcp(tcp) => drop(SockRef::from(&*tcp).set_linger(Some(Duration::ZERO))),
            Self::Custom(stream) => stream.reset(),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr(),
            Self::Custom(stream) => stream.local_addr(),
        }
    }

    pub(crate) fn connected(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => match tcp.take_error()? {
                Some(error) => Err(error),
                None => tcp.peer_addr().map(drop),
            },
            Self::Custom(stream) => stream.connected(),
        }
    }
}

// Cold, so that the compiler lays out the path of TCP.

/// The system's own refusal. In line the compiler would make an error out of every result, and then look which it was.
#[cold]
fn refused(errno: Errno) -> io::Result<usize> {
    Err(errno.into())
}

#[cold]
fn read_custom(stream: &mut Box<dyn Stream>, buf: &mut [u8]) -> io::Result<usize> {
    stream.read(buf)
}

#[cold]
fn write_custom(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<usize> {
    stream.write(bytes)
}

/// `sendmsg` with `MSG_NOSIGNAL`: where the host program has not ignored SIGPIPE, a plain `writev` to a peer that has gone
/// would kill the process.
fn send_vectored(tcp: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(tcp).send_vectored_with_flags(slices, no_signal().bits() as i32)
}

#[cfg(not(target_vendor = "apple"))]
fn no_signal() -> SendFlags {
    SendFlags::NOSIGNAL
}

/// There the option is the socket's (`SO_NOSIGPIPE`), and the standard library sets it on each.
#[cfg(target_vendor = "apple")]
fn no_signal() -> SendFlags {
    SendFlags::empty()
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => tcp.fmt(f),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}
