//! Channels that have come to their end, and the one of errors, with Go's rules: in the loop and from threads.

mod kit;

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use kit::{
    Hold, after_a_turn, begin, gate, handing_out, in_time, lines, peer, read_lines, say, take, trio,
};
use wheelhouse::{CloseReason, Config, Error, HandleError, HandlerError, ReadError, WriteError};

const SHORT: Duration = Duration::from_millis(20);

// `for p := range ch` after close.

#[test]
fn what_came_before_the_end_is_read_after_it_in_the_loop() {
    let (tell, told) = mpsc::channel();
    let server = lines()
        .start(move |_, conn| {
            let tell = tell.clone();
            conn.handlers().on_closed(move |_, conn, reason| {
                let read: Vec<_> = std::iter::from_fn(|| conn.read()).collect();
                tell.send((read, reason)).expect("a test");
            })
        })
        .expect("a server");
    let mut peer = peer(server.local_addr());
    say(&mut peer, "a\nb\nc"); // the last line has no end but the stream's
    drop(peer);
    let (read, reason) = take(&told);
    assert_eq!(read, ["a", "b", "c"]);
    assert_eq!(reason, CloseReason::Peer);
}

#[test]
fn what_came_before_the_end_is_read_after_it_from_a_thread() {
    let (tell, closed) = mpsc::channel();
    let (_server, handles) = handing_out(Config::default(), move |conn| {
        let tell = tell.clone();
        conn.handlers().on_closed(move |_, _, _| tell.send(()).expect("a test"))
    });
    let mut peer = peer(_server.local_addr());
    let handle = take(&handles);
    say(&mut peer, "a\nb\nc\n");
    drop(peer);
    take(&closed); // the connection is over before the first packet is read
    assert!(handle.is_closed());
    assert_eq!(handle.packets().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(handle.try_read(), Err(ReadError::Closed));
    assert_eq!(handle.read_timeout(SHORT), Err(ReadError::Closed));
    assert_eq!(in_time("a read after the end", move || handle.read()), Err(ReadError::Closed));
}

#[test]
fn a_half_open_peers_end_ends_the_range_and_leaves_the_writing() {
    let (_server, mut peer, handle) = trio(Config::default().half_open(true));
    say(&mut peer, "a\nb\n");
    peer.shutdown(std::net::Shutdown::Write).expect("a socket that is open");
    let echo = begin(move || {
        for packet in handle.packets() {
            handle.write(packet).expect("the write side is open");
        }
        handle.write("bye".into()).expect("still open");
        handle.close();
    });
    echo.wait("the echoing thread");
    assert_eq!(kit::read_to_end(&mut peer), "a\nb\nbye\n");
}

#[test]
fn what_a_thread_wrote_before_the_loop_closed_is_sent() {
    let (server, peer, handle) = trio(Config::default());
    let hold = Hold::of(&server);
    for n in 0..50 {
        handle.write(n.to_string()).expect("room");
    }
    let id = handle.id();
    server
        .try_run(move |_, server| {
            server.connection(id).expect("it is open").close();
        })
        .expect("room for a command");
    hold.release();
    let got: Vec<_> = read_lines(peer).collect();
    assert_eq!(got, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

// Send on a closed channel.

#[test]
fn a_write_to_a_closed_connection_gives_the_packet_back_in_the_loop() {
    let (tell, told) = mpsc::channel();
    let server = lines()
        .start(move |_, conn| {
            let tell = tell.clone();
            conn.handlers().on_read(move |_, conn, packet| {
                conn.close();
                let after_close = conn.write(packet);
                let id = conn.id();
                let broadcast =
                    conn.server().broadcast("x".into(), wheelhouse::SlowConsumers::Skip);
                tell.send((after_close, broadcast.sent, id)).expect("a test");
                Ok(())
            })
        })
        .expect("a server");
    let mut peer = peer(server.local_addr());
    say(&mut peer, "mine\n");
    let (after_close, sent, id) = take(&told);
    assert!(matches!(after_close, Err(WriteError::Closed(packet)) if packet == "mine"));
    assert_eq!(sent, 0, "a connection that closes takes no broadcast");
    assert_eq!(kit::read_to_end(&mut peer), "");
    drop(peer);
    server.stop(Duration::from_secs(10)).expect("a stop");
    let send = server.send(id, "gone".into());
    assert!(matches!(send, Err(HandleError::Stopped)), "{send:?}");
}

#[test]
fn a_write_to_a_closed_connection_gives_the_packet_back_from_a_thread() {
    let (server, peer, handle) = trio(Config::default());
    drop(peer);
    in_time("the end", {
        let handle = handle.clone();
        move || assert_eq!(handle.read(), Err(ReadError::Closed))
    });
    let closed = |result| matches!(result, Err(WriteError::Closed(packet)) if packet == "p");
    assert!(closed(handle.write("p".to_owned())));
    assert!(closed(handle.try_write("p".to_owned())));
    assert!(closed(handle.write_timeout("p".to_owned(), SHORT)));
    assert!(handle.is_closed());
    let send = server.send(handle.id(), "p".into()).expect("a running server");
    assert!(closed(send));
}

// `errorChan`

#[test]
fn errors_wait_and_the_oldest_give_way() {
    let (server, _peer, handle) = trio(Config::default().errors(3));
    assert_eq!(handle.try_error().expect_err("no error yet"), ReadError::Empty);
    assert_eq!(handle.error_timeout(SHORT).expect_err("no error yet"), ReadError::Empty);
    for n in 0..8 {
        handle
            .write(format!("{}\n", "x".repeat(n)))
            .expect("the channel takes what the codec won't");
    }
    // Commands alone do not tell: as many of them may run in one turn, before its packets, as come meanwhile.
    let stats = after_a_turn(&server);
    assert_eq!((stats.errors_dropped, stats.caller_errors), (5, 8));
    for n in 5..8 {
        let error = handle.error().expect("it waits");
        assert!(matches!(error, Error::Handler(_)), "{error:?}");
        assert!(error.to_string().contains(&n.to_string()), "{error}: the line break is at {n}");
    }
    assert_eq!(handle.try_error().expect_err("all taken"), ReadError::Empty);
}

#[test]
fn an_error_blocks_its_reader_until_it_comes_and_ends_with_the_connection() {
    let (_server, mut peer, handle) = trio(Config::default());
    let (open, opened) = gate();
    let (tell, called) = mpsc::channel();
    let reader = handle.clone();
    let read = begin(move || {
        tell.send(()).expect("a test");
        (reader.error(), opened.load(Ordering::SeqCst))
    });
    take(&called);
    open.store(true, Ordering::SeqCst);
    std::io::Write::write_all(&mut peer, b"\xff\n").expect("the server reads"); // not UTF-8
    let (error, was_open) = read.wait("the error");
    assert!(matches!(error, Ok(Error::Protocol(_))), "{error:?}");
    assert!(was_open);
    drop(peer);
    assert_eq!(in_time("the end", move || handle.error()).expect_err("over"), ReadError::Closed);
}

#[test]
fn without_on_error_an_error_waits_in_the_loop_too() {
    let (tell, told) = mpsc::channel();
    let server = lines()
        .start(move |_, conn| {
            let tell = tell.clone();
            conn.handlers()
                .on_read(|_, _, packet| Err(HandlerError::msg(format!("no {packet}"))))
                .on_closed(move |_, conn, reason| {
                    let errors: Vec<_> = std::iter::from_fn(|| conn.take_error())
                        .map(|error| error.to_string())
                        .collect();
                    tell.send((errors, reason)).expect("a test");
                })
        })
        .expect("a server");
    let mut peer = peer(server.local_addr());
    say(&mut peer, "thanks\n");
    drop(peer);
    let (errors, reason) = take(&told);
    assert_eq!(errors, ["the handler failed: no thanks"]);
    assert_eq!(reason, CloseReason::HandlerError);
}
