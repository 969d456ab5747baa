//! Searches that go on where they stopped, so that a packet that comes a byte at a time is looked at once.

use memchr::memchr;

/// How far the bytes of an unfinished packet have been searched.
#[derive(Clone, Default, Debug)]
pub(crate) struct Scan {
    /// No match begins before this offset.
    searched: usize,
    /// Every byte that any search was given, for the tests that hold the cost to be linear.
    #[cfg(test)]
    pub(crate) looked_at: usize,
}

impl Scan {
    /// Searches what is new in `src` for a needle of `needle_len` bytes, and forgets its place when it has found it.
    pub(crate) fn find(
        &mut self,
        src: &[u8],
        needle_len: usize,
        search: impl FnOnce(&[u8]) -> Option<usize>,
    ) -> Option<usize> {
        let from = self.searched;
        let found = search(&src[from..]).map(|offset| from + offset);
        #[cfg(test)]
        {
            self.looked_at += found.map_or(src.len(), |at| at + needle_len) - from;
        }
        // A match may begin in the last bytes and end in what is still to come.
        self.searched =
            if found.is_some() { 0 } else { from.max((src.len() + 1).saturating_sub(needle_len)) };
        found
    }

    /// Begins anew: all bytes were consumed.
    pub(crate) fn restart(&mut self) {
        self.searched = 0;
    }
}

/// Finds lines that end in LF or CRLF and are of at most `max` bytes without that.
#[derive(Clone, Debug)]
pub(crate) struct LineScan {
    max: usize,
    pub(crate) scan: Scan,
}

/// A line at the front of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// Its length without a terminator.
    pub(crate) text: usize,
    /// Its length with it: what to consume.
    pub(crate) whole: usize,
}

/// The line is longer than the maximum, whether its end has come or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Overlong;

impl LineScan {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, scan: Scan::default() }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// The first line of `src`, once its end has come.
    pub(crate) fn next(&mut self, src: &[u8]) -> Result<Option<Line>, Overlong> {
        // No permitted line ends beyond the longest one with its CRLF.
        let window = &src[..src.len().min(self.max.saturating_add(2))];
        let Some(end) = self.scan.find(window, 1, |new| memchr(b'\n', new)) else {
            self.check(without_cr(window))?;
            return Ok(None);
        };
        let text = without_cr(&src[..end]);
        self.check(text)?;
        Ok(Some(Line { text, whole: end + 1 }))
    }

    /// The same where nothing more will come: the last line need not have an end.
    pub(crate) fn next_at_eof(&mut self, src: &[u8]) -> Result<Option<Line>, Overlong> {
        let line = self.next(src)?;
        if line.is_some() || src.is_empty() {
            return Ok(line);
        }
        self.scan.restart();
        Ok(Some(Line { text: without_cr(src), whole: src.len() }))
    }

    fn check(&self, text: usize) -> Result<(), Overlong> {
        if text > self.max { Err(Overlong) } else { Ok(()) }
    }
}

/// The length of a line without the CR that belongs to its CRLF.
fn without_cr(line: &[u8]) -> usize {
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_across_two_arrivals_is_found_and_nothing_is_searched_twice_beyond_it() {
        let mut scan = Scan::default();
        let find = |new: &[u8]| memchr::memmem::find(new, b"END");
        assert_eq!(scan.find(b"abcdE", 3, find), None);
        assert_eq!(scan.find(b"abcdEN", 3, find), None);
        assert_eq!(scan.find(b"abcdENDx", 3, find), Some(4));
        assert_eq!(scan.looked_at, 5 + 3 + 3);
    }

    #[test]
    fn a_needle_longer_than_what_came_is_waited_for() {
        let mut scan = Scan::default();
        let find = |new: &[u8]| memchr::memmem::find(new, b"longer");
        for length in 0..6 {
            assert_eq!(scan.find(&b"longer"[..length], 6, find), None);
        }
        assert_eq!(scan.find(b"longer", 6, find), Some(0));
    }

    #[test]
    fn the_carriage_return_of_a_crlf_does_not_count() {
        let mut lines = LineScan::new(3);
        assert_eq!(lines.next(b"abc\r"), Ok(None));
        assert_eq!(lines.next(b"abc\r\n"), Ok(Some(Line { text: 3, whole: 5 })));
        assert_eq!(lines.next(b"abcd"), Err(Overlong));
    }
}
