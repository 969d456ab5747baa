//! A network that is slow and loses packets at random, by the kernel itself: a network namespace with a rate on its loopback
//! and a filter that drops. TCP mends it; the server has to have the patience.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::thread;

use crate::common::{child, connect, is_child, ms};
use crate::crowd::{Crowd, lines};
use crate::ground::{Figures, alone, has, size, works};
use crate::kit::programs::Program;

/// A rate of 40 Mbit/s, and one packet in fifty lost.
const NETWORK: &str = "ip link set lo up mtu 1500 \
    && tc qdisc add dev lo root tbf rate 40mbit burst 64kb latency 300ms \
    && nft add table inet loss \
    && nft add chain inet loss input '{ type filter hook input priority 0; }' \
    && nft add rule inet loss input meta l4proto tcp numgen random mod 100 '<' 2 drop";

#[test]
fn a_network_that_loses_packets_loses_no_reply() {
    if is_child() {
        return beside_the_loss();
    }
    let _alone = alone();
    if !(has("tc") && has("nft") && has("unshare")) {
        return;
    }
    if !works(Command::new("unshare").args(["-n", "sh", "-c", NETWORK])) {
        return;
    }
    let inner = child("lossy::a_network_that_loses_packets_loses_no_reply");
    let mut outer = Command::new("unshare");
    outer.args(["-n", "sh", "-c", &format!("{NETWORK} && exec \"$0\" \"$@\"")]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = outer.output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().filter(|line| line.starts_with('[')).for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Inside the namespace.
fn beside_the_loss() {
    let figures = Figures::of("a lossy network");
    let server = Program::start("echo", &["--addr", "127.0.0.1:0", "--codec", "lines"]);
    let address = server.address();
    let crowd = Crowd::start(address, 50, ms(20), lines);
    let line = format!("{}\n", "a long line, repeated: ".repeat(40));
    let bulk = line.repeat(size(1 << 20, 32 << 20) / line.len());
    let (mut peer, due) = (connect(address), bulk.clone());
    let mut saying = peer.try_clone().expect("a descriptor");
    let speaker = thread::spawn(move || {
        saying.write_all(bulk.as_bytes()).expect("the server reads");
        saying.shutdown(Shutdown::Write).expect("a connection");
    });
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).expect("an end");
    speaker.join().expect("all is said");
    assert!(heard == due.as_bytes(), "{} of {} bytes, or others", heard.len(), due.len());
    let mut tally = crowd.finish();
    figures.tell("bytes echoed through it, all right", heard.len());
    figures.tell("50 peers beside them", tally.latencies.summary());
    assert_eq!(tally.lost, <[&str; 0]>::default(), "nobody is dropped");
    server.terminate();
    assert_eq!(server.end().code, Some(0));
    figures.finish();
}
