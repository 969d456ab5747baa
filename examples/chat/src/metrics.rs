//! `/metrics`: what the library counts and what the chat counts, as Prometheus reads it.

use std::fmt::{Display, Write};

use wheelhouse::ServerRef;
use wheelhouse::codec::http::{HeaderValue, Response, StatusCode};
use wheelhouse::codec::websocket::WebSocket;

use crate::hub::Hub;

/// Version 0.0.4 of the text format.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

pub(crate) fn response(hub: &Hub, server: &ServerRef<'_, WebSocket, Hub>) -> Response {
    let mut text = Text(String::with_capacity(4096));
    text.library(&server.stats());
    text.chat(hub);
    Response::new(StatusCode::OK).body(CONTENT_TYPE, text.0)
}

struct Text(String);

impl Text {
    fn library(&mut self, stats: &wheelhouse::Stats) {
        self.gauge("wheelhouse_connections", "Connections now, of any kind.", stats.open);
        self.gauge("wheelhouse_queued_bytes", "Bytes waiting to be sent.", stats.queued_bytes);
        self.gauge("wheelhouse_timers", "Timers pending.", stats.timers);
        let counters = [
            ("accepted", "Connections accepted.", stats.accepted),
            ("rejected", "Connections turned away for want of room.", stats.rejected),
            ("accept_failures", "Failed calls of accept.", stats.accept_failures),
            ("closed", "Connections that have ended.", stats.closed),
            ("bytes_in", "Bytes read.", stats.bytes_in),
            ("bytes_out", "Bytes written.", stats.bytes_out),
            ("packets_in", "Requests and frames read.", stats.packets_in),
            ("packets_out", "Responses and frames written.", stats.packets_out),
            ("packets_refused", "Packets refused by a full outbox.", stats.packets_refused),
            ("packets_dropped", "Packets dropped with their connection.", stats.packets_dropped),
            ("peer_errors", "Errors that a peer is to blame for.", stats.peer_errors),
            ("system_errors", "Errors that the system is to blame for.", stats.system_errors),
            ("caller_errors", "Errors that this program is to blame for.", stats.caller_errors),
            ("slow_consumers", "Connections dropped for reading slowly.", stats.slow_consumers),
        ];
        for (name, help, value) in counters {
            self.counter(&format!("wheelhouse_{name}_total"), help, value);
        }
    }

    fn chat(&mut self, hub: &Hub) {
        self.gauge("chat_clients", "WebSocket clients now.", hub.client_count());
        self.gauge("chat_rooms", "Rooms now.", hub.room_count());
        if let Some(up) = hub.nodes_up() {
            let help = "Whether the other nodes can be reached.";
            self.gauge("chat_redis_up", help, u8::from(up));
        }
        let counts = &hub.counts;
        let counters = [
            ("messages", "Messages taken from clients here.", counts.messages),
            ("acked", "Messages acknowledged: on disk.", counts.acked),
            ("resent", "Messages that had been stored before.", counts.resent),
            ("refused", "Frames answered by an error.", counts.refused),
            ("rate_limited", "Frames refused for coming too fast.", counts.rate_limited),
            ("storage_errors", "Faults of the history.", counts.storage_errors),
            ("busy", "Requests that found a full queue.", counts.busy),
            ("taken_over", "Sessions that came back by a new connection.", counts.taken_over),
        ];
        for (name, help, value) in counters {
            self.counter(&format!("chat_{name}_total"), help, value);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "counter", help, value);
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        let lines = format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        self.0.write_fmt(lines).expect("a string grows");
    }
}
