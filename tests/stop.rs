//! The graceful stop: who is told, who is waited for and how long, who is forced, and what the report says of it.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::{
    PATIENCE, Words, assert_over, assert_reset, connect, is_child, ms, now, read_line, read_to_end,
    send, settle, told, turn_until, words,
};
use rustix::process::{Pid, Signal, kill_process};
use wheelhouse::{
    CloseReason, Config, ConnectError, HandleError, Reactor, ReadError, SlowConsumers, StopReport,
    Turn, WriteError,
};

/// Longer than any test.
const AGES: Duration = Duration::from_secs(3_600);

#[derive(Default)]
struct Seen {
    stops: usize,
    closed: Vec<CloseReason>,
}

/// Connections that say `stay`, `leave` or nothing about what they will do about a stop; each then gets `ok`.
fn server(config: Config) -> Reactor<Words, Seen> {
    words(config)
        .state(Seen::default())
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|_, conn, word| {
                    let stays = match &*word {
                        "stay" => true,
                        "leave" => false,
                        _ => return Ok(conn.write(format!("{word}?"))?),
                    };
                    let handlers = conn.handlers();
                    conn.set_handlers(
                        handlers
                            .on_read(|_, conn, word| Ok(conn.write(word)?))
                            .on_stop(move |seen: &mut Seen, conn| {
                                seen.stops += 1;
                                conn.write("goodbye".into()).expect("it may still write");
                                if !stays {
                                    conn.close();
                                }
                            })
                            .on_closed(|seen, _, why| seen.closed.push(why)),
                    );
                    Ok(conn.write("ok".into())?)
                })
                .on_closed(|seen: &mut Seen, _, why| seen.closed.push(why))
        })
        .expect("a loop")
}

fn clients<const N: usize>(reactor: &mut Reactor<Words, Seen>, plan: &str) -> [TcpStream; N] {
    let clients = std::array::from_fn(|_| {
        let client = connect(reactor.local_addr());
        send(&client, format!("{plan}\n"));
        client
    });
    settle(reactor);
    for client in &clients {
        assert!(["ok", "quiet?"].contains(&&*read_line(client)));
    }
    clients
}

fn end_of(reactor: &mut Reactor<Words, Seen>) -> StopReport {
    turn_until(reactor, |reactor| reactor.report().is_some());
    assert_eq!(reactor.turn(None).expect("nothing to do"), Turn::Stopped, "and it does not wait");
    reactor.report().expect("it has stopped")
}

#[test]
fn a_stop_closes_the_listener_and_goes_on_reading() {
    let mut reactor = server(Config::default());
    let [client] = clients(&mut reactor, "stay");
    let handle = reactor.handle();
    assert!(handle.is_running());
    handle.request_stop(AGES);
    assert!(handle.is_shutting_down());
    settle(&mut reactor);
    assert!(TcpStream::connect(reactor.local_addr()).is_err(), "nobody new");
    assert_eq!(read_line(&client), "goodbye");
    send(&client, "one more thing\n");
    settle(&mut reactor);
    assert_eq!(read_line(&client), "one more thing");
    assert!(handle.is_shutting_down() && !handle.is_running() && !handle.is_closed());
    let nowhere = reactor.local_addr();
    let dialing = reactor.server().handlers();
    let refused = reactor.server().connect(nowhere, AGES, dialing);
    assert_eq!(refused, Err(ConnectError::Stopping));
    drop(client);
    let report = end_of(&mut reactor);
    assert_eq!((report.closed, report.forced), (1, 0));
    assert!(report.elapsed < PATIENCE, "no longer than it takes: {report}");
    assert!(handle.is_closed() && !handle.is_shutting_down());
    assert_eq!(reactor.state().closed, [CloseReason::Peer]);
}

#[test]
fn on_stop_may_write_and_close_and_who_has_none_closes() {
    let mut reactor = server(Config::default());
    let [leaving] = clients(&mut reactor, "leave");
    let [quiet] = clients(&mut reactor, "quiet");
    reactor.server().stop(AGES);
    settle(&mut reactor);
    assert_eq!(read_to_end(&leaving).expect("an orderly end"), b"goodbye\n");
    assert_eq!(read_to_end(&quiet).expect("an orderly end"), b"");
    drop((leaving, quiet));
    let report = end_of(&mut reactor);
    assert_eq!((report.closed, report.forced), (2, 0));
    assert_eq!(reactor.state().stops, 1);
    assert_eq!(reactor.state().closed, [CloseReason::Shutdown, CloseReason::Shutdown]);
}

#[test]
fn the_deadline_forces_the_rest() {
    let mut reactor = server(Config::default());
    let staying: [_; 3] = clients(&mut reactor, "stay");
    let leaving: [_; 2] = clients(&mut reactor, "leave");
    let began = now();
    reactor.server().stop(ms(80));
    settle(&mut reactor);
    drop(leaving);
    let report = end_of(&mut reactor);
    assert!(began.elapsed() >= ms(80), "not before the deadline: {:?}", began.elapsed());
    assert!(report.elapsed >= ms(80) && report.elapsed <= began.elapsed(), "{report}");
    assert_eq!((report.closed, report.forced), (2, 3));
    assert_eq!(reactor.state().stops, 5);
    let forced = reactor.state().closed.iter().filter(|why| **why == CloseReason::Forced).count();
    assert_eq!((forced, reactor.state().closed.len()), (3, 5));
    for client in &staying {
        assert_eq!(read_line(client), "goodbye");
        assert_reset(client);
    }
}

#[test]
fn a_stop_without_grace_tells_nobody() {
    let mut reactor = server(Config::default());
    let connected: [_; 3] = clients(&mut reactor, "leave");
    reactor.server().stop(Duration::ZERO);
    assert_eq!(reactor.turn(None).expect("a working poll"), Turn::Stopped, "in one turn");
    let report = reactor.report().expect("it has stopped");
    assert_eq!((report.closed, report.forced), (0, 3));
    assert_eq!(reactor.state().stops, 0);
    assert_eq!(reactor.state().closed, [CloseReason::Forced; 3]);
    for client in &connected {
        assert_reset(client);
    }
}

#[test]
fn a_second_stop_can_only_shorten_the_grace() {
    for (first, second) in [(AGES, ms(60)), (ms(60), AGES)] {
        let mut reactor = server(Config::default());
        let [_client] = clients(&mut reactor, "stay");
        let handle = reactor.handle();
        let began = now();
        handle.request_stop(first);
        settle(&mut reactor);
        assert_eq!(reactor.state().stops, 1);
        handle.request_stop(second);
        let report = end_of(&mut reactor);
        assert!(began.elapsed() >= ms(60), "{:?}", began.elapsed());
        assert_eq!((report.closed, report.forced), (0, 1));
        assert_eq!(reactor.state().stops, 1, "on_stop is called once");
    }
}

#[test]
fn a_handler_a_timer_and_another_thread_can_stop_the_server() {
    let server = words(Config::default());
    let address = server.local_addr();
    let running = thread::spawn(move || {
        server.run(|_, conn| {
            conn.handlers().on_read(|_, conn, _| {
                assert!(conn.server().is_running());
                conn.server().stop(AGES);
                assert!(conn.server().is_shutting_down() && !conn.server().is_running());
                conn.close();
                Ok(())
            })
        })
    });
    let client = connect(address);
    send(&client, "stop\n");
    assert_over(&client);
    drop(client);
    let report = running.join().expect("no panic").expect("a working poll");
    assert_eq!((report.closed, report.forced), (1, 0));

    let handle = words(Config::default()).start(|_, conn| conn.handlers()).expect("a loop");
    handle
        .run(|_, server| {
            server.after(ms(1), |_, server| server.stop(AGES));
        })
        .expect("a loop");
    assert_eq!(handle.join().expect("a stop").closed, 0);

    let handle = words(Config::default()).start(|_, conn| conn.handlers()).expect("a loop");
    let other = handle.clone();
    let stopping = thread::spawn(move || other.stop(AGES).expect("a stop"));
    let report = stopping.join().expect("no panic");
    assert_eq!(handle.stop(Duration::ZERO).expect("the same report"), report);
}

#[test]
fn waiting_for_oneself_is_refused() {
    let (tell, told_so) = mpsc::channel();
    let server = words(Config::default());
    let address = server.local_addr();
    let handle = server
        .start(move |_, conn| {
            let tell = tell.clone();
            let channel = conn.handle();
            conn.handlers().on_read(move |_, conn, _| {
                let handle = conn.server().handle();
                let results = [
                    matches!(handle.stats(), Err(HandleError::WouldDeadlock)),
                    matches!(handle.join(), Err(HandleError::WouldDeadlock)),
                    matches!(channel.read(), Err(ReadError::WouldDeadlock)),
                    matches!(channel.write("x".into()), Err(WriteError::WouldDeadlock(_))),
                    channel.packets().next().is_none(),
                    matches!(handle.stop(Duration::ZERO), Err(HandleError::WouldDeadlock)),
                ];
                tell.send(results).expect("the test listens");
                Ok(())
            })
        })
        .expect("a loop");
    let client = connect(address);
    send(&client, "go\n");
    assert_eq!(told(&told_so), [true; 6]);
    assert_eq!(handle.join().expect("the stop is under way all the same").forced, 1);
}

#[test]
fn a_reactor_that_is_dropped_says_so_to_everyone() {
    let (tell, closed) = mpsc::channel();
    let server = words(Config::default().commands(1));
    let address = server.local_addr();
    let (give, links) = mpsc::channel();
    let mut reactor = server
        .into_reactor(move |_, conn| {
            let tell = tell.clone();
            give.send(conn.handle()).expect("the test listens");
            conn.handlers().on_closed(move |_, _, why| tell.send(why).expect("the test listens"))
        })
        .expect("a loop");
    let clients = [connect(address), connect(address)];
    settle(&mut reactor);
    let link = told(&links);
    // More threads than the queue of commands has places: some wait for a place, one for its turn; all for a packet.
    let handle = reactor.handle();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let (handle, link) = (handle.clone(), link.clone());
            let (ready, is_ready) = mpsc::channel();
            let asking = thread::spawn(move || {
                ready.send(()).expect("the test listens");
                handle.stats()
            });
            let reading = thread::spawn(move || link.read());
            told(&is_ready);
            (asking, reading)
        })
        .collect();
    drop(reactor);
    for (asking, reading) in waiting {
        assert!(matches!(asking.join().expect("no panic"), Err(HandleError::Stopped)));
        assert_eq!(reading.join().expect("no panic"), Err(ReadError::Closed));
    }
    assert_eq!([told(&closed), told(&closed)], [CloseReason::Forced; 2]);
    assert!(closed.try_recv().is_err(), "once each");
    for client in &clients {
        assert_over(client);
    }
    assert_eq!(handle.join().expect("a report").forced, 2);
}

/// A logger that panics when it is told that a connection has closed, and by that the loop.
struct Unable;

impl log::Log for Unable {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        assert!(!record.args().to_string().contains(" closed: "), "a logger panics, as told");
    }

    fn flush(&self) {}
}

#[test]
fn nobody_waits_for_a_loop_that_panicked() {
    let (give, links) = mpsc::channel();
    let server = words(Config::default().logger(Arc::new(Unable)));
    let address = server.local_addr();
    let handle = server
        .start(move |_, conn| {
            give.send(conn.handle()).expect("the test listens");
            conn.handlers()
        })
        .expect("a loop");
    let clients: [_; 3] = std::array::from_fn(|_| connect(address));
    let reading = clients.each_ref().map(|_| {
        let link = told(&links);
        thread::spawn(move || link.read())
    });
    let asked = handle.clone();
    let asking = thread::spawn(move || {
        std::iter::repeat_with(|| asked.stats()).find_map(Result::err).expect("an end")
    });
    let [first, ..] = &clients;
    first.shutdown(std::net::Shutdown::Write).expect("an end");
    for reading in reading {
        assert_eq!(reading.join().expect("no panic"), Err(ReadError::Closed));
    }
    assert!(matches!(asking.join().expect("no panic"), HandleError::Stopped));
    assert!(matches!(handle.join(), Err(HandleError::Failed(_))));
    assert!(handle.is_closed() && matches!(handle.try_run(|_, _| ()), Err(HandleError::Stopped)));
}

#[test]
fn no_call_hangs_once_the_server_has_stopped() {
    let (give, links) = mpsc::channel();
    let server = words(Config::default());
    let address = server.local_addr();
    let mut reactor = server
        .into_reactor(move |_, conn| {
            give.send(conn.handle()).expect("the test listens");
            conn.handlers()
        })
        .expect("a loop");
    let client = connect(address);
    send(&client, "the last word\n");
    settle(&mut reactor);
    let link = told(&links);
    let handle = reactor.handle();
    handle.request_stop(Duration::ZERO);
    assert_eq!(reactor.run().expect("a working poll").forced, 1);

    // On this thread, which was the loop's, as well as on any other.
    let check = move || {
        assert!(matches!(handle.run(|_, _| ()), Err(HandleError::Stopped)));
        assert!(matches!(handle.try_run(|_, _| ()), Err(HandleError::Stopped)));
        assert!(matches!(handle.stats(), Err(HandleError::Stopped)));
        assert!(matches!(handle.connection(link.id()), Err(HandleError::Stopped)));
        assert!(matches!(handle.send(link.id(), "x".into()), Err(HandleError::Stopped)));
        let sent = handle.broadcast("x".into(), SlowConsumers::Skip);
        assert!(matches!(sent, Err(HandleError::Stopped)));
        assert_eq!(handle.stop(AGES).expect("the report").forced, 1);
        assert_eq!(handle.connection_count(), 0);
        assert!(handle.is_closed());

        assert!(link.is_closed());
        assert!(matches!(link.try_write("x".into()), Err(WriteError::Closed(_))));
        link.close();
        link.abort();
        (handle, link)
    };
    let (_, link) = thread::spawn(check.clone()).join().expect("no panic");
    assert!(matches!(link.write("x".into()), Err(WriteError::Closed(_))));
    assert_eq!(link.read().as_deref(), Ok("the last word"), "what came before is still read");
    assert_eq!(link.read(), Err(ReadError::Closed));
    assert!(matches!(link.error(), Err(ReadError::Closed)));
    check();
}

// Signals, to processes of their own.

/// A logger for whoever reads this process's standard error.
struct Aloud;

impl log::Log for Aloud {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}", record.args());
    }

    fn flush(&self) {}
}

fn listening(child: &mut Child, from_stderr: bool) -> SocketAddr {
    let stdout = child.stdout.as_mut().map(|pipe| pipe as &mut dyn std::io::Read);
    let stderr = child.stderr.as_mut().map(|pipe| pipe as &mut dyn std::io::Read);
    let pipe = if from_stderr { stderr } else { stdout }.expect("a pipe");
    let mut lines = BufReader::new(pipe).lines();
    let line = lines
        .find_map(|line| {
            line.expect("text").split_once("listening on ").map(|(_, at)| at.to_owned())
        })
        .expect("a line that says where");
    line.trim().parse().expect("an address")
}

fn signal(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("a living child");
}

/// The example beside this test's own binary; built, where only this test was.
fn echo_example() -> PathBuf {
    let this = std::env::current_exe().expect("a path");
    let profile = this.ancestors().nth(2).expect("target/<profile>/deps/stop");
    let echo = profile.join("examples").join("echo");
    if !echo.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "echo", "--target-dir"]);
        build.arg(profile.parent().expect("a target directory"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo").success());
    }
    echo
}

#[test]
fn a_signal_stops_the_echo_example() {
    let mut echo = Command::new(echo_example())
        .args(["--addr", common::ANY_PORT, "--grace", "60"])
        .env("RUST_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example");
    let client = connect(listening(&mut echo, true));
    send(&client, "hello");
    assert_eq!(common::read_exactly(&client, 5), b"hello");
    signal(&echo);
    assert_eq!(read_to_end(&client).expect("an orderly end"), b"");
    drop(client);
    let output = echo.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.ends_with("1 connections closed, 0 forced\n"), "{report}");
}

#[test]
fn the_first_signal_in_a_stop_that_somebody_else_asked_for_leaves_its_grace() {
    if is_child() {
        let config = Config::default().stop_on_signals(AGES).logger(Arc::new(Aloud));
        let server = words(config);
        println!("listening on {}", server.local_addr());
        let stopped = server.run(|_, conn| {
            conn.server().stop(AGES + AGES);
            let handlers = conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?));
            handlers.on_stop(|_, conn| conn.write("not yet".into()).expect("room"))
        });
        let report = stopped.expect("a working poll");
        assert_eq!((report.closed, report.forced), (0, 1));
        return;
    }
    let test = "the_first_signal_in_a_stop_that_somebody_else_asked_for_leaves_its_grace";
    let mut child = common::child(test)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a second process");
    let client = connect(listening(&mut child, false));
    assert_eq!(read_line(&client), "not yet");
    signal(&child);
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(log.any(|line| line.expect("text") == "a signal to stop"), "it has been noticed");
    send(&client, "still there\n");
    assert_eq!(read_line(&client), "still there");
    signal(&child);
    assert_reset(&client);
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_second_signal_forces() {
    if is_child() {
        let server = words(Config::default().stop_on_signals(AGES));
        println!("listening on {}", server.local_addr());
        let stopped = server.run(|_, conn| {
            conn.write("hello".into()).expect("room");
            conn.handlers().on_stop(|_, conn| conn.write("not yet".into()).expect("room"))
        });
        let report = stopped.expect("a working poll");
        assert_eq!((report.closed, report.forced), (0, 1));
        return;
    }
    let mut child = common::child("a_second_signal_forces")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a second process");
    let client = connect(listening(&mut child, false));
    assert_eq!(read_line(&client), "hello");
    signal(&child);
    assert_eq!(read_line(&client), "not yet");
    signal(&child);
    assert_reset(&client);
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");
}
