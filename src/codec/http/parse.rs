//! A whole head to a [`Request`]. What two readers might understand in two ways is refused: where this server stands
//! behind another, a request that each of them frames differently is a way to smuggle a second one in (RFC 9112, 11.2).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::error::HttpError;
use super::request::Request;
use super::token::{list, list_has};

type Result<T> = std::result::Result<T, HttpError>;

/// Parses a head that ends in its empty line and has so many headers.
pub(super) fn request(head: &[u8], headers: usize) -> Result<Request> {
    let mut slots = vec![httparse::EMPTY_HEADER; headers];
    let mut parsed = httparse::Request::new(&mut slots);
    let status = parsed.parse(head).map_err(syntax)?;
    if status != httparse::Status::Complete(head.len()) {
        return Err(HttpError::malformed("has an empty line in its head"));
    }
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| HttpError::malformed("has no method that is a word"))?;
    let target = parsed.path.unwrap_or_default();
    check_target(&method, target)?;
    let headers = header_map(parsed.headers)?;
    check_host(&headers, version)?;
    check_authority(target, &headers)?;
    let has_body = has_body(&headers, version)?;
    let keep_alive = !has_body && wants_keep_alive(&headers, version);
    Ok(Request { method, target: target.into(), version, headers, has_body, keep_alive })
}

#[cold]
fn syntax(error: httparse::Error) -> HttpError {
    HttpError::malformed(match error {
        httparse::Error::HeaderName => "has a header whose name is not followed by its colon",
        httparse::Error::HeaderValue => "has a control character in the value of a header",
        httparse::Error::Token => "has a blank or a control character where it must not be",
        _ => "has bytes in its head that must not be there",
    })
}

/// All values are slices of one copy: the head itself stays with the buffer that it came in.
///
/// A map of many names that collide, as only somebody who means to can send them, refuses to grow at some 6,000.
fn header_map(parsed: &[httparse::Header<'_>]) -> Result<HeaderMap> {
    let all: Vec<u8> = parsed.iter().flat_map(|header| header.value).copied().collect();
    let mut values = Bytes::from(all);
    let mut map = HeaderMap::with_capacity(parsed.len());
    for parsed in parsed {
        let name = HeaderName::from_bytes(parsed.name.as_bytes())
            .map_err(|_| HttpError::malformed("has a header with no name"))?;
        let value =
            HeaderValue::from_maybe_shared(values.split_to(parsed.value.len())).map_err(|_| {
                HttpError::malformed("has a control character in the value of a header")
            })?;
        map.try_append(name, value)
            .map_err(|_| HttpError::malformed("has headers whose names were chosen to collide"))?;
    }
    Ok(map)
}

/// The four forms of RFC 9112, section 3.2, less that of `CONNECT`.
fn check_target(method: &Method, target: &str) -> Result<()> {
    if *method == Method::CONNECT {
        return Err(HttpError::Unsupported { what: "a tunnel (CONNECT)" });
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HttpError::malformed("has a target that is not printable ASCII"));
    }
    let is_absolute = || {
        let after = |scheme: &str| {
            target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme))
        };
        after("http://").or_else(|| after("https://")).is_some()
    };
    if target.starts_with('/') || is_absolute() || (target == "*" && *method == Method::OPTIONS) {
        Ok(())
    } else {
        Err(HttpError::malformed("has a target that is neither a path nor an http address"))
    }
}

/// RFC 9112, section 3.2: one host, and it looks like one.
fn check_host(headers: &HeaderMap, version: Version) -> Result<()> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => return Ok(()),
        (None, _) => return Err(HttpError::malformed("of HTTP/1.1 has no Host header")),
        (Some(_), Some(_)) => return Err(HttpError::malformed("has more than one Host header")),
        (Some(host), None) => host,
    };
    let is_host_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    if host.as_bytes().iter().all(is_host_byte) {
        Ok(())
    } else {
        Err(HttpError::malformed("has a Host header that is no host's name"))
    }
}

/// RFC 9112, section 3.2: where the target names the host, the Host header names the same. Of two, a proxy may go by one
/// and this side by the other.
fn check_authority(target: &str, headers: &HeaderMap) -> Result<()> {
    let absolute = Some(target).filter(|target| !target.starts_with('/'));
    let Some((_, rest)) = absolute.and_then(|target| target.split_once("://")) else {
        return Ok(());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match headers.get(header::HOST) {
        Some(named) if !named.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            Err(HttpError::malformed("has a Host header that is not the host of its target"))
        }
        _ => Ok(()),
    }
}

/// Whether a body follows, by the rules of RFC 9112, section 6.3, and by no more liberal ones.
fn has_body(headers: &HeaderMap, version: Version) -> Result<bool> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(HttpError::malformed("has more than one Content-Length header"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if length.is_some() {
            return Err(HttpError::malformed("has both Content-Length and Transfer-Encoding"));
        }
        return check_transfer_encoding(headers, version).map(|()| true);
    }
    let Some(length) = length else { return Ok(false) };
    let digits = length.to_str().unwrap_or_default();
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u64>() {
        Ok(length) if all_digits => Ok(length > 0),
        _ => Err(HttpError::malformed("has a Content-Length that is no number of bytes")),
    }
}

fn check_transfer_encoding(headers: &HeaderMap, version: Version) -> Result<()> {
    if version == Version::HTTP_10 {
        return Err(HttpError::malformed("of HTTP/1.0 has a Transfer-Encoding"));
    }
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if values.next().is_some() {
        return Err(HttpError::malformed("has more than one Transfer-Encoding header"));
    }
    if value.eq_ignore_ascii_case("chunked") {
        return Ok(());
    }
    let chunked = |coding: &&str| coding.eq_ignore_ascii_case("chunked");
    if list(headers, &header::TRANSFER_ENCODING).filter(chunked).count() > 1 {
        return Err(HttpError::malformed("is chunked more than once"));
    }
    Err(HttpError::Unsupported { what: "a transfer coding other than chunked" })
}

fn wants_keep_alive(headers: &HeaderMap, version: Version) -> bool {
    let says = |option| list_has(headers, &header::CONNECTION, option);
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}
