//! Connections that come, echo one message, and go in good order: this side ends first, and the life is over when the
//! server has ended its own. So all that a server does for a connection lies within the round.
//!
//! Each of the places under way has a loopback address of its own, so that ports in TIME_WAIT do not run out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::{Errno, read};
use rustix::net::{SendFlags, send};
use socket2::{Domain, Protocol, Socket, Type};

use super::wire::Wire;
use super::{BUFFER, Tally, await_news, events};
use crate::plan::Cell;
use crate::{Outcome, os};

/// One life after another.
struct Place {
    number: u32,
    socket: Socket,
    step: Step,
    begun: Instant,
    /// Lives that it has had.
    lives: u64,
}

#[derive(PartialEq)]
enum Step {
    Connecting,
    /// The message is sent; so much of its answer has come.
    Asked {
        answered: usize,
    },
    /// This side has ended.
    Leaving,
    /// The round has no time for another life. The poll may still tell of the last one.
    Over,
}

/// Keeps as many lives under way as the cell has connections, and ends when those begun within `length` are over.
pub(super) fn round(cell: &Cell, port: u16, length: Duration) -> Outcome<Tally> {
    let mut wire = Wire::new(cell.work, cell.payload, 1);
    let mut tally = Tally::new()?;
    let mut buffer = vec![0; BUFFER];
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let end = Instant::now() + length;
    let mut places = Vec::new();
    for number in 0..u32::try_from(cell.connections)? {
        let socket = begin(&epoll, number, port)?;
        let begun = Instant::now();
        places.push(Place { number, socket, step: Step::Connecting, begun, lives: 0 });
    }
    let mut under_way = places.len();
    let mut events = events();
    while under_way > 0 {
        await_news(&epoll, &mut events)?;
        for event in &events {
            let place = &mut places[event.data.u64() as usize];
            if !place.go_on(&mut wire, &mut buffer)? {
                continue;
            }
            let now = Instant::now();
            tally.record(now - place.begun);
            tally.messages += 1;
            if now < end {
                place.socket = begin(&epoll, place.number, port)?;
                (place.step, place.begun, place.lives) = (Step::Connecting, now, place.lives + 1);
            } else {
                place.step = Step::Over;
                under_way -= 1;
            }
        }
    }
    Ok(tally)
}

/// A connection from the place's own address, on its way.
fn begin(epoll: &rustix::fd::OwnedFd, number: u32, port: u16) -> Outcome<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    os::choose_port_late(&socket)?;
    let [_, _, high, low] = number.to_be_bytes();
    let own = Ipv4Addr::new(127, 1, high, low);
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    match socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(format!("{own} cannot connect: {error}").into()),
    }
    let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(epoll, &socket, epoll::EventData::new_u64(number.into()), interest)?;
    Ok(socket)
}

impl Place {
    /// Takes the steps that can be taken; says whether this life is over.
    fn go_on(&mut self, wire: &mut Wire, buffer: &mut [u8]) -> Outcome<bool> {
        if self.step == Step::Over {
            return Ok(false);
        }
        if self.step == Step::Connecting {
            let message = wire.request(self.number, self.lives);
            match send(&self.socket, message, SendFlags::NOSIGNAL) {
                Ok(count) if count == message.len() => self.step = Step::Asked { answered: 0 },
                Ok(count) => return Err(format!("a new socket took only {count} bytes").into()),
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(self.failed("send", error)),
            }
        }
        loop {
            let count = match read(&self.socket, &mut *buffer) {
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(self.failed("read", error)),
                Ok(count) => count,
            };
            match &mut self.step {
                Step::Asked { answered } if count > 0 => {
                    wire.verify(self.number, self.lives, *answered, &buffer[..count])?;
                    *answered += count;
                    if *answered == wire.reply_len() {
                        self.socket.shutdown(std::net::Shutdown::Write)?;
                        self.step = Step::Leaving;
                    }
                }
                Step::Leaving if count == 0 => return Ok(true),
                _ => {
                    return Err(format!("place {}: {count} bytes unlooked for", self.number).into());
                }
            }
        }
    }

    fn failed(&self, what: &str, error: Errno) -> Box<dyn std::error::Error + Send + Sync> {
        format!("place {}, life {}: cannot {what}: {error}", self.number, self.lives).into()
    }
}
