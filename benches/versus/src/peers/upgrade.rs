//! The server's side of the WebSocket handshake, for the peers that leave it to their user.
//!
//! It looks for the key and nothing else; a real server has more to check.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

/// A request with more bytes than this is none.
const LONGEST_REQUEST: usize = 4 * 1024;

/// What RFC 6455 appends to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a request that has come as a whole; `None` while it has not.
pub(super) fn answer(request: &[u8]) -> Result<Option<String>, &'static str> {
    if !request.ends_with(b"\r\n\r\n") {
        return if request.len() > LONGEST_REQUEST { Err("no request") } else { Ok(None) };
    }
    let text = str::from_utf8(request).map_err(|_| "a request that is not text")?;
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = accept(key.ok_or("a request without Sec-WebSocket-Key")?);
    Ok(Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )))
}

/// What proves that the key was understood.
pub(crate) fn accept(key: &str) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_has_the_answer_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn half_a_request_is_waited_for() {
        assert_eq!(answer(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n"), Ok(None));
        assert!(answer(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
