//! What peers say to each example, what they make of the answers, and how they part: for attacks that do not care which
//! example it is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;

use memchr::memmem;
use serde_json::Value;

use crate::common::PATIENCE;
use crate::slow::pings;

/// Whether this may be the beginning of what is due, or, where so told, all of it.
type Fits = Box<dyn Fn(&[u8], bool) -> bool + Send>;

/// Whether this is what was waited for.
type IsEnough = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What a peer says, and what it makes of all that it hears.
pub(crate) struct Script {
    pub(crate) says: Vec<u8>,
    /// Whether it has heard what it stays for.
    enough: IsEnough,
    /// Its last words.
    parting: Vec<u8>,
    /// Whether it ends its side then, or leaves the end to the server, as is the way of WebSocket.
    ends: bool,
    fits: Fits,
}

/// Writes the script of a peer, by its number and chance.
pub(crate) type Playwright = fn(usize, &mut fastrand::Rng) -> Script;

impl Script {
    /// One that says all at once, and ends its side.
    fn of(says: Vec<u8>, fits: impl Fn(&[u8], bool) -> bool + Send + 'static) -> Self {
        let (enough, fits) = (Box::new(|_: &[u8]| true), Box::new(fits));
        Self { says, enough, parting: Vec::new(), ends: true, fits }
    }

    /// Plays it to its end, or to an earlier one, which is returned: what was heard until then is as it should be.
    pub(crate) fn perform(&self, mut peer: TcpStream) -> Result<(), String> {
        let mut saying = peer.try_clone().expect("a descriptor");
        let (says, parting, ends) = (self.says.clone(), self.parting.clone(), self.ends);
        let (tell, enough) = mpsc::channel();
        let speaker = thread::spawn(move || {
            saying.write_all(&says)?;
            let _ = enough.recv(); // an error: the end came before that
            saying.write_all(&parting)?;
            if ends { saying.shutdown(Shutdown::Write) } else { Ok(()) }
        });
        let (heard, end) = self.listen(&mut peer, tell);
        let said = speaker.join().expect("a speaker that does not panic");
        // An orderly end may be that of a cut: only who has got all can tell.
        if said.is_ok() && end.is_ok() && (self.fits)(&heard, true) {
            return Ok(());
        }
        assert!((self.fits)(&heard, false), "{:?}", String::from_utf8_lossy(&heard));
        Err(format!("{end:?} after {} bytes, and in saying {said:?}", heard.len()))
    }

    /// Hears all until the end, and says so when it is enough.
    fn listen(
        &self,
        peer: &mut TcpStream,
        tell: mpsc::Sender<()>,
    ) -> (Vec<u8>, std::io::Result<()>) {
        peer.set_read_timeout(Some(PATIENCE * 2)).expect("a socket option");
        let (mut heard, mut buf) = (Vec::new(), [0; 4096]);
        let mut tell = Some(tell);
        loop {
            if tell.is_some() && (self.enough)(&heard) {
                // An error: the speaker could not say all.
                let _ = tell.take().map(|tell| tell.send(()));
            }
            match peer.read(&mut buf) {
                Ok(0) => return (heard, Ok(())),
                Ok(got) => heard.extend_from_slice(&buf[..got]),
                Err(error) => {
                    let late = error.kind() == std::io::ErrorKind::WouldBlock;
                    assert!(!late, "no end came; so far {} bytes", heard.len());
                    return (heard, Err(error));
                }
            }
        }
    }
}

/// What is said comes back.
fn comes_back(says: Vec<u8>) -> Script {
    let due = says.clone();
    let fits = move |heard: &[u8], whole: bool| {
        if whole { heard == due } else { due.starts_with(heard) }
    };
    Script::of(says, fits)
}

pub(crate) fn bytes(_: usize, rng: &mut fastrand::Rng) -> Script {
    let length = rng.usize(..16_000);
    comes_back((0..length).map(|_| rng.u8(..)).collect())
}

pub(crate) fn text(_: usize, rng: &mut fastrand::Rng) -> Script {
    let lines = rng.usize(1..200);
    let line = |at| format!("{at} {}\n", "x".repeat(at * 7 % 60));
    comes_back((0..lines).map(line).collect::<String>().into_bytes())
}

pub(crate) fn frames(_: usize, rng: &mut fastrand::Rng) -> Script {
    let frame =
        |at: u32| [(at * 13 % 300).to_be_bytes().to_vec(), vec![7; (at * 13 % 300) as usize]];
    comes_back((0..rng.u32(1..60)).flat_map(frame).flatten().collect())
}

pub(crate) fn questions(peer: usize, rng: &mut fastrand::Rng) -> Script {
    let (ask, due): (Vec<_>, Vec<_>) = (0..rng.u64(1..100)).map(|at| pings(peer, at)).unzip();
    let due = due.concat();
    let fits = move |heard: &[u8], whole: bool| {
        if whole { heard == due } else { due.starts_with(heard) }
    };
    Script::of(ask.concat(), fits)
}

/// Joins a chat, talks and leaves; hears the others in between.
pub(crate) fn chat(peer: usize, rng: &mut fastrand::Rng) -> Script {
    let talk = "what weather today\n".repeat(20);
    let name = format!("peer-{peer}-{:08x}", rng.u32(..));
    let says = format!("{name}\n{talk}/me leaves\n/quit\n").into_bytes();
    let fits = |heard: &[u8], whole: bool| {
        let heard = String::from_utf8_lossy(heard);
        let begins = |then| {
            let greeting = format!("Welcome! What is your name?\n{then}");
            heard.starts_with(&greeting) || greeting.starts_with(&*heard)
        };
        if whole {
            begins("Online: ") && heard.ends_with("\nGoodbye!\n")
        } else {
            begins("Online: ") || begins("The server is stopping. Goodbye!\n")
        }
    };
    Script::of(says, fits)
}

/// Plays for a moment; the snapshots come one after another, each tick once.
pub(crate) fn play(_: usize, rng: &mut fastrand::Rng) -> Script {
    let says = (0..rng.usize(1..200)).flat_map(|_| [1, 255]).collect();
    let fits = |mut heard: &[u8], whole: bool| {
        let (mut last, mut shots) = (None, 0);
        while let Some((length, rest)) = heard.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((shot, rest)) = rest.split_at_checked(length) else { break };
            let tick = shot.first_chunk::<4>().map(|tick| u32::from_be_bytes(*tick));
            if tick <= last {
                return false;
            }
            (last, heard, shots) = (tick, rest, shots + 1);
        }
        !whole || shots > 0
    };
    let some = |heard: &[u8]| !heard.is_empty(); // the server speaks by itself
    Script { enough: Box::new(some), ..Script::of(says, fits) }
}

// WebSocket.

/// The key and the answer of RFC 6455, section 1.3.
pub(crate) fn upgrade(path: &str) -> Vec<u8> {
    let head = [
        &format!("GET {path} HTTP/1.1"),
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    format!("{}\r\n\r\n", head.join("\r\n")).into_bytes()
}

/// What stands behind the answer to an upgrade; `None`: that is no such answer.
fn upgraded(heard: &[u8]) -> Option<&[u8]> {
    const ANSWER: &[u8] = b"HTTP/1.1 101 ";
    let begins = heard.starts_with(ANSWER) || ANSWER.starts_with(heard);
    let Some(end) = memmem::find(heard, b"\r\n\r\n") else { return begins.then_some(&[]) };
    let (head, rest) = heard.split_at(end + 4);
    let accepts = memmem::find(head, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").is_some();
    (begins && accepts).then_some(rest)
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const GOODBYE: [u8; 2] = 1_000_u16.to_be_bytes();

/// A frame, as a server sends it, or masked, as a client has to.
fn frame(kind: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 128 } else { 0 };
    let mut frame = vec![kind];
    match u8::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(length | masked),
        _ => {
            frame.push(126 | masked);
            frame.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The whole frames of a server; the beginning of another one may follow. `None`: no server sends that.
fn whole_frames(mut heard: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut frames = Vec::new();
    while let Some(([kind, length], rest)) = heard.split_first_chunk() {
        let (length, rest) = match (length, rest.split_first_chunk::<2>()) {
            (..=125, _) => (usize::from(*length), rest),
            (126, Some((long, rest))) => (usize::from(u16::from_be_bytes(*long)), rest),
            (126, None) => break,
            _ => return None, // masked, or longer than anything that is due
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push((*kind, payload));
        heard = rest;
    }
    Some(frames)
}

/// A message that is echoed.
pub(crate) fn echoes() -> Vec<u8> {
    frame(BINARY, &[0; 100], Some([1, 2, 3, 4]))
}

/// Messages, in fragments now and then, come back; so does the close.
pub(crate) fn messages(_: usize, rng: &mut fastrand::Rng) -> Script {
    let (mut says, mut due) = (upgrade("/"), Vec::new());
    for at in 0..rng.usize(1..60) {
        let (kind, fill) = if rng.bool() { (TEXT, b'x') } else { (BINARY, 0xff) };
        let payload = vec![fill; at * 13 % 300];
        let (first, second) = payload.split_at(rng.usize(..=payload.len()));
        if rng.u8(..4) == 0 {
            says.extend(frame(kind & !0x80, first, Some(rng.u32(..).to_be_bytes())));
            says.extend(frame(0x80, second, Some(rng.u32(..).to_be_bytes())));
        } else {
            says.extend(frame(kind, &payload, Some(rng.u32(..).to_be_bytes())));
        }
        due.extend(frame(kind, &payload, None));
    }
    says.extend(frame(CLOSE, &GOODBYE, Some([1, 2, 3, 4])));
    due.extend(frame(CLOSE, &GOODBYE, None));
    let fits = move |heard: &[u8], whole: bool| match upgraded(heard) {
        Some(heard) if whole => heard == due,
        Some(heard) => due.starts_with(heard),
        None => false,
    };
    Script { ends: false, ..Script::of(says, fits) }
}

/// Messages of a visit to the chat.
const SAID: usize = 5;

/// The first words of a visitor to that chat.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    let text = format!(r#"{{"type":"hello","user":"{name}","session":"{name}-{name}"}}"#);
    frame(TEXT, text.as_bytes(), Some([5, 6, 7, 8]))
}

/// Comes to the chat that people open in a browser, talks, and leaves when each message is acknowledged.
pub(crate) fn visit(peer: usize, rng: &mut fastrand::Rng) -> Script {
    let name = format!("peer-{peer}-{:08x}", rng.u32(..));
    let mut says = [upgrade("/ws"), hello(&name)].concat();
    let message =
        |at| format!(r#"{{"type":"message","room":"lobby","text":"{at}","nonce":"n{at}"}}"#);
    for text in (0..SAID).map(message) {
        says.extend(frame(TEXT, text.as_bytes(), Some(rng.u32(..).to_be_bytes())));
    }
    let last = format!(r#"{{"type":"ack","nonce":"n{}""#, SAID - 1);
    let enough = move |heard: &[u8]| memmem::find(heard, last.as_bytes()).is_some();
    let parting = frame(CLOSE, &GOODBYE, Some([1, 2, 3, 4]));
    let fits = |heard: &[u8], whole: bool| visit_fits(heard, whole).is_some();
    Script { enough: Box::new(enough), parting, ends: false, ..Script::of(says, fits) }
}

/// Each message of one's own is heard once and acknowledged once, in order; what all say comes by growing ids.
fn visit_fits(heard: &[u8], whole: bool) -> Option<()> {
    if heard.starts_with(b"HTTP/1.1 503 ") && !whole {
        return Some(()); // the server is stopping
    }
    let (mut own, mut acked, mut latest) = (0, 0, 0);
    let frames = whole_frames(upgraded(heard)?)?;
    for (kind, payload) in &frames {
        if *kind != TEXT {
            continue; // the close, as the last of all
        }
        let event: Value = serde_json::from_slice(payload).ok()?;
        let nonce = event.get("nonce");
        match event["type"].as_str()? {
            "message" => {
                let id = event["id"].as_u64().filter(|id| *id > latest)?;
                latest = id;
                if let Some(nonce) = nonce {
                    (*nonce == format!("n{own}")).then_some(())?;
                    own += 1;
                }
            }
            "ack" => {
                (acked < own && *nonce? == format!("n{acked}")).then_some(())?;
                acked += 1;
            }
            "error" => return None,
            _ => {}
        }
    }
    let parted = frames.last().is_some_and(|last| last.0 == CLOSE && last.1.starts_with(&GOODBYE));
    (!whole || (own == SAID && acked == SAID && parted)).then_some(())
}
