//! One node of several: what it asks the others, and what it does about what they say.

use serde_json::{Value, json};
use wheelhouse::ConnectionId;

use super::{Shelf, World, kinds, rules, texts};
use crate::cluster::{Event, Post, Private};
use crate::history::{Kind, Message, Nonce};
use crate::message::CloseCode;
use crate::wire::Why;

fn one_of_several() -> World {
    World::with(rules(), Shelf { has_nodes: true, ..Shelf::default() })
}

impl World {
    fn posted(&mut self) -> Vec<Post<Why>> {
        std::mem::take(&mut self.shelf.borrow_mut().posted)
    }

    fn news(&mut self, news: Event<Why>) {
        self.with_wire(|hub, wire| hub.news(wire, vec![news]));
    }

    /// Grants, or not, the name that is asked for.
    fn answer_claim(&mut self, granted: bool) {
        let posted = self.posted();
        let [Post::Claim { tag, name, .. }] = &posted[..] else { panic!("a claim: {posted:?}") };
        self.news(Event::Claimed { tag: tag.clone(), name: name.clone(), granted });
    }

    fn named(&mut self, name: &str) -> ConnectionId {
        let id = self.connect();
        self.say(id, hello(name));
        self.answer_claim(true);
        let heard = self.heard(id);
        assert_eq!(kinds(&heard), ["welcome", "joined", "history"]);
        self.posted();
        id
    }
}

fn hello(name: &str) -> Value {
    json!({"type": "hello", "user": name, "session": format!("session-of-{name}")})
}

fn far(id: u64, text: &str) -> Message {
    let (room, user) = ("lobby".to_owned(), "far".to_owned());
    Message { id, room, ts: 5, user, text: text.to_owned(), kind: Kind::Message, nonce: None }
}

#[test]
fn a_name_is_asked_for_and_what_comes_behind_waits() {
    let mut world = one_of_several();
    let ann = world.connect();
    world.say(ann, hello("ann"));
    world.say(ann, json!({"type": "message", "text": "hi"}));
    assert!(world.heard(ann).is_empty());
    world.answer_claim(true);
    assert_eq!(kinds(&world.heard(ann)), ["welcome", "joined", "history"]);
    let posted = world.posted();
    assert!(matches!(&posted[0], Post::Join { room, user } if room == "lobby" && user == "ann"));
    let Post::Message { tag, message } = posted[1].clone() else { panic!("{posted:?}") };
    assert_eq!(world.shelf.borrow().kept.len(), 0, "the nodes say where its place is");
    world.news(Event::Message { tag: Some(tag), message });
    assert_eq!(texts(&world.heard(ann)), ["hi"]);
    assert_eq!(world.shelf.borrow().kept.len(), 1);
    world.leave(ann);
    let posted = world.posted();
    assert!(matches!(&posted[..], [Post::Leave { .. }, Post::Release { .. }]), "{posted:?}");
}

#[test]
fn a_name_that_is_taken_elsewhere_is_taken() {
    let mut world = one_of_several();
    let ann = world.connect();
    world.say(ann, json!({"text": "hi", "user": "ann", "nonce": "n1"}));
    world.answer_claim(false);
    let error = world.heard_one(ann);
    assert_eq!((&error["code"], &error["nonce"]), (&json!("name_taken"), &json!("n1")));
    world.say(ann, hello("anna"));
    world.answer_claim(true);
    assert_eq!(world.heard(ann)[0]["user"], "anna");
    world.posted();
    world.say(ann, json!({"text": "/nick ann"}));
    world.answer_claim(false);
    assert_eq!(world.heard_one(ann)["code"], "name_taken");
    world.say(ann, json!({"text": "/nick andrea"}));
    world.answer_claim(true);
    assert_eq!(kinds(&world.heard(ann)), ["presence", "notice"]);
    let posted = world.posted();
    assert!(
        matches!(&posted[..], [Post::Nick { was, user }] if was == "anna" && user == "andrea"),
        "{posted:?}"
    );
}

#[test]
fn a_name_is_asked_for_however_the_command_is_written() {
    let mut world = one_of_several();
    let bob = world.named("bob");
    for text in ["/nick ann", "/nick\u{7} ann", "\u{1b}/NICK\tann", "/ni\u{0}ck ann "] {
        world.say(bob, json!({"text": text}));
        assert!(world.heard(bob).is_empty(), "{text:?}: nobody has agreed yet");
        world.answer_claim(false);
        assert_eq!(world.heard_one(bob)["code"], "name_taken", "{text:?}");
        assert!(world.posted().is_empty(), "{text:?}");
    }
}

#[test]
fn of_two_who_want_one_name_here_the_first_has_it_and_the_other_frees_it_for_nobody() {
    let mut world = one_of_several();
    let (one, two, bob) = (world.connect(), world.connect(), world.named("bob"));
    let other = json!({"type": "hello", "user": "ANN", "session": "session-of-another"});
    world.say(one, hello("ann"));
    world.say(two, other.clone());
    assert_eq!(world.heard_one(two)["code"], "busy", "it would be granted to this node again");
    world.answer_claim(true);
    assert_eq!(world.heard(one)[0]["type"], "welcome");
    world.posted();
    world.say(two, other);
    assert_eq!(world.heard_one(two)["code"], "name_taken");
    assert!(world.posted().is_empty());

    // A name that somebody here was given while another asked for it, because her own was taken while Redis was away.
    world.say(two, hello("ann-2"));
    world.news(Event::Renamed { was: "bob".to_owned(), now: "ann-2".to_owned() });
    world.posted(); // the question, and the new name
    let tag = Why::Name { of: two };
    world.news(Event::Claimed { tag, name: "ann-2".to_owned(), granted: true });
    assert_eq!(world.heard_one(two)["code"], "name_taken");
    let posted = world.posted();
    assert!(posted.is_empty(), "she bears it, and it is not to be had elsewhere: {posted:?}");
    assert_eq!(
        world.heard(bob).last().map(|notice| notice["text"].clone()),
        Some(json!("You are ann-2 now."))
    );
}

#[test]
fn who_says_something_and_goes_at_once_has_said_it() {
    let mut world = one_of_several();
    let ann = world.named("ann");
    let script = world.connect();
    world.say(script, json!({"text": "done", "user": "cron"}));
    world.leave(script);
    world.answer_claim(true);
    let posted = world.posted();
    let [
        Post::Join { .. },
        Post::Message { tag, message },
        Post::Leave { .. },
        Post::Release { .. },
    ] = &posted[..]
    else {
        panic!("{posted:?}")
    };
    world.forget();
    world.news(Event::Message { tag: Some(tag.clone()), message: message.clone() });
    assert_eq!(texts(&world.heard(ann)), ["done"]);
    assert_eq!(world.hub.client_count(), 1);

    // Where the name is somebody else's, nothing is left of it.
    let script = world.connect();
    world.say(script, json!({"text": "done", "user": "far"}));
    world.leave(script);
    world.answer_claim(false);
    assert!(world.posted().is_empty());
    assert_eq!(world.hub.client_count(), 1);
}

#[test]
fn who_went_while_the_others_could_not_be_told_is_gone_there_in_time() {
    let mut world = one_of_several();
    let (ann, bob) = (world.named("ann"), world.named("bob"));
    world.say(ann, json!({"text": "/join den"}));
    world.posted();
    world.shelf.borrow_mut().room_for_posts = Some(1);
    world.leave(ann);
    world.forget();
    // Until it is told, nobody does what would have to be told as well; who talks, talks.
    let cleo = world.connect();
    world.say(cleo, hello("ann"));
    assert_eq!(world.heard_one(cleo)["code"], "busy");
    for text in ["/join den", "/leave", "/nick rob"] {
        world.say(bob, json!({"text": text}));
        assert_eq!(world.heard_one(bob)["code"], "busy", "{text}");
    }
    world.tick();
    assert_eq!(world.posted().len(), 1);
    world.forget();

    world.shelf.borrow_mut().room_for_posts = None;
    world.tick();
    let posted = world.posted();
    let [Post::Leave { room, .. }, Post::Release { name }] = &posted[..] else {
        panic!("{posted:?}")
    };
    assert_eq!((&**room, &**name), ("den", "ann"), "all of it, in order and once");
    world.say(cleo, hello("ann"));
    world.answer_claim(true);
    assert_eq!(world.heard(cleo)[0]["type"], "welcome");
}

#[test]
fn what_other_nodes_say_is_kept_and_shown_once() {
    let mut world = one_of_several();
    let ann = world.named("ann");
    let message = far(1 << 52, "hi");
    world.news(Event::Message { tag: None, message });
    assert_eq!(texts(&world.heard(ann)), ["hi"]);
    assert_eq!(world.shelf.borrow().kept.len(), 1);
    let private = Private {
        id: 7,
        ts: 7,
        user: "far".to_owned(),
        to: "ANN".to_owned(),
        text: "psst".to_owned(),
    };
    world.news(Event::Private(private));
    assert_eq!(world.heard_one(ann)["type"], "private");
    world.news(Event::Typing { room: "lobby".to_owned(), user: "far".to_owned() });
    assert_eq!(world.heard_one(ann)["type"], "typing");
    world.news(Event::Clear { room: "lobby".to_owned(), through: 1 << 52, by: "far".to_owned() });
    assert_eq!(world.heard_one(ann)["type"], "clear");
    assert!(world.shelf.borrow().kept.is_empty());
}

#[test]
fn what_other_nodes_say_makes_a_room_last_and_drives_none_out() {
    let rules = super::Rules { rooms: 3, ..rules() };
    let mut world = World::with(rules, Shelf { has_nodes: true, ..Shelf::default() });
    let in_room = |room: &str, id| Message { room: room.to_owned(), ..far(id, room) };
    for room in ["a", "b", "c"] {
        world.news(Event::Message { tag: None, message: in_room(room, 7) });
    }
    let rooms = |world: &World| {
        let shelf = world.shelf.borrow();
        shelf.kept.iter().map(|message| message.room.clone()).collect::<Vec<_>>()
    };
    assert_eq!(rooms(&world), ["a", "b"], "there may be no third beside the lobby");
    // Somebody is in one of them elsewhere, and another gives way to that.
    world.news(Event::Join { room: "c".to_owned(), user: "far".to_owned() });
    world.news(Event::Message { tag: None, message: in_room("c", 8) });
    assert_eq!(rooms(&world), ["b", "c"]);
    // A clear leaves what was said after it elsewhere and came before it here.
    world.news(Event::Clear { room: "c".to_owned(), through: 7, by: "far".to_owned() });
    world.news(Event::Leave { room: "c".to_owned(), user: "far".to_owned() });
    for _ in 0..301 {
        world.tick();
    }
    world.settle();
    assert_eq!(rooms(&world), ["b", "c"]);
}

#[test]
fn a_room_of_which_all_is_forgotten_does_not_come_back_for_good() {
    let mut world = one_of_several();
    let nonce = || Some(Nonce { session: "session-of-far".to_owned(), nonce: "n1".to_owned() });
    world.news(Event::Message { tag: None, message: Message { nonce: nonce(), ..far(7, "hi") } });
    // What a server reads anew when it starts: the history knows it.
    let old = Message { room: "old".to_owned(), nonce: nonce(), ..far(7, "hi") };
    world.news(Event::Message { tag: None, message: old });
    assert_eq!(world.hub.room_count(), 2);
    for _ in 0..301 {
        world.tick();
    }
    world.settle();
    assert_eq!((world.hub.room_count(), world.shelf.borrow().kept.len()), (1, 1));
}

#[test]
fn people_elsewhere_are_people() {
    let mut world = one_of_several();
    let ann = world.named("ann");
    let (room, user) = ("lobby".to_owned(), "far".to_owned());
    world.news(Event::Join { room: room.clone(), user: user.clone() });
    let came = world.heard_one(ann);
    assert_eq!((&came["event"], &came["people"]), (&json!("join"), &json!(2)));
    world.news(Event::Nick { was: "far".to_owned(), user: "away".to_owned() });
    assert_eq!(world.heard_one(ann)["event"], "nick");
    world.say(ann, json!({"text": "/who"}));
    assert_eq!(world.heard_one(ann)["people"], json!(["ann", "away"]));
    world.say(ann, json!({"text": "/msg away hi"}));
    assert!(matches!(&world.posted()[..], [Post::Private { private }] if private.to == "away"));
    world.news(Event::Leave { room, user: "away".to_owned() });
    assert_eq!(world.heard_one(ann)["event"], "leave");
    world.say(ann, json!({"text": "/msg away hi"}));
    assert_eq!(world.heard_one(ann)["code"], "no_such_user");
    let people = vec![("lobby".to_owned(), "x".to_owned()), ("den".to_owned(), "y".to_owned())];
    world.news(Event::Roster(people));
    world.tick();
    let heard = world.heard(ann);
    assert_eq!((&heard[0]["event"], &heard[0]["joined"]), (&json!("many"), &json!(["x"])));
    assert_eq!((&heard[0]["people"], &heard[1]["count"]), (&json!(2), &json!(2)));
    world.news(Event::Roster(Vec::new()));
    world.tick();
    let heard = world.heard(ann);
    assert_eq!((&heard[0]["left"], &heard[0]["people"]), (&json!(["x"]), &json!(1)));
}

#[test]
fn a_private_word_goes_to_who_is_in_no_room_elsewhere_and_comes_back_from_nobody() {
    let mut world = one_of_several();
    let ann = world.named("ann");
    world.news(Event::Up { node: 1, unsent: 0, forgot: false });
    world.say(ann, json!({"text": "/msg far hi"}));
    let posted = world.posted();
    let [Post::Private { private }] = &posted[..] else { panic!("{posted:?}") };
    assert!(world.heard(ann).is_empty(), "the nodes know whether there is somebody");
    world.news(Event::Undelivered(private.clone()));
    let error = world.heard_one(ann);
    assert_eq!(error["code"], "no_such_user");
    assert!(error["text"].as_str().is_some_and(|text| text.contains("far")), "{error}");
    world.news(Event::Private(private.clone()));
    assert_eq!(world.heard_one(ann)["type"], "private");
    world.news(Event::Down { why: "refused".to_owned() });
    world.forget();
    world.say(ann, json!({"text": "/msg far hi"}));
    assert_eq!(world.heard_one(ann)["code"], "no_such_user", "as far as one knows here");
}

#[test]
fn the_owner_is_the_one_that_all_nodes_agree_on() {
    let mut world = one_of_several();
    let ann = world.named("ann");
    world.say(ann, json!({"text": "/join den"}));
    let posted = world.posted();
    let shared = posted
        .iter()
        .any(|post| matches!(post, Post::Owner { room, only_if_none: true, .. } if room == "den"));
    assert!(shared, "{posted:?}");
    let owner = "session-of-far far".to_owned();
    world.news(Event::Owner { room: "den".to_owned(), owner });
    world.forget();
    world.say(ann, json!({"text": "/clear room"}));
    let error = world.heard_one(ann);
    assert_eq!(error["code"], "not_owner");
    assert!(error["text"].as_str().is_some_and(|text| text.contains("far's")), "{error}");
}

#[test]
fn a_session_that_went_elsewhere_is_gone_here() {
    let mut world = one_of_several();
    let (ann, bob) = (world.named("ann"), world.named("bob"));
    world.forget();
    world.news(Event::TakenOver { name: "ann".to_owned() });
    let (id, code, _) = world.closed().pop().expect("closed");
    assert_eq!((id, code), (ann, CloseCode::Normal));
    assert_eq!(world.heard_one(bob)["event"], "leave");
    let posted = world.posted();
    assert!(matches!(&posted[..], [Post::Leave { .. }]), "the name is no longer ours: {posted:?}");
    world.news(Event::Renamed { was: "bob".to_owned(), now: "bob-2".to_owned() });
    assert_eq!(world.heard(bob)[0]["user"], "bob-2");
}

#[test]
fn everybody_is_told_once_that_the_others_are_lost_and_found() {
    let mut world = one_of_several();
    let ann = world.named("ann");
    let up = Event::Up { node: 1, unsent: 0, forgot: false };
    world.news(up.clone());
    assert!(world.heard(ann).is_empty(), "nobody had missed them");
    let down = Event::Down { why: "refused".to_owned() };
    world.news(down.clone());
    assert_eq!(world.heard_one(ann)["level"], "warn");
    world.news(down);
    assert!(world.heard(ann).is_empty(), "once");
    world.news(up);
    assert_eq!(world.heard_one(ann)["level"], "info");
}
