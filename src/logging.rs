//! Log lines: to the server's own logger where it has one, otherwise to the process's.

use std::fmt;
use std::sync::Arc;

use log::{Level, Log, Metadata, Record};

/// What every line of the library is filed under.
const TARGET: &str = "wheelhouse";

/// Where one server's log lines go.
#[derive(Clone, Default)]
pub(crate) struct Logger(Option<Arc<dyn Log>>);

impl Logger {
    pub(crate) fn new(own: Option<Arc<dyn Log>>) -> Self {
        Self(own)
    }

    #[inline]
    pub(crate) fn enabled(&self, level: Level) -> bool {
        match &self.0 {
            Some(own) => own.enabled(&Metadata::builder().level(level).target(TARGET).build()),
            None => level <= log::max_level(),
        }
    }

    pub(crate) fn log(&self, level: Level, args: fmt::Arguments<'_>) {
        let record = Record::builder().level(level).target(TARGET).args(args).build();
        match &self.0 {
            Some(own) => own.log(&record),
            None => log::logger().log(&record),
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Logger(own)" } else { "Logger(process)" })
    }
}

/// `note!(logger, Debug, "…", …)`: formats nothing when nobody listens.
macro_rules! note {
    ($logger:expr, $level:ident, $($message:tt)+) => {{
        let logger: &$crate::logging::Logger = &$logger;
        if logger.enabled(log::Level::$level) {
            logger.log(log::Level::$level, format_args!($($message)+));
        }
    }};
}
pub(crate) use note;
