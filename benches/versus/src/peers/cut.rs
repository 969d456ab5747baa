//! Frames with a big-endian `u32` in front, cut from what a read brought: for the peers that have no codec of their own.
//!
//! A whole frame is lent as it stands in the read's buffer; only what was split between two reads is kept here. That is
//! the cheapest way there is, so these peers are shown at their best.

use std::io;

use super::LONGEST;

const HEADER: usize = 4;

#[derive(Default)]
pub(crate) struct Cutter {
    /// The beginning of a frame whose end has not come. Empty most of the time.
    held: Vec<u8>,
}

impl Cutter {
    /// Calls `each` with every whole frame, its header included, in order.
    pub(crate) fn cut(&mut self, mut input: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.held.is_empty() {
            input = self.complete(input, &mut each)?;
        }
        while let Some(len) = frame_len(input)?.filter(|len| *len <= input.len()) {
            let (frame, rest) = input.split_at(len);
            each(frame);
            input = rest;
        }
        self.held.extend_from_slice(input);
        Ok(())
    }

    /// Ends the frame that is held, and returns what comes after it.
    fn complete<'a>(
        &mut self,
        input: &'a [u8],
        each: &mut impl FnMut(&[u8]),
    ) -> io::Result<&'a [u8]> {
        let to_header = HEADER.saturating_sub(self.held.len()).min(input.len());
        let (header, input) = input.split_at(to_header);
        self.held.extend_from_slice(header);
        let Some(len) = frame_len(&self.held)? else { return Ok(input) };
        let missing = (len - self.held.len()).min(input.len());
        let (piece, input) = input.split_at(missing);
        self.held.extend_from_slice(piece);
        if self.held.len() == len {
            each(&self.held);
            self.held.clear();
        }
        Ok(input)
    }

    /// Appends every whole frame to `out`: an echo, with the one copy that a codec makes.
    pub(crate) fn echo(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.cut(input, |frame| out.extend_from_slice(frame))
    }
}

/// The length of the frame that begins here, its header included; `None` before the header is whole.
fn frame_len(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
    let len = u32::from_be_bytes(*header) as usize;
    if len > LONGEST {
        let message = format!("a frame of {len} bytes, where {LONGEST} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(HEADER + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_frames() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut stream = Vec::new();
        for _ in 0..200 {
            let body = vec![random.u8(..); random.usize(..300)];
            stream.extend_from_slice(&(body.len() as u32).to_be_bytes());
            stream.extend_from_slice(&body);
        }
        let mut cutter = Cutter::default();
        let mut out = Vec::new();
        let mut frames = 0;
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(700)));
            cutter
                .cut(piece, |frame| {
                    frames += 1;
                    out.extend_from_slice(frame);
                })
                .expect("frames");
            rest = after;
        }
        assert_eq!(frames, 200);
        assert_eq!(out, stream);
        assert!(cutter.held.is_empty());
    }

    #[test]
    fn a_length_over_the_maximum_is_refused() {
        let error = Cutter::default().echo(&[0, 2, 0, 0], &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 131072 bytes, where 65536 are allowed");
    }
}
