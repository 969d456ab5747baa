//! The warm path: a few bytes have come for a connection that nothing stands in the way of.
//!
//! It does what [`serve`](super::serve) does, in a straight line: one read, then packet after packet straight from the
//! loop's own memory to an `on_read` that is taken out once for all of them, then one write. That is sound for as long as
//! [`Conn::is_warm`] held at the beginning and [`Conn::stays_unhindered`] holds after each packet. Whatever else turns up is
//! handed over to `serve`, with the state as it would have it: what was left of the bytes held by the connection, `on_read`
//! back in its place.
//!
//! [`Conn::is_warm`]: crate::registry::Conn::is_warm
//! [`Conn::stays_unhindered`]: crate::registry::Conn::stays_unhindered

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Reactor;
use super::serve::Budget;
use crate::buffer::Filled;
use crate::codec::{Decoder, Protocol};
use crate::connection::inbound::Step;
use crate::context::Connection;
use crate::error::Error;
use crate::handlers::OnRead;
use crate::id::ConnectionId;
use crate::io::Readiness;

impl<P: Protocol, S> Reactor<P, S> {
    /// Notes what the poll told of a connection, and serves it.
    #[inline(always)]
    pub(super) fn serve_news(&mut self, news: Readiness) {
        let Some(id) = ConnectionId::from_token(news.token) else { return };
        // Caught once for the whole batch of packets.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve_warm(id, news))) {
            self.batch_panicked(id, &*panic);
        }
    }

    /// Every way off this path is a call of a cold function: the compiler lays the rest out as the straight line that it is.
    #[inline(always)]
    fn serve_warm(&mut self, id: ConnectionId, news: Readiness) {
        let mut conn = match self.registry.conns.get_mut(id.slot()) {
            Some(conn) if conn.generation == id.generation() => conn,
            _ => return has_gone(),
        };
        if !conn.is_warm(news) {
            return self.serve_cold(id, news);
        }
        if news.writable {
            conn.outbound.note_writable();
        }
        let Some(socket) = &mut conn.socket else { return self.serve_cold(id, news) };
        let limit = self.registry.config.read_budget;
        let got = match self.input.read(limit, |free| socket.read(free)) {
            Ok(filled) if filled.is_few() => filled.got,
            read => return self.serve_read(id, read),
        };
        conn.inbound.note_drained();
        self.registry.stats.bytes_in += got as u64;
        if self.registry.watches_silence && conn.note_input(&self.registry.clock) {
            self.registry.arm(id); // it was asked, and has answered
            conn = &mut self.registry.conns[id.slot()];
        }
        self.input.take_few(got);
        let Some(mut on_read) = conn.take_on_read() else { return self.serve_cold(id, news) };
        conn.duty.serving = true;

        let mut left = self.registry.config.packet_budget;
        loop {
            let packet = match conn.inbound.step_over(self.input.few(), &mut conn.codec) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => return self.leave_warm(id, on_read, left, Err(error)),
            };
            self.registry.stats.packets_in += 1;
            left -= 1;
            let view = &mut Connection::new(&mut self.registry, id);
            if let Err(error) = on_read(&mut self.state, view, packet) {
                return self.leave_warm(id, on_read, left, Err(Error::Handler(error)));
            }
            conn = &mut self.registry.conns[id.slot()];
            if left == 0 || !conn.stays_unhindered() {
                return self.leave_warm(id, on_read, left, Ok(()));
            }
        }

        conn.handlers.on_read.get_or_insert(on_read);
        conn.duty.serving = false;
        if !self.input.few().is_empty() || conn.codec.holds_partial() {
            return self.keep_unfinished(id);
        }
        conn.inbound.owes_nothing();
        if P::Codec::SPEAKS && !conn.codec.is_silent() {
            self.flush(id);
        } else if let Err(first) = conn.send(&mut self.registry.pool, &mut self.registry.stats) {
            self.send_on(id, first);
        }
    }

    /// News of a connection of which more is to be asked.
    #[cold]
    fn serve_cold(&mut self, id: ConnectionId, news: Readiness) {
        let conn = &mut self.registry.conns[id.slot()];
        if conn.note_news(news, &mut self.registry.dirty) {
            self.serve(id);
        }
    }

    /// The read brought much, or the end, or nothing: goes on as with any other connection.
    #[cold]
    fn serve_read(&mut self, id: ConnectionId, read: io::Result<Filled>) {
        let mut budget = Budget::new(&self.registry.config);
        let mut conn = &mut self.registry.conns[id.slot()];
        conn.inbound.note_readable();
        let halt = match read {
            Ok(filled) => {
                budget.bytes -= filled.got;
                self.registry.stats.bytes_in += filled.got as u64;
                let watched = filled.got > 0 && self.registry.watches_silence;
                if watched && conn.note_input(&self.registry.clock) {
                    self.registry.arm(id); // it was asked, and has answered
                    conn = &mut self.registry.conns[id.slot()];
                }
                conn.inbound.take_filled(filled, self.input.cut(filled.got));
                self.read_and_decode(id, budget)
            }
            Err(error) => match conn.inbound.note_read_error::<P::In>(error) {
                Some(Step::Failed(error)) => self.fail_decoding(id, error),
                _ => self.read_and_decode(id, budget),
            },
        };
        self.after_halt(id, halt);
    }

    /// Half a packet is left: it stays with the connection, with a deadline on its end.
    #[cold]
    fn keep_unfinished(&mut self, id: ConnectionId) {
        let conn = &mut self.registry.conns[id.slot()];
        conn.inbound.hold_unfinished(self.input.keep_few());
        let clock = &self.registry.clock;
        let since = conn.inbound.watch_unfinished(conn.codec.holds_partial(), || clock.fresh());
        if since.is_some() {
            self.registry.arm(id);
        }
        self.write_out(id);
    }

    /// Something stands in the way now: goes on as with any other connection, with what is left of its budget.
    #[cold]
    fn leave_warm(
        &mut self,
        id: ConnectionId,
        on_read: OnRead<P, S>,
        left: usize,
        decoded: Result<(), Error>,
    ) {
        let mut budget = Budget::new(&self.registry.config);
        budget.packets = left;
        let conn = &mut self.registry.conns[id.slot()];
        if !conn.duty.replaced {
            conn.handlers.on_read = Some(on_read);
        }
        let rest = self.input.keep_few();
        budget.bytes = budget.bytes.saturating_sub(rest.len());
        conn.inbound.hold(rest);
        let halt = match decoded {
            Ok(()) => self.read_and_decode(id, budget),
            Err(error @ Error::Handler(_)) => {
                self.fail(id, error);
                self.read_and_decode(id, budget)
            }
            Err(error) => self.fail_decoding(id, error),
        };
        self.after_halt(id, halt);
    }
}

#[cold]
fn has_gone() {}
