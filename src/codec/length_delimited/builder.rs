//! Where the length field stands, how it is written, and what it counts.

use super::field::{Endian, LengthField, VARINT_MAX};
use super::{Layout, LengthDelimitedCodec, Skip, Sniffer};

/// Describes the frames of a [`LengthDelimitedCodec`].
///
/// The defaults are those of [`LengthDelimitedCodec::new`]. A frame with two bytes of magic, the length in a
/// little-endian `u16` that counts these four bytes too, and a packet behind it:
///
/// ```
/// use bytes::BytesMut;
/// use wheelhouse::codec::{Decoder, LengthDelimitedCodec, LengthField};
///
/// let mut codec = LengthDelimitedCodec::builder(1024)
///     .offset(2)
///     .field(LengthField::U16)
///     .little_endian()
///     .adjustment(-4)
///     .build();
/// let mut src = BytesMut::from(&b"\xca\xfe\x09\0hello"[..]);
/// assert_eq!(codec.decode(&mut src)?.unwrap(), "hello");
/// # Ok::<(), wheelhouse::codec::LengthDelimitedError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct LengthDelimitedBuilder {
    max: usize,
    field: LengthField,
    endian: Endian,
    offset: usize,
    adjustment: i64,
    /// `None` for the header.
    skip: Option<usize>,
}

impl LengthDelimitedBuilder {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            field: LengthField::U32,
            endian: Endian::Big,
            offset: 0,
            adjustment: 0,
            skip: None,
        }
    }

    /// How the length is written. Default: [`LengthField::U32`].
    pub fn field(mut self, field: LengthField) -> Self {
        self.field = field;
        self
    }

    /// The length's most significant byte comes first: the default. It means nothing to a varint.
    pub fn big_endian(mut self) -> Self {
        self.endian = Endian::Big;
        self
    }

    /// The length's least significant byte comes first. It means nothing to a varint.
    pub fn little_endian(mut self) -> Self {
        self.endian = Endian::Little;
        self
    }

    /// How many bytes of the header stand in front of the length field. Default: 0.
    pub fn offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// What is added to the value of the length field to make the length of the body, which is all that follows the
    /// field. Default: 0.
    ///
    /// Negative where the length counts the header too, positive where it leaves out something that follows the field
    /// (a second part of the header, a checksum).
    pub fn adjustment(mut self, bytes: i64) -> Self {
        self.adjustment = bytes;
        self
    }

    /// The packet is the frame without so many bytes at its front. Default: without the header, that is `offset` and
    /// the length field.
    pub fn skip(mut self, bytes: usize) -> Self {
        self.skip = Some(bytes);
        self
    }

    /// The packet is the whole frame: `skip(0)`.
    pub fn keep_header(self) -> Self {
        self.skip(0)
    }

    /// The codec.
    ///
    /// # Panics
    ///
    /// When the description contradicts itself, whatever a peer may send:
    ///
    /// - the offset, the length field and the maximum together pass `isize::MAX`;
    /// - the adjustment is negative and takes away more than the length field can say;
    /// - `skip` ends inside the length field, or is greater than the longest frame;
    /// - `skip` goes beyond the offset, and the length is a varint (leave `skip` out to strip that as a whole).
    #[must_use]
    pub fn build(self) -> LengthDelimitedCodec {
        let Self { max, field, endian, offset, adjustment, .. } = self;
        let longest = offset.checked_add(VARINT_MAX).and_then(|header| header.checked_add(max));
        assert!(
            longest.is_some_and(|longest| isize::try_from(longest).is_ok()),
            "an offset of {offset} bytes and bodies of up to {max} are no frame that fits in memory"
        );
        assert!(
            adjustment >= 0 || field.max() >= adjustment.unsigned_abs(),
            "an adjustment of {adjustment} takes away more than a length of {} can say",
            field.max()
        );
        let layout = Layout { max, field, endian, offset, adjustment, skip: self.resolve_skip() };
        LengthDelimitedCodec {
            is_plain: layout.is_plain(),
            layout,
            sniffer: Sniffer::new(),
            frame: None,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    fn resolve_skip(&self) -> Skip {
        let Some(skip) = self.skip else { return Skip::Header { body: 0 } };
        if skip <= self.offset {
            return Skip::Front(skip);
        }
        let Some(field_len) = self.field.fixed_len() else {
            panic!(
                "{skip} bytes to be skipped end in or behind a varint at offset {}",
                self.offset
            );
        };
        let Some(body) = skip.checked_sub(self.offset + field_len) else {
            panic!(
                "{skip} bytes to be skipped end inside the length field at offset {}",
                self.offset
            );
        };
        assert!(body <= self.max, "{skip} bytes to be skipped are more than any frame has");
        Skip::Header { body }
    }
}
