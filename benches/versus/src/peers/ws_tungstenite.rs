//! tokio-tungstenite on tokio's current-thread runtime: a task for each connection.
//!
//! Messages that are there already are fed before the one flush, so that a batch is answered by one write where it can be.

use std::net::TcpListener;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};

use super::LONGEST;
use super::tokio::{Threads, runtime};
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

async fn echo(stream: TcpStream) -> tungstenite::Result<()> {
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST));
    let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await;
    let mut messages = accepted?;
    loop {
        let mut next = messages.next().await;
        while let Some(message) = next {
            let message = message?;
            if message.is_binary() || message.is_text() {
                messages.feed(message).await?;
            }
            next = match messages.next().now_or_never() {
                Some(Some(message)) => Some(message),
                Some(None) => return Ok(()),
                None => None,
            };
        }
        messages.flush().await?;
    }
}
