//! WebSocket (RFC 6455).

mod handshake;

pub use self::handshake::{Accept, Answer, HandshakeError, Offer, Refusal, Upgrade};
