//! The line that tells what runs and how long remains.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Weighs what is to be done in seconds as planned; what remains is corrected by how the past went.
pub(crate) struct Progress {
    begun: Instant,
    planned: f64,
    done: f64,
    is_terminal: bool,
    shown: String,
}

impl Progress {
    pub(crate) fn new(planned: f64) -> Self {
        let is_terminal = stderr().is_terminal();
        Self { begun: Instant::now(), planned, done: 0.0, is_terminal, shown: String::new() }
    }

    /// Says what begins now, and that `seconds` of the plan will be done after it. On a terminal the line is overwritten;
    /// elsewhere it is written when `heading` is a new one.
    pub(crate) fn begin(&mut self, heading: &str, detail: &str, seconds: f64) {
        let left = words(self.remaining());
        let mut err = stderr();
        // Nobody to tell: no reason to stop.
        if self.is_terminal {
            drop(write!(err, "\r\x1b[K{left} left · {heading} · {detail}"));
        } else if self.shown != heading {
            drop(writeln!(err, "{left} left · {heading}"));
        }
        drop(err.flush());
        heading.clone_into(&mut self.shown);
        self.done += seconds;
    }

    pub(crate) fn end(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("done in {}", words(self.begun.elapsed()));
    }

    fn remaining(&self) -> Duration {
        let left = (self.planned - self.done).max(0.0);
        let pace = match self.done {
            done if done < 3.0 => 1.0, // too little to learn from
            done => self.begun.elapsed().as_secs_f64() / done,
        };
        Duration::from_secs_f64(left * pace)
    }
}

fn words(span: Duration) -> String {
    match span.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_for_people() {
        assert_eq!(words(Duration::from_millis(59_999)), "59 s");
        assert_eq!(words(Duration::from_secs(125)), "2 min 05 s");
    }
}
