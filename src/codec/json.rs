//! JSON, one value a line: what logs, queues and many small protocols speak.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use memchr::memchr;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::scan::{Line, LineScan, Overlong};
use super::sniff::{Hint, Sniffer};
use super::{Decoder, Encoder, WriteBuffer};

/// One JSON value a line (NDJSON, JSON Lines), read as a `T`. Needs the feature `json`.
///
/// # Wire format
///
/// A value as JSON text on one line, which ends in LF or CRLF; lines are written with LF, without spaces between
/// tokens. Lines of nothing but spaces and tabs are skipped, so a peer may send them to keep a connection alive. When
/// the peer ends its stream, what stands behind the last line feed is the last line.
///
/// The maximum counts the bytes of a line without its end. It holds for what is read; what is written is bounded by the
/// outbox. A line is parsed once, when it is whole. Nesting is limited to 128 levels.
///
/// ```
/// use bytes::BytesMut;
/// use serde::{Deserialize, Serialize};
/// use wheelhouse::codec::{Decoder, JsonLines};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Move {
///     x: i32,
///     y: i32,
/// }
///
/// let mut codec = JsonLines::<Move>::new(1024);
/// let mut src = BytesMut::from("{\"x\":1,\"y\":2}\n{\"x\":1}\n");
/// assert_eq!(codec.decode(&mut src)?, Some(Move { x: 1, y: 2 }));
/// let error = codec.decode(&mut src).unwrap_err();
/// assert_eq!(error.to_string(), "line 2, of 7 bytes: missing field `y` at line 1 column 7");
/// # Ok::<(), wheelhouse::codec::JsonLinesError>(())
/// ```
///
/// # What can be written
///
/// Any `Serialize`. `T` itself is what a connection writes, unless a [`Protocol`](super::Protocol) names another type:
///
/// ```
/// use wheelhouse::codec::{JsonLines, Protocol};
/// # #[derive(serde::Deserialize)] struct Request {}
/// # #[derive(serde::Serialize)] struct Response {}
///
/// struct Api;
///
/// impl Protocol for Api {
///     type In = Request; // Deserialize
///     type Out = Response; // Serialize
///     type Codec = JsonLines<Request>;
///
///     fn codec(&mut self) -> Self::Codec {
///         JsonLines::new(64 * 1024)
///     }
/// }
/// ```
pub struct JsonLines<T> {
    lines: LineScan,
    sniffer: Sniffer,
    /// The number of the line that comes next, from 1.
    number: u64,
    packet: PhantomData<fn() -> T>,
}

impl<T> JsonLines<T> {
    /// Lines of at most `max` bytes, their ends not counted.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { lines: LineScan::new(max), sniffer: Sniffer::new(), number: 1, packet: PhantomData }
    }
}

impl<T: DeserializeOwned> JsonLines<T> {
    /// Takes lines as `next` finds them, up to the first that is not blank.
    fn take(
        &mut self,
        src: &mut BytesMut,
        next: fn(&mut LineScan, &[u8]) -> Result<Option<Line>, Overlong>,
    ) -> Result<Option<T>, JsonLinesError> {
        loop {
            let line = next(&mut self.lines, src).map_err(|Overlong| JsonLinesError::TooLong {
                line: self.number,
                max: self.lines.max(),
                looks_like: self.sniffer.guess(src),
            })?;
            let Some(line) = line else { return Ok(None) };
            let text = &src[..line.text];
            let packet = if text.trim_ascii().is_empty() {
                None
            } else {
                let packet = serde_json::from_slice(text).map_err(|source| JsonLinesError::Read {
                    line: self.number,
                    len: line.text,
                    source,
                    looks_like: self.sniffer.guess(src),
                });
                Some(packet?)
            };
            src.advance(line.whole);
            self.number += 1;
            self.sniffer.rest();
            if packet.is_some() {
                return Ok(packet);
            }
        }
    }
}

impl<T: DeserializeOwned> Decoder for JsonLines<T> {
    type Packet = T;
    type Error = JsonLinesError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<T>, JsonLinesError> {
        self.take(src, LineScan::next)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<T>, JsonLinesError> {
        self.take(src, LineScan::next_at_eof)
    }
}

impl<T, P: Serialize> Encoder<P> for JsonLines<T> {
    type Error = JsonLinesError;

    fn encode(&mut self, packet: P, dst: &mut WriteBuffer) -> Result<(), JsonLinesError> {
        let start = dst.len();
        let mut text = Gathered::new(dst);
        serde_json::to_writer(&mut text, &packet).map_err(JsonLinesError::Write)?;
        text.hand_on();
        // JSON text has line feeds between tokens only, and none are put there; but a type may bring text of its own.
        if let Some(at) = memchr(b'\n', &dst[start..]) {
            return Err(JsonLinesError::LineBreak { at, len: dst.len() - start });
        }
        dst.put_u8(b'\n');
        Ok(())
    }

    /// The least that any value takes: how many bytes it will be is known only by writing it.
    fn frame_len(&self, _packet: &P) -> usize {
        "0\n".len()
    }

    fn is_stateless(&self, _packet: &P) -> bool {
        true
    }
}

/// Gathers the text of a packet before it goes into the buffer, because serde_json writes brackets, quotes and commas one
/// at a time, and to make room for a byte takes a buffer longer than the byte does.
struct Gathered<'a> {
    bytes: [u8; 128],
    len: usize,
    dst: &'a mut BytesMut,
}

impl<'a> Gathered<'a> {
    fn new(dst: &'a mut BytesMut) -> Self {
        Self { bytes: [0; 128], len: 0, dst }
    }

    fn hand_on(&mut self) {
        self.dst.extend_from_slice(&self.bytes[..self.len]);
        self.len = 0;
    }

    fn bypass(&mut self, text: &[u8]) {
        self.hand_on();
        self.dst.extend_from_slice(text);
    }
}

impl Write for Gathered<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    #[inline]
    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        let end = self.len + text.len();
        match self.bytes.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(text);
                self.len = end;
            }
            None => self.bypass(text),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on();
        Ok(())
    }
}

// By hand, because a derive would ask both of `T`.
impl<T> Clone for JsonLines<T> {
    fn clone(&self) -> Self {
        Self {
            lines: self.lines.clone(),
            sniffer: self.sniffer.clone(),
            number: self.number,
            packet: PhantomData,
        }
    }
}

impl<T> fmt::Debug for JsonLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines")
            .field("packet", &std::any::type_name::<T>())
            .field("max", &self.lines.max())
            .field("line", &self.number)
            .finish_non_exhaustive()
    }
}

/// What can be wrong with a line of JSON.
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonLinesError {
    /// Read: more came than a line may have, with or without its end.
    TooLong {
        /// The line's number in the stream, from 1.
        line: u64,
        /// The most bytes that a line may have.
        max: usize,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Read: the line is no JSON, or none of the type that is expected.
    Read {
        /// The line's number in the stream, from 1.
        line: u64,
        /// Its length in bytes.
        len: usize,
        /// What is wrong and where; its own line number is that within the line, which is 1.
        source: serde_json::Error,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Written: the packet cannot be JSON. A map whose keys are no strings, say.
    Write(serde_json::Error),
    /// Written: the packet's own `Serialize` put a line feed into its text, so that it would be two lines.
    LineBreak {
        /// Where in the text the line feed stands.
        at: usize,
        /// The length of the text in bytes.
        len: usize,
    },
}

impl fmt::Display for JsonLinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { line, max, looks_like } => {
                write!(
                    f,
                    "line {line}: longer than the maximum of {max} bytes{}",
                    Hint(*looks_like)
                )
            }
            Self::Read { line, len, source, looks_like } => {
                write!(f, "line {line}, of {len} bytes: {source}{}", Hint(*looks_like))
            }
            Self::Write(source) => write!(f, "the packet cannot be written as JSON: {source}"),
            Self::LineBreak { at, len } => {
                write!(f, "a packet's JSON of {len} bytes has a line feed at byte {at}")
            }
        }
    }
}

impl std::error::Error for JsonLinesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write(source) => Some(source),
            Self::TooLong { .. } | Self::LineBreak { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
