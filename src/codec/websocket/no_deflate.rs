//! permessage-deflate is not built in: nothing is ever agreed on, so no connection has this.

use bytes::{Bytes, BytesMut};

use super::error::WebSocketError;

#[derive(Debug)]
pub(super) enum Deflate {}

impl Deflate {
    pub(super) fn inflate(
        &mut self,
        _: &[u8],
        _: bool,
        _: &mut BytesMut,
        _: usize,
    ) -> Result<(), WebSocketError> {
        match *self {}
    }

    pub(super) fn compress(&mut self, _: &[u8]) -> Option<Bytes> {
        match *self {}
    }
}
