//! The two directions of a client's stream: bytes in, until a codec makes a packet of them, and a packet's bytes out, each
//! by a deadline. They share the socket and nothing else, so that two threads can have one each.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::ClientError;
use crate::clock::system_now;
use crate::codec::{Decoder, Encoder, WriteBuffer};
use crate::error::CloseReason;

/// What one read asks the system for.
const CHUNK: usize = 16 * 1024;

/// Packets in a row without a byte consumed, after which the decoder is taken to be at fault.
const BARREN_LIMIT: u32 = 1_000;

/// The default of `set_write_timeout`.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// The shortest time-out that sockets know: zero would mean none.
const SHORTEST: Duration = Duration::from_micros(1);

/// The end of one call's patience.
#[derive(Clone, Copy)]
struct Deadline {
    limit: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    /// A limit beyond the end of time is none.
    fn after(limit: Option<Duration>) -> Self {
        Self { limit, at: limit.and_then(|limit| system_now().checked_add(limit)) }
    }

    /// What a socket is to be told: the time left. `Err` when there is none left.
    fn left(self) -> Result<Option<Duration>, Duration> {
        let Some(at) = self.at else { return Ok(None) };
        let left = at.saturating_duration_since(system_now());
        if left.is_zero() {
            Err(self.limit.unwrap_or_default())
        } else {
            Ok(Some(left.max(SHORTEST)))
        }
    }
}

/// What a socket with a time-out says when that has passed.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Where the reading stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Open,
    /// The peer has ended its stream; the decoder may still have packets.
    Ended,
    /// And it has none.
    Finished,
    /// An error was told.
    Broken,
}

pub(super) struct Input {
    stream: Arc<TcpStream>,
    pub(super) limit: Option<Duration>,
    /// Bytes that have come and not been consumed. The decoder's maximum bounds them.
    bytes: BytesMut,
    chunk: Box<[u8]>,
    reading: Reading,
    barren: u32,
}

impl Input {
    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        let chunk = vec![0; CHUNK].into_boxed_slice();
        let (bytes, reading) = (BytesMut::new(), Reading::Open);
        Self { stream, limit: None, bytes, chunk, reading, barren: 0 }
    }

    /// The next packet. `speak` is given the codec whenever it may have something to say: before each wait, and at the end.
    pub(super) fn read<C: Decoder>(
        &mut self,
        codec: &mut C,
        mut speak: impl FnMut(&mut C) -> Result<(), ClientError>,
    ) -> Result<Option<C::Packet>, ClientError> {
        let result = self.read_by(Deadline::after(self.limit), codec, &mut speak);
        if result.as_ref().is_err_and(|error| !error.is_timeout()) {
            self.reading = Reading::Broken;
            self.bytes = BytesMut::new();
            // Its last words. What was read is wrong, whatever becomes of them.
            drop(speak(codec));
        }
        result
    }

    fn read_by<C: Decoder>(
        &mut self,
        deadline: Deadline,
        codec: &mut C,
        speak: &mut impl FnMut(&mut C) -> Result<(), ClientError>,
    ) -> Result<Option<C::Packet>, ClientError> {
        loop {
            let before = self.bytes.len();
            let decoded = match self.reading {
                Reading::Open => codec.decode(&mut self.bytes),
                Reading::Ended => codec.decode_eof(&mut self.bytes),
                Reading::Finished => return Ok(None),
                Reading::Broken => return Err(ClientError::Broken),
            };
            match decoded.map_err(|error| ClientError::Protocol(Box::new(error)))? {
                Some(packet) => {
                    self.note_consumed(before - self.bytes.len())?;
                    if codec.ending().is_some() {
                        // Nobody may read on: the peer's end is answered now. The packet came before any failure of that.
                        drop(speak(codec));
                    }
                    return Ok(Some(C::detach(packet)));
                }
                None if self.reading == Reading::Open => {
                    speak(codec)?;
                    self.fill(deadline)?;
                }
                None if self.bytes.is_empty() && !codec.holds_partial() => {
                    self.reading = Reading::Finished;
                }
                None => return Err(ClientError::Truncated { bytes: self.bytes.len() }),
            }
        }
    }

    /// A packet from no bytes may be one of several in what was consumed before; a thousand are a fault.
    fn note_consumed(&mut self, consumed: usize) -> Result<(), ClientError> {
        self.barren = if consumed > 0 { 0 } else { self.barren + 1 };
        if self.barren >= BARREN_LIMIT {
            return Err(ClientError::StalledDecoder { packets: self.barren });
        }
        Ok(())
    }

    /// Waits for more bytes, or for the end.
    fn fill(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        let bytes = self.bytes.len();
        match self.receive(deadline, "read", bytes)? {
            0 => self.reading = Reading::Ended,
            got => self.bytes.extend_from_slice(&self.chunk[..got]),
        }
        Ok(())
    }

    fn receive(
        &mut self,
        deadline: Deadline,
        during: &'static str,
        bytes: usize,
    ) -> Result<usize, ClientError> {
        let failed = |source| ClientError::Io { during, source };
        loop {
            let timed_out = |limit| ClientError::TimedOut { during, limit, bytes };
            let left = deadline.left().map_err(timed_out)?;
            self.stream.set_read_timeout(left).map_err(failed)?;
            match (&*self.stream).read(&mut self.chunk) {
                Ok(got) => return Ok(got),
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Throws away what comes until the peer's end.
    pub(super) fn discard(&mut self, limit: Duration) -> Result<(), ClientError> {
        let deadline = Deadline::after(Some(limit));
        if self.reading == Reading::Open {
            while self.receive(deadline, "close", 0)? > 0 {}
        }
        Ok(())
    }
}

pub(super) struct Output {
    stream: Arc<TcpStream>,
    pub(super) limit: Option<Duration>,
    /// Empty between calls, but after one that timed out.
    buffer: WriteBuffer,
}

impl Output {
    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        Self { stream, limit: Some(WRITE_LIMIT), buffer: WriteBuffer::new() }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn write<C: Encoder<T>, T>(
        &mut self,
        codec: &mut C,
        packet: T,
    ) -> Result<(), ClientError> {
        self.refuse_unsent()?;
        if let Err(error) = codec.encode(packet, &mut self.buffer) {
            self.buffer = WriteBuffer::new(); // it was empty, so this takes back what was appended
            return Err(ClientError::Encode(Box::new(error)));
        }
        self.flush()
    }

    /// Sends what the protocol has to say by itself. What an earlier write left unsent goes first.
    pub(super) fn speak<C: Decoder>(&mut self, codec: &mut C) -> Result<(), ClientError> {
        if !C::SPEAKS {
            return Ok(());
        }
        self.flush()?;
        if let Some(reply) = codec.take_reply() {
            self.buffer.put_shared(reply);
        }
        if codec.ending() == Some(CloseReason::Peer) {
            self.take_leave(codec, CloseReason::Peer);
        }
        self.flush()
    }

    /// Queues the protocol's last words.
    pub(super) fn take_leave<C: Decoder>(&mut self, codec: &mut C, reason: CloseReason) {
        if C::SPEAKS
            && let Some(words) = codec.farewell(reason)
        {
            self.buffer.put_shared(words);
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        let deadline = Deadline::after(self.limit);
        while !self.buffer.is_drained() {
            let written = self.send(deadline)?;
            self.buffer.consume(written);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), ClientError> {
        self.refuse_unsent()?;
        let ended = self.stream.shutdown(Shutdown::Write);
        ended.map_err(|source| ClientError::Io { during: "ending the stream", source })
    }

    fn refuse_unsent(&self) -> Result<(), ClientError> {
        match self.buffer.queued() {
            0 => Ok(()),
            bytes => Err(ClientError::Unsent { bytes }),
        }
    }

    /// One slice at a time: a vectored write to a peer that is gone would raise SIGPIPE in a program that lets it.
    fn send(&self, deadline: Deadline) -> Result<usize, ClientError> {
        let failed = |source| ClientError::Io { during: "write", source };
        let mut slices = [IoSlice::new(&[])];
        self.buffer.fill_slices(&mut slices);
        loop {
            let bytes = self.buffer.queued();
            let timed_out = |limit| ClientError::TimedOut { during: "write", limit, bytes };
            let left = deadline.left().map_err(timed_out)?;
            self.stream.set_write_timeout(left).map_err(failed)?;
            match (&*self.stream).write(&slices[0]) {
                Ok(written) => return Ok(written),
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("stream", &self.stream)
            .field("limit", &self.limit)
            .field("waiting", &self.bytes.len())
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("stream", &self.stream)
            .field("limit", &self.limit)
            .field("unsent", &self.buffer.queued())
            .finish()
    }
}
