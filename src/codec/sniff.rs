//! A guess at what a peer speaks when it does not speak this protocol, for the error messages.
//!
//! Somebody who points a browser, a load balancer's health check or a TLS client at a port that expects something else
//! should read that in the log, not "a length of 1195725856". A guess decides nothing: the bytes were refused already.

use std::fmt;

/// With fewer bytes than this in common, a likeness is chance.
const ENOUGH: usize = 4;

/// Openings that are plain text or a fixed signature, each with its name.
const OPENINGS: [(&[u8], &str); 13] = [
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "an HTTP/2 preface"),
    (b"HTTP/1.", "an HTTP response"),
    (b"SSH-", "an SSH banner"),
    (b"PROXY ", "a PROXY protocol header"),
    (b"\r\n\r\n\0\r\nQUIT\n", "a PROXY protocol header"),
    (b"GET /", "an HTTP request"),
    (b"POST /", "an HTTP request"),
    (b"HEAD /", "an HTTP request"),
    (b"PUT /", "an HTTP request"),
    (b"DELETE /", "an HTTP request"),
    (b"PATCH /", "an HTTP request"),
    (b"OPTIONS /", "an HTTP request"),
    (b"OPTIONS *", "an HTTP request"),
];

/// What a stream that begins with `first` plainly is, where it is plain. A few bytes are enough.
pub(crate) fn looks_like(first: &[u8]) -> Option<&'static str> {
    if is_client_hello(first) {
        return Some("a TLS ClientHello");
    }
    OPENINGS.iter().find(|(opening, _)| agrees(first, opening)).map(|&(_, name)| name)
}

/// Whether as much of `opening` as could have come is there.
fn agrees(first: &[u8], opening: &[u8]) -> bool {
    let common = first.len().min(opening.len());
    common >= ENOUGH && first[..common] == opening[..common]
}

/// A record of type handshake, version 3.x, of a length that a record may have, with a ClientHello in it.
fn is_client_hello(first: &[u8]) -> bool {
    let [0x16, 0x03, 0x00..=0x04, length_high, rest @ ..] = first else { return false };
    *length_high <= 0x40 && rest.get(1).is_none_or(|&message| message == 0x01)
}

/// Guesses at the start of a stream alone: in its middle, the same bytes may be anybody's payload.
#[derive(Clone, Debug)]
pub(crate) struct Sniffer {
    at_start: bool,
}

impl Sniffer {
    pub(crate) fn new() -> Self {
        Self { at_start: true }
    }

    /// A packet was made of the first bytes, so they were no other protocol's.
    #[inline]
    pub(crate) fn rest(&mut self) {
        self.at_start = false;
    }

    /// What the stream is, if `src` is its start.
    #[inline]
    pub(crate) fn guess(&self, src: &[u8]) -> Option<&'static str> {
        if self.at_start { looks_like(src) } else { None }
    }
}

/// The guess as the end of an error's sentence; nothing where there is none.
pub(crate) struct Hint(pub(crate) Option<&'static str>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(what) => write!(f, " (the stream begins like {what})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_openings_are_told_from_four_bytes_on() {
        for (opening, name) in OPENINGS {
            for length in ENOUGH..=opening.len() {
                let first = &opening[..length];
                assert_eq!(looks_like(first), Some(name), "{}", first.escape_ascii());
            }
            assert_eq!(looks_like(&opening[..ENOUGH - 1]), None);
        }
    }

    #[test]
    fn a_client_hello_is_told_from_its_record_header() {
        let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
        for length in ENOUGH..=hello.len() {
            assert_eq!(looks_like(&hello[..length]), Some("a TLS ClientHello"));
        }
    }

    #[test]
    fn what_is_merely_similar_is_not_named() {
        for other in [
            &b""[..],
            b"GET",
            b"GET key",   // an inline command of some key-value stores
            b"CONNECT {", // NATS, for one
            b"POSTAGE",
            b"\x16\x03\x01",
            b"\x16\x03\x01\x02\x00\x02", // a ServerHello
            b"\x16\x03\x01\x50\x00",     // longer than any record
            b"\x00\x00\x00\x05hello",
        ] {
            assert_eq!(looks_like(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn only_the_start_of_a_stream_is_guessed_at() {
        let mut sniffer = Sniffer::new();
        assert_eq!(sniffer.guess(b"GET / HTTP/1.1"), Some("an HTTP request"));
        sniffer.rest();
        assert_eq!(sniffer.guess(b"GET / HTTP/1.1"), None);
    }
}
