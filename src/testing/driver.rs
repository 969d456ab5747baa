//! The loop's side of the simulated network: a driver and the streams that it hands out.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;

use super::network::Network;
use super::pipe::{PeerSide, Pipe, Route, ServerSide};
use super::{Dial, Sleep};
use crate::io::stream::{Socket, Stream};
use crate::io::{Driver, News, Readiness, Timeout, WAKER, Wake};

impl Network {
    fn stream(&self, at: usize) -> Socket {
        let stream: Box<dyn Stream> = Box::new(SimStream { network: self.clone(), at });
        Socket::Custom(Box::new(stream))
    }
}

/// What one look takes where the loop looks again and again.
const LOOK_NANOS: u64 = 1_000;

/// The loop's view of the network.
pub(super) struct SimDriver(pub(super) Network);

impl Driver for SimDriver {
    fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()> {
        let mut net = self.0.0.borrow_mut();
        let was_woken = net.woken.swap(false, Ordering::AcqRel);
        net.sleep = match timeout.map(|timeout| timeout.span) {
            None => Sleep::Unlimited,
            Some(Duration::ZERO) => Sleep::None,
            Some(limit) => Sleep::AtMost(limit),
        };
        let mut told = Vec::new();
        net.tell(&mut told);
        net.has_told = was_woken || !told.is_empty();
        if was_woken {
            news.push(Readiness { token: WAKER, readable: true, writable: false, ending: false });
        }
        told.into_iter().for_each(|readiness| news.push(readiness));
        Ok(())
    }

    fn look(&mut self, news: &mut News) -> io::Result<()> {
        let mut net = self.0.0.borrow_mut();
        net.looks += 1;
        // Time stands still otherwise, and whoever looks until a time is over would look for ever.
        net.nanos.fetch_add(LOOK_NANOS, Ordering::Relaxed);
        drop(net);
        self.poll(Some(Timeout::NONE), news)
    }

    fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        let (at, peer) = self.0.0.borrow_mut().accept()?;
        Ok((self.0.stream(at), peer))
    }

    fn shed(&mut self) -> bool {
        let mut net = self.0.0.borrow_mut();
        let Some(at) = net.listener.as_mut().and_then(|listener| listener.backlog.pop_front())
        else {
            return false;
        };
        net.release(at);
        true
    }

    fn close_listener(&mut self) {
        let mut net = self.0.0.borrow_mut();
        let Some(listener) = net.listener.take() else { return };
        for at in listener.backlog {
            net.pipes[at].resets_on_close = true;
            net.release(at);
        }
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let mut net = self.0.0.borrow_mut();
        let plan = net.dials.pop_front().unwrap_or(Dial::Accept);
        if let Dial::Fail(kind) = plan {
            return Err(kind.into());
        }
        let local_addr = net.local_addr;
        let mut pipe = Pipe::new(address, local_addr, Route::Dialing(plan));
        pipe.reset_at = net.fate();
        let at = net.pipes.insert(pipe);
        net.dialled.push_back(at);
        net.unregistered = Some(at);
        drop(net);
        Ok(self.0.stream(at))
    }

    fn register(&mut self, _socket: &mut Socket, token: usize) -> io::Result<()> {
        let mut net = self.0.0.borrow_mut();
        let at = net.unregistered.take().expect("a socket is registered once, when it is new");
        if net.register_failures > 0 {
            net.register_failures -= 1;
            return Err(Errno::NOSPC.into());
        }
        net.pipes[at].register(token);
        Ok(())
    }

    fn stop_signals(&mut self) -> u32 {
        0
    }

    fn waker(&self) -> Wake {
        let woken = Arc::clone(&self.0.0.borrow().woken);
        Arc::new(move || woken.store(true, Ordering::Release))
    }
}

/// The server's end of a connection.
struct SimStream {
    network: Network,
    at: usize,
}

impl Stream for SimStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.network.0.borrow_mut().read(self.at, buf)
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.network.0.borrow_mut().write(self.at, bufs)
    }

    fn end(&mut self) -> io::Result<()> {
        let pipe = &mut self.network.0.borrow_mut().pipes[self.at];
        if matches!(pipe.peer, PeerSide::Reset { .. }) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        pipe.server = ServerSide::Ended;
        Ok(())
    }

    fn reset(&mut self) {
        self.network.0.borrow_mut().pipes[self.at].resets_on_close = true;
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.network.0.borrow().pipes[self.at].local_addr)
    }

    fn connected(&self) -> io::Result<()> {
        self.network.0.borrow_mut().pipes[self.at].connected()
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // Borrowed already only where a panic unwinds through the network itself.
        if let Ok(mut net) = self.network.0.try_borrow_mut() {
            net.release(self.at);
        }
    }
}
