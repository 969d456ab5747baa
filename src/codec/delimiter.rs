//! Packets that end in an agreed sequence of bytes.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memchr;
use memchr::memmem::Finder;

use super::detach::detached;
use super::scan::Scan;
use super::sniff::{Hint, Sniffer};
use super::{Decoder, Encoder, WriteBuffer};

/// Packets of bytes, each with a delimiter behind it.
///
/// # Wire format
///
/// The bytes of the packet, then the delimiter, which is not part of it. Nothing is escaped: a packet cannot contain
/// the delimiter. The first occurrence counts, and two delimiters in a row make an empty packet. Bytes behind the last
/// delimiter are no packet: a stream that ends there ended too early, and its connection fails with
/// [`Error::Truncated`](crate::Error::Truncated).
///
/// The maximum counts the bytes of a packet without its delimiter. It holds for what is read; what is written is
/// bounded by the outbox. A packet that passes it is refused when so many bytes and a delimiter's length have come, at
/// the latest.
///
/// ```
/// use bytes::BytesMut;
/// use wheelhouse::codec::{Decoder, DelimiterCodec};
///
/// let mut codec = DelimiterCodec::new("\0", 1024);
/// let mut src = BytesMut::from("one\0two\0thr");
/// assert_eq!(codec.decode(&mut src)?.unwrap(), "one");
/// assert_eq!(codec.decode(&mut src)?.unwrap(), "two");
/// assert_eq!(codec.decode(&mut src)?, None);
/// # Ok::<(), wheelhouse::codec::DelimiterError>(())
/// ```
///
/// A packet that comes in small pieces is searched once, but for the length of the delimiter, which is looked at again
/// with each piece.
#[derive(Clone, Debug)]
pub struct DelimiterCodec {
    delimiter: Arc<Delimiter>,
    max: usize,
    scan: Scan,
    sniffer: Sniffer,
}

/// What connections share.
#[derive(Debug)]
struct Delimiter {
    finder: Finder<'static>,
    /// The lengths of the delimiter's own beginnings that, at the end of a packet, make one with the first bytes of the
    /// delimiter behind them: 1 for `aa`, 2 for `aba`, and so on. Most delimiters have none.
    traps: Vec<usize>,
}

impl DelimiterCodec {
    /// Packets of at most `max` bytes, `delimiter` behind each.
    ///
    /// # Panics
    ///
    /// When `delimiter` is empty.
    #[must_use]
    pub fn new(delimiter: impl AsRef<[u8]>, max: usize) -> Self {
        let delimiter = delimiter.as_ref();
        assert!(!delimiter.is_empty(), "an empty delimiter is everywhere");
        let traps = (1..delimiter.len())
            .filter(|&length| delimiter.starts_with(&delimiter[length..]))
            .collect();
        let finder = Finder::new(delimiter).into_owned();
        Self {
            delimiter: Arc::new(Delimiter { finder, traps }),
            max,
            scan: Scan::default(),
            sniffer: Sniffer::new(),
        }
    }
}

impl Delimiter {
    fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// Where the first delimiter stands in `bytes`. One byte, the common case, is found by the search made for it: in a
    /// short packet the general one takes longer to begin than to search.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match *self.bytes() {
            [byte] => memchr(byte, bytes),
            _ => self.finder.find(bytes),
        }
    }

    /// Where the first delimiter stands in `packet` and the delimiter behind it, if that is before the packet's end.
    fn inside(&self, packet: &[u8]) -> Option<usize> {
        self.find(packet).or_else(|| {
            let trap =
                self.traps.iter().rfind(|&&length| packet.ends_with(&self.bytes()[..length]));
            trap.map(|length| packet.len() - length)
        })
    }
}

impl Decoder for DelimiterCodec {
    type Packet = Bytes;
    type Error = DelimiterError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DelimiterError> {
        let delimiter = &self.delimiter;
        let len = delimiter.bytes().len();
        // No permitted packet ends beyond the longest one with its delimiter.
        let longest = self.max.saturating_add(len);
        let window = &src[..src.len().min(longest)];
        let Some(end) = self.scan.find(window, len, |new| delimiter.find(new)) else {
            if src.len() >= longest {
                let looks_like = self.sniffer.guess(src);
                return Err(DelimiterError::TooLong { max: self.max, looks_like });
            }
            return Ok(None);
        };
        let packet = src.split_to(end).freeze();
        src.advance(len);
        self.sniffer.rest();
        Ok(Some(packet))
    }

    fn detach(packet: Bytes) -> Bytes {
        detached(packet)
    }
}

/// A packet is refused where the peer would find a delimiter before its end: one that contains it, or one whose last
/// bytes would make one together with the first bytes of the delimiter behind them.
impl Encoder<Bytes> for DelimiterCodec {
    type Error = DelimiterError;

    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), DelimiterError> {
        if let Some(at) = self.delimiter.inside(&packet) {
            return Err(DelimiterError::ContainsDelimiter { at, len: packet.len() });
        }
        dst.put_shared(packet);
        dst.put_slice(self.delimiter.bytes());
        Ok(())
    }

    fn frame_len(&self, packet: &Bytes) -> usize {
        packet.len() + self.delimiter.bytes().len()
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        true
    }
}

/// What can be wrong with a packet that ends in a delimiter.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DelimiterError {
    /// More came than a packet may have, and no delimiter.
    TooLong {
        /// The most bytes that a packet may have.
        max: usize,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// A packet to be written would be cut in two by its reader.
    ContainsDelimiter {
        /// Where in the packet the reader would find a delimiter.
        at: usize,
        /// The packet's length in bytes.
        len: usize,
    },
}

impl fmt::Display for DelimiterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { max, looks_like } => write!(
                f,
                "no delimiter ends a packet within the maximum of {max} bytes{}",
                Hint(looks_like)
            ),
            Self::ContainsDelimiter { at, len } => {
                write!(f, "a packet of {len} bytes has a delimiter in it at byte {at}")
            }
        }
    }
}

impl std::error::Error for DelimiterError {}

#[cfg(test)]
mod tests;
