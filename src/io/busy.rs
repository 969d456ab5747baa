//! A driver that looks for news again and again before it sleeps: [`Config::busy_poll`](crate::Config::busy_poll).
//!
//! It stands around another driver, and only where it was asked for, so that a loop without it passes nothing of it. A
//! look is a poll that does not sleep. The time for looking begins when a poll is first asked for after something was
//! there to do, and is not begun anew by a sleep that ended for nothing, such as a signal or an alarm that has moved.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::stream::Socket;
use super::{Driver, News, Timeout, Wake};
use crate::clock::{Clock, Tick};

pub(super) struct BusyPoll {
    driver: Box<dyn Driver>,
    clock: Clock,
    /// For how long it looks before it sleeps.
    limit: Duration,
    /// When the looking ends; `None` where there was something to do, so that it begins anew.
    until: Option<Tick>,
}

impl BusyPoll {
    pub(super) fn new(driver: Box<dyn Driver>, limit: Duration, clock: Clock) -> Self {
        Self { driver, clock, limit, until: None }
    }

    /// Looks until there is news, or the time for it is over, or that for sleeping is. Returns what is left for the sleep;
    /// nothing where there is news, or no sleep is wanted any more.
    fn look(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<Rest> {
        let mut now = self.clock.fresh();
        let until = *self.until.get_or_insert(now + self.limit);
        while now < until {
            self.driver.look(news)?;
            if news.is_something() {
                return Ok(Rest::None);
            }
            now = self.clock.fresh();
            if timeout.is_some_and(|timeout| timeout.at <= now) {
                return Ok(Rest::None);
            }
        }
        let left = |Timeout { at, .. }: Timeout| Timeout { span: at.since(now), at };
        Ok(Rest::Sleep(timeout.map(left)))
    }
}

/// What is to be done after looking.
enum Rest {
    None,
    Sleep(Option<Timeout>),
}

impl Driver for BusyPoll {
    fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()> {
        news.of_waker = false; // nobody else asks for it
        let is_look = timeout.is_some_and(|timeout| timeout.span.is_zero());
        if is_look {
            self.until = None; // something was left to do, here or in the caller's own loop
            return self.driver.poll(timeout, news);
        }
        if let Rest::Sleep(left) = self.look(timeout, news)? {
            self.driver.poll(left, news)?;
        }
        let is_over = || timeout.is_some_and(|timeout| timeout.at <= self.clock.fresh());
        if news.is_something() || is_over() {
            self.until = None;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        self.driver.accept()
    }

    fn shed(&mut self) -> bool {
        self.driver.shed()
    }

    fn close_listener(&mut self) {
        self.driver.close_listener();
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket> {
        self.driver.connect(address)
    }

    fn register(&mut self, socket: &mut Socket, token: usize) -> io::Result<()> {
        self.driver.register(socket, token)
    }

    fn stop_signals(&mut self) -> u32 {
        self.driver.stop_signals()
    }

    fn waker(&self) -> Wake {
        self.driver.waker()
    }
}

#[cfg(test)]
mod tests;
