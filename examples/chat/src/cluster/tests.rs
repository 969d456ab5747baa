//! Nodes and a real Redis: what they show, and what they do without it.

mod losses;
mod people;
#[path = "../../tests/support/redis.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};

use self::redis_server::Redis;
use super::*;
use crate::history::{Kind, Nonce};
use crate::ids::EPOCH_MS;

/// A patience that only a hang outlasts.
const SOON: Duration = Duration::from_secs(30);
/// Some time in 2026.
const NOW: u64 = EPOCH_MS + 90_000_000_000;

/// As in earnest, but quicker to lose hope, so that the tests are.
fn hasty() -> Timing {
    let ms = Duration::from_millis;
    Timing { connect: ms(500), io: ms(800), beat: ms(200), alive: ms(1_500) }
}

/// The loop's end of one node.
struct End {
    cluster: Cluster<u64>,
    events: Receiver<Event<u64>>,
    ids: Arc<Ids>,
    /// All that was shown so far.
    shown: Vec<Message>,
    /// Moves this node's wall clock, in milliseconds.
    skew: u64,
}

impl End {
    fn try_new(redis: &Redis, node: Option<u8>) -> Result<Self, StartError> {
        let (sender, events) = channel();
        let settings = Settings { url: redis.url(), node, name_limit: 32 };
        let ids = Arc::new(Ids::new(0));
        let each =
            move |batch: Vec<_>| batch.into_iter().for_each(|event| drop(sender.send(event)));
        let cluster = Cluster::start_in(&settings, hasty(), Arc::clone(&ids), Box::new(each))?;
        Ok(Self { cluster, events, ids, shown: Vec::new(), skew: 0 })
    }

    /// A node that has joined.
    fn new(redis: &Redis, node: Option<u8>) -> Self {
        let mut end = Self::try_new(redis, node).unwrap();
        end.until(|event| matches!(event, Event::Up { .. }).then_some(()));
        end
    }

    fn post(&self, post: Post<u64>) {
        self.cluster.post(post).unwrap();
    }

    fn say(&self, tag: u64, text: &str) {
        let ts = NOW + self.skew;
        let (room, user, text) = ("lobby".into(), "ann".into(), text.into());
        let message = Message { id: 0, room, ts, user, text, kind: Kind::Message, nonce: None };
        self.post(Post::Message { tag, message });
    }

    /// The first event that is looked for. Messages that pass are noted.
    fn until<R>(&mut self, mut look: impl FnMut(&Event<u64>) -> Option<R>) -> R {
        loop {
            let event = self.events.recv_timeout(SOON).expect("it has not come");
            if let Event::Message { message, .. } = &event {
                self.shown.push(message.clone());
            }
            if let Some(found) = look(&event) {
                return found;
            }
        }
    }

    fn until_down(&mut self) {
        self.until(|event| matches!(event, Event::Down { .. }).then_some(()));
    }

    /// Node, unsent, and whether Redis has forgotten all.
    fn until_up(&mut self) -> (u8, u64, bool) {
        self.until(|event| match event {
            Event::Up { node, unsent, forgot } => Some((*node, *unsent, *forgot)),
            _ => None,
        })
    }

    /// Takes events until so many messages were shown, and with a word of the other's makes sure that there are no more.
    fn until_shown(&mut self, count: usize) {
        while self.shown.len() < count {
            self.until(|event| matches!(event, Event::Message { .. }).then_some(()));
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.shown.iter().map(|message| &*message.text).collect()
    }

    fn shown_ids(&self) -> Vec<u64> {
        self.shown.iter().map(|message| message.id).collect()
    }
}

/// Both say something last, so that all before it has come; then both have shown the same, each message once.
fn agree(a: &mut End, b: &mut End, in_order: bool) {
    for (end, text) in [(&*a, "last of a"), (&*b, "last of b")] {
        end.say(9_999, text);
    }
    for end in [&mut *a, &mut *b] {
        while !(end.texts().contains(&"last of a") && end.texts().contains(&"last of b")) {
            end.until(|event| matches!(event, Event::Message { .. }).then_some(()));
        }
    }
    let once: BTreeSet<_> = a.shown_ids().into_iter().collect();
    assert_eq!(once.len(), a.shown.len(), "each once: {:?}", a.texts());
    if in_order {
        assert_eq!(a.shown, b.shown);
        assert!(a.shown_ids().is_sorted(), "the order of the ids is the order of the stream");
    }
    let sorted = |end: &End| {
        let mut shown = end.shown.clone();
        shown.sort_by_key(|message| message.id);
        shown
    };
    assert_eq!(sorted(a), sorted(b));
}

#[test]
fn all_nodes_show_each_message_once_in_one_order() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    a.skew = 3_600_000; // a clock an hour ahead: the other's ids have to follow
    const EACH: u64 = 400;
    std::thread::scope(|scope| {
        for end in [&mut a, &mut b] {
            scope.spawn(move || (0..EACH).for_each(|number| end.say(number, &format!("{number}"))));
        }
    });
    for end in [&mut a, &mut b] {
        let mut own = 0;
        while end.shown.len() < 2 * EACH as usize {
            own += end.until(|event| match event {
                Event::Message { tag: Some(tag), message } => {
                    assert_eq!(tag.to_string(), message.text);
                    Some(1)
                }
                Event::Message { tag: None, .. } => Some(0),
                _ => None,
            });
        }
        assert_eq!(own, EACH, "one's own come back with their tags");
    }
    agree(&mut a, &mut b, true);
    assert!(a.ids.last() >= *a.shown_ids().last().unwrap());
}

#[test]
fn a_resend_to_another_node_finds_the_first() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    let nonce = Some(Nonce { session: "s-1".into(), nonce: "n/1".into() });
    let message = |ts, room: &str| {
        let (room, user, text) = (room.into(), "ann".into(), "hi".into());
        Message { id: 0, room, ts, user, text, kind: Kind::Action, nonce: nonce.clone() }
    };
    a.post(Post::Message { tag: 1, message: message(NOW, "lobby") });
    a.until_shown(1);
    b.post(Post::Message { tag: 2, message: message(NOW + 5_000, "den") });
    let again = b.until(|event| match event {
        Event::Message { tag: Some(2), message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(again, a.shown[0], "under its first id, time and room");
    // It comes to the second node from the stream as well, before or after; the history knows that they are one.
    b.until_shown(2);
    assert_eq!(b.shown, [again.clone(), again]);
    b.shown.pop();
    agree(&mut a, &mut b, true);
}

#[test]
fn what_is_not_a_message_goes_round_too() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    let (room, user) = ("den".to_owned(), "ann".to_owned());
    let private =
        Private { id: 7, ts: NOW, user: user.clone(), to: "bob".into(), text: "psst".into() };
    let owner = |owner: &str, only_if_none| Post::Owner {
        room: room.clone(),
        owner: owner.into(),
        only_if_none,
    };
    a.post(Post::Claim { tag: 1, name: "bob".into(), session: None });
    a.post(Post::Private { private: private.clone() });
    a.post(Post::Clear { room: room.clone(), through: 5, by: user.clone() });
    a.post(owner("ann", true));
    for end in [&mut a, &mut b] {
        let next = |end: &mut End| {
            end.until(|event| {
                let wanted =
                    matches!(event, Event::Private(_) | Event::Clear { .. } | Event::Owner { .. });
                wanted.then(|| event.clone())
            })
        };
        assert_eq!(next(end), Event::Private(private.clone()));
        assert_eq!(next(end), Event::Clear { room: room.clone(), through: 5, by: user.clone() });
        assert_eq!(next(end), Event::Owner { room: room.clone(), owner: "ann".into() });
    }
    let owner_at = |end: &mut End| {
        end.until(|event| match event {
            Event::Owner { owner, .. } => Some(owner.clone()),
            _ => None,
        })
    };
    b.post(owner("bob", true));
    assert_eq!(owner_at(&mut b), "ann", "the first stays");
    b.post(owner("bob", false));
    assert_eq!((owner_at(&mut a), owner_at(&mut b)), ("bob".into(), "bob".into()));
    // Typing is not kept for who is late: it is said until it is heard.
    let heard = std::iter::repeat_with(|| {
        a.post(Post::Typing { room: room.clone(), user: user.clone() });
        b.events.recv_timeout(Duration::from_millis(200)).ok()
    });
    let typing = Event::Typing { room: room.clone(), user: user.clone() };
    assert!(heard.take(50).flatten().any(|event| event == typing));
    drop(b);
    let mut c = End::new(&redis, Some(3));
    assert_eq!(owner_at(&mut c), "bob", "a newcomer is told");
}

#[test]
fn a_newcomer_hears_what_was_said_before_it_came_but_no_private_word() {
    let Some(redis) = Redis::start() else { return };
    let mut a = End::new(&redis, Some(1));
    a.say(1, "before");
    let private =
        Private { id: 7, ts: NOW, user: "ann".into(), to: "bob".into(), text: "psst".into() };
    a.post(Post::Claim { tag: 1, name: "bob".into(), session: None });
    a.post(Post::Private { private });
    a.until(|event| matches!(event, Event::Private(_)).then_some(()));
    let mut b = End::new(&redis, Some(2));
    b.until_shown(1);
    a.say(2, "after");
    b.until(|event| {
        assert!(!matches!(event, Event::Private(_)), "it was for an earlier run, if for anybody");
        matches!(event, Event::Message { message, .. } if message.text == "after").then_some(())
    });
    assert_eq!(b.texts(), ["before", "after"]);
}

#[test]
fn what_was_trimmed_before_it_was_read_is_told() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    a.say(1, "one");
    b.until_shown(1);
    let mut raw = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let state = format!("{}state", scripts::PREFIX);
    let _: i64 = redis::cmd("HINCRBY").arg(state).arg("count").arg(5).query(&mut raw).unwrap();
    a.say(2, "two");
    for end in [&mut a, &mut b] {
        let missed = end.until(|event| match event {
            Event::Gap { missed } => Some(*missed),
            _ => None,
        });
        assert_eq!(missed, 5);
    }
    agree(&mut a, &mut b, true);
}
