//! Looking and sleeping, on a driver that counts both: scripted, with a clock that each look moves, and the real one.

use std::cell::{Cell, RefCell};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::io::poller::MioDriver;
use crate::io::{LISTENER, Readiness, WAKER};

/// What one look takes, where the clock is scripted.
const LOOK: Duration = Duration::from_micros(1);

const LIMIT: Duration = Duration::from_micros(50);

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn news_of(token: usize) -> Readiness {
    Readiness { token, readable: true, writable: false, ending: false }
}

/// What a driver was asked for.
#[derive(Default)]
struct Asked {
    looks: Cell<u64>,
    /// Polls, with the length of the sleep that each may take.
    polls: RefCell<Vec<Option<Duration>>>,
}

/// Tells one piece of news, at the look with this number or at the sleep.
struct Scripted {
    nanos: Arc<AtomicU64>,
    asked: Rc<Asked>,
    at_look: Rc<Cell<Option<(u64, Readiness)>>>,
    at_sleep: Rc<Cell<Option<Readiness>>>,
}

impl Driver for Scripted {
    fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()> {
        self.asked.polls.borrow_mut().push(timeout.map(|timeout| timeout.span));
        self.at_sleep.take().into_iter().for_each(|readiness| news.push(readiness));
        Ok(())
    }

    fn look(&mut self, news: &mut News) -> io::Result<()> {
        self.nanos.fetch_add(LOOK.as_nanos() as u64, Ordering::Relaxed);
        self.asked.looks.set(self.asked.looks.get() + 1);
        if let Some((_, readiness)) =
            self.at_look.get().filter(|(at, _)| *at == self.asked.looks.get())
        {
            news.push(readiness);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn shed(&mut self) -> bool {
        false
    }

    fn close_listener(&mut self) {}

    fn connect(&mut self, _: SocketAddr) -> io::Result<Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn register(&mut self, _: &mut Socket, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stop_signals(&mut self) -> u32 {
        7
    }

    fn waker(&self) -> Wake {
        Arc::new(|| {})
    }
}

struct Fixture {
    busy: BusyPoll,
    clock: Clock,
    asked: Rc<Asked>,
    at_look: Rc<Cell<Option<(u64, Readiness)>>>,
    at_sleep: Rc<Cell<Option<Readiness>>>,
}

fn fixture() -> Fixture {
    let nanos = Arc::new(AtomicU64::new(0));
    let clock = Clock::manual(Arc::clone(&nanos));
    let (asked, at_look, at_sleep) = (Rc::default(), Rc::default(), Rc::default());
    let driver = Scripted {
        nanos,
        asked: Rc::clone(&asked),
        at_look: Rc::clone(&at_look),
        at_sleep: Rc::clone(&at_sleep),
    };
    let busy = BusyPoll::new(Box::new(driver), LIMIT, clock.clone());
    Fixture { busy, clock, asked, at_look, at_sleep }
}

impl Fixture {
    /// One poll; returns its news, how often it looked, and the sleeps that it took.
    fn poll(&mut self, span: Option<Duration>) -> (News, u64, Vec<Option<Duration>>) {
        let before = self.asked.looks.get();
        let timeout = span.map(|span| Timeout { span, at: self.clock.fresh() + span });
        let mut news = News::default();
        self.busy.poll(timeout, &mut news).expect("no error in the script");
        (news, self.asked.looks.get() - before, self.asked.polls.take())
    }
}

#[test]
fn it_looks_for_as_long_as_it_may_and_then_sleeps() {
    let mut fixture = fixture();
    let (news, looks, sleeps) = fixture.poll(None);
    assert!(!news.is_something());
    assert_eq!((looks, sleeps), (50, vec![None]));
}

#[test]
fn what_is_left_of_a_timeout_is_for_the_sleep() {
    let (_, looks, sleeps) = fixture().poll(Some(us(80)));
    assert_eq!((looks, sleeps), (50, vec![Some(us(30))]));
}

#[test]
fn a_timeout_that_comes_first_ends_the_looking_and_there_is_no_sleep() {
    let (_, looks, sleeps) = fixture().poll(Some(us(20)));
    assert_eq!((looks, sleeps), (20, vec![]));
}

#[test]
fn without_a_timeout_to_sleep_for_it_asks_once() {
    let (_, looks, sleeps) = fixture().poll(Some(Duration::ZERO));
    assert_eq!((looks, sleeps), (0, vec![Some(Duration::ZERO)]));
}

#[test]
fn any_news_ends_the_looking_and_begins_the_time_for_it_anew() {
    for token in [LISTENER, WAKER, 5 << 32] {
        let mut fixture = fixture();
        fixture.at_look.set(Some((30, news_of(token))));
        let (news, looks, sleeps) = fixture.poll(None);
        assert!(news.is_something(), "token {token}");
        assert_eq!((looks, sleeps), (30, vec![]), "token {token}");
        let (_, looks, sleeps) = fixture.poll(None);
        assert_eq!((looks, sleeps), (50, vec![None]), "token {token}");
    }
}

#[test]
fn a_sleep_that_ended_for_nothing_is_gone_back_to_at_once() {
    let mut fixture = fixture();
    fixture.poll(None); // as if a signal had ended it
    let (_, looks, sleeps) = fixture.poll(None);
    assert_eq!((looks, sleeps), (0, vec![None]));
    fixture.at_sleep.set(Some(news_of(WAKER)));
    let (news, ..) = fixture.poll(None);
    assert!(news.of_waker);
    assert_eq!(fixture.poll(None).1, 50, "there was something to do");
}

#[test]
fn an_old_ring_of_the_bell_is_no_news() {
    let mut fixture = fixture();
    let mut news = News { of_waker: true, ..News::default() };
    fixture.busy.poll(None, &mut news).expect("no error in the script");
    assert!(!news.of_waker);
    assert_eq!(fixture.asked.looks.get(), 50);
}

#[test]
fn everything_else_is_the_driver_s() {
    let mut fixture = fixture();
    assert_eq!(fixture.busy.stop_signals(), 7);
    assert!(!fixture.busy.shed());
    let Err(error) = fixture.busy.accept() else { panic!("nobody is there") };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

/// Counts what the real driver is asked for.
struct Counting {
    driver: MioDriver,
    asked: Rc<Asked>,
}

impl Driver for Counting {
    fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()> {
        self.asked.polls.borrow_mut().push(timeout.map(|timeout| timeout.span));
        self.driver.poll(timeout, news)
    }

    fn look(&mut self, news: &mut News) -> io::Result<()> {
        self.asked.looks.set(self.asked.looks.get() + 1);
        self.driver.look(news)
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

/// The real driver over a real listener, which looks for `limit`; the listener's address; what is asked of the driver.
fn real(limit: Duration) -> (BusyPoll, Clock, SocketAddr, Rc<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket that does not block");
    let address = listener.local_addr().expect("an address");
    let asked = Rc::<Asked>::default();
    let driver = MioDriver::new(listener).expect("descriptors");
    let driver = Box::new(Counting { driver, asked: Rc::clone(&asked) });
    let clock = Clock::system();
    (BusyPoll::new(driver, limit, clock.clone()), clock, address, asked)
}

#[test]
fn the_real_one_looks_then_sleeps_once_and_is_not_early() {
    let (mut busy, clock, _address, asked) = real(us(200));
    let mut news = News::default();
    let span = Duration::from_millis(3);
    let at = clock.fresh() + span;
    busy.poll(Some(Timeout { span, at }), &mut news).expect("a working poll");
    // An alarm for an earlier moment may end a sleep, a busy machine may take all the time away: never more than one sleep.
    assert!(asked.looks.get() >= 1, "it has not looked");
    assert!(asked.polls.borrow().len() <= 1, "{:?}", asked.polls);
    assert!(!news.is_something());
    assert!(clock.fresh() >= at, "it was early");
}

#[test]
fn the_real_one_finds_newcomers_and_rings_without_a_sleep() {
    let (mut busy, _clock, address, asked) = real(Duration::MAX);
    let client = TcpStream::connect(address).expect("a listener");
    let mut news = News::default();
    busy.poll(None, &mut news).expect("a working poll");
    assert!(std::mem::take(&mut news.of_listener));
    drop(client);

    let wake = busy.waker();
    let ringer = thread::spawn(move || wake());
    busy.poll(None, &mut news).expect("a working poll");
    ringer.join().expect("a thread that rings");
    assert!(news.of_waker && !news.of_listener);
    assert!(asked.looks.get() >= 2);
    assert!(asked.polls.borrow().is_empty(), "it has slept: {:?}", asked.polls);
}
