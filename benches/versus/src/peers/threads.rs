//! A thread for each connection, and blocking calls: no event loop at all.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::READ_SIZE;
use super::cut::Cutter;
use crate::Outcome;
use crate::plan::Work;

/// Enough for these functions; the default of 2 MiB is address space that 5,000 of them would not use either.
const STACK: usize = 64 * 1024;

/// Everybody who hears a broadcast.
type Everyone = Arc<Mutex<Vec<Arc<TcpStream>>>>;

pub(crate) fn serve(listener: &TcpListener, work: Work) -> Outcome<()> {
    let everyone = Everyone::default();
    for stream in listener.incoming() {
        let stream = Arc::new(stream?);
        if work == Work::Broadcast {
            lock(&everyone).push(Arc::clone(&stream));
        }
        let everyone = Arc::clone(&everyone);
        // An error ends that connection, and its thread.
        let life = move || drop(one(&stream, work, &everyone));
        thread::Builder::new().stack_size(STACK).spawn(life)?;
    }
    Ok(())
}

fn one(stream: &Arc<TcpStream>, work: Work, everyone: &Everyone) -> io::Result<()> {
    match work {
        Work::Bytes => bytes(stream),
        Work::Broadcast => broadcast(stream, everyone),
        _ => frames(stream),
    }
}

fn bytes(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

fn frames(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    let mut cutter = Cutter::default();
    let mut out = Vec::new();
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        cutter.echo(&buffer[..count], &mut out)?;
        stream.write_all(&out)?;
        out.clear();
    }
}

fn broadcast(stream: &Arc<TcpStream>, everyone: &Everyone) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    let mut cutter = Cutter::default();
    loop {
        let count = (&**stream).read(&mut buffer)?;
        if count == 0 {
            lock(everyone).retain(|other| !Arc::ptr_eq(other, stream));
            return Ok(());
        }
        cutter.cut(&buffer[..count], |frame| {
            for other in lock(everyone).iter() {
                // Whoever is gone takes itself off the list.
                drop((&**other).write_all(frame));
            }
        })?;
    }
}

fn lock(everyone: &Everyone) -> std::sync::MutexGuard<'_, Vec<Arc<TcpStream>>> {
    everyone.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
