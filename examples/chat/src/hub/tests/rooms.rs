//! Rooms: entered, left, owned, cleared, listed.

use std::time::Duration;

use serde_json::json;

use super::{Shelf, World, kinds, rules, texts};

#[test]
fn what_is_said_in_a_room_stays_there() {
    let mut world = World::new();
    let (ann, bob, cleo) = (world.rich("ann"), world.rich("bob"), world.rich("cleo"));
    world.forget();
    world.say(ann, json!({"text": "/join #Rust"}));
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["joined", "history"]);
    assert_eq!((&heard[0]["room"], &heard[0]["owner"]), (&json!("Rust"), &json!("ann")));
    world.say(bob, json!({"text": "/join rust"}));
    world.forget();
    world.say(ann, json!({"text": "hi"})); // the room that she joined last is the current one
    assert_eq!(
        (&world.heard_one(bob)["room"], kinds(&world.heard(cleo)).len()),
        (&json!("Rust"), 0)
    );
    world.say(ann, json!({"type": "message", "room": "lobby", "text": "all"}));
    assert_eq!(texts(&world.heard(cleo)), ["all"]);
    world.say(cleo, json!({"type": "message", "room": "rust", "text": "let me in"}));
    let error = world.heard_one(cleo);
    assert_eq!(error["code"], "not_in_room");
    assert!(error["text"].as_str().is_some_and(|text| text.contains("/join")));
    for room in ["a b", "", "#", "\u{202e}x"] {
        world.say(cleo, json!({"type": "message", "room": room, "text": "hi"}));
        assert_eq!(world.heard_one(cleo)["code"], "not_in_room");
    }
    world.say(cleo, json!({"text": "/join \u{202e}x"}));
    assert_eq!(world.heard_one(cleo)["code"], "bad_room");
}

#[test]
fn a_room_may_have_its_sign_before_it_wherever_it_is_named() {
    let mut world = World::new();
    let bob = world.rich_with("bob", "session-of-bob", json!({"rust": 0}));
    let ann =
        world.rich_with("ann", "session-of-ann", json!({"#rust": 0, " # Rust ": 7, "lobby": 0}));
    assert_eq!(world.hub.room_count(), 2);
    for (room, text) in [("#rust", "hi"), (" # rust", "/me waves"), ("#RUST", "/leave #rust")] {
        world.forget();
        world.say(ann, json!({"type": "message", "text": text, "room": room}));
        let heard = world.heard(bob);
        assert_eq!(heard.len(), 1, "{room}: {heard:?}");
    }
    world.forget();
    world.say(ann, json!({"type": "message", "text": "hi", "room": "##rust"}));
    assert_eq!(world.heard_one(ann)["code"], "not_in_room", "that is no name");
}

#[test]
fn who_leaves_hears_no_more_and_is_told_where_it_is_now() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.say(ann, json!({"text": "/join rust"}));
    world.say(bob, json!({"text": "/join rust"}));
    world.forget();
    world.say(ann, json!({"text": "/leave"}));
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["left", "notice"]);
    assert!(heard[1]["text"].as_str().is_some_and(|text| text.contains("lobby")), "{heard:?}");
    assert_eq!(world.heard_one(bob)["event"], "leave");
    world.say(bob, json!({"text": "gone?"}));
    assert!(world.heard(ann).is_empty());
    world.say(ann, json!({"text": "/leave lobby"}));
    world.forget();
    world.say(ann, json!({"text": "anybody?"}));
    assert_eq!(world.heard_one(ann)["code"], "not_in_room");
    world.say(ann, json!({"text": "/leave rust"}));
    assert_eq!(world.heard_one(ann)["code"], "not_in_room");
    world.say(ann, json!({"text": "/join lobby"}));
    assert_eq!(kinds(&world.heard(ann)), ["joined", "history"]);
}

#[test]
fn the_owner_clears_a_room_and_nobody_else_does() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    for who in [ann, bob] {
        world.say(who, json!({"text": "/join rust"}));
        world.say(who, json!({"text": "hi"}));
    }
    world.forget();
    world.say(bob, json!({"text": "/clear room"}));
    let error = world.heard_one(bob);
    assert_eq!(error["code"], "not_owner");
    assert!(error["text"].as_str().is_some_and(|text| text.contains("ann")), "{error}");
    world.say(ann, json!({"type": "message", "room": "lobby", "text": "/clear room"}));
    assert_eq!(world.heard_one(ann)["code"], "not_owner", "the lobby is nobody's");

    // What is said before the clear is cleared, and what is said after it is not.
    world.say_only(bob, json!({"text": "before"}));
    world.say_only(ann, json!({"text": "/clear room"}));
    world.say_only(bob, json!({"text": "after"}));
    world.settle();
    let heard = world.heard(bob);
    assert_eq!(kinds(&heard), ["message", "clear", "message"]);
    let through = heard[1]["through"].as_u64();
    assert!(heard[0]["id"].as_u64() <= through && through < heard[2]["id"].as_u64());
    assert_eq!(heard[1]["by"], "ann");
    let shelf = world.shelf.borrow();
    let left: Vec<_> = shelf.kept.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(left, ["after"]);
}

#[test]
fn who_was_away_when_a_room_was_cleared_is_told_on_coming_back() {
    let mut world = World::new();
    let ann = world.rich_with("ann", "session-of-ann", json!({"rust": 0}));
    let bob = world.rich_with("bob", "session-of-bob", json!({"rust": 0}));
    world.say(ann, json!({"text": "secret"}));
    let seen = world.heard(bob).pop().expect("a message")["id"].clone();
    world.leave(bob);
    world.say(ann, json!({"text": "/clear room"}));
    let bob = world.connect();
    let hello = |rooms| json!({"type": "hello", "user": "bob", "session": "session-of-bob", "rooms": rooms});
    world.say(bob, hello(json!({"rust": seen})));
    let heard = world.heard(bob);
    assert_eq!(kinds(&heard), ["welcome", "joined", "clear", "history"]);
    assert!(heard[2]["through"].as_u64() >= seen.as_u64());
    assert_eq!(heard[3]["messages"], json!([]));
    // Once he has seen something later, he knows.
    world.say(ann, json!({"text": "later"}));
    let seen = world.heard(bob).pop().expect("a message")["id"].clone();
    world.leave(bob);
    let bob = world.connect();
    world.say(bob, hello(json!({"rust": seen})));
    assert_eq!(kinds(&world.heard(bob)), ["welcome", "joined", "history"]);
}

#[test]
fn one_clears_ones_own_view_alone() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.say(ann, json!({"text": "hi"}));
    let id = world.heard(bob).pop().expect("a message")["id"].clone();
    world.forget();
    world.say(bob, json!({"text": "/clear"}));
    let clear = world.heard_one(bob);
    assert_eq!((&clear["through"], clear.get("by")), (&id, None));
    assert!(world.heard(ann).is_empty());
    assert_eq!(world.shelf.borrow().kept.len(), 1);
}

#[test]
fn a_room_stays_its_owners_over_broken_connections_and_restarts() {
    let mut world = World::new();
    let ann = world.rich_with("ann", "session-of-ann", json!({"rust": 0}));
    world.say(ann, json!({"text": "hi"}));
    world.leave(ann);
    let bob = world.rich_with("bob", "session-of-bob", json!({"rust": 0}));
    world.say(bob, json!({"text": "/clear room"}));
    assert_eq!(world.heard_one(bob)["code"], "not_owner");
    // By another name, too: the session is what counts.
    let ann = world.rich_with("anna", "session-of-ann", json!({"rust": 0}));
    world.forget();
    world.say(ann, json!({"text": "/clear room"}));
    assert_eq!(world.heard_one(bob)["by"], "anna");
    world.say(bob, json!({"text": "again"}));

    let mut world = world.restart();
    let bob = world.rich_with("bob", "session-of-bob", json!({"rust": 0}));
    world.say(bob, json!({"text": "/clear room"}));
    assert_eq!(world.heard_one(bob)["code"], "not_owner");
    let ann = world.connect();
    let hello = json!({"type": "hello", "user": "ann", "session": "session-of-ann",
        "rooms": {"rust": 0}});
    world.say(ann, hello);
    assert_eq!(world.heard(ann)[1]["owner"], "ann");
}

#[test]
fn a_room_is_found_again_after_a_restart_whatever_its_letters() {
    let long = "ß".repeat(20); // forty letters, as it is compared
    for name in ["Αθηναίος", "straße", "STRAẞE", "ışık", "Γαΐα", "İstanbul", &long]
    {
        let mut world = World::new();
        let ann = world.rich("ann");
        world.say(ann, json!({"text": format!("/join {name}")}));
        world.say(ann, json!({"text": "hi"}));
        let mut world = world.restart();
        let hello = json!({"type": "hello", "user": "ann", "session": "session-of-ann", "rooms": {name: 0}});
        let ann = world.connect();
        world.say(ann, hello);
        let heard = world.heard(ann);
        assert_eq!(kinds(&heard), ["welcome", "joined", "history"], "{name}");
        let said = heard[2]["messages"].as_array().expect("messages");
        assert_eq!(texts(said), ["hi"], "{name}");
        // By the name that the list has for it now, too.
        let listed = heard[1]["room"].as_str().expect("a name");
        world.say(ann, json!({"text": format!("/leave {listed}")}));
        world.forget();
        world.say(ann, json!({"text": format!("/join {listed}")}));
        assert_eq!(kinds(&world.heard(ann)), ["joined", "history"], "{name} is {listed}");
    }
}

#[test]
fn a_room_without_people_and_messages_is_forgotten_in_time() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.say(ann, json!({"text": "/join a"}));
    world.say(ann, json!({"text": "/leave a"}));
    assert_eq!(world.hub.room_count(), 2);
    for _ in 0..301 {
        world.tick();
    }
    assert_eq!(world.hub.room_count(), 1, "the lobby is always there");
    world.forget();
    world.say(bob, json!({"text": "/join a"}));
    assert_eq!(world.heard(bob)[0]["owner"], "bob");
    // Where something was said, it stays.
    world.say(bob, json!({"text": "hi"}));
    world.say(bob, json!({"text": "/leave a"}));
    for _ in 0..301 {
        world.tick();
    }
    assert_eq!(world.hub.room_count(), 2);
}

#[test]
fn there_are_so_many_rooms_and_no_more() {
    let mut world = World::with(super::Rules { rooms: 3, ..rules() }, Shelf::default());
    let ann = world.rich("ann");
    world.say(ann, json!({"text": "/join a"}));
    world.say(ann, json!({"text": "/join b"}));
    world.forget();
    world.say(ann, json!({"text": "/join c"}));
    assert_eq!(world.heard_one(ann)["code"], "bad_room");
    world.say(ann, json!({"text": "/leave a"}));
    world.forget();
    world.say(ann, json!({"text": "/join c"}));
    assert_eq!(kinds(&world.heard(ann)), ["joined", "history"], "an empty one gave way");

    let mut world = World::new();
    let bob = world.rich("bob");
    for room in ["a", "b", "c", "d", "e"] {
        world.forget();
        world.say(bob, json!({"text": format!("/join {room}")}));
    }
    assert_eq!(world.heard_one(bob)["code"], "bad_room", "five for one client");
    let many: serde_json::Map<_, _> = (0..6).map(|room| (format!("r{room}"), json!(0))).collect();
    let cleo = world.connect();
    world.say(cleo, json!({"type": "hello", "user": "cleo", "rooms": many}));
    assert_eq!(world.heard_one(cleo)["code"], "bad_request");
}

#[test]
fn the_room_that_has_been_empty_for_longest_goes_and_no_other_loses_what_was_said() {
    let mut world = World::with(super::Rules { rooms: 4, ..rules() }, Shelf::default());
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.say(ann, json!({"text": "in the lobby, long ago"}));
    world.say(ann, json!({"text": "/join a"}));
    world.say(ann, json!({"text": "in a, long ago"}));
    for room in ["b", "c"] {
        world.say(bob, json!({"text": format!("/join {room}")}));
        world.say(bob, json!({"text": format!("in {room}")}));
        world.pass(Duration::from_secs(5));
        world.say(bob, json!({"text": "/leave"}));
    }
    world.forget();
    // The history has no time: nothing is dropped that it would not forget.
    world.shelf.borrow_mut().is_full = true;
    world.say(bob, json!({"text": "/join d"}));
    assert_eq!(world.heard_one(bob)["code"], "busy");
    world.shelf.borrow_mut().is_full = false;
    world.say(bob, json!({"text": "/join d"}));
    assert_eq!(kinds(&world.heard(bob)), ["joined", "history"]);
    let shelf = world.shelf.borrow();
    let left: Vec<_> = shelf.kept.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(left, ["in the lobby, long ago", "in a, long ago", "in c"]);
    let owned: Vec<_> = shelf.owners.iter().map(|(room, _)| room.as_str()).collect();
    assert_eq!(owned, ["a", "c"]);
}

#[test]
fn a_room_lasts_while_it_has_messages_and_its_owner_goes_with_it() {
    let mut world = World::new();
    let ann = world.rich("ann");
    world.say(ann, json!({"text": "/join a"}));
    world.say(ann, json!({"text": "hi"}));
    // Her new name finds no place in the history's queue: that is no reason to forget what she said.
    world.shelf.borrow_mut().is_full = true;
    world.say(ann, json!({"text": "/nick anna"}));
    world.shelf.borrow_mut().is_full = false;
    world.say(ann, json!({"text": "/leave a"}));
    for _ in 0..301 {
        world.tick();
    }
    world.settle();
    assert_eq!((world.hub.room_count(), world.shelf.borrow().kept.len()), (2, 1));
    world.say(ann, json!({"text": "/join a"}));
    world.say(ann, json!({"text": "hi again"}));
    let owner = Some("session-of-ann anna".to_owned());
    assert_eq!(world.shelf.borrow().owners.last(), Some(&("a".to_owned(), owner)));

    world.say(ann, json!({"text": "/clear room"}));
    world.say(ann, json!({"text": "/leave a"}));
    for _ in 0..301 {
        world.tick();
    }
    world.settle();
    assert_eq!(world.hub.room_count(), 1);
    assert!(world.shelf.borrow().owners.is_empty(), "whoever makes it anew owns it");
}

#[test]
fn the_list_of_rooms_is_pushed_once_a_second_when_it_has_changed() {
    let mut world = World::new();
    let ann = world.rich("ann");
    let mute = world.connect();
    world.say(ann, json!({"text": "/join rust"}));
    world.forget();
    world.tick();
    let rooms = world.heard_one(ann);
    let expected = json!({"type": "rooms", "count": 2, "rooms": [
        {"name": "lobby", "people": 1, "owner": null},
        {"name": "rust", "people": 1, "owner": "ann"},
    ]});
    assert_eq!(rooms, expected);
    assert!(world.heard(mute).is_empty());
    world.tick();
    assert!(world.heard(ann).is_empty(), "nothing has changed");
    world.say(ann, json!({"text": "/rooms"}));
    assert_eq!(world.heard_one(ann), expected);
    world.say(ann, json!({"text": "/who"}));
    let who = json!({"type": "people", "room": "rust", "people": ["ann"], "count": 1});
    assert_eq!(world.heard_one(ann), who);
    world.say(ann, json!({"text": "/who nowhere"}));
    assert_eq!(world.heard_one(ann)["code"], "bad_room");
}
