//! message-io: its TCP transport, whose messages are what a read brought, and its blocking `for_each`.
//!
//! Its own framing has another length field, so frames are cut by `cut.rs`. It sets no TCP_NODELAY and hands out no socket:
//! the option is set on its listener from outside, so that no peer waits for Nagle.

use std::collections::HashMap;
use std::net::SocketAddr;

use message_io::network::{Endpoint, NetEvent, ResourceId, Transport};
use message_io::node::{self, NodeEvent};

use super::announce;
use super::cut::Cutter;
use crate::plan::Work;
use crate::{Outcome, os};

pub(crate) fn serve(work: Work) -> Outcome<()> {
    let (handler, listener) = node::split::<()>();
    let address: SocketAddr = "127.0.0.1:0".parse()?;
    let (_, address) = handler.network().listen(Transport::Tcp, address)?;
    os::nodelay_on_listener(address)?;
    announce(address.port())?;
    let mut open: HashMap<ResourceId, (Endpoint, Cutter)> = HashMap::new();
    let mut out = Vec::new();
    listener.for_each(move |event| {
        let NodeEvent::Network(event) = event else { return };
        match event {
            NetEvent::Accepted(endpoint, _) => {
                open.insert(endpoint.resource_id(), (endpoint, Cutter::default()));
            }
            NetEvent::Message(endpoint, data) if work == Work::Bytes => {
                handler.network().send(endpoint, data);
            }
            NetEvent::Message(endpoint, data) => {
                let Some((_, cutter)) = open.get_mut(&endpoint.resource_id()) else { return };
                out.clear();
                if cutter.echo(data, &mut out).is_err() {
                    handler.network().remove(endpoint.resource_id());
                } else if work == Work::Broadcast {
                    for (other, _) in open.values() {
                        handler.network().send(*other, &out);
                    }
                } else if !out.is_empty() {
                    handler.network().send(endpoint, &out);
                }
            }
            NetEvent::Disconnected(endpoint) => {
                open.remove(&endpoint.resource_id());
            }
            NetEvent::Connected(..) => {}
        }
    });
    Ok(())
}
