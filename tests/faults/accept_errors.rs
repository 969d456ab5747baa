//! Errors of `accept` that no test could bring about: strace injects them into a real run. The server goes on, whatever it
//! was, and does not spin.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::{connect, ms, now};
use crate::ground::{Figures, alone, has, pass, size, works};
use crate::kit::programs::{Program, example};

/// All that `accept(2)` tells of, and some that it does not.
const ERRORS: [&str; 12] = [
    "EMFILE",
    "ENFILE",
    "ENOBUFS",
    "ENOMEM",
    "ECONNABORTED",
    "EPROTO",
    "EPERM",
    "EINTR",
    "ENETDOWN",
    "EHOSTUNREACH",
    "EIO",
    "ETIMEDOUT",
];

/// The echo example, whose every `accept4` of that range fails; and the file that tells of each.
fn server(error: &str, range: &str) -> (Program, PathBuf) {
    let trace = std::env::temp_dir().join(format!("wheelhouse-{error}-{}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-ttt", "-e", "trace=accept4"]);
    strace.args(["-e", &format!("inject=accept4:error={error}:when={range}"), "-o"]).arg(&trace);
    strace.arg(example("echo")).args(["--addr", "127.0.0.1:0"]);
    (Program::spawn("strace", &mut strace).expect("strace"), trace)
}

/// Stops the server, which is strace's child.
fn end(server: &Program) {
    let path = format!("/proc/{0}/task/{0}/children", server.pid());
    let child = fs::read_to_string(path).expect("strace's child");
    let child = child.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(child, rustix::process::Signal::TERM).expect("it runs");
}

fn can_trace() -> bool {
    has("strace") && works(Command::new("strace").args(["-qq", "-e", "trace=accept4", "true"]))
}

/// Whether a newcomer is echoed; `false` is that it was turned away.
fn is_served(address: std::net::SocketAddr) -> bool {
    let mut peer = connect(address);
    let said = peer.write_all(b"hello\n");
    let mut echo = [0; 6];
    said.and_then(|()| peer.read_exact(&mut echo)).is_ok() && echo == *b"hello\n"
}

#[test]
fn every_error_of_accept_passes() {
    let _alone = alone();
    if !can_trace() {
        return;
    }
    let mut figures = Figures::of("accept errors");
    for error in ERRORS {
        let (server, trace) = server(error, "3..6");
        let address = server.address();
        let mut turned_away = 0;
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            let asked = now();
            turned_away += usize::from(!is_served(address));
            longest = longest.max(asked.elapsed());
        }
        end(&server);
        assert_eq!(server.end().code, Some(0), "{error}");
        let traced = fs::read_to_string(&trace).expect("strace's account");
        drop(fs::remove_file(&trace));
        let injected = traced.matches("(INJECTED)").count();
        assert_eq!(injected, 4, "{traced}");
        assert!(turned_away <= 2, "{error}: {turned_away} were turned away");
        let what = format!("{error} four times, {turned_away} turned away, the longest wait");
        figures.at_most(&what, crate::ground::millis(longest), 1_000.0, "ms");
    }
    figures.finish();
}

#[test]
fn an_error_that_does_not_pass_does_not_make_it_spin() {
    let _alone = alone();
    if !can_trace() {
        return;
    }
    let mut figures = Figures::of("lasting accept errors");
    let span = size(ms(2_000), ms(10_000));
    for error in ["EMFILE", "EIO"] {
        let (server, trace) = server(error, "1+");
        let address = server.address();
        let peers: Vec<_> = (0..50).map(|_| connect(address)).collect();
        pass(span);
        end(&server);
        assert_eq!(server.end().code, Some(0), "{error}");
        drop(peers);
        let traced = fs::read_to_string(&trace).expect("strace's account");
        drop(fs::remove_file(&trace));
        let injected = traced.matches("(INJECTED)").count();
        assert!(injected > 0, "{traced}");
        let rate = injected as f64 / span.as_secs_f64();
        figures.at_most(&format!("{error}: calls of accept"), rate, 20.0, "a second");
    }
    figures.finish();
}
