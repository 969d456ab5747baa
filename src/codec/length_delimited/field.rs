//! The length field itself: a number of a fixed size, or of as many bytes as it needs.

use bytes::{Buf, BufMut, BytesMut};

/// How a length is written in front of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum LengthField {
    /// One byte: up to 255.
    U8,
    /// Two bytes: up to 65,535.
    U16,
    /// Three bytes: up to 16,777,215.
    U24,
    /// Four bytes: up to 4,294,967,295.
    U32,
    /// Eight bytes.
    U64,
    /// Unsigned LEB128, as Protocol Buffers write it: seven bits a byte, the least significant first, and the high bit
    /// of each byte but the last is set; one to ten bytes, up to 2⁶⁴ − 1.
    ///
    /// Numbers are written in as few bytes as they need, and read also where somebody padded them to more, up to ten.
    Varint,
}

/// The most bytes of a length field.
pub(super) const VARINT_MAX: usize = 10;

/// The order of the bytes in a field of a fixed size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Endian {
    Big,
    Little,
}

/// A varint of more than 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl LengthField {
    /// Its size in bytes, where that does not depend on the number.
    #[inline]
    pub(super) fn fixed_len(self) -> Option<usize> {
        match self {
            Self::U8 => Some(1),
            Self::U16 => Some(2),
            Self::U24 => Some(3),
            Self::U32 => Some(4),
            Self::U64 => Some(8),
            Self::Varint => None,
        }
    }

    /// Its size in bytes for this number.
    #[inline]
    pub(super) fn len_of(self, value: u64) -> usize {
        self.fixed_len().unwrap_or_else(|| {
            let bits = u64::BITS - (value | 1).leading_zeros(); // a zero takes a byte as well
            bits.div_ceil(7) as usize
        })
    }

    /// The largest number that it can say.
    #[inline]
    pub(super) fn max(self) -> u64 {
        u64::MAX >> (64 - 8 * self.fixed_len().unwrap_or(8))
    }

    /// The number at the front of `bytes` and the size of it, once it is there as a whole.
    #[inline]
    pub(super) fn read(
        self,
        mut bytes: &[u8],
        endian: Endian,
    ) -> Result<Option<(u64, usize)>, Malformed> {
        // The most common of them by a load of four bytes, rather than by a loop over any number.
        if let (Self::U32, Endian::Big, Some(first)) = (self, endian, bytes.first_chunk()) {
            return Ok(Some((u64::from(u32::from_be_bytes(*first)), 4)));
        }
        match self.fixed_len() {
            None => read_varint(bytes),
            Some(len) if bytes.len() < len => Ok(None),
            Some(len) => Ok(Some(match endian {
                Endian::Big => (bytes.get_uint(len), len),
                Endian::Little => (bytes.get_uint_le(len), len),
            })),
        }
    }

    #[inline]
    pub(super) fn write(self, mut value: u64, endian: Endian, dst: &mut BytesMut) {
        match (self.fixed_len(), endian) {
            (Some(4), Endian::Big) => dst.extend_from_slice(&(value as u32).to_be_bytes()),
            (Some(len), Endian::Big) => dst.put_uint(value, len),
            (Some(len), Endian::Little) => dst.put_uint_le(value, len),
            (None, _) => {
                while value >= 0x80 {
                    dst.put_u8(value as u8 | 0x80);
                    value >>= 7;
                }
                dst.put_u8(value as u8);
            }
        }
    }
}

fn read_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(VARINT_MAX) {
        if index == VARINT_MAX - 1 && byte > 1 {
            return Err(Malformed); // there is room for one bit, and for no byte after this one
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, index + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [LengthField; 6] = [
        LengthField::U8,
        LengthField::U16,
        LengthField::U24,
        LengthField::U32,
        LengthField::U64,
        LengthField::Varint,
    ];

    #[test]
    fn every_field_reads_back_what_it_wrote() {
        for field in FIELDS {
            for endian in [Endian::Big, Endian::Little] {
                let numbers = (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, u64::MAX >> bit]);
                for value in numbers.filter(|&value| value <= field.max()) {
                    let mut bytes = BytesMut::new();
                    field.write(value, endian, &mut bytes);
                    assert_eq!(bytes.len(), field.len_of(value), "{field:?} {value}");
                    for short in 0..bytes.len() {
                        assert_eq!(field.read(&bytes[..short], endian), Ok(None));
                    }
                    bytes.put_u8(0xff);
                    assert_eq!(field.read(&bytes, endian), Ok(Some((value, bytes.len() - 1))));
                }
            }
        }
    }

    #[test]
    fn a_padded_varint_is_read() {
        assert_eq!(read_varint(b"\x85\x80\x80\x00"), Ok(Some((5, 4))));
        assert_eq!(read_varint(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), Ok(Some((0, 10))));
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused_at_its_tenth_byte() {
        assert_eq!(read_varint(&[0xff; 9]), Ok(None));
        assert_eq!(read_varint(&[0xff; 10]), Err(Malformed));
        assert_eq!(read_varint(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"), Err(Malformed));
        assert_eq!(
            read_varint(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            Ok(Some((u64::MAX, 10)))
        );
    }
}
