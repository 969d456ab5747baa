//! The life of a connection: every state, every event, every transition.
//!
//! ```text
//! Connecting ──connected──▶ Open ──peer's end, half-open──▶ PeerEnded
//!                             │                                 │
//!             ┌────finish─────┼──close, or peer's end           │ close, finish
//!             ▼               ▼                                 │
//!         Finishing ──────▶ Flushing ◀──────────────────────────┘
//!             │     close,    │    └──sent, and the peer has ended──┐
//!             │ peer's end    │                                     │
//!             ▼ sent          ▼ sent                                ▼
//!         Finished ─close─▶ Lingering ──peer's end, too late─────▶ Closed
//!             └──────────────peer's end─────────────────────────────▲
//!                                            from every state: abort
//! ```
//!
//! An outbound connection that is closed or finished before it is made goes on to `Flushing` or `Finishing` once it is, so
//! that what was queued for it is sent.
//!
//! `Open`, `Finishing` and `Finished` read packets; `Open` and `PeerEnded` take packets to write. `Flushing` and `Lingering`
//! are the draining of the public documentation: what still comes is read and thrown away, because a socket that is closed
//! with input waiting in it destroys the output that is under way.

use crate::error::CloseReason;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// An outbound connection that is not made yet. Packets may be queued already.
    Connecting { then: Then },
    /// Both directions are open.
    Open,
    /// The peer has ended its stream, and this side may still write.
    PeerEnded,
    /// This side writes no more; what is queued is being sent. Packets are still read.
    Finishing,
    /// This side has ended its stream. Packets are still read.
    Finished,
    /// Closing: what is queued is being sent, what comes is thrown away.
    Flushing { reason: CloseReason, peer_ended: bool },
    /// Closing: this side has ended its stream and waits, for a bounded time, for the peer to end its own.
    Lingering { reason: CloseReason },
    /// Over. `reset`: the peer is to see a reset rather than an end.
    Closed { reason: CloseReason, reset: bool },
}

/// What becomes of an outbound connection once it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    Open,
    /// `finish` was called: what is queued is sent, and packets are read.
    Finish,
    /// It is to be closed, but for what is queued.
    Close(CloseReason),
}

/// What happens to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The outbound connection has been made.
    Connected,
    /// The peer ended its stream, and all that came before has been delivered.
    PeerEnd { half_open: bool },
    /// Nothing more will be written.
    Finish,
    /// To be closed, with nothing lost.
    Close(CloseReason),
    /// The outbox is empty and the socket has taken it all.
    Sent,
    /// The peer had long enough to end its stream.
    LingerOver,
    /// To be closed now, dropping what is queued.
    Abort { reason: CloseReason, reset: bool },
}

/// What the loop has to do about a transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Effect {
    Nothing,
    /// Send what is queued; then comes `Event::Sent`.
    Flush,
    /// End this side of the stream (`shutdown(SHUT_WR)`).
    EndStream,
    /// End this side of the stream, and start the linger deadline.
    EndStreamAndLinger,
    /// Drop the queues and hand the connection to the reaper.
    Release,
}

/// What is to be done with input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    Decode,
    Discard,
    Ignore,
}

impl State {
    #[inline]
    pub(crate) fn input(self) -> Input {
        match self {
            Self::Open | Self::Finishing | Self::Finished => Input::Decode,
            Self::Flushing { peer_ended: false, .. } | Self::Lingering { .. } => Input::Discard,
            Self::Connecting { .. }
            | Self::PeerEnded
            | Self::Flushing { peer_ended: true, .. }
            | Self::Closed { .. } => Input::Ignore,
        }
    }

    /// Whether packets still go to `on_read`, or wait for one.
    pub(crate) fn delivers(self) -> bool {
        matches!(self, Self::Open | Self::PeerEnded | Self::Finishing | Self::Finished)
    }

    /// Whether packets may still be queued.
    #[inline]
    pub(crate) fn is_writable(self) -> bool {
        matches!(self, Self::Connecting { then: Then::Open } | Self::Open | Self::PeerEnded)
    }

    /// Whether an empty outbox means something here: `Event::Sent` is due.
    #[inline]
    pub(crate) fn awaits_sent(self) -> bool {
        matches!(self, Self::Finishing | Self::Flushing { .. })
    }

    #[inline]
    pub(crate) fn is_connecting(self) -> bool {
        matches!(self, Self::Connecting { .. })
    }

    /// Whether it is taking leave of a peer that reads too slowly, which has been told and counted.
    pub(crate) fn is_dismissed(self) -> bool {
        matches!(self, Self::Flushing { reason: CloseReason::SlowConsumer, .. })
    }

    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether the connection is on its way out, or over.
    pub(crate) fn is_closing(self) -> bool {
        matches!(
            self,
            Self::Connecting { then: Then::Close(_) }
                | Self::Flushing { .. }
                | Self::Lingering { .. }
                | Self::Closed { .. }
        )
    }

    /// The next state, and what to do about it. Total: an event that means nothing in a state changes nothing.
    pub(crate) fn on(self, event: Event) -> (Self, Effect) {
        use CloseReason::Peer;
        use Effect::{EndStream, EndStreamAndLinger, Flush, Nothing, Release};
        let closed = |reason| (Self::Closed { reason, reset: false }, Release);
        let flushing = |reason, peer_ended| (Self::Flushing { reason, peer_ended }, Flush);
        match (self, event) {
            (Self::Closed { .. }, _) => (self, Nothing),
            // What has been sent in full is not made unsent by a late failure: the first reason stands.
            (Self::Lingering { reason }, Event::Abort { reset, .. }) => {
                (Self::Closed { reason, reset }, Release)
            }
            (_, Event::Abort { reason, reset }) => (Self::Closed { reason, reset }, Release),

            (Self::Connecting { then }, Event::Connected) => match then {
                Then::Open => (Self::Open, Flush),
                Then::Finish => (Self::Finishing, Flush),
                Then::Close(reason) => flushing(reason, false),
            },
            (Self::Connecting { then: Then::Open | Then::Finish }, Event::Close(reason)) => {
                (Self::Connecting { then: Then::Close(reason) }, Nothing)
            }
            (Self::Connecting { then: Then::Open }, Event::Finish) => {
                (Self::Connecting { then: Then::Finish }, Nothing)
            }

            (Self::Open, Event::PeerEnd { half_open: true }) => (Self::PeerEnded, Nothing),
            (Self::Open | Self::Finishing, Event::PeerEnd { .. }) => flushing(Peer, true),
            (Self::Open, Event::Finish) => (Self::Finishing, Flush),
            (Self::Open | Self::Finishing, Event::Close(reason)) => flushing(reason, false),

            (Self::PeerEnded, Event::Close(reason)) => flushing(reason, true),
            (Self::PeerEnded, Event::Finish) => flushing(Peer, true),

            (Self::Finishing, Event::Sent) => (Self::Finished, EndStream),
            (Self::Finished, Event::PeerEnd { .. }) => closed(Peer),
            (Self::Finished, Event::Close(reason)) => {
                (Self::Lingering { reason }, EndStreamAndLinger)
            }

            (Self::Flushing { reason, .. }, Event::PeerEnd { .. }) => flushing(reason, true),
            (Self::Flushing { reason, peer_ended: true }, Event::Sent) => closed(reason),
            (Self::Flushing { reason, peer_ended: false }, Event::Sent) => {
                (Self::Lingering { reason }, EndStreamAndLinger)
            }

            (Self::Lingering { reason }, Event::PeerEnd { .. } | Event::LingerOver) => {
                closed(reason)
            }

            (
                Self::Connecting { .. }
                | Self::Open
                | Self::PeerEnded
                | Self::Finishing
                | Self::Finished
                | Self::Flushing { .. }
                | Self::Lingering { .. },
                _,
            ) => (self, Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: CloseReason = CloseReason::Local;
    const OTHER: CloseReason = CloseReason::Forced;

    fn all_states() -> Vec<State> {
        let mut states = vec![
            State::Connecting { then: Then::Open },
            State::Connecting { then: Then::Finish },
            State::Connecting { then: Then::Close(REASON) },
            State::Open,
            State::PeerEnded,
            State::Finishing,
            State::Finished,
            State::Lingering { reason: REASON },
        ];
        for flag in [false, true] {
            states.push(State::Flushing { reason: REASON, peer_ended: flag });
            states.push(State::Closed { reason: REASON, reset: flag });
        }
        states
    }

    fn all_events() -> Vec<Event> {
        let mut events = vec![
            Event::Connected,
            Event::Finish,
            Event::Close(OTHER),
            Event::Sent,
            Event::LingerOver,
        ];
        for flag in [false, true] {
            events.push(Event::PeerEnd { half_open: flag });
            events.push(Event::Abort { reason: OTHER, reset: flag });
        }
        events
    }

    #[test]
    fn what_may_be_done_in_each_state() {
        let told =
            |of: fn(State) -> bool| -> Vec<bool> { all_states().into_iter().map(of).collect() };
        let (no, yes) = (false, true);
        // Connecting (to be open, finished, closed), Open, PeerEnded, Finishing, Finished, Lingering, Flushing and
        // Closed, those two twice.
        let writable = [yes, no, no, yes, yes, no, no, no, no, no, no, no];
        let delivers = [no, no, no, yes, yes, yes, yes, no, no, no, no, no];
        let connecting = [yes, yes, yes, no, no, no, no, no, no, no, no, no];
        let awaits_sent = [no, no, no, no, no, yes, no, no, yes, no, yes, no];
        let closing = [no, no, yes, no, no, no, no, yes, yes, yes, yes, yes];
        let closed = [no, no, no, no, no, no, no, no, no, yes, no, yes];
        assert_eq!(told(State::is_writable), writable);
        assert_eq!(told(State::delivers), delivers);
        assert_eq!(told(State::is_connecting), connecting);
        assert_eq!(told(State::awaits_sent), awaits_sent);
        assert_eq!(told(State::is_closing), closing);
        assert_eq!(told(State::is_closed), closed);
    }

    #[test]
    fn nothing_leaves_closed() {
        for state in all_states().into_iter().filter(|state| state.is_closed()) {
            for event in all_events() {
                assert_eq!(state.on(event), (state, Effect::Nothing), "{state:?} on {event:?}");
            }
        }
    }

    #[test]
    fn release_comes_exactly_with_closed() {
        for state in all_states().into_iter().filter(|state| !state.is_closed()) {
            for event in all_events() {
                let (next, effect) = state.on(event);
                let released = effect == Effect::Release;
                assert_eq!(next.is_closed(), released, "{state:?} on {event:?} is {next:?}");
            }
        }
    }

    #[test]
    fn an_abort_closes_every_state() {
        for state in all_states() {
            let (next, _) = state.on(Event::Abort { reason: OTHER, reset: true });
            assert!(next.is_closed(), "{state:?}");
        }
    }

    #[test]
    fn what_closes_never_takes_a_packet_again() {
        for state in all_states().into_iter().filter(|state| state.is_closing()) {
            for event in all_events() {
                let (next, _) = state.on(event);
                assert!(next.is_closing(), "{state:?} on {event:?} came back as {next:?}");
                assert!(!next.is_writable());
                assert_ne!(next.input(), Input::Decode);
            }
        }
    }

    #[test]
    fn every_life_ends_within_four_steps_of_a_close() {
        for state in all_states() {
            let mut now = state;
            for event in [Event::Close(OTHER), Event::Connected, Event::Sent, Event::LingerOver] {
                now = now.on(event).0;
            }
            assert!(now.is_closed(), "{state:?} hangs in {now:?}");
        }
    }

    #[test]
    fn a_close_ends_the_stream_before_it_lets_go_unless_the_peer_has_ended() {
        let (flushing, effect) = State::Open.on(Event::Close(REASON));
        assert_eq!(effect, Effect::Flush);
        let (lingering, effect) = flushing.on(Event::Sent);
        assert_eq!(effect, Effect::EndStreamAndLinger);
        assert_eq!(lingering.input(), Input::Discard);
        assert_eq!(
            lingering.on(Event::PeerEnd { half_open: false }),
            (State::Closed { reason: REASON, reset: false }, Effect::Release)
        );
        let (flushing, _) = State::Open.on(Event::PeerEnd { half_open: false });
        assert_eq!(
            flushing.on(Event::Sent),
            (State::Closed { reason: CloseReason::Peer, reset: false }, Effect::Release)
        );
    }

    #[test]
    fn a_late_failure_does_not_rewrite_the_reason() {
        let lingering = State::Lingering { reason: REASON };
        let (closed, _) = lingering.on(Event::Abort { reason: OTHER, reset: false });
        assert_eq!(closed, State::Closed { reason: REASON, reset: false });
        let flushing = State::Flushing { reason: REASON, peer_ended: false };
        let (closed, _) = flushing.on(Event::Abort { reason: OTHER, reset: false });
        assert_eq!(closed, State::Closed { reason: OTHER, reset: false }, "output was lost");
    }
}
