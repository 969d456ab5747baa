//! Talking over real sockets: the plain form, the rich one, both beside each other.

mod kit;

use kit::Server;
use serde_json::{Value, json};
use wheelhouse::codec::websocket::Incoming;

#[test]
fn two_scripts_of_five_lines_chat() {
    let server = Server::start(&[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    // Their frames could cross: the second hears the first for certain once it has been heard itself.
    bob.plain("Боб", "привет");
    assert_eq!(bob.next_of("message")["text"], "привет");
    let first = ann.next_of("message");
    assert_eq!((&first["user"], &first["text"]), (&json!("Боб"), &json!("привет")));
    ann.plain("Аня", "и тебе");
    let second = bob.next_of("message");
    assert_eq!((&second["user"], &second["text"]), (&json!("Аня"), &json!("и тебе")));
    assert!(second["id"].as_u64() > first["id"].as_u64());
}

#[test]
fn who_only_listens_is_shown_what_was_said_before() {
    let server = Server::start(&[]);
    let mut ann = server.hello("ann", &json!({}));
    ann.message("long ago", "n1");
    ann.next_of("ack");
    let mut mute = server.connect();
    let history = mute.next();
    assert_eq!((&history["type"], &history["replay"]), (&json!("history"), &json!(true)));
    assert_eq!(history["messages"][0]["text"], "long ago");
    ann.message("just now", "n2");
    assert_eq!(mute.next()["text"], "just now");
}

#[test]
fn a_rich_client_and_a_plain_one_are_in_one_room() {
    let server = Server::start(&[]);
    let mut ann = server.hello("ann", &json!({"lobby": 0}));
    let mut bob = server.connect();
    bob.plain("bob", "hi");
    assert_eq!(ann.next_of("presence")["user"], "bob");
    assert_eq!(ann.next_of("message")["text"], "hi");
    ann.message("/me waves", "n1");
    let action = bob.next_of("action");
    assert_eq!((&action["user"], &action["text"]), (&json!("ann"), &json!("waves")));
    assert_eq!(ann.next_of("ack")["id"], action["id"]);
    ann.message("/msg bob psst", "n2");
    assert_eq!(bob.next_of("private")["text"], "psst");
    bob.say(&json!({"text": "/nick rob"}));
    assert_eq!(ann.next_of("presence")["was"], "bob");
    ann.say(&json!({"type": "typing", "room": "lobby"}));
    ann.message("/who", "n3");
    assert_eq!(ann.next_of("people")["people"], json!(["ann", "rob"]));
    drop(bob);
    let left = ann.next_of("presence");
    assert_eq!((&left["event"], &left["user"]), (&json!("leave"), &json!("rob")));
}

#[test]
fn the_owner_clears_a_room_for_everybody() {
    let server = Server::start(&[]);
    let mut ann = server.hello("ann", &json!({"den": 0}));
    let mut bob = server.hello("bob", &json!({"den": 0}));
    ann.message("secret", "n1");
    assert_eq!(bob.next_of("message")["text"], "secret");
    bob.message("/clear room", "n2");
    assert_eq!(bob.next_of("error")["code"], "not_owner");
    ann.message("/clear room", "n3");
    assert_eq!(bob.next_of("clear")["by"], "ann");
    let mut cleo = server.hello("cleo", &json!({"den": 0}));
    assert_eq!(cleo.next_of("history")["messages"], json!([]));
}

#[test]
fn the_list_of_rooms_is_pushed() {
    let server = Server::start(&[]);
    let mut ann = server.hello("ann", &json!({}));
    let _bob = server.hello("bob", &json!({"den": 0}));
    loop {
        let rooms = ann.next_of("rooms");
        let den = |room: &&Value| room["name"] == "den";
        if let Some(den) = rooms["rooms"].as_array().expect("rooms").iter().find(den) {
            assert_eq!((&den["people"], &den["owner"]), (&json!(1), &json!("bob")));
            return;
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_what_is_too_big_ends_the_connection() {
    let server = Server::start(&["--text-limit", "100"]);
    let mut ann = server.hello("ann", &json!({}));
    ann.client.write("{".into()).expect("it reads");
    assert_eq!(ann.next_of("error")["code"], "bad_json");
    ann.client.write(vec![1, 2, 3].into()).expect("it reads");
    assert_eq!(ann.next_of("error")["code"], "bad_request");
    ann.message(&"x".repeat(101), "n1");
    let error = ann.next_of("error");
    assert_eq!((&error["code"], &error["nonce"]), (&json!("too_long"), &json!("n1")));
    ann.message(&"x".repeat(100_000), "n2");
    assert_eq!(ann.closed().map(|close| close.code.get()), Some(1009));
}

#[test]
fn who_floods_is_told_and_then_sent_away() {
    let server = Server::start(&["--rate", "1", "--burst", "3"]);
    let mut ann = server.hello("ann", &json!({}));
    let mut bob = server.hello("bob", &json!({}));
    for message in 0..200 {
        let frame = json!({"type": "message", "text": message.to_string()});
        if ann.client.write(frame.to_string().into()).is_err() {
            break; // it has been sent away
        }
    }
    assert_eq!(ann.next_of("error")["code"], "rate_limited");
    let close = ann.closed().expect("a close frame that says why");
    assert_eq!(close.code.get(), 1008);
    assert!(close.reason.contains("rate"), "{close:?}");
    for message in 0..3 {
        assert_eq!(bob.next_of("message")["text"], message.to_string());
    }
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let server = Server::start(&["--address-clients", "2"]);
    let first = server.connect();
    let _second = server.connect();
    let close = server.connect().closed().expect("a close frame that says why");
    assert_eq!(close.code.get(), 1008);
    assert!(close.reason.contains("address"), "{close:?}");
    drop(first);
    // The server learns of the end in its own time, and refuses until then.
    loop {
        let mut again = server.connect();
        again.plain("ann", "hi");
        match again.client.read().expect("a frame in time") {
            Some(Incoming::Message(_)) => return,
            Some(Incoming::Closed(Some(close))) => assert_eq!(close.code.get(), 1008),
            other => panic!("{other:?}"),
        }
    }
}
