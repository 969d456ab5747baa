//! Properties: any split, both roles, and tungstenite as the second opinion.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::protocol::{Role as PeerRole, WebSocket as Peer, WebSocketConfig};

use super::*;
use crate::codec::test_support::{End, Outcome, assert_split_is_unseen, encode_all, piece_lengths};

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let text = "[a-zé水𝄞]{0,40}".prop_map(Message::from);
    let bytes = prop::collection::vec(any::<u8>(), 0..200).prop_map(Message::from);
    let large = (126..70_000_usize).prop_map(|len| Message::from(vec![9; len]));
    prop::collection::vec(prop_oneof![4 => text, 4 => bytes, 1 => large], 0..8)
}

/// A frame that may be in order or not.
#[derive(Clone, Debug)]
struct AnyFrame {
    first: u8,
    payload: Vec<u8>,
    mask: bool,
    /// Bytes that its length is written with, if not the fewest.
    wide: Option<u8>,
}

impl AnyFrame {
    fn bytes(&self) -> Vec<u8> {
        let mut frame = masked(self.first, &self.payload);
        let short = self.payload.len() < 126;
        if let Some(wide) = self.wide.filter(|_| short) {
            let len = self.payload.len() as u64;
            let (form, skipped) = if wide == 2 { (126, 6) } else { (127, 0) };
            frame[1] = 0x80 | form;
            frame.splice(2..2, len.to_be_bytes()[skipped..].iter().copied());
        }
        if !self.mask {
            frame[1] &= 0x7f;
        }
        frame
    }
}

/// What a frame is to be, before it is known what comes before it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The first of a message or the next of one, as is due; the last one or not.
    Due {
        is_last: bool,
        is_text: bool,
    },
    Ping,
    Close,
    Any(u8),
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        20 => any::<(bool, bool)>().prop_map(|(is_last, is_text)| Kind::Due { is_last, is_text }),
        3 => Just(Kind::Ping),
        1 => Just(Kind::Close),
        1 => any::<u8>().prop_map(Kind::Any),
    ]
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let text = "[aé水𝄞]{0,12}".prop_map(String::into_bytes);
    let cut = ("[é水𝄞]{1,6}", 0..6_usize).prop_map(|(text, cut)| {
        let bytes = text.into_bytes();
        bytes[cut.min(bytes.len())..].to_vec()
    });
    let long = (100..400_usize).prop_map(|len| vec![b'l'; len]);
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    prop_oneof![20 => text, 1 => cut, 2 => long, 1 => noise]
}

fn frames() -> impl Strategy<Value = Vec<AnyFrame>> {
    let mask = prop_oneof![50 => Just(true), 1 => Just(false)];
    let wide = prop_oneof![80 => Just(None), 1 => Just(Some(2)), 1 => Just(Some(8))];
    // Not 1014, which was registered later than tungstenite was taught its codes.
    let codes = prop_oneof![990..1014_u16, 1015..1018_u16];
    let close = (codes, "[aé]{0,4}")
        .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
    let frame = (kinds(), payloads(), close, mask, wide);
    prop::collection::vec(frame, 0..12).prop_map(|frames| {
        let mut begun = false;
        let in_order = frames.into_iter().map(|(kind, payload, close, mask, wide)| {
            let (first, payload) = match kind {
                Kind::Due { is_last, is_text } => {
                    let opcode = if begun { 0 } else { 2 - u8::from(is_text) };
                    begun = !is_last;
                    (u8::from(is_last) << 7 | opcode, payload)
                }
                Kind::Ping => (0x89, payload),
                Kind::Close => (0x88, close),
                Kind::Any(first) => (first, payload),
            };
            AnyFrame { first, payload, mask, wide }
        });
        in_order.collect()
    })
}

/// A peer that has sent these bytes, and keeps quiet.
struct Sent<'a>(Cursor<&'a [u8]>);

impl Read for Sent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            got => Ok(got),
        }
    }
}

impl Write for Sent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite reads in the same bytes, and the error that ends it, if one does.
fn second_opinion(stream: &[u8], max: usize) -> (Vec<Incoming>, Option<tungstenite::Error>) {
    let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
    let sent = Sent(Cursor::new(stream));
    let mut peer = Peer::from_raw_socket(sent, PeerRole::Server, Some(config));
    let mut read = Vec::new();
    loop {
        match peer.read() {
            Ok(tungstenite::Message::Text(text)) => read.push(super::text(&text)),
            Ok(tungstenite::Message::Binary(bytes)) => {
                read.push(Incoming::Message(Message::Binary(bytes)));
            }
            Ok(tungstenite::Message::Close(None)) => read.push(Incoming::Closed(None)),
            Ok(tungstenite::Message::Close(Some(close))) => {
                read.push(closed(close.code.into(), &close.reason));
            }
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return (read, None),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (read, None);
            }
            Err(error) => return (read, Some(error)),
        }
    }
}

/// Holds that both read the same messages and come to the same verdict, with the differences that are known.
fn assert_agreement(ours: &Outcome<Incoming, WebSocketError>, stream: &[u8], max: usize) {
    let (theirs, their_error) = second_opinion(stream, max);
    let End::Failed(error) = &ours.end else {
        assert_eq!(ours.packets, theirs);
        assert!(their_error.is_none(), "refused by tungstenite alone: {their_error:?}");
        return;
    };
    // What is refused here is refused there, after the same messages, but for three things.
    match error {
        // A length has one form here, and any there; a close that may not be is told there as one that says so.
        WebSocketError::LengthNotMinimal { .. }
        | WebSocketError::ControlTooLong { .. }
        | WebSocketError::ReservedCloseCode { .. } => {
            assert_eq!(ours.packets[..], theirs[..ours.packets.len()]);
        }
        // A fault that shows before the frame, or its header, has wholly come is told there when it has.
        _ if their_error.is_none() => assert_eq!(ours.packets, theirs, "{error}"),
        _ => assert_eq!(ours.packets, theirs, "{error}; {their_error:?}"),
    }
}

proptest! {
    #[test]
    fn what_one_end_writes_the_other_reads(messages in messages(), lengths in piece_lengths()) {
        for (mut writer, mut reader) in
            [(Frames::client(), Frames::server()), (Frames::server(), Frames::client())]
        {
            let stream = encode_all(&mut writer, messages.clone()).expect("any message");
            let read = decode_pieces(&mut reader, &stream, &lengths).complete();
            let expected: Vec<_> = messages.iter().cloned().map(Incoming::Message).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn tungstenite_agrees_whatever_the_frames_and_their_split(
        frames in frames(),
        cut in 0..40_usize,
        lengths in piece_lengths(),
    ) {
        let max = 1000;
        let stream: Vec<u8> = frames.iter().flat_map(AnyFrame::bytes).collect();
        let stream = &stream[..stream.len() - if cut < 20 { 0 } else { (cut - 20).min(stream.len()) }];
        let server = Frames::new(Role::Server, Settings::new(max, max, 1000));
        let ours = assert_split_is_unseen(&server, stream, &lengths);
        assert_agreement(&ours, stream, max);
    }
}

/// The comparison above is worth something only if its streams get far.
#[test]
fn the_streams_of_these_tests_are_neither_all_valid_nor_all_refused() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut read, mut refused, mut whole) = (0, 0, 0);
    for _ in 0..300 {
        let frames = frames().new_tree(&mut runner).expect("frames").current();
        let stream: Vec<u8> = frames.iter().flat_map(AnyFrame::bytes).collect();
        let outcome = decode_whole(&mut Frames::server(), &stream);
        read += outcome.packets.len();
        match outcome.end {
            End::Failed(_) => refused += 1,
            _ => whole += 1,
        }
    }
    assert!(
        read > 200 && refused > 50 && whole > 50,
        "{read} read, {refused} refused, {whole} not"
    );
}
