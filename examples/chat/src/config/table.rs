//! The settings by name: what they are for, in which unit, and what they are when nobody sets them.

use super::sources::PREFIX;

/// How a value is written in the TOML file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Text,
    Number,
    /// A time: text with a unit, or a number of seconds.
    Time,
    /// Several texts; one alone may stand without brackets.
    List,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// What stands for the value in the help: its unit.
    pub(super) unit: &'static str,
    pub(super) default: Option<&'static str>,
    pub(super) help: &'static str,
}

const fn setting(
    name: &'static str,
    form: Form,
    unit: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, form, unit, default, help }
}

/// The setting that names the file; it is not in the file.
pub(super) const CONFIG: &str = "config";

use Form::{List, Number, Text, Time};

pub(super) const SETTINGS: &[Setting] = &[
    setting(
        CONFIG,
        Text,
        "FILE",
        None,
        "TOML file with settings; `text-limit = 500` is --text-limit 500",
    ),
    setting(
        "addr",
        Text,
        "HOST:PORT",
        Some("127.0.0.1:8080"),
        "Address to listen on; `:8080` is port 8080 on every interface",
    ),
    setting(
        "db",
        Text,
        "FILE",
        Some("chat.db"),
        "SQLite file of the history; `:memory:` keeps nothing",
    ),
    setting(
        "token",
        List,
        "TOKEN",
        None,
        "Let in only who brings this token; several: any of them. Rather by the \
         environment: flags are visible to all on this machine",
    ),
    setting(
        "allow-origin",
        List,
        "ORIGIN",
        None,
        "Let in pages of this origin too, such as https://chat.example, https://*.example, or * \
         for all; several: any of them. Our own page may always come",
    ),
    setting("history", Number, "MESSAGES", Some("100"), "Messages kept for each room, 1 to 100000"),
    setting(
        "page",
        Number,
        "MESSAGES",
        Some("50"),
        "Messages in one page of history at most, 1 to 500",
    ),
    setting(
        "text-limit",
        Number,
        "CHARACTERS",
        Some("2000"),
        "Characters in a message, 1 to 100000",
    ),
    setting(
        "name-limit",
        Number,
        "CHARACTERS",
        Some("32"),
        "Characters in the name of a person or a room, 1 to 64",
    ),
    setting("rooms", Number, "ROOMS", Some("1000"), "Rooms at a time, 1 to 100000"),
    setting(
        "clients",
        Number,
        "CLIENTS",
        None,
        "Clients at a time, 1 to 1000000 [default: what the limit of open files allows]",
    ),
    setting(
        "address-clients",
        Number,
        "CLIENTS",
        Some("256"),
        "Clients at a time from one address, 1 to 1000000",
    ),
    setting(
        "rate",
        Number,
        "MESSAGES/S",
        Some("5"),
        "Messages a second from one client in the long run, 1 to 100000",
    ),
    setting(
        "burst",
        Number,
        "MESSAGES",
        Some("10"),
        "Messages at once from one client that was quiet before, 1 to 100000",
    ),
    setting(
        "address-rate",
        Number,
        "MESSAGES/S",
        Some("100"),
        "Messages a second from all clients of one address together, 1 to 1000000; twice as many at once",
    ),
    setting(
        "ping-after",
        Time,
        "TIME",
        Some("30s"),
        "Ping a client that said nothing for so long, 1s to 1h",
    ),
    setting(
        "idle-timeout",
        Time,
        "TIME",
        Some("75s"),
        "Close a client that said nothing, not even a pong, for so long: more than ping-after, up to 24h",
    ),
    setting(
        "stop-grace",
        Time,
        "TIME",
        Some("5s"),
        "Time for clients to go when the server stops, 0s to 10m",
    ),
    setting(
        "outbox",
        Number,
        "BYTES",
        Some("1048576"),
        "Bytes that may wait for a client that reads slowly, 16384 to 1073741824; with more it is closed",
    ),
    setting(
        "redis",
        Text,
        "URL",
        None,
        "Join the servers of this Redis, such as redis://127.0.0.1:6379",
    ),
    setting(
        "node",
        Number,
        "NUMBER",
        None,
        "This server's number among them, 0 to 63 [default: a free one; 0 without --redis]",
    ),
];

/// The setting of that name, which must be in the table.
pub(super) fn named(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("a name of the table")
}

/// `text-limit` as an environment variable.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// The command line, made of the table.
pub(super) fn command() -> clap::Command {
    let arg = |setting: &'static Setting| {
        let help = match setting.default {
            Some(default) => format!("{} [default: {default}]", setting.help),
            None => setting.help.to_owned(),
        };
        let action = match setting.form {
            List => clap::ArgAction::Append,
            _ => clap::ArgAction::Set,
        };
        clap::Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.unit)
            .value_parser(clap::value_parser!(std::ffi::OsString))
            .allow_hyphen_values(true) // -1 is a bad number, not a flag
            .action(action)
            .help(help)
    };
    clap::Command::new("wheelhouse-chat")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A WebSocket chat with rooms, history and a page, on one port.")
        .after_help(format!(
            "Each setting may also come from the environment ({} for --text-limit; lists with\n\
             commas between) and from the file (text-limit = 2000; lists in brackets). A flag goes\n\
             before the environment, that before the file, that before the default. A time is\n\
             500ms, 30s, 5m or 1h; a bare number is seconds. RUST_LOG sets what is logged.",
            variable("text-limit")
        ))
        .next_line_help(true)
        .args(SETTINGS.iter().map(arg))
}
