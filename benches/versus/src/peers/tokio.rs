//! tokio, as its documentation has it: a task for each connection, tokio-util's codecs on the two halves of the stream.
//!
//! `forward` feeds the sink while the stream has frames, and flushes when it has none: one write answers a batch, as in
//! wheelhouse. `send` for each frame would cost a write for each.

use std::net::TcpListener;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_util::codec::{
    BytesCodec, Decoder, Encoder, FramedRead, FramedWrite, LengthDelimitedCodec,
};

use super::{LONGEST, READ_SIZE, WAITING};
use crate::Outcome;
use crate::plan::Work;

#[derive(Clone, Copy)]
pub(crate) enum Threads {
    Current,
    Multi,
}

pub(super) fn runtime(threads: Threads) -> Outcome<Runtime> {
    let mut builder = match threads {
        Threads::Current => Builder::new_current_thread(),
        Threads::Multi => Builder::new_multi_thread(),
    };
    Ok(builder.enable_io().build()?)
}

pub(crate) fn serve(listener: TcpListener, work: Work, threads: Threads) -> Outcome<()> {
    listener.set_nonblocking(true)?;
    runtime(threads)?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (everyone, _) = channel(WAITING);
        loop {
            let (stream, _) = listener.accept().await?;
            match work {
                Work::Bytes => drop(tokio::spawn(echo(stream, BytesCodec::new()))),
                Work::Broadcast => {
                    let heard = everyone.subscribe();
                    tokio::spawn(broadcast(stream, everyone.clone(), heard));
                }
                _ => drop(tokio::spawn(echo(stream, lengths()))),
            }
        }
    })
}

fn lengths() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(LONGEST).new_codec()
}

async fn echo<C>(mut stream: TcpStream, codec: C)
where
    C: Clone + Encoder<Bytes, Error = std::io::Error>,
    C: Decoder<Item = BytesMut, Error = std::io::Error>,
{
    let (reader, writer) = stream.split();
    let packets = FramedRead::new(reader, codec.clone()).map_ok(BytesMut::freeze);
    // An error ends this connection, and no other.
    drop(packets.forward(FramedWrite::new(writer, codec)).await);
}

/// Two tasks for each connection: one gives what it reads to everyone, the other writes what it hears.
async fn broadcast(stream: TcpStream, everyone: Sender<Bytes>, heard: Receiver<Bytes>) {
    let (reader, writer) = stream.into_split();
    tokio::spawn(hear(FramedWrite::new(writer, lengths()), heard));
    let mut packets = FramedRead::new(reader, lengths());
    while let Some(Ok(packet)) = packets.next().await {
        drop(everyone.send(packet.freeze())); // an error: nobody is there
    }
}

async fn hear<W>(mut sink: FramedWrite<W, LengthDelimitedCodec>, mut heard: Receiver<Bytes>)
where
    W: tokio::io::AsyncWrite + Unpin,
{
    loop {
        let mut next = match heard.recv().await {
            Ok(packet) => Some(packet),
            Err(RecvError::Lagged(_) | RecvError::Closed) => return, // a slow consumer goes
        };
        while let Some(packet) = next {
            if sink.feed(packet).await.is_err() {
                return;
            }
            next = match heard.try_recv() {
                Ok(packet) => Some(packet),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return,
            };
        }
        if SinkExt::<Bytes>::flush(&mut sink).await.is_err() {
            return;
        }
    }
}

/// Without a codec: what tokio's own first example does.
pub(crate) fn serve_raw(listener: TcpListener) -> Outcome<()> {
    listener.set_nonblocking(true)?;
    runtime(Threads::Current)?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(raw(stream));
        }
    })
}

async fn raw(mut stream: TcpStream) {
    let mut buffer = vec![0; READ_SIZE];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
