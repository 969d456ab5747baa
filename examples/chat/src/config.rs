//! The server's settings: from flags, the environment, and a file.
//!
//! Each setting has one name in three spellings: `--text-limit`, `WHEELHOUSE_CHAT_TEXT_LIMIT`, and `text-limit` in the
//! TOML file that `--config` (or `WHEELHOUSE_CHAT_CONFIG`) names. A flag goes before the environment, the environment
//! before the file, the file before the default. What is wrong with a setting is said in one line that names it and
//! where it came from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A value that is never shown: it prints as `…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// All settings, checked. `{:?}` shows no token and no password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `host:port` to listen on.
    pub addr: String,
    /// The history's file; `:memory:` keeps nothing.
    pub db: PathBuf,
    /// Tokens, one of which a client must bring; none: everybody may come.
    pub tokens: Vec<Secret>,
    /// Origins that pages may come from beside our own: `https://chat.example`, `https://*.example`, `*`.
    pub allow_origins: Vec<String>,
    /// Messages kept for each room.
    pub history: u32,
    /// Messages in a page of history, at most.
    pub page: u32,
    /// Characters in a message.
    pub text_limit: usize,
    /// Characters in a name of a person or a room.
    pub name_limit: usize,
    /// Rooms at a time.
    pub rooms: usize,
    /// Clients at a time; `None`: as many as the open-file limit allows.
    pub clients: Option<usize>,
    /// Clients at a time from one address.
    pub address_clients: usize,
    /// Messages a second from one client, in the long run.
    pub rate: u32,
    /// Messages from one client at once.
    pub burst: u32,
    /// Messages a second from all clients of one address; twice as many at once.
    pub address_rate: u32,
    /// A client that said nothing for so long is pinged.
    pub ping_after: Duration,
    /// A client that said nothing for so long, not even a pong, is closed. Longer than `ping_after`.
    pub idle_timeout: Duration,
    /// How long a stop waits for clients to go.
    pub stop_grace: Duration,
    /// Bytes that may wait for one client; with more it is closed for reading too slowly.
    pub outbox: usize,
    /// Redis, to join other servers.
    pub redis: Option<Secret>,
    /// This server's number among those that Redis joins, 0 to 63; `None`: a free one.
    pub node: Option<u8>,
}
