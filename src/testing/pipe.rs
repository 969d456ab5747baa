//! One simulated connection: the bytes under way, what each end has done, and the edges that are still to be told.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};

use super::Dial;
use super::network::Network;
use crate::io::Readiness;

pub(super) struct Pipe {
    /// Under which the loop has registered the server's end.
    pub(super) token: Option<usize>,
    pub(super) peer_addr: SocketAddr,
    pub(super) local_addr: SocketAddr,
    pub(super) route: Route,
    pub(super) peer: PeerSide,
    pub(super) server: ServerSide,
    /// In the server's socket, not read yet.
    pub(super) arriving: BytesMut,
    /// What the peer has taken and the test has not.
    pub(super) received: Vec<u8>,
    /// How much more the peer takes.
    pub(super) window: usize,
    /// A write found no room: room that comes is news.
    pub(super) starved: bool,
    pub(super) edge_in: bool,
    pub(super) edge_out: bool,
    pub(super) resets_on_close: bool,
    /// The network resets the connection once so many bytes have passed, both ways together.
    pub(super) reset_at: Option<u64>,
    passed: u64,
    /// The network did reset it.
    cut: bool,
    pub(super) peer_dropped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Open,
    /// An outbound connection whose outcome is decided and not known yet.
    Dialing(Dial),
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PeerSide {
    Open,
    Ended,
    /// `told`: a read or a write has failed of it already.
    Reset {
        told: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ServerSide {
    Open,
    Ended,
    Closed,
    Reset,
}

impl Pipe {
    pub(super) fn new(peer_addr: SocketAddr, local_addr: SocketAddr, route: Route) -> Self {
        Self {
            token: None,
            peer_addr,
            local_addr,
            route,
            peer: PeerSide::Open,
            server: ServerSide::Open,
            arriving: BytesMut::new(),
            received: Vec::new(),
            window: usize::MAX,
            starved: false,
            edge_in: false,
            edge_out: false,
            resets_on_close: false,
            reset_at: None,
            passed: 0,
            cut: false,
            peer_dropped: false,
        }
    }

    // What the loop is told.

    /// What holds already is told to who registers.
    pub(super) fn register(&mut self, token: usize) {
        self.token = Some(token);
        self.edge_in = self.is_readable();
        self.edge_out = self.is_writable();
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.arriving.is_empty() || self.peer != PeerSide::Open || self.route == Route::Refused
    }

    fn is_writable(&self) -> bool {
        match self.route {
            Route::Open => self.window > 0 || matches!(self.peer, PeerSide::Reset { .. }),
            Route::Refused => true,
            Route::Dialing(_) => false,
        }
    }

    pub(super) fn has_news(&self) -> bool {
        let decided = matches!(self.route, Route::Dialing(Dial::Accept | Dial::Refuse));
        self.token.is_some() && (self.edge_in || self.edge_out || decided)
    }

    /// Uses the edges up, and tells all that holds now.
    pub(super) fn take_news(&mut self) -> Option<Readiness> {
        let token = self.token?;
        self.edge_in = false;
        self.edge_out = false;
        let (readable, writable) = (self.is_readable(), self.is_writable());
        // Room that was gone again before it could be told: as a poll of TCP does, this one asks for the next edge.
        self.starved |= !writable;
        let ending = self.peer != PeerSide::Open || self.route == Route::Refused;
        (readable || writable).then_some(Readiness { token, readable, writable, ending })
    }

    /// The outcome of an outbound connection becomes known.
    pub(super) fn settle_dial(&mut self) {
        self.route = match self.route {
            Route::Dialing(Dial::Accept) if self.token.is_some() => Route::Open,
            Route::Dialing(Dial::Refuse) if self.token.is_some() => Route::Refused,
            _ => return,
        };
        self.edge_in = true;
        self.edge_out = true;
    }

    pub(super) fn connected(&mut self) -> io::Result<()> {
        match (self.route, self.peer) {
            (Route::Dialing(_), _) => Err(io::ErrorKind::NotConnected.into()),
            (Route::Refused, _) => Err(io::ErrorKind::ConnectionRefused.into()),
            (Route::Open, PeerSide::Reset { .. }) => Err(io::ErrorKind::ConnectionReset.into()),
            (Route::Open, _) => Ok(()),
        }
    }

    // The server's calls.

    /// Fills `buf` with what has arrived. `more`: the rest of it comes a moment later, which is news.
    pub(super) fn read(
        &mut self,
        buf: &mut [u8],
        more: bool,
        cuts_loose: bool,
    ) -> io::Result<usize> {
        if !buf.is_empty() {
            self.arriving.copy_to_slice(buf);
            self.edge_in |= more;
            self.pass(buf.len(), cuts_loose);
            return Ok(buf.len());
        }
        match self.peer {
            PeerSide::Open => Err(io::ErrorKind::WouldBlock.into()),
            PeerSide::Ended | PeerSide::Reset { told: true } => Ok(0),
            PeerSide::Reset { told: false } => {
                self.peer = PeerSide::Reset { told: true };
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }

    pub(super) fn check_writable(&mut self) -> io::Result<()> {
        if self.server != ServerSide::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.route != Route::Open {
            return Err(io::ErrorKind::NotConnected.into());
        }
        match self.peer {
            PeerSide::Open | PeerSide::Ended => Ok(()),
            PeerSide::Reset { told: true } => Err(io::ErrorKind::BrokenPipe.into()),
            PeerSide::Reset { told: false } => {
                self.peer = PeerSide::Reset { told: true };
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }

    /// The peer takes the first `takes` bytes; if `cuts_loose`, only those before the byte at which the connection breaks,
    /// though the server has been told that all were taken.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], takes: usize, cuts_loose: bool) {
        let before_the_break = self
            .reset_at
            .filter(|_| cuts_loose)
            .map_or(takes, |at| usize::try_from(at - self.passed).unwrap_or(usize::MAX));
        let mut left = takes.min(before_the_break);
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            left -= part.len();
            if !self.peer_dropped {
                self.received.extend_from_slice(part);
            }
        }
        if self.window != usize::MAX {
            self.window -= takes;
        }
        self.pass(takes, cuts_loose);
    }

    /// Bytes have passed; at a byte that the seed chose, the connection breaks. `cuts_loose`: what had arrived is lost.
    fn pass(&mut self, bytes: usize, cuts_loose: bool) {
        self.passed += bytes as u64;
        if self.reset_at.is_some_and(|at| self.passed >= at) {
            self.reset_at = None;
            self.cut = true;
            if cuts_loose {
                self.arriving.clear();
            }
            self.break_off();
        }
    }

    // The peer's doings.

    fn break_off(&mut self) {
        if !matches!(self.peer, PeerSide::Reset { .. }) {
            self.peer = PeerSide::Reset { told: false };
            self.edge_in = true;
            self.edge_out = true;
        }
    }

    fn end(&mut self) {
        if self.peer == PeerSide::Open {
            self.peer = PeerSide::Ended;
            self.edge_in = true;
        }
    }
}

/// The far end of one connection, scripted by the test.
///
/// Nothing here blocks, and nothing happens on the server's side before the simulation takes a turn. Dropping it ends its
/// stream; what the server writes after that is taken and lost.
pub struct Peer {
    network: Network,
    at: usize,
}

impl Peer {
    pub(super) fn new(network: Network, at: usize) -> Self {
        Self { network, at }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Pipe) -> R) -> R {
        work(&mut self.network.0.borrow_mut().pipes[self.at])
    }

    /// The address that the server sees.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.with(|pipe| pipe.peer_addr)
    }

    /// Sends bytes: they are in the server's socket at once. To a server that has closed its end they are lost, and the
    /// answer is a reset, as TCP would have it; on a connection that has been reset they are lost in silence.
    ///
    /// # Panics
    ///
    /// When this peer has ended its stream: the script is at fault.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.with(|pipe| match (pipe.peer, pipe.server) {
            (PeerSide::Ended, _) => panic!("the peer sends after it has ended its stream"),
            (PeerSide::Reset { .. }, _) | (_, ServerSide::Reset) => {}
            (PeerSide::Open, ServerSide::Closed) => pipe.server = ServerSide::Reset,
            (PeerSide::Open, ServerSide::Open | ServerSide::Ended) => {
                pipe.arriving.extend_from_slice(bytes.as_ref());
                pipe.edge_in = true;
            }
        });
    }

    /// Ends its side of the stream, as `shutdown(SHUT_WR)`: it still takes what the server writes.
    pub fn end(&self) {
        self.with(Pipe::end);
    }

    /// Resets the connection.
    pub fn reset(&self) {
        self.with(Pipe::break_off);
    }

    /// Takes so many more bytes, and then none: a peer that reads slowly, or not at all. At first there is no limit
    /// (`usize::MAX`).
    pub fn window(&self, bytes: usize) {
        self.with(|pipe| {
            pipe.window = bytes;
            if bytes > 0 && std::mem::take(&mut pipe.starved) {
                pipe.edge_out = true;
            }
        });
    }

    /// What has come from the server, and has not been taken by [`take_received`](Self::take_received).
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.with(|pipe| pipe.received.clone())
    }

    /// Takes what has come from the server.
    pub fn take_received(&self) -> Vec<u8> {
        self.with(|pipe| std::mem::take(&mut pipe.received))
    }

    /// Bytes that this peer has sent and the server has not read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.with(|pipe| pipe.arriving.len())
    }

    /// Whether the server has ended its side of the stream, by half or altogether, without a reset.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.with(|pipe| matches!(pipe.server, ServerSide::Ended | ServerSide::Closed))
    }

    /// Whether the server has let go of the connection, in whatever way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.with(|pipe| matches!(pipe.server, ServerSide::Closed | ServerSide::Reset))
    }

    /// Whether the server has reset the connection: by an abort, by a close with input unread, or by not being there.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.with(|pipe| pipe.server == ServerSide::Reset)
    }

    /// Whether [`Faults::resets`](super::Faults::resets) has cut the connection.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.with(|pipe| pipe.cut)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Ok(mut net) = self.network.0.try_borrow_mut() {
            let pipe = &mut net.pipes[self.at];
            pipe.end();
            pipe.peer_dropped = true;
            pipe.received = Vec::new();
            pipe.window = usize::MAX;
            if std::mem::take(&mut pipe.starved) {
                pipe.edge_out = true;
            }
            net.forget_if_done(self.at);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|pipe| {
            f.debug_struct("Peer")
                .field("address", &pipe.peer_addr)
                .field("route", &pipe.route)
                .field("peer", &pipe.peer)
                .field("server", &pipe.server)
                .field("unread", &pipe.arriving.len())
                .field("received", &pipe.received.len())
                .finish()
        })
    }
}
