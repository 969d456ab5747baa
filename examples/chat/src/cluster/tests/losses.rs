//! Redis is lost, in several ways, and found again.

use super::*;

#[test]
fn redis_killed_and_started_again_empty_costs_no_message() {
    let Some(mut redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    a.say(1, "a before");
    b.say(2, "b before");
    a.until_shown(2);
    b.until_shown(2);
    for round in 0..3 {
        redis.kill();
        a.until_down();
        b.until_down();
        for number in 0..20 {
            a.say(number, &format!("a {round} {number}"));
            b.say(number, &format!("b {round} {number}"));
        }
        let own = |end: &mut End, count| end.until_shown(count);
        own(&mut a, 2 + 40 * round + 20); // at once, with nobody else there
        own(&mut b, 2 + 40 * round + 20);
        redis.run_again();
        assert_eq!(a.until_up(), (1, 0, true));
        assert_eq!(b.until_up(), (2, 0, true));
        a.until_shown(2 + 40 * (round + 1));
        b.until_shown(2 + 40 * (round + 1));
    }
    agree(&mut a, &mut b, false);
}

#[test]
fn redis_that_stands_still_for_a_while_shows_nothing_twice() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    for round in 0..3_u64 {
        redis.pause();
        // This one is on its way when Redis is lost: Redis will find it in its socket, and later again in the backlog.
        a.say(1, &format!("under way {round}"));
        a.until_down();
        b.until_down();
        a.say(2, &format!("a alone {round}"));
        b.say(3, &format!("b alone {round}"));
        redis.go_on();
        assert_eq!(a.until_up(), (1, 0, false));
        assert_eq!(b.until_up(), (2, 0, false));
        a.until_shown(3 * (round as usize + 1));
        b.until_shown(3 * (round as usize + 1));
    }
    agree(&mut a, &mut b, false);
}

#[test]
fn messages_flow_on_while_redis_comes_and_goes() {
    let Some(mut redis) = Redis::start() else { return };
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    let mut said = [0, 0];
    for round in 0..6 {
        // The loss meets whatever is under way: nothing here waits for it to have arrived.
        for number in 0..random.u64(1..60) {
            a.say(number, &format!("a {round} {number}"));
            b.say(number, &format!("b {round} {number}"));
            said = said.map(|count| count + 1);
        }
        if random.bool() {
            redis.kill();
            redis.run_again();
        } else {
            redis.pause();
            let text = format!("a while paused {round}");
            a.say(1, &text);
            said[0] += 1;
            while !a.texts().contains(&&*text) {
                a.until(|event| matches!(event, Event::Message { .. }).then_some(()));
            }
            redis.go_on();
        }
        for number in 0..random.u64(1..10) {
            a.say(number, &format!("a again {round} {number}"));
            said[0] += 1;
        }
    }
    agree_but_for_what_redis_took_along(&mut a, &mut b, said);
}

/// A Redis that dies takes along what it had acknowledged and not everybody had read yet. What its poster had not read
/// back is posted again, and may have been read elsewhere: it is then the same message under the same id, which the
/// history knows. So each node shows all of its own, and whatever it shows is one message for each id.
fn agree_but_for_what_redis_took_along(a: &mut End, b: &mut End, said: [usize; 2]) {
    let both_said =
        |end: &End| ["last of a", "last of b"].iter().all(|last| end.texts().contains(last));
    a.say(9_999, "last of a");
    b.say(9_999, "last of b");
    let mut by_id = std::collections::BTreeMap::new();
    for (end, letter, said) in [(a, 'a', said[0]), (b, 'b', said[1])] {
        while !both_said(end) {
            end.until(|event| matches!(event, Event::Message { .. }).then_some(()));
        }
        for message in &end.shown {
            assert_eq!(by_id.entry(message.id).or_insert_with(|| message.clone()), message);
        }
        let own = |text: &&&str| text.starts_with(letter);
        let texts = end.texts();
        assert_eq!(texts.iter().filter(own).count(), said, "{letter} shows its own once");
    }
    let texts: BTreeSet<_> = by_id.values().map(|message| &message.text).collect();
    assert_eq!(texts.len(), by_id.len(), "no message has two ids");
}

#[test]
fn redis_that_forgets_while_we_talk_to_it_is_joined_anew() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    a.post(Post::Join { room: "lobby".into(), user: "ann".into() });
    b.until(|event| matches!(event, Event::Join { .. }).then_some(()));
    let mut raw = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd("FLUSHALL").exec(&mut raw).unwrap();
    assert_eq!(a.until_up(), (1, 0, true));
    assert_eq!(b.until_up(), (2, 0, true));
    let ann = ("lobby".to_owned(), "ann".to_owned());
    b.until(|event| match event {
        Event::Roster(roster) => roster.contains(&ann).then_some(()),
        Event::Join { user, .. } => (user == "ann").then_some(()),
        _ => None,
    });
    agree(&mut a, &mut b, false);
}

#[test]
fn redis_that_takes_nothing_more_is_as_good_as_lost_until_it_does() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    let mut raw = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut limit = |bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut raw).unwrap();
    };
    limit("1");
    a.say(1, "a with Redis full");
    let why = a.until(|event| match event {
        Event::Down { why } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("memory"), "{why}");
    a.until_shown(1);
    limit("0");
    assert_eq!(a.until_up(), (1, 0, false));
    b.until_shown(1);
    agree(&mut a, &mut b, false);
}

#[test]
fn a_server_with_a_number_starts_without_redis_and_joins_when_it_comes() {
    let Some(mut redis) = Redis::later() else { return };
    let mut a = End::try_new(&redis, Some(1)).unwrap();
    a.say(1, "anybody?");
    a.until_down();
    a.until_shown(1);
    let Err(error) = End::try_new(&redis, None) else { panic!("a number from nowhere") };
    let text = error.to_string();
    assert!(
        text.starts_with("Redis cannot be reached for a node number (")
            && text.lines().count() == 1
    );
    redis.run_again();
    assert_eq!(a.until_up(), (1, 0, false));
    let mut b = End::new(&redis, None);
    b.until_shown(1);
    agree(&mut a, &mut b, true);
}

#[test]
fn the_backlog_has_a_bound_and_what_is_over_it_is_counted() {
    let Some(mut redis) = Redis::start() else { return };
    let (mut a, mut b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    redis.kill();
    a.until_down();
    b.until_down();
    for number in 0..BACKLOG as u64 + 5 {
        a.say(number, &format!("{number}"));
        a.until_shown(number as usize + 1);
    }
    redis.run_again();
    assert_eq!(a.until_up(), (1, 5, true));
    b.until_shown(BACKLOG);
    assert_eq!(b.shown, a.shown[..BACKLOG], "all that had room, in their order");
}

#[test]
fn those_elsewhere_are_out_of_reach_some_time_after_redis() {
    let Some(mut redis) = Redis::start() else { return };
    let (mut a, b) = (End::new(&redis, Some(1)), End::new(&redis, Some(2)));
    b.post(Post::Join { room: "lobby".into(), user: "bob".into() });
    a.until(|event| matches!(event, Event::Join { .. }).then_some(()));
    redis.kill();
    a.until_down();
    let roster = a.until(|event| match event {
        Event::Roster(roster) => Some(roster.clone()),
        _ => None,
    });
    assert!(roster.is_empty());
    redis.run_again();
    a.until_up();
    a.until(|event| match event {
        Event::Roster(roster) => (roster.len() == 1).then_some(()),
        Event::Join { user, .. } => (user == "bob").then_some(()),
        _ => None,
    });
}
