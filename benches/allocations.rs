//! Allocations of the server's thread, for each 64 KiB of input, once warm.
//!
//! ```sh
//! cargo bench --bench allocations
//! ```
//!
//! Fails where a server whose packets are dropped allocates more than once for 64 KiB. The load has a thread of its own,
//! which is not counted; packets arrive one by one, each after the echo of the last.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;

use bytes::Bytes;
use wheelhouse::codec::{BytesCodec, LengthDelimitedCodec, Protocol};
use wheelhouse::{Server, Turn};

const MESSAGE: usize = 64;
const WARM_UP: usize = 20_000;
const MESSAGES: usize = 100_000;

/// What a server that drops its packets may allocate for each 64 KiB.
const BOUND: f64 = 1.0;

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!(
                "allocations: more than {BOUND} for 64 KiB of input whose packets are dropped"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("allocations: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<bool, Box<dyn Error>> {
    println!("allocations of the loop's thread for 64 KiB of input, in packets of {MESSAGE} bytes");
    let mut frame = (MESSAGE as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&[b'x'; MESSAGE]);
    let bytes = run(BytesCodec::new(), &[b'x'; MESSAGE], 0)?;
    println!("bytes, echoed and dropped:            {bytes:.3}");
    let length = run(LengthDelimitedCodec::new(MESSAGE), &frame, 0)?;
    println!("length-delimited, echoed and dropped: {length:.3}");
    let kept = run(BytesCodec::new(), &[b'x'; MESSAGE], 100_000)?;
    println!("bytes, echoed and all kept:           {kept:.3}");
    Ok(bytes <= BOUND && length <= BOUND)
}

/// Echoes `message` again and again, keeping the first `keep` packets, and counts what the loop's thread allocates: this
/// one. The peer has a thread of its own.
fn run<P>(protocol: P, message: &[u8], keep: usize) -> Result<f64, Box<dyn Error>>
where
    P: Protocol<In = Bytes, Out = Bytes>,
{
    let server = Server::bind("127.0.0.1:0", protocol)?;
    let address = server.local_addr();
    let mut reactor = server.state(0_usize).into_reactor(move |_, conn| {
        let mut kept = Vec::with_capacity(keep);
        conn.handlers().on_read(move |echoed, conn, packet: Bytes| {
            *echoed += 1;
            if kept.len() < keep {
                kept.push(packet.clone());
            }
            Ok(conn.write(packet)?)
        })
    })?;
    let message = message.to_vec();
    let peer = thread::spawn(move || load(address, &message));
    let mut turns_until = |echoes: usize| -> std::io::Result<()> {
        while *reactor.state() < echoes && reactor.turn(None)? == Turn::Running {}
        Ok(())
    };
    turns_until(WARM_UP)?;
    let mut outcome = Ok(());
    let counted = allocation_counter::measure(|| outcome = turns_until(WARM_UP + MESSAGES));
    outcome?;
    peer.join().map_err(|_| "the load's thread panicked")??;
    let input = (MESSAGES * MESSAGE) as f64;
    Ok(counted.count_total as f64 / (input / 65_536.0))
}

fn load(address: SocketAddr, message: &[u8]) -> std::io::Result<()> {
    let mut peer = TcpStream::connect(address)?;
    peer.set_nodelay(true)?;
    let mut answer = vec![0; message.len()];
    for _ in 0..WARM_UP + MESSAGES {
        peer.write_all(message)?;
        peer.read_exact(&mut answer)?;
    }
    Ok(())
}
