//! Who is who: names, sessions, comings and goings.

use serde_json::json;

use super::{Shelf, World, kinds, rules};
use crate::message::CloseCode;

#[test]
fn a_hello_is_answered_with_all_that_a_page_needs() {
    let mut world = World::new();
    let ann = world.connect();
    let hello = json!({"type": "hello", "user": " ann ", "session": "0123-4567-89ab",
        "rooms": {"lobby": 0, "Rust": 7}});
    world.say(ann, hello.clone());
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["welcome", "joined", "joined", "history", "history"]);
    let welcome = &heard[0];
    assert_eq!((&welcome["user"], &welcome["node"]), (&json!("ann"), &json!("n1")));
    assert_eq!(welcome["rooms"], json!(["lobby", "Rust"]));
    assert_eq!(welcome["limits"], json!({"text": 100, "name": 32, "room": 32}));
    assert_eq!(welcome["commands"][1]["name"], "/nick");
    assert_eq!(heard[1]["people"], json!(["ann"]));
    assert_eq!((&heard[1]["owner"], &heard[1]["topic"]), (&json!(null), &json!(null)));
    assert_eq!((&heard[2]["room"], &heard[2]["owner"]), (&json!("Rust"), &json!("ann")));
    world.say(ann, hello);
    assert_eq!(world.heard_one(ann)["code"], "bad_request", "once is enough");
}

#[test]
fn the_others_are_told_who_comes_and_goes() {
    let mut world = World::new();
    let ann = world.rich("ann");
    let mute = world.connect();
    let bob = world.rich("bob");
    let came = world.heard_one(ann);
    let expected = json!({"type": "presence", "room": "lobby", "event": "join", "user": "bob",
        "people": 2});
    assert_eq!(came, expected);
    assert!(world.heard(mute).is_empty(), "a plain client hears messages");
    world.leave(bob);
    let went = world.heard_one(ann);
    assert_eq!((&went["event"], &went["user"]), (&json!("leave"), &json!("bob")));
    assert_eq!(went["people"], 1);
    assert!(world.heard(bob).is_empty());
}

#[test]
fn a_name_is_one_persons_whatever_its_case() {
    let mut world = World::new();
    let ann = world.rich("Ann");
    let other = world.connect();
    world.say(other, json!({"type": "hello", "user": "aNN", "session": "another-session"}));
    let error = world.heard_one(other);
    assert_eq!(error["code"], "name_taken");
    world.say(other, json!({"text": "hi", "user": "ann"}));
    assert_eq!(world.heard_one(other)["code"], "name_taken", "in either form");
    world.say(other, json!({"type": "hello", "user": "a b"}));
    assert_eq!(world.heard_one(other)["code"], "bad_name");
    world.leave(ann);
    world.say(other, json!({"type": "hello", "user": "ann"}));
    assert_eq!(kinds(&world.heard(other))[0], "welcome", "a second try, and a free name");
}

#[test]
fn a_session_takes_its_name_from_its_dead_connection() {
    let mut world = World::new();
    let bob = world.rich("bob");
    let dead = world.rich_with("ann", "session-of-ann", json!({"lobby": 0, "rust": 0}));
    world.forget();
    let alive = world.connect();
    let hello = json!({"type": "hello", "user": "ann", "session": "session-of-ann",
        "rooms": {"lobby": 0, "rust": 0}});
    world.say(alive, hello);
    let (id, code, why) = world.closed().pop().expect("the dead one is closed");
    assert_eq!((id, code), (dead, CloseCode::Normal));
    assert!(why.contains("taken over"), "{why}");
    let heard = world.heard(alive);
    assert_eq!(heard[0]["user"], "ann");
    assert_eq!(heard[2]["owner"], "ann", "what was hers is hers");
    assert!(world.heard(bob).is_empty(), "nobody came and nobody went");
    world.leave(dead); // its end comes later, and takes nothing away
    assert!(world.heard(bob).is_empty());
    world.say(bob, json!({"type": "message", "text": "still there?"}));
    assert_eq!(world.heard_one(alive)["text"], "still there?");
    assert!(world.heard(dead).is_empty());
}

#[test]
fn a_session_that_comes_back_otherwise_is_told_of() {
    let mut world = World::new();
    let bob = world.rich_with("bob", "session-of-bob", json!({"lobby": 0, "rust": 0}));
    let dead = world.rich_with("ann", "session-of-ann", json!({"lobby": 0, "rust": 0}));
    world.forget();
    // By another name, and in one room of the two.
    let alive = world.rich_with("anna", "session-of-ann", json!({"lobby": 0}));
    let heard = world.heard(bob);
    let told: Vec<_> = heard.iter().map(|e| (&e["room"], &e["event"], &e["user"])).collect();
    let lobby = json!("lobby");
    assert_eq!(
        told,
        [
            (&lobby, &json!("join"), &json!("anna")),
            (&lobby, &json!("leave"), &json!("ann")),
            (&json!("rust"), &json!("leave"), &json!("ann")),
        ]
    );
    world.leave(dead);
    world.say(alive, json!({"type": "message", "text": "/who lobby"}));
    assert_eq!(world.heard_one(alive)["people"], json!(["anna", "bob"]));
    // The old name is free.
    world.rich_with("ann", "somebody-else", json!({}));
}

#[test]
fn a_new_name_is_told_to_all_and_to_its_bearer() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    world.say(ann, json!({"text": "/nick Bob"}));
    assert_eq!(world.heard_one(ann)["code"], "name_taken");
    world.say(ann, json!({"text": "/nick Anna"}));
    let expected = json!({"type": "presence", "room": "lobby", "event": "nick", "user": "Anna",
        "was": "ann", "people": 2});
    assert_eq!(world.heard_one(bob), expected);
    let heard = world.heard(ann);
    assert_eq!(heard[0], expected);
    assert_eq!(heard[1]["text"], "You are Anna now.");
    world.say(ann, json!({"text": "/nick ANNA"}));
    assert_eq!(world.heard_one(bob)["user"], "ANNA", "another case of one's own name");
    let cleo = world.rich_with("ann", "session-of-cleo", json!({}));
    world.forget();
    world.say(cleo, json!({"text": "/msg anna hi"}));
    assert_eq!(world.heard_one(ann)["to"], "ANNA");
}

#[test]
fn a_plain_client_renames_itself_by_its_user() {
    let mut world = World::new();
    let ann = world.connect();
    world.say(ann, json!({"text": "1", "user": "ann"}));
    world.say(ann, json!({"text": "2", "user": "ann"}));
    world.forget();
    world.say(ann, json!({"text": "3", "user": "anna"}));
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["notice", "message"]);
    assert_eq!(heard[1]["user"], "anna");
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let limited = super::Rules { connections_per_address: 2, ..rules() };
    let mut world = World::with(limited, Shelf::default());
    let ids: Vec<_> = (0..3).map(|_| world.next_id()).collect();
    for id in &ids {
        world.connect_from(*id, [10, 9, 9, 9].into());
    }
    let (id, code, why) = world.closed().pop().expect("one too many");
    assert_eq!((id, code), (ids[2], CloseCode::Policy));
    assert!(why.contains("address"), "{why}");
    world.leave(ids[2]); // it was never counted
    world.leave(ids[0]);
    let again = world.next_id();
    world.connect_from(again, [10, 9, 9, 9].into());
    assert!(world.closed().is_empty(), "there is room again");
    let more = world.next_id();
    world.connect_from(more, [10, 9, 9, 9].into());
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn a_large_room_is_told_of_many_at_once() {
    let mut world = World::new();
    let first = world.rich("p0");
    for person in 1..=200 {
        world.rich(&format!("p{person}"));
    }
    let told = world.heard(first);
    assert_eq!(told.len(), 199, "each of the first 200 by itself");
    world.tick();
    let heard = world.heard(first);
    let presence: Vec<_> = heard.iter().filter(|e| e["type"] == "presence").collect();
    assert_eq!(presence.len(), 1, "{heard:?}");
    assert_eq!((&presence[0]["event"], &presence[0]["joins"]), (&json!("many"), &json!(1)));
    assert_eq!((&presence[0]["joined"], &presence[0]["people"]), (&json!(["p200"]), &json!(201)));
    let late = world.connect();
    world.say(late, json!({"type": "hello", "user": "zoe"}));
    let joined = &world.heard(late)[1];
    assert_eq!(joined["people"].as_array().map(Vec::len), Some(200), "a list has an end");
    assert_eq!(joined["count"], 202);
    world.forget();
    world.say(first, json!({"type": "typing"}));
    assert!(world.heard(late).is_empty(), "nobody waits for one of so many");
}
