//! Slow headers, the attack that is called slowloris: requests that are never finished, kept alive by another line now and
//! then. Each is told so (408) and gone at its deadline, which no line moves, and nobody else waits for them.

use std::collections::VecDeque;

use crate::common::ms;
use crate::crowd::{Crowd, Dialect};
use crate::ground::{Figures, Process, alone, millis, size, until};
use crate::host;
use crate::slow::{Slow, bytewise};

/// A request for the health check, and its answer.
fn checks(_peer: usize, _question: u64) -> (Vec<u8>, Vec<u8>) {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\n\r\nok\n";
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), answer.into())
}

const LINE: &[u8] = b"GET / HTTP/1.1\r\n";

/// Whether a sender has sent a request line, so that an answer is due to it.
fn has_asked(at: usize) -> bool {
    at % 5 != 4
}

/// More lines than the deadline leaves time for, bytes of a header without end, a request line alone, half a header, and
/// half a request line.
fn requests(at: usize) -> VecDeque<Vec<u8>> {
    let mut pieces = VecDeque::from([LINE.to_vec()]);
    match at % 5 {
        0 => pieces.extend((0..60).map(|line| format!("X-Line-{line}: {at}\r\n").into_bytes())),
        1 => pieces.extend(bytewise(&[b"X-Long: ".as_slice(), &[b'a'; 200]].concat())),
        2 => {}
        3 => pieces.push_back(b"Host: local".to_vec()),
        _ => pieces = VecDeque::from([LINE[..6].to_vec()]),
    }
    pieces
}

#[test]
fn slow_headers_are_gone_at_their_deadline_and_hold_up_nobody() {
    let _alone = alone();
    let (count, deadline) = (size(50, 3_000), size(ms(1_000), ms(10_000)));
    let server = host::start(&format!("http=1 packet={}", deadline.as_millis()));
    let (address, process) = (server.address(), Process(server.pid()));
    let mut figures = Figures::of("slow headers");
    let rested = process.rested();
    let dialect: Dialect = checks;
    let mut calm = Crowd::talk_for(size(ms(500), ms(5_000)), address, 10, ms(10), dialect);
    assert_eq!(calm.lost, <[&str; 0]>::default());
    figures.tell("healthy clients without them", calm.latencies.summary());

    let healthy = Crowd::start(address, 10, ms(10), dialect);
    let before = process.memory();
    let mut slow = Slow::begin((address, 21), count, deadline / 10, requests);
    let each = process.memory().saturating_sub(before) / count as u64;
    slow.outlast(deadline);
    let mut healthy = healthy.finish();
    assert_eq!(healthy.lost, <[&str; 0]>::default(), "nobody is dropped for them");

    for (at, sender) in slow.senders.iter().enumerate() {
        let told = String::from_utf8_lossy(&sender.told);
        let is_told = told.starts_with("HTTP/1.1 408 ");
        assert_eq!(is_told, has_asked(at), "sender {at} was told {told:?}");
    }
    let (first, last) = slow.lived();
    figures.tell(&format!("healthy clients beside {count}"), healthy.latencies.summary());
    figures.tell("memory for each", format_args!("{each} bytes"));
    assert!(first >= deadline, "one was gone after {first:?}, before its deadline");
    figures.at_most("the last was late by", millis(last - deadline), 100.0, "ms");
    drop(slow);
    until("their descriptors are back", || process.descriptors() == rested);
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
