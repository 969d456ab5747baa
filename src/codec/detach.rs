//! What becomes of a packet that is to be kept, where it is a slice of the read buffer.

use bytes::Bytes;

/// Packets that are smaller than this are copied when they are kept, so that they do not keep a read buffer alive.
pub(crate) const DETACH_BELOW: usize = 16 * 1024;

/// The packet, as a copy if it is small: what it keeps alive is then at most a few times its length.
pub(crate) fn detached(packet: Bytes) -> Bytes {
    if packet.len() < DETACH_BELOW { Bytes::copy_from_slice(&packet) } else { packet }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_packets_are_copied_and_large_ones_are_not() {
        let block = Bytes::from(vec![0; 2 * DETACH_BELOW]);
        let (small, large) = (block.slice(..DETACH_BELOW - 1), block.slice(..DETACH_BELOW));
        assert_ne!(detached(small.clone()).as_ptr(), small.as_ptr());
        assert_eq!(detached(large.clone()).as_ptr(), large.as_ptr());
    }

    #[test]
    fn every_codec_whose_packets_are_slices_detaches_them() {
        use crate::codec::{
            BytesCodec, Decoder, DelimiterCodec, FixedLengthCodec, LengthDelimitedCodec,
        };
        fn is_copied<D: Decoder<Packet = Bytes>>() -> bool {
            let slice = Bytes::from_static(b"a few bytes of a large block").slice(..11);
            let kept = D::detach(slice.clone());
            kept == slice && kept.as_ptr() != slice.as_ptr()
        }
        assert!(is_copied::<BytesCodec>());
        assert!(is_copied::<DelimiterCodec>());
        assert!(is_copied::<FixedLengthCodec>());
        assert!(is_copied::<LengthDelimitedCodec>());
    }
}
