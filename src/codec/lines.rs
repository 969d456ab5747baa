//! Lines of text: what people type, and what most old protocols speak.

use std::fmt;

use bytes::{Buf, BufMut, BytesMut};
use memchr::memchr;

use super::scan::{Line, LineScan};
use super::sniff::{Hint, Sniffer};
use super::{Decoder, Encoder, WriteBuffer};

/// Lines of UTF-8 text, a `String` each.
///
/// # Wire format
///
/// A line is text up to a line feed (`\n`), or a carriage return and a line feed (`\r\n`): both are read, and neither
/// is part of the packet. A carriage return elsewhere is text. Lines are written with `\n`, or with `\r\n` by choice
/// ([`crlf`](Self::crlf)). An empty line is a packet too. When the peer ends its stream, what stands behind the last
/// line feed is the last line.
///
/// The maximum counts the bytes of a line without its end. It holds for what is read; what is written is bounded by the
/// outbox. A line that passes it is refused at its first byte too many, before its end has come.
///
/// ```
/// use bytes::BytesMut;
/// use wheelhouse::codec::{Decoder, LinesCodec};
///
/// let mut codec = LinesCodec::new(80);
/// let mut src = BytesMut::from("HELO there\r\nwho is\n… it");
/// assert_eq!(codec.decode(&mut src)?.as_deref(), Some("HELO there"));
/// assert_eq!(codec.decode(&mut src)?.as_deref(), Some("who is"));
/// assert_eq!(codec.decode(&mut src)?, None);
/// assert_eq!(codec.decode_eof(&mut src)?.as_deref(), Some("… it"));
/// # Ok::<(), wheelhouse::codec::LinesError>(())
/// ```
///
/// # Why `String`
///
/// It is what `format!` makes and what a handler wants to keep, it owns its bytes, and it costs one copy of a text that
/// is short as a rule. Anything that is a `str` underneath can be written (`&'static str`, `Cow<str>`, `Arc<str>`)
/// where a [`Protocol`](super::Protocol) names it as its `Out`. For lines that are not to be copied, or not to be
/// UTF-8, use [`DelimiterCodec`](super::DelimiterCodec) with `"\n"`.
#[derive(Clone, Debug)]
pub struct LinesCodec {
    lines: LineScan,
    sniffer: Sniffer,
    invalid: Invalid,
    end: &'static [u8],
}

/// What to do about bytes that are not UTF-8.
#[derive(Clone, Copy, Debug)]
enum Invalid {
    Refuse,
    Replace,
}

impl LinesCodec {
    /// Lines of at most `max` bytes, their ends not counted.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            lines: LineScan::new(max),
            sniffer: Sniffer::new(),
            invalid: Invalid::Refuse,
            end: b"\n",
        }
    }

    /// Replaces bytes that are not UTF-8 by U+FFFD (`\u{FFFD}`, three bytes) instead of refusing them.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.invalid = Invalid::Replace;
        self
    }

    /// Ends the lines that it writes with `\r\n`.
    #[must_use]
    pub fn crlf(mut self) -> Self {
        self.end = b"\r\n";
        self
    }

    fn take(&mut self, line: Line, src: &mut BytesMut) -> Result<String, LinesError> {
        let bytes = &src[..line.text];
        let text = match (self.invalid, str::from_utf8(bytes)) {
            (_, Ok(text)) => text.to_owned(),
            (Invalid::Replace, Err(_)) => String::from_utf8_lossy(bytes).into_owned(),
            (Invalid::Refuse, Err(error)) => {
                return Err(LinesError::InvalidUtf8 {
                    valid_up_to: error.valid_up_to(),
                    len: line.text,
                    looks_like: self.sniffer.guess(src),
                });
            }
        };
        src.advance(line.whole);
        self.sniffer.rest();
        Ok(text)
    }

    fn too_long(&self, src: &[u8]) -> LinesError {
        LinesError::TooLong { max: self.lines.max(), looks_like: self.sniffer.guess(src) }
    }
}

impl Decoder for LinesCodec {
    type Packet = String;
    type Error = LinesError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<String>, LinesError> {
        let line = self.lines.next(src).map_err(|_| self.too_long(src))?;
        line.map(|line| self.take(line, src)).transpose()
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<String>, LinesError> {
        let line = self.lines.next_at_eof(src).map_err(|_| self.too_long(src))?;
        line.map(|line| self.take(line, src)).transpose()
    }
}

/// A packet that contains a line feed, or ends in a carriage return, is refused: the peer would read another packet.
impl<T: AsRef<str>> Encoder<T> for LinesCodec {
    type Error = LinesError;

    fn encode(&mut self, packet: T, dst: &mut WriteBuffer) -> Result<(), LinesError> {
        let text = packet.as_ref();
        if let Some(at) = line_break(text.as_bytes()) {
            return Err(LinesError::LineBreak { at, len: text.len() });
        }
        dst.reserve(text.len() + self.end.len());
        dst.put_slice(text.as_bytes());
        dst.put_slice(self.end);
        Ok(())
    }

    fn frame_len(&self, packet: &T) -> usize {
        packet.as_ref().len() + self.end.len()
    }

    fn is_stateless(&self, _packet: &T) -> bool {
        true
    }
}

/// Where a text would not stay one line.
fn line_break(text: &[u8]) -> Option<usize> {
    let half_an_end = text.ends_with(b"\r").then(|| text.len() - 1);
    memchr(b'\n', text).or(half_an_end)
}

/// What can be wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinesError {
    /// More came than a line may have, with or without its end.
    TooLong {
        /// The most bytes that a line may have.
        max: usize,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// A line that is not UTF-8 was read.
    InvalidUtf8 {
        /// The first bytes of the line are UTF-8, as many as this.
        valid_up_to: usize,
        /// The line's length in bytes.
        len: usize,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// A packet to be written would be more than one line, or lose its last character.
    LineBreak {
        /// Where in the packet the line feed stands, or the carriage return at its end.
        at: usize,
        /// The packet's length in bytes.
        len: usize,
    },
}

impl fmt::Display for LinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { max, looks_like } => {
                write!(f, "a line is longer than the maximum of {max} bytes{}", Hint(looks_like))
            }
            Self::InvalidUtf8 { valid_up_to, len, looks_like } => write!(
                f,
                "a line of {len} bytes is not UTF-8 from byte {valid_up_to} on{}",
                Hint(looks_like)
            ),
            Self::LineBreak { at, len } => write!(
                f,
                "a packet of {len} bytes has a line break at byte {at}; write one line at a time"
            ),
        }
    }
}

impl std::error::Error for LinesError {}

#[cfg(test)]
mod tests;
