//! Several servers as one chat, joined by a Redis: said here, heard there; and on their own when Redis is gone.

mod kit;
#[path = "support/redis.rs"]
mod redis;

use kit::{Peer, Server};
use redis::Redis;
use serde_json::{Value, json};

fn node(redis: &Redis, number: &str) -> Server {
    Server::start(&["--redis", &redis.url(), "--node", number])
}

/// A rich client that has said hello and heard that Redis is there: its name was agreed on.
fn join(server: &Server, name: &str) -> Peer {
    server.hello(name, &json!({}))
}

fn text(frame: &Value) -> &str {
    frame["text"].as_str().unwrap_or_default()
}

#[test]
fn what_is_said_on_one_server_is_heard_on_the_other_and_in_its_history() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (node(&redis, "1"), node(&redis, "2"));
    let mut ann = join(&one, "ann");
    let mut bob = join(&two, "bob");
    let came = ann.next_of("presence");
    assert_eq!(
        (&came["event"], &came["user"], &came["people"]),
        (&json!("join"), &json!("bob"), &json!(2))
    );

    ann.message("hi", "n1");
    let there = bob.next_of("message");
    let here = ann.next_of("message");
    assert_eq!((text(&there), &there["id"]), ("hi", &here["id"]));
    assert_eq!(ann.next_of("ack")["id"], here["id"]);
    bob.message("/me waves", "n1");
    assert_eq!(text(&ann.next_of("action")), "waves");
    bob.message("/msg ann psst", "n2");
    assert_eq!(text(&ann.next_of("private")), "psst");
    assert_eq!(text(&bob.next_of("private")), "psst");
    ann.say(&json!({"type": "typing", "room": "lobby"}));
    assert_eq!(bob.next_of("typing")["user"], "ann");
    bob.message("/nick rob", "n3");
    assert_eq!(ann.next_of("presence")["was"], "bob");

    let mut cleo = join(&two, "cleo");
    assert_eq!(cleo.next_of("joined")["people"], json!(["ann", "cleo", "rob"]));
    let replay = cleo.next_of("history");
    let texts: Vec<&str> =
        replay["messages"].as_array().expect("messages").iter().map(text).collect();
    assert_eq!(texts, ["hi", "waves"]);
    let mut dora = two.connect();
    dora.say(&json!({"type": "hello", "user": "ANN", "session": "another-session"}));
    assert_eq!(dora.next()["code"], "name_taken");
}

#[test]
fn a_client_goes_on_at_another_server_when_its_own_is_killed() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (node(&redis, "1"), node(&redis, "2"));
    let mut bob = join(&two, "bob");
    let mut ann = join(&one, "ann");
    ann.message("1", "n1");
    let seen = ann.next_of("ack")["id"].clone();
    bob.next_of("message");
    one.kill();
    bob.message("2", "m1");
    bob.next_of("ack");

    // By the same session she has her name at once, though the other server has not said goodbye.
    let mut ann = two.hello("ann", &json!({"lobby": seen}));
    let replay = ann.next_of("history");
    let texts: Vec<&str> =
        replay["messages"].as_array().expect("messages").iter().map(text).collect();
    assert_eq!(texts, ["2"]);
    // The acknowledgement had been lost, as far as she knows.
    ann.message("1", "n1");
    assert_eq!(ann.next_of("ack")["id"], seen);
    ann.message("3", "n3");
    assert_eq!(text(&bob.next_of("message")), "3", "nothing came twice");
}

#[test]
fn each_goes_on_alone_while_redis_is_gone_and_they_meet_again() {
    let Some(mut redis) = Redis::start() else { return };
    let (one, two) = (node(&redis, "1"), node(&redis, "2"));
    let (mut ann, mut bob) = (join(&one, "ann"), join(&two, "bob"));
    ann.message("together", "n1");
    assert_eq!(text(&bob.next_of("message")), "together");

    redis.kill();
    for peer in [&mut ann, &mut bob] {
        assert_eq!(peer.next_of("notice")["level"], "warn");
    }
    let metrics = one.get("/metrics", "Connection: close\r\n");
    assert!(metrics.contains("\nchat_redis_up 0\n"), "{metrics}");
    ann.message("alone", "n2");
    assert_eq!(text(&ann.next_of("message")), "alone");
    ann.next_of("ack");

    redis.run_again();
    for peer in [&mut ann, &mut bob] {
        assert_eq!(peer.next_of("notice")["level"], "info");
    }
    assert_eq!(text(&bob.next_of("message")), "alone", "late, and not lost");
    bob.message("together again", "n1");
    assert_eq!(text(&ann.next_of("message")), "together again");
}

#[test]
fn a_room_has_one_owner_on_all_servers() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (node(&redis, "1"), node(&redis, "2"));
    let mut ann = one.hello("ann", &json!({"den": 0}));
    ann.message("secret", "n1");
    ann.next_of("ack");
    let mut bob = two.hello("bob", &json!({"den": 0}));
    // He is told so, since his server did not know when he came.
    loop {
        let rooms = bob.next_of("rooms");
        let den = |room: &&Value| room["name"] == "den";
        let owner =
            rooms["rooms"].as_array().expect("rooms").iter().find(den).map(|den| &den["owner"]);
        if owner == Some(&json!("ann")) {
            break;
        }
    }
    bob.message("/clear room", "n1");
    assert_eq!(bob.next_of("error")["code"], "not_owner");
    ann.message("/clear room", "n2");
    assert_eq!(bob.next_of("clear")["by"], "ann");
}
