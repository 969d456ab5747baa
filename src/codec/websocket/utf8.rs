//! UTF-8 that comes in pieces: each byte is looked at once, and a fault is told with the first byte that makes it one.

/// What is known of a text so far: valid, but for the beginning of a character at its end.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Utf8 {
    /// The bytes of that character.
    begun: [u8; 3],
    len: u8,
}

/// No bytes that may follow make it UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Invalid;

impl Utf8 {
    /// The next bytes of the text.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Invalid> {
        while self.len > 0 {
            let Some((&next, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.complete(next)?;
        }
        match str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                // At most three bytes: a fourth would have made it a character, or a fault.
                let begun = &bytes[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.len = begun.len() as u8;
                Ok(())
            }
        }
    }

    /// One more byte of the character that has begun.
    fn complete(&mut self, next: u8) -> Result<(), Invalid> {
        let held = usize::from(self.len);
        let mut character = [0; 4];
        character[..held].copy_from_slice(&self.begun[..held]);
        character[held] = next;
        match str::from_utf8(&character[..=held]) {
            Ok(_) => self.len = 0,
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => {
                self.begun[held] = next;
                self.len += 1;
            }
        }
        Ok(())
    }

    /// The end of the text; the next one may begin.
    pub(super) fn finish(&mut self) -> Result<(), Invalid> {
        if std::mem::take(&mut self.len) == 0 { Ok(()) } else { Err(Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_valid<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut utf8 = Utf8::default();
        pieces.into_iter().all(|piece| utf8.push(piece).is_ok()) && utf8.finish().is_ok()
    }

    #[test]
    fn every_cut_of_every_kind_of_character_is_unseen() {
        let text = "aß水𝄞\u{d7ff}\u{e000}\u{10ffff}z";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let bytes = text.as_bytes();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert!(is_valid(pieces), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_fault_is_told_with_the_byte_that_makes_it() {
        let faults: [&[u8]; 8] = [
            b"\x80",
            b"\xc0",              // no such lead
            b"\xe0\x80",          // overlong
            b"\xed\xa0",          // a surrogate
            b"\xf0\x80",          // overlong
            b"\xf4\x90",          // beyond the last character
            b"\xf5",              // no such lead
            b"\xce\xba\xe1\xbd(", // a character cut short
        ];
        for fault in faults {
            let mut utf8 = Utf8::default();
            let (last, before) = fault.split_last().expect("some bytes");
            for byte in before {
                assert_eq!(utf8.push(&[*byte]), Ok(()), "{}", fault.escape_ascii());
            }
            assert_eq!(utf8.push(&[*last]), Err(Invalid), "{}", fault.escape_ascii());
        }
    }

    #[test]
    fn a_text_that_ends_inside_a_character_is_none() {
        for end in ["ß", "水", "𝄞"] {
            for cut in 1..end.len() {
                let mut utf8 = Utf8::default();
                assert_eq!(utf8.push(&end.as_bytes()[..cut]), Ok(()));
                assert_eq!(utf8.finish(), Err(Invalid));
                assert_eq!(utf8.push(b"the next text"), Ok(()));
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(
            bytes in prop::collection::vec(prop_oneof![
                Just(b'a'), Just(0x80), Just(0xbf), Just(0xc3), Just(0xe0), Just(0xed), Just(0xf0), Just(0xf4),
                Just(0x90), any::<u8>(),
            ], 0..24),
            length in 1..5_usize,
        ) {
            prop_assert_eq!(is_valid(bytes.chunks(length)), str::from_utf8(&bytes).is_ok());
        }
    }
}
