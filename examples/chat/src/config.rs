//! The server's settings: from flags, the environment, and a file.
//!
//! Each setting has one name in three spellings: `--text-limit`, `WHEELHOUSE_CHAT_TEXT_LIMIT`, and `text-limit` in the
//! TOML file that `--config` (or `WHEELHOUSE_CHAT_CONFIG`) names. A flag goes before the environment, the environment
//! before the file, the file before the default. What is wrong with a setting is said in one line that names it and
//! where it came from.
//!
//! The table of settings, with their help and their defaults, is in `config/table.rs`, the three places to find them in
//! `config/sources.rs`; what a value must be is here. (A table rather than a derived parser: the same rows make the
//! flags, the variables and the file's keys, and a value from any of them goes through the same check.)

mod sources;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use self::sources::{Found, Sources};

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

/// Why there are no settings.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Refusal {
    /// The help or the version was asked for.
    Show(String),
    /// One line that says what is wrong.
    Bad(String),
}

impl Settings {
    /// The settings of this process. Where there are none to go on with, it has said so: help and version on the standard
    /// output, what is wrong in one line on the standard error.
    ///
    /// # Errors
    ///
    /// The exit code to end with: 0 after help and version, 2 after a bad setting.
    pub fn load() -> Result<Self, ExitCode> {
        match Self::read(std::env::args_os(), std::env::vars_os()) {
            Ok(settings) => Ok(settings),
            Err(Refusal::Show(text)) => {
                print!("{text}");
                Err(ExitCode::SUCCESS)
            }
            Err(Refusal::Bad(line)) => {
                eprintln!("wheelhouse-chat: {line}");
                Err(ExitCode::from(2))
            }
        }
    }

    /// Tells the log the settings that are in force, at the debug level, without the secret ones.
    pub fn log(&self) {
        log::debug!("{self:?}");
    }

    fn read(
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Refusal> {
        let sources = Sources::open(args, env)?;
        let bad = |line| Refusal::Bad(line);
        let settings = Self {
            addr: sources.one("addr", address).map_err(bad)?,
            db: sources.one("db", |text| Ok(PathBuf::from(some(text)?))).map_err(bad)?,
            tokens: sources.list("token", token).map_err(bad)?,
            allow_origins: sources.list("allow-origin", origin).map_err(bad)?,
            history: sources.one("history", within(1..=100_000)).map_err(bad)?,
            page: sources.one("page", within(1..=500)).map_err(bad)?,
            text_limit: sources.one("text-limit", within(1..=100_000)).map_err(bad)?,
            name_limit: sources.one("name-limit", within(1..=64)).map_err(bad)?,
            rooms: sources.one("rooms", within(1..=100_000)).map_err(bad)?,
            clients: sources.maybe("clients", within(1..=1_000_000)).map_err(bad)?,
            address_clients: sources.one("address-clients", within(1..=1_000_000)).map_err(bad)?,
            rate: sources.one("rate", within(1..=100_000)).map_err(bad)?,
            burst: sources.one("burst", within(1..=100_000)).map_err(bad)?,
            address_rate: sources.one("address-rate", within(1..=1_000_000)).map_err(bad)?,
            ping_after: sources.one("ping-after", span(1..=3_600)).map_err(bad)?,
            idle_timeout: sources.one("idle-timeout", span(2..=86_400)).map_err(bad)?,
            stop_grace: sources.one("stop-grace", span(0..=600)).map_err(bad)?,
            outbox: sources.one("outbox", within(16_384..=1 << 30)).map_err(bad)?,
            redis: sources.maybe("redis", redis_url).map_err(bad)?,
            node: sources.maybe("node", within(0..=63)).map_err(bad)?,
        };
        settings.agree(&sources).map_err(bad)?;
        Ok(settings)
    }

    /// What settings must be to each other.
    fn agree(&self, sources: &Sources) -> Result<(), String> {
        if self.idle_timeout <= self.ping_after {
            let Found { from, .. } = sources.find("idle-timeout")?;
            return Err(format!(
                "idle-timeout: {:?} is not longer than ping-after, {:?}: nobody would have time to answer ({from})",
                self.idle_timeout, self.ping_after
            ));
        }
        Ok(())
    }
}

fn some(text: &str) -> Result<&str, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text) }
}

/// A whole number within bounds.
fn within<N: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<N, String> {
    move |text| {
        let (first, last) = (range.start(), range.end());
        let number: u64 = text
            .parse()
            .map_err(|_| format!("{text:?} is not a whole number from {first} to {last}"))?;
        N::try_from(number)
            .ok()
            .filter(|_| range.contains(&number))
            .ok_or_else(|| format!("{number} is out of range, {first} to {last}"))
    }
}

/// A time, `500ms`, `30s`, `5m` or `1h`, a bare number being seconds; the bounds are in seconds.
fn span(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_ms = match &text[digits.len()..] {
            "ms" => Some(1),
            "" | "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let span = unit_ms
            .zip(digits.parse::<u64>().ok())
            .and_then(|(unit, count)| count.checked_mul(unit))
            .map(Duration::from_millis)
            .ok_or_else(|| format!("{text:?} is not a time such as 500ms, 30s, 5m or 1h"))?;
        let (first, last) = (*range.start(), *range.end());
        if !(Duration::from_secs(first)..=Duration::from_secs(last)).contains(&span) {
            return Err(format!("{span:?} is out of range, {first}s to {last}s"));
        }
        Ok(span)
    }
}

fn address(text: &str) -> Result<String, String> {
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port; write HOST:PORT"))?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err()
    {
        return Err(format!("{port:?} is not a port, 0 to 65535"));
    }
    if host.contains(char::is_whitespace) || (host.contains(':') && !host.starts_with('[')) {
        return Err(format!(
            "{host:?} is not a host; an IPv6 address goes in brackets: [::1]:{port}"
        ));
    }
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    Ok(format!("{host}:{port}"))
}

/// A token travels in URLs and headers. Its text is not repeated in what is said of it.
fn token(text: &str) -> Result<Secret, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a token is printable ASCII without spaces, at least one character".into());
    }
    Ok(Secret(text.into()))
}

fn origin(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let host = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let proper = |host: &str| {
        !host.is_empty() && !host.contains(|c: char| c == '/' || c == '@' || c.is_whitespace())
    };
    if lower != "*" && !host.is_some_and(proper) {
        return Err(format!(
            "{text:?} is not an origin such as https://chat.example, https://*.example or *"
        ));
    }
    Ok(lower)
}

/// The text may hold a password, and is not repeated in what is said of it.
fn redis_url(text: &str) -> Result<Secret, String> {
    redis::Client::open(text).map_err(|error| {
        let why = error.detail().unwrap_or("it cannot be read");
        format!("not a URL such as redis://127.0.0.1:6379: {why}")
    })?;
    Ok(Secret(text.into()))
}
