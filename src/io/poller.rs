//! The real driver: mio's poll over a listener, the connections, the waker, the alarm and, where asked for, the signals.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

#[cfg(feature = "signals")]
use super::SIGNALS;
use super::alarm::Alarm;
use super::listener::SpareDescriptor;
use super::stream::Socket;
use super::{ALARM, Driver, LAST_OWN_TOKEN, LISTENER, News, Readiness, Timeout, WAKER, Wake};

/// News that one poll can bring.
const EVENTS: usize = 1_024;

/// The longest sleep asked for: a poll that woke for nothing once in an hour costs nothing, and no wider range is trusted.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

pub(crate) struct MioDriver {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// None where the system has none, or no descriptor left for it.
    alarm: Option<Alarm>,
    listener: Option<TcpListener>,
    spare: SpareDescriptor,
    #[cfg(feature = "signals")]
    signals: Option<signal_hook_mio::v1_0::Signals>,
}

impl MioDriver {
    /// # Errors
    ///
    /// When the system has no descriptor left for the poll, the waker or the signals.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER))?);
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
        // The alarm comes last, so that it takes no descriptor from these.
        let spare = SpareDescriptor::new();
        let alarm = Alarm::new(poll.registry(), Token(ALARM)).ok();
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            waker,
            alarm,
            listener: Some(listener),
            spare,
            #[cfg(feature = "signals")]
            signals: None,
        })
    }

    /// Takes SIGINT and SIGTERM over from their defaults, for the whole process.
    #[cfg(feature = "signals")]
    pub(crate) fn watch_stop_signals(&mut self) -> io::Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook_mio::v1_0::Signals::new([SIGINT, SIGTERM])?;
        self.poll.registry().register(&mut signals, Token(SIGNALS), Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }
}

impl MioDriver {
    /// Sets the alarm for the end of a sleep, and says how long the poll itself may take.
    #[inline]
    fn prepare_sleep(&mut self, timeout: Timeout) -> Duration {
        if let Some(alarm) = &mut self.alarm {
            alarm.set(timeout);
        }
        // mio rounds up to whole milliseconds at most, so a timer never fires early.
        timeout.span.min(LONGEST_SLEEP)
    }
}

impl Driver for MioDriver {
    #[inline(always)]
    fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()> {
        let longest = timeout.map(|timeout| self.prepare_sleep(timeout));
        if let Err(error) = self.poll.poll(&mut self.events, longest) {
            return unless_interrupted(error);
        }
        for event in &self.events {
            let token = event.token().0;
            if token <= LAST_OWN_TOKEN {
                note_own(token, &mut self.alarm, news);
                continue;
            }
            news.push(Readiness {
                token,
                readable: event.is_readable(),
                writable: event.is_writable(),
                ending: event.is_read_closed() || event.is_error(),
            });
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        let Some(listener) = &self.listener else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        listener.accept().map(|(tcp, peer)| (Socket::Tcp(tcp), peer))
    }

    fn shed(&mut self) -> bool {
        let Some(listener) = &self.listener else { return false };
        self.spare.lend(|| listener.accept().map(drop).is_ok())
    }

    fn close_listener(&mut self) {
        self.listener = None;
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        Ok(Socket::Tcp(tcp))
    }

    fn register(&mut self, socket: &mut Socket, token: usize) -> io::Result<()> {
        let Socket::Tcp(tcp) = socket else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "only a TCP socket has a descriptor to poll",
            ));
        };
        self.poll.registry().register(tcp, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    #[cfg(feature = "signals")]
    fn stop_signals(&mut self) -> u32 {
        let pending = self.signals.as_mut().map_or(0, |signals| signals.pending().count());
        u32::try_from(pending).unwrap_or(u32::MAX)
    }

    #[cfg(not(feature = "signals"))]
    fn stop_signals(&mut self) -> u32 {
        0
    }

    fn waker(&self) -> Wake {
        let waker = Arc::clone(&self.waker);
        // It can fail only where the loop's own poll is gone, and then there is nobody to wake.
        Arc::new(move || drop(waker.wake()))
    }
}

/// News that are no connection's.
#[cold]
fn note_own(token: usize, alarm: &mut Option<Alarm>, news: &mut News) {
    match token {
        ALARM => alarm.iter_mut().for_each(Alarm::rang),
        other => news.note_own(other),
    }
}

/// A signal cut the sleep short: no news.
#[cold]
fn unless_interrupted(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
