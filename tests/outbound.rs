//! Connections that the server makes: how they begin, how they fail, and what they may do meanwhile.

mod kit;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use kit::{PATIENCE, in_time, lines, peer, read_lines, say, take};
use wheelhouse::codec::LinesCodec;
use wheelhouse::{
    CloseReason, Config, ConnectError, ConnectionHandle, ConnectionId, Error, HandleError,
    Handlers, Late, ServerHandle, ServerRef, WriteError,
};

/// What an outbound connection's handlers were told, in order.
#[derive(PartialEq, Debug)]
enum Told {
    Connected { to: SocketAddr },
    Read(String),
    Failed(String),
    Closed(CloseReason),
}

fn telling(tell: &mpsc::Sender<Told>) -> Handlers<LinesCodec, ()> {
    let [connect, read, error, closed] = std::array::from_fn(|_| tell.clone());
    Handlers::new()
        .on_connect(move |_, conn| {
            connect.send(Told::Connected { to: conn.peer_addr() }).expect("a test");
        })
        .on_read(move |_, _, packet| {
            read.send(Told::Read(packet)).expect("a test");
            Ok(())
        })
        .on_error(move |_, _, failure| {
            error.send(Told::Failed(failure.to_string())).expect("a test");
        })
        .on_closed(move |_, _, reason| closed.send(Told::Closed(reason)).expect("a test"))
}

fn serving(config: Config) -> ServerHandle<LinesCodec, ()> {
    lines().config(config).start(|(), conn| conn.handlers()).expect("a server")
}

/// Connects, and runs `then` on the connection in the same turn.
fn connect<R: Send + 'static>(
    server: &ServerHandle<LinesCodec, ()>,
    to: SocketAddr,
    limit: Duration,
    then: impl FnOnce(&mut ServerRef<'_, LinesCodec, ()>, ConnectionId) -> R + Send + 'static,
) -> (Result<R, ConnectError>, Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    let connected = server.run(move |(), server| {
        let id = server.connect(to, limit, telling(&tell))?;
        Ok(then(server, id))
    });
    (connected.expect("a running server"), told)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn accept(listener: TcpListener) -> TcpStream {
    in_time("the other side's accept", move || listener.accept().expect("a connection").0)
}

#[test]
fn it_is_made_and_lives_beside_the_inbound_ones() {
    let server = serving(Config::default());
    let (listener, address) = listener();
    let (connected, told) = connect(&server, address, PATIENCE, |server, id| {
        let mut conn = server.connection(id).expect("it is being made");
        assert!(conn.is_connecting() && conn.is_open());
        assert!(conn.local_addr().is_err(), "it has no address yet");
        conn.write("queued before".into()).expect("room");
        conn.write("it was made".into()).expect("room");
    });
    connected.expect("it begins");
    let mut other = accept(listener);
    assert_eq!(take(&told), Told::Connected { to: address });
    let reader = other.try_clone().expect("a descriptor");
    assert_eq!(read_lines(reader).take(2).collect::<Vec<_>>(), ["queued before", "it was made"]);
    say(&mut other, "an answer\n");
    assert_eq!(take(&told), Told::Read("an answer".into()));
    let inbound = peer(server.local_addr());
    drop(other);
    assert_eq!(take(&told), Told::Closed(CloseReason::Peer));
    let stats = server.stats().expect("a running server");
    assert_eq!((stats.connected, stats.accepted), (1, 1));
    drop(inbound);
    assert!(told.try_recv().is_err(), "nothing after the end");
}

#[test]
fn a_server_may_connect_to_itself() {
    let server = lines()
        .start(|(), conn| conn.handlers().on_read(|_, conn, packet| Ok(conn.write(packet)?)))
        .expect("a server");
    let (connected, told) = connect(&server, server.local_addr(), PATIENCE, |server, id| {
        server.connection(id).expect("it is being made").write("to myself".into()).expect("room");
    });
    connected.expect("it begins");
    assert!(matches!(take(&told), Told::Connected { .. }));
    assert_eq!(take(&told), Told::Read("to myself".into()));
    server.stop(Duration::from_secs(10)).expect("a stop");
    assert_eq!(take(&told), Told::Closed(CloseReason::Shutdown));
}

#[test]
fn a_refusal_is_told_and_ends_it() {
    let server = serving(Config::default());
    let (listener, address) = listener();
    drop(listener); // nobody listens there any more
    let (connected, told) = connect(&server, address, PATIENCE, |_, _| ());
    connected.expect("it begins");
    let Told::Failed(error) = take(&told) else { panic!("the error comes first") };
    assert!(error.starts_with("connect failed: "), "{error}");
    assert_eq!(take(&told), Told::Closed(CloseReason::IoError));
    let stats = server.stats().expect("a running server");
    assert_eq!((stats.connected, stats.peer_errors, stats.open), (0, 1, 0));
    assert!(told.recv().is_err(), "its handlers are gone, and told nothing more");
}

/// A listener that answers nobody: its backlog is full. What fills it is returned to be kept.
fn deaf_listener() -> (SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = socket();
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut kept = vec![listener];
    for _ in 0..4 {
        let filler = socket();
        filler.set_nonblocking(true).expect("a socket option");
        let _ = filler.connect(&address); // it is under way, or already one too many
        kept.push(filler);
    }
    (address.as_socket().expect("an IPv4 address"), kept)
}

#[test]
fn a_connection_that_is_not_made_in_time_is_told_and_ended() {
    let server = serving(Config::default());
    let (address, _kept) = deaf_listener();
    let limit = Duration::from_millis(100);
    let (connected, told) = connect(&server, address, limit, |server, id| {
        server.connection(id).expect("it is being made").write("never sent".into()).expect("room");
    });
    connected.expect("it begins");
    assert_eq!(take(&told), Told::Failed(Error::Late(Late::Connect(limit)).to_string()));
    assert_eq!(take(&told), Told::Closed(CloseReason::IoError));
    let stats = server.stats().expect("a running server");
    assert_eq!((stats.queued_bytes, stats.open), (0, 0));
}

#[test]
fn its_handle_can_be_written_to_before_it_is_made() {
    let server = serving(Config::default());
    let (listener, address) = listener();
    let (handle, told) = connect(&server, address, PATIENCE, |server, id| {
        server.connection(id).expect("it is being made").handle()
    });
    let handle: ConnectionHandle<LinesCodec> = handle.expect("it begins");
    assert_eq!((handle.peer_addr(), handle.local_addr()), (address, None));
    handle.write("from a thread".into()).expect("room");
    let other = accept(listener);
    assert_eq!(take(&told), Told::Connected { to: address });
    assert_eq!(read_lines(other).next().as_deref(), Some("from a thread"));
}

#[test]
fn a_handle_of_one_that_fails_is_closed() {
    let server = serving(Config::default());
    let (address, _kept) = deaf_listener();
    let (handle, _told) = connect(&server, address, Duration::from_millis(50), |server, id| {
        server.connection(id).expect("it is being made").handle()
    });
    let handle = handle.expect("it begins");
    let error = in_time("a writer's end", move || {
        loop {
            if let Err(error) = handle.write("x".repeat(10_000)) {
                break error;
            }
        }
    });
    assert!(matches!(error, WriteError::Closed(_)));
}

#[test]
fn one_that_is_closed_before_it_is_made_ends_at_once() {
    let server = serving(Config::default());
    let (address, _kept) = deaf_listener();
    let (connected, told) = connect(&server, address, PATIENCE, |server, id| {
        server.connection(id).expect("it is being made").close();
        assert!(server.connection(id).is_none());
    });
    connected.expect("it begins");
    assert_eq!(take(&told), Told::Closed(CloseReason::Local));
}

#[test]
fn there_are_no_more_of_them_than_connections_may_be() {
    let server = serving(Config::default().max_connections(1));
    let (address, _kept) = deaf_listener();
    let (first, told) = connect(&server, address, PATIENCE, |_, id| id);
    let first = first.expect("there is room for one");
    let (second, _) = connect(&server, address, PATIENCE, |_, _| ());
    assert_eq!(second, Err(ConnectError::Full { limit: 1 }));
    let abort = server.run(move |(), server| {
        server.connection(first).expect("it is being made").abort();
    });
    abort.expect("a running server");
    assert_eq!(take(&told), Told::Closed(CloseReason::Local));
    let (third, _told) = connect(&server, address, PATIENCE, |_, _| ());
    assert_eq!(third, Ok(()), "the first one's place is free again");
}

#[test]
fn none_begins_while_the_server_stops_and_those_under_way_end() {
    let server = serving(Config::default());
    let (address, _kept) = deaf_listener();
    let (connected, told) = connect(&server, address, PATIENCE, |_, _| ());
    connected.expect("it begins");
    let refused = server.run(move |(), server| {
        server.stop(Duration::from_secs(10));
        server.connect(address, PATIENCE, Handlers::new())
    });
    assert_eq!(refused.expect("a running server"), Err(ConnectError::Stopping));
    // Without an on_stop it closes, and there is nothing to wait for.
    assert_eq!(take(&told), Told::Closed(CloseReason::Shutdown));
    let report = server.join().expect("a report");
    assert_eq!((report.closed, report.forced), (1, 0));
    assert!(matches!(server.stats(), Err(HandleError::Stopped)));
}

#[test]
fn one_under_way_is_forced_by_a_stop_without_grace() {
    let server = serving(Config::default());
    let (address, _kept) = deaf_listener();
    let (connected, told) = connect(&server, address, PATIENCE, |_, _| ());
    connected.expect("it begins");
    let report = server.stop(Duration::ZERO).expect("a report");
    assert_eq!((report.closed, report.forced), (0, 1));
    assert_eq!(take(&told), Told::Closed(CloseReason::Forced));
}
