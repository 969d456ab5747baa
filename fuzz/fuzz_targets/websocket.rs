//! WebSocket frames as a server reads them, against tungstenite on the same bytes: the same messages, the same verdict.
#![no_main]

use std::io::{self, Read, Write};

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Role, WebSocket as Peer, WebSocketConfig};
use wheelhouse::codec::Decoder;
use wheelhouse::codec::websocket::{CloseCode, Incoming, Message, WebSocket, WebSocketError};

/// The longest message and frame, on either side.
const MAX: usize = 1_000;

/// A frame, in order or not. Bytes alone would seldom come as far as a second one.
#[derive(Arbitrary, Debug)]
struct Frame<'a> {
    first: u8,
    is_masked: bool,
    key: [u8; 4],
    /// Writes the length in more bytes than it needs.
    is_wide: bool,
    payload: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    frames: Vec<Frame<'a>>,
    /// What comes behind them.
    noise: &'a [u8],
    /// The lengths of the pieces in which it all comes, over and over.
    lengths: Vec<u8>,
}

impl Frame<'_> {
    fn write(&self, stream: &mut Vec<u8>) {
        // One fault in many frames gets further than one in each.
        let first = if self.first & 0x0f > 10 { self.first & 0x8f } else { self.first };
        let mask_bit = u8::from(self.is_masked || self.key[0] > 8) << 7;
        stream.push(first);
        let len = self.payload.len();
        if self.is_wide && self.key[1] < 8 {
            stream.push(mask_bit | 127);
            stream.extend((len as u64).to_be_bytes());
        } else if len < 126 {
            stream.push(mask_bit | len as u8);
        } else {
            stream.push(mask_bit | 126);
            stream.extend((len.min(65_535) as u16).to_be_bytes());
        }
        if mask_bit == 0 {
            stream.extend(self.payload);
            return;
        }
        stream.extend(self.key);
        stream
            .extend(self.payload.iter().zip(self.key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

/// What came of a stream: what was read, and the error that ended it.
type Outcome = (Vec<Incoming>, Option<WebSocketError>);

fn ours<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut codec = WebSocket::new().max_message(MAX).max_fragments(u32::MAX).upgraded();
    let (mut src, mut read) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        loop {
            match codec.decode(&mut src) {
                Ok(Some(incoming)) => read.push(incoming),
                Ok(None) => break,
                Err(error) => {
                    assert!(codec.take_reply().is_some(), "a peer that is not told why: {error}");
                    return (read, Some(error));
                }
            }
        }
        assert!(src.len() <= MAX + 14, "{} bytes are held", src.len());
        drop(codec.take_reply());
    }
    (read, None)
}

/// A peer that has sent these bytes, and keeps quiet.
struct Sent<'a>(&'a [u8]);

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

/// Whether an incoming close is the same, as far as tungstenite tells: it does not know 1014, which was registered later.
fn is_close(incoming: &Incoming, close: Option<(u16, &str)>) -> bool {
    match (incoming, close) {
        (Incoming::Closed(None), None) => true,
        (Incoming::Closed(Some(ours)), Some((1002, "Protocol violation")))
            if ours.code == CloseCode::BAD_GATEWAY =>
        {
            true
        }
        (Incoming::Closed(Some(ours)), Some((code, reason))) => {
            u16::from(ours.code) == code && &*ours.reason == reason
        }
        _ => false,
    }
}

/// What tungstenite makes of the stream.
struct Theirs {
    /// How many messages were the same as ours.
    same: usize,
    /// The error that ended it.
    error: Option<tungstenite::Error>,
    /// It read a message more than was read here.
    went_on: bool,
}

/// Reads the stream as tungstenite does, and holds each message against ours.
fn compare(stream: &[u8], ours: &[Incoming], is_refused: bool) -> Theirs {
    let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
    let mut peer = Peer::from_raw_socket(Sent(stream), Role::Server, Some(config));
    let mut same = 0;
    loop {
        let theirs = match peer.read() {
            Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_)) => continue,
            Ok(message) => message,
            Err(tungstenite::Error::ConnectionClosed) => {
                return Theirs { same, error: None, went_on: false };
            }
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Theirs { same, error: None, went_on: false };
            }
            Err(error) => return Theirs { same, error: Some(error), went_on: false },
        };
        let Some(ours) = ours.get(same) else {
            assert!(is_refused, "read by tungstenite alone: {theirs:?}");
            return Theirs { same, error: None, went_on: true };
        };
        match &theirs {
            tungstenite::Message::Text(text) => {
                assert_eq!(*ours, Incoming::Message(Message::text(text.as_str())));
            }
            tungstenite::Message::Binary(bytes) => {
                assert_eq!(*ours, Incoming::Message(Message::binary(bytes.clone())));
            }
            tungstenite::Message::Close(close) => {
                let close =
                    close.as_ref().map(|close| (u16::from(close.code), close.reason.as_str()));
                assert!(is_close(ours, close), "{ours:?} and {close:?}");
            }
            other => panic!("{other:?}"),
        }
        same += 1;
    }
}

fuzz_target!(|input: Input<'_>| {
    let mut stream = Vec::new();
    input.frames.iter().for_each(|frame| frame.write(&mut stream));
    stream.extend(input.noise);

    let mut rest = &stream[..];
    let mut lengths = input.lengths.iter().cycle();
    let pieces = std::iter::from_fn(|| {
        let length = lengths.next().map_or(rest.len(), |&length| usize::from(length.max(1)));
        let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    });
    let (read, error) = ours(pieces);
    let (whole, whole_error) =
        ours(std::iter::once(&stream[..]).filter(|stream| stream.len() <= MAX));
    if stream.len() <= MAX {
        assert_eq!(
            (&read, error.as_ref().map(std::mem::discriminant)),
            (&whole, whole_error.as_ref().map(std::mem::discriminant))
        );
    }

    let Theirs { same, error: their_error, went_on } = compare(&stream, &read, error.is_some());
    let Some(error) = error else {
        assert_eq!(same, read.len(), "not read by tungstenite: {:?}", read.get(same));
        assert!(their_error.is_none(), "refused by tungstenite alone: {their_error:?}");
        return;
    };
    // What is refused here is refused there, after the same messages, but where it is told there only once the frame has
    // wholly come, and in three things: a length has one form here and any there, a control frame's length is looked at
    // later, and a close code that may not be is told there as one that says so.
    match error {
        WebSocketError::LengthNotMinimal { .. }
        | WebSocketError::ControlTooLong { .. }
        | WebSocketError::ReservedCloseCode { .. } => {}
        _ => assert!(same == read.len() && !went_on, "{error} here; {their_error:?} there"),
    }
});
