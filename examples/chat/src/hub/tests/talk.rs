//! Messages: heard, kept, acknowledged, sent again, refused.

use std::time::Duration;

use serde_json::json;

use super::{Shelf, World, kinds, rules, texts};
use crate::history::{Fault, Kind, Message};
use crate::message::CloseCode;
use crate::pace::Rate;

#[test]
fn the_seeds_form_is_all_that_a_client_needs() {
    let mut world = World::new();
    let (ann, mute) = (world.connect(), world.connect());
    world.say(ann, json!({"text": "Привет", "user": "Аня"}));
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["welcome", "joined", "history", "message"]);
    let message = world.heard_one(mute); // it has not said a word, and hears the lobby
    assert_eq!(message["type"], "message");
    assert_eq!((&message["user"], &message["text"]), (&json!("Аня"), &json!("Привет")));
    assert_eq!(message["room"], "lobby");
    assert!(message["id"].as_u64().is_some_and(|id| id < 1 << 53));
    assert_eq!(message["ts"], super::WALL_MS);

    world.say(ann, json!({"text": "again"})); // the name is known by now
    assert_eq!(texts(&world.heard(mute)), ["again"]);
    world.forget();
    world.say(mute, json!({"text": "me, too", "user": "Боб"}));
    let heard = world.heard(mute);
    assert_eq!(kinds(&heard), ["welcome", "joined", "history", "message"]);
    assert_eq!(heard[2]["messages"], json!([]), "it has heard all that there is");
}

#[test]
fn a_plain_client_that_comes_later_is_replayed_what_it_missed_and_no_more() {
    let mut world = World::new();
    let ann = world.rich("ann");
    world.say(ann, json!({"type": "message", "text": "before"}));
    let bob = world.connect();
    world.say(ann, json!({"type": "message", "text": "live"}));
    assert_eq!(texts(&world.heard(bob)), ["live"]);
    world.say(bob, json!({"text": "hi", "user": "bob"}));
    let heard = world.heard(bob);
    let replayed = heard[2]["messages"].as_array().expect("messages");
    assert_eq!(texts(replayed), ["before"]);
    assert_eq!(heard[2]["replay"], true);
}

#[test]
fn who_only_listens_is_shown_what_was_said_before_and_once() {
    let mut world = World::new();
    let ann = world.rich("ann");
    world.say(ann, json!({"type": "message", "text": "before"}));
    let bob = world.connect();
    world.say(ann, json!({"type": "message", "text": "live"}));
    world.with_wire(|hub, _| hub.stayed(bob));
    let heard = world.heard(bob);
    assert_eq!(kinds(&heard), ["message", "history"]);
    assert_eq!(texts(heard[1]["messages"].as_array().expect("messages")), ["before"]);
    world.say(bob, json!({"text": "hi", "user": "bob"}));
    assert_eq!(kinds(&world.heard(bob)), ["welcome", "joined", "message"]);
    world.forget();
    world.with_wire(|hub, _| hub.stayed(ann));
    assert!(world.heard(ann).is_empty(), "she does not only listen");
}

#[test]
fn a_nonce_comes_back_to_its_sender_alone_and_the_ack_when_the_message_is_kept() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    world.say_only(ann, json!({"type": "message", "text": "hi", "nonce": "n1"}));
    assert!(world.heard(ann).is_empty() && world.heard(bob).is_empty(), "nothing is on disk");
    world.settle();
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["message", "ack"]);
    assert_eq!((&heard[0]["nonce"], &heard[1]["nonce"]), (&json!("n1"), &json!("n1")));
    assert_eq!(heard[0]["id"], heard[1]["id"]);
    let message = world.heard_one(bob);
    assert_eq!(message["id"], heard[0]["id"]);
    assert_eq!(message.get("nonce"), None);
}

#[test]
fn a_message_that_is_sent_again_is_acknowledged_again_and_shown_once() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    let frame = json!({"type": "message", "text": "hi", "nonce": "n1"});
    world.say_only(ann, frame.clone());
    world.say_only(ann, frame.clone()); // both are on their way
    world.settle();
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["message", "ack", "ack"]);
    assert_eq!(heard[1], heard[2]);
    assert_eq!(texts(&world.heard(bob)), ["hi"]);

    // The acknowledgement was lost with the server; the session comes back to the next one.
    let mut world = world.restart();
    let bob = world.rich("bob");
    let ann = world.rich("ann");
    world.forget();
    world.say(ann, frame);
    let again = world.heard_one(ann);
    assert_eq!((&again["type"], &again["id"]), (&json!("ack"), &heard[1]["id"]));
    assert!(world.heard(bob).is_empty());
    assert_eq!(world.shelf.borrow().kept.len(), 1);

    // The same nonce of another session is another message.
    world.say(bob, json!({"type": "message", "text": "hi", "nonce": "n1"}));
    assert_eq!(world.shelf.borrow().kept.len(), 2);
}

#[test]
fn an_ack_finds_its_session_on_a_new_connection() {
    let mut world = World::new();
    let old = world.rich("ann");
    world.say_only(old, json!({"type": "message", "text": "hi", "nonce": "n1"}));
    let new = world.connect();
    world.say_only(new, json!({"type": "hello", "user": "ann", "session": "session-of-ann"}));
    world.leave(old);
    world.settle();
    let heard = world.heard(new);
    assert_eq!(kinds(&heard), ["welcome", "joined", "ack", "history"], "no message before replay");
    let replayed = heard[3]["messages"].as_array().expect("messages");
    assert_eq!((texts(replayed), &replayed[0]["nonce"]), (vec!["hi"], &json!("n1")));
}

#[test]
fn who_comes_back_gets_what_came_meanwhile_and_nothing_twice() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.say(ann, json!({"type": "message", "text": "1"}));
    let seen = world.heard_one(bob)["id"].as_u64().expect("an id");
    world.leave(bob);
    world.say(ann, json!({"type": "message", "text": "2"}));
    world.forget();

    let bob = world.connect();
    let rooms = json!({"lobby": seen});
    // While its history is on the way, others talk: one message ahead of the read, one behind it.
    world.say_only(ann, json!({"type": "message", "text": "3"}));
    let hello =
        json!({"type": "hello", "user": "bob", "session": "session-of-bob", "rooms": rooms});
    world.say_only(bob, hello);
    world.say_only(ann, json!({"type": "message", "text": "4"}));
    world.settle();
    let heard = world.heard(bob);
    assert_eq!(kinds(&heard), ["welcome", "joined", "history", "message"]);
    assert_eq!(texts(heard[2]["messages"].as_array().expect("messages")), ["2", "3"]);
    assert_eq!((&heard[2]["more"], &heard[2]["replay"]), (&json!(false), &json!(true)));
    assert_eq!(heard[3]["text"], "4");
}

#[test]
fn a_disk_that_fails_stops_nobody_from_talking() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    world.shelf.borrow_mut().fault = Some(Fault::Full);
    world.say(ann, json!({"type": "message", "text": "hi", "nonce": "n1"}));
    let heard = world.heard(ann);
    assert_eq!(kinds(&heard), ["message", "error"]);
    assert_eq!((&heard[1]["code"], &heard[1]["nonce"]), (&json!("storage"), &json!("n1")));
    assert!(heard[1]["text"].as_str().is_some_and(|text| text.contains("disk is full")));
    assert_eq!(texts(&world.heard(bob)), ["hi"]);
    assert_eq!(world.hub.counts.storage_errors, 1);

    world.shelf.borrow_mut().fault = None;
    world.say(ann, json!({"type": "message", "text": "better", "nonce": "n2"}));
    assert_eq!(kinds(&world.heard(ann)), ["message", "ack"]);
}

#[test]
fn a_full_queue_is_told_and_nothing_is_shown() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    world.shelf.borrow_mut().is_full = true;
    world.say(ann, json!({"type": "message", "text": "hi", "nonce": "n1"}));
    let error = world.heard_one(ann);
    assert_eq!((&error["code"], &error["nonce"]), (&json!("busy"), &json!("n1")));
    world.say(ann, json!({"type": "history"}));
    assert_eq!(world.heard_one(ann)["code"], "busy");
    assert!(world.heard(bob).is_empty());
    // A newcomer is let in all the same, without its history.
    let cleo = world.connect();
    world.say(cleo, json!({"type": "hello", "user": "cleo"}));
    assert_eq!(kinds(&world.heard(cleo)), ["welcome", "joined", "error"]);
    world.shelf.borrow_mut().is_full = false;
    world.say(ann, json!({"type": "message", "text": "now"}));
    assert_eq!(texts(&world.heard(cleo)), ["now"]);
}

#[test]
fn history_comes_in_pages_backwards() {
    let mut shelf = Shelf::default();
    for id in 1..=120 {
        let (room, user, kind) = ("lobby".to_owned(), "ann".to_owned(), Kind::Message);
        shelf.kept.push(Message {
            id,
            room,
            ts: id,
            user,
            text: id.to_string(),
            kind,
            nonce: None,
        });
    }
    let mut world = World::with(rules(), shelf);
    let bob = world.connect();
    world.say(bob, json!({"type": "hello", "user": "bob"}));
    let replay = world.heard(bob).pop().expect("a replay");
    assert_eq!(replay["messages"].as_array().map(Vec::len), Some(100));
    assert_eq!((&replay["messages"][0]["id"], &replay["more"]), (&json!(21), &json!(true)));
    world.say(bob, json!({"type": "history", "room": "LOBBY", "before": 21, "limit": 15}));
    let page = world.heard_one(bob);
    assert_eq!((&page["type"], &page["replay"]), (&json!("history"), &json!(false)));
    assert_eq!((&page["messages"][0]["id"], &page["more"]), (&json!(6), &json!(true)));
    world.say(bob, json!({"type": "history", "before": 6, "limit": 1_000_000}));
    let page = world.heard_one(bob);
    assert_eq!((&page["messages"][0]["id"], &page["more"]), (&json!(1), &json!(false)));
    world.say(bob, json!({"type": "history", "limit": 1_000_000}));
    let page = world.heard_one(bob);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(50), "a page has an end");
    for _ in 0..5 {
        world.say_only(bob, json!({"type": "history"}));
    }
    assert_eq!(world.heard_one(bob)["code"], "busy", "four at a time");
    world.settle();
    assert_eq!(world.heard(bob).len(), 4);
    world.say(bob, json!({"type": "history", "room": "secret"}));
    assert_eq!(world.heard_one(bob)["code"], "not_in_room");
    // New ids are greater than any that the history has.
    world.say(bob, json!({"type": "message", "text": "new"}));
    assert!(world.heard_one(bob)["id"].as_u64() > Some(120));
}

#[test]
fn what_is_too_long_or_empty_or_senseless_is_refused_by_name() {
    let mut world = World::new();
    let ann = world.rich("ann");
    world.say(ann, json!({"type": "message", "text": "я".repeat(100)}));
    assert_eq!(world.heard_one(ann)["type"], "message", "characters are counted, not bytes");
    world.say(ann, json!({"type": "message", "text": "я".repeat(101), "nonce": "n"}));
    let error = world.heard_one(ann);
    assert_eq!((&error["code"], &error["nonce"]), (&json!("too_long"), &json!("n")));
    assert!(error["text"].as_str().is_some_and(|text| text.contains("101")));
    for (frame, code) in [
        (r#"{"type":"message","text":" \n "}"#, "bad_request"),
        (r#"{"type":"message","text":"\u0007"}"#, "bad_request"),
        ("{", "bad_json"),
        ("[]", "bad_request"),
        (r#"{"type":"dance"}"#, "bad_request"),
    ] {
        world.say_raw(ann, frame);
        assert_eq!(world.heard_one(ann)["code"], code, "{frame}");
    }
    let nobody = world.connect();
    world.say(nobody, json!({"type": "message", "text": "hi"}));
    assert_eq!(world.heard_one(nobody)["code"], "bad_name", "who says so?");
}

#[test]
fn who_talks_too_fast_is_told_and_who_never_stops_is_sent_away() {
    let mut world = World::new();
    let ann = world.rich("ann");
    let frame = json!({"type": "message", "text": "spam", "nonce": "n1"});
    for _ in 0..10 {
        world.say(ann, frame.clone());
    }
    world.forget();
    world.say(ann, frame.clone());
    let error = world.heard_one(ann);
    assert_eq!((&error["code"], &error["nonce"]), (&json!("rate_limited"), &json!("n1")));
    world.pass(Duration::from_millis(200));
    world.say(ann, frame.clone());
    assert_eq!(world.heard_one(ann)["type"], "ack", "one more was earned");
    for _ in 0..200 {
        world.say(ann, frame.clone());
    }
    let closed = world.closed();
    let [(id, code, why)] = &closed[..] else { panic!("sent away, once: {closed:?}") };
    assert_eq!((*id, *code), (ann, CloseCode::Policy));
    assert!(why.contains("rate"), "{why}");
}

#[test]
fn a_refused_message_is_named_by_its_nonce_whatever_the_reason() {
    let mut world = World::new();
    let ann = world.rich("ann");
    let message = || json!({"type": "message", "text": "hi", "nonce": "n1"});
    for _ in 0..60 {
        world.say(ann, json!({"type": "typing"}));
    }
    world.forget();
    world.say(ann, message());
    let error = world.heard_one(ann);
    assert_eq!((&error["code"], &error["nonce"]), (&json!("rate_limited"), &json!("n1")));
    world.pass(Duration::from_secs(60));
    world.stop(&[]);
    world.say(ann, message());
    let error = world.heard_one(ann);
    assert_eq!((&error["code"], &error["nonce"]), (&json!("busy"), &json!("n1")));
}

#[test]
fn clients_of_one_address_share_its_rate() {
    let address_rate = Rate { per_second: 5, burst: 8 };
    let mut world = World::with(super::Rules { address_rate, ..rules() }, Shelf::default());
    let (a, b) = (world.next_id(), world.next_id());
    for (id, name) in [(a, "a"), (b, "b")] {
        world.connect_from(id, [10, 9, 9, 9].into());
        world.say(id, json!({"type": "hello", "user": name}));
    }
    for _ in 0..4 {
        world.say(a, json!({"type": "message", "text": "x"}));
        world.say(b, json!({"type": "message", "text": "x"}));
    }
    world.forget();
    world.say(a, json!({"type": "message", "text": "x"}));
    assert_eq!(world.heard_one(a)["code"], "rate_limited");
    let elsewhere = world.rich("c");
    world.say(elsewhere, json!({"type": "message", "text": "x"}));
    assert_eq!(world.heard(elsewhere).pop().expect("its own")["type"], "message");
}

#[test]
fn what_is_refused_of_one_client_costs_the_others_of_its_address_nothing() {
    let mut rules = rules();
    rules.address_rate = Rate { per_second: 10, burst: 20 };
    let mut world = World::with(rules, Shelf::default());
    let [loud, calm] = ["loud", "calm"].map(|name| {
        let id = world.next_id();
        world.connect_from(id, [10, 1, 1, 1].into());
        world.say(
            id,
            json!({"type": "hello", "user": name, "session": format!("session-of-{name}")}),
        );
        id
    });
    for _ in 0..30 {
        world.say(loud, json!({"text": "x"})); // ten are taken
    }
    for _ in 0..10 {
        world.forget();
        world.say(calm, json!({"text": "hi"}));
        assert_eq!(kinds(&world.heard(calm)), ["message"]);
    }
    // Nor does it cost a client of its own what the address has no more of.
    world.pass(Duration::from_secs(1));
    let late = world.next_id();
    world.connect_from(late, [10, 1, 1, 1].into());
    world.say(late, json!({"type": "hello", "user": "late", "session": "session-of-late"}));
    for _ in 0..20 {
        world.say(late, json!({"text": "hi"})); // ten are taken
    }
    world.pass(Duration::from_secs(60));
    world.forget();
    world.say(late, json!({"text": "hi"}));
    assert_eq!(kinds(&world.heard(late)), ["message"]);
}

#[test]
fn a_private_word_is_heard_by_two_and_kept_by_none() {
    let mut world = World::new();
    let (ann, bob, cleo) = (world.rich("ann"), world.rich("Bob"), world.rich("cleo"));
    world.forget();
    world.say(ann, json!({"type": "message", "text": "/msg bob  psst", "nonce": "n1"}));
    let (mine, his) = (world.heard_one(ann), world.heard_one(bob));
    assert_eq!((&mine["type"], &mine["nonce"]), (&json!("private"), &json!("n1")));
    assert_eq!((&his["user"], &his["to"]), (&json!("ann"), &json!("Bob")));
    assert_eq!((&his["text"], his.get("nonce")), (&json!("psst"), None));
    assert!(world.heard(cleo).is_empty());
    assert!(world.shelf.borrow().kept.is_empty());
    world.say(ann, json!({"type": "message", "text": "/msg dora hi"}));
    assert_eq!(world.heard_one(ann)["code"], "no_such_user");
}

#[test]
fn an_action_is_kept_as_one() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    world.say(ann, json!({"text": "/me waves", "nonce": "n1"}));
    assert_eq!(kinds(&world.heard(ann)), ["action", "ack"]);
    let action = world.heard_one(bob);
    assert_eq!((&action["type"], &action["text"]), (&json!("action"), &json!("waves")));
    let cleo = world.connect();
    world.say(cleo, json!({"type": "hello", "user": "cleo"}));
    let replay = world.heard(cleo).pop().expect("a replay");
    assert_eq!(replay["messages"][0]["type"], "action");
}

#[test]
fn typing_is_passed_on_now_and_then() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    let plain = world.connect();
    world.forget();
    for _ in 0..10 {
        world.say(ann, json!({"type": "typing", "room": "lobby"}));
    }
    let heard = world.heard(bob);
    assert_eq!(kinds(&heard), ["typing", "typing"]);
    assert_eq!(heard[0]["user"], "ann");
    assert!(world.heard(ann).is_empty(), "who types knows, and the rest is left out in silence");
    assert!(world.heard(plain).is_empty(), "a plain client hears messages");
    world.say(ann, json!({"type": "typing", "room": "elsewhere"}));
    assert_eq!(world.heard_one(ann)["code"], "not_in_room");
}

#[test]
fn an_unknown_command_is_answered_politely() {
    let mut world = World::new();
    let ann = world.rich("ann");
    world.say(ann, json!({"text": "/dance"}));
    let notice = world.heard_one(ann);
    assert_eq!(notice["type"], "notice");
    let text = notice["text"].as_str().expect("a text");
    assert!(text.contains("/dance") && text.contains("/help"), "{text}");
    world.say(ann, json!({"text": "/msg bob"}));
    assert!(texts(&[world.heard_one(ann)])[0].contains("/msg NAME TEXT"));
    world.say(ann, json!({"text": "/help"}));
    assert!(texts(&[world.heard_one(ann)])[0].contains("/clear [room]"));
    world.say(ann, json!({"text": "//help"}));
    assert_eq!(world.heard_one(ann)["text"], "/help");
}

#[test]
fn a_replay_fits_in_the_outbox_of_who_enters_many_rooms() {
    let outbox = 60_000;
    let mut shelf = Shelf::default();
    for id in 1..=300u64 {
        let room = ["lobby", "a", "b"][id as usize % 3].to_owned();
        let (user, text, kind) = ("ann".to_owned(), "\"".repeat(100), Kind::Message);
        shelf.kept.push(Message { id, room, ts: id, user, text, kind, nonce: None });
    }
    let mut world = World::with(super::Rules { outbox, ..rules() }, shelf);
    let bob = world.connect();
    let rooms = json!({"lobby": 0, "a": 0, "b": 0});
    world.say(bob, json!({"type": "hello", "user": "bob", "rooms": rooms}));
    let heard = world.heard(bob);
    let replays: Vec<_> = heard.iter().filter(|frame| frame["type"] == "history").collect();
    assert_eq!(replays.len(), 3);
    for replay in replays {
        let messages = replay["messages"].as_array().expect("messages");
        assert!((5..50).contains(&messages.len()), "{}", messages.len());
        assert_eq!(replay["more"], true, "the rest is to be had in pages");
        assert!(messages.last().expect("one")["id"].as_u64() > Some(297), "the newest are there");
    }
    let bytes: usize = heard.iter().map(|frame| frame.to_string().len()).sum();
    assert!(bytes < outbox, "{bytes}");
}

#[test]
fn the_pages_that_one_may_ask_for_at_once_fit_in_the_outbox() {
    let mut rules = rules();
    (rules.limits.text, rules.client_rate) = (2_000, Rate { per_second: 1_000, burst: 1_000 });
    let outbox = rules.outbox;
    let mut world = World::with(rules, Shelf::default());
    let ann = world.rich("ann");
    for _ in 0..60 {
        world.say(ann, json!({"text": "\u{1f600}".repeat(2_000)}));
    }
    world.forget();
    for _ in 0..5 {
        world.say_only(ann, json!({"type": "history", "limit": 50}));
    }
    assert_eq!(world.heard_one(ann)["code"], "busy", "the fifth");
    world.settle();
    let pages = world.heard(ann);
    assert_eq!(kinds(&pages), ["history"; 4]);
    let bytes: usize = pages.iter().map(|page| page.to_string().len()).sum();
    assert!(bytes < outbox / 3, "{bytes} of {outbox}");
    for page in &pages {
        let messages = page["messages"].as_array().expect("messages");
        assert!(!messages.is_empty() && page["more"] == true, "cut at the older end");
        assert_eq!(messages.last(), pages[0]["messages"].as_array().and_then(|all| all.last()));
    }
}

#[test]
fn a_stop_waits_for_what_was_taken_and_takes_no_more() {
    let mut world = World::new();
    let (ann, bob) = (world.rich("ann"), world.rich("bob"));
    world.forget();
    world.say_only(ann, json!({"type": "message", "text": "last", "nonce": "n1"}));
    world.stop(&[ann, bob]);
    assert!(world.closed().is_empty());
    world.say_only(bob, json!({"type": "message", "text": "too late", "nonce": "n1"}));
    assert_eq!(world.heard_one(bob)["code"], "busy");
    world.settle();
    assert_eq!(kinds(&world.heard(ann)), ["message", "ack"]);
    let closed: Vec<_> = world.closed().into_iter().map(|(id, code, _)| (id, code)).collect();
    assert_eq!(closed, [(ann, CloseCode::GoingAway), (bob, CloseCode::GoingAway)]);

    let mut world = World::new();
    let ann = world.rich("ann");
    world.stop(&[ann]);
    assert_eq!(world.closed().len(), 1, "there is nothing to wait for");
}
