//! Codecs: where bytes become packets and packets become bytes.
//!
//! A [`Decoder`] is handed all bytes that have come and not been consumed, and answers with a packet, with `None` for
//! "more bytes, please", or with an error that ends the connection. An [`Encoder`] appends one packet's bytes to a
//! [`WriteBuffer`]. A [`Protocol`] makes one codec for each connection; a codec that is `Clone` is its own protocol.
//!
//! The loop drives a decoder as this plain code would:
//!
//! ```
//! # use bytes::BytesMut;
//! # use wheelhouse::codec::{BytesCodec, Decoder};
//! # fn handle(_: bytes::Bytes) {}
//! # let mut codec = BytesCodec::new();
//! # let mut src = BytesMut::from(&b"bytes that have come"[..]);
//! // after each read:
//! while let Some(packet) = codec.decode(&mut src)? {
//!     handle(packet);
//! }
//! // and once the peer has ended its stream:
//! while let Some(packet) = codec.decode_eof(&mut src)? {
//!     handle(packet);
//! }
//! assert!(src.is_empty(), "or the stream ended inside a packet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Codecs that are here
//!
//! | codec | packets | what ends one |
//! | --- | --- | --- |
//! | [`BytesCodec`] | `Bytes` | whatever came together |
//! | [`LinesCodec`] | `String` | a line feed, or CR and LF |
//! | [`DelimiterCodec`] | `Bytes` | any bytes that were agreed on |
//! | [`LengthDelimitedCodec`] | `Bytes` | a length in front |
//! | [`FixedLengthCodec`] | `Bytes` | a size that all have |
//! | `JsonLines` (feature `json`) | any serde type | a line feed |
//! | `http::Http` (feature `http`) | requests in, responses out | the empty line behind a request's headers |
//! | `websocket::WebSocket` (feature `websocket`) | requests, then messages | a request's headers; a message's last frame |
//! | `TokioCodec` (feature `tokio-codec`) | its codec's | what its codec, written for tokio-util, decides |
//!
//! What looks for the end of a packet has a maximum in its constructor. The codecs of this crate take time in
//! proportion to the bytes, however small the pieces are in which they come, and set no memory aside for bytes that
//! have not come. An error says what was found; at the start of a stream, also when that looks like another protocol:
//! an HTTP request, a TLS ClientHello and the like.
//!
//! # What a decoder may rely on
//!
//! - Bytes that it left in `src` are there again, at the same offset, in the next call; more may stand behind them. So it
//!   can remember how far it has looked and never look at a byte twice.
//! - It is never called again after an error.
//! - `src`'s spare capacity is the loop's business: a decoder need not reserve. A packet is best split off (`split_to`,
//!   `split`), which leaves what is free behind it to the packets that follow; to take `src` as a whole
//!   (`std::mem::take`) works, too, and costs them an allocation.
//!
//! # Protocols with a voice of their own
//!
//! Some protocols answer what no handler should have to: a ping, a close, a request that makes no sense. A decoder that sets
//! [`Decoder::SPEAKS`] is asked for such bytes at the moments that [`take_reply`](Decoder::take_reply),
//! [`farewell`](Decoder::farewell) and [`probe`](Decoder::probe) name. They go between two packets, never into one, and
//! ahead of the packets that a lagging peer keeps waiting; they have room outside the outbox's cap, so they are neither
//! refused nor kept waiting where a peer lags. At most one reply waits at a time, so a peer that asks without end and never
//! reads costs no memory. Only a packet that the decoder was blocked for ([`Decoder::is_blocked`]) is never passed by any of
//! this: it may be what makes the rest another protocol's, as the answer does that opens a WebSocket.
//!
//! # What it must do
//!
//! - Consume what it turns into a packet. Packet after packet from the same bytes is a fault; the loop names it and closes.
//! - Refuse a packet over its maximum from the first bytes that tell, before anything is reserved for it.
//! - Copy what is small if it wants to keep it: a packet split off `src` keeps the whole read buffer alive (see
//!   [`Decoder::detach`]).

mod bytes_codec;
mod delimiter;
mod detach;
mod fixed;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "json")]
mod json;
mod length_delimited;
mod lines;
mod scan;
mod sniff;
#[cfg(test)]
mod test_support;
#[cfg(feature = "tokio-codec")]
mod tokio_codec;
#[cfg(feature = "websocket")]
pub mod websocket;

use bytes::{Bytes, BytesMut};

pub use self::bytes_codec::BytesCodec;
pub use self::delimiter::{DelimiterCodec, DelimiterError};
pub use self::fixed::{FixedLengthCodec, FixedLengthError};
#[cfg(feature = "json")]
pub use self::json::{JsonLines, JsonLinesError};
pub use self::length_delimited::{
    LengthDelimitedBuilder, LengthDelimitedCodec, LengthDelimitedError, LengthField,
};
pub use self::lines::{LinesCodec, LinesError};
#[cfg(feature = "tokio-codec")]
pub use self::tokio_codec::TokioCodec;
pub use crate::buffer::WriteBuffer;
use crate::error::CloseReason;

/// Turns bytes into packets, a few at a time.
///
/// The contract is that of `tokio_util::codec::Decoder`, with the loop in the place of `Framed`.
pub trait Decoder {
    /// What the bytes become.
    type Packet;
    /// What can be wrong with them. It is told to `on_error`, and the connection closes.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes one packet off the front of `src`, or says `None` until more bytes have come.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be this protocol, however many more may come. The message should say what was found, where,
    /// and of what size.
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Packet>, Self::Error>;

    /// Takes the last packets, when the peer has ended its stream: called until it says `None`, also with an empty `src`.
    ///
    /// The default calls [`decode`](Self::decode). Bytes that remain after `None` are an unfinished packet, and the
    /// connection ends with [`Error::Truncated`](crate::Error::Truncated).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Self::Packet>, Self::Error> {
        self.decode(src)
    }

    /// Whether part of a packet is held in the decoder itself, with its bytes already consumed (a fragmented message,
    /// say). The loop counts it as a packet half arrived, for `Config::packet_timeout`.
    fn holds_partial(&self) -> bool {
        false
    }

    /// Whether this protocol has a voice of its own: without it, none of the methods below is ever called.
    const SPEAKS: bool = false;

    /// Whether the next packet has to wait for something that this side writes: the answer to a request, say. The decoder
    /// says `None` meanwhile, and is called again once a packet has been written that ends the wait. The bytes that wait
    /// for it do not count as a packet half arrived. A plain look at the decoder's state: it is asked often.
    fn is_blocked(&self) -> bool {
        false
    }

    /// What the protocol answers by itself to what has been decoded: whole frames. They go behind the packets that the
    /// socket takes at once, and ahead of those that have to wait.
    ///
    /// Asked for after each batch of packets, unless the last reply still waits for the peer; a decoder must bound what it
    /// keeps meanwhile (the newest pongs, say). Also asked for after an error of [`decode`](Self::decode): that reply is the
    /// last word, and goes behind everything.
    fn take_reply(&mut self) -> Option<Bytes> {
        None
    }

    /// Whether [`take_reply`](Self::take_reply) and [`ending`](Self::ending) would both say `None` now, as they nearly
    /// always do: then they need not be asked. A plain look at the decoder's state. The default does not know.
    fn is_silent(&self) -> bool {
        false
    }

    /// Whether the protocol has come to its own end, by what was decoded or encoded: the connection then closes for this
    /// reason, once what was written before has been sent.
    fn ending(&self) -> Option<CloseReason> {
        None
    }

    /// The last words to a peer whose connection closes, and why it does: asked for once, where this side closes rather than
    /// aborts. ([`CloseReason::ProtocolError`] without an error of the decoder's own is a packet that stayed half arrived
    /// for too long.) They go behind what waits; but where the peer itself has ended the conversation
    /// ([`CloseReason::Peer`]) or does not read ([`CloseReason::SlowConsumer`]), ahead of it, and what waits is dropped.
    fn farewell(&mut self, reason: CloseReason) -> Option<Bytes> {
        let _ = reason;
        None
    }

    /// A question that makes a silent peer show that it is there: a ping. Asked for after
    /// [`Config::probe_after`](crate::Config::probe_after) without input.
    fn probe(&mut self) -> Option<Bytes> {
        None
    }

    /// Makes a packet own its bytes, for a stay of unknown length in a queue.
    ///
    /// The loop calls this when a packet is to wait in an inbox instead of being handled at once. A decoder whose packets
    /// are slices of the read buffer should copy small ones here, so that a packet of ten bytes does not keep 64 KiB
    /// alive. The default returns the packet as it is.
    fn detach(packet: Self::Packet) -> Self::Packet {
        packet
    }
}

/// Turns a packet into bytes.
pub trait Encoder<Packet> {
    /// Why a packet cannot be sent: too long for its length field, say.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Appends the packet's bytes to `dst`.
    ///
    /// `dst` dereferences to a `BytesMut`, so every `BufMut` method works on it; what stands there already belongs to
    /// earlier packets. A large `Bytes` goes in without a copy by [`WriteBuffer::put_shared`].
    ///
    /// # Errors
    ///
    /// When the packet cannot be represented. What was appended for it is taken back.
    fn encode(&mut self, packet: Packet, dst: &mut WriteBuffer) -> Result<(), Self::Error>;

    /// How many bytes [`encode`](Self::encode) will append for this packet: exactly, or a lower bound.
    ///
    /// The hard cap of an outbox is checked with it before the packet is consumed, so that a packet that does not fit can
    /// be given back. With the default, 0, an outbox may pass its cap by one packet.
    fn frame_len(&self, packet: &Packet) -> usize {
        let _ = packet;
        0
    }

    /// Whether this packet's bytes depend on the packet alone, and writing it leaves this codec as it is, so that one
    /// encoding serves every connection of a broadcast. `false` by default: each connection then encodes for itself.
    fn is_stateless(&self, packet: &Packet) -> bool {
        let _ = packet;
        false
    }
}

/// A protocol: makes one codec for each connection.
///
/// A codec that is `Clone`, and that reads and writes the same kind of packet, is its own protocol: each connection gets a
/// clone. Implement this yourself where reading and writing differ:
///
/// ```
/// use wheelhouse::codec::{BytesCodec, Decoder, Encoder, Protocol, WriteBuffer};
/// # use bytes::{Bytes, BytesMut};
/// /// Requests are bytes; replies are numbers.
/// struct Counting;
/// struct CountingCodec(BytesCodec);
///
/// impl Protocol for Counting {
///     type In = Bytes;
///     type Out = u64;
///     type Codec = CountingCodec;
///
///     fn codec(&mut self) -> CountingCodec {
///         CountingCodec(BytesCodec::new())
///     }
/// }
/// # impl Decoder for CountingCodec {
/// #     type Packet = Bytes;
/// #     type Error = std::convert::Infallible;
/// #     fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, Self::Error> { self.0.decode(src) }
/// # }
/// # impl Encoder<u64> for CountingCodec {
/// #     type Error = std::convert::Infallible;
/// #     fn encode(&mut self, n: u64, dst: &mut WriteBuffer) -> Result<(), Self::Error> {
/// #         dst.extend_from_slice(n.to_string().as_bytes());
/// #         Ok(())
/// #     }
/// # }
/// ```
pub trait Protocol: 'static {
    /// What handlers receive.
    type In: 'static;
    /// What handlers write.
    type Out: 'static;
    /// The codec of one connection.
    type Codec: Decoder<Packet = Self::In> + Encoder<Self::Out> + 'static;

    /// A codec for a new connection.
    fn codec(&mut self) -> Self::Codec;
}

impl<C> Protocol for C
where
    C: Decoder + Encoder<<C as Decoder>::Packet> + Clone + 'static,
    <C as Decoder>::Packet: 'static,
{
    type In = <C as Decoder>::Packet;
    type Out = <C as Decoder>::Packet;
    type Codec = C;

    fn codec(&mut self) -> C {
        self.clone()
    }
}

#[cfg(test)]
mod tests;
