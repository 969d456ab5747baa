//! fastwebsockets on tokio's current-thread runtime: a task for each connection.
//!
//! `write_frame` writes at once, so each message of a batch costs a write: the crate offers nothing else.

use std::net::TcpListener;

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tokio::{Threads, runtime};
use super::{LONGEST, upgrade};
use crate::Outcome;

pub(crate) fn serve(listener: TcpListener) -> Outcome<()> {
    listener.set_nonblocking(true)?;
    runtime(Threads::Current)?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // An error ends this connection, and no other.
            tokio::spawn(async { drop(echo(stream).await) });
        }
    })
}

async fn echo(mut stream: TcpStream) -> Outcome<()> {
    shake_hands(&mut stream).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_max_message_size(LONGEST);
    let mut messages = FragmentCollector::new(socket);
    loop {
        let frame = messages.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Binary | OpCode::Text => messages.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn shake_hands(stream: &mut TcpStream) -> Outcome<()> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Err("the peer left before its request was whole".into());
        }
        if let Some(answer) = upgrade::answer(&request)? {
            return Ok(stream.write_all(answer.as_bytes()).await?);
        }
    }
}
