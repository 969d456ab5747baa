//! What the standard library and rustix do not offer, and all the `unsafe` of this package: the CPU clock of another
//! process, the signal that ends a server with its stdin, and a descriptor that a library keeps to itself.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

/// CPU time that a process has had, user and system, all its threads together, those that have ended among them.
///
/// This is the scheduler's own sum in nanoseconds; `/proc/PID/stat` would round it to ticks of 10 ms.
pub(crate) fn cpu_nanos(pid: u32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for the one value that the call writes.
    let failure = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if failure != 0 {
        return Err(io::Error::from_raw_os_error(failure));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the one value that the call writes.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// Has the kernel end this process when the other end of stdin, a pipe, is closed: when the parent asks for it, and
/// when the parent was killed. A thread that waits for it would make every call of the C library's allocator dearer.
///
/// SIGIO, which a pipe with O_ASYNC raises, ends a process by default.
pub(crate) fn end_with_stdin() -> io::Result<()> {
    let pid = std::process::id().cast_signed();
    // SAFETY: both calls take plain numbers, of a descriptor that is open for as long as the process lives.
    let failed = unsafe {
        libc::fcntl(0, libc::F_SETOWN, pid) < 0 || {
            let flags = libc::fcntl(0, libc::F_GETFL);
            flags < 0 || libc::fcntl(0, libc::F_SETFL, flags | libc::O_ASYNC) < 0
        }
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    // It may have been closed before the signal was armed.
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one valid entry, as the count says, and the timeout is zero.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if ready > 0 && poll.revents & libc::POLLHUP != 0 {
        std::process::exit(0);
    }
    Ok(())
}

/// Sets TCP_NODELAY on the listener of this process that has this address: accepted sockets inherit it.
///
/// For a library that neither sets the option nor hands out its sockets.
pub(crate) fn nodelay_on_listener(address: SocketAddr) -> Outcome<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        // SAFETY: the descriptor was open a moment ago, and this process, which has not begun to serve, closes none but
        // the listing's own; should it be that one, every call on it fails, which is minded.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = socket2::SockRef::from(&fd);
        let is_ours = socket.is_listener().unwrap_or(false)
            && socket.local_addr().is_ok_and(|local| local.as_socket() == Some(address));
        if is_ours {
            return Ok(socket.set_tcp_nodelay(true)?);
        }
    }
    Err(format!("no descriptor of this process listens on {address}").into())
}

/// Leaves the choice of a port to `connect`, though an address is bound: it may then take one that is in TIME_WAIT with
/// another peer.
pub(crate) fn choose_port_late(socket: &socket2::Socket) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the value is an int, as this option wants it, and as long as is said.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps this thread, and those that it will start, on one core.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(core);
    let pinned = sched_setaffinity(None, &set);
    pinned.map_err(|error| format!("cannot be kept on core {core}: {error}").into())
}

/// The cores that this process may run on.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> Outcome<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let resident = pages.split_whitespace().nth(1).ok_or("statm has no second field")?;
    Ok(resident.parse::<u64>()? * rustix::param::page_size() as u64)
}

/// Whether every thread of a process waits for something.
pub(crate) fn is_asleep(pid: u32) -> Outcome<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = match fs::read_to_string(thread?.path().join("stat")) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // it has ended since
            Err(error) => return Err(error.into()),
        };
        // The name before the state is in brackets, and may hold anything.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        if state != Some('S') {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_clock_of_this_process_goes_on_while_it_works() {
        let pid = std::process::id();
        let before = cpu_nanos(pid).expect("a clock");
        let mut sum = 0_u64;
        while cpu_nanos(pid).expect("a clock") < before + 2_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_clock() {
        assert!(cpu_nanos(1 << 22).is_err()); // Linux gives only numbers below
    }
}
