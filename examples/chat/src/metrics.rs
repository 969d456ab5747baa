//! `/metrics`: what the library counts and what the chat counts, as Prometheus reads it.

use wheelhouse::ServerRef;
use wheelhouse::codec::http::{Metrics, Response};
use wheelhouse::codec::websocket::WebSocket;

use crate::hub::Hub;

pub(crate) fn response(hub: &Hub, server: &ServerRef<'_, WebSocket, Hub>) -> Response {
    let counts = &hub.counts;
    let counters = [
        ("messages", "Messages taken from clients here.", counts.messages),
        ("acked", "Messages acknowledged: they are on disk.", counts.acked),
        ("resent", "Messages that had been stored before.", counts.resent),
        ("refused", "Frames answered by an error.", counts.refused),
        ("rate_limited", "Frames refused for coming too fast.", counts.rate_limited),
        ("storage_errors", "Faults of the history.", counts.storage_errors),
        ("busy", "Requests that found a full queue.", counts.busy),
        ("taken_over", "Sessions that came back by a new connection.", counts.taken_over),
    ];
    let mut metrics = Metrics::of(&server.stats())
        .gauge("chat_clients", "WebSocket clients now.", hub.client_count())
        .gauge("chat_rooms", "Rooms now.", hub.room_count());
    for (name, help, value) in counters {
        metrics = metrics.counter(&format!("chat_{name}_total"), help, value);
    }
    if let Some(up) = hub.nodes_up() {
        let help = "Whether Redis, and so the other nodes, can be reached.";
        metrics = metrics.gauge("chat_redis_up", help, u8::from(up));
    }
    metrics.response()
}
