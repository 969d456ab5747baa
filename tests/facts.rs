//! What the system does that a plain loop would not expect. Each test fails on such a loop: it spins, stalls, loses or dies.
//!
//! Left budgets (`limits.rs`) and input that was never read (`lifecycle.rs`) belong here, too.

mod common;

use std::fs::File;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::{
    ANY_PORT, PATIENCE, Words, connect, echo, is_child, ms, now, pass_in_child, read_exactly,
    read_line, reset, send, settle, turn, turn_until, words,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wheelhouse::codec::BytesCodec;
use wheelhouse::{Config, ConnectionId, Reactor, Server, ServerRef};

// Out of descriptors. The limit is the process's, so each of these has a process of its own.

/// Fills the table of descriptors, but for so many, until what is returned is dropped.
fn leave_descriptors(free: usize) -> Vec<File> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).expect("a limit");
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

/// An echo server with `waiting` clients in its backlog, and descriptors for two of them; and what holds the others.
fn starved(waiting: usize) -> (Reactor<Words, ()>, Vec<TcpStream>, Vec<File>) {
    let reactor = echo(Config::default().max_connections(1_000));
    let clients: Vec<_> = (0..waiting).map(|_| connect(reactor.local_addr())).collect();
    for client in &clients {
        send(client, "hello\n");
    }
    (reactor, clients, leave_descriptors(2))
}

#[test]
fn out_of_descriptors_a_connection_that_closes_lets_the_next_in() {
    if !is_child() {
        return pass_in_child("out_of_descriptors_a_connection_that_closes_lets_the_next_in");
    }
    let (mut reactor, mut clients, _full) = starved(4);
    turn_until(&mut reactor, |reactor| reactor.server().stats().accept_failures == 2);
    let stats = reactor.server().stats();
    assert_eq!((stats.accepted, stats.rejected), (2, 1), "the newcomer is shed, and told so");
    common::assert_over(&clients[2]);
    // The fourth waits, and nobody knocks after it.
    drop(clients.remove(0));
    turn_until(&mut reactor, |_| common::has_news(&clients[2]));
    assert_eq!(read_line(&clients[2]), "hello");
    assert_eq!(reactor.server().stats().rejected, 1);
}

#[test]
fn out_of_descriptors_the_loop_tries_again_by_itself() {
    if !is_child() {
        return pass_in_child("out_of_descriptors_the_loop_tries_again_by_itself");
    }
    let (mut reactor, clients, full) = starved(4);
    turn_until(&mut reactor, |reactor| reactor.server().stats().accept_failures == 1);
    // Somebody else in this process gives descriptors back: only a timer can find that out.
    drop(full);
    let began = now();
    turn_until(&mut reactor, |_| common::has_news(&clients[3]));
    assert_eq!(read_line(&clients[3]), "hello");
    assert!(began.elapsed() >= ms(50), "it rested: {:?}", began.elapsed());
    let stats = reactor.server().stats();
    assert_eq!((stats.accept_failures, stats.rejected), (1, 0), "and turned nobody away");
}

#[test]
fn out_of_descriptors_the_loop_does_not_spin() {
    if !is_child() {
        return pass_in_child("out_of_descriptors_the_loop_does_not_spin");
    }
    let (mut reactor, clients, _full) = starved(40);
    let began = now();
    let mut turns = 0;
    while began.elapsed() < ms(1_000) {
        let left = ms(1_000).saturating_sub(began.elapsed());
        let _ = reactor.turn(Some(left)).expect("a working poll");
        turns += 1;
    }
    let stats = reactor.server().stats();
    assert!((2..=20).contains(&stats.accept_failures), "{stats:?}");
    assert_eq!(stats.rejected, stats.accept_failures - 1, "each look but the first sheds one");
    assert!(turns < 100, "{turns} turns in a second");
    for client in &clients[..2] {
        assert_eq!(read_line(client), "hello", "those who are in are served");
    }
}

/// How many timer descriptors this process has.
#[cfg(target_os = "linux")]
fn timer_descriptors() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("a list of descriptors");
    let names = open.filter_map(|each| std::fs::read_link(each.ok()?.path()).ok());
    names.filter(|name| name.to_string_lossy().contains("[timerfd]")).count()
}

#[test]
#[cfg(target_os = "linux")]
fn out_of_descriptors_timers_do_without_one() {
    if !is_child() {
        return pass_in_child("out_of_descriptors_timers_do_without_one");
    }
    let mut without = 0;
    for free in 0..8 {
        let server = words(Config::default().max_connections(10)).state(false);
        let full = leave_descriptors(free);
        let reactor = server.into_reactor(|_, conn| conn.handlers());
        drop(full);
        let Ok(mut reactor) = reactor else { continue };
        without += usize::from(timer_descriptors() == 0);
        let armed = now();
        reactor.server().after(Duration::from_micros(1_500), |fired, _| *fired = true);
        while !reactor.state() {
            let _ = reactor.turn(Some(PATIENCE)).expect("a working poll");
        }
        assert!(armed.elapsed() >= Duration::from_micros(1_500), "early: {:?}", armed.elapsed());
    }
    assert!(without > 0, "some number of descriptors is enough for all but the timer");
    assert!(without < 5, "with enough of them there is one for the timer");
}

// SIGPIPE.

/// A stream whose next write gives EPIPE: its peer has ended its side, and then reset.
fn broken_pipe(mut accept: impl FnMut() -> TcpStream, client: TcpStream) -> TcpStream {
    let server = accept();
    client.shutdown(Shutdown::Write).expect("an end");
    reset(client);
    server
}

#[test]
fn a_vectored_write_to_nobody_raises_no_signal() {
    use signal_hook::consts::SIGPIPE;
    if !is_child() {
        return pass_in_child("a_vectored_write_to_nobody_raises_no_signal");
    }
    // The standard library ignores the signal before main; a handler shows whether a host that does not would have died.
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&raised)).expect("a handler");

    let listener = std::net::TcpListener::bind(ANY_PORT).expect("a port");
    let client = connect(listener.local_addr().expect("an address"));
    let naive = broken_pipe(|| listener.accept().expect("a peer").0, client);
    let slices = [std::io::IoSlice::new(b"to "), std::io::IoSlice::new(b"nobody")];
    let broken = std::io::Write::write_vectored(&mut &naive, &slices).expect_err("a broken pipe");
    assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(raised.swap(false, Ordering::SeqCst), "the plain call raises it");

    let mut reactor = Server::bind(ANY_PORT, BytesCodec::new())
        .expect("a port")
        .state(Vec::<(String, usize)>::new())
        .into_reactor(|_, conn| {
            conn.pause_read(); // so that the write is the first to find out
            conn.handlers().on_error(|seen: &mut Vec<_>, conn, error| {
                seen.push((error.to_string(), conn.queued()));
            })
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    client.shutdown(Shutdown::Write).expect("an end");
    reset(client);
    settle(&mut reactor);
    reactor.server().for_each_connection(|conn| {
        for _ in 0..3 {
            conn.write(Bytes::from(vec![1; 100_000])).expect("room"); // each a slice of its own
        }
    });
    turn_until(&mut reactor, |reactor| !reactor.state().is_empty());
    let (error, queued) = &reactor.state()[0];
    assert!(error.starts_with("write failed: Broken pipe"), "{error}");
    assert!(*queued > 300_000, "three slices were to go in one call");
    settle(&mut reactor);
    assert!(!raised.load(Ordering::SeqCst), "a host that had not ignored it would be dead");
}

// Slots that are filled again at once.

#[test]
fn a_stale_id_in_the_same_turn_finds_nobody() {
    let mut reactor = words(Config::default().linger(ms(0)))
        .state(Vec::<ConnectionId>::new())
        .into_reactor(|ids, conn| {
            ids.push(conn.id());
            conn.handlers().on_read(|ids: &mut Vec<ConnectionId>, conn, _| {
                let stale = ids[0];
                assert!(stale != conn.id() && conn.server().connection(stale).is_none());
                Ok(conn.write("alone".into())?)
            })
        })
        .expect("a loop");
    let address = reactor.local_addr();
    let first = connect(address);
    settle(&mut reactor);
    // Its end, and the newcomer that takes the slot over, are news of one poll.
    reset(first);
    let second = connect(address);
    send(&second, "hello\n");
    settle(&mut reactor);
    assert_eq!(read_line(&second), "alone");
}

// Wake-ups.

#[test]
fn many_wake_ups_are_few_turns() {
    const CALLS: usize = 100_000;
    let mut reactor = echo(Config::default());
    let ran = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (handle, ran) = (reactor.handle(), Arc::clone(&ran));
            thread::spawn(move || {
                for _ in 0..CALLS / 4 {
                    loop {
                        let ran = Arc::clone(&ran);
                        let left = handle.try_run(move |_, _| {
                            ran.fetch_add(1, Ordering::Relaxed);
                        });
                        if left.is_ok() {
                            break;
                        }
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut turns = 0;
    turn_until(&mut reactor, |_| {
        turns += 1;
        ran.load(Ordering::Relaxed) == CALLS
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(turns < CALLS / 2, "{turns} turns for {CALLS} calls");
}

#[test]
fn what_was_left_between_two_turns_is_one_wake_up() {
    const CALLS: usize = 100_000;
    let (give, links) = std::sync::mpsc::channel();
    let mut reactor = words(Config::default().commands(CALLS).handle_writes(CALLS))
        .into_reactor(move |_, conn| {
            give.send(conn.handle()).expect("the test listens");
            conn.handlers()
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    let link = common::told(&links);
    let handle = reactor.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..CALLS {
        let ran = Arc::clone(&ran);
        let count = move |_: &mut (), _: &mut ServerRef<'_, Words, ()>| {
            ran.fetch_add(1, Ordering::Relaxed);
        };
        handle.try_run(count).expect("room");
        link.try_write("w".into()).expect("room");
    }
    let mut turns = 0;
    let reader = thread::spawn(move || read_exactly(&client, CALLS * 2).len());
    turn_until(&mut reactor, |_| {
        turns += 1;
        ran.load(Ordering::Relaxed) == CALLS && reader.is_finished()
    });
    assert_eq!(reader.join().expect("no panic"), CALLS * 2);
    assert!(turns < 2_000, "{turns} turns");
    // No wake-up is left over.
    let began = now();
    let _ = reactor.turn(Some(ms(50))).expect("a working poll");
    assert!(began.elapsed() >= ms(50), "{:?}", began.elapsed());
}

// Time.

#[test]
fn timers_are_never_early_however_short() {
    const TIMERS: u64 = 300;
    let mut reactor =
        words(Config::default()).state(0).into_reactor(|_, conn| conn.handlers()).expect("a loop");
    for number in 0..TIMERS {
        let delay = Duration::from_micros(number * 137); // up to 41 ms, and most between two milliseconds
        let set = now();
        reactor.server().after(delay, move |fired: &mut u64, _| {
            assert!(set.elapsed() >= delay, "{:?} early", delay - set.elapsed());
            *fired += 1;
        });
    }
    let mut turns = 0;
    while *reactor.state() < TIMERS {
        let _ = reactor.turn(Some(PATIENCE)).expect("a working poll");
        turns += 1;
        assert_eq!(reactor.server().stats().caller_errors, 0, "one was early");
    }
    assert!(
        turns <= TIMERS + 1,
        "{turns} turns: a sleep that is cut short is asked for again and again"
    );
}

#[test]
fn timers_count_from_when_they_are_set_however_long_the_turn_takes() {
    let mut reactor = words(Config::default())
        .state(false)
        .into_reactor(|_, conn| conn.handlers())
        .expect("a loop");
    reactor.server().after(ms(0), |_, server| {
        let begun = now();
        while begun.elapsed() < ms(30) {
            std::hint::spin_loop(); // a handler that takes its time
        }
        let set = now();
        server.after(ms(10), move |fired: &mut bool, _| {
            assert!(set.elapsed() >= ms(10), "{:?} early", ms(10) - set.elapsed());
            *fired = true;
        });
    });
    turn_until(&mut reactor, |reactor| {
        assert_eq!(reactor.server().stats().caller_errors, 0, "it was early");
        *reactor.state()
    });
}

#[test]
fn the_longest_times_do_not_overflow() {
    let forever = Duration::MAX;
    let config = Config::default()
        .packet_timeout(forever)
        .write_timeout(forever)
        .idle_timeout(forever)
        .linger(forever);
    let mut reactor = words(config)
        .into_reactor(move |_, conn| {
            conn.after(forever, |_, _| panic!("at the end of time"));
            conn.every(forever, |_, _| panic!("at the end of time"));
            conn.handlers().on_read(|_, conn, word| {
                conn.write(word)?;
                conn.close();
                Ok(())
            })
        })
        .expect("a loop");
    reactor.server().after(forever, |_, _| panic!("at the end of time"));
    reactor.server().every(forever, |_, _| panic!("at the end of time"));
    let (address, handle) = (reactor.local_addr(), reactor.handle());
    let dialing = reactor.server().handlers();
    reactor.server().connect(address, forever, dialing).expect("room");
    let client = connect(address);
    send(&client, "half");
    for _ in 0..5 {
        let _ = turn(&mut reactor);
    }
    send(&client, " a word\n");
    settle(&mut reactor);
    assert_eq!(read_line(&client), "half a word");
    handle.request_stop(forever);
    settle(&mut reactor);
    assert!(handle.is_shutting_down(), "it lingers for ever");
    drop(client);
    let began = now();
    while reactor.turn(Some(forever)).expect("a working poll") == wheelhouse::Turn::Running {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(reactor.report().expect("it has stopped").forced, 0);
}
