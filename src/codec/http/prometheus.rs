//! Numbers for Prometheus: its text format, version 0.0.4.

use std::fmt::{self, Display, Write};

use http::{HeaderValue, StatusCode};

use super::response::Response;
use crate::stats::Stats;

/// Numbers as a page for Prometheus (text format 0.0.4): a server's [`Stats`], and those of the program itself.
///
/// ```
/// use wheelhouse::Stats;
/// use wheelhouse::codec::http::Metrics;
///
/// let metrics = Metrics::of(&Stats::default())
///     .gauge("chat_rooms", "Rooms that somebody is in.", 2)
///     .gauges("chat_people", "People in each room.", "room", [("lobby", 12), ("the \"den\"", 3)]);
/// let page = metrics.to_string();
/// assert!(page.contains("\nwheelhouse_accepted_total 0\n"));
/// assert!(page.ends_with("chat_people{room=\"lobby\"} 12\nchat_people{room=\"the \\\"den\\\"\"} 3\n"));
///
/// let response = metrics.response();
/// assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
/// ```
#[derive(Clone, Default, Debug)]
pub struct Metrics {
    page: String,
}

impl Metrics {
    /// No numbers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All of a server's counters, each as `wheelhouse_` and its name in [`Stats`], with `_total` where it only grows.
    #[must_use]
    pub fn of(stats: &Stats) -> Self {
        let Stats {
            accepted,
            connected,
            open,
            rejected,
            accept_failures,
            closed,
            bytes_in,
            bytes_out,
            packets_in,
            packets_out,
            packets_refused,
            packets_dropped,
            errors_dropped,
            peer_errors,
            system_errors,
            caller_errors,
            slow_consumers,
            queued_bytes,
            timers,
        } = *stats;
        let counters = [
            ("accepted", "Inbound connections accepted.", accepted),
            ("connected", "Outbound connections made.", connected),
            ("rejected", "Peers turned away, over a limit on connections.", rejected),
            ("accept_failures", "Failed calls of accept.", accept_failures),
            ("closed", "Connections that have ended.", closed),
            ("bytes_in", "Bytes read.", bytes_in),
            ("bytes_out", "Bytes written.", bytes_out),
            ("packets_in", "Packets decoded.", packets_in),
            ("packets_out", "Packets taken for writing.", packets_out),
            ("packets_refused", "Packets refused by a full outbox.", packets_refused),
            ("packets_dropped", "Packets dropped with their connection.", packets_dropped),
            ("errors_dropped", "Errors dropped because too many waited.", errors_dropped),
            ("peer_errors", "Errors that a peer is to blame for.", peer_errors),
            ("system_errors", "Errors that the system is to blame for.", system_errors),
            ("caller_errors", "Errors that a handler or a codec is to blame for.", caller_errors),
            ("slow_consumers", "Connections dropped for reading too slowly.", slow_consumers),
        ];
        let gauges = [
            ("open", "Connections that exist now.", open),
            ("queued_bytes", "Bytes waiting in outboxes and inboxes.", queued_bytes),
            ("timers", "Timers pending.", timers),
        ];
        let mut metrics = Self::new();
        for (name, help, value) in counters {
            metrics = metrics.counter(&format!("wheelhouse_{name}_total"), help, value);
        }
        for (name, help, value) in gauges {
            metrics = metrics.gauge(&format!("wheelhouse_{name}"), help, value);
        }
        metrics
    }

    /// Adds a number that only grows. By custom its name ends in `_total`.
    ///
    /// # Panics
    ///
    /// As all methods that add numbers: when the name, or that of a label, is not of letters, digits and `_`, or begins
    /// with a digit. Names are the program's own.
    #[must_use]
    pub fn counter(mut self, name: &str, help: &str, value: u64) -> Self {
        self.head(name, help, "counter");
        self.line(format_args!("{name} {value}"));
        self
    }

    /// Adds a number that goes up and down.
    #[must_use]
    pub fn gauge(mut self, name: &str, help: &str, value: impl Display) -> Self {
        self.head(name, help, "gauge");
        self.line(format_args!("{name} {value}"));
        self
    }

    /// Adds numbers that only grow, one for each value of a label. Any text can be a value; no two may be the same.
    #[must_use]
    pub fn counters<L: AsRef<str>>(
        mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Self {
        self.head(name, help, "counter");
        self.labelled(name, label, values);
        self
    }

    /// Adds numbers that go up and down, one for each value of a label. Any text can be a value; no two may be the same.
    #[must_use]
    pub fn gauges<L: AsRef<str>, V: Display>(
        mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Self {
        self.head(name, help, "gauge");
        self.labelled(name, label, values);
        self
    }

    /// The page as the answer to a request.
    #[must_use]
    pub fn response(self) -> Response {
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        Response::new(StatusCode::OK).body(content_type, self.page)
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        assert_name(name);
        self.line(format_args!("# HELP {name} {}", Escaped { text: help, quote: false }));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn labelled<L: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        assert_name(label);
        for (text, value) in values {
            let text = Escaped { text: text.as_ref(), quote: true };
            self.line(format_args!("{name}{{{label}=\"{text}\"}} {value}"));
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.page, "{line}").expect("a string grows");
    }
}

/// The page.
impl Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.page)
    }
}

fn assert_name(name: &str) {
    let is_fine = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.starts_with(|first: char| !first.is_ascii_digit());
    assert!(is_fine, "{name:?} is no name for Prometheus");
}

/// Text that stays on its line; and within its quotes, where it has some.
struct Escaped<'a> {
    text: &'a str,
    quote: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.text.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quote => f.write_str("\\\"")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_help_and_its_type_in_front() {
        let stats = Stats { accepted: 3, bytes_out: u64::MAX, queued_bytes: 7, ..Stats::default() };
        let page = Metrics::of(&stats).to_string();
        assert!(page.contains("\nwheelhouse_bytes_out_total 18446744073709551615\n"), "{page}");
        assert!(page.contains("# TYPE wheelhouse_queued_bytes gauge\nwheelhouse_queued_bytes 7\n"));
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines.len(), 19 * 3);
        for family in lines.chunks(3) {
            let (name, value) = family[2].split_once(' ').unwrap();
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            assert!(family[0].starts_with(&format!("# HELP {name} ")), "{family:?}");
            assert_eq!(family[1], format!("# TYPE {name} {kind}"));
            assert!(value.parse::<u64>().is_ok(), "{family:?}");
        }
    }

    #[test]
    fn no_value_of_a_label_can_begin_a_line() {
        let values = [("a\n\"b\"\\", 1_u64), ("", 2)];
        let page = Metrics::new().counters("x_total", "Of \\ and\n\"so\".", "of", values);
        assert_eq!(
            page.to_string(),
            "# HELP x_total Of \\\\ and\\n\"so\".\n# TYPE x_total counter\n\
             x_total{of=\"a\\n\\\"b\\\"\\\\\"} 1\nx_total{of=\"\"} 2\n"
        );
    }

    #[test]
    fn families_stand_one_behind_the_other() {
        let page = Metrics::new().gauge("x", "An x.", 1).gauges("y", "Ys.", "of", [("a", -2)]);
        assert_eq!(
            page.to_string(),
            "# HELP x An x.\n# TYPE x gauge\nx 1\n# HELP y Ys.\n# TYPE y gauge\ny{of=\"a\"} -2\n"
        );
    }

    #[test]
    #[should_panic(expected = "\"2x\" is no name for Prometheus")]
    fn a_name_that_is_none_is_a_mistake() {
        let _ = Metrics::new().gauge("2x", "", 1);
    }
}
