//! The masking of payloads: an exclusive or with four bytes, over and over, in place.

/// Masks or unmasks `bytes`, which begin `offset` bytes into the payload that `key` is for.
///
/// Thirty-two bytes at a time, which the compiler does in its widest registers, then eight, then what is left.
#[inline]
pub(super) fn apply(bytes: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    let half = u64::from(u32::from_ne_bytes(key));
    let pattern = half << 32 | half;
    let mask = |word: &mut [u8; 8]| *word = (u64::from_ne_bytes(*word) ^ pattern).to_ne_bytes();
    let (blocks, rest) = bytes.as_chunks_mut::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks_mut();
        words.iter_mut().for_each(mask);
    }
    let (words, tail) = rest.as_chunks_mut();
    words.iter_mut().for_each(mask);
    for (byte, key) in tail.iter_mut().zip(pattern.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_plain_definition_for_every_length_and_cut() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..100 {
            let payload: Vec<u8> = (0..length).collect();
            let plain: Vec<u8> =
                payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
            for cut in 0..=payload.len() {
                let mut masked = payload.clone();
                let (front, back) = masked.split_at_mut(cut);
                apply(front, key, 0);
                apply(back, key, cut);
                assert_eq!(masked, plain, "{length} bytes cut at {cut}");
            }
        }
    }

    #[test]
    fn the_rfc_masks_hello_so() {
        let mut hello = *b"Hello";
        apply(&mut hello, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(hello, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
