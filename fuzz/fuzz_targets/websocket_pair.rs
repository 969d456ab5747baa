//! Both ends of a WebSocket that agree on compression: the handshake, messages either way, and what becomes of them where
//! bytes are changed on the way.
#![no_main]

use std::mem::{Discriminant, discriminant};

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wheelhouse::codec::websocket::{
    DeflateOptions, Incoming, Message, Offer, Outgoing, Upgrade, WebSocket, WebSocketCodec,
    WebSocketError,
};
use wheelhouse::codec::{Decoder, Encoder, WriteBuffer};

/// The longest message.
const MAX: usize = 1_000;

/// How much longer one may be on the wire: what does not compress grows; and a header.
const GROWTH: usize = MAX / 64 + 64 + 14;

#[derive(Arbitrary, Debug)]
struct Side {
    window_bits: u8,
    forgets: bool,
    min_len: u8,
}

/// A byte that is changed on the way: where, and by what.
type Change = (u16, u8);

#[derive(Arbitrary, Debug)]
struct Input {
    client: Side,
    server: Side,
    /// What becomes of the server's answer.
    answer: Vec<Change>,
    messages: Vec<(bool, Vec<u8>)>,
    /// What becomes of the frames.
    frames: Vec<Change>,
    /// The lengths of the pieces in which all of it comes, over and over.
    lengths: Vec<u8>,
}

impl Side {
    fn protocol(&self) -> WebSocket {
        let options =
            DeflateOptions::new().window_bits(self.window_bits).min_len(self.min_len.into());
        let options = if self.forgets { options.no_context_takeover() } else { options };
        WebSocket::new().max_message(MAX).deflate(options)
    }
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for &(at, by) in changes {
        if let Some(byte) = bytes.get_mut(usize::from(at)) {
            *byte ^= by;
        }
    }
    bytes
}

fn pieces<'a>(mut rest: &'a [u8], lengths: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(rest.len(), |&length| usize::from(length.max(1)));
        let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What was read, and the kind of error that ended it.
type Outcome = (Vec<Incoming>, Option<Discriminant<WebSocketError>>);

fn read(codec: &mut WebSocketCodec, stream: &[u8], lengths: &[u8]) -> Outcome {
    let (mut src, mut read) = (BytesMut::new(), Vec::new());
    for piece in pieces(stream, lengths) {
        src.extend_from_slice(piece);
        loop {
            match codec.decode(&mut src) {
                Ok(Some(Incoming::Message(message))) => {
                    assert!(message.len() <= MAX, "{} bytes", message.len());
                    read.push(Incoming::Message(message));
                }
                Ok(Some(incoming)) => read.push(incoming),
                Ok(None) => break,
                Err(error) => return (read, Some(discriminant(&error))),
            }
        }
        let most = if lengths.is_empty() { stream.len() } else { MAX + GROWTH };
        assert!(src.len() <= most.max(MAX + GROWTH), "{} bytes are held", src.len());
        drop(codec.take_reply());
    }
    (read, None)
}

fn written(codec: &mut WebSocketCodec, packet: impl Into<Outgoing>) -> Vec<u8> {
    let mut dst = WriteBuffer::new();
    codec.encode(packet.into(), &mut dst).expect("it is in order");
    dst.to_vec() // nothing here is long enough to be shared
}

/// The two ends after the handshake, where the client takes the answer.
fn opened(input: &Input, lengths: &[u8]) -> Option<[WebSocketCodec; 2]> {
    let (mut client, mut server) =
        (input.client.protocol().codec(), input.server.protocol().codec());
    let offer = Offer::new("h", "/ws", *b"the sample nonce").expect("an offer");
    let asked = written(&mut client, offer);
    let (requests, _) = read(&mut server, &asked, lengths);
    let [Incoming::Request(request)] = &requests[..] else { panic!("{requests:?}") };
    let accept = Upgrade::from_request(request).expect("in order").accept();
    let answer = changed(written(&mut server, accept), &input.answer);
    let (answers, _) = read(&mut client, &answer, lengths);
    matches!(answers.first(), Some(Incoming::Accepted(_))).then_some([client, server])
}

/// A client's frame has a random mask; with none, a run can be repeated.
fn without_mask(mut frame: Vec<u8>) -> Vec<u8> {
    let key_at = match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let (head, payload) = frame.split_at_mut(key_at + 4);
    let key = &mut head[key_at..];
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    key.fill(0);
    frame
}

fuzz_target!(|input: Input| {
    let is_answer_whole = input.answer.iter().all(|&(_, by)| by == 0);
    let is_intact = is_answer_whole && input.frames.iter().all(|&(_, by)| by == 0);
    let messages: Vec<Message> = input
        .messages
        .iter()
        .map(|(is_text, bytes)| {
            let bytes = &bytes[..bytes.len().min(MAX / 3)]; // replacing a byte takes three
            if *is_text {
                Message::text(&*String::from_utf8_lossy(bytes))
            } else {
                Message::binary(bytes.to_vec())
            }
        })
        .collect();

    for from_client in [true, false] {
        let ends = opened(&input, &[]);
        assert_eq!(ends.is_some(), opened(&input, &input.lengths).is_some(), "by the split");
        let Some([mut client, mut server]) = ends else {
            assert!(!is_answer_whole, "they do not agree");
            return;
        };
        let writer = if from_client { &mut client } else { &mut server };
        let frames = messages.iter().map(|message| written(writer, message.clone()));
        let frames: Vec<Vec<u8>> =
            if from_client { frames.map(without_mask).collect() } else { frames.collect() };
        let stream = changed(frames.concat(), &input.frames);

        let outcome = |lengths: &[u8]| {
            let [mut client, mut server] = opened(&input, &[]).expect("as before");
            read(if from_client { &mut server } else { &mut client }, &stream, lengths)
        };
        let whole = outcome(&[]);
        assert_eq!(whole, outcome(&input.lengths), "by the split");
        if is_intact {
            let sent: Vec<Incoming> = messages.iter().cloned().map(Incoming::Message).collect();
            assert_eq!(whole, (sent, None));
        }
    }
});
