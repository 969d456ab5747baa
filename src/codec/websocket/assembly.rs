//! A message that does not come whole: its fragments gathered, or its bytes inflated.

use bytes::{Bytes, BytesMut};

use super::Settings;
use super::deflate::Deflate;
use super::error::WebSocketError;
use super::frame;

/// What has come of a message. Grows with what comes, never ahead of it.
#[derive(Debug)]
pub(super) struct Assembly {
    bytes: BytesMut,
    fragments: u32,
    is_text: bool,
    is_compressed: bool,
}

impl Assembly {
    /// A message that begins with a frame that begins so.
    pub(super) fn new(first: u8) -> Self {
        Self {
            bytes: BytesMut::new(),
            fragments: 0,
            is_text: first & 0x0f == frame::TEXT,
            is_compressed: first & frame::RSV1 != 0,
        }
    }

    /// The payload of its next frame.
    pub(super) fn push(
        &mut self,
        first: u8,
        payload: &[u8],
        deflate: Option<&mut Deflate>,
        settings: &Settings,
    ) -> Result<(), WebSocketError> {
        self.fragments += 1;
        if self.fragments > settings.max_fragments {
            return Err(WebSocketError::TooManyFragments { max: settings.max_fragments });
        }
        match deflate {
            Some(deflate) if self.is_compressed => {
                let is_last = first & frame::FIN != 0;
                deflate.inflate(payload, is_last, &mut self.bytes, settings.max_message)
            }
            _ => {
                self.bytes.extend_from_slice(payload);
                Ok(())
            }
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.is_text
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// Whether its fragments are text as they stand.
    pub(super) fn is_plain_text(&self) -> bool {
        self.is_text && !self.is_compressed
    }

    pub(super) fn fragments(&self) -> u32 {
        self.fragments
    }

    /// Bytes that have been gathered.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}
