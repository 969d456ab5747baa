//! Packets with their length in front: the framing of most binary protocols.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::detach::detached;
use super::sniff::Sniffer;
use super::{Decoder, Encoder, WriteBuffer};

mod builder;
mod error;
mod field;
#[cfg(test)]
mod tests;

pub use self::builder::LengthDelimitedBuilder;
pub use self::error::LengthDelimitedError;
pub use self::field::LengthField;
use self::field::{Endian, Malformed};

/// Packets of bytes, each with its length in front.
///
/// # Wire format
///
/// A frame is a header and a body. The header is `offset` bytes of any kind and the length field; the body's length is
/// the field's value plus the adjustment. By default ([`new`](Self::new)) the field is a `u32` in network order
/// (big-endian) at offset 0, the adjustment is 0, and the packet is the body without the header:
///
/// ```text
/// 00 00 00 05  68 65 6c 6c 6f        →  "hello"
/// ```
///
/// [`builder`](Self::builder) changes each of these. The maximum counts the bytes of the body, and holds for what is
/// read and for what is written. A length over it is refused as soon as the length field has come; no memory is ever
/// set aside for bytes that have not come.
///
/// ```
/// use bytes::BytesMut;
/// use wheelhouse::codec::{Decoder, LengthDelimitedCodec};
///
/// let mut codec = LengthDelimitedCodec::new(64 * 1024);
/// let mut src = BytesMut::from(&b"\0\0\0\x05hello\0\0\0\x05wor"[..]);
/// assert_eq!(codec.decode(&mut src)?.unwrap(), "hello");
/// assert_eq!(codec.decode(&mut src)?, None);
///
/// // a browser that was pointed at the wrong port
/// let mut codec = LengthDelimitedCodec::new(64 * 1024);
/// let error = codec.decode(&mut BytesMut::from("GET / HTTP/1.1\r\n")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "a length of 1195725856 passes the maximum of 65536 bytes (the stream begins like an HTTP request)"
/// );
/// # Ok::<(), wheelhouse::codec::LengthDelimitedError>(())
/// ```
///
/// # What is written
///
/// The frame from which the decoder would make the same packet. What the decoder strips is put back: the length field
/// by its value, other bytes as zeros. Where the header is part of the packet ([`keep_header`]), the packet is written
/// as it stands, and refused if its own length field is wrong. A large packet is not copied.
///
/// [`keep_header`]: LengthDelimitedBuilder::keep_header
#[derive(Clone, Debug)]
pub struct LengthDelimitedCodec {
    layout: Layout,
    /// [`Layout::is_plain`], asked once.
    is_plain: bool,
    sniffer: Sniffer,
    /// The frame that has begun and whose length is known.
    frame: Option<Frame>,
    /// Every byte of a header that was looked at, for the test that holds the cost to be linear.
    #[cfg(test)]
    looked_at: usize,
}

/// Where the length stands, what it counts, and what becomes of it. Only the builder makes one, and it sees to it that
/// no sum of these numbers and of lengths within the maximum overflows.
#[derive(Clone, Debug)]
struct Layout {
    /// The most bytes that a body may have.
    max: usize,
    field: LengthField,
    endian: Endian,
    /// Bytes in front of the length field.
    offset: usize,
    /// What is added to the field's value to make the length of the body.
    adjustment: i64,
    skip: Skip,
}

/// The header of a plain layout, in bytes.
const PLAIN_HEADER: usize = size_of::<u32>();

/// What of a frame does not become part of the packet.
#[derive(Clone, Copy, Debug)]
enum Skip {
    /// So many bytes, all of them in front of the length field.
    Front(usize),
    /// The header, and so many bytes of the body.
    Header { body: usize },
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Its length with its header.
    len: usize,
    /// How many bytes at its front do not become part of the packet.
    skip: usize,
}

impl LengthDelimitedCodec {
    /// A big-endian `u32`, then so many bytes: at most `max`.
    ///
    /// # Panics
    ///
    /// When `max` and a header together pass `isize::MAX`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::builder(max).build()
    }

    /// Any other layout, with bodies of at most `max` bytes.
    pub fn builder(max: usize) -> LengthDelimitedBuilder {
        LengthDelimitedBuilder::new(max)
    }

    /// The frame at the front of `src`, once its header has come.
    fn read_header(&mut self, src: &[u8]) -> Result<Option<Frame>, LengthDelimitedError> {
        let Layout { max, field, endian, offset, adjustment, skip } = self.layout;
        let Some(bytes) = src.get(offset..) else { return Ok(None) };
        #[cfg(test)]
        {
            self.looked_at += bytes.len().min(field::VARINT_MAX);
        }
        let looks_like = self.sniffer.guess(src);
        let (length, field_len) = match field.read(bytes, endian) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            Err(Malformed) => return Err(LengthDelimitedError::BadVarint { looks_like }),
        };
        let body = match length.checked_add_signed(adjustment) {
            Some(body) if body <= max as u64 => body as usize,
            None if adjustment < 0 => {
                return Err(LengthDelimitedError::Negative { length, adjustment, looks_like });
            }
            _ => {
                return Err(LengthDelimitedError::TooLong { length, adjustment, max, looks_like });
            }
        };
        let header = offset + field_len;
        let frame = Frame {
            len: header + body,
            skip: match skip {
                Skip::Front(front) => front,
                Skip::Header { body } => header + body,
            },
        };
        if frame.skip > frame.len {
            let Frame { len, skip } = frame;
            return Err(LengthDelimitedError::TooShort { len, skip, looks_like });
        }
        Ok(Some(frame))
    }
}

impl Decoder for LengthDelimitedCodec {
    type Packet = Bytes;
    type Error = LengthDelimitedError;

    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, LengthDelimitedError> {
        if src.is_empty() {
            return Ok(None);
        }
        let frame = match self.plain_frame(src) {
            Some(frame) => frame,
            None => match self.whole_frame(src)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        self.sniffer.rest();
        let mut packet = src.split_to(frame.len).freeze();
        packet.advance(frame.skip);
        Ok(Some(packet))
    }

    fn detach(packet: Bytes) -> Bytes {
        detached(packet)
    }
}

impl LengthDelimitedCodec {
    /// The whole frame at the front of `src`, where that is seen at a glance.
    #[inline(always)]
    fn plain_frame(&self, src: &[u8]) -> Option<Frame> {
        if self.is_plain
            && self.frame.is_none()
            && let Some(header) = src.first_chunk()
        {
            let body = u32::from_be_bytes(*header) as usize;
            if body <= self.layout.max && body <= src.len() - PLAIN_HEADER {
                return Some(Frame { len: PLAIN_HEADER + body, skip: PLAIN_HEADER });
            }
        }
        None
    }

    /// The same for any layout; what of a frame has come is remembered until the rest has.
    fn whole_frame(&mut self, src: &[u8]) -> Result<Option<Frame>, LengthDelimitedError> {
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => match self.read_header(src)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        if frame.len > src.len() {
            self.frame = Some(frame);
            return Ok(None);
        }
        Ok(Some(frame))
    }

    /// Encodes any layout, and refuses what cannot be sent.
    fn encode_any(
        &mut self,
        packet: Bytes,
        dst: &mut WriteBuffer,
    ) -> Result<(), LengthDelimitedError> {
        match self.layout.skip {
            Skip::Front(front) => {
                self.layout.check_own_header(&packet, front)?;
                put_zeros(dst, front);
            }
            Skip::Header { body } => {
                let length = self.layout.length_of(body + packet.len())?;
                put_zeros(dst, self.layout.offset);
                self.layout.field.write(length, self.layout.endian, dst);
                put_zeros(dst, body);
            }
        }
        dst.put_shared(packet);
        Ok(())
    }

    fn frame_len_any(&self, packet: &Bytes) -> usize {
        let in_front = match self.layout.skip {
            Skip::Front(front) => front,
            Skip::Header { body } => {
                let length = self.layout.length_of(body + packet.len()).unwrap_or_default();
                self.layout.offset + self.layout.field.len_of(length) + body
            }
        };
        in_front + packet.len()
    }
}

impl Layout {
    /// Whether it is the common one, a `u32` in network order and then its packet, which has a short way of its own.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self {
                field: LengthField::U32,
                endian: Endian::Big,
                offset: 0,
                adjustment: 0,
                skip: Skip::Header { body: 0 },
                ..
            }
        ) && u32::try_from(self.max).is_ok()
    }

    /// What the length field has to say in front of a body of `len` bytes.
    #[inline]
    fn length_of(&self, len: usize) -> Result<u64, LengthDelimitedError> {
        if self.adjustment == 0 && len <= self.max && len as u64 <= self.field.max() {
            return Ok(len as u64);
        }
        let adjustment = i128::from(self.adjustment);
        let max = (i128::from(self.field.max()) + adjustment).min(self.max as i128);
        if len as i128 > max {
            return Err(LengthDelimitedError::PacketTooLong { len, max: max as usize });
        }
        u64::try_from(len as i128 - adjustment)
            .map_err(|_| LengthDelimitedError::PacketTooShort { len, adjustment: self.adjustment })
    }

    /// Sees that a packet that brings its own header, less its first `skipped` bytes, tells its length.
    fn check_own_header(&self, packet: &[u8], skipped: usize) -> Result<(), LengthDelimitedError> {
        let no_header = LengthDelimitedError::NoHeader { len: packet.len() };
        let Some(bytes) = packet.get(self.offset - skipped..) else { return Err(no_header) };
        let Ok(Some((says, field_len))) = self.field.read(bytes, self.endian) else {
            return Err(no_header);
        };
        let expected = self.length_of(bytes.len() - field_len)?;
        if says == expected {
            Ok(())
        } else {
            Err(LengthDelimitedError::WrongHeader { says, expected })
        }
    }
}

/// The bytes of a header that the decoder strips and that say nothing; most layouts have none.
#[inline]
fn put_zeros(dst: &mut BytesMut, count: usize) {
    if count > 0 {
        dst.put_bytes(0, count);
    }
}

impl Encoder<Bytes> for LengthDelimitedCodec {
    type Error = LengthDelimitedError;

    #[inline(always)]
    fn encode(&mut self, packet: Bytes, dst: &mut WriteBuffer) -> Result<(), LengthDelimitedError> {
        if self.is_plain && packet.len() <= self.layout.max {
            dst.extend_from_slice(&(packet.len() as u32).to_be_bytes());
            dst.put_shared(packet);
            return Ok(());
        }
        self.encode_any(packet, dst)
    }

    /// Exact for every packet that can be encoded.
    #[inline(always)]
    fn frame_len(&self, packet: &Bytes) -> usize {
        if self.is_plain { PLAIN_HEADER + packet.len() } else { self.frame_len_any(packet) }
    }

    fn is_stateless(&self, _packet: &Bytes) -> bool {
        true
    }
}
