//! What an overload leaves: `overload.csv`, `overload.json`, `overload.svg` and the table.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{Args, DEADLINE, Step};
use crate::Outcome;
use crate::plot::{Curve, Panel, Sheet, micros, plain};
use crate::serve::{BUDGET, VISITORS, WORK};
use crate::verdict::{Check, told};

/// The load at which goodput is judged.
const TWICE: f64 = 2.0;

/// The part of its peak that goodput has to keep there.
const KEPT: f64 = 0.9;

/// Within this, a refusal is quick.
const QUICK: f64 = 50_000.0;

const KINDS: [&str; 3] = ["refusing", "patient", "connections"];

#[derive(Debug, Serialize)]
pub(super) struct Report {
    step_ms: u64,
    /// Of each step, the one of median goodput is told.
    rounds: u32,
    /// Server and load each had a core.
    has_two_cores: bool,
    /// Requests a second, and visits a second.
    capacity: f64,
    room: f64,
    /// In the order of `KINDS`.
    steps: [Vec<Step>; 3],
    checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(
        args: &Args,
        has_two_cores: bool,
        capacity: f64,
        room: f64,
        steps: [Vec<Step>; 3],
    ) -> Self {
        let mut checks = judge(&steps[0], "requests");
        checks.extend(judge(&steps[2], "connections"));
        let Args { step_ms, rounds, .. } = *args;
        Self { step_ms, rounds, has_two_cores, capacity, room, steps, checks }
    }

    pub(super) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    pub(super) fn write(&self, out: &Path) -> Outcome<()> {
        fs::write(out.join("overload.csv"), self.csv())?;
        fs::write(out.join("overload.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(out.join("overload.svg"), self.plot())?;
        Ok(fs::write(out.join("table.txt"), self.table())?)
    }

    fn csv(&self) -> String {
        let names = "kind,load,offered,goodput,served,late,refused,unanswered,served_p50_us,served_p99_us,\
                     refused_p50_us,refused_p99_us,lag_p99_us\n";
        let mut text = names.to_owned();
        for (kind, steps) in KINDS.iter().zip(&self.steps) {
            for step in steps {
                let Step { load, offered, goodput, served, late, refused, unanswered, .. } = step;
                let Step { served_p50, served_p99, refused_p50, refused_p99, lag_p99, .. } = step;
                text += &format!(
                    "{kind},{load},{offered:.1},{goodput:.1},{served},{late},{refused},{unanswered},\
                     {served_p50},{served_p99},{refused_p50},{refused_p99},{lag_p99}\n"
                );
            }
        }
        text
    }

    pub(super) fn table(&self) -> String {
        let cores = if self.has_two_cores { "a core each" } else { "ONE CORE FOR BOTH" };
        let mut text = format!(
            "capacity: {:.0} requests of {} a second; room for {VISITORS} connections, {:.0} visits a second\n\
             of {} steps of {} ms the one of median goodput; server and load: {cores}; served within {} is goodput\n",
            self.capacity,
            micros(micros_of(WORK)),
            self.room,
            self.rounds,
            self.step_ms,
            micros(micros_of(DEADLINE))
        );
        let kinds = [
            format!(
                "requests, to a server that refuses what would wait over {}",
                micros(micros_of(BUDGET))
            ),
            "requests, to a server that takes them all".to_owned(),
            format!("connections, to a server with room for {VISITORS}"),
        ];
        for (kind, steps) in kinds.iter().zip(&self.steps) {
            text += &format!(
                "\n{kind}\n{:>6} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}\n",
                "load",
                "offered/s",
                "goodput/s",
                "late",
                "refused",
                "no word",
                "p50",
                "p99",
                "ref. p50",
                "ref. p99",
                "load lag"
            );
            for step in steps {
                let Step { load, offered, goodput, late, refused, unanswered, .. } = step;
                let times = [
                    step.served_p50,
                    step.served_p99,
                    step.refused_p50,
                    step.refused_p99,
                    step.lag_p99,
                ];
                let [p50, p99, r50, r99, lag] = times.map(|value| micros(value as f64));
                text += &format!(
                    "{load:>6.2} {offered:>9.0} {goodput:>9.0} {late:>8} {refused:>8} {unanswered:>8} {p50:>9} \
                     {p99:>9} {r50:>9} {r99:>9} {lag:>8}\n"
                );
            }
        }
        text + "\n" + &told(&self.checks).0
    }

    fn plot(&self) -> String {
        let title = "Overload: up to three times what can be served";
        let note = format!(
            "multiples of {:.0} requests a second, {} of work each, and of {:.0} connections a second",
            self.capacity,
            micros(micros_of(WORK)),
            self.room
        );
        let ticks = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0];
        let ticks = ticks.iter().map(|load| (*load, format!("{load}×"))).collect();
        let sheet = Sheet { title, note: &note, ends: (0.0, 3.0), ticks };
        sheet.draw(&[
            self.goodput_of_requests(),
            self.latency_of_requests(),
            self.goodput_of_visits(),
            self.latency_of_visits(),
        ])
    }

    fn goodput_of_requests(&self) -> Panel {
        let share = |step: &Step| Some(step.goodput / self.capacity * 100.0);
        let curves = vec![
            curve("refusing", 0, &self.steps[0], share),
            dashed(curve("taking all", 5, &self.steps[1], share)),
        ];
        let title = format!(
            "requests served within {}, % of what can be served; the line is {:.0} %",
            micros(micros_of(DEADLINE)),
            KEPT * 100.0
        );
        let marks = vec![(KEPT * 100.0, String::new())];
        Panel { title, is_log: false, unit: plain, marks, curves }
    }

    fn latency_of_requests(&self) -> Panel {
        let curves = vec![
            curve("served p99", 0, &self.steps[0], |step| some(step.served_p99)),
            curve("served p50", 3, &self.steps[0], |step| some(step.served_p50)),
            curve("refusal p99", 1, &self.steps[0], |step| some(step.refused_p99)),
            dashed(curve("taking all p99", 5, &self.steps[1], |step| some(step.served_p99))),
        ];
        let title = "from the moment a request is due to its reply or its refusal".into();
        let marks = vec![(micros_of(DEADLINE), "the deadline".into())];
        Panel { title, is_log: true, unit: micros, marks, curves }
    }

    fn goodput_of_visits(&self) -> Panel {
        let share = |step: &Step| Some(step.goodput / self.room * 100.0);
        let refused = |step: &Step| {
            let seconds = self.step_ms as f64 / 1e3;
            Some(step.refused as f64 / seconds / self.room * 100.0)
        };
        let curves = vec![
            curve("served", 0, &self.steps[2], share),
            curve("refused", 1, &self.steps[2], refused),
        ];
        let title = format!("connections, % of what {VISITORS} places can serve");
        let marks = vec![(KEPT * 100.0, String::new())];
        Panel { title, is_log: false, unit: plain, marks, curves }
    }

    fn latency_of_visits(&self) -> Panel {
        let curves = vec![
            curve("served p99", 0, &self.steps[2], |step| some(step.served_p99)),
            curve("served p50", 3, &self.steps[2], |step| some(step.served_p50)),
            curve("refusal p99", 1, &self.steps[2], |step| some(step.refused_p99)),
        ];
        let title = "from the connect to the first reply or the refusal".into();
        Panel { title, is_log: true, unit: micros, marks: Vec::new(), curves }
    }
}

fn micros_of(span: std::time::Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// Where there were none, there is no latency.
fn some(micros: u64) -> Option<f64> {
    (micros > 0).then_some(micros as f64)
}

fn curve(name: &str, colour: usize, steps: &[Step], of: impl Fn(&Step) -> Option<f64>) -> Curve {
    let points = steps.iter().filter_map(|step| Some((step.load, of(step)?))).collect();
    Curve { name: name.into(), colour, is_dashed: false, has_dots: true, points }
}

fn dashed(curve: Curve) -> Curve {
    Curve { is_dashed: true, ..curve }
}

/// What has to hold at twice the load.
fn judge(steps: &[Step], name: &str) -> Vec<Check> {
    let peak = steps.iter().map(|step| step.goodput).fold(0.0, f64::max);
    let Some(twice) = steps.iter().find(|step| step.load == TWICE) else {
        return vec![Check::new(format!("{name} at twice the load"), "not measured", "", false)];
    };
    let kept = twice.goodput / peak.max(f64::MIN_POSITIVE);
    let found =
        format!("{:.1} % of the peak, {:.0} of {peak:.0} a second", kept * 100.0, twice.goodput);
    let bound = format!("at least {:.0} %", KEPT * 100.0);
    let goodput =
        Check::new(format!("goodput of {name} at twice the load"), found, bound, kept >= KEPT);
    let within = |what: &str, value: u64, bound: f64| {
        let (found, bound_says) = (micros(value as f64), format!("at most {}", micros(bound)));
        let what = format!("{what} of {name} at twice the load, p99");
        Check::new(what, found, bound_says, value > 0 && value as f64 <= bound)
    };
    let silent = twice.unanswered.to_string();
    vec![
        goodput,
        within("latency", twice.served_p99, micros_of(DEADLINE)),
        within("refusal", twice.refused_p99, QUICK),
        Check::new(format!("{name} without an answer"), silent, "none", twice.unanswered == 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(load: f64, goodput: f64) -> Step {
        Step { load, goodput, served_p99: 30_000, refused_p99: 4_000, ..Step::default() }
    }

    #[test]
    fn goodput_that_stays_holds() {
        let steps = [step(1.0, 1_000.0), step(2.0, 950.0)];
        assert!(judge(&steps, "it").iter().all(|check| check.holds));
    }

    #[test]
    fn what_breaks_down_fails() {
        let fails = |step: Step| {
            let checks = judge(&[Step { load: 1.0, goodput: 1_000.0, ..step }, step], "it");
            checks.iter().filter(|check| !check.holds).count()
        };
        assert_eq!(fails(step(2.0, 950.0)), 0);
        assert_eq!(fails(step(2.0, 800.0)), 1, "goodput");
        assert_eq!(fails(Step { served_p99: 200_000, ..step(2.0, 950.0) }), 1, "latency");
        assert_eq!(fails(Step { refused_p99: 90_000, ..step(2.0, 950.0) }), 1, "slow refusals");
        assert_eq!(fails(Step { refused_p99: 0, ..step(2.0, 950.0) }), 1, "no refusals");
        assert_eq!(fails(Step { unanswered: 1, ..step(2.0, 950.0) }), 1, "silence");
        assert!(!judge(&[step(1.0, 1_000.0)], "it")[0].holds, "nothing was measured");
    }
}
