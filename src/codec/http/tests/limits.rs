//! The limits on a head: what is at one passes, what is over it is refused by the first byte too many.

use std::hash::{Hash, Hasher};

use super::*;

#[test]
fn what_is_at_its_limit_passes_and_one_more_does_not() {
    let http = Http::new().max_target(10).max_headers(3).max_head(64);
    let outcome = |head: &str| decode_whole(&mut Answering::with(http), head.as_bytes());
    let head = |target: usize, headers: usize| {
        let target = "/".repeat(target);
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(headers))
    };
    assert_eq!(outcome(&head(10, 2)).complete().len(), 1);
    assert_eq!(outcome(&head(11, 2)).error(), HttpError::TargetTooLong { max: 10 });
    assert_eq!(outcome(&head(10, 3)).error(), HttpError::TooManyHeaders { max: 3 });
    let long = |total: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nA: ";
        format!("{head}{}\r\n\r\n", "a".repeat(total - head.len() - 4))
    };
    assert_eq!(outcome(&long(64)).complete().len(), 1);
    assert_eq!(outcome(&long(65)).error(), HttpError::HeadTooLong { max: 64 });
    let method = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(33));
    assert_eq!(error_of(method.as_bytes()).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn what_has_no_end_is_refused_at_the_limit() {
    let header = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "a".repeat(100 * 1024));
    let target = format!("GET /{}", "a".repeat(100 * 1024));
    let word = "a".repeat(100 * 1024);
    for (stream, status) in [(&header, 431), (&target, 414), (&word, 400)] {
        for pieces in [&[][..], &[1], &[1500]] {
            let outcome = decode_pieces(&mut Answering::new(), stream.as_bytes(), pieces);
            assert!(outcome.most_held < 16 * 1024, "{} bytes were held", outcome.most_held);
            assert_eq!(outcome.error().status(), status);
        }
    }
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "A:\r\n".repeat(100_000));
    assert_eq!(error_of(many.as_bytes()), HttpError::TooManyHeaders { max: 64 });
}

#[test]
fn the_smallest_limit_is_the_shortest_request() {
    let codec = Answering::with(Http::new().max_head(0));
    for (stream, requests) in [
        (&b"A / HTTP/1.0\r\n\r\n"[..], 1),
        (b"\r\nA / HTTP/1.0\r\n\r\n", 1),
        (b"\r\n@", 0),
        (b"\r", 0),
    ] {
        let outcome = assert_split_is_unseen(&codec, stream, &[1]);
        assert_eq!(outcome.packets.len(), requests, "{}", stream.escape_ascii());
    }
}

#[test]
fn the_largest_limits_do_not_overflow() {
    let most = usize::MAX;
    let http = Http::new().max_head(most).max_target(most).max_headers(most);
    let stream = with_headers(&format!("Host: a\r\n{}", "A: b\r\n".repeat(16_383)));
    assert_eq!(decode_whole(&mut Answering::with(http), &stream).complete().len(), 1);
    let stream = with_headers(&format!("Host: a\r\n{}", "A: b\r\n".repeat(16_384)));
    let error = decode_whole(&mut Answering::with(http), &stream).error();
    assert_eq!(error, HttpError::TooManyHeaders { max: 16_384 });
}

#[test]
fn the_longest_request_line_is_a_word_a_target_and_a_version() {
    let http = Http::new().max_target(20);
    let longest = format!("{} /{} HTTP/1.1", "A".repeat(32), "b".repeat(19));
    let head = format!("{longest}\r\nHost: a\r\n\r\n");
    let outcome = assert_split_is_unseen(&Answering::with(http), head.as_bytes(), &[1]);
    assert_eq!(outcome.complete().len(), 1);

    // One that goes on is refused by the byte that makes it longer, though its end has not come.
    let mut codec = Answering::with(http);
    let endless = longest.replacen('A', "", 31) + &"c".repeat(100);
    let mut src = BytesMut::new();
    let taken = endless.bytes().position(|byte| {
        src.extend_from_slice(&[byte]);
        codec.decode(&mut src).is_err()
    });
    assert_eq!(taken, Some(longest.len()));
}

#[test]
fn a_header_may_be_longer_than_a_request_line() {
    let http = Http::new().max_target(1);
    let stream = with_headers(&format!("Host: a\r\nA: {}\r\n", "b".repeat(200)));
    let outcome = assert_split_is_unseen(&Answering::with(http), &stream, &[1]);
    assert_eq!(outcome.complete().len(), 1);
}

/// FNV-1a, as a map of headers hashes.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Whether its place is one of 16 among the 32,768 of the largest map.
fn collides(name: &str) -> bool {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    HeaderName::from_bytes(name.as_bytes()).unwrap().hash(&mut hasher);
    hasher.finish() & 0x7fff < 16
}

#[test]
fn names_that_were_chosen_to_collide_are_refused() {
    let (mut colliding, mut others) = (Vec::new(), Vec::new());
    for number in 0.. {
        let name = format!("x{number:x}");
        match collides(&name) {
            true => colliding.push(name),
            false if others.len() < 12_000 => others.push(name),
            false => {}
        }
        if colliding.len() == 400 {
            break;
        }
    }
    let plain: String = others.iter().map(|name| format!("{name}:\r\n")).collect();
    let all: String = others.iter().chain(&colliding).map(|name| format!("{name}:\r\n")).collect();
    let decode = |lines: &str| {
        let mut codec = Http::new().max_headers(16_384).max_head(1 << 20).codec();
        codec.decode(&mut BytesMut::from(&with_headers(&format!("Host: a\r\n{lines}"))[..]))
    };
    assert!(decode(&plain).expect("names as they come").is_some());
    let refused = decode(&all).expect_err("the map would have to grow beyond its largest");
    assert!(refused.to_string().contains("chosen to collide"), "{refused}");
}
