//! What a soak leaves: `samples.csv` as it goes, then `soak.json`, `soak.svg` and the table.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::field::{Count, Latency, Timed};
use super::{Args, SERVICES, Sample, WARM_UP, judge};
use crate::Outcome;
use crate::latency::Latencies;
use crate::plot::{Curve, Panel, Sheet, grouped, micros, plain, time_ticks};
use crate::verdict::{Check, told};

/// Points of a curve at most: what a screen can show.
const POINTS: usize = 360;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    minutes: f64,
    /// In the order of the arrays below.
    servers: Vec<&'static str>,
    latencies: Vec<&'static str>,
    counts: Vec<&'static str>,
    checks: Vec<Check>,
    /// The words of the first of them.
    errors: Vec<String>,
    /// Over the whole run.
    latency: [Latency; 3],
    samples: Vec<Sample>,
}

impl Report {
    pub(super) fn new(
        args: &Args,
        seed: u64,
        samples: Vec<Sample>,
        all: &[Latencies; 3],
        errors: Vec<String>,
        mut others: Vec<Check>,
    ) -> Self {
        let latency = [0, 1, 2].map(|at: usize| Latency::of(&all[at]));
        let mut checks = judge(&samples, &latency, args.slope);
        checks.append(&mut others);
        Self {
            seed,
            minutes: samples.last().map_or(0.0, |last| last.at / 60.0),
            servers: SERVICES.iter().map(|service| service.name()).collect(),
            latencies: Timed::ALL.iter().map(|timed| timed.1).collect(),
            counts: Count::ALL.iter().map(|count| count.1).collect(),
            checks,
            errors,
            latency,
            samples,
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    pub(super) fn write(&self, out: &Path) -> Outcome<()> {
        fs::write(out.join("soak.json"), serde_json::to_string(self)?)?;
        fs::write(out.join("soak.svg"), self.plot())?;
        Ok(fs::write(out.join("table.txt"), self.table())?)
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!("{:.1} minutes, seed {}\n\n", self.minutes, self.seed);
        if let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) {
            text +=
                &format!("{:<8} {:>24} {:>16} {:>8}\n", "", "memory, KiB", "descriptors", "CPU");
            for (at, name) in self.servers.iter().enumerate() {
                let most = |of: fn(&Sample) -> &[u64; 3]| {
                    self.samples.iter().map(|sample| of(sample)[at]).max().unwrap_or_default()
                };
                let memory = format!(
                    "{} to {}, most {}",
                    first.resident_kib[at],
                    last.resident_kib[at],
                    most(|sample| &sample.resident_kib)
                );
                let descriptors = format!("at most {}", most(|sample| &sample.descriptors));
                let cpu = self.mean(|sample| sample.cpu[at]) * 100.0;
                text += &format!("{name:<8} {memory:>24} {descriptors:>16} {cpu:>6.1} %\n");
            }
            let load = self.mean(|sample| sample.load_cpu) * 100.0;
            text += &format!("{:<8} {:>24} {:>16} {load:>6.1} %\n\n", "the load", "", "");
            for (count, name) in last.counts.iter().zip(&self.counts) {
                text += &format!("{count:>12} {name}\n");
            }
        }
        text +=
            &format!("\n{:<8} {:>10} {:>9} {:>9} {:>9}\n", "latency", "count", "p50", "p99", "max");
        for (name, latency) in self.latencies.iter().zip(&self.latency) {
            let [p50, p99, max] =
                [latency.p50, latency.p99, latency.max].map(|value| micros(value as f64));
            text += &format!("{name:<8} {:>10} {p50:>9} {p99:>9} {max:>9}\n", latency.count);
        }
        for error in &self.errors {
            text += &format!("\nERROR {error}");
        }
        text + "\n" + &told(&self.checks).0
    }

    fn mean(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).sum::<f64>() / self.samples.len().max(1) as f64
    }

    fn plot(&self) -> String {
        let end = self.samples.last().map_or(1.0, |last| last.at);
        let counts = self.samples.last().map_or([0; 7], |last| last.counts);
        let good = counts[0] + counts[1] + counts[2];
        let bad = counts[3] + counts[4] + counts[5] + counts[6];
        let errors = self.samples.last().map_or(0, |last| last.errors);
        let title = format!("Soak: {:.0} minutes of good, slow and hostile peers", self.minutes);
        let (good, bad) = (grouped(good as f64), grouped(bad as f64));
        let note = format!("{good} replies verified, {bad} bad peers dropped, {errors} errors");
        let sheet = Sheet { title: &title, note: &note, ends: (0.0, end), ticks: time_ticks(end) };
        sheet.draw(&[self.memory(), self.descriptors(), self.latency(), self.cpu()])
    }

    /// One curve, of so many points that each shows; `join` makes one figure of those that fall together.
    fn curve(
        &self,
        name: &str,
        colour: usize,
        of: impl Fn(&Sample) -> Option<f64>,
        join: fn(&[f64]) -> f64,
    ) -> Curve {
        let each = self.samples.len().div_ceil(POINTS).max(1);
        let point = |part: &[Sample]| {
            let values: Vec<f64> = part.iter().filter_map(&of).collect();
            Some((part.last()?.at, join(&values))).filter(|_| !values.is_empty())
        };
        let points = self.samples.chunks(each).filter_map(point).collect();
        Curve { name: name.into(), colour, is_dashed: false, has_dots: false, points }
    }

    fn by_server(&self, of: fn(&Sample, usize) -> f64, join: fn(&[f64]) -> f64) -> Vec<Curve> {
        let named = self.servers.iter().enumerate();
        named.map(|(at, name)| self.curve(name, at, |sample| Some(of(sample, at)), join)).collect()
    }

    fn memory(&self) -> Panel {
        let curves = self.by_server(|sample, at| sample.resident_kib[at] as f64 / 1024.0, most);
        let after = format!("the verdict is on what comes after {:.0} %", WARM_UP * 100.0);
        let title = format!("resident memory of the servers, MiB; {after}");
        Panel { title, is_log: false, unit: plain, marks: Vec::new(), curves }
    }

    fn descriptors(&self) -> Panel {
        let curves = self.by_server(|sample, at| sample.descriptors[at] as f64, most);
        let title = "descriptors of the servers; floods of connects are the peaks".into();
        Panel { title, is_log: false, unit: plain, marks: Vec::new(), curves }
    }

    fn latency(&self) -> Panel {
        let mut curves = Vec::new();
        for (at, name) in self.latencies.iter().enumerate() {
            let heard = move |sample: &Sample| Some(sample.latency[at]).filter(|l| l.count > 0);
            let p50 = move |sample: &Sample| heard(sample).map(|latency| latency.p50 as f64);
            let p99 = move |sample: &Sample| heard(sample).map(|latency| latency.p99 as f64);
            let mut middle = self.curve(&format!("{name} p50"), at, p50, mean);
            middle.is_dashed = true;
            curves.push(middle);
            curves.push(self.curve(&format!("{name} p99"), at, p99, most));
        }
        let title = "latency of the good peers".into();
        Panel { title, is_log: true, unit: micros, marks: Vec::new(), curves }
    }

    fn cpu(&self) -> Panel {
        let mut curves = self.by_server(|sample, at| sample.cpu[at] * 100.0, mean);
        let load = self.curve("the load", 5, |sample| Some(sample.load_cpu * 100.0), mean);
        curves.push(load);
        let mut before = 0.0;
        let errors: Vec<(f64, f64)> = self
            .samples
            .iter()
            .map(|sample| (sample.at, sample.errors as f64))
            .filter(|(_, errors)| std::mem::replace(&mut before, *errors) != *errors)
            .collect();
        if !errors.is_empty() {
            let (colour, name) = (4, "errors so far".into());
            curves.push(Curve { name, colour, is_dashed: false, has_dots: true, points: errors });
        }
        let title = "CPU, % of one core".into();
        Panel { title, is_log: false, unit: plain, marks: Vec::new(), curves }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// For the line that tells how it goes.
pub(super) fn glance(sample: &Sample) -> String {
    let memory: u64 = sample.resident_kib.iter().sum();
    let Sample { connections, errors, .. } = sample;
    let cpu = (sample.cpu.iter().sum::<f64>() + sample.load_cpu) * 100.0;
    let memory = memory as f64 / 1024.0;
    format!("{errors} errors · {connections} connections · {memory:.1} MiB · {cpu:.0} % of a core")
}

pub(super) fn csv_heading() -> String {
    let mut names = vec!["seconds".to_owned()];
    for what in ["resident_kib", "descriptors", "cpu"] {
        names.extend(SERVICES.iter().map(|service| format!("{what}_{}", service.name())));
    }
    names.extend(["load_cpu", "connections"].map(str::to_owned));
    for (_, name) in Timed::ALL {
        names.extend(["count", "p50", "p99", "max"].map(|what| format!("{name}_{what}")));
    }
    names.extend(Count::ALL.map(|(_, name)| name.replace(' ', "_")));
    names.push("errors".into());
    names.join(",")
}

pub(super) fn csv_line(sample: &Sample) -> String {
    let mut values = vec![format!("{:.3}", sample.at)];
    values.extend(sample.resident_kib.iter().chain(&sample.descriptors).map(u64::to_string));
    values.extend(sample.cpu.iter().chain([&sample.load_cpu]).map(|share| format!("{share:.4}")));
    values.push(sample.connections.to_string());
    for Latency { count, p50, p99, max } in sample.latency {
        values.extend([count, p50, p99, max].map(|value| value.to_string()));
    }
    values.extend(sample.counts.iter().map(u64::to_string));
    values.push(sample.errors.to_string());
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour, a sample a minute: what memory grows in it, and how many errors there were.
    fn hour(leak_kib: u64, errors: u64) -> Report {
        let latency = Latency { count: 10, p50: 100, p99: 900, max: 1_000 };
        let sample = |minute: u32| Sample {
            at: f64::from(minute) * 60.0,
            resident_kib: [5_000, 5_000, 9_000 + leak_kib * u64::from(minute) / 60],
            descriptors: [20, 20, 30],
            cpu: [0.01; 3],
            load_cpu: 0.1,
            connections: 60,
            latency: [latency; 3],
            counts: [u64::from(minute); 7],
            errors,
        };
        let args = Args { minutes: 60.0, out: "".into(), seed: None, slope: 1024.0 };
        let mut latencies = Latencies::new().expect("a histogram");
        latencies.note(std::time::Duration::from_micros(100));
        let all = [latencies.clone(), latencies.clone(), latencies];
        let words = (0..errors).map(|at| format!("peer {at}: a wrong reply")).collect();
        Report::new(&args, 7, (0..=60).map(sample).collect(), &all, words, Vec::new())
    }

    #[test]
    fn a_flat_hour_without_errors_holds() {
        let report = hour(0, 0);
        assert!(report.holds(), "{}", report.table());
        assert!(report.table().ends_with("all of it holds\n"));
    }

    #[test]
    fn a_leak_fails() {
        let report = hour(4_096, 0);
        assert!(!report.holds());
        assert!(report.table().contains("FAILED  memory of chat: +4"), "{}", report.table());
    }

    #[test]
    fn one_wrong_reply_fails() {
        let report = hour(0, 1);
        assert!(!report.holds());
        assert!(report.table().contains("ERROR peer 0: a wrong reply"), "{}", report.table());
        assert!(report.plot().contains("errors so far"));
    }

    #[test]
    fn a_line_has_a_value_for_each_name() {
        let report = hour(0, 0);
        let names = csv_heading().split(',').count();
        assert_eq!(csv_line(&report.samples[1]).split(',').count(), names);
    }
}
