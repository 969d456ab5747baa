//! A handler that panics on one connection in ten: that one is closed, and the other nine do not notice.

use std::io::Read;

use crate::common::{connect, ms, send};
use crate::crowd::{Crowd, lines};
use crate::ground::{Figures, Process, alone, size, until};
use crate::host::{self, endings};

#[test]
fn panics_on_one_connection_in_ten_leave_the_others_untouched() {
    let _alone = alone();
    let figures = Figures::of("panics");
    let server = host::start("panics=10");
    let (address, process) = (server.address(), Process(server.pid()));
    let rested = process.rested();
    // Nine that talk all the while; the tenth is a victim, and from then on every tenth.
    let healthy = Crowd::start(address, 9, ms(2), lines);
    let mut untouched = Vec::new();
    let connections = size(300, 5_000);
    let mut closed = 0;
    for at in 0..connections {
        let mut peer = connect(address);
        send(&peer, "hello\n");
        let mut echo = [0; 6];
        let answered = peer.read_exact(&mut echo).is_ok();
        assert_eq!(answered, at % 10 != 0, "connection {at}");
        if answered {
            assert_eq!(&echo, b"hello\n");
            untouched.push(peer);
        } else {
            closed += 1;
        }
    }
    until("the victims are gone", || process.descriptors() == rested + 9 + untouched.len());
    for peer in &mut untouched {
        send(peer, "still\n");
        let mut echo = [0; 6];
        peer.read_exact(&mut echo).expect("the others go on");
        assert_eq!(&echo, b"still\n");
    }
    let mut healthy = healthy.finish();
    assert_eq!(healthy.lost, <[&str; 0]>::default(), "nobody else is dropped");
    figures.tell("connections, and panics among them", format_args!("{connections}, {closed}"));
    figures.tell("9 peers beside them", healthy.latencies.summary());
    drop(untouched);
    until("all are gone", || process.descriptors() == rested);
    server.terminate();
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let panicked = endings(&ended.stdout).iter().filter(|end| end.reason == "HandlerPanic").count();
    assert_eq!(panicked, closed, "each told its reason");
    figures.finish();
}
