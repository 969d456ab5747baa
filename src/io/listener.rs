//! The listening socket, the table of descriptors, and the spare one that keeps it answering when there are none left.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

/// Listens on the first of the addresses that can be bound.
///
/// # Errors
///
/// The last address's error, with the address in its message.
pub(crate) fn bind(
    addresses: impl ToSocketAddrs,
    backlog: u32,
) -> io::Result<std::net::TcpListener> {
    let mut failure = None;
    for address in addresses.to_socket_addrs()? {
        match bind_one(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let message = format!("cannot listen on {address}: {error}");
                failure = Some(io::Error::new(error.kind(), message));
            }
        }
    }
    Err(failure.unwrap_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing to listen on")
    }))
}

fn bind_one(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that is started again takes its port over from connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(clamp(backlog))?;
    Ok(socket.into())
}

/// `listen` again changes the backlog of a listener that is already there.
pub(crate) fn set_backlog(listener: &std::net::TcpListener, backlog: u32) -> io::Result<()> {
    SockRef::from(listener).listen(clamp(backlog))
}

/// The widest that the table is made in advance, in descriptors; the kernel takes 8 bytes for each.
const WIDEST: usize = 16_384;

/// Has the kernel widen the process's table of descriptors now, for so many connections, rather than in the middle of an
/// `accept`.
///
/// It doubles the table whenever it is full, and where the process has threads it first waits until none of them can be
/// looking at the old one. That takes 10 to 30 ms, for which the loop, and whoever else wants a descriptor, stands still.
pub(crate) fn widen_table(listener: &std::net::TcpListener, connections: usize) {
    // A duplicate with a high number, closed again: the table does not shrink. Where the process may not have so high a
    // number, the table grows as it would have.
    let number = i32::try_from(connections.min(WIDEST)).unwrap_or_default();
    drop(rustix::io::fcntl_dupfd_cloexec(listener, number));
}

fn clamp(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// What is to be done about a failed `accept`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AcceptFailure {
    /// The backlog is empty.
    Drained,
    /// That one peer is gone, or a signal came between: the next is to be had at once.
    Transient,
    /// Out of descriptors or memory: the backlog waits until some come back.
    Exhausted,
    /// Anything else: it may pass, so accepting rests and is tried again.
    Other,
}

/// Sorts the errors of `accept(2)`.
pub(crate) fn sort_accept_error(error: &io::Error) -> AcceptFailure {
    use rustix::io::Errno;
    match error.kind() {
        io::ErrorKind::WouldBlock => return AcceptFailure::Drained,
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {
            return AcceptFailure::Transient;
        }
        _ => {}
    }
    match Errno::from_io_error(error) {
        // The network's errors of that one connection, which Linux reports through accept.
        Some(
            Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH,
        ) => AcceptFailure::Transient,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            AcceptFailure::Exhausted
        }
        _ => AcceptFailure::Other,
    }
}

/// A descriptor that is kept open to be given up.
///
/// With the table full, `accept` cannot take a peer off the backlog even to turn it away, and an edge-triggered poll does
/// not tell of it again. Giving this one up makes room for just that.
#[derive(Debug)]
pub(crate) struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    pub(crate) fn new() -> Self {
        let mut spare = Self(None);
        spare.restore();
        spare
    }

    /// Gives the descriptor up for the time of `work`, if there is one. Says what `work` said.
    pub(crate) fn lend(&mut self, work: impl FnOnce() -> bool) -> bool {
        if self.0.take().is_none() {
            self.restore();
            return false;
        }
        let done = work();
        self.restore();
        done
    }

    /// Fails silently while there is none to be had: the next call tries again.
    fn restore(&mut self) {
        self.0 = File::open("/dev/null").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_to_listen_names_the_address() {
        let first = bind("127.0.0.1:0", 1).expect("a free port");
        let address = first.local_addr().expect("an address");
        let error = bind(address, 1).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_table_is_widened_up_to_a_bound() {
        let slots = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("a status");
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
            line.and_then(|slots| slots.trim().parse::<usize>().ok()).expect("the table's size")
        };
        let listener = bind("127.0.0.1:0", 1).expect("a free port");
        widen_table(&listener, 700);
        assert!(slots() > 700, "{} slots", slots());
        widen_table(&listener, usize::MAX);
        assert!(slots() <= 2 * WIDEST, "{} slots", slots());
    }

    #[test]
    fn every_accept_error_has_its_place() {
        use AcceptFailure::{Drained, Exhausted, Other, Transient};
        use rustix::io::Errno;
        for (errno, place) in [
            (Errno::AGAIN, Drained),
            (Errno::INTR, Transient),
            (Errno::CONNABORTED, Transient),
            (Errno::PROTO, Transient),
            (Errno::MFILE, Exhausted),
            (Errno::NFILE, Exhausted),
            (Errno::NOBUFS, Exhausted),
            (Errno::NOMEM, Exhausted),
            (Errno::PERM, Other),
            (Errno::INVAL, Other),
        ] {
            assert_eq!(sort_accept_error(&errno.into()), place, "{errno:?}");
        }
    }

    #[test]
    fn the_spare_descriptor_comes_back_after_each_loan() {
        let mut spare = SpareDescriptor::new();
        for _ in 0..3 {
            let mut lent = false;
            assert!(spare.lend(|| {
                lent = true;
                true
            }));
            assert!(lent);
        }
    }
}
