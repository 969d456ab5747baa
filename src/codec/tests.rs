//! What the traits promise of a codec that says nothing of its own, and what all codecs here have in common.

use std::convert::Infallible;

use super::*;

/// A codec with what it must have and no more.
struct Plain;

impl Decoder for Plain {
    type Packet = BytesMut;
    type Error = Infallible;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Infallible> {
        Ok(Some(src.split()).filter(|all| !all.is_empty()))
    }
}

impl Encoder<BytesMut> for Plain {
    type Error = Infallible;

    fn encode(&mut self, packet: BytesMut, dst: &mut WriteBuffer) -> Result<(), Infallible> {
        dst.extend_from_slice(&packet);
        Ok(())
    }
}

#[test]
fn what_a_codec_leaves_out_it_has_nothing_to_say_to() {
    let mut codec = Plain;
    assert_eq!(codec.decode_eof(&mut BytesMut::from("the rest")), Ok(Some("the rest".into())));
    assert_eq!(codec.decode_eof(&mut BytesMut::new()), Ok(None));
    const { assert!(!Plain::SPEAKS) };
    assert!(!codec.holds_partial() && !codec.is_blocked() && !codec.is_silent());
    assert_eq!((codec.take_reply(), codec.ending(), codec.probe()), (None, None, None));
    assert_eq!(codec.farewell(CloseReason::Shutdown), None);
    assert_eq!(Plain::detach("a packet".into()), "a packet");
    assert_eq!(codec.frame_len(&"not known".into()), 0);
    assert!(!codec.is_stateless(&"not known".into()), "who knows");
}

#[test]
fn one_encoding_serves_all_where_it_depends_on_the_packet_alone() {
    let packet = Bytes::from_static(b"a packet");
    assert!(BytesCodec::new().is_stateless(&packet));
    assert!(DelimiterCodec::new(b"\n", 9).is_stateless(&packet));
    assert!(FixedLengthCodec::new(9).is_stateless(&packet));
    assert!(LengthDelimitedCodec::new(9).is_stateless(&packet));
    assert!(LinesCodec::new(9).is_stateless(&"a line"));
    #[cfg(feature = "json")]
    assert!(JsonLines::<bool>::new(9).is_stateless(&true));
}
