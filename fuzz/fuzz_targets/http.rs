//! HTTP requests, each answered before the next; and all that reads a request.
#![no_main]

use std::fmt::Write;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wheelhouse::codec::http::{
    Files, Http, HttpCodec, HttpError, Origins, Request, Response, StatusCode, Version,
};
use wheelhouse::codec::websocket::Upgrade;
use wheelhouse::codec::{Decoder, Encoder, Protocol, WriteBuffer};
use wheelhouse_fuzz::{Arrival, packets_of};

/// A codec that answers each request at once.
#[derive(Clone)]
struct Answering(HttpCodec);

impl Decoder for Answering {
    type Packet = Request;
    type Error = HttpError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Request>, HttpError> {
        let decoded = self.0.decode(src);
        match &decoded {
            Ok(Some(_)) => {
                let response = Response::text(StatusCode::OK, "hello");
                self.0.encode(response, &mut WriteBuffer::new()).expect("a request to answer");
            }
            Ok(None) => assert!(!self.0.is_blocked()),
            Err(error) => {
                let reply = self.0.take_reply().expect("an error that is told to the peer");
                let status = format!("HTTP/1.1 {} ", error.status().as_u16());
                assert!(reply.starts_with(status.as_bytes()));
            }
        }
        decoded
    }
}

/// The same request in the plainest form.
fn written(request: &Request) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.", request.method(), request.target());
    let minor = if request.version() == Version::HTTP_11 { 1 } else { 0 };
    write!(head, "{minor}\r\n").expect("a string grows");
    let mut bytes = head.into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b":");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fuzz_target!(|input: (u8, u8, u8, Arrival<'_>)| {
    let (head, target, headers, arrival) = input;
    let head = usize::from(head) * 4;
    let mut http =
        Http::new().max_head(head).max_target(target.into()).max_headers((headers % 8).into());
    let requests = packets_of(&Answering(http.codec()), &arrival, head.max(16));
    let files = Files::embedded([("/index.html", "text/html", "<p>"), ("/a", "text/plain", "a")]);
    let origins = Origins::same().allow("https://*.example.com").expect("an origin");
    for request in &requests {
        assert!(request.target().len() <= target.into());
        assert!(request.headers().len() <= usize::from(headers % 8));
        let again = Request::parse(&written(request)).expect("what was read can be read again");
        assert_eq!(&again, request);
        let _ = (request.query("a"), request.decoded_path(), origins.check(request));
        if let Some(response) = files.respond(request) {
            assert!(response.bytes().is_empty() || response.status() != StatusCode::NOT_MODIFIED);
        }
        if Upgrade::is_wanted(request) {
            let _ = Upgrade::from_request(request);
        }
    }
});
