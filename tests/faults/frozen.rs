//! Processes that are stopped and go on: the server, for longer than its deadlines, and its peers.

use std::io::Read;
use std::net::TcpStream;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{connect, ms, read_exactly, send};
use crate::crowd::{Crowd, lines};
use crate::ground::{Figures, Process, alone, pass, size, until};
use crate::holder::Holder;
use crate::host;

fn signal(process: Process, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.0).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("it runs");
}

fn is_stopped(process: Process) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0)).expect("it runs");
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

fn freeze(process: Process) {
    signal(process, Signal::STOP);
    until("it is frozen", || is_stopped(process));
}

/// What came in time is not late because the server was: half a packet whose other half came while it was frozen, and peers
/// who would have been idle.
#[test]
fn a_server_that_was_frozen_forgives_its_own_delay() {
    let _alone = alone();
    let figures = Figures::of("a frozen server");
    let frozen = size(ms(1_500), ms(5_000));
    let server = host::start("packet=500 idle=1000");
    let (address, process) = (server.address(), Process(server.pid()));
    let healthy = Crowd::start(address, 50, ms(10), lines);
    let rounds = size(2, 10);
    for _ in 0..rounds {
        let halves: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
        halves.iter().for_each(|peer| send(peer, "warm\n"));
        halves.iter().for_each(|peer| assert_eq!(read_exactly(peer, 5), b"warm\n"));
        halves.iter().for_each(|peer| send(peer, "half a line"));
        let after_them = connect(address);
        send(&after_them, "read?\n");
        assert_eq!(read_exactly(&after_them, 6), b"read?\n"); // and so are the halves
        freeze(process);
        halves.iter().for_each(|peer| send(peer, " and the rest\n"));
        let newcomers: Vec<_> = (0..20).map(|_| connect(address)).collect();
        newcomers.iter().for_each(|peer| send(peer, "hello\n"));
        pass(frozen);
        signal(process, Signal::CONT);
        for peer in &halves {
            assert_eq!(read_exactly(peer, 25), b"half a line and the rest\n");
        }
        newcomers.iter().for_each(|peer| assert_eq!(read_exactly(peer, 6), b"hello\n"));
    }
    let mut healthy = healthy.finish();
    figures.tell("frozen", format!("{rounds} times for {frozen:?}"));
    figures.tell("50 peers", healthy.latencies.summary());
    assert_eq!(healthy.lost, <[&str; 0]>::default(), "nobody is dropped for it");
    // A half that stays one is dropped as ever.
    let mut half = connect(address);
    send(&half, "half a line");
    assert_eq!(half.read(&mut [0; 64]).expect("an end"), 0);
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}

#[test]
fn peers_that_are_frozen_hold_up_nobody_and_go_on() {
    const PEERS: usize = 200;
    let _alone = alone();
    let figures = Figures::of("frozen peers");
    let server = host::start("grace=5000");
    let (address, process) = (server.address(), Process(server.pid()));
    let mut holder = Holder::start(address, 40);
    holder.hold(PEERS);
    assert_eq!(holder.ping(), PEERS);
    let span = size(ms(500), ms(5_000));
    let mut calm = Crowd::talk_for(span, address, 50, ms(5), lines);
    figures.tell("50 peers beside 200 idle ones", calm.latencies.summary());
    holder.begin_ping();
    freeze(holder.process());
    let (cost, mut beside) = process.cost_of(|| Crowd::talk_for(span, address, 50, ms(5), lines));
    signal(holder.process(), Signal::CONT);
    assert_eq!(holder.answer(), PEERS, "each goes on where it was");
    assert_eq!(holder.ping(), PEERS);
    figures.tell("50 peers beside 200 frozen ones", beside.latencies.summary());
    figures.tell("processor of the server", format!("{:.1} %", cost.percent));
    assert_eq!((calm.lost, beside.lost), Default::default(), "nobody is dropped");
    drop(holder);
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
