//! How handlers are called: who gets which packet, who may replace whom, and that none runs inside another.

mod common;

use common::{
    Words, connect, connect_narrow, ms, read_exactly, read_line, read_to_end, send, settle,
    turn_until, words,
};
use wheelhouse::{CloseReason, Config, Connection, Handlers, Reactor, SlowConsumers};

#[test]
fn a_handler_may_replace_itself() {
    // Each packet goes to the handlers that the one before it has set, also within one read.
    fn nth(conn: &Connection<'_, Words, Vec<String>>, n: usize) -> Handlers<Words, Vec<String>> {
        conn.handlers()
            .on_read(move |heard: &mut Vec<String>, conn, word| {
                heard.push(format!("{n}:{word}"));
                conn.set_handlers(nth(conn, n + 1));
                Ok(())
            })
            .on_closed(move |heard, _, _| heard.push(format!("{n}:closed")))
    }
    let mut reactor = words(Config::default())
        .state(Vec::new())
        .into_reactor(|_, conn| nth(conn, 0))
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "a\nb\nc\n");
    settle(&mut reactor);
    send(&client, "d\n");
    drop(client);
    settle(&mut reactor);
    assert_eq!(reactor.state()[..], ["0:a", "1:b", "2:c", "3:d", "4:closed"]);
}

#[test]
fn on_accept_may_set_handlers_instead_of_returning_them() {
    let mut reactor = words(Config::default())
        .into_reactor(|_, conn| {
            let echo = conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?));
            conn.set_handlers(echo);
            conn.handlers()
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "echo\n");
    settle(&mut reactor);
    assert_eq!(read_line(&client), "echo");
}

#[test]
fn packets_that_waited_go_first_to_a_new_on_read() {
    let mut reactor = words(Config::default().inbox(3))
        .state(Vec::new())
        .into_reactor(|_, conn| conn.handlers())
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "a\nb\nc\nd\ne\n");
    settle(&mut reactor);
    assert_eq!(reactor.server().stats().packets_in, 3, "the inbox is full");
    let listening = reactor.server().handlers().on_read(|heard: &mut Vec<String>, _, word| {
        heard.push(word);
        Ok(())
    });
    let mut listening = Some(listening);
    reactor.server().for_each_connection(|conn| {
        assert_eq!(conn.read().as_deref(), Some("a"), "one is taken by hand");
        conn.set_handlers(listening.take().expect("one connection"));
    });
    send(&client, "f\n");
    settle(&mut reactor);
    assert_eq!(reactor.state()[..], ["b", "c", "d", "e", "f"]);
}

#[test]
fn packets_are_neither_joined_nor_torn_by_the_way_they_come() {
    let mut reactor = words(Config::default())
        .state(Vec::new())
        .into_reactor(|_, conn| {
            conn.handlers().on_read(|heard: &mut Vec<String>, _, word| {
                heard.push(word);
                Ok(())
            })
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "many\nin\none\nread\n");
    settle(&mut reactor);
    assert_eq!(reactor.state()[..], ["many", "in", "one", "read"]);
    reactor.state_mut().clear();

    let long = "o".repeat(30) + "ne\n";
    for at in 0..long.len() {
        assert!(reactor.state().is_empty());
        send(&client, &long[at..=at]);
        let so_far = reactor.server().stats().bytes_in;
        turn_until(&mut reactor, |reactor| reactor.server().stats().bytes_in > so_far);
    }
    assert_eq!(reactor.state()[..], [long.trim_end()]);
    reactor.state_mut().clear();

    let huge = "h".repeat(1 << 20); // more than a read, a turn's budget, and the read buffer
    let sent = huge.clone();
    common::turn_while(&mut reactor, move || {
        send(&client, sent + "\nshort\n");
        client
    });
    settle(&mut reactor);
    assert_eq!(reactor.state().len(), 2);
    assert!(reactor.state()[0] == huge && reactor.state()[1] == "short");
}

#[test]
fn a_handler_writes_to_other_connections() {
    let mut reactor = words(Config::default())
        .into_reactor(|_, conn| {
            conn.handlers().on_read(|_, conn, word| {
                let id = conn.id();
                let sent = conn.server().broadcast_except(
                    id,
                    format!("{id}: {word}"),
                    SlowConsumers::Skip,
                );
                conn.write(format!("{} heard it", sent.sent))?;
                Ok(())
            })
        })
        .expect("a loop");
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let client = connect(reactor.local_addr());
            settle(&mut reactor);
            client
        })
        .collect();
    for word in ["one\n", "two\n"] {
        send(&clients[0], word);
        settle(&mut reactor);
    }
    for listener in &clients[1..] {
        assert!(read_line(listener).ends_with(": one"));
        assert!(read_line(listener).ends_with(": two"));
    }
    assert_eq!(read_line(&clients[0]), "2 heard it");
}

/// Which handlers ran, in order; none while another does.
#[derive(Default)]
struct Stage {
    busy: bool,
    scenes: Vec<String>,
}

/// Marks the state as busy for the time of one handler.
fn scene(stage: &mut Stage, name: impl Into<String>, play: impl FnOnce()) {
    assert!(!std::mem::replace(&mut stage.busy, true), "a handler ran inside another");
    stage.scenes.push(name.into());
    play();
    stage.busy = false;
}

#[test]
fn no_handler_runs_inside_another() {
    let config = Config::default().outbox(10, 1_000, 1 << 30);
    let mut reactor: Reactor<Words, Stage> = words(config)
        .state(Stage::default())
        .into_reactor(|stage, conn| {
            let mut handlers = None;
            scene(stage, "accept", || {
                handlers = Some(
                    conn.handlers()
                        .on_read(|stage: &mut Stage, conn, word| {
                            let me = conn.id();
                            scene(stage, format!("read {word}"), || {
                                // Everything that makes other handlers run, at once.
                                conn.write("x".repeat(100_000)).expect("room");
                                let mut server = conn.server();
                                server.for_each_connection(|other| {
                                    let same = other.id() == me;
                                    other.write("y".repeat(100_000)).expect("room");
                                    if !same {
                                        other.abort();
                                        other.close();
                                    }
                                });
                                server.after(ms(0), |stage: &mut Stage, _| {
                                    scene(stage, "timer", || {});
                                });
                                server.stop(common::PATIENCE);
                                conn.close();
                            });
                            Ok(())
                        })
                        .on_drain(|stage, _| scene(stage, "drain", || {}))
                        .on_stop(|stage, conn| scene(stage, "stop", || conn.close()))
                        .on_closed(|stage, conn, why| {
                            let mut name = format!("closed: {why}");
                            scene(stage, "", || {
                                conn.server().for_each_connection(|other| {
                                    name += " and closes another";
                                    other.abort();
                                });
                            });
                            *stage.scenes.last_mut().expect("a scene") = name;
                        }),
                );
            });
            handlers.expect("it was set")
        })
        .expect("a loop");
    let actor = connect_narrow(reactor.local_addr());
    let victim = connect(reactor.local_addr());
    settle(&mut reactor);
    send(&actor, "go\nnever\n");
    turn_until(&mut reactor, |reactor| reactor.state().scenes.len() >= 5);
    let reader = actor.try_clone().expect("a second hand");
    common::turn_while(&mut reactor, move || drop(read_to_end(&reader)));
    drop((actor, victim));
    turn_until(&mut reactor, |reactor| reactor.report().is_some());
    let scenes = &reactor.state().scenes;
    assert_eq!(scenes[..3], ["accept", "accept", "read go"], "{scenes:?}");
    assert!(scenes.contains(&"timer".into()), "{scenes:?}");
    let closed = scenes.iter().filter(|scene| scene.starts_with("closed")).count();
    assert_eq!(closed, 2, "{scenes:?}");
    assert!(!scenes.contains(&"read never".into()), "{scenes:?}");
}

#[test]
fn on_drain_runs_once_for_each_fall_from_the_high_mark() {
    #[derive(Default)]
    struct Drains(u32);
    let mut reactor = words(Config::default().outbox(10, 1_000, 1 << 30))
        .state(Drains::default())
        .into_reactor(|_, conn| {
            conn.handlers()
                .on_read(|_, conn, word| {
                    let length = word.parse()?;
                    conn.write("x".repeat(length))?;
                    Ok(())
                })
                .on_drain(|drains: &mut Drains, conn| {
                    assert!(conn.queued() <= 10);
                    drains.0 += 1;
                })
        })
        .expect("a loop");
    let client = connect(reactor.local_addr());
    send(&client, "500\n");
    settle(&mut reactor);
    assert_eq!(reactor.state().0, 0, "it was never at the high mark");
    read_exactly(&client, 501);
    for falls in 1..=3 {
        send(&client, "5000000\n");
        let reader = client.try_clone().expect("a second hand");
        common::turn_while(&mut reactor, move || drop(read_exactly(&reader, 5_000_001)));
        settle(&mut reactor);
        assert_eq!(reactor.state().0, falls);
    }
}

#[test]
fn an_outbound_connection_lives_beside_the_inbound_ones() {
    let mut reactor = words(Config::default())
        .state(Vec::<String>::new())
        .into_reactor(|_, conn| conn.handlers().on_read(|_, conn, word| Ok(conn.write(word)?)))
        .expect("a loop");
    let own = reactor.local_addr();
    let dialing = reactor
        .server()
        .handlers()
        .on_connect(|heard: &mut Vec<String>, conn| {
            heard.push("connected".into());
            conn.write("written by on_connect".into()).expect("room");
        })
        .on_read(|heard, conn, word| {
            heard.push(word);
            if heard.len() == 3 {
                conn.close();
            }
            Ok(())
        })
        .on_closed(|heard, _, why| {
            assert_eq!(why, CloseReason::Local);
            heard.push("closed".into());
        });
    let id = reactor.server().connect(own, common::PATIENCE, dialing).expect("room");
    let mut server = reactor.server();
    let mut outbound = server.connection(id).expect("it is being made");
    assert!(outbound.is_connecting());
    outbound.write("written before".into()).expect("it can be queued");
    settle(&mut reactor);
    assert_eq!(
        reactor.state()[..],
        ["connected", "written before", "written by on_connect", "closed"]
    );
    let stats = reactor.server().stats();
    assert_eq!((stats.accepted, stats.connected, stats.closed), (1, 1, 2));
}
