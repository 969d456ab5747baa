//! What the public types promise beyond their methods: to cross threads or to stay, to be errors like others. The compiler
//! checks most of it; a type that loses one of these breaks whoever relied on it, without a word in its own file.

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomData;

use wheelhouse::codec::http::{
    BadOrigin, Files, FilesError, Http, HttpError, Metrics, OriginRefused, Origins, Request,
    Response, ResponseError,
};
use wheelhouse::codec::websocket::{
    CloseCode, CloseFrame, HandshakeError, Incoming, Message, Offer, Outgoing, Refusal, Text,
    WebSocket, WebSocketError,
};
use wheelhouse::codec::{
    BytesCodec, DelimiterError, FixedLengthError, JsonLinesError, LengthDelimitedError, LinesCodec,
    LinesError, WriteBuffer,
};
use wheelhouse::{
    Broadcast, Client, ClientError, ClientReader, ClientWriter, CloseReason, Config, ConnectError,
    Connection, ConnectionHandle, ConnectionId, Error, HandleError, HandlerError, Handlers,
    Packets, Reactor, ReadError, Server, ServerHandle, ServerRef, Stats, StopReport, TimerId,
    WriteError,
};

/// Holds of each type what is named, or does not compile.
macro_rules! each {
    ($($promise:path),+ => $($type:ty),+ $(,)?) => {{
        fn keeps<T: $($promise +)+ ?Sized>() {}
        $(keeps::<$type>();)+
    }};
}

#[test]
fn what_other_threads_get_can_go_there() {
    each!(Send, Sync, Clone, Debug => ServerHandle<LinesCodec, ()>, ConnectionHandle<LinesCodec>);
    each!(Send, Debug => Server<LinesCodec>, Packets<LinesCodec>, Client<LinesCodec>,
        ClientReader<LinesCodec>, ClientWriter<LinesCodec>);
    each!(Send, Sync, Copy, Hash, Ord, Debug, Display => ConnectionId, TimerId);
    each!(Send, Sync, Copy, Debug => Stats, StopReport, Broadcast, CloseReason);
    each!(Send, Sync, Debug => Config, WriteBuffer, BytesCodec, Http, WebSocket, Files, Metrics,
        Origins, Request, Response, Incoming, Outgoing, Message, Offer, Text, CloseCode, CloseFrame);
}

#[test]
fn errors_are_errors_that_any_thread_may_carry() {
    each!(StdError, Send, Sync => Error, ClientError, ConnectError, HandleError, ReadError,
        WriteError<String>, LinesError, DelimiterError, FixedLengthError, LengthDelimitedError,
        JsonLinesError, HttpError, ResponseError, FilesError, BadOrigin, OriginRefused,
        WebSocketError, HandshakeError, Refusal);
    // As `anyhow::Error`, so that `?` takes every error.
    each!(Send, Sync, Debug, Display => HandlerError);
}

/// Tells whether `T` is `Send`: the constant of its own stands before the trait's, where its bound holds.
struct Probe<T>(PhantomData<T>);

impl<T: Send> Probe<T> {
    const IS_SEND: bool = true;
}

trait Otherwise {
    const IS_SEND: bool = false;
}

impl<T> Otherwise for Probe<T> {}

/// A reactor is its thread's, and so is all that a handler is lent: that it needs no lock rests on it.
#[test]
fn what_belongs_to_the_loop_stays_on_its_thread() {
    let sends = [
        Probe::<ServerHandle<LinesCodec, ()>>::IS_SEND,
        Probe::<Reactor<LinesCodec, ()>>::IS_SEND,
        Probe::<Handlers<LinesCodec, ()>>::IS_SEND,
        Probe::<Connection<'static, LinesCodec, ()>>::IS_SEND,
        Probe::<ServerRef<'static, LinesCodec, ()>>::IS_SEND,
    ];
    assert_eq!(sends, [true, false, false, false, false], "the handle alone is to be sent");
}
