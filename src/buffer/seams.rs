//! Where packets begin among the bytes that wait for one peer, so that something can be put in between two of them.

use std::collections::VecDeque;

/// Beginnings that an emptied buffer keeps room for.
const KEEP: usize = 256;

/// The beginnings of packets, counted in bytes since the buffer was empty last.
///
/// The first packet's is not kept: it is known, 0. So a buffer that holds one packet at a time, as that of a quick peer
/// does, keeps nothing here.
#[derive(Default, Debug)]
pub(super) struct Seams {
    /// In order, none before `sent`.
    starts: VecDeque<u64>,
    /// Bytes that have been sent.
    sent: u64,
    /// Where the last interjection ends, or the pin that came after it.
    interjected: u64,
    /// Nothing may come in before this: what stands here changes how the rest is read.
    pinned: u64,
}

impl Seams {
    /// A packet begins behind `queued` bytes.
    #[inline]
    pub(super) fn note(&mut self, queued: usize) {
        self.starts.push_back(self.sent + queued as u64);
    }

    /// How far off the first place is where no packet has been begun: behind the rest of the one that is being sent.
    pub(super) fn first(&self, queued: usize) -> usize {
        if self.sent == 0 {
            return 0;
        }
        let offset = self.starts.front().map(|start| start - self.sent);
        offset.and_then(|offset| usize::try_from(offset).ok()).unwrap_or(queued)
    }

    /// Bytes come in at `at`, which `first` told.
    pub(super) fn interject(&mut self, at: usize, len: usize, queued: usize) {
        let (begin, end) = (self.sent + at as u64, self.sent + (at + len) as u64);
        for start in &mut self.starts {
            *start += len as u64;
        }
        if at < queued && self.starts.front() != Some(&end) {
            self.starts.push_front(end); // the first packet's beginning, which was not kept until now
        }
        if begin > 0 {
            self.starts.push_front(begin);
        }
        self.interjected = end;
    }

    /// Nothing is to come in before the end of the `queued` bytes, until they have gone.
    pub(super) fn pin(&mut self, queued: usize) {
        self.pinned = self.sent + queued as u64;
        self.interjected = self.pinned;
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pinned > self.sent
    }

    /// Whether the last interjection still waits, or one would have to.
    #[inline]
    pub(super) fn has_interjection(&self) -> bool {
        self.interjected > self.sent
    }

    /// What stood from `at` on, which `first` told, has been dropped.
    pub(super) fn truncate(&mut self, at: usize) {
        if at == 0 {
            return self.clear();
        }
        self.starts.clear();
        self.interjected = self.interjected.min(self.sent + at as u64);
    }

    #[inline]
    pub(super) fn consume(&mut self, written: usize) {
        self.sent += written as u64;
        while self.starts.front().is_some_and(|start| *start < self.sent) {
            self.starts.pop_front();
        }
    }

    /// Nothing waits any more.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.sent = 0;
        self.interjected = 0;
        self.pinned = 0;
        if !self.starts.is_empty() {
            self.starts.clear();
            self.starts.shrink_to(KEEP);
        }
    }

    /// What it costs to keep them, for the accounting of limits.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        self.starts.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interjection_waits_until_its_last_byte_has_gone() {
        let mut seams = Seams::default(); // and a packet of five bytes
        assert!(!seams.has_interjection());
        seams.interject(seams.first(5), 3, 5);
        assert!(seams.has_interjection());
        seams.consume(2);
        assert!(seams.has_interjection());
        seams.consume(1);
        assert!(!seams.has_interjection());
        assert_eq!(seams.first(5), 0, "the packet has not been begun");
        seams.consume(1);
        assert_eq!(seams.first(4), 4, "now it has");
    }

    #[test]
    fn one_that_was_shed_waits_no_longer_than_the_packet_before_it() {
        let mut seams = Seams::default(); // and a packet of ten bytes
        seams.consume(4);
        assert_eq!(seams.first(6), 6);
        seams.interject(6, 3, 6);
        assert_eq!(seams.cost(), size_of::<u64>(), "there is no packet behind it");
        seams.truncate(6);
        assert_eq!(seams.cost(), 0);
        seams.consume(6);
        assert!(!seams.has_interjection());
    }

    #[test]
    fn a_pin_holds_until_its_last_byte_has_gone() {
        let mut seams = Seams::default(); // and a packet of five bytes
        seams.note(5); // and one of four
        assert!(!seams.is_pinned());
        seams.pin(9);
        assert!(seams.is_pinned() && seams.has_interjection());
        seams.consume(8);
        assert!(seams.is_pinned() && seams.has_interjection());
        seams.consume(1);
        assert!(!seams.is_pinned() && !seams.has_interjection());
        seams.pin(0);
        assert!(!seams.is_pinned(), "all has gone");
        seams.pin(3);
        seams.clear();
        assert!(!seams.is_pinned() && !seams.has_interjection());
    }
}
