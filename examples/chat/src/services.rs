//! The threads beside the loop: the history's, and the other nodes' where there are any.
//!
//! To them the loop speaks through bounded queues, and never waits: a full queue is an answer (`busy`). They speak to the
//! loop by [`ServerHandle::run`], which runs a closure on it, between two handlers, with the same `&mut Hub`; that waits
//! for its turn, so a thread that is too fast is slowed down to the loop's pace.

use std::sync::{Arc, OnceLock};

use wheelhouse::ServerHandle;
use wheelhouse::codec::websocket::WebSocket;

use crate::cluster::{self, Cluster, Full, Post};
use crate::config::Settings;
use crate::history::{self, History, Opened, Request};
use crate::hub::Hub;
use crate::ids::Ids;
use crate::rooms::LOBBY;
use crate::wire::{Backstage, Busy, Why};

/// The way to the loop, for threads that begin before it does.
pub(crate) type Loop = Arc<OnceLock<ServerHandle<WebSocket, Hub>>>;

#[derive(Debug)]
pub(crate) struct Services {
    history: History<Why>,
    cluster: Option<Cluster<Why>>,
}

impl Services {
    /// Opens the history, and joins the other nodes.
    pub(crate) fn start(
        settings: &Settings,
        ids: &Arc<Ids>,
        to_loop: &Loop,
    ) -> Result<(Self, Opened), String> {
        let there = Arc::clone(to_loop);
        let kept = history::Settings {
            per_room: settings.history,
            rooms: u32::try_from(settings.rooms).unwrap_or(u32::MAX),
            lobby: LOBBY.to_owned(),
            ..history::Settings::new(&settings.db)
        };
        let answers = Box::new(move |answers| {
            // An error: the loop has ended, and with it all who waited for this.
            drop(there.wait().run(move |hub, server| hub.answered(server, answers)));
        });
        let (history, opened) = History::start(kept, answers).map_err(|error| error.to_string())?;
        ids.observe(opened.last_id);

        let there = Arc::clone(to_loop);
        let news = Box::new(move |news| {
            drop(there.wait().run(move |hub, server| hub.news(server, news)));
        });
        let cluster = match &settings.redis {
            None => None,
            Some(url) => {
                let joined = cluster::Settings {
                    url: url.reveal().to_owned(),
                    node: settings.node,
                    name_limit: settings.name_limit,
                };
                let cluster = Cluster::start(&joined, Arc::clone(ids), news);
                Some(cluster.map_err(|error| error.to_string())?)
            }
        };
        Ok((Self { history, cluster }, opened))
    }

    /// Finishes what is queued. Once the loop has ended: these threads may be waiting for it until then.
    pub(crate) fn stop(self) {
        if let Some(cluster) = self.cluster {
            cluster.stop();
        }
        self.history.stop();
    }
}

impl Backstage for Arc<Services> {
    fn keep(&self, why: Why, request: Request) -> Result<(), Busy> {
        self.history.request(why, request).map_err(|_| Busy)
    }

    fn has_nodes(&self) -> bool {
        self.cluster.is_some()
    }

    fn post(&self, post: Post<Why>) -> Result<(), Full<Why>> {
        match &self.cluster {
            Some(cluster) => cluster.post(post),
            None => Ok(()),
        }
    }
}
