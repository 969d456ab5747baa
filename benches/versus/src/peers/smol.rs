//! smol: a `LocalExecutor` on this thread under `block_on`, a task and a buffer for each connection.
//!
//! smol brings no codecs; frames are cut by `cut.rs`.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use bytes::Bytes;
use smol::channel::{Receiver, Sender, bounded};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor};

use super::cut::Cutter;
use super::{READ_SIZE, WAITING};
use crate::Outcome;
use crate::plan::Work;

/// Everybody who hears a broadcast.
type Everyone = Rc<RefCell<Vec<Sender<Bytes>>>>;

pub(crate) fn serve(listener: TcpListener, work: Work) -> Outcome<()> {
    let executor = Rc::new(LocalExecutor::new());
    // A task of its own: what `run` is given directly would be polled, and accept, whenever any connection has news.
    let tasks = Rc::clone(&executor);
    let accepting = executor.spawn(async move { accept(listener, work, &tasks).await });
    smol::block_on(executor.run(accepting))
}

async fn accept(
    listener: TcpListener,
    work: Work,
    executor: &Rc<LocalExecutor<'static>>,
) -> Outcome<()> {
    let everyone = Everyone::default();
    let listener = Async::new(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // An error ends that connection, and no other.
        match work {
            Work::Bytes => executor.spawn(async { drop(bytes(stream).await) }).detach(),
            Work::Broadcast => {
                let stream = Rc::new(stream);
                let (voice, heard) = bounded(WAITING);
                everyone.borrow_mut().push(voice);
                let hearer = Rc::clone(&stream);
                executor.spawn(async { drop(hear(hearer, heard).await) }).detach();
                let everyone = Rc::clone(&everyone);
                executor.spawn(async { drop(tell(stream, everyone).await) }).detach();
            }
            _ => executor.spawn(async { drop(frames(stream).await) }).detach(),
        }
    }
}

async fn bytes(mut stream: Async<TcpStream>) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn frames(mut stream: Async<TcpStream>) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    let mut cutter = Cutter::default();
    let mut out = Vec::new();
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        cutter.echo(&buffer[..count], &mut out)?;
        stream.write_all(&out).await?;
        out.clear();
    }
}

async fn tell(stream: Rc<Async<TcpStream>>, everyone: Everyone) -> io::Result<()> {
    let mut stream = &*stream;
    let mut buffer = vec![0; READ_SIZE];
    let mut cutter = Cutter::default();
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        cutter.cut(&buffer[..count], |frame| {
            let frame = Bytes::copy_from_slice(frame);
            // Who is gone or too slow is dropped.
            everyone.borrow_mut().retain(|other| other.try_send(frame.clone()).is_ok());
        })?;
    }
}

async fn hear(stream: Rc<Async<TcpStream>>, heard: Receiver<Bytes>) -> io::Result<()> {
    let mut stream = &*stream;
    while let Ok(frame) = heard.recv().await {
        stream.write_all(&frame).await?;
    }
    Ok(())
}
