//! One connection of the load: what it has been asked to send, how far that went, how much of the answer was verified.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::io::{Errno, read};
use rustix::net::{SendFlags, send};

use super::wire::Wire;
use crate::Outcome;
use crate::plan::Work;

/// The handshake of every connection; the key is the standard's own.
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const UPGRADED: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An answer to the handshake that is longer is none.
const LONGEST_ANSWER: usize = 4 * 1024;

pub(super) struct Connection {
    socket: TcpStream,
    number: u32,
    /// Whose messages come back: its own, save where one speaks and all hear.
    hears: u32,
    /// Batches that are to be sent, those that have been among them.
    asked: u64,
    sent: u64,
    /// Bytes of the next batch that have been sent.
    sent_bytes: usize,
    /// Batches that were answered, and verified.
    pub(super) answered: u64,
    answered_bytes: usize,
    /// When the batch under way was sent.
    pub(super) since: Instant,
}

impl Connection {
    /// A blocking connection that is ready for messages.
    pub(super) fn open(port: u16, work: Work, number: u32) -> Outcome<Self> {
        let socket = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .map_err(|error| format!("connection {number} cannot be opened: {error}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(super::PATIENCE))?; // for the blocking calls
        if work == Work::WebSocket {
            upgrade(&socket)?;
        }
        Ok(Self {
            socket,
            number,
            hears: number,
            asked: 0,
            sent: 0,
            sent_bytes: 0,
            answered: 0,
            answered_bytes: 0,
            since: Instant::now(),
        })
    }

    /// One batch, with blocking calls.
    pub(super) fn echo(&mut self, wire: &mut Wire) -> Outcome<()> {
        self.speak(wire)?;
        self.hear(self.said(), wire)?;
        self.answered += 1;
        Ok(())
    }

    /// Sends one batch, with a blocking call.
    pub(super) fn speak(&mut self, wire: &mut Wire) -> Outcome<()> {
        self.socket.write_all(wire.request(self.number, self.sent))?;
        self.asked += 1;
        self.sent += 1;
        Ok(())
    }

    /// Its number, and that of the batch that it has sent last.
    pub(super) fn said(&self) -> (u32, u64) {
        (self.number, self.sent - 1)
    }

    /// Reads the answer to that batch, with blocking calls.
    pub(super) fn hear(&mut self, (speaker, batch): (u32, u64), wire: &mut Wire) -> Outcome<()> {
        let mut answer = vec![0; wire.reply_len()];
        self.socket.read_exact(&mut answer).map_err(|error| {
            format!("connection {} got no answer to batch {batch}: {error}", self.number)
        })?;
        Ok(wire.verify(speaker, batch, 0, &answer)?)
    }

    /// Expects what that connection will say from now on.
    pub(super) fn listen_to(&mut self, speaker: &Self) {
        self.hears = speaker.number;
        self.answered = speaker.sent;
    }

    pub(super) fn set_nonblocking(&self) -> Outcome<()> {
        Ok(self.socket.set_nonblocking(true)?)
    }

    /// Sends one more batch, or as much of it as the socket takes now.
    #[inline]
    pub(super) fn ask(&mut self, wire: &mut Wire) -> Outcome<()> {
        self.asked += 1;
        self.send(wire)
    }

    /// Sends what was asked and could not be sent.
    #[inline]
    pub(super) fn send(&mut self, wire: &mut Wire) -> Outcome<()> {
        while self.sent < self.asked {
            let batch = wire.request(self.number, self.sent);
            match send(&self.socket, &batch[self.sent_bytes..], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sent_bytes += count;
                    if self.sent_bytes == batch.len() {
                        self.sent += 1;
                        self.sent_bytes = 0;
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => {
                    return Err(format!("connection {} cannot send: {error}", self.number).into());
                }
            }
        }
        Ok(())
    }

    /// Reads what is there, verifies it, and calls `on_batch` with the number of each batch whose answer is whole.
    #[inline]
    pub(super) fn receive(
        &mut self,
        wire: &mut Wire,
        buffer: &mut [u8],
        mut on_batch: impl FnMut(u64),
    ) -> Outcome<()> {
        loop {
            let count = match read(&self.socket, &mut *buffer) {
                Ok(0) => return Err(self.ended("closed it")),
                Ok(count) => count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(self.ended(&error.to_string())),
            };
            let mut came = &buffer[..count];
            while !came.is_empty() {
                if self.answered >= self.asked && self.hears == self.number {
                    let count = came.len();
                    let number = self.number;
                    return Err(format!("connection {number}: {count} bytes unasked for").into());
                }
                let missing = wire.reply_len() - self.answered_bytes;
                let (piece, rest) = came.split_at(missing.min(came.len()));
                wire.verify(self.hears, self.answered, self.answered_bytes, piece)?;
                self.answered_bytes += piece.len();
                if piece.len() == missing {
                    self.answered_bytes = 0;
                    self.answered += 1;
                    on_batch(self.answered - 1);
                }
                came = rest;
            }
            // Less than was asked for: there is no more.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn ended(&self, why: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let Self { number, answered, .. } = self;
        format!("connection {number} ended after {answered} batches: the server {why}").into()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn upgrade(mut socket: &TcpStream) -> Outcome<()> {
    socket.write_all(UPGRADE.as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte)? == 0 || answer.len() > LONGEST_ANSWER {
            let answer = String::from_utf8_lossy(&answer);
            return Err(format!("no end to the answer of the handshake: {answer:?}").into());
        }
        answer.extend_from_slice(&byte);
    }
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 101 ") && answer.contains(UPGRADED) {
        return Ok(());
    }
    Err(format!("the handshake was refused: {answer:?}").into())
}
