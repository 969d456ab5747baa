//! Where a request's head ends, found line by line as the bytes come; `parse.rs` takes it from there.
//!
//! Every check of a line that has come in part is one that the whole line fails, too, and is made first on that. So it
//! decides nothing how the bytes were split.

use bytes::{Buf, BytesMut};
use memchr::{memchr, memrchr};

use super::error::HttpError;
use super::parse;
use super::request::Request;
use super::token::is_token_byte;
use crate::codec::sniff::looks_like;

/// The longest method; of the registered ones, the longest has 17 letters.
const MAX_METHOD: usize = 32;

/// A blank and the version: the end of a request line.
const VERSION: usize = " HTTP/1.1".len();

/// The most that a head may have. Every connection has a copy of its own, so the numbers are small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Bytes of the head, with the empty line that ends it.
    pub(crate) head: u32,
    /// Bytes of the target.
    pub(crate) target: u32,
    pub(crate) headers: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 16 * 1024, target: 8 * 1024, headers: 64 }
    }
}

impl Limits {
    /// The most that any limit of bytes can be set to: offsets are of 32 bits.
    pub(crate) const MOST_BYTES: usize = i32::MAX as usize / 2;

    /// `A / HTTP/1.0` and two line ends. With less, an empty line in front would count or not by how it was split.
    pub(crate) const SHORTEST: usize = 16;

    /// The most headers that a limit can allow: what a map of headers holds, if not too many of them collide.
    pub(crate) const MOST_HEADERS: usize = 16_384;

    /// The longest request line, without its end.
    fn line(self) -> usize {
        MAX_METHOD + 1 + self.target as usize + VERSION
    }
}

/// How far a head has come.
#[derive(Clone, Default, Debug)]
pub(crate) struct Head {
    /// No line feed stands before this offset that was not seen.
    searched: u32,
    /// Where the line begins whose end is looked for.
    line_start: u32,
    /// Lines that have come whole: the request line, then the headers.
    lines: u16,
    /// One empty line in front is allowed, for clients that end a body with a line that they do not count.
    skipped_empty: bool,
    /// Whether a request has been made of the stream's first bytes.
    pub(crate) is_later: bool,
    /// Every byte that was searched, for the test that holds the cost to be linear.
    #[cfg(test)]
    pub(crate) looked_at: usize,
}

impl Head {
    /// Takes a request off the front of `src`, once its head has come.
    ///
    /// # Errors
    ///
    /// When the bytes are no request, or more than the limits allow. It is never to be called again then.
    pub(crate) fn parse(
        &mut self,
        src: &mut BytesMut,
        limits: Limits,
    ) -> Result<Option<Request>, HttpError> {
        self.skip_empty_line(src);
        if src.first().is_some_and(|&first| !is_token_byte(first) && first != b'\r') {
            return Err(self.at_start(HttpError::malformed("does not begin with a method"), src));
        }
        let window = src.len().min(limits.head as usize);
        while let Some(end) = self.next_line_feed(&src[..window]) {
            let line = &src[self.line_start as usize..end];
            if self.lines > 0 && line == b"\r" {
                return self.take(src, end + 1).map(Some);
            }
            self.check_line(line, limits).map_err(|error| self.at_start(error, src))?;
            self.lines += 1;
            self.line_start = end as u32 + 1;
        }
        if self.lines == 0 {
            let begun = &src[..window];
            check_line_len(begun, limits).map_err(|error| self.at_start(error, src))?;
        }
        if window == limits.head as usize {
            return Err(self.at_start(HttpError::HeadTooLong { max: window }, src));
        }
        Ok(None)
    }

    /// Whether the first line has come, so that the rest is owed.
    pub(crate) fn has_begun(&self) -> bool {
        self.lines > 0
    }

    fn skip_empty_line(&mut self, src: &mut BytesMut) {
        if !self.skipped_empty && src.starts_with(b"\r\n") {
            src.advance(2);
            self.searched = 0;
            self.skipped_empty = true;
        }
    }

    fn next_line_feed(&mut self, window: &[u8]) -> Option<usize> {
        let from = self.searched as usize;
        let found = memchr(b'\n', &window[from..]).map(|offset| from + offset);
        let searched = found.map_or(window.len(), |at| at + 1);
        #[cfg(test)]
        {
            self.looked_at += searched - from;
        }
        self.searched = searched as u32;
        found
    }

    fn take(&mut self, src: &mut BytesMut, len: usize) -> Result<Request, HttpError> {
        let headers = usize::from(self.lines) - 1;
        let request =
            parse::request(&src[..len], headers).map_err(|error| self.at_start(error, src))?;
        src.advance(len);
        *self = Self {
            is_later: true,
            #[cfg(test)]
            looked_at: self.looked_at,
            ..Self::default()
        };
        Ok(request)
    }

    /// A line that has come whole, up to its line feed.
    fn check_line(&self, line: &[u8], limits: Limits) -> Result<(), HttpError> {
        if self.lines == 0 {
            check_line_len(line, limits)?;
        }
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(HttpError::malformed("has a line that ends in LF without CR"));
        };
        match self.lines {
            0 => check_request_line(line, limits),
            lines if lines > limits.headers => {
                Err(HttpError::TooManyHeaders { max: usize::from(limits.headers) })
            }
            _ if line.starts_with(b" ") || line.starts_with(b"\t") => {
                Err(HttpError::malformed("has a header that goes on in a second line"))
            }
            _ => Ok(()),
        }
    }

    /// The error, with a guess at what the peer speaks if these are the stream's first bytes.
    fn at_start(&self, error: HttpError, src: &[u8]) -> HttpError {
        let guess = if self.is_later { None } else { looks_like(src) };
        // That it looks like what it should be helps nobody.
        error.with_guess(guess.filter(|&what| what != "an HTTP request"))
    }
}

/// Holds the line's length against its limit, whether all of it has come or not.
fn check_line_len(line: &[u8], limits: Limits) -> Result<(), HttpError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= limits.line() {
        return Ok(());
    }
    match memchr(b' ', &line[..=MAX_METHOD]) {
        Some(_) => Err(HttpError::TargetTooLong { max: limits.target as usize }),
        None => Err(HttpError::malformed("has no method, or one of more than 32 bytes")),
    }
}

/// `method SP target SP version`; the syntax of each is looked at when the head has come.
fn check_request_line(line: &[u8], limits: Limits) -> Result<(), HttpError> {
    let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
        return Err(HttpError::malformed("has no method, or neither target nor version"));
    };
    if first > MAX_METHOD {
        return Err(HttpError::malformed("has no method, or one of more than 32 bytes"));
    }
    if first == last {
        return Err(HttpError::malformed("has no target, or no version"));
    }
    if last - first - 1 > limits.target as usize {
        return Err(HttpError::TargetTooLong { max: limits.target as usize });
    }
    match &line[last + 1..] {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HttpError::Version { looks_like: None })
        }
        _ => Err(HttpError::malformed("has no version of HTTP at the end of its first line")),
    }
}
