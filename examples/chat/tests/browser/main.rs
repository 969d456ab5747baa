//! The page, in real browsers, against the real server: two people talk, one reloads, the server restarts, and nothing is
//! lost and nothing comes twice.
//!
//! Wants Chromium and chromedriver (`apt-get install chromium chromium-driver`; the variables `CHROMIUM` and
//! `CHROMEDRIVER` name others). Without them the tests say so and do nothing, unless `CI` is set: there they fail.
//! Pictures of what was seen are kept in `target/tmp/browser/`.

mod driver;
#[path = "../kit/mod.rs"]
mod kit;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::{env, thread};

use driver::{Driver, ENTER, Page};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// One test at a time: each has two browsers, and a browser is not small.
static ALONE: Mutex<()> = Mutex::new(());

fn browsers(test: &str) -> Option<(MutexGuard<'static, ()>, Driver)> {
    let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match Driver::start() {
        Ok(driver) => Some((alone, driver)),
        Err(missing) => {
            assert!(env::var_os("CI").is_none(), "the page is not tested: {missing}");
            // Past the test harness, which keeps quiet about tests that pass.
            let _ = writeln!(std::io::stderr(), "\n*** {test} is SKIPPED: {missing} ***\n");
            None
        }
    }
}

/// The server under test. Told to stop when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(addr: &str, db: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wheelhouse-chat"))
            .args(["--addr", addr, "--db"])
            .arg(db)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = lines
            .by_ref()
            .find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned()))
            .expect("the server says where it listens");
        thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    fn addr(&self) -> &str {
        self.url.strip_prefix("http://").expect("a plain address").trim_end_matches('/')
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

// What a person does.

#[track_caller]
fn come_in(page: &Page, name: &str) {
    page.until("document.querySelector('#name-dialog').open", &[]);
    page.eval("document.querySelector('#name').value = ''", &[]);
    page.type_into("#name", name);
    page.click("#name-ok");
    is_online(page);
}

#[track_caller]
fn is_online(page: &Page) {
    page.until("document.querySelector('#state').dataset.state === 'online'", &[]);
}

/// Takes the page's connection away, and keeps it from another one.
const OFFLINE: &str =
    "(window.connectAgain = connect, window.connect = () => {}, socket.close(), true)";
const ONLINE: &str = "(window.connect = connectAgain, connect(), true)";

#[track_caller]
fn is_offline(page: &Page) {
    page.until("document.querySelector('#state').dataset.state === 'offline'", &[]);
}

#[track_caller]
fn say(page: &Page, text: &str) {
    page.type_into("#composer", &format!("{text}{ENTER}"));
}

#[track_caller]
fn sees(page: &Page, who: &str, text: &str) {
    page.until(
        "[...document.querySelectorAll('#log article[data-id]')].some((article) =>
            article.querySelector('.who').textContent === args[0]
            && article.querySelector('.text').textContent === args[1])",
        &[who, text],
    );
}

/// What is in the log, in its order, whether acknowledged or not.
#[track_caller]
fn log(page: &Page) -> Vec<String> {
    let texts = page.eval(
        "[...document.querySelectorAll('#log article .text')].map((n) => n.textContent)",
        &[],
    );
    serde_json::from_value(texts).expect("texts")
}

#[track_caller]
fn all_settled(page: &Page) {
    page.until("!document.querySelector('#log article[data-nonce]')", &[]);
}

#[track_caller]
fn is_in(page: &Page, room: &str) {
    page.until("document.querySelector('#room').textContent === args[0]", &[room]);
}

#[test]
fn two_people_talk() {
    let Some((_alone, driver)) = browsers("two_people_talk") else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("127.0.0.1:0", &dir.path().join("chat.db"));
    let ann = driver.open("ann", &server.url);
    let bob = driver.open("bob", &server.url);
    come_in(&ann, "ann");

    // A name that is taken is refused, in the dialog that asks for it.
    bob.until("document.querySelector('#name-dialog').open", &[]);
    bob.type_into("#name", "ann");
    bob.click("#name-ok");
    bob.until("document.querySelector('#name-problem').textContent !== ''", &[]);
    come_in(&bob, "bob");
    ann.until("document.querySelector('#people [data-person=bob]')", &[]);

    say(&ann, "ahoy");
    sees(&bob, "ann", "ahoy");
    sees(&ann, "ann", "ahoy");
    say(&bob, "/me waves");
    sees(&ann, "bob", "waves");
    bob.type_into("#composer", "I am wri");
    ann.until("document.querySelector('#typing').textContent.startsWith('bob is writing')", &[]);
    bob.type_into("#composer", &format!("ting{ENTER}"));
    sees(&ann, "bob", "I am writing");

    // Markup is text.
    let markup = "<script>alert(1)</script><img src=x onerror=alert(2)>";
    say(&ann, markup);
    sees(&bob, "ann", markup);
    for page in [&ann, &bob] {
        assert!(!page.has_alert());
        assert_eq!(page.eval("document.querySelectorAll('#log script, #log img').length", &[]), 0);
    }

    // Another room, and what is said in the one that is not on show.
    bob.type_into("#join-room", &format!("engine{ENTER}"));
    is_in(&bob, "engine");
    say(&ann, "are you there?");
    bob.until("document.querySelector('[data-room=lobby] .badge')?.textContent === '1'", &[]);
    bob.until("document.title.startsWith('(1) ')", &[]);
    bob.screenshot("unread");
    bob.click("[data-room=lobby]");
    sees(&bob, "ann", "are you there?");
    bob.until("!document.querySelector('.badge') && !document.title.startsWith('(')", &[]);

    // A reload: the same person, in the same rooms, with the same history.
    all_settled(&bob);
    let before = log(&bob);
    bob.reload();
    is_online(&bob);
    is_in(&bob, "lobby");
    sees(&bob, "ann", "are you there?");
    assert_eq!(log(&bob), before);
    bob.until("document.querySelector('[data-room=engine]')", &[]);
    assert!(!bob.eval("document.querySelector('#name-dialog').open", &[]).as_bool().unwrap());

    // Another tab is another person.
    ann.screenshot("talk");
    ann.new_tab(&server.url);
    come_in(&ann, "anna");
    sees(&ann, "ann", "ahoy");
    bob.until("document.querySelector('#people [data-person=ann]')", &[]);
    bob.until("document.querySelector('#people [data-person=anna]')", &[]);

    assert_eq!(ann.console(), [""; 0], "what the browser complains of");
    assert_eq!(bob.console(), [""; 0], "what the browser complains of");
}

/// Has a page miss whatever is said about its own messages.
const DEAFEN: &str = "((whole) => {
    JSON.parse = (text) => {
        const frame = whole(text);
        return frame.nonce ? { type: 'missed' } : frame;
    };
    JSON.parse.whole = whole;
})(JSON.parse)";

#[test]
fn a_restart_loses_and_doubles_nothing() {
    let Some((_alone, driver)) = browsers("a_restart_loses_and_doubles_nothing") else { return };
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("chat.db");
    let server = Server::start("127.0.0.1:0", &db);
    let addr = server.addr().to_owned();
    let cara = driver.open("cara", &server.url);
    let dave = driver.open("dave", &server.url);
    come_in(&cara, "cara");
    come_in(&dave, "dave");
    say(&cara, "before");
    sees(&dave, "cara", "before");
    // Stored and shown, but dave never hears of it: it will be sent again.
    dave.eval(DEAFEN, &[]);
    say(&dave, "heard");
    sees(&cara, "dave", "heard");
    dave.until("document.querySelector('#log article[data-status=waiting]')", &[]);
    // On its way while the server goes: acknowledged or not, it must be there in the end, once.
    for number in 0..5 {
        say(&cara, &format!("in flight {number}"));
    }

    drop(server);
    dave.eval("JSON.parse = JSON.parse.whole", &[]);
    for page in [&cara, &dave] {
        page.until("document.querySelector('#state').dataset.state !== 'online'", &[]);
    }
    for number in 0..3 {
        say(&cara, &format!("cara waits {number}"));
    }
    say(&dave, "dave waits");
    // And those of the five before that were not answered.
    cara.until("document.querySelectorAll('#log article[data-status=waiting]').length >= 3", &[]);
    cara.until("!document.querySelector('#banner').hidden", &[]);
    cara.screenshot("offline");

    let _server = Server::start(&addr, &db);
    for page in [&cara, &dave] {
        page.eval("document.querySelector('#retry').click()", &[]);
        is_online(page);
        all_settled(page);
        sees(page, "cara", "cara waits 2");
        sees(page, "dave", "dave waits");
    }
    cara.screenshot("resumed");

    let mut expected: Vec<String> = ["before", "heard", "dave waits"].map(str::to_owned).into();
    expected.extend((0..5).map(|number| format!("in flight {number}")));
    expected.extend((0..3).map(|number| format!("cara waits {number}")));
    expected.sort();
    let order = log(&cara);
    for page in [&cara, &dave] {
        assert_eq!(log(page), order, "all see one order");
        page.reload();
        is_online(page);
        sees(page, "dave", "dave waits");
        all_settled(page);
        assert_eq!(log(page), order, "and it is the stored one");
        assert_eq!(page.console(), [""; 0], "what the browser complains of");
    }
    let mut sorted = order;
    sorted.sort();
    assert_eq!(sorted, expected);
}

#[test]
fn what_is_written_offline_is_sent_in_order_however_much_it_is() {
    let test = "what_is_written_offline_is_sent_in_order_however_much_it_is";
    let Some((_alone, driver)) = browsers(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("127.0.0.1:0", &dir.path().join("chat.db"));
    let ann = driver.open("ann", &server.url);
    come_in(&ann, "ann");
    ann.eval(OFFLINE, &[]);
    is_offline(&ann);
    // More than the server takes at once: ten, and five a second.
    let said: Vec<String> = (0..16).map(|number| format!("message {number}")).collect();
    for text in &said {
        say(&ann, text);
    }
    ann.until("document.querySelectorAll('#log article[data-status=waiting]').length === 16", &[]);
    ann.eval("window.refused = 0", &[]);
    ann.eval(
        "((error) => handlers.error = (frame) => { refused += frame.code === 'rate_limited'; error(frame); })
            (handlers.error)",
        &[],
    );
    ann.eval(ONLINE, &[]);
    is_online(&ann);
    ann.until("!state.outbox.length", &[]);
    assert!(ann.eval("window.refused", &[]).as_u64() > Some(0), "it was too much");
    assert_eq!(log(&ann), said);
    let bob = driver.open("bob", &server.url);
    come_in(&bob, "bob");
    sees(&bob, "ann", "message 15");
    assert_eq!(log(&bob), said, "and so the others see it");
    assert_eq!(ann.console(), [""; 0], "what the browser complains of");
}

#[test]
fn what_waits_for_a_room_is_sent_though_the_server_spells_it_otherwise_now() {
    let test = "what_waits_for_a_room_is_sent_though_the_server_spells_it_otherwise_now";
    let Some((_alone, driver)) = browsers(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("chat.db");
    let server = Server::start("127.0.0.1:0", &db);
    let addr = server.addr().to_owned();
    let ann = driver.open("ann", &server.url);
    come_in(&ann, "ann");
    let rooms = ["Straße", "Αθηναίος", "İzmir", "ΐΰ"];
    for room in rooms {
        ann.type_into("#join-room", &format!("{room}{ENTER}"));
        is_in(&ann, room);
        say(&ann, "before");
        sees(&ann, "ann", "before");
    }
    drop(server);
    ann.until("document.querySelector('#state').dataset.state !== 'online'", &[]);
    for room in rooms {
        ann.eval("actions.room({ room: args[0] })", &[room]);
        is_in(&ann, room);
        say(&ann, "while it was away");
    }
    let _server = Server::start(&addr, &db);
    ann.eval("document.querySelector('#retry').click()", &[]);
    is_online(&ann);
    ann.until("!state.outbox.length", &[]);
    for room in rooms {
        ann.eval("actions.room({ room: args[0] })", &[room]);
        sees(&ann, "ann", "while it was away");
        assert_eq!(log(&ann), ["before", "while it was away"], "in {room}");
    }
    assert_eq!(ann.eval("state.rooms.size", &[]), 5);
    assert_eq!(ann.console(), [""; 0], "what the browser complains of");
}

/// A server that lets others talk fast, and cuts what it replays so short that pages have to be asked for.
fn terse() -> (kit::Server, String) {
    let fast = ["--rate", "100000", "--burst", "100000", "--address-rate", "1000000"];
    let server = kit::Server::start(&[&fast[..], &["--outbox", "65536"]].concat());
    let url = format!("http://{}", server.addr);
    (server, url)
}

const MISSED: usize = 40;

/// Ann is in these rooms and has seen a message in each; while she is away, bob says more than a replay holds.
fn misses_much(ann: &Page, server: &kit::Server, rooms: &[&str]) -> kit::Peer {
    come_in(ann, "ann");
    for room in rooms {
        ann.type_into("#join-room", &format!("{room}{ENTER}"));
        is_in(ann, room);
    }
    let hello = rooms.iter().map(|room| ((*room).to_owned(), json!(0))).collect();
    let mut bob = server.hello("bob", &serde_json::Value::Object(hello));
    let mut nonces = 0..;
    let mut say = |room: &str, text: &str| {
        let nonce = format!("n{:?}", nonces.next());
        bob.say(&json!({"type": "message", "room": room, "text": text, "nonce": nonce}));
        bob.next_of("ack");
    };
    for room in rooms {
        say(room, "seen");
    }
    let seen = "args.every((room) => state.rooms.get(room).entries.some((entry) => entry.text === 'seen'))";
    ann.until(seen, rooms);
    ann.eval(OFFLINE, &[]);
    is_offline(ann);
    for room in rooms {
        for number in 0..MISSED {
            say(room, &format!("{number} {}", "x".repeat(1_900)));
        }
    }
    bob
}

/// Every room has all that was said in it, in order and once.
#[track_caller]
fn has_all(ann: &Page, rooms: &[&str]) {
    let is_full = "args.every((name) => {
        const { gap, loading, entries } = state.rooms.get(name);
        return !gap && !loading && entries.at(-1)?.text?.startsWith('39 ');
    })";
    ann.until(is_full, rooms);
    for room in rooms {
        let held = ann.eval(
            "state.rooms.get(args[0]).entries.filter((entry) => entry.user === 'bob' && entry.id)
                .map((entry) => entry.text.split(' ')[0])",
            &[room],
        );
        let held: Vec<String> = serde_json::from_value(held).expect("texts");
        let said = std::iter::once("seen".to_owned());
        let said: Vec<String> = said.chain((0..MISSED).map(|n| n.to_string())).collect();
        assert_eq!(held, said, "in {room}");
    }
}

#[test]
fn gaps_in_many_rooms_are_all_filled() {
    let Some((_alone, driver)) = browsers("gaps_in_many_rooms_are_all_filled") else { return };
    let (server, url) = terse();
    let ann = driver.open("ann", &url);
    let rooms = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let _bob = misses_much(&ann, &server, &rooms);
    ann.eval("window.asked = 0", &[]);
    ann.eval(
        "(window.realSend = send, window.send = (frame) => {
            asked += frame.type === 'history';
            realSend(frame);
        }, true)",
        &[],
    );
    ann.eval("window.refused = 0", &[]);
    ann.eval(
        "((error) => handlers.error = (frame) => { refused++; error(frame); })(handlers.error)",
        &[],
    );
    ann.eval(ONLINE, &[]);
    ann.until("asked >= Number(args[0])", &[&rooms.len().to_string()]);
    has_all(&ann, &rooms);
    assert_eq!(ann.eval("window.refused", &[]), 0, "no more than the server takes at once");
}

#[test]
fn a_connection_that_is_lost_while_a_gap_is_filled_leaves_no_hole() {
    let test = "a_connection_that_is_lost_while_a_gap_is_filled_leaves_no_hole";
    let Some((_alone, driver)) = browsers(test) else { return };
    let (server, url) = terse();
    let ann = driver.open("ann", &url);
    let _bob = misses_much(&ann, &server, &["a", "b"]);
    // Lost just when the first page for a gap is asked for, and once more when some pages have come.
    ann.eval("window.asked = 0", &[]);
    ann.eval(
        "(window.realSend = send, window.send = (frame) => {
            if (frame.type === 'history' && [1, 6].includes(++asked)) socket.close();
            else realSend(frame);
        }, true)",
        &[],
    );
    ann.eval(ONLINE, &[]);
    ann.until("asked > 6 && document.querySelector('#state').dataset.state === 'online'", &[]);
    has_all(&ann, &["a", "b"]);
}

/// A page that is not the server's own, from an origin of its own.
fn foreign_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!doctype html><title>elsewhere</title>";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    url
}

#[test]
fn a_foreign_origin_is_refused() {
    let Some((_alone, driver)) = browsers("a_foreign_origin_is_refused") else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("127.0.0.1:0", &dir.path().join("chat.db"));
    let page = driver.open("foreign", &foreign_page());
    let connect = "((ws) => {
        ws.onopen = () => document.title = 'opened';
        ws.onclose = () => document.title === 'elsewhere' && (document.title = 'refused');
        return true;
    })(new WebSocket(args[0]))";
    let endpoint = format!("ws://{}/ws", server.addr());
    page.eval(connect, &[&endpoint]);
    page.until("document.title !== 'elsewhere'", &[]);
    assert_eq!(page.eval("document.title", &[]), "refused");

    // The same script on the server's own page is let in: it was the origin.
    page.go(&format!("{}/healthz", server.url.trim_end_matches('/')));
    page.eval("document.title = 'elsewhere'", &[]);
    page.eval(connect, &[&endpoint]);
    page.until("document.title !== 'elsewhere'", &[]);
    assert_eq!(page.eval("document.title", &[]), "opened");
}
