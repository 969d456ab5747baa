//! Good peers against servers that are not good: what they must notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use super::*;
use crate::soak::field::Count;

/// A peer of a server that reads a little and answers with `answer`, whatever that was.
fn life_with(service: Service, answer: &'static [u8], script: Script) -> (Life, Arc<Field>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("an address");
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a peer");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(answer);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let field = Arc::new(Field::new().expect("a field"));
    let random = Rng::with_seed(1);
    let mut peer = Peer { field: Arc::clone(&field), service, server, random, number: 0 };
    let life = script(&mut peer);
    serving.join().expect("no panic");
    (life, field)
}

#[test]
fn a_wrong_reply_is_an_error() {
    let (life, field) = life_with(Service::Length, &[0xaa; 64 * 1024], echo::steady);
    let error = life.expect_err("it must be noticed");
    assert!(error.contains("a wrong reply: byte 0"), "{error}");
    assert_eq!(field.counted(Count::Echoes), 0);
}

#[test]
fn a_missing_reply_is_an_error() {
    let (life, _) = life_with(Service::Lines, b"", echo::steady);
    let error = life.expect_err("it must be noticed");
    assert!(error.contains("of an echo"), "{error}");
}

#[test]
fn a_slow_sender_that_is_dropped_too_early_is_an_error() {
    let (life, field) = life_with(Service::Lines, b"", slow::half);
    let error = life.expect_err("it must be noticed");
    assert!(error.contains("before its deadline"), "{error}");
    assert_eq!(field.counted(Count::Slow), 0);
}

#[test]
fn bytes_that_nobody_asked_for_are_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("a peer");
    let (mut server, _) = listener.accept().expect("a peer");
    server.write_all(b"more").expect("it reads");
    let error = echo::part(&stream).expect_err("it must be noticed");
    assert_eq!(error, "4 bytes that nobody asked for");
}

#[test]
fn a_frame_by_hand_is_as_the_standard_has_it() {
    // RFC 6455, 5.7: a masked "Hello".
    let expected = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(raw::text(b"Hello"), expected);
    assert_eq!(raw::text(&[0; 300])[..4], [0x81, 0xfe, 0x01, 0x2c]);
}

#[test]
fn packets_have_their_frame_and_no_line_within() {
    let mut random = Rng::with_seed(3);
    for _ in 0..200 {
        let mut line = Vec::new();
        echo::packet(&mut random, Service::Lines, &mut line);
        let text = std::str::from_utf8(&line).expect("UTF-8");
        assert_eq!(text.find('\n'), Some(text.len() - 1));
        let mut frame = Vec::new();
        echo::packet(&mut random, Service::Length, &mut frame);
        let (len, payload) = frame.split_first_chunk().expect("a length");
        assert_eq!(u32::from_be_bytes(*len) as usize, payload.len());
    }
}
