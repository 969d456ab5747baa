//! Who is where, whose a name is, and which number a node has.

use super::*;

fn join(end: &End, user: &str) {
    end.post(Post::Join { room: "lobby".into(), user: user.into() });
}

fn presence(end: &mut End) -> String {
    end.until(|event| match event {
        Event::Join { room, user } => Some(format!("{user} comes into {room}")),
        Event::Leave { room, user } => Some(format!("{user} leaves {room}")),
        Event::Nick { was, user } => Some(format!("{was} is {user}")),
        _ => None,
    })
}

fn roster(end: &mut End) -> Vec<(String, String)> {
    end.until(|event| match event {
        Event::Roster(roster) => Some(roster.clone()),
        _ => None,
    })
}

fn lobby(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ("lobby".into(), (*name).into())).collect()
}

fn claim(end: &mut End, name: &str, session: &str) -> bool {
    end.post(Post::Claim { tag: 1, name: name.into(), session: Some(session.into()) });
    end.until(|event| match event {
        Event::Claimed { tag: 1, granted, .. } => Some(*granted),
        _ => None,
    })
}

#[test]
fn who_comes_and_goes_is_told_to_the_others_and_listed_for_newcomers() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    assert_eq!(roster(&mut b), lobby(&[]));
    join(&a, "ann");
    join(&a, "ann"); // once is enough
    join(&a, "Ганна");
    a.post(Post::Nick { was: "ann".into(), user: "eve".into() });
    a.post(Post::Leave { room: "lobby".into(), user: "eve".into() });
    assert_eq!(presence(&mut b), "ann comes into lobby");
    assert_eq!(presence(&mut b), "Ганна comes into lobby");
    assert_eq!(presence(&mut b), "ann is eve");
    assert_eq!(presence(&mut b), "eve leaves lobby");
    join(&b, "bob");
    assert_eq!(presence(&mut a), "bob comes into lobby");
    let mut c = End::new(&redis, Some(3));
    assert_eq!(roster(&mut c), lobby(&["bob", "Ганна"]));
    a.say(1, "after all that");
    c.until(|event| match event {
        Event::Join { .. } | Event::Leave { .. } | Event::Nick { .. } => {
            panic!("what was before the list is told again: {event:?}")
        }
        Event::Message { .. } => Some(()),
        _ => None,
    });
    a.cluster.stop();
    assert_eq!(presence(&mut c), "Ганна leaves lobby", "a node that goes takes its people along");
    assert_eq!(presence(&mut b), "Ганна leaves lobby");
}

#[test]
fn the_people_of_a_node_that_dies_are_gone_and_their_names_free() {
    let Some(redis) = Redis::start() else { return };
    let mut raw = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut put = |command: &str, key: &str, rest: &[&str]| {
        let key = format!("{}{key}", scripts::PREFIX);
        redis::cmd(command).arg(key).arg(rest).exec(&mut raw).unwrap();
    };
    // A node of which nothing is heard any more: in a second it will be dead.
    let now = std::process::Command::new("date").arg("+%s%3N").output().unwrap().stdout;
    let now: u64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
    put("ZADD", "nodes", &[&(now + 1_000).to_string(), "dead"]);
    put("SADD", "people:dead", &["lobby zoe"]);
    put("HSET", "names", &["zoe", "dead s-9"]);
    put("HSET", "numbers", &["0", "dead"]);
    let mut a = End::new(&redis, None);
    assert_eq!(a.ids.node(), 1, "0 is taken, so far");
    assert_eq!(roster(&mut a), lobby(&["zoe"]));
    assert!(!claim(&mut a, "zoe", "s-1"));
    assert_eq!(presence(&mut a), "zoe leaves lobby");
    assert!(claim(&mut a, "Zoe", "s-1"));
    assert_eq!(End::new(&redis, None).ids.node(), 0);
}

#[test]
fn a_name_is_one_clients_and_its_session_may_move_with_it() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    assert!(claim(&mut a, "Ann", "s-1"));
    assert!(!claim(&mut b, "ANN", "s-2"), "names differ by more than case");
    assert!(claim(&mut b, "ann", "s-1"), "the same session is the same client");
    let taken = a.until(|event| match event {
        Event::TakenOver { name } => Some(name.clone()),
        _ => None,
    });
    assert_eq!(taken, "Ann");
    a.post(Post::Release { name: "Ann".into() });
    assert!(!claim(&mut a, "ann", "s-3"), "what is no longer ours is not freed by us");
    b.post(Post::Nick { was: "ann".into(), user: "eve".into() });
    b.say(1, "done");
    a.until_shown(1);
    assert!(claim(&mut a, "ann", "s-3"), "a nick frees the old name");
    a.post(Post::Release { name: "ann".into() });
    a.say(2, "done");
    b.until_shown(2);
    assert!(claim(&mut b, "ann", "s-4"));
}

#[test]
fn a_private_word_for_nobody_comes_back_and_nobody_else_hears_it() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    let private = |id| {
        let (user, to, text) = ("ann".into(), "Bob".into(), "psst".into());
        Private { id, ts: NOW, user, to, text }
    };
    let heard = |end: &mut End| {
        end.until(|event| {
            let wanted = matches!(event, Event::Private(_) | Event::Undelivered(_));
            wanted.then(|| event.clone())
        })
    };
    a.post(Post::Private { private: private(1) });
    assert_eq!(heard(&mut a), Event::Undelivered(private(1)));
    assert!(claim(&mut b, "bob", "s-1"), "in no room, and there");
    a.post(Post::Private { private: private(2) });
    assert_eq!(heard(&mut a), Event::Private(private(2)));
    assert_eq!(heard(&mut b), Event::Private(private(2)), "and not the one before");
}

/// What somebody at this node was called and is now, if anybody was renamed.
fn renamed(end: &mut End) -> Option<(String, String)> {
    end.say(1, "any");
    end.until(|event| match event {
        Event::Renamed { was, now } => Some(Some((was.clone(), now.clone()))),
        Event::Message { tag: Some(1), .. } => Some(None),
        _ => None,
    })
}

#[test]
fn a_name_that_was_lost_is_not_replaced_by_somebody_elses_of_the_same_node() {
    let Some(mut redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    assert!(claim(&mut a, "ann-1", "s-3") && claim(&mut b, "ann-2", "s-4"));
    redis.kill();
    a.until_down();
    b.until_down();
    assert!(claim(&mut a, "ann", "s-1") && claim(&mut b, "ann", "s-2"), "granted to each");
    redis.run_again();
    a.until_up();
    b.until_up();
    let now = match (renamed(&mut a), renamed(&mut b)) {
        (None, Some((_, now))) | (Some((_, now)), None) => now,
        both => panic!("one of them is renamed: {both:?}"),
    };
    assert!(now == "ann-1-2" || now == "ann-2-2", "{now}");
}

#[test]
fn a_name_that_was_taken_on_both_sides_goes_to_who_is_back_first() {
    let Some(mut redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    redis.kill();
    a.until_down();
    b.until_down();
    assert!(claim(&mut a, "ann", "s-1") && claim(&mut b, "ann", "s-2"), "granted to each");
    join(&a, "ann");
    join(&b, "ann");
    redis.run_again();
    a.until_up();
    b.until_up();
    let (was, at_a, at_b) = ("ann".to_owned(), renamed(&mut a), renamed(&mut b));
    let (winner, mut loser, now) = match (at_a, at_b) {
        (None, Some(new)) => (a, b, new),
        (Some(new), None) => (b, a, new),
        both => panic!("one of them is renamed: {both:?}"),
    };
    assert_eq!(now, (was.clone(), format!("ann-{}", loser.ids.node())));
    loser.post(Post::Nick { was, user: now.1.clone() });
    assert!(!claim(&mut loser, "ann", "s-3"), "it is the other's");
    let mut c = End::new(&redis, Some(3));
    assert!(!claim(&mut c, &now.1, "s-3"), "the new name is claimed, too");
    drop(winner);
}

#[test]
fn a_node_without_a_number_takes_a_free_one_and_gives_it_back() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (End::new(&redis, None), End::new(&redis, Some(1)));
    assert_eq!((a.ids.node(), b.ids.node()), (0, 1));
    let c = End::new(&redis, None);
    assert_eq!(c.ids.node(), 2);
    b.cluster.stop();
    assert_eq!(End::new(&redis, None).ids.node(), 1);
    // A server that is started again has the number of its former self, which may not be dead yet for the others.
    assert_eq!(End::new(&redis, Some(2)).ids.node(), 2);
}
