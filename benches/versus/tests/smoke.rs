//! The whole of it, once and in short: every peer serves every kind of work, and all that a run writes is there.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs the program, and asserts that it succeeds.
fn versus(args: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_wheelhouse-versus")).args(args).output().expect("a child");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{args:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Ten milliseconds of each cell, and the path of what was written.
fn measured(name: &str, cells: &str) -> (serde_json::Value, PathBuf) {
    measured_of(name, cells, &[])
}

/// The same, of some peers alone.
fn measured_of(name: &str, cells: &str, peers: &[&str]) -> (serde_json::Value, PathBuf) {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = out.to_str().expect("a path that is text");
    let run = ["--only", cells, "--rounds", "1", "--round-ms", "10", "--out", text];
    versus(&[&run[..], peers].concat());
    let raw = std::fs::read(out.join("results.json")).expect("raw figures");
    (serde_json::from_slice(&raw).expect("JSON"), out)
}

/// Everyone was measured, but for io_uring, which a system may refuse.
fn assert_that_nobody_failed(report: &serde_json::Value) {
    for absent in report["absent"].as_array().expect("a list") {
        assert_eq!(absent["peer"], "monoio-uring", "{absent}");
    }
}

#[test]
fn every_peer_echoes() {
    let cells = "echo/bytes/64B/64c/p16,echo/length/1024B/64c/p1,echo/websocket/64B/64c/p16";
    let (report, out) = measured("echo", cells);
    assert_that_nobody_failed(&report);
    for cell in report["timed"].as_array().expect("cells") {
        for peer in cell["peers"].as_array().expect("peers") {
            assert!(peer["rounds"][0]["messages"].as_u64() >= Some(64), "{peer}");
        }
    }
    let page = std::fs::read_to_string(out.join("index.html")).expect("a page");
    for peer in ["wheelhouse", "tokio", "smol", "fastwebsockets"] {
        assert!(page.contains(peer), "{peer}");
    }
    assert!(!page.contains("src=") && !page.contains("href="), "the page needs another file");
    assert!(out.join("ratios-length.svg").exists());
    let again = versus(&["--render", "--out", out.to_str().expect("a path that is text")]);
    assert_eq!(again, std::fs::read_to_string(out.join("table.txt")).expect("a table"));
}

#[test]
fn every_peer_does_the_other_work() {
    let cells = "broadcast/64B/1000c,latency/length/64B/64c,churn/bytes";
    let (report, _) = measured("others", cells);
    assert_that_nobody_failed(&report);
    assert_eq!(report["timed"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_crowd_is_set_beside_those_who_speak_in_it() {
    let (report, out) = measured_of("crowd", "crowd/", &["--peers", "wheelhouse"]);
    assert_that_nobody_failed(&report);
    assert_eq!(report["timed"].as_array().map(Vec::len), Some(2));
    let says = "5,000 connections, 50 of them active, beside 50 by themselves";
    let table = std::fs::read_to_string(out.join("table.txt")).expect("a table");
    let (_, crowd) = table.split_once(says).expect("the crowd's own table");
    let ours = crowd.lines().find(|line| line.trim().starts_with("wheelhouse")).expect("a row");
    assert!(ours.contains(" × "), "{ours}");
    let page = std::fs::read_to_string(out.join("index.html")).expect("a page");
    assert!(page.contains("Silent connections"));
}

#[test]
fn looking_before_sleeping_is_measured_where_latency_is_and_nowhere_else() {
    let peers = ["--peers", "wheelhouse,wheelhouse-busy"];
    let (report, out) = measured_of("busy", "latency/websocket,echo/bytes/64B/1c/p1", &peers);
    assert_that_nobody_failed(&report);
    for cell in report["timed"].as_array().expect("cells") {
        let here = cell["peers"].as_array().expect("peers");
        let is_there = here.iter().any(|timed| timed["peer"] == "wheelhouse-busy");
        assert_eq!(is_there, cell["cell"]["scenario"] == "latency", "{}", cell["name"]);
    }
    let page = std::fs::read_to_string(out.join("index.html")).expect("a page");
    assert!(page.contains("<th>p99.9</th>") && page.contains("wheelhouse-busy</th>"));
}

#[test]
fn the_list_names_cells_and_peers() {
    let list = versus(&["--list", "--only", "idle/websocket"]);
    let line = list.lines().next().expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    let expected = ["idle/websocket/5000c", "floor", "wheelhouse", "fastwebsockets", "tungstenite"];
    assert_eq!(words, expected);
}

#[test]
fn a_cell_that_is_not_there_is_named() {
    let child = Command::new(env!("CARGO_BIN_EXE_wheelhouse-versus"))
        .args(["--only", "echo/nothing"])
        .output();
    let output = child.expect("a child");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no cell has echo/nothing in its name: see --list"), "{said}");
}
