//! Broadcasts: one peer that stalls costs the others nothing, memory stays within the caps, and the report counts exactly.

mod kit;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kit::{after_a_turn, lines, narrow_peer, peer, read_lines, take};
use wheelhouse::codec::{BytesCodec, Decoder, Encoder, LinesCodec, Protocol, WriteBuffer};
use wheelhouse::{
    Broadcast, CloseReason, Config, ConnectionId, Server, ServerHandle, SlowConsumers,
};

const SUBSCRIBERS: usize = 1_000;
const ROUNDS: usize = 100;
const CAP: usize = 64 * 1024;

/// A thousand peers, of which the first has stalled: its outbox is full, and so are the kernel's buffers.
struct Crowd {
    server: ServerHandle<LinesCodec, ()>,
    stalled: TcpStream,
    stalled_id: ConnectionId,
    others: Vec<TcpStream>,
    closed: Receiver<(ConnectionId, CloseReason)>,
}

impl Crowd {
    fn gather() -> Self {
        let (tell, ids) = mpsc::channel();
        let (tell_closed, closed) = mpsc::channel();
        let server = lines()
            .config(Config::default().outbox(4 * 1024, 16 * 1024, CAP))
            .start(move |(), conn| {
                tell.send((conn.peer_addr(), conn.id())).expect("a test");
                let tell_closed = tell_closed.clone();
                conn.handlers().on_closed(move |(), conn, reason| {
                    // Nobody listens any more when the test is over.
                    let _ = tell_closed.send((conn.id(), reason));
                })
            })
            .expect("a server");
        let stalled = narrow_peer(server.local_addr());
        let (_, stalled_id) = take(&ids);
        let others: Vec<_> = (1..SUBSCRIBERS).map(|_| peer(server.local_addr())).collect();
        others.iter().for_each(|_| {
            take(&ids);
        });
        fill(&server, stalled_id);
        Self { server, stalled, stalled_id, others, closed }
    }

    fn broadcast(&self, round: usize, slow: SlowConsumers) -> Broadcast {
        let report = self.server.broadcast(format!("round {round}"), slow);
        // The others' outboxes are empty again once the turn is over.
        let queued = after_a_turn(&self.server).queued_bytes;
        assert!(queued <= CAP + 1_024, "round {round}: {queued} bytes wait");
        report.expect("a running server")
    }

    /// The peers that read get every round, in order.
    fn others_got_everything(&self) {
        let all: Vec<_> = (0..ROUNDS).map(|round| format!("round {round}")).collect();
        for other in &self.others {
            let other = other.try_clone().expect("a descriptor");
            assert_eq!(read_lines(other).take(ROUNDS).collect::<Vec<_>>(), all);
        }
    }
}

/// Writes to a connection until neither its outbox nor the kernel takes anything more.
fn fill(server: &ServerHandle<LinesCodec, ()>, id: ConnectionId) {
    let mut times_full = 0;
    while times_full < 3 {
        let written = server.run(move |(), server| {
            let mut conn = server.connection(id).expect("it is open");
            let mut until_full =
                |len| (0..).take_while(|_| conn.write("-".repeat(len)).is_ok()).count();
            until_full(1_000) + until_full(0)
        });
        after_a_turn(server); // the kernel is offered it
        times_full = if written.expect("a running server") == 0 { times_full + 1 } else { 0 };
    }
}

#[test]
fn a_stalled_subscriber_is_skipped_and_the_others_get_everything() {
    let mut crowd = Crowd::gather();
    let mut skipped = 0;
    for round in 0..ROUNDS {
        let report = crowd.broadcast(round, SlowConsumers::Skip);
        assert_eq!((report.disconnected, report.failed), (0, 0));
        assert_eq!(report.sent + report.skipped, SUBSCRIBERS);
        skipped += report.skipped;
    }
    crowd.others_got_everything();
    assert!(skipped > ROUNDS / 2, "{skipped} of {ROUNDS} skipped: it was not stalled");
    assert_eq!(crowd.server.stats().expect("a running server").slow_consumers, 0);

    // What it missed is exactly what was counted: the rest comes once it reads.
    let id = crowd.stalled_id;
    let close = move |(): &mut (), server: &mut wheelhouse::ServerRef<'_, LinesCodec, ()>| {
        server.connection(id).expect("it is open").close();
    };
    crowd.server.run(close).expect("a running server");
    let text = kit::read_to_end(&mut crowd.stalled);
    assert_eq!(text.matches("round").count(), ROUNDS - skipped);
    crowd.server.stop(Duration::ZERO).expect("a stop");
}

#[test]
fn a_stalled_subscriber_is_dropped_once_and_the_others_get_everything() {
    let crowd = Crowd::gather();
    let mut dropped = 0;
    for round in 0..ROUNDS {
        let report = crowd.broadcast(round, SlowConsumers::Disconnect);
        assert_eq!((report.skipped, report.failed), (0, 0));
        dropped += report.disconnected;
        assert_eq!(report.sent, if dropped == 0 { SUBSCRIBERS } else { SUBSCRIBERS - 1 });
    }
    assert_eq!(dropped, 1);
    crowd.others_got_everything();
    assert_eq!(take(&crowd.closed), (crowd.stalled_id, CloseReason::SlowConsumer));
    let stats = crowd.server.stats().expect("a running server");
    assert_eq!((stats.slow_consumers, stats.open), (1, SUBSCRIBERS - 1));
    assert_eq!(stats.queued_bytes, 0, "what waited for it went with it");
    crowd.server.stop(Duration::ZERO).expect("a stop");
}

// Who is meant.

#[test]
fn a_broadcast_reaches_those_who_are_named_and_open() {
    let (tell, ids) = mpsc::channel();
    let server = lines()
        .start(move |(), conn| {
            tell.send(conn.id()).expect("a test");
            conn.handlers()
        })
        .expect("a server");
    let mut peers = HashMap::new();
    let mut order = Vec::new();
    for _ in 0..4 {
        let peer = peer(server.local_addr());
        let id = take(&ids);
        order.push(id);
        peers.insert(id, peer);
    }
    let [a, b, c, d] = order[..] else { unreachable!("four peers") };
    let reports = server.run(move |(), server| {
        let skip = SlowConsumers::Skip;
        let except = server.broadcast_except(a, "not a".into(), skip);
        server.connection(d).expect("it is open").close();
        let named = server.broadcast_to([a, b, d], "a and b, d is closing".into(), skip);
        let all = server.broadcast("all that is open".into(), skip);
        server.connection(c).expect("it is open").abort();
        let gone = server.broadcast_to([c], "nobody".into(), skip);
        [except, named, all, gone].map(|it| (it.sent, it.failed))
    });
    assert_eq!(reports.expect("a running server"), [(3, 0), (2, 1), (3, 0), (0, 1)]);
    let stale = server.run(move |(), server| {
        server.broadcast_to([c], "nobody".into(), SlowConsumers::Disconnect)
    });
    let stale = stale.expect("a running server");
    assert_eq!((stale.sent, stale.disconnected, stale.failed), (0, 0, 1), "an id of the past");
    for id in [a, b] {
        server.connection(id).expect("a running server").expect("it is open").close();
    }
    let mut read = |id| kit::read_to_end(peers.get_mut(&id).expect("one of four"));
    assert_eq!(read(a), "a and b, d is closing\nall that is open\n");
    assert_eq!(read(b), "not a\na and b, d is closing\nall that is open\n");
    assert_eq!(read(d), "not a\n");
}

// How often it is encoded.

/// Bytes as they come; it counts what it encodes, and where it has a state, numbers the packets of each connection.
struct Counted {
    encoded: Arc<AtomicUsize>,
    numbering: bool,
}

struct CountedCodec {
    encoded: Arc<AtomicUsize>,
    number: Option<u32>,
}

impl Protocol for Counted {
    type In = Bytes;
    type Out = Bytes;
    type Codec = CountedCodec;

    fn codec(&mut self) -> CountedCodec {
        let number = self.numbering.then_some(0);
        CountedCodec { encoded: Arc::clone(&self.encoded), number }
    }
}

impl Decoder for CountedCodec {
    type Packet = Bytes;
    type Error = Infallible;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Infallible> {
        BytesCodec::new().decode(src)
    }
}

impl Encoder<Bytes> for CountedCodec {
    type Error = Infallible;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), Infallible> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        if let Some(number) = &mut self.number {
            *number += 1;
            dst.extend_from_slice(format!("{number}:").as_bytes());
        }
        dst.extend_from_slice(&packet);
        Ok(())
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        self.number.is_none()
    }
}

/// Broadcasts twice to fifty peers, one of which has been written to before; says how often the codec was called for that,
/// and what each peer got.
fn encodings(numbering: bool) -> (usize, Vec<String>) {
    let encoded = Arc::new(AtomicUsize::new(0));
    let protocol = Counted { encoded: Arc::clone(&encoded), numbering };
    let (tell, ids) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0", protocol)
        .expect("a free port")
        .start(move |(), conn| {
            tell.send(conn.id()).expect("a test");
            conn.handlers()
        })
        .expect("a server");
    let mut peers = Vec::new();
    for _ in 0..50 {
        peers.push(peer(server.local_addr()));
        let id = take(&ids);
        if peers.len() == 1 {
            let sent = server.send(id, Bytes::from_static(b"first,"));
            sent.expect("a running server").expect("it is open");
        }
    }
    let before = encoded.load(Ordering::Relaxed);
    for packet in [&b"one,"[..], b"two,"] {
        let packet = Bytes::from_static(packet);
        let report = server.broadcast(packet, SlowConsumers::Skip).expect("a running server");
        assert_eq!(report.sent, 50);
    }
    let calls = encoded.load(Ordering::Relaxed) - before;
    let close = server.run(|_, server| {
        server.for_each_connection(|conn| {
            conn.close();
        });
    });
    close.expect("a running server");
    let got = peers.iter_mut().map(kit::read_to_end).collect();
    drop(peers);
    server.stop(Duration::from_secs(10)).expect("a stop");
    (calls, got)
}

#[test]
fn a_stateless_codec_encodes_a_broadcast_once() {
    let (calls, got) = encodings(false);
    assert_eq!(calls, 2, "once for each broadcast");
    assert_eq!(got[0], "first,one,two,");
    assert!(got[1..].iter().all(|text| text == "one,two,"));
}

#[test]
fn a_codec_with_a_state_encodes_a_broadcast_for_each_connection() {
    let (calls, got) = encodings(true);
    assert_eq!(calls, 100);
    assert_eq!(got[0], "1:first,2:one,3:two,");
    assert!(got[1..].iter().all(|text| text == "1:one,2:two,"));
}
