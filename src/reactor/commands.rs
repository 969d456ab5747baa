//! What other threads want, and outbound connections to begin.

use super::Reactor;
use crate::codec::Protocol;
use crate::config::COMMANDS_PER_TURN;
use crate::connection::state::Event;
use crate::error::Error;
use crate::handle::Wish;
use crate::id::ConnectionId;
use crate::logging::note;

impl<P: Protocol, S> Reactor<P, S> {
    /// The phase: carries out what other threads have left, as much as one turn may.
    #[inline(never)]
    pub(super) fn run_commands(&mut self) {
        if let Some(grace) = self.registry.shared.notice.take_stop() {
            self.registry.request_stop(grace);
        }
        self.commands_left = true;
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(popped) = self.registry.shared.commands.try_pop() else {
                self.commands_left = false;
                break;
            };
            self.call_server("a command", popped.item);
        }
        let mut attention = std::mem::take(&mut self.attention);
        self.registry.shared.notice.take_attention(&mut attention);
        for id in attention.drain(..) {
            self.attend(id);
        }
        self.attention = attention;
    }

    /// Looks at the queues of one connection's handle.
    fn attend(&mut self, id: ConnectionId) {
        let Some(link) = self.registry.get(id).and_then(|conn| conn.link().cloned()) else {
            return;
        };
        link.attended();
        if link.wish() == Wish::Abort {
            self.registry.abort(id);
            return;
        }
        self.registry.pump(id);
        self.tell_errors(id);
        // The reader may have made room.
        self.registry.enqueue_ready(id);
    }

    /// Begins the outbound connections that were asked for.
    #[inline(never)]
    pub(super) fn dial(&mut self) {
        for (id, address) in std::mem::take(&mut self.registry.dialing) {
            if self.registry.get(id).is_none_or(|conn| !conn.state.is_connecting()) {
                continue;
            }
            let begun = self.driver.connect(address).and_then(|mut socket| {
                self.driver.register(&mut socket, id.to_token())?;
                Ok(socket)
            });
            match begun {
                Ok(socket) => self.registry.conns[id.slot()].socket = Some(socket),
                Err(source) => self.fail(id, Error::Io { during: "connect", source }),
            }
        }
    }

    /// An outbound socket has become writable: it is connected, or has failed.
    pub(super) fn check_connected(&mut self, id: ConnectionId) {
        let conn = &mut self.registry.conns[id.slot()];
        let Some(socket) = conn.socket.as_ref() else { return };
        match socket.connected() {
            Ok(()) => {
                conn.state_until = None;
                if self.registry.watches_silence {
                    conn.note_input(&self.registry.clock); // its silence begins here
                }
                let peer = conn.peer;
                self.registry.stats.connected += 1;
                note!(self.registry.logger, Debug, "{id} connected to {peer}");
                self.registry.transition(id, Event::Connected);
                // A silence may end sooner than the time that there was for connecting.
                self.registry.arm(id);
                if self.registry.get(id).is_some_and(|conn| !conn.state.is_closing()) {
                    self.call_connect(id);
                }
                // Input may have come with the same event.
                if self.registry.get(id).is_some_and(|conn| conn.inbound.may_read()) {
                    self.registry.enqueue_ready(id);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => {}
            Err(source) => self.fail(id, Error::Io { during: "connect", source }),
        }
    }
}
