//! What several servers joined by a Redis agree on: the order of messages, people, names, histories. To their people they
//! are one chat, and two while Redis is away. (How that looks to a client is in `nodes.rs`.)

mod kit;
#[path = "support/redis.rs"]
mod redis_server;

use kit::{Peer, Server};
use redis_server::Redis;
use serde_json::{Value, json};

fn node(redis: &Redis, number: &str) -> Server {
    let fast = ["--rate", "1000", "--burst", "1000"];
    let url = redis.url();
    let mut args = vec!["--redis", &url, "--node", number];
    args.extend(fast);
    let server = Server::start(&args);
    server.logs("the other nodes can be reached");
    server
}

fn two(redis: &Redis) -> (Server, Server) {
    (node(redis, "1"), node(redis, "2"))
}

/// A client in the lobby. Until the nodes agree on its name it hears the lobby as anybody does.
fn enter(server: &Server, name: &str) -> Peer {
    let mut peer = server.connect();
    let session = format!("session-of-{name}");
    peer.say(&json!({"type": "hello", "user": name, "session": session, "rooms": {}}));
    peer.next_of("welcome");
    assert_eq!(peer.next_of("joined")["room"], "lobby");
    peer
}

fn text_of(frame: &Value) -> &str {
    frame["text"].as_str().expect("a text")
}

/// Waits until somebody has heard of somebody else that this has happened.
fn presence(peer: &mut Peer, event: &str, user: &str) -> Value {
    loop {
        let presence = peer.next_of("presence");
        if presence["event"] == event && presence["user"] == user {
            return presence;
        }
    }
}

fn who(peer: &mut Peer) -> Vec<String> {
    peer.message("/who", "who");
    let people = peer.next_of("people");
    let names = people["people"].as_array().expect("a list").iter();
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// The lobby's history at a node: ids and texts.
fn history(server: &Server, reader: &str) -> Vec<(u64, String)> {
    let mut peer = enter(server, reader);
    peer.say(&json!({"type": "history", "room": "lobby", "limit": 50}));
    loop {
        let page = peer.next_of("history");
        if page["replay"] != true {
            let messages = page["messages"].as_array().expect("a list").iter();
            let one = |m: &Value| (m["id"].as_u64().expect("an id"), text_of(m).to_owned());
            return messages.map(one).collect();
        }
    }
}

#[test]
fn what_is_said_to_one_server_is_heard_once_at_the_other() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = two(&redis);
    let (mut ann, mut bob) = (enter(&a, "ann"), enter(&b, "bob"));
    ann.message("first", "n1");
    let own = ann.next_of("message");
    assert_eq!((text_of(&own), &own["nonce"]), ("first", &json!("n1")));
    let ack = ann.next_of("ack");
    let heard = bob.next_of("message");
    assert_eq!((text_of(&heard), &heard["user"]), ("first", &json!("ann")));
    assert_eq!((&heard["id"], &heard["nonce"]), (&ack["id"], &Value::Null));

    ann.message("first", "n1"); // the acknowledgement was lost, say
    assert_eq!(ann.next_of("ack"), ack);
    bob.message("second", "n1"); // the same nonce, of another session
    let (at_ann, at_bob) = (ann.next_of("message"), bob.next_of("message"));
    assert_eq!((text_of(&at_ann), text_of(&at_bob)), ("second", "second"), "nothing came twice");
    assert!(at_ann["id"].as_u64() > ack["id"].as_u64());

    for number in 0..40 {
        let (teller, name) = if number % 2 == 0 { (&mut ann, "ann") } else { (&mut bob, "bob") };
        teller.message(&format!("{name} {number}"), &format!("m{number}"));
    }
    let forty = |peer: &mut Peer| (0..40).map(|_| peer.next_of("message")["id"].clone()).collect();
    let (at_ann, at_bob): (Vec<_>, Vec<_>) = (forty(&mut ann), forty(&mut bob));
    assert_eq!(at_ann, at_bob, "in one order");
    let (at_a, at_b) = (history(&a, "reader-a"), history(&b, "reader-b"));
    assert_eq!((at_a.len(), &at_a), (42, &at_b));
}

#[test]
fn people_are_people_wherever_they_came_in() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = two(&redis);
    let mut bob = enter(&b, "bob");
    let mut ann = enter(&a, "ann");
    assert_eq!(presence(&mut bob, "join", "ann")["people"], 2);
    assert_eq!(who(&mut bob), ["ann", "bob"]);
    // That bob is there may reach her server a moment after her.
    if who(&mut ann) == ["ann"] {
        presence(&mut ann, "join", "bob");
        assert_eq!(who(&mut ann), ["ann", "bob"]);
    }

    ann.message("/nick Eve", "n1");
    assert_eq!(presence(&mut bob, "nick", "Eve")["was"], "ann");
    let mut other = b.connect();
    other.say(&json!({"type": "hello", "user": "eve", "session": "somebody-else", "rooms": {}}));
    assert_eq!(other.next_of("error")["code"], "name_taken");

    bob.message("/msg eve psst", "n2");
    let private = ann.next_of("private");
    assert_eq!((text_of(&private), &private["user"]), ("psst", &json!("bob")));
    drop(ann);
    assert_eq!(presence(&mut bob, "leave", "Eve")["people"], 1);

    let mut cid = enter(&a, "cid");
    presence(&mut bob, "join", "cid");
    cid.message("/me leaves no word", "n3");
    assert_eq!(text_of(&bob.next_of("action")), "leaves no word");
    a.kill();
    assert_eq!(presence(&mut bob, "leave", "cid")["people"], 1, "its people die with a node");
}

#[test]
fn a_session_takes_its_name_along_from_server_to_server() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = two(&redis);
    let mut bob = enter(&b, "bob");
    let mut ann = enter(&a, "ann");
    presence(&mut bob, "join", "ann");
    // Her connection to the first has died, and the first does not know it yet.
    let mut again = enter(&b, "ann");
    assert!(ann.closed().is_some(), "what is left of the old one is closed");
    again.message("here I am", "n1");
    loop {
        let frame = bob.next();
        assert!(frame["event"] != "leave", "she has not left: {frame}");
        if frame["type"] == "message" {
            break;
        }
    }
    assert_eq!(who(&mut bob), ["ann", "bob"]);
    let mut cid = enter(&a, "cid");
    assert_eq!(who(&mut cid), ["ann", "bob", "cid"]);
}

#[test]
fn a_lost_redis_is_noticed_and_talk_goes_on_and_comes_together_again() {
    let Some(mut redis) = Redis::start() else { return };
    let (a, b) = two(&redis);
    let (mut ann, mut bob) = (enter(&a, "ann"), enter(&b, "bob"));
    ann.message("before", "n1");
    assert_eq!(text_of(&bob.next_of("message")), "before");
    ann.next_of("ack");

    redis.kill();
    for peer in [&mut ann, &mut bob] {
        let notice = peer.next_of("notice");
        assert_eq!(notice["level"], "warn", "{notice}");
        assert!(text_of(&notice).contains("cannot be reached"), "{notice}");
    }
    ann.message("ann alone", "n2");
    assert_eq!(text_of(&ann.next_of("message")), "ann alone", "at once, to those who are here");
    ann.next_of("ack");
    bob.message("bob alone", "n2");
    assert_eq!(text_of(&bob.next_of("message")), "bob alone");
    bob.next_of("ack");

    redis.run_again();
    // Each hears that all is well, and what the other said meanwhile, in either order.
    for (peer, missed) in [(&mut ann, "bob alone"), (&mut bob, "ann alone")] {
        let (mut is_well, mut has_heard) = (false, false);
        while !(is_well && has_heard) {
            let frame = peer.next();
            is_well |= frame["type"] == "notice" && frame["level"] == "info";
            if frame["type"] == "message" {
                assert!(!has_heard && text_of(&frame) == missed, "{frame}");
                has_heard = true;
            }
        }
    }
    ann.message("together", "n3");
    assert_eq!(text_of(&bob.next_of("message")), "together", "and nothing came twice");
    let (at_a, at_b) = (history(&a, "reader-a"), history(&b, "reader-b"));
    assert_eq!(at_a, at_b);
    let texts: Vec<_> = at_a.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["before", "ann alone", "bob alone", "together"]);
    for peer in [&mut ann, &mut bob] {
        let mut readers = vec!["reader-a", "reader-b"];
        while !readers.is_empty() {
            let presence = peer.next_of("presence");
            readers.retain(|reader| presence["event"] != "leave" || presence["user"] != *reader);
        }
        assert_eq!(who(peer), ["ann", "bob"], "people agree again");
    }
}

#[test]
fn a_redis_that_cannot_be_had_is_told_in_one_line() {
    let Some(redis) = Redis::later() else { return };
    let ended = kit::run(&["--addr", "127.0.0.1:0", "--db", ":memory:", "--redis", &redis.url()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let own: Vec<_> =
        ended.stderr.lines().filter(|line| line.starts_with("wheelhouse-chat:")).collect();
    assert!(matches!(own[..], [one] if one.contains("Redis cannot be reached")), "{ended:?}");
}
