//! Handles under load and under abuse: many threads on many connections, peers that do not play along, and ends of every
//! kind with threads waiting. Seeds are printed; `WHEELHOUSE_SEED` repeats a run, `WHEELHOUSE_PACKETS` makes it shorter.

mod kit;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use kit::{Hold, Work, begin, handing_out, in_time, lines, peer, read_lines, say, take, trio};
use wheelhouse::codec::LinesCodec;
use wheelhouse::{
    Config, ConnectionHandle, Error, HandleError, Late, ReadError, ServerHandle, WriteError,
};

const THREADS: usize = 64;
const CONNECTIONS: usize = 64;

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn seed() -> u64 {
    let seed = number_from("WHEELHOUSE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("WHEELHOUSE_SEED={seed}");
    seed
}

// Many threads on many connections.

#[test]
fn every_packet_of_64_threads_arrives_once_and_in_order() {
    storm(number_from("WHEELHOUSE_PACKETS").unwrap_or(10_000) as usize, |_| {});
}

#[test]
fn every_packet_arrives_once_and_in_order_among_random_delays() {
    storm(500, |random| match random.u8(..) {
        0..8 => (0..random.u32(..20_000)).for_each(|_| std::hint::spin_loop()),
        8..64 => thread::yield_now(),
        _ => {}
    });
}

/// Each of the threads writes `packets` packets, each packet to a connection that its seed chooses, and dawdles in between.
fn storm(packets: usize, dawdle: impl Fn(&mut fastrand::Rng) + Copy + Send + 'static) {
    let seed = seed();
    let (server, handed) = handing_out(Config::default(), |conn| conn.handlers());
    let mut handles = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let peer = peer(server.local_addr());
        handles.push(take(&handed)); // one at a time, so that peer and handle belong together
        readers.push(begin(move || read_in_order(peer)));
    }
    let writers: Vec<_> = (0..THREADS)
        .map(|writer| {
            let handles = handles.clone();
            begin(move || {
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(writer as u64));
                let mut counts = [0_u32; CONNECTIONS];
                for n in 0..packets {
                    let to = random.usize(..CONNECTIONS);
                    handles[to].write(format!("{writer} {n}")).expect("it is open");
                    counts[to] += 1;
                    dawdle(&mut random);
                }
                counts
            })
        })
        .collect();
    let written: Vec<_> = writers.into_iter().map(|writer| writer.wait("a writer")).collect();
    handles.iter().for_each(ConnectionHandle::close);
    for (connection, reader) in readers.into_iter().enumerate() {
        let read = reader.wait("a reader");
        for writer in 0..THREADS {
            let sent = written[writer][connection];
            assert_eq!(read[writer], sent, "packets of thread {writer} on {connection}");
        }
    }
    server.stop(Duration::from_secs(10)).expect("a stop");
}

/// How many packets came from each thread. Their numbers must rise: so none came twice, and none out of order.
fn read_in_order(peer: TcpStream) -> [u32; THREADS] {
    let mut counts = [0; THREADS];
    let mut last = [None; THREADS];
    for line in read_lines(peer) {
        let (writer, n) = line.split_once(' ').expect("a thread and a number");
        let writer: usize = writer.parse().expect("a thread's number");
        let n = Some(n.parse::<u32>().expect("a packet's number"));
        assert!(n > last[writer], "thread {writer}: {n:?} after {:?}", last[writer]);
        last[writer] = n;
        counts[writer] += 1;
    }
    counts
}

// Peers that do not play along.

/// Writes through a handle until that fails.
fn write_on(handle: ConnectionHandle<LinesCodec>) -> Work<WriteError<String>> {
    begin(move || {
        loop {
            if let Err(error) = handle.write("x".repeat(10_000)) {
                return error;
            }
        }
    })
}

#[test]
fn a_peer_that_never_reads_is_dropped_and_its_writer_let_go() {
    let (tell, told) = mpsc::channel();
    let config = Config::default().write_timeout(Duration::from_millis(200));
    let (server, handles) = handing_out(config, move |conn| {
        let tell = tell.clone();
        conn.handlers().on_error(move |_, _, error| tell.send(error).expect("a test"))
    });
    let _peer = peer(server.local_addr());
    let error = write_on(take(&handles)).wait("the writer");
    assert!(matches!(error, WriteError::Closed(packet) if packet.len() == 10_000));
    let error = take(&told);
    assert!(matches!(error, Error::Late(Late::Output(_))), "{error}");
}

#[test]
fn a_peer_that_reads_a_byte_at_a_time_gets_everything() {
    let (_server, mut peer, handle) = trio(Config::default().outbox(100, 400, 1_000));
    let writer = begin(move || {
        for n in 0..2_000 {
            handle.write(n.to_string()).expect("it is open");
        }
        handle.close();
    });
    let text = in_time("the peer", move || {
        let (mut text, mut byte) = (Vec::new(), [0]);
        while peer.read(&mut byte).expect("a byte in time") == 1 {
            text.push(byte[0]);
        }
        String::from_utf8(text).expect("text")
    });
    writer.wait("the writer");
    let expected: String = (0..2_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(text, expected);
}

#[test]
fn a_peer_that_disappears_lets_its_reader_and_its_writer_go() {
    let (_server, peer, handle) = trio(Config::default());
    let read = begin({
        let handle = handle.clone();
        move || handle.read()
    });
    let write = write_on(handle.clone());
    let socket = socket2::Socket::from(peer);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop(socket); // a reset
    assert_eq!(read.wait("the reader"), Err(ReadError::Closed));
    assert!(matches!(write.wait("the writer"), WriteError::Closed(_)));
    assert!(matches!(handle.error(), Ok(Error::Io { .. })));
}

// Threads that do not play along.

#[test]
fn a_dropped_handle_closes_nothing() {
    let (server, handles) = handing_out(Config::default(), |conn| {
        conn.handlers().on_read(|_, conn, packet| Ok(conn.write(packet)?))
    });
    let mut peer = peer(server.local_addr());
    let handle = take(&handles);
    handle.write("before".into()).expect("it is open");
    drop(handle);
    say(&mut peer, "after\n");
    assert_eq!(read_lines(peer).take(2).collect::<Vec<_>>(), ["before", "after"]);
}

#[test]
fn a_thread_that_panics_with_a_handle_takes_nothing_down() {
    let (server, mut peer, handle) = trio(Config::default().handle_writes(4));
    let panicking = handle.clone();
    let work = thread::spawn(move || {
        panicking.write("one".into()).expect("it is open");
        let _held = panicking.packets();
        panic!("on purpose, with a handle in hand");
    });
    assert!(work.join().is_err());
    handle.write("two".into()).expect("the channel works on");
    say(&mut peer, "three\n");
    assert_eq!(handle.read(), Ok("three".into()));
    assert!(matches!(
        server.run(|_, _| panic!("on purpose, in a command")),
        Err::<(), _>(HandleError::Panicked)
    ));
    handle.close();
    assert_eq!(kit::read_to_end(&mut peer), "one\ntwo\n");
}

// Ends of every kind, with threads waiting.

/// Threads that wait in each of the calls that can: for packets, for errors, for room, for an answer.
struct Waiting {
    reads: Vec<Work<Result<String, ReadError>>>,
    errors: Vec<Work<Result<Error, ReadError>>>,
    writes: Vec<Work<WriteError<String>>>,
    joins: Vec<Work<Result<wheelhouse::StopReport, HandleError>>>,
}

impl Waiting {
    fn on(server: &ServerHandle<LinesCodec, ()>, handle: &ConnectionHandle<LinesCodec>) -> Self {
        let each = |_| handle.clone();
        let waiting = Self {
            reads: (0..4).map(each).map(|it| begin(move || it.read())).collect(),
            errors: (0..4).map(each).map(|it| begin(move || it.error())).collect(),
            writes: (0..4).map(each).map(write_on).collect(),
            joins: (0..2).map(|_| server.clone()).map(|it| begin(move || it.join())).collect(),
        };
        // The writers are stuck once nothing more goes through: the peer does not read.
        while handle.write_timeout("y".repeat(10_000), Duration::from_millis(200)).is_ok() {}
        waiting
    }

    /// Each returns, and says that it is over. What `join` says is for the caller.
    fn all_let_go(self) -> Vec<Result<wheelhouse::StopReport, HandleError>> {
        for read in self.reads {
            assert_eq!(read.wait("a blocked read"), Err(ReadError::Closed));
        }
        for error in self.errors {
            assert_eq!(error.wait("a blocked error").expect_err("over"), ReadError::Closed);
        }
        for write in self.writes {
            assert!(matches!(write.wait("a blocked write"), WriteError::Closed(_)));
        }
        self.joins.into_iter().map(|join| join.wait("a blocked join")).collect()
    }
}

#[test]
fn a_stop_without_grace_lets_every_waiting_thread_go() {
    let (server, _peer, handle) = trio(Config::default());
    let waiting = Waiting::on(&server, &handle);
    let report = server.stop(Duration::ZERO).expect("a stop");
    assert_eq!((report.closed, report.forced), (0, 1));
    for joined in waiting.all_let_go() {
        assert_eq!(joined.expect("a report"), report);
    }
}

#[test]
fn a_stop_with_grace_lets_readers_and_writers_go_at_once() {
    let (server, _peer, handle) = trio(Config::default());
    let waiting = Waiting::on(&server, &handle);
    server.request_stop(Duration::from_secs(3_600)); // the peer reads nothing, so it would take so long
    let joined = {
        let Waiting { reads, errors, writes, joins } = waiting;
        for read in reads {
            assert_eq!(read.wait("a blocked read"), Err(ReadError::Closed));
        }
        for write in writes {
            assert!(matches!(write.wait("a blocked write"), WriteError::Closed(_)));
        }
        assert!(server.is_shutting_down());
        server.request_stop(Duration::ZERO);
        Waiting { reads: vec![], errors, writes: vec![], joins }.all_let_go()
    };
    for report in joined {
        assert_eq!(report.expect("a report").forced, 1);
    }
}

#[test]
fn a_handles_abort_lets_every_waiting_thread_go() {
    let (server, _peer, handle) = trio(Config::default());
    let mut waiting = Waiting::on(&server, &handle);
    let joins = std::mem::take(&mut waiting.joins);
    handle.abort();
    waiting.all_let_go();
    server.stop(Duration::ZERO).expect("a stop");
    assert!(joins.into_iter().all(|join| join.wait("a join").is_ok()));
}

#[test]
fn a_reactor_that_is_dropped_lets_every_waiting_thread_go() {
    let quit = Arc::new(AtomicBool::new(false));
    let (give, given) = mpsc::channel();
    let quitting = Arc::clone(&quit);
    let host = begin(move || {
        let mut reactor = lines()
            .into_reactor(move |(), conn| {
                give.send((conn.handle(), conn.server().handle())).expect("a test");
                conn.handlers()
            })
            .expect("a reactor");
        let address = reactor.local_addr();
        let peer = peer(address);
        while !quitting.load(Ordering::SeqCst) {
            let _ = reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        }
        drop(reactor);
        drop(peer);
    });
    let (handle, server) = take(&given);
    let waiting = Waiting::on(&server, &handle);
    quit.store(true, Ordering::SeqCst);
    for joined in waiting.all_let_go() {
        assert_eq!(joined.expect("a report").forced, 1);
    }
    host.wait("the host");
    assert!(matches!(server.stats(), Err(HandleError::Stopped)));
}

/// A logger that is the one part of the loop a test can make panic outside of every handler.
struct Tripwire(Mutex<Option<mpsc::Sender<()>>>);

impl log::Log for Tripwire {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let accepted = record.args().to_string().contains("accepted from");
        let mut armed = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if accepted && let Some(tell) = armed.take() {
            drop(armed);
            tell.send(()).expect("a test");
            panic!("on purpose, in the logger");
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_loop_that_dies_of_a_panic_lets_everyone_go_and_says_so() {
    let tripwire = Arc::new(Tripwire(Mutex::new(None)));
    let logger: Arc<dyn log::Log> = Arc::clone(&tripwire) as _;
    let (server, _peer, handle) = trio(Config::default().logger(logger));
    let waiting = Waiting::on(&server, &handle);
    let (tell, tripped) = mpsc::channel();
    *tripwire.0.lock().expect("unpoisoned") = Some(tell);
    let _second = peer(server.local_addr());
    take(&tripped);
    for joined in waiting.all_let_go() {
        let error = joined.expect_err("the loop did not stop of its own will");
        assert!(error.to_string().contains("panicked"), "{error}");
    }
    assert!(matches!(server.stats(), Err(HandleError::Stopped)));
    assert!(server.is_closed());
}

#[test]
fn commands_that_wait_are_answered_or_refused_when_the_server_stops() {
    let server = lines()
        .config(Config::default().commands(2))
        .start(|_, conn| conn.handlers())
        .expect("a server");
    let hold = Hold::of(&server);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            begin(move || server.run(|_, _| ()))
        })
        .collect();
    server.request_stop(Duration::ZERO);
    hold.release();
    for ask in asked {
        let answer = ask.wait("a command");
        assert!(matches!(answer, Ok(()) | Err(HandleError::Stopped)), "{answer:?}");
    }
    server.join().expect("a report");
    assert!(matches!(server.try_run(|_, _| ()), Err(HandleError::Stopped)));
}

#[test]
fn commands_that_do_not_wait_are_refused_when_the_queue_is_full() {
    let (server, mut peer, handle) = trio(Config::default().commands(2));
    let id = handle.id();
    let hold = Hold::of(&server);
    server.try_send(id, "1".into()).expect("room");
    server.try_send(id, "2".into()).expect("room");
    let third = server.try_send(id, "3".into());
    assert!(matches!(third, Err(WriteError::Full(packet)) if packet == "3"));
    assert!(matches!(server.try_run(|_, _| ()), Err(HandleError::Full)));
    hold.release();
    let close = server.run(move |_, server| server.connection(id).map(|mut conn| conn.close()));
    assert_eq!(close.expect("a running server"), Some(()));
    assert_eq!(kit::read_to_end(&mut peer), "1\n2\n");
    drop(peer);
    let report = server.stop(Duration::from_secs(10)).expect("a stop");
    assert_eq!(report.forced, 0);
    let late = server.try_send(id, "late".into());
    assert!(matches!(late, Err(WriteError::Closed(packet)) if packet == "late"));
}

// What a handle knows.

#[test]
fn a_handle_knows_its_connection() {
    let (server, mut peer, handle) = trio(Config::default());
    assert_eq!(handle.peer_addr(), peer.local_addr().expect("an address"));
    assert_eq!(handle.local_addr(), Some(server.local_addr()));
    let again = server.connection(handle.id()).expect("a running server").expect("it is open");
    assert_eq!(again.id(), handle.id());
    again.write("the same channel".into()).expect("it is open");
    handle.close();
    assert!(handle.is_closed() && again.is_closed(), "at once, on every clone");
    assert_eq!(kit::read_to_end(&mut peer), "the same channel\n");
    peer.write_all(b"thrown away\n").expect("the server lingers");
    drop(peer);
    assert_eq!(handle.read(), Err(ReadError::Closed));
}

#[test]
fn a_handle_that_is_made_too_late_knows_it() {
    let (tell, ids) = mpsc::channel();
    let server = lines()
        .start(move |(), conn| {
            tell.send(conn.id()).expect("a test");
            conn.handlers()
        })
        .expect("a server");
    let _peer = peer(server.local_addr());
    let id = take(&ids);
    let made = server.run(move |(), server| {
        let mut conn = server.connection(id).expect("it is open");
        conn.close();
        conn.handle()
    });
    let handle = made.expect("a running server"); // the connection lingers: the peer has not ended its side
    assert!(handle.is_closed());
    let write = handle.try_write("late".into());
    assert!(matches!(write, Err(WriteError::Closed(packet)) if packet == "late"));
    assert_eq!(handle.try_read(), Err(ReadError::Closed));
}

#[test]
fn a_server_handle_knows_how_the_server_stands() {
    let (server, peer, handle) = trio(Config::default());
    assert!(server.is_running() && !server.is_shutting_down() && !server.is_closed());
    assert_eq!(server.connection_count(), 1);
    let stats = server.stats().expect("a running server");
    assert_eq!((stats.accepted, stats.open), (1, 1));
    let hold = Hold::of(&server);
    server.request_stop(Duration::from_secs(10));
    assert!(server.is_shutting_down() && !server.is_running(), "as soon as it is asked for");
    hold.release();
    drop(peer);
    server.join().expect("a report");
    assert!(server.is_closed() && !server.is_running() && !server.is_shutting_down());
    assert_eq!(server.connection_count(), 0);
    assert!(handle.is_closed());
}

#[test]
fn a_protocol_that_panics_turns_a_newcomer_away_alone() {
    use wheelhouse::codec::{BytesCodec, Protocol};
    struct Moody(u32);
    impl Protocol for Moody {
        type In = bytes::Bytes;
        type Out = bytes::Bytes;
        type Codec = BytesCodec;
        fn codec(&mut self) -> BytesCodec {
            self.0 += 1;
            assert_ne!(self.0, 2, "on purpose, for the second connection");
            BytesCodec::new()
        }
    }
    let server = wheelhouse::Server::bind("127.0.0.1:0", Moody(0))
        .expect("a free port")
        .start(|(), conn| conn.handlers().on_read(|(), conn, data| Ok(conn.write(data)?)))
        .expect("a server");
    let [mut first, mut second, mut third] = std::array::from_fn(|_| peer(server.local_addr()));
    assert_eq!(kit::read_to_end(&mut second), "", "turned away");
    for well in [&mut first, &mut third] {
        say(well, "alive");
        well.shutdown(std::net::Shutdown::Write).expect("a socket that is open");
        assert_eq!(kit::read_to_end(well), "alive");
    }
    let stats = server.stats().expect("a running server");
    assert_eq!((stats.accepted, stats.rejected, stats.caller_errors), (2, 1, 1));
}

#[test]
fn a_codec_that_panics_on_a_handles_packet_ends_its_connection_alone() {
    use bytes::{Bytes, BytesMut};
    use wheelhouse::codec::{BytesCodec, Decoder, Encoder, WriteBuffer};
    #[derive(Clone)]
    struct Touchy(BytesCodec);
    impl Decoder for Touchy {
        type Packet = Bytes;
        type Error = std::convert::Infallible;
        fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Self::Error> {
            self.0.decode(src)
        }
    }
    impl Encoder<Bytes> for Touchy {
        type Error = std::convert::Infallible;
        fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Self::Error> {
            dst.extend_from_slice(&packet);
            assert_ne!(packet, "boom", "on purpose, in the codec");
            Ok(())
        }
    }
    let (give, given) = mpsc::channel();
    let server = wheelhouse::Server::bind("127.0.0.1:0", Touchy(BytesCodec::new()))
        .expect("a free port")
        .start(move |(), conn| {
            give.send(conn.handle()).expect("a test");
            conn.handlers()
        })
        .expect("a server");
    let (_one, mut two) = (peer(server.local_addr()), peer(server.local_addr()));
    let (first, second) = (take(&given), take(&given));
    let (doomed, well) = if first.peer_addr() == two.local_addr().expect("an address") {
        (second, first)
    } else {
        (first, second)
    };
    doomed.write("boom".into()).expect("the channel knows no codec");
    assert_eq!(
        in_time("the end", {
            let it = doomed.clone();
            move || it.read()
        }),
        Err(ReadError::Closed)
    );
    let error = doomed.error().expect("it waits");
    assert!(matches!(error, Error::Panic(_)), "{error}");
    well.write("alive".into()).expect("it is open");
    well.close();
    assert_eq!(kit::read_to_end(&mut two), "alive");
    let stats = server.stats().expect("a running server");
    assert_eq!(stats.queued_bytes, 0, "what the codec left half done is not counted");
}
