//! The closures that a connection calls, and the error that they may return.

use std::fmt;

use crate::codec::Protocol;
use crate::context::Connection;
use crate::error::{BoxError, CloseReason, Error};

/// What a handler returns when it fails: any error, by `?`, or a message.
///
/// ```
/// use wheelhouse::HandlerError;
///
/// fn parse(text: &str) -> Result<u32, HandlerError> {
///     let number: u32 = text.parse()?;
///     if number > 100 {
///         return Err(HandlerError::msg(format!("{number} is over 100")));
///     }
///     Ok(number)
/// }
/// assert_eq!(parse("7").unwrap(), 7);
/// assert_eq!(parse("700").unwrap_err().to_string(), "700 is over 100");
/// ```
///
/// Like `anyhow::Error`, it is not itself a `std::error::Error`, so that `?` can take every type that is one.
pub struct HandlerError(BoxError);

impl HandlerError {
    /// An error that is only a message.
    #[must_use]
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(message.to_string().into())
    }

    pub(crate) fn from_boxed(source: BoxError) -> Self {
        Self(source)
    }

    /// The error inside.
    #[must_use]
    pub fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(source: E) -> Self {
        Self(Box::new(source))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) type OnRead<P, S> = Box<
    dyn FnMut(&mut S, &mut Connection<'_, P, S>, <P as Protocol>::In) -> Result<(), HandlerError>,
>;
type OnError<P, S> = Box<dyn FnMut(&mut S, &mut Connection<'_, P, S>, Error)>;
type OnClosed<P, S> = Box<dyn FnMut(&mut S, &mut Connection<'_, P, S>, CloseReason)>;
type OnEvent<P, S> = Box<dyn FnMut(&mut S, &mut Connection<'_, P, S>)>;

/// What one connection calls, and when.
///
/// Made by [`Connection::handlers`], which knows the types that the closures take, and returned from `on_accept`; replaced
/// at any time by [`Connection::set_handlers`]. A closure that is not set does nothing, but for two: without
/// [`on_read`](Self::on_read), packets wait in the inbox; without [`on_error`](Self::on_error), errors wait in a queue.
///
/// All closures of a server run on its loop's thread, one at a time, none inside another. Each gets the server's state and
/// the connection; from the connection, [`Connection::server`] reaches everything else.
#[must_use = "handlers are to be returned from `on_accept`, or set"]
pub struct Handlers<P: Protocol, S> {
    pub(crate) on_read: Option<OnRead<P, S>>,
    rare: Option<Box<Rare<P, S>>>,
}

/// What most connections call once, if ever.
pub(crate) struct Rare<P: Protocol, S> {
    pub(crate) on_error: Option<OnError<P, S>>,
    pub(crate) on_closed: Option<OnClosed<P, S>>,
    pub(crate) on_stop: Option<OnEvent<P, S>>,
    pub(crate) on_drain: Option<OnEvent<P, S>>,
    pub(crate) on_end: Option<OnEvent<P, S>>,
    pub(crate) on_connect: Option<OnEvent<P, S>>,
}

impl<P: Protocol, S> Default for Rare<P, S> {
    fn default() -> Self {
        Self {
            on_error: None,
            on_closed: None,
            on_stop: None,
            on_drain: None,
            on_end: None,
            on_connect: None,
        }
    }
}

impl<P: Protocol, S> Default for Handlers<P, S> {
    fn default() -> Self {
        Self { on_read: None, rare: None }
    }
}

impl<P: Protocol, S> Handlers<P, S> {
    /// Handlers that do nothing: packets and errors wait to be taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Called with each packet, in order.
    ///
    /// An `Err` goes to [`on_error`](Self::on_error), and the connection then closes.
    pub fn on_read<F>(mut self, on_read: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>, P::In) -> Result<(), HandlerError> + 'static,
    {
        self.on_read = Some(Box::new(on_read));
        self
    }

    /// Called when something has failed, before [`on_closed`](Self::on_closed).
    ///
    /// After a protocol error or a handler's error the peer can still be written to: what is written here is sent before
    /// the connection closes. After an error of the socket it cannot.
    pub fn on_error<F>(mut self, on_error: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>, Error) + 'static,
    {
        self.rare().on_error = Some(Box::new(on_error));
        self
    }

    /// Called exactly once, when the connection is over; packets that wait in its inbox can still be read here.
    pub fn on_closed<F>(mut self, on_closed: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>, CloseReason) + 'static,
    {
        self.rare().on_closed = Some(Box::new(on_closed));
        self
    }

    /// Called when the server begins to stop with a grace greater than zero: the connection may still read, write and
    /// close, until the grace is over. Without it, the connection closes as by `close()`.
    pub fn on_stop<F>(mut self, on_stop: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) + 'static,
    {
        self.rare().on_stop = Some(Box::new(on_stop));
        self
    }

    /// Called once for each fall of the outbox from its high mark to its low mark: time to go on writing.
    ///
    /// Also after a write that was refused with [`WriteError::Full`](crate::WriteError::Full) while the outbox was below
    /// its high mark: as soon as the peer has taken something and the outbox is at its low mark or below. A packet that is
    /// refused there once more, because it is nearly as large as the cap, is followed by another call, at the latest when
    /// the outbox is empty and takes anything.
    pub fn on_drain<F>(mut self, on_drain: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) + 'static,
    {
        self.rare().on_drain = Some(Box::new(on_drain));
        self
    }

    /// Called when the peer has ended its stream and everything in it has been delivered, where `Config::half_open` keeps
    /// this side open.
    pub fn on_end<F>(mut self, on_end: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) + 'static,
    {
        self.rare().on_end = Some(Box::new(on_end));
        self
    }

    /// Called when an outbound connection has been made. A failure to make it goes to [`on_error`](Self::on_error).
    pub fn on_connect<F>(mut self, on_connect: F) -> Self
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) + 'static,
    {
        self.rare().on_connect = Some(Box::new(on_connect));
        self
    }

    fn rare(&mut self) -> &mut Rare<P, S> {
        self.rare.get_or_insert_with(Box::default)
    }

    /// The rare handlers, where any is set.
    pub(crate) fn rare_mut(&mut self) -> Option<&mut Rare<P, S>> {
        self.rare.as_deref_mut()
    }

    pub(crate) fn into_rare(self) -> Option<Box<Rare<P, S>>> {
        self.rare
    }

    pub(crate) fn has_on_error(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.on_error.is_some())
    }
}

impl<P: Protocol, S> fmt::Debug for Handlers<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rare = self.rare.as_deref();
        f.debug_struct("Handlers")
            .field("on_read", &self.on_read.is_some())
            .field("on_error", &rare.is_some_and(|rare| rare.on_error.is_some()))
            .field("on_closed", &rare.is_some_and(|rare| rare.on_closed.is_some()))
            .field("on_stop", &rare.is_some_and(|rare| rare.on_stop.is_some()))
            .field("on_drain", &rare.is_some_and(|rare| rare.on_drain.is_some()))
            .field("on_end", &rare.is_some_and(|rare| rare.on_end.is_some()))
            .field("on_connect", &rare.is_some_and(|rare| rare.on_connect.is_some()))
            .finish()
    }
}
