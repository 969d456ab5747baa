//! The load against servers that do not do as they should: whatever is wrong with a reply must end the round.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Load, Tally, closed, open};
use crate::Outcome;
use crate::plan::{Cell, Scenario, Work};

const PIPELINE: usize = 2;

/// A header of 4 bytes, and the payload.
const MESSAGE: usize = 4 + 16;

/// The first batch says that the connection is served; what is spoilt comes later.
const SPOILT: u64 = 3;

/// A server for one connection. `answer` gets each batch and its number, and says what to write; `None` closes.
fn server(
    mut answer: impl FnMut(u64, Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = move || {
        let (mut socket, _) = listener.accept().expect("the load");
        let mut batch = vec![0; MESSAGE * PIPELINE];
        for number in 0.. {
            // The load goes when it has what it wants, or has found what it wanted to find.
            if socket.read_exact(&mut batch).is_err() {
                return;
            }
            match answer(number, batch.clone()) {
                Some(bytes) if socket.write_all(&bytes).is_ok() => {}
                _ => return,
            }
        }
    };
    (port, thread::spawn(serve))
}

fn cell() -> Cell {
    Cell::echo(Work::Length, 16, 1, PIPELINE)
}

/// What the load says of a server that spoils one batch so.
fn verdict(spoil: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + 'static) -> String {
    let (port, thread) = server(move |number, batch| match number {
        SPOILT => spoil(batch),
        _ => Some(batch),
    });
    let round = || -> Outcome<Tally> {
        let mut load = Load::connect(&cell(), port)?;
        closed::round(&mut load, Duration::from_secs(60)) // ends at once when it minds
    };
    let error = round().err().expect("a round that fails");
    thread.join().expect("a server that ends");
    error.to_string()
}

#[test]
fn a_reply_with_a_wrong_byte_is_caught() {
    let said = verdict(|mut batch| {
        batch[MESSAGE + 15] ^= 0xff;
        Some(batch)
    });
    assert!(
        said.starts_with("a wrong reply: connection 0, message 7: its byte 15 is 0x"),
        "{said}"
    );
}

#[test]
fn replies_out_of_order_are_caught() {
    let said = verdict(|mut batch| {
        batch.rotate_left(MESSAGE);
        Some(batch)
    });
    let expected = "a wrong reply: connection 0, message 6: its byte 4 is 0x07, not 0x06";
    assert_eq!(said, expected);
}

#[test]
fn an_answer_given_twice_is_caught() {
    let said = verdict(|batch| Some(batch.repeat(2)));
    assert_eq!(said, format!("connection 0: {} bytes unasked for", MESSAGE * PIPELINE));
}

#[test]
fn a_connection_that_ends_is_caught() {
    assert_eq!(verdict(|_| None), "connection 0 ended after 3 batches: the server closed it");
}

#[test]
fn replies_in_pieces_are_put_together() {
    let mut kept = Vec::new();
    let (port, thread) = server(move |number, batch| {
        if number == 0 {
            return Some(batch);
        }
        // What is kept of a batch comes with the beginning of the next.
        kept.extend_from_slice(&batch);
        let whole = kept.len() - 1;
        Some(kept.drain(..whole).collect())
    });
    let mut load = Load::connect(&cell(), port).expect("a load");
    for _ in 0..3 {
        load.connections[0].ask(&mut load.wire).expect("room in the socket");
    }
    let mut answered = Vec::new();
    let mut events = super::events();
    while answered.len() < 2 {
        super::await_news(&load.epoll, &mut events).expect("news");
        load.connections[0]
            .receive(&mut load.wire, &mut load.buffer, |batch| answered.push(batch))
            .expect("right replies");
    }
    assert_eq!(answered, [1, 2]);
    drop(load);
    thread.join().expect("a server that ends");
}

#[test]
fn a_stall_is_charged_to_every_message_that_it_held_up() {
    const AT_ONCE: usize = 10;
    let mut held = Vec::new();
    let (port, thread) = server(move |number, batch| {
        if number == 0 {
            return Some(batch);
        }
        held.extend(batch);
        let is_time = held.len() == AT_ONCE * MESSAGE * PIPELINE;
        Some(if is_time { std::mem::take(&mut held) } else { Vec::new() })
    });
    let rate = 1_000;
    let cell = Cell { scenario: Scenario::Latency, rate, ..cell() };
    let mut load = Load::connect(&cell, port).expect("a load");
    let tally = open::round(&mut load, rate, Duration::from_millis(20)).expect("a round");
    assert_eq!(tally.messages, 2 * AT_ONCE as u64);
    // Of ten that are due one millisecond after another, the first waits for nine, and six wait for four or more. What
    // the histogram rounds to is a thousandth.
    let late = tally.latencies.count_between(3_990_000, u64::MAX);
    assert!(late >= 12, "{late} were late");
    drop(load);
    thread.join().expect("a server that ends");
}
