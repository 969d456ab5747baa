//! What can be wrong with a length.

use std::fmt;

use crate::codec::sniff::Hint;

/// What can be wrong with a packet that has its length in front.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LengthDelimitedError {
    /// Read: a body that is longer than the maximum.
    TooLong {
        /// The value of the length field.
        length: u64,
        /// What is added to it to make the length of the body.
        adjustment: i64,
        /// The most bytes that a body may have.
        max: usize,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Read: a length that is less than what it has to count.
    Negative {
        /// The value of the length field.
        length: u64,
        /// What is added to it to make the length of the body: a negative number, and a greater one.
        adjustment: i64,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Read: a frame that has fewer bytes than are to be skipped of it.
    TooShort {
        /// The length of the frame with its header.
        len: usize,
        /// How many bytes at its front are to be skipped.
        skip: usize,
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Read: a varint of more than 64 bits.
    BadVarint {
        /// Another protocol that the stream begins like.
        looks_like: Option<&'static str>,
    },
    /// Written: a body that is longer than the maximum, or than the length field can say.
    PacketTooLong {
        /// The length of the body.
        len: usize,
        /// The most that it may have.
        max: usize,
    },
    /// Written: a body with fewer bytes than the adjustment leaves uncounted, so that the field would be negative.
    PacketTooShort {
        /// The length of the body.
        len: usize,
        /// What is added to the length field to make the length of the body.
        adjustment: i64,
    },
    /// Written: a packet that should bring its own header and is too short to have one.
    NoHeader {
        /// The length of the packet.
        len: usize,
    },
    /// Written: a packet that brings its own header, with a length that is not its own.
    WrongHeader {
        /// The value of its length field.
        says: u64,
        /// What it should be.
        expected: u64,
    },
}

impl fmt::Display for LengthDelimitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { length, adjustment, max, looks_like } => write!(
                f,
                "a length of {length}{} passes the maximum of {max} bytes{}",
                Adjusted(adjustment),
                Hint(looks_like)
            ),
            Self::Negative { length, adjustment, looks_like } => write!(
                f,
                "a length of {length}{} is less than nothing{}",
                Adjusted(adjustment),
                Hint(looks_like)
            ),
            Self::TooShort { len, skip, looks_like } => write!(
                f,
                "a frame of {len} bytes is shorter than the {skip} to be skipped of it{}",
                Hint(looks_like)
            ),
            Self::BadVarint { looks_like } => {
                write!(f, "a length of more than 64 bits{}", Hint(looks_like))
            }
            Self::PacketTooLong { len, max } => {
                write!(f, "a body of {len} bytes passes the maximum of {max}")
            }
            Self::PacketTooShort { len, adjustment } => write!(
                f,
                "a body of {len} bytes is shorter than the {adjustment} that its length leaves out"
            ),
            Self::NoHeader { len } => {
                write!(f, "a packet of {len} bytes has no whole header of its own")
            }
            Self::WrongHeader { says, expected } => {
                write!(f, "a packet's own header says a length of {says}; it should be {expected}")
            }
        }
    }
}

impl std::error::Error for LengthDelimitedError {}

/// An adjustment, where there is one.
struct Adjusted(i64);

impl fmt::Display for Adjusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " (adjusted by {})", self.0) }
    }
}
