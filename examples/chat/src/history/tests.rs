//! The history as the loop sees it: commands in, answers out.

mod crash;
mod faults;

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::store::Store;
use super::*;

/// A patience that only a hang outlasts.
const SOON: Duration = Duration::from_secs(30);

fn message(id: u64, text: &str) -> Message {
    Message {
        id,
        room: "lobby".into(),
        ts: 1_795_200_000_000 + id,
        user: "ann".into(),
        text: text.into(),
        kind: Kind::Message,
        nonce: None,
    }
}

fn with_nonce(id: u64, text: &str, nonce: &str) -> Message {
    let nonce = Nonce { session: "s-1".into(), nonce: nonce.into() };
    Message { nonce: Some(nonce), ..message(id, text) }
}

/// A history, and its answers one by one.
struct Desk {
    history: History<u64>,
    answers: Receiver<Answer<u64>>,
    opened: Opened,
}

impl Desk {
    fn open(settings: Settings) -> Self {
        let (sender, answers) = channel();
        let (history, opened) = History::start(settings, each_to(sender)).unwrap();
        Self { history, answers, opened }
    }

    fn over(store: Store) -> Self {
        let (sender, answers) = channel();
        let history = History::over(store, each_to(sender)).unwrap();
        Self { history, answers, opened: Opened { last_id: 0, rooms: Vec::new() } }
    }

    fn ask(&self, request: Request) -> Result<Reply, StoreError> {
        self.history.request(7, request).unwrap();
        let answer = self.answer();
        assert_eq!(answer.tag, 7);
        answer.result
    }

    fn answer(&self) -> Answer<u64> {
        self.answers.recv_timeout(SOON).expect("an answer")
    }

    fn say(&self, id: u64, text: &str) {
        let stored = self.ask(Request::Append(message(id, text))).unwrap();
        assert_eq!(stored, Reply::Stored(message(id, text)));
    }

    fn before(&self, before: Option<u64>, limit: u32) -> (Vec<u64>, bool) {
        ids(self.ask(Request::Before { room: "lobby".into(), before, limit }).unwrap())
    }

    fn since(&self, since: u64, limit: u32) -> (Vec<u64>, bool) {
        ids(self.ask(Request::Since { room: "lobby".into(), since, limit }).unwrap())
    }
}

fn each_to(sender: Sender<Answer<u64>>) -> Answers<u64> {
    Box::new(move |batch| batch.into_iter().for_each(|answer| drop(sender.send(answer))))
}

fn ids(page: Reply) -> (Vec<u64>, bool) {
    let Reply::Page { room, messages, more } = page else { panic!("{page:?} is no page") };
    assert_eq!(room, "lobby");
    (messages.iter().map(|message| message.id).collect(), more)
}

fn memory() -> Settings {
    Settings::new(":memory:")
}

fn on_disk(dir: &Path) -> Settings {
    Settings::new(dir.join("chat.db"))
}

#[test]
fn a_page_goes_backwards_and_a_replay_forwards() {
    let desk = Desk::open(memory());
    assert_eq!(desk.before(None, 10), (vec![], false), "a room that nobody knows");
    for id in 1..=10 {
        desk.say(id * 10, "hi");
    }
    assert_eq!(desk.before(None, 3), (vec![80, 90, 100], true));
    assert_eq!(desk.before(Some(80), 3), (vec![50, 60, 70], true));
    assert_eq!(desk.before(Some(30), 3), (vec![10, 20], false));
    assert_eq!(desk.before(Some(10), 3), (vec![], false));
    assert_eq!(desk.before(Some(u64::MAX), 100).0.len(), 10);
    assert_eq!(desk.before(None, 0), (vec![], true));
    assert_eq!(desk.since(80, 10), (vec![90, 100], false));
    assert_eq!(
        desk.since(20, 3),
        (vec![80, 90, 100], true),
        "the newest, and something is left out"
    );
    assert_eq!(desk.since(u64::MAX, 3), (vec![], false));
    desk.history.stop();
}

#[test]
fn everything_about_a_message_comes_back_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let said = Message {
        kind: Kind::Action,
        user: "Анна".into(),
        text: "махає \u{1f44b} 'quoted'; DROP TABLE messages".into(),
        ..with_nonce(1 << 52, "", "n-1")
    };
    let desk = Desk::open(on_disk(dir.path()));
    assert_eq!(desk.opened, Opened { last_id: 0, rooms: vec![] });
    desk.ask(Request::Append(said.clone())).unwrap();
    desk.ask(Request::SetOwner { room: "den".into(), owner: Some("bob".into()) }).unwrap();
    desk.history.stop();
    let left: Vec<_> =
        dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["chat.db"], "a stop writes the log back into the file");

    let desk = Desk::open(on_disk(dir.path()));
    assert_eq!(desk.opened.last_id, 1 << 52);
    let den = Room { name: "den".into(), owner: Some("bob".into()), last_id: 0 };
    let lobby = Room { name: "lobby".into(), owner: None, last_id: 1 << 52 };
    assert_eq!(desk.opened.rooms, [den, lobby]);
    let page = desk.ask(Request::Since { room: "lobby".into(), since: 0, limit: 5 }).unwrap();
    assert_eq!(page, Reply::Page { room: "lobby".into(), messages: vec![said], more: false });
}

#[test]
fn a_resend_is_answered_with_what_it_was_the_first_time() {
    let desk = Desk::open(memory());
    let first = with_nonce(10, "hi", "n-1");
    desk.ask(Request::Append(first.clone())).unwrap();
    let again = Message { room: "den".into(), ..with_nonce(20, "hi", "n-1") };
    let expected =
        Reply::Duplicate { asked: again.clone(), id: 10, ts: first.ts, room: "lobby".into() };
    assert_eq!(desk.ask(Request::Append(again.clone())).unwrap(), expected);
    assert_eq!(desk.before(None, 10), (vec![10], false));

    let mut other = again;
    other.nonce.as_mut().unwrap().session = "s-2".into();
    let stored = desk.ask(Request::Append(other.clone())).unwrap();
    assert_eq!(stored, Reply::Stored(other), "a nonce is of its session alone");
}

#[test]
fn a_nonce_outlives_its_message() {
    let desk = Desk::open(Settings { per_room: 2, ..memory() });
    desk.ask(Request::Append(with_nonce(1, "hi", "n-1"))).unwrap();
    for id in 2..=5 {
        desk.say(id, "more");
    }
    assert_eq!(desk.before(None, 10), (vec![4, 5], false));
    let again = desk.ask(Request::Append(with_nonce(6, "hi", "n-1"))).unwrap();
    assert!(matches!(again, Reply::Duplicate { id: 1, .. }), "{again:?}");
}

#[test]
fn the_same_message_under_the_same_id_is_known_and_another_is_refused() {
    let desk = Desk::open(memory());
    desk.say(10, "hi");
    let again = desk.ask(Request::Append(message(10, "hi"))).unwrap();
    assert!(matches!(again, Reply::Duplicate { id: 10, .. }), "{again:?}");
    let refused = desk.ask(Request::Append(message(10, "ho"))).unwrap_err();
    assert_eq!(refused.fault, Fault::IdTaken);
    assert_eq!(refused.message.unwrap().text, "ho", "what was not stored comes back");
    assert_eq!(desk.before(None, 10), (vec![10], false));
}

#[test]
fn a_room_keeps_its_newest_and_goes_when_it_is_to_be_forgotten_and_not_before() {
    let desk = Desk::open(Settings { per_room: 3, rooms: 2, ..memory() });
    for id in 1..=8 {
        desk.say(id, "hi");
    }
    assert_eq!(desk.before(None, 10), (vec![6, 7, 8], false));
    // What comes late from another node takes its place by its id, where that is not below what was thrown out.
    let late = desk.ask(Request::Append(message(5, "late"))).unwrap();
    assert!(matches!(late, Reply::Duplicate { id: 5, .. }), "{late:?}");
    assert_eq!(desk.before(None, 10), (vec![6, 7, 8], false));

    for (id, room) in [(20, "den"), (21, "attic")] {
        let elsewhere = Message { room: room.into(), ..message(id, "hi") };
        desk.ask(Request::Append(elsewhere)).unwrap();
    }
    assert_eq!(desk.before(None, 10), (vec![6, 7, 8], false), "silent, and somebody may be in it");
    for room in ["lobby", "no-such-room"] {
        let forget = Request::Forget { room: room.into() };
        assert_eq!(desk.ask(forget).unwrap(), Reply::Done);
    }
    assert_eq!(desk.before(None, 10), (vec![], false));
    let den = desk.ask(Request::Since { room: "den".into(), since: 0, limit: 5 }).unwrap();
    assert!(matches!(den, Reply::Page { messages, .. } if messages.len() == 1));
}

#[test]
fn a_file_with_too_many_rooms_loses_the_silent_ones_when_it_is_opened_and_never_the_lobby() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(on_disk(dir.path()));
    desk.say(1, "hi");
    for (id, room) in [(2, "den"), (4, "attic"), (3, "cellar")] {
        let elsewhere = Message { room: room.into(), ..message(id, "hi") };
        desk.ask(Request::Append(elsewhere)).unwrap();
    }
    desk.history.stop();
    let names = |rooms| {
        let desk = Desk::open(Settings { rooms, ..on_disk(dir.path()) });
        desk.history.stop();
        desk.opened.rooms.into_iter().map(|room| room.name).collect::<Vec<_>>()
    };
    assert_eq!(names(4), ["attic", "cellar", "den", "lobby"]);
    assert_eq!(names(3), ["attic", "cellar", "lobby"]);
    assert_eq!(names(1), ["lobby"]);
    let desk = Desk::open(on_disk(dir.path()));
    assert_eq!(desk.before(None, 10), (vec![1], false));
}

#[test]
fn a_clear_goes_through_an_id_and_no_further() {
    let desk = Desk::open(Settings { per_room: 4, ..memory() });
    for id in 1..=4 {
        desk.say(id, "hi");
    }
    let clear = Request::Clear { room: "lobby".into(), through: 2 };
    assert_eq!(desk.ask(clear).unwrap(), Reply::Done);
    assert_eq!(desk.before(None, 10), (vec![3, 4], false));
    for id in 5..=7 {
        desk.say(id, "hi");
    }
    assert_eq!(desk.before(None, 10), (vec![4, 5, 6, 7], false), "the cap counts what is left");
    let nowhere = Request::Clear { room: "no-such-room".into(), through: 2 };
    assert_eq!(desk.ask(nowhere).unwrap(), Reply::Done);
}

#[test]
fn what_was_forgotten_of_a_room_is_known_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { per_room: 3, ..on_disk(dir.path()) };
    let in_room = |room: &str, id| Message { room: room.into(), ..message(id, "hi") };
    let said: Vec<_> = (1..=8).map(|id| message(id, "hi")).collect();
    let desk = Desk::open(settings.clone());
    for message in said.iter().chain(&[in_room("den", 9), in_room("attic", 20)]) {
        desk.ask(Request::Append(message.clone())).unwrap();
    }
    desk.ask(Request::Clear { room: "den".into(), through: 10 }).unwrap();
    desk.ask(Request::Forget { room: "attic".into() }).unwrap();
    desk.history.stop();

    // The server starts again, and reads from its stream what was said before.
    let desk = Desk::open(settings);
    assert_eq!(desk.opened.last_id, 20, "no id is given twice, though its room is forgotten");
    for message in
        said.into_iter().chain([in_room("den", 9), in_room("den", 10), in_room("attic", 20)])
    {
        let known = desk.ask(Request::Append(message.clone())).unwrap();
        let Message { id, ts, room, .. } = message.clone();
        assert_eq!(known, Reply::Duplicate { asked: message, id, ts, room });
    }
    assert_eq!(desk.before(None, 10), (vec![6, 7, 8], false));
    for (room, id) in [("den", 11), ("attic", 21)] {
        let stored = desk.ask(Request::Append(in_room(room, id))).unwrap();
        assert!(matches!(stored, Reply::Stored(_)), "{room} goes on");
    }
}

/// What made a file of the first form, and something in it.
const FORM_1: &str = "
    CREATE TABLE rooms (
        room INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        owner TEXT,
        last_id INTEGER NOT NULL DEFAULT 0,
        kept INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX rooms_by_age ON rooms (last_id);
    CREATE TABLE messages (
        room INTEGER NOT NULL,
        id INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        user TEXT NOT NULL,
        text TEXT NOT NULL,
        kind INTEGER NOT NULL,
        session TEXT,
        nonce TEXT,
        PRIMARY KEY (room, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE nonces (
        session TEXT NOT NULL,
        nonce TEXT NOT NULL,
        id INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        room TEXT NOT NULL,
        PRIMARY KEY (session, nonce)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX nonces_by_age ON nonces (id);
    PRAGMA application_id = 1466458984;
    PRAGMA user_version = 1;
    INSERT INTO rooms VALUES (1, 'lobby', NULL, 30, 2), (2, 'cleared', 's ann', 7, 0), (3, 'new', 's ann', 0, 0),
        (4, 'i\u{307}zmir', 's ann', 31, 1), (5, 'straße', 's ann', 32, 1), (6, 'strasse', 's bob', 33, 1);
    INSERT INTO messages VALUES (1, 20, 1, 'ann', 'hi', 0, NULL, NULL), (1, 30, 1, 'ann', 'hi', 0, NULL, NULL),
        (4, 31, 1, 'ann', 'hi', 0, NULL, NULL), (5, 32, 1, 'ann', 'hi', 0, NULL, NULL),
        (6, 33, 1, 'ann', 'hi', 0, NULL, NULL);
";

#[test]
fn a_file_of_the_first_form_is_taken_along() {
    let dir = tempfile::tempdir().unwrap();
    let file = rusqlite::Connection::open(on_disk(dir.path()).path).unwrap();
    file.execute_batch(FORM_1).unwrap();
    file.close().unwrap();
    for _ in 0..2 {
        let desk = Desk::open(on_disk(dir.path()));
        let room = |name: &str, owner: Option<&str>, last_id| Room {
            name: name.into(),
            owner: owner.map(str::to_owned),
            last_id,
        };
        // Under one name now: what lay under two, of which one was not to be found.
        let expected = [
            room("cleared", Some("s ann"), 7),
            room("lobby", None, 30),
            room("new", Some("s ann"), 0),
            room("strasse", Some("s bob"), 33),
            room("İzmir", Some("s ann"), 31),
        ];
        assert_eq!(desk.opened, Opened { last_id: 33, rooms: expected.into() });
        assert_eq!(desk.before(None, 10), (vec![20, 30], false));
        let all = |room: &str| {
            let page = Request::Since { room: room.into(), since: 0, limit: 9 };
            let Ok(Reply::Page { messages, .. }) = desk.ask(page) else { panic!("a page") };
            messages.iter().map(|message| message.id).collect::<Vec<_>>()
        };
        assert_eq!((all("strasse"), all("İzmir")), (vec![32, 33], vec![31]));
        for (name, id) in [("lobby", 19), ("cleared", 7)] {
            let old = Message { room: name.into(), ..message(id, "hi") };
            let known = desk.ask(Request::Append(old)).unwrap();
            assert!(matches!(known, Reply::Duplicate { .. }), "older than all there is: {known:?}");
        }
        desk.history.stop();
    }
}

#[test]
fn what_waits_is_done_at_one_go_and_answered_in_order() {
    let mut store = Store::open(memory()).unwrap().0;
    let command = |tag: u64, request| Command { tag, request };
    let mut batch: Vec<_> =
        (1..=100).map(|id| command(id, Request::Append(message(id, "hi")))).collect();
    batch.push(command(101, Request::Before { room: "lobby".into(), before: None, limit: 1 }));
    let answers = store.apply(batch);
    assert_eq!(store.commits, 1);
    let tags: Vec<_> = answers.iter().map(|answer| answer.tag).collect();
    assert_eq!(tags, (1..=101).collect::<Vec<_>>());
    let page = answers.into_iter().last().unwrap().result.unwrap();
    assert_eq!(ids(page), (vec![100], true), "a read sees what was asked for before it");
}

#[test]
fn a_full_queue_gives_the_command_back_and_a_stop_does_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (entered, first) = channel();
    let (gate, opens) = channel::<()>();
    let answers: Answers<u64> = Box::new(move |batch| {
        entered.send(batch.len()).unwrap();
        let _ = opens.recv(); // the loop takes its time, and then is gone
    });
    let (history, _) = History::start(on_disk(dir.path()), answers).unwrap();
    history.request(0, Request::Append(message(1, "hi"))).unwrap();
    assert_eq!(first.recv_timeout(SOON), Ok(1), "the thread is held up now");
    for id in 2..2 + QUEUE as u64 {
        history.request(0, Request::Append(message(id, "hi"))).unwrap();
    }
    let Full(back) = history.request(9, Request::Append(message(9_999, "hi"))).unwrap_err();
    assert_eq!((back.tag, back.request), (9, Request::Append(message(9_999, "hi"))));
    drop(gate);
    history.stop();
    assert!(first.iter().sum::<usize>() == QUEUE, "all that was queued is answered");

    let desk = Desk::open(on_disk(dir.path()));
    assert_eq!(desk.opened.last_id, 1 + QUEUE as u64, "and on disk");
}
