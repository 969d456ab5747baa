//! One client: what it is called, where it is, how fast it may go. What it may do with that is the hub's.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use wheelhouse::ConnectionId;

use crate::names::Key;
use crate::pace::{Bucket, Rate};

/// Frames from one client that are no messages (typing, history) on top of those that are.
pub(crate) const OTHER_FRAMES: Rate = Rate { per_second: 15, burst: 50 };

/// Refusals that a client may collect before it is sent away: forty at once, and one a second.
pub(crate) const PATIENCE: Rate = Rate { per_second: 1, burst: 40 };

/// How often the others are told that somebody is typing.
const TYPING: Rate = Rate { per_second: 1, burst: 2 };

/// How far a client has introduced itself.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It has said nothing yet: it hears the lobby, and nobody sees it.
    Silent,
    /// It has a name.
    Known(Person),
}

/// Who a client is, once it has said so.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: Arc<str>,
    pub(crate) key: Key,
    /// It said hello, and so understands more than messages.
    pub(crate) is_rich: bool,
    /// Where it is, in the order in which it came; what it says without a room goes to `current`.
    pub(crate) rooms: Vec<Key>,
    pub(crate) current: Option<Key>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ConnectionId,
    pub(crate) address: IpAddr,
    /// What its nonces are unique in, and its rooms belong to. Never shown to anybody.
    pub(crate) session: Arc<str>,
    pub(crate) stage: Stage,
    /// The last message there was when it came: what is older it has not heard.
    pub(crate) came_after: u64,
    /// What is older it has been told, though it only listens.
    pub(crate) is_replayed: bool,
    pub(crate) frames: Bucket,
    pub(crate) messages: Bucket,
    patience: Bucket,
    /// Its patience was worn out, and its connection closes.
    pub(crate) is_sent_away: bool,
    typing: Bucket,
    /// Pages of history that it waits for.
    pub(crate) pages: usize,
    /// The name that it may take, by the word of all nodes.
    pub(crate) granted: Option<Key>,
    /// Frames that wait until the nodes have agreed on its name: the one that needs it, and those behind.
    pub(crate) put_off: VecDeque<String>,
    /// Its connection has ended meanwhile.
    pub(crate) is_gone: bool,
}

impl Client {
    pub(crate) fn new(
        id: ConnectionId,
        address: IpAddr,
        session: Arc<str>,
        came_after: u64,
        now: Instant,
    ) -> Self {
        let full = Bucket::full(now);
        let (frames, messages, patience, typing) = (full, full, full, full);
        let stage = Stage::Silent;
        let (granted, put_off) = (None, VecDeque::new());
        Self {
            id,
            address,
            session,
            stage,
            came_after,
            is_replayed: false,
            frames,
            messages,
            patience,
            is_sent_away: false,
            typing,
            pages: 0,
            granted,
            put_off,
            is_gone: false,
        }
    }

    pub(crate) fn person(&self) -> Option<&Person> {
        match &self.stage {
            Stage::Silent => None,
            Stage::Known(person) => Some(person),
        }
    }

    pub(crate) fn person_mut(&mut self) -> Option<&mut Person> {
        match &mut self.stage {
            Stage::Silent => None,
            Stage::Known(person) => Some(person),
        }
    }

    /// Whether it said hello, and so understands more than messages.
    pub(crate) fn is_rich(&self) -> bool {
        self.person().is_some_and(|person| person.is_rich)
    }

    pub(crate) fn may_tell_typing(&mut self, now: Instant) -> bool {
        self.typing.take(TYPING, now).is_ok()
    }

    /// Counts one refusal for going too fast. Says whether it was one too many.
    pub(crate) fn wears_patience_out(&mut self, now: Instant) -> bool {
        self.patience.take(PATIENCE, now).is_err()
    }
}

/// Whom an address stands for: in IPv6 a whole /64, since that is what one subscriber has.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_has_one_address_or_one_network() {
        let of = |address: &str| subscriber(address.parse().expect("an address")).to_string();
        assert_eq!(of("10.1.2.3"), "10.1.2.3");
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
