//! The server as a process: settings, a stop, a crash, a disk that fails, peers that do not read.

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use kit::{Peer, Server, run};
use rusqlite::Connection;
use serde_json::{Value, json};

#[test]
fn a_bad_setting_is_one_line_and_exit_code_2() {
    for args in [&["--rate", "0"][..], &["--addr", "nowhere"], &["--no-such"], &["--token", ""]] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{args:?}: {ended:?}");
        assert!(ended.stdout.is_empty());
    }
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for setting in ["--addr", "--db", "--token", "--allow-origin", "--redis", "--node", "--rate"] {
        assert!(help.stdout.contains(setting), "{setting}");
    }
}

#[test]
fn what_cannot_be_had_at_the_start_is_one_line_and_exit_code_1() {
    let server = Server::start(&[]);
    let taken = server.addr.to_string();
    let nowhere = "/no/such/directory/chat.db";
    for (args, named) in [
        (["--addr", &taken, "--db", ":memory:"], &*taken),
        (["--addr", "127.0.0.1:0", "--db", nowhere], nowhere),
    ] {
        let ended = run(&args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let complaint: Vec<&str> =
            ended.stderr.lines().filter(|line| line.starts_with("wheelhouse-chat:")).collect();
        assert!(matches!(complaint[..], [one] if one.contains(named)), "{ended:?}");
    }
}

#[test]
fn a_stop_says_1001_to_all_and_ends_well() {
    let server = Server::start(&["--stop-grace", "30s"]);
    let mut ann = server.hello("ann", &json!({}));
    let mut mute = server.connect();
    let mut idle = server.tcp();
    ann.message("last words", "n1");
    ann.next_of("ack");
    server.terminate();
    for peer in [&mut ann, &mut mute] {
        assert_eq!(peer.closed().map(|close| close.code.get()), Some(1001));
    }
    drop((ann, mute));
    // Who is connected already and asks for its health is told.
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    idle.read_to_string(&mut answer).expect("an answer and an end");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("stopping\n"), "{answer}");
    drop(idle);
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn history_is_there_after_a_restart_and_is_replayed_and_capped() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("chat.db");
    let many = ["--history", "20", "--rate", "1000", "--burst", "1000"];
    let server = Server::on(&file, &many);
    let mut ann = server.hello("ann", &json!({}));
    let mut last = Value::Null;
    for message in 1..=30 {
        ann.message(&message.to_string(), &format!("n{message}"));
        last = ann.next_of("ack")["id"].clone();
    }
    server.terminate();
    server.end();

    let server = Server::on(&file, &many);
    let mut bob = server.hello("bob", &json!({}));
    let replay = bob.next_of("history");
    let texts: Vec<&str> = texts_of(&replay).collect();
    assert_eq!(texts, (11..=30).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((&replay["more"], &replay["replay"]), (&json!(false), &json!(true)));
    let before = replay["messages"][5]["id"].clone();
    bob.say(&json!({"type": "history", "room": "lobby", "before": before, "limit": 2}));
    let page = bob.next_of("history");
    assert_eq!(texts_of(&page).collect::<Vec<_>>(), ["14", "15"]);
    assert_eq!((&page["more"], &page["replay"]), (&json!(true), &json!(false)));

    // Who was there before gets what came since, and no more.
    bob.message("31", "n1");
    bob.next_of("ack");
    let mut ann = server.hello("ann", &json!({"lobby": last}));
    assert_eq!(texts_of(&ann.next_of("history")).collect::<Vec<_>>(), ["31"]);
}

fn texts_of(history: &Value) -> impl Iterator<Item = &str> {
    let messages = history["messages"].as_array().expect("messages");
    messages.iter().filter_map(|message| message["text"].as_str())
}

/// Says `hello` again, resends whatever was not acknowledged, and returns what was, with ids.
fn resend(ann: &mut Peer, unacked: &BTreeSet<String>) -> BTreeMap<String, u64> {
    let mut acks = BTreeMap::new();
    for nonce in unacked {
        ann.message(nonce, nonce);
    }
    while acks.len() < unacked.len() {
        let ack = ann.next_of("ack");
        let nonce = ack["nonce"].as_str().expect("a nonce").to_owned();
        acks.insert(nonce, ack["id"].as_u64().expect("an id"));
    }
    acks
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged_and_a_resend_doubles_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("chat.db");
    let mut limits = vec!["--history", "10000", "--page", "500", "--rate", "100000"];
    limits.extend(["--burst", "100000", "--address-rate", "1000000"]);
    let all: BTreeSet<String> = (0..400).map(|message| format!("m{message:03}")).collect();
    let mut acked: BTreeMap<String, u64> = BTreeMap::new();
    for round in 1..=3 {
        let server = Server::on(&file, &limits);
        let mut ann = server.hello("ann", &json!({}));
        for nonce in all.iter().filter(|nonce| !acked.contains_key(*nonce)) {
            ann.message(nonce, nonce);
        }
        // The server dies in the midst of it.
        for _ in 0..30 {
            let ack = ann.next_of("ack");
            let (nonce, id) = (ack["nonce"].as_str().expect("a nonce"), ack["id"].as_u64());
            let earlier = acked.insert(nonce.to_owned(), id.expect("an id"));
            assert_eq!(earlier, None, "round {round}: {nonce} was not sent again");
        }
        server.kill();
    }

    let server = Server::on(&file, &limits);
    let mut bob = server.hello("bob", &json!({}));
    bob.next_of("history");
    let mut ann = server.hello("ann", &json!({}));
    // All of them once more, also those that were acknowledged.
    let again = resend(&mut ann, &all);
    for (nonce, id) in &acked {
        assert_eq!(again.get(nonce), Some(id), "{nonce} kept its id");
    }
    bob.message("the end", "end");
    let mut shown = BTreeSet::new();
    loop {
        let message = bob.next_of("message");
        let text = message["text"].as_str().expect("a text");
        if text == "the end" {
            break;
        }
        assert!(!acked.contains_key(text), "{text} was shown again");
        assert!(shown.insert(text.to_owned()), "{text} was shown twice");
    }
    bob.say(&json!({"type": "history", "limit": 500}));
    let history = bob.next_of("history");
    let kept: Vec<&str> = texts_of(&history).filter(|text| text.starts_with('m')).collect();
    let distinct: BTreeSet<&str> = kept.iter().copied().collect();
    assert_eq!((kept.len(), distinct.len()), (all.len(), all.len()));
}

#[test]
fn a_locked_file_stops_nobody_from_talking() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("chat.db");
    let server = Server::on(&file, &[]);
    let mut ann = server.hello("ann", &json!({}));
    let mut bob = server.hello("bob", &json!({}));
    let lock = Connection::open(&file).expect("a database");
    lock.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    ann.message("hello?", "n1");
    assert_eq!(bob.next_of("message")["text"], "hello?");
    let error = ann.next_of("error");
    assert_eq!((&error["code"], &error["nonce"]), (&json!("storage"), &json!("n1")));
    lock.execute_batch("COMMIT").expect("an unlock");
    ann.message("hello!", "n2");
    ann.next_of("ack");
    let metrics = server.get("/metrics", "Connection: close\r\n");
    assert!(metrics.contains("\nchat_storage_errors_total 1\n"), "{metrics}");
}

#[test]
fn who_does_not_read_is_closed_with_1013_and_the_rest_goes_on() {
    let server = Server::start(&[
        "--rate",
        "100000",
        "--burst",
        "100000",
        "--address-rate",
        "1000000",
        "--text-limit",
        "50000",
        "--outbox",
        "65536",
    ]);
    let mut slow = server.hello("slow", &json!({}));
    let mut bob = server.hello("bob", &json!({}));
    let mut ann = server.hello("ann", &json!({}));
    // More than all buffers between the two can hold, unless the reader reads.
    let text = "x".repeat(40_000);
    for message in 0..500 {
        ann.message(&text, &format!("n{message}"));
        ann.next_of("ack");
        assert_eq!(bob.next_of("message")["user"], "ann");
        if server_has_dropped_one(&server, message) {
            break;
        }
    }
    assert_eq!(slow.closed().map(|close| close.code.get()), Some(1013));
    let gone = bob.next_of("presence");
    assert_eq!((&gone["event"], &gone["user"]), (&json!("leave"), &json!("slow")));
    ann.message("still here", "last");
    assert_eq!(bob.next_of("message")["text"], "still here");
}

/// Looks now and then.
fn server_has_dropped_one(server: &Server, message: usize) -> bool {
    message.is_multiple_of(20)
        && server
            .get("/metrics", "Connection: close\r\n")
            .contains("\nwheelhouse_slow_consumers_total 1\n")
}

#[test]
fn a_peer_that_answers_no_ping_is_closed() {
    let server = Server::start(&["--ping-after", "2s", "--idle-timeout", "10s"]);
    let mut bob = server.hello("bob", &json!({}));
    let mut dead = server.hello("dead", &json!({})); // it reads no more, and so answers no ping
    loop {
        let presence = bob.next_of("presence"); // bob does, for longer than the timeout
        if presence["event"] == "leave" {
            assert_eq!(presence["user"], "dead");
            break;
        }
    }
    assert_eq!(dead.closed().map(|close| close.code.get()), Some(1001));
    bob.message("alive", "n1");
    bob.next_of("ack");
}

#[test]
fn a_session_comes_back_to_its_name_while_its_old_connection_hangs() {
    let server = Server::start(&[]);
    let mut bob = server.hello("bob", &json!({}));
    bob.next_of("history"); // it comes by another thread, and so may come behind ann
    let mut old = server.hello("ann", &json!({}));
    assert_eq!(bob.next_of("presence")["user"], "ann");
    let mut new = server.hello("ann", &json!({}));
    assert_eq!(old.closed().map(|close| close.code.get()), Some(1000));
    new.message("back", "n1");
    let next = loop {
        let frame = bob.next();
        if frame["type"] != "rooms" {
            break frame;
        }
    };
    assert_eq!((&next["type"], &next["text"]), (&json!("message"), &json!("back")));
}
