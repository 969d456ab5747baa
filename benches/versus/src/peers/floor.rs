//! The floor: what the kernel's calls cost by themselves, and nothing else. Not a server.
//!
//! One buffer for all connections, read into and written from; what a peer does not take is set aside, and that peer is
//! not read from until it has taken it. An error ends a connection in silence. What a frame is does not matter here: its
//! answer is the same bytes. (For a broadcast that holds as long as each read brings whole frames, which a load of one
//! small frame at a time sees to.)
//!
//! rustix makes its calls in line, without the C library: the loop costs no more than one over libc.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::io::{Errno, read};
use rustix::net::{SendFlags, SocketFlags, accept_with, send};

use crate::Outcome;
use crate::plan::Work;

const LISTENER: u64 = u64::MAX;

/// As large as wheelhouse's.
const BUFFER: usize = 64 * 1024;

/// One connection, and what a kind of server keeps for it.
pub(super) struct Open<T> {
    socket: OwnedFd,
    /// What the peer has not taken.
    unsent: Vec<u8>,
    pub(super) kept: T,
}

/// Connections by slot, and the poll that knows them.
pub(super) struct Sockets<T> {
    epoll: OwnedFd,
    open: Vec<Option<Open<T>>>,
    free: Vec<usize>,
}

impl<T: Default> Sockets<T> {
    pub(super) fn new(listener: &TcpListener) -> Outcome<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, listener, data, epoll::EventFlags::IN)?;
        Ok(Self { epoll, open: Vec::new(), free: Vec::new() })
    }

    fn accept(&mut self, listener: &TcpListener) -> Outcome<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.open.push(None);
                self.open.len() - 1
            });
            let data = epoll::EventData::new_u64(slot as u64);
            let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &socket, data, interest)?;
            self.open[slot] = Some(Open { socket, unsent: Vec::new(), kept: T::default() });
        }
    }

    /// Waits, accepts, and calls `on_read` with what each connection brought, for ever.
    pub(super) fn run(
        &mut self,
        listener: &TcpListener,
        mut on_read: impl FnMut(&mut Self, usize, &mut [u8]) -> rustix::io::Result<()>,
    ) -> Outcome<()> {
        let mut buffer = vec![0; BUFFER];
        let mut events = Vec::with_capacity(1_024);
        loop {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                if event.data.u64() == LISTENER {
                    self.accept(listener)?;
                } else {
                    self.serve(event.data.u64() as usize, &mut buffer, &mut on_read);
                }
            }
        }
    }

    #[inline]
    fn serve(
        &mut self,
        slot: usize,
        buffer: &mut [u8],
        on_read: &mut impl FnMut(&mut Self, usize, &mut [u8]) -> rustix::io::Result<()>,
    ) {
        while let Some(open) = &mut self.open[slot] {
            if !open.unsent.is_empty() {
                let unsent = std::mem::take(&mut open.unsent);
                if open.send(&unsent).is_err() {
                    break;
                }
                if !open.unsent.is_empty() {
                    return;
                }
            }
            let count = match read(&open.socket, &mut *buffer) {
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            if on_read(self, slot, &mut buffer[..count]).is_err() {
                break;
            }
            // Less than was asked for: there is no more. (An edge tells when what is unsent may go on.)
            if count < buffer.len() {
                return;
            }
        }
        self.open[slot] = None; // closes it, and so takes it from the poll
        self.free.push(slot);
    }

    #[inline]
    pub(super) fn get(&mut self, slot: usize) -> Option<&mut Open<T>> {
        self.open[slot].as_mut()
    }
}

impl<T> Open<T> {
    /// Writes all of it, or sets the rest aside.
    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8]) -> rustix::io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let count = match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => 0,
            result => result?,
        };
        self.unsent.extend_from_slice(&bytes[count..]);
        Ok(())
    }
}

pub(crate) fn serve(listener: &TcpListener, work: Work) -> Outcome<()> {
    let mut sockets = Sockets::<()>::new(listener)?;
    match work {
        Work::Broadcast => sockets.run(listener, |sockets, _, bytes| {
            sockets.open.iter_mut().flatten().try_for_each(|open| open.send(bytes))
        }),
        _ => sockets.run(listener, |sockets, slot, bytes| match sockets.get(slot) {
            Some(open) => open.send(bytes),
            None => Ok(()),
        }),
    }
}
