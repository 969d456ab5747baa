//! monoio, over epoll ("legacy") and over io_uring: a task and a buffer for each connection, the buffer lent to the
//! kernel with each call.
//!
//! monoio brings no codecs here; frames are cut by `cut.rs`. The channel of a broadcast is the unbounded one of monoio's
//! companion, whose bounded one has no way to send without waiting.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;

use bytes::Bytes;
use local_sync::mpsc::unbounded::{Rx, Tx, channel};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt, Splitable};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::READ_SIZE;
use super::cut::Cutter;
use crate::Outcome;
use crate::plan::Work;

/// Everybody who hears a broadcast.
type Everyone = Rc<RefCell<Vec<Tx<Bytes>>>>;

pub(crate) fn serve_legacy(listener: TcpListener, work: Work) -> Outcome<()> {
    listener.set_nonblocking(true)?;
    RuntimeBuilder::<LegacyDriver>::new().build()?.block_on(serve(listener, work))
}

pub(crate) fn serve_uring(listener: TcpListener, work: Work) -> Outcome<()> {
    let runtime = RuntimeBuilder::<IoUringDriver>::new().build();
    let mut runtime = runtime.map_err(|error| format!("the kernel gives no io_uring: {error}"))?;
    runtime.block_on(serve(listener, work))
}

async fn serve(listener: TcpListener, work: Work) -> Outcome<()> {
    let listener = monoio::net::TcpListener::from_std(listener)?;
    let everyone = Everyone::default();
    loop {
        let (stream, _) = listener.accept().await?;
        // An error ends that connection, and no other.
        match work {
            Work::Bytes => drop(monoio::spawn(async { drop(bytes(stream).await) })),
            Work::Broadcast => {
                let (reader, writer) = stream.into_split();
                let (voice, heard) = channel();
                everyone.borrow_mut().push(voice);
                let everyone = Rc::clone(&everyone);
                drop(monoio::spawn(async { drop(tell(reader, everyone).await) }));
                drop(monoio::spawn(async { drop(hear(writer, heard).await) }));
            }
            _ => drop(monoio::spawn(async { drop(frames(stream).await) })),
        }
    }
}

async fn bytes(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    loop {
        let (count, filled) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        let (written, empty) = stream.write_all(filled).await;
        written?;
        buffer = empty;
    }
}

async fn frames(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    let mut cutter = Cutter::default();
    let mut out = Vec::new();
    loop {
        let (count, filled) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        cutter.echo(&filled, &mut out)?;
        buffer = filled;
        if !out.is_empty() {
            let (written, sent) = stream.write_all(out).await;
            written?;
            out = sent;
            out.clear();
        }
    }
}

async fn tell(mut stream: impl AsyncReadRent, everyone: Everyone) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    let mut cutter = Cutter::default();
    loop {
        let (count, filled) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        cutter.cut(&filled, |frame| {
            let frame = Bytes::copy_from_slice(frame);
            // Who is gone is dropped.
            everyone.borrow_mut().retain(|other| other.send(frame.clone()).is_ok());
        })?;
        buffer = filled;
    }
}

async fn hear(mut stream: impl AsyncWriteRentExt, mut heard: Rx<Bytes>) -> io::Result<()> {
    while let Some(frame) = heard.recv().await {
        let (written, _) = stream.write_all(frame).await;
        written?;
    }
    Ok(())
}
