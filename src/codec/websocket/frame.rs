//! The header of a frame: two to fourteen bytes, checked as strictly as they can be without knowing what came before.

use super::error::WebSocketError;

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;

/// The opcodes that there are, one bit each.
const KNOWN: u16 = 1 << CONTINUATION | 1 << TEXT | 1 << BINARY | 1 << CLOSE | 1 << PING | 1 << PONG;

pub(super) const FIN: u8 = 0x80;
/// The first reserved bit: of the first frame of a message, it says that the message is compressed.
pub(super) const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x70;
pub(super) const MASKED: u8 = 0x80;

/// The most bytes of payload that a close, ping or pong frame may have.
pub(super) const CONTROL_MAX: usize = 125;

/// A frame's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// FIN, the reserved bits and the opcode, as they came.
    pub(super) first: u8,
    /// Bytes of payload.
    pub(super) len: u64,
    /// All zeros where there is none: that masks nothing.
    pub(super) key: [u8; 4],
    /// Bytes of the header itself.
    pub(super) size: u8,
}

impl Header {
    pub(super) fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    pub(super) fn is_final(&self) -> bool {
        self.first & FIN != 0
    }

    pub(super) fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }

    /// Reads one off the front of `src`; `None` until it has come. `masked`: whether the peer has to mask. `reserved`: the
    /// reserved bits that an extension uses.
    pub(super) fn read(
        src: &[u8],
        masked: bool,
        reserved: u8,
    ) -> Result<Option<Self>, WebSocketError> {
        let [first, second, rest @ ..] = src else { return Ok(None) };
        let mut header =
            Self { first: *first, len: u64::from(second & 0x7f), key: [0; 4], size: 2 };
        header.check_first(reserved)?;
        if (second & MASKED != 0) != masked {
            return Err(if masked { WebSocketError::NotMasked } else { WebSocketError::Masked });
        }
        if header.is_control() && header.len > CONTROL_MAX as u64 {
            let (opcode, len) = (header.opcode(), header.len as usize);
            return Err(WebSocketError::ControlTooLong { opcode, len });
        }
        let rest = match header.len {
            126 => {
                let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
                header.set_len(u16::from_be_bytes(*bytes).into(), 2, 125)?;
                rest
            }
            127 => {
                let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
                header.set_len(u64::from_be_bytes(*bytes), 8, u16::MAX.into())?;
                rest
            }
            _ => rest,
        };
        if masked {
            let Some(key) = rest.first_chunk() else { return Ok(None) };
            header.key = *key;
            header.size += 4;
        }
        Ok(Some(header))
    }

    fn check_first(&self, reserved: u8) -> Result<(), WebSocketError> {
        let opcode = self.opcode();
        // What an extension does to messages begins with their first frame, and never with a control frame.
        let first_of_message = opcode == TEXT || opcode == BINARY;
        let meaningless = self.first & RESERVED & !(if first_of_message { reserved } else { 0 });
        if meaningless != 0 {
            return Err(WebSocketError::ReservedBits { bits: meaningless >> 4 });
        }
        if KNOWN >> opcode & 1 == 0 {
            return Err(WebSocketError::ReservedOpcode { opcode });
        }
        if self.is_control() && !self.is_final() {
            return Err(WebSocketError::FragmentedControl { opcode });
        }
        Ok(())
    }

    /// A length in `bytes` bytes, which one of `enough` or less would not have needed.
    fn set_len(&mut self, len: u64, bytes: u8, enough: u64) -> Result<(), WebSocketError> {
        if len > i64::MAX as u64 {
            return Err(WebSocketError::LengthTopBit { len });
        }
        if len <= enough {
            return Err(WebSocketError::LengthNotMinimal { len, bytes: bytes.into() });
        }
        self.len = len;
        self.size += bytes;
        Ok(())
    }
}

/// Bytes of the header of a frame with so much payload.
#[inline]
pub(super) fn header_size(len: usize, masked: bool) -> usize {
    let size = match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    if masked { size + 4 } else { size }
}

/// A header without its key, and how many of these bytes it has.
#[inline]
pub(super) fn write_header(first: u8, len: usize, mask_bit: u8) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = first;
    let size = match len {
        0..=125 => {
            header[1] = mask_bit | len as u8;
            2
        }
        126..=0xffff => {
            header[1] = mask_bit | 126;
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = mask_bit | 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    (header, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(src: &[u8]) -> Result<Option<Header>, WebSocketError> {
        Header::read(src, false, 0)
    }

    #[test]
    fn what_is_written_is_read_whatever_its_length() {
        for len in [0, 1, 125, 126, 127, 255, 65_535, 65_536, 1 << 40] {
            for mask in [0, MASKED] {
                let (header, size) = write_header(FIN | BINARY, len, mask);
                let mut bytes = header[..size].to_vec();
                if mask != 0 {
                    bytes.extend_from_slice(b"key!");
                }
                assert_eq!(bytes.len(), header_size(len, mask != 0));
                for cut in 0..bytes.len() {
                    let read = Header::read(&bytes[..cut], mask != 0, 0);
                    assert!(matches!(read, Ok(None)), "{len}: {read:?}");
                }
                let read = Header::read(&bytes, mask != 0, 0).expect("valid").expect("whole");
                assert_eq!((read.len, usize::from(read.size)), (len as u64, bytes.len()));
                assert_eq!(read.key, if mask != 0 { *b"key!" } else { [0; 4] });
                assert_eq!(read.first, FIN | BINARY);
            }
        }
    }

    #[test]
    fn lengths_have_one_form_each() {
        for len in [0_u16, 1, 125] {
            let [high, low] = len.to_be_bytes();
            let error = read(&[0x82, 126, high, low]).expect_err("not minimal");
            assert!(matches!(error, WebSocketError::LengthNotMinimal { bytes: 2, .. }), "{error}");
        }
        for len in [0_u64, 126, 65_535] {
            let bytes = [&[0x82, 127], &len.to_be_bytes()[..]].concat();
            let error = read(&bytes).expect_err("not minimal");
            assert!(matches!(error, WebSocketError::LengthNotMinimal { bytes: 8, .. }), "{error}");
        }
        let bytes = [&[0x82, 127], &(1_u64 << 63).to_be_bytes()[..]].concat();
        assert!(
            matches!(read(&bytes), Err(WebSocketError::LengthTopBit { len }) if len == 1 << 63)
        );
    }

    #[test]
    fn every_first_byte_is_either_allowed_or_refused_by_name() {
        for first in 0..=255_u8 {
            let (bits, opcode) = (first >> 4 & 7, first & 15);
            let known = matches!(opcode, 0..=2 | 8..=10);
            match read(&[first, 0]) {
                Ok(Some(_)) => assert!(bits == 0 && known && (opcode < 8 || first & FIN != 0)),
                Ok(None) => panic!("a header of two bytes"),
                Err(WebSocketError::ReservedBits { bits: told }) => assert_eq!(told, bits),
                Err(WebSocketError::ReservedOpcode { opcode }) => assert!(!known, "{opcode}"),
                Err(WebSocketError::FragmentedControl { opcode }) => {
                    assert!(opcode >= 8 && first & FIN == 0);
                }
                Err(error) => panic!("{error}"),
            }
            let compressed = Header::read(&[first, 0], false, RSV1);
            let may_compress = bits == 4 && matches!(opcode, 1 | 2);
            assert_eq!(compressed.is_ok(), read(&[first, 0]).is_ok() || may_compress);
        }
    }
}
