//! How a WebSocket connection says why it ends.

use std::fmt;

use super::Text;
use super::error::WebSocketError;
use crate::error::CloseReason;

/// Why a peer closes, as a number: RFC 6455, section 7.4, and the registry that it founded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection has been fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server stops, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of message that this side has no use for: binary where it reads text, say.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: a message that is not what its kind says: text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: against this side's policy, whatever that is.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message over this side's limits.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: a client wanted an extension that the server did not agree to.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: something unexpected happened on this side.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: too much to do at the moment.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got no good answer from behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// A code that may stand in a close frame: 1000 to 1003 and 1007 to 1014, 3000 to 3999 (registered by libraries and
    /// applications), 4000 to 4999 (agreed on in private). `None` for every other number.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// What a peer is told whose connection this side closes.
    pub(super) fn of(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Shutdown | CloseReason::Forced | CloseReason::Idle => Self::GOING_AWAY,
            CloseReason::ProtocolError => Self::PROTOCOL_ERROR,
            CloseReason::SlowConsumer => Self::TRY_AGAIN_LATER,
            CloseReason::IoError | CloseReason::HandlerError | CloseReason::HandlerPanic => {
                Self::INTERNAL_ERROR
            }
            CloseReason::Peer | CloseReason::Local => Self::NORMAL,
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a close frame says: a code, and a few words for a person who debugs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloseFrame {
    /// Why.
    pub code: CloseCode,
    /// At most 123 bytes; often empty.
    pub reason: Text,
}

impl CloseFrame {
    /// The most bytes that a reason may have.
    pub const MAX_REASON: usize = 123;

    /// A code with words to it.
    ///
    /// ```
    /// use wheelhouse::codec::websocket::{CloseCode, CloseFrame};
    ///
    /// let farewell = CloseFrame::new(CloseCode::POLICY_VIOLATION, "one message a second, please");
    /// assert_eq!(farewell.to_string(), "1008: one message a second, please");
    /// ```
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<Text>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The payload of a close frame; `None` where it is empty.
    pub(super) fn read(payload: &[u8]) -> Result<Option<Self>, WebSocketError> {
        let [high, low, reason @ ..] = payload else {
            return if payload.is_empty() { Ok(None) } else { Err(WebSocketError::CloseTooShort) };
        };
        let number = u16::from_be_bytes([*high, *low]);
        let Some(code) = CloseCode::new(number) else {
            return Err(WebSocketError::ReservedCloseCode { code: number });
        };
        let reason = str::from_utf8(reason).map_err(|_| WebSocketError::ReasonNotUtf8)?;
        Ok(Some(Self::new(code, reason)))
    }
}

impl From<CloseCode> for CloseFrame {
    fn from(code: CloseCode) -> Self {
        Self::new(code, Text::new())
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => self.code.fmt(f),
            reason => write!(f, "{}: {reason}", self.code),
        }
    }
}
