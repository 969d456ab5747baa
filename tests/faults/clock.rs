//! The clock moved: time of day that jumps, time that runs ten times as fast or as slowly, and a machine that has been up
//! for years. By faketime, and by a time namespace.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{connect, ms, now, read_exactly, read_line, send};
use crate::ground::{Figures, Process, alone, has, millis, works};
use crate::host;
use crate::kit::programs::Program;

/// The host under another program, which may leave a process of its own in between.
fn host_under(wrapper: &[&str], settings: &str, environment: &[(&str, &str)]) -> Program {
    let inner = host::command(settings);
    let mut outer = Command::new(wrapper[0]);
    outer.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.envs(environment.iter().copied());
    host::spawn(&mut outer)
}

/// How long a peer with half a line lives.
fn lifetime_of_a_half(server: SocketAddr) -> Duration {
    let mut peer: TcpStream = connect(server);
    send(&peer, "whole\n");
    assert_eq!(read_exactly(&peer, 6), b"whole\n");
    let began = now();
    send(&peer, "half a line");
    assert_eq!(peer.read(&mut [0; 64]).expect("an end"), 0);
    began.elapsed()
}

/// Ends a server, whose wrapper does not pass signals on.
fn end(server: Program) {
    let process = i32::try_from(serving_process(server.pid()).0).expect("a pid");
    kill_process(Pid::from_raw(process).expect("a pid"), Signal::KILL).expect("it runs");
    server.end();
}

/// Where the time of day stands, and faketime reads how far it is moved.
struct Dial {
    file: PathBuf,
    /// Asks the server what time it is.
    witness: TcpStream,
}

impl Dial {
    /// At once, so that faketime never reads half of it.
    fn set(file: &Path, offset: i64) {
        let draft = file.with_extension("draft");
        fs::write(&draft, format!("{offset:+}")).expect("a file of our own");
        fs::rename(&draft, file).expect("a file of our own");
    }

    /// Moves the server's time of day by so many seconds from the true one, and has it say so.
    fn turn(&self, offset: i64) {
        Self::set(&self.file, offset);
        send(&self.witness, format!("{}\n", host::ASKS_TIME));
        let told: i64 = read_line(&self.witness).parse().expect("seconds");
        let off = told - (host::seconds_since_1970() + offset);
        assert!(off.abs() <= 60, "the time of day has not moved by {offset} s: {off} s off");
    }
}

/// How long a peer with half a line lives while the time of day moves.
fn lifetime_while_it_jumps(server: SocketAddr, dial: &Dial, offset: i64) -> Duration {
    for _ in 0..5 {
        let mut peer = connect(server);
        let began = now();
        send(&peer, "half a line");
        dial.turn(offset);
        let in_time = began.elapsed() < ms(300); // the deadline was still running
        assert_eq!(peer.read(&mut [0; 64]).expect("an end"), 0);
        if in_time {
            return began.elapsed();
        }
        dial.turn(0);
    }
    panic!("this machine is too busy to move a clock within 300 ms")
}

#[test]
fn deadlines_do_not_care_what_time_of_day_it_is() {
    const HOUR: i64 = 3_600;
    const YEARS: i64 = 10 * 365 * 24 * HOUR;
    let _alone = alone();
    if !has("faketime") {
        return;
    }
    let mut figures = Figures::of("the time of day jumps");
    let file = std::env::temp_dir().join(format!("wheelhouse-clock-{}", std::process::id()));
    Dial::set(&file, 0);
    let environment = [
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a plain name")),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    // `faketime` itself sets FAKETIME, which goes before the file.
    let wrapper = ["faketime", "-f", "+0", "env", "-u", "FAKETIME"];
    let server = host_under(&wrapper, "packet=300", &environment);
    let address = server.address();
    let dial = Dial { file, witness: connect(address) };
    let jumps = [HOUR, -24 * HOUR, YEARS, -YEARS, 0];
    let lifetimes = jumps.map(|offset| lifetime_while_it_jumps(address, &dial, offset));
    let soonest = lifetimes.into_iter().fold(Duration::MAX, Duration::min);
    let latest = lifetimes.into_iter().fold(Duration::ZERO, Duration::max);
    assert!(soonest >= ms(300), "of 300 ms: {lifetimes:?}, while the clock went to {jumps:?} s");
    figures.tell("jumps that the server saw on its own clock", jumps.len());
    figures.tell("the soonest of 300 ms", format_args!("{soonest:.2?}"));
    figures.at_most("late by, at worst", millis(latest - ms(300)), 100.0, "ms");
    drop(fs::remove_file(&dial.file));
    end(server);
    figures.finish();
}

#[test]
fn time_may_run_fast_or_slowly() {
    let _alone = alone();
    if !has("faketime") {
        return;
    }
    let mut figures = Figures::of("time runs at another pace");
    for (pace, limit) in [("+0 x10", 5_000), ("+0 x0.1", 100)] {
        let server = host_under(&["faketime", "-f", pace], &format!("packet={limit}"), &[]);
        let address = server.address();
        let process = serving_process(server.pid());
        let (cost, lived) = process.cost_of(|| lifetime_of_a_half(address));
        figures
            .tell(&format!("{pace}: a deadline of {limit} ms came after"), format!("{lived:.1?}"));
        figures.at_most("processor meanwhile", cost.percent, 5.0, "%");
        // By the server's own clock, which is what it can know.
        let by_its_clock = if pace == "+0 x10" { lived * 10 } else { lived / 10 };
        assert!(by_its_clock >= ms(limit - 1), "{pace}: gone after {lived:?}");
        end(server);
    }
    figures.finish();
}

/// The wrapper itself, or, where it has started another, that one.
fn serving_process(wrapper: u32) -> Process {
    let children = fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children"));
    let child = children.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
    Process(child.unwrap_or(wrapper))
}

#[test]
fn a_machine_may_have_been_up_for_ten_years() {
    let _alone = alone();
    let years = (10 * 365 * 24 * 3600_u64).to_string();
    let wrapper = ["unshare", "-T", "--monotonic", &years, "--boottime", &years];
    let mut probe = Command::new(wrapper[0]);
    if !works(probe.args(&wrapper[1..]).args(["--fork", "true"])) {
        return;
    }
    let mut figures = Figures::of("ten years up");
    let server =
        host_under(&[&wrapper[..], &["--fork", "--kill-child"]].concat(), "packet=300", &[]);
    let lived = lifetime_of_a_half(server.address());
    assert!(lived >= ms(300), "{lived:?}");
    figures.at_most("a deadline is late by", millis(lived - ms(300)), 100.0, "ms");
    end(server);
    figures.finish();
}
