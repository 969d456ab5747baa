//! Properties: any split, both roles, and tungstenite as the second opinion.

use proptest::prelude::*;

use super::*;
use crate::codec::test_support::{assert_split_is_unseen, encode_all, piece_lengths};

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let text = "[a-zé水𝄞]{0,40}".prop_map(Message::from);
    let bytes = prop::collection::vec(any::<u8>(), 0..200).prop_map(Message::from);
    let large = (126..70_000_usize).prop_map(|len| Message::from(vec![9; len]));
    prop::collection::vec(prop_oneof![4 => text, 4 => bytes, 1 => large], 0..8)
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
}
