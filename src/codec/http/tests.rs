//! Bytes in, requests out, and the other way round: by value, without a loop.

use bytes::BytesMut;
use proptest::prelude::*;

use super::head::{Head, Limits};
use super::*;
use crate::codec::test_support::*;
use crate::codec::{Decoder, Encoder, Protocol, WriteBuffer};
use crate::error::CloseReason;

mod limits;

/// A codec that answers each request at once, as a handler would.
#[derive(Clone)]
struct Answering(HttpCodec);

impl Answering {
    fn new() -> Self {
        Self::with(Http::new())
    }

    fn with(mut http: Http) -> Self {
        Self(http.codec())
    }
}

impl Decoder for Answering {
    type Packet = Request;
    type Error = HttpError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Request>, HttpError> {
        let request = self.0.decode(src)?;
        if request.is_some() {
            assert!(self.0.is_blocked());
            assert_eq!(self.0.decode(src), Ok(None), "the next one waits for the response");
            self.0.encode(Response::new(StatusCode::OK), &mut WriteBuffer::new()).unwrap();
            assert!(!self.0.is_blocked());
        }
        Ok(request)
    }
}

fn decoded(stream: &[u8]) -> Vec<Request> {
    decode_whole(&mut Answering::new(), stream).complete()
}

fn error_of(stream: &[u8]) -> HttpError {
    decode_whole(&mut Answering::new(), stream).error()
}

/// A request whose headers are these lines.
fn with_headers(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes()
}

fn targets(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(Request::target).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_requests(
        heads in prop::collection::vec(head(), 1..4),
        pieces in piece_lengths(),
    ) {
        let stream = heads.concat();
        let http = Http::new().max_head(120).max_target(20).max_headers(3);
        let outcome = assert_split_is_unseen(&Answering::with(http), stream.as_bytes(), &pieces);
        prop_assert!(outcome.most_held < 122, "{} bytes were held", outcome.most_held);
    }

    #[test]
    fn any_bytes_are_a_request_or_an_error(
        stream in bytes_near(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\t:", 200),
        pieces in piece_lengths(),
    ) {
        let http = Http::new().max_head(100).max_target(12).max_headers(2);
        assert_split_is_unseen(&Answering::with(http), &stream, &pieces);
    }

    #[test]
    fn a_query_is_what_was_encoded(name in "[a-z]{1,4}", value in "\\PC{0,12}") {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let head = format!("GET /?{name}={encoded} HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = Request::parse(head.as_bytes()).unwrap();
        prop_assert_eq!(request.query(&name).unwrap_or_default().into_owned(), value);
    }
}

/// Heads that are mostly right, of all lengths up to the limits and over them.
fn head() -> impl Strategy<Value = String> {
    let target = prop_oneof!["/[a-z]{0,25}", "[a-z ]{0,25}"];
    let version = prop_oneof![8 => Just("1.1"), 2 => Just("1.0"), 1 => Just("2.0")];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    let header = prop_oneof![
        4 => "[A-Za-z-]{1,8}: [a-z ]{0,30}",
        1 => Just("Connection: close".to_owned()),
        1 => Just("Content-Length: 0".to_owned()),
        1 => " folded|broken|A : b|\rA: b",
    ];
    let headers = prop::collection::vec(header, 0..4);
    (target, version, headers, end).prop_map(|(target, version, headers, end)| {
        let headers: String = headers.iter().map(|header| format!("{header}{end}")).collect();
        format!("GET {target} HTTP/{version}{end}Host: a{end}{headers}{end}")
    })
}

#[test]
fn a_request_is_read_into_its_parts() {
    let [request] = &decoded(
        b"POST /a%20b/c?x=1&y=%C3%A9t%c3%a9+%zz&x=2&flag HTTP/1.1\r\nHost: example.com\r\nCookie: a\r\n\
          Accept:\t */* \t\r\ncookie: b\r\nX-Odd: caf\xe9\r\n\r\n",
    )[..] else {
        panic!("one request")
    };
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.path(), "/a%20b/c");
    assert_eq!(request.decoded_path().as_deref(), Some("/a b/c"));
    assert_eq!(request.query("x").as_deref(), Some("1"));
    assert_eq!(request.query("y").as_deref(), Some("été %zz"));
    assert_eq!(request.query("flag").as_deref(), Some(""));
    assert_eq!(request.query("z"), None);
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!((request.host(), request.origin()), (Some("example.com"), None));
    assert_eq!(request.header("ACCEPT"), Some("*/*"));
    assert_eq!(request.header("x-odd"), None, "not ASCII");
    assert_eq!(request.headers()["x-odd"].as_bytes(), b"caf\xe9");
    assert!(request.headers().get_all("cookie").iter().eq(["a", "b"]));
    assert!(!request.has_body());
}

#[test]
fn a_debug_print_tells_no_values_of_headers() {
    let printed = format!("{:?}", decoded(&with_headers("Host: a\r\nCookie: secret\r\n"))[0]);
    assert!(printed.contains("cookie") && !printed.contains("secret"), "{printed}");
}

#[test]
fn paths_of_all_forms_of_targets() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", None),
        ("/a/../b?q=c", "/a/../b", Some("c")),
        ("//evil.test/x", "//evil.test/x", None),
        ("/x?q=http://a/b", "/x", Some("http://a/b")),
        ("http://a", "/", None),
        ("http://a/b?q=c", "/b", Some("c")),
        ("HTTPS://A?q=c", "/", Some("c")),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = Request::parse(head.as_bytes()).unwrap();
        assert_eq!((request.path(), request.query("q").as_deref()), (path, query), "{target}");
    }
    assert_eq!(decoded(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")[0].path(), "*");
    let request = Request::parse(b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(request.decoded_path(), None);
}

#[test]
fn a_target_and_a_host_header_name_one_host() {
    let parse = |target: &str, host: &str| {
        Request::parse(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    };
    for (target, host) in [
        ("http://good.test/ws", "good.test"),
        ("http://Good.test:81/ws", "gooD.test:81"),
        ("http://user@good.test?q", "good.test"),
        ("/http://evil.test/", "good.test"),
    ] {
        assert_eq!(parse(target, host).unwrap().host(), Some(host), "{target}");
    }
    for target in
        ["http://evil.test/ws", "http://good.test:81/", "http://good.test@evil.test/", "http:///"]
    {
        let error = parse(target, "good.test").unwrap_err();
        assert!(error.to_string().contains("not the host of its target"), "{target}: {error}");
    }
}

#[test]
fn a_plus_is_a_blank_in_a_query_and_itself_in_a_path() {
    let head = b"GET /a+b%20c?x=+&y=a+b&z=%2b HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n";
    let request = Request::parse(head).unwrap();
    assert_eq!(request.decoded_path().as_deref(), Some("/a+b c"));
    let query = |name| request.query(name).unwrap().into_owned();
    assert_eq!([query("x"), query("y"), query("z")], [" ", "a b", "+"]);
    assert_eq!(request.origin(), Some("http://b"));
}

#[test]
fn requests_sent_ahead_come_in_order() {
    let stream: String =
        (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let requests = decoded(stream.as_bytes());
    let expected: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
    assert_eq!(targets(&requests), expected);
}

#[test]
fn one_empty_line_in_front_is_no_harm_and_two_are() {
    let one = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(decoded(&one.repeat(2)).len(), 2);
    let two = [b"\r\n", &one[..]].concat();
    assert_eq!(error_of(&two).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn connections_are_kept_as_each_version_has_it() {
    for (version, connection, kept) in [
        ("1.1", None, true),
        ("1.1", Some("close"), false),
        ("1.1", Some("Keep-Alive, CLOSE"), false),
        ("1.1", Some("upgrade"), true),
        ("1.0", None, false),
        ("1.0", Some("keep-alive"), true),
        ("1.0", Some("keep-alive, close"), false),
    ] {
        let connection = connection.map_or(String::new(), |it| format!("Connection: {it}\r\n"));
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        let (codec, text) = answered(head.as_bytes(), Response::text(StatusCode::OK, "x"));
        assert_eq!(codec.ending(), (!kept).then_some(CloseReason::Local), "{head}");
        assert_eq!(codec.is_silent(), kept, "{head}");
        assert_eq!(text.contains("connection: close\r\n"), !kept, "{head}{text}");
        assert_eq!(text.contains("connection: keep-alive\r\n"), kept && version == "1.0");
    }
}

/// What goes out for a response to this request.
fn answered(head: &[u8], response: Response) -> (HttpCodec, String) {
    let mut codec = Http::new().codec();
    codec.decode(&mut BytesMut::from(head)).unwrap().expect("a request");
    let mut dst = WriteBuffer::new();
    let at_least = codec.frame_len(&response);
    let body = response.bytes().len();
    codec.encode(response, &mut dst).unwrap();
    assert!(at_least == 0 || at_least == body, "{at_least} of {body} bytes");
    assert!(at_least <= dst.queued());
    (codec, String::from_utf8(dst.to_vec()).unwrap())
}

#[test]
fn responses_have_their_length_and_those_to_head_no_body() {
    let page = || Response::html(StatusCode::OK, "<p>hello");
    let mut codec = Http::new().codec();
    assert_eq!(codec.frame_len(&page()), 0, "nobody has asked");
    codec.decode(&mut BytesMut::from(&with_headers("Host: a\r\n")[..])).unwrap();
    assert_eq!(codec.frame_len(&page()), "<p>hello".len());

    let (_, text) = answered(&with_headers("Host: a\r\n"), page());
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 8\r\n\r\n<p>hello"
    );
    let (_, text) = answered(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", page());
    assert!(text.ends_with("content-length: 8\r\n\r\n"), "{text}");
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let (_, text) = answered(&with_headers("Host: a\r\n"), Response::text(status, "no"));
        assert!(!text.contains("content-length") && text.ends_with("\r\n\r\n"), "{text}");
    }
}

#[test]
fn a_response_cannot_frame_itself_or_bring_more_headers_than_it_says() {
    let response = Response::text(StatusCode::OK, "x")
        .header("content-length", "5")
        .and_then(|response| response.header("transfer-encoding", "chunked"))
        .and_then(|response| response.header("connection", "upgrade"))
        .and_then(|response| response.header("x-fine", "a"))
        .unwrap();
    let (_, text) = answered(&with_headers("Host: a\r\n"), response);
    assert!(text.contains("content-length: 1\r\n") && text.contains("x-fine: a\r\n"), "{text}");
    assert!(!text.contains("chunked") && !text.contains("upgrade"), "{text}");
    let response =
        Response::new(StatusCode::UPGRADE_REQUIRED).header("upgrade", "websocket").unwrap();
    for (head, option) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "connection: upgrade\r\n"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "connection: upgrade, close\r\n",
        ),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "connection: keep-alive\r\n"),
    ] {
        let (_, text) = answered(head, response.clone());
        assert!(text.contains("\r\nupgrade: websocket\r\n") && text.contains(option), "{text}");
    }
    for value in ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\0b"] {
        assert!(Response::new(StatusCode::OK).header("x-user", value).is_err());
    }
    assert!(Response::new(StatusCode::OK).header("x user", "a").is_err());
}

#[test]
fn each_request_has_exactly_one_response() {
    let mut codec = Http::new().codec();
    assert_eq!(refused(&mut codec, Response::new(StatusCode::OK)), ResponseError::NoRequest);
    codec.decode(&mut BytesMut::from(&with_headers("Host: a\r\n")[..])).unwrap().unwrap();
    let interim = StatusCode::SWITCHING_PROTOCOLS;
    let error = refused(&mut codec, Response::new(interim));
    assert_eq!(error, ResponseError::Interim { status: interim });
    codec.encode(Response::new(StatusCode::OK), &mut WriteBuffer::new()).unwrap();
    assert_eq!(refused(&mut codec, Response::new(StatusCode::OK)), ResponseError::NoRequest);
}

#[test]
fn a_body_is_told_of_and_never_read_as_a_request() {
    for framing in ["Content-Length: 28", "Transfer-Encoding: Chunked"] {
        let mut stream = with_headers(&format!("Host: a\r\n{framing}\r\n"));
        stream.extend_from_slice(b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n");
        let [request] = &decoded(&stream)[..] else { panic!("one request") };
        assert!(request.has_body() && !request.keep_alive());
    }
    let stream = with_headers("Host: a\r\nContent-Length: 0\r\n").repeat(2);
    assert_eq!(decoded(&stream).len(), 2);
}

#[test]
fn requests_that_can_be_read_in_two_ways_are_refused() {
    for (headers, named) in [
        ("", "no Host"),
        ("Host: a\r\nHost: a\r\n", "more than one Host"),
        ("Host: a b\r\n", "no host's name"),
        ("Host: a/b\r\n", "no host's name"),
        ("Host: a@b\r\n", "no host's name"),
        ("Host: a\r\nA: b\r\n c\r\n", "second line"),
        (" A: b\r\nHost: a\r\n", "second line"),
        ("Host: a\r\nTransfer-Encoding : chunked\r\n", "colon"),
        ("Host: a\r\nContent-Length\r\n", "colon"),
        ("Host: a\r\n: b\r\n", "colon"),
        ("Host: a\r\nA: b\rc\r\n", "control character"),
        ("Host: a\r\nA: b\0c\r\n", "control character"),
        ("Host: a\r\nA\0: b\r\n", "colon"),
        ("Host: a\r\nA: b\n", "LF without CR"),
        ("Host: a\nA: b\r\n", "LF without CR"),
        ("Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n", "more than one Content-Length"),
        ("Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "more than one Content-Length"),
        ("Host: a\r\nContent-Length: 1, 1\r\n", "no number of bytes"),
        ("Host: a\r\nContent-Length: +1\r\n", "no number of bytes"),
        ("Host: a\r\nContent-Length: -1\r\n", "no number of bytes"),
        ("Host: a\r\nContent-Length: 0x1\r\n", "no number of bytes"),
        ("Host: a\r\nContent-Length: \r\n", "no number of bytes"),
        ("Host: a\r\nContent-Length: 18446744073709551616\r\n", "no number of bytes"),
        ("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "both"),
        ("Host: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n", "both"),
        ("Host: a\r\nTransfer-Encoding: chunked, chunked\r\n", "more than once"),
        ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "more than one"),
    ] {
        let error = error_of(&with_headers(headers));
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{headers:?}");
        assert!(error.to_string().contains(named), "{headers:?}: {error}");
    }
}

#[test]
fn request_lines_that_are_none_are_refused() {
    for (line, status) in [
        ("GET /", 400),
        ("GET", 400),
        ("", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / a HTTP/1.1", 400),
        ("GET /\tHTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/x.1", 400),
        ("GET / HTTP/1.x", 400),
        ("G@T / HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
        ("GET /é HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET ftp://a/b HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("CONNECT a:443 HTTP/1.1", 501),
    ] {
        let error = error_of(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(error.status(), status, "{line:?}: {error}");
    }
    let blank = error_of(b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(blank.to_string().contains("a blank or a control character"), "{blank}");
    let gzip = with_headers("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n");
    assert_eq!(error_of(&gzip).status(), StatusCode::NOT_IMPLEMENTED);
    let old = b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(error_of(old).status(), StatusCode::BAD_REQUEST);
    assert_eq!(decoded(b"GET / HTTP/1.0\r\n\r\n").len(), 1, "which may have no host");
}

#[test]
fn a_head_that_comes_a_byte_at_a_time_is_searched_once() {
    let stream = with_headers(&format!("Host: a\r\n{}", "A: bcdefgh\r\n".repeat(60)));
    let mut codec = Answering::new();
    let twice = stream.repeat(2);
    assert_eq!(decode_pieces(&mut codec, &twice, &[1]).complete().len(), 2);
    assert_eq!(codec.0.looked_at(), twice.len());
}

#[test]
fn an_error_is_answered_once_and_is_the_end() {
    let mut codec = Http::new().codec();
    let mut src = BytesMut::from("GET / HTTP/3.0\r\n");
    let error = codec.decode(&mut src).unwrap_err();
    assert!(!codec.is_silent());
    let reply = codec.take_reply().unwrap();
    assert_eq!(
        str::from_utf8(&reply).unwrap(),
        format!(
            "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{error}\n",
            error.to_string().len() + 1
        )
    );
    assert_eq!(codec.take_reply(), None);
    assert!(codec.is_silent());
    assert_eq!(codec.farewell(CloseReason::ProtocolError), None);
}

#[test]
fn whoever_waits_is_told_why_the_connection_closes() {
    let farewell = |head: &str, reason| {
        let mut codec = Http::new().codec();
        codec.decode(&mut BytesMut::from(head)).unwrap();
        codec.farewell(reason).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let half = "GET / HTTP/1.1\r\nHost";
    for (head, reason, status) in [
        (whole, CloseReason::HandlerError, Some("500")),
        (whole, CloseReason::Shutdown, Some("503")),
        (whole, CloseReason::Local, None),
        (half, CloseReason::ProtocolError, Some("408")),
        (half, CloseReason::Shutdown, None),
        ("", CloseReason::ProtocolError, None),
        ("", CloseReason::Idle, None),
    ] {
        let words = farewell(head, reason);
        let said = words.as_deref().map(|words| &words["HTTP/1.1 ".len()..][..3]);
        assert_eq!(said, status, "{head:?} {reason}");
    }
    let words = farewell("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", CloseReason::Shutdown).unwrap();
    assert!(words.ends_with("\r\n\r\n"), "{words}");
}

#[test]
fn another_protocol_is_named() {
    let error = error_of(CLIENT_HELLO);
    assert_eq!(
        error.to_string(),
        "a request does not begin with a method (the stream begins like a TLS ClientHello)"
    );
    let error = error_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(error.status(), StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    assert!(error.to_string().ends_with("(the stream begins like an HTTP/2 preface)"), "{error}");
    let error = error_of(b"GET /nothing-odd HTTP/1.1\r\n\r\n");
    assert!(error.to_string().ends_with("no Host header"), "{error}");
    let later = [HTTP_REQUEST, CLIENT_HELLO].concat();
    assert_eq!(error_of(&later).to_string(), "a request does not begin with a method");
}

#[test]
fn a_head_is_small_enough_to_be_in_every_connection() {
    // What the tests count comes on top.
    assert!(size_of::<Head>() <= 16 + size_of::<usize>());
    assert!(size_of::<Limits>() <= 12);
}
