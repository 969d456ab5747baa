//! Several packets in one read, and something that comes in between: what is left of the read stays with its connection, in
//! order, and with no other.

mod common;

use common::{Words, connect, ms, read_line, send, settle, turn_until, words};
use wheelhouse::{CloseReason, Config, Connection, HandlerError, Reactor};

#[derive(Default)]
struct Heard {
    words: Vec<String>,
    closed: Vec<CloseReason>,
}

type View<'a> = Connection<'a, Words, Heard>;

/// A loop whose connections keep their words, and at the word "now" do as told.
fn server(
    config: Config,
    now: fn(&mut View<'_>) -> Result<(), HandlerError>,
) -> Reactor<Words, Heard> {
    words(config)
        .state(Heard::default())
        .into_reactor(move |_, conn| {
            conn.handlers()
                .on_read(move |heard: &mut Heard, conn, word| {
                    let due = word == "now";
                    heard.words.push(word);
                    if due { now(conn) } else { Ok(()) }
                })
                .on_closed(|heard, _, why| heard.closed.push(why))
        })
        .expect("a loop")
}

/// One connection sends words in a single write, and once all is quiet another sends one. Returns what was heard.
fn heard_of_two(mut reactor: Reactor<Words, Heard>) -> Heard {
    let first = connect(reactor.local_addr());
    let second = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&first, "before\nnow\nbehind\nhal");
    settle(&mut reactor);
    send(&second, "another\n");
    turn_until(&mut reactor, |reactor| reactor.state().words.iter().any(|word| word == "another"));
    std::mem::take(reactor.state_mut())
}

#[test]
fn what_stood_behind_a_panic_reaches_nobody() {
    let heard = heard_of_two(server(Config::default(), |_| panic!("a handler panics, as told")));
    assert_eq!(heard.words, ["before", "now", "another"]);
    assert_eq!(heard.closed, [CloseReason::HandlerPanic]);
}

#[test]
fn what_stood_behind_an_error_reaches_nobody() {
    let config = Config::default().linger(ms(1));
    let heard = heard_of_two(server(config, |_| Err(HandlerError::msg("as told"))));
    assert_eq!(heard.words, ["before", "now", "another"]);
    assert_eq!(heard.closed, [CloseReason::HandlerError]);
}

#[test]
fn what_stood_behind_a_close_reaches_nobody() {
    let config = Config::default().linger(ms(1));
    let heard = heard_of_two(server(config, |conn| {
        conn.close();
        Ok(())
    }));
    assert_eq!(heard.words, ["before", "now", "another"]);
    assert_eq!(heard.closed, [CloseReason::Local]);
}

#[test]
fn what_stood_behind_a_pause_is_heard_in_order_after_it() {
    let mut reactor = server(Config::default(), |conn| {
        conn.pause_read();
        Ok(())
    });
    let id = std::rc::Rc::new(std::cell::Cell::new(None));
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    reactor.server().for_each_connection(|conn| id.set(Some(conn.id())));
    send(&client, "before\nnow\nbehind\nhal");
    settle(&mut reactor);
    assert_eq!(reactor.state().words, ["before", "now"]);

    let id = id.get().expect("a connection");
    reactor.server().connection(id).expect("it is paused, not gone").resume_read();
    settle(&mut reactor);
    assert_eq!(reactor.state().words, ["before", "now", "behind"]);
    send(&client, "f\nlast\n");
    turn_until(&mut reactor, |reactor| reactor.state().words.len() == 5);
    assert_eq!(reactor.state().words[3..], ["half", "last"]);
}

#[test]
fn what_stood_behind_new_handlers_is_theirs() {
    let mut reactor = server(Config::default(), |conn| {
        let echo = conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?));
        conn.set_handlers(echo);
        Ok(())
    });
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&client, "before\nnow\nbehind\nlast\n");
    turn_until(&mut reactor, |reactor| reactor.server().stats().packets_out == 2);
    assert_eq!(reactor.state().words, ["before", "now"]);
    assert_eq!([read_line(&client), read_line(&client)], ["behind", "last"]);
}

#[test]
fn what_is_over_the_budget_of_a_turn_is_heard_in_the_next() {
    let mut reactor = server(Config::default().packet_budget(2), |_| Ok(()));
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&client, "1\n2\n3\n4\n5\nhal");
    turn_until(&mut reactor, |reactor| reactor.state().words.len() >= 2);
    assert_eq!(reactor.state().words, ["1", "2"], "two in one turn");
    settle(&mut reactor);
    assert_eq!(reactor.state().words, ["1", "2", "3", "4", "5"]);
    send(&client, "f\n");
    turn_until(&mut reactor, |reactor| reactor.state().words.len() == 6);
    assert_eq!(reactor.state().words[5], "half");
}

#[test]
fn user_data_and_timers_change_nothing() {
    let mut reactor = server(Config::default(), |conn| {
        conn.set_user_data(7_u32);
        conn.after(ms(3_600_000), |_, _| {});
        Ok(())
    });
    let client = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&client, "now\nbehind\n");
    settle(&mut reactor);
    send(&client, "later\n");
    turn_until(&mut reactor, |reactor| reactor.state().words.len() == 3);
    assert_eq!(reactor.state().words, ["now", "behind", "later"]);
}
