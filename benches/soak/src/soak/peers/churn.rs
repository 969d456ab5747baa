//! Peers that come, say something, and go: properly, with a half-close first, by a reset, or without waiting for the answer.

use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Life, Peer, echo, said};
use crate::soak::field::{Count, Timed};

pub(super) fn come_and_go(peer: &mut Peer) -> Life {
    let mut batch = Vec::new();
    let asked = Instant::now();
    let stream = peer.connect_from_anywhere()?;
    let field = std::sync::Arc::clone(&peer.field);
    let open = field.opened(1);
    echo::packet(&mut peer.random, peer.service, &mut batch);
    let way = peer.random.u8(..4);
    echo::send(&mut peer.random, &stream, &batch)?;
    match way {
        // The end comes behind the request, and the answer all the same.
        0 => {
            stream.shutdown(std::net::Shutdown::Write).map_err(said)?;
            echo::hear(&stream, &batch)?;
        }
        1 => {
            echo::hear(&stream, &batch)?;
            echo::part(&stream)?;
        }
        2 => {
            echo::hear(&stream, &batch)?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(said)?;
        }
        // It goes while its answer is on the way.
        _ => {}
    }
    if way != 3 {
        field.time(Timed::Visit, asked.elapsed());
        field.count(Count::Visits, 1);
    }
    drop((stream, open));
    peer.pause_between(0, 40);
    Ok(())
}
