//! Settings from each place, and what is said of bad ones.

use super::table::{CONFIG, Form, SETTINGS, variable};
use super::*;

fn os(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn read(args: &[&str], env: &[(&str, &str)]) -> Result<Settings, Refusal> {
    let args = std::iter::once("wheelhouse-chat").chain(args.iter().copied()).map(OsString::from);
    Settings::read(args, os(env))
}

fn with_file(text: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Settings, Refusal> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.toml");
    std::fs::write(&path, text).unwrap();
    let mut all = vec!["--config", path.to_str().unwrap()];
    all.extend(args);
    read(&all, env).map_err(|refusal| match refusal {
        Refusal::Bad(line) => Refusal::Bad(line.replace(path.to_str().unwrap(), "FILE")),
        show => show,
    })
}

/// The one line that is said.
fn line(result: Result<Settings, Refusal>) -> String {
    match result {
        Err(Refusal::Bad(line)) => {
            assert_eq!(line.lines().count(), 1, "{line:?}");
            line
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_are_as_documented() {
    let settings = read(&[], &[]).unwrap();
    let secs = Duration::from_secs;
    assert_eq!(settings.addr, "127.0.0.1:8080");
    assert_eq!(settings.db, PathBuf::from("chat.db"));
    assert_eq!((settings.history, settings.page), (100, 50));
    assert_eq!((settings.text_limit, settings.name_limit), (2_000, 32));
    assert_eq!((settings.rooms, settings.clients), (1_000, None));
    assert_eq!((settings.rate, settings.burst), (5, 10));
    assert_eq!((settings.ping_after, settings.idle_timeout), (secs(30), secs(75)));
    assert_eq!((settings.stop_grace, settings.outbox), (secs(5), 1 << 20));
    assert_eq!((&settings.tokens, &settings.allow_origins), (&vec![], &vec![]));
    assert_eq!((settings.redis, settings.node), (None, None));
}

#[test]
fn a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default() {
    let env = [("WHEELHOUSE_CHAT_HISTORY", "30")];
    let pages = |result: Result<Settings, Refusal>| result.unwrap().history;
    assert_eq!(pages(with_file("history = 20", &["--history", "40"], &env)), 40);
    assert_eq!(pages(with_file("history = 20", &[], &env)), 30);
    assert_eq!(pages(with_file("history = 20", &[], &[])), 20);
    assert_eq!(pages(with_file("", &[], &[])), 100);
    assert_eq!(pages(with_file("", &[], &[("WHEELHOUSE_CHAT_HISTORY", "")])), 100, "unset");
}

/// A value other than the default, as in a flag and as in the file.
fn example(name: &str, form: Form) -> (&'static str, String) {
    let text = match name {
        "addr" => "[::1]:9000",
        "redis" => "redis://:secret@127.0.0.1:6379/1",
        "allow-origin" => "https://*.example:8443",
        "token" => "s3cret",
        "db" => "other.db",
        "idle-timeout" => "2m",
        "outbox" => "65536",
        _ if form == Form::Time => "1500ms",
        _ => "7",
    };
    let quoted = if form == Form::Number { text.to_owned() } else { format!("{text:?}") };
    (text, quoted)
}

#[test]
fn every_setting_is_the_same_from_all_three_places() {
    let default = read(&[], &[]).unwrap();
    for setting in SETTINGS.iter().filter(|setting| setting.name != CONFIG) {
        let (text, quoted) = example(setting.name, setting.form);
        let flag = format!("--{}", setting.name);
        let by_flag = read(&[&flag, text], &[]).unwrap();
        assert_ne!(by_flag, default, "{flag} does nothing");
        assert_eq!(read(&[], &[(&variable(setting.name), text)]).unwrap(), by_flag, "{flag}");
        let in_file = format!("{} = {quoted}", setting.name);
        assert_eq!(with_file(&in_file, &[], &[]).unwrap(), by_flag, "{in_file}");
        let in_file = format!("{} = {quoted}", setting.name.replace('-', "_"));
        assert_eq!(with_file(&in_file, &[], &[]).unwrap(), by_flag, "{in_file}");
    }
}

#[test]
fn a_list_is_a_flag_repeated_a_text_with_commas_or_an_array() {
    let two = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    let flags = ["--allow-origin", "https://a.example", "--allow-origin", "https://B.example"];
    assert_eq!(read(&flags, &[]).unwrap().allow_origins, two);
    let env = [("WHEELHOUSE_CHAT_ALLOW_ORIGIN", "https://a.example, https://b.example")];
    assert_eq!(read(&[], &env).unwrap().allow_origins, two);
    let file = "allow-origin = ['https://a.example', 'https://b.example']";
    assert_eq!(with_file(file, &[], &[]).unwrap().allow_origins, two);
    assert_eq!(with_file("allow-origin = []", &[], &[]).unwrap().allow_origins, [""; 0]);
}

#[test]
fn a_time_has_a_unit_and_an_address_may_lack_its_host() {
    for (text, ms) in [("45", 45_000), ("45s", 45_000), ("1500ms", 1_500), ("1m", 60_000)] {
        let settings = read(&["--ping-after", text], &[]).unwrap();
        assert_eq!(settings.ping_after, Duration::from_millis(ms), "{text}");
    }
    assert_eq!(with_file("ping-after = 45", &[], &[]).unwrap().ping_after.as_secs(), 45);
    assert_eq!(read(&["--addr", ":9000"], &[]).unwrap().addr, "0.0.0.0:9000");
}

#[test]
fn a_bad_value_is_named_with_its_place_in_one_line() {
    let cases: &[(&[&str], &str)] = &[
        (&["--history", "0"], "history: 0 is out of range, 1 to 100000 (from --history)"),
        (
            &["--history", "-1"],
            "history: \"-1\" is not a whole number from 1 to 100000 (from --history)",
        ),
        (&["--node", "64"], "node: 64 is out of range, 0 to 63 (from --node)"),
        (&["--node", "300"], "node: 300 is out of range, 0 to 63 (from --node)"),
        (
            &["--addr", "localhost"],
            "addr: \"localhost\" has no port; write HOST:PORT (from --addr)",
        ),
        (&["--addr", "x:99999"], "addr: \"99999\" is not a port, 0 to 65535 (from --addr)"),
        (
            &["--addr", "::1:80"],
            "addr: \"::1\" is not a host; an IPv6 address goes in brackets: [::1]:80 (from --addr)",
        ),
        (&["--db", ""], "db: must not be empty (from --db)"),
        (
            &["--ping-after", "5 parsecs"],
            "ping-after: \"5 parsecs\" is not a time such as 500ms, 30s, 5m or 1h (from --ping-after)",
        ),
        (
            &["--stop-grace", "11m"],
            "stop-grace: 660s is out of range, 0s to 600s (from --stop-grace)",
        ),
        (
            &["--ping-after", "80s"],
            "idle-timeout: 75s is not longer than ping-after, 80s: nobody would have time to answer (the default)",
        ),
        (
            &["--allow-origin", "chat.example"],
            "allow-origin: \"chat.example\" is not an origin such as https://chat.example, \
             https://*.example or * (from --allow-origin)",
        ),
        (&["--colour", "red"], "unexpected argument '--colour' found; --help tells all settings"),
        (
            &["--page"],
            "a value is required for '--page <MESSAGES>' but none was supplied; --help tells all settings",
        ),
        (
            &["--config", "/no/such.toml"],
            "config: /no/such.toml cannot be read: No such file or directory (os error 2) (from --config)",
        ),
    ];
    for (args, expected) in cases {
        assert_eq!(line(read(args, &[])), *expected);
    }
    let env = [("WHEELHOUSE_CHAT_PAGE", "501")];
    assert_eq!(
        line(read(&[], &env)),
        "page: 501 is out of range, 1 to 500 (from WHEELHOUSE_CHAT_PAGE)"
    );
    let env = [("WHEELHOUSE_CHAT_PAEG", "50")];
    assert_eq!(
        line(read(&[], &env)),
        "WHEELHOUSE_CHAT_PAEG: there is no such setting (environment)"
    );
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line() {
    let cases = [
        ("page = 9\nhistroy = 5", "histroy: there is no such setting (from FILE, line 2)"),
        ("config = 'x'", "config: there is no such setting (from FILE, line 1)"),
        ("\n\npage = 501", "page: 501 is out of range, 1 to 500 (from FILE, line 3)"),
        (
            "page = '50'",
            "page: it wants a number without quotes, and got a text (from FILE, line 1)",
        ),
        (
            "page = 5.5",
            "page: it wants a number without quotes, and got a number with a fraction (from FILE, line 1)",
        ),
        ("db = 5", "db: it wants a text in quotes, and got a number (from FILE, line 1)"),
        (
            "ping-after = true",
            "ping-after: it wants a time in quotes, such as \"30s\", or a number of seconds, \
             and got a yes or no (from FILE, line 1)",
        ),
        (
            "token = [1]",
            "token: it wants a list of texts, such as [\"one\", \"two\"], and got a number (from FILE, line 1)",
        ),
        ("[db]\npath = 'x'", "db: it wants a text in quotes, and got a table (from FILE, line 1)"),
        (
            "text-limit = 5\ntext_limit = 6",
            "text-limit: it is set twice, with - and with _ (from FILE, line 2)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(line(with_file(text, &[], &[])), expected);
    }
    let no_toml = line(with_file("page = 5\npage 6", &[], &[]));
    assert!(no_toml.starts_with("FILE, line 2: "), "{no_toml}");
}

#[test]
fn no_secret_is_shown_in_force_or_refused() {
    let args = ["--token", "s3cret", "--redis", "redis://:s3cret@127.0.0.1:6379"];
    let settings = read(&args, &[]).unwrap();
    assert_eq!(settings.tokens[0].reveal(), "s3cret");
    assert_eq!(settings.redis.as_ref().unwrap().reveal(), args[3]);
    assert!(!format!("{settings:?}").contains("s3cret"));
    for args in [["--token", "s3cret s3cret"], ["--redis", "redish://:s3cret@127.0.0.1"]] {
        let line = line(read(&args, &[]));
        assert!(
            !line.contains("s3cret") && line.ends_with(&format!("(from {})", args[0])),
            "{line}"
        );
    }
}

#[test]
fn the_help_tells_every_setting_with_its_unit_and_default() {
    let Err(Refusal::Show(help)) = read(&["--help"], &[]) else { panic!("no help") };
    // A terminal has the lines broken where it ends.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in SETTINGS {
        assert!(help.contains(&format!("--{} <{}>", setting.name, setting.unit)), "{help}");
        assert!(help.contains(setting.help), "{help}");
        if let Some(default) = setting.default {
            assert!(help.contains(&format!("{} [default: {default}]", setting.help)), "{help}");
        }
    }
    let Err(Refusal::Show(version)) = read(&["--version"], &[]) else { panic!("no version") };
    assert_eq!(version, concat!("wheelhouse-chat ", env!("CARGO_PKG_VERSION"), "\n"));
}
