//! Where the log lines go. The facade is the process's, so this file is one test.

mod common;

use std::sync::{Arc, Mutex};

use common::{connect, ms, send, settle, words};
use log::{Level, LevelFilter, Log, Metadata, Record};
use wheelhouse::Config;

/// Keeps the library's lines, with their levels.
#[derive(Default)]
struct Lines(Mutex<Vec<(Level, String)>>);

impl Lines {
    fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.0.lock().expect("no panic under this lock"))
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if record.target() == "wheelhouse" && self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            self.0.lock().expect("no panic under this lock").push(line);
        }
    }

    fn flush(&self) {}
}

/// One server's life, with something for each level.
fn live(config: Config) {
    let mut reactor = words(config.max_connections(2).linger(ms(20)))
        .into_reactor(|_, conn| {
            conn.handlers().on_read(|_, _, word| Err(wheelhouse::HandlerError::msg(word)))
        })
        .expect("a loop");
    let clients: Vec<_> = (0..5).map(|_| connect(reactor.local_addr())).collect();
    settle(&mut reactor);
    send(&clients[0], "a failure\n");
    send(&clients[1], "!malformed\n");
    settle(&mut reactor);
    reactor.server().stop(ms(0));
    settle(&mut reactor);
}

fn assert_complete(lines: &[(Level, String)]) {
    let having = |level, part: &str| {
        lines.iter().filter(|(at, line)| *at == level && line.contains(part)).count()
    };
    assert_eq!(having(Level::Debug, " accepted from 127.0.0.1:"), 2, "{lines:?}");
    assert_eq!(having(Level::Warn, "was turned away: all 2 connections are taken"), 1, "{lines:?}");
    assert_eq!(having(Level::Error, "the handler failed: a failure"), 1, "{lines:?}");
    assert_eq!(having(Level::Info, "the peer broke the protocol: unfit"), 1, "{lines:?}");
    assert_eq!(having(Level::Debug, " closed: "), 2, "{lines:?}");
    assert_eq!(having(Level::Info, "stopping: "), 1, "{lines:?}");
    assert_eq!(having(Level::Info, "stopped in "), 1, "{lines:?}");
}

#[test]
fn a_server_logs_to_its_own_logger_or_else_to_the_processs() {
    static FACADE: Lines = Lines(Mutex::new(Vec::new()));
    log::set_logger(&FACADE).expect("the first logger");
    log::set_max_level(LevelFilter::Trace);

    let own = Arc::new(Lines::default());
    live(Config::default().logger(Arc::clone(&own) as Arc<dyn Log>));
    assert_complete(&own.take());
    assert!(FACADE.take().is_empty(), "the facade stays silent");

    // Its own logger decides by itself what it hears; the facade's level is not asked.
    log::set_max_level(LevelFilter::Off);
    live(Config::default().logger(Arc::clone(&own) as Arc<dyn Log>));
    assert_complete(&own.take());

    live(Config::default());
    assert!(FACADE.take().is_empty(), "the level is off");
    log::set_max_level(LevelFilter::Debug);
    live(Config::default());
    assert_complete(&FACADE.take());
    assert!(own.take().is_empty());
}
