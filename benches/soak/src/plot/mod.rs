//! Panels of curves, one below another over the same axis, in one SVG that reads on light and on dark.

use std::fmt::Write;

pub(crate) use self::canvas::grouped;
use self::canvas::{Align, Log, Plot, WIDTH, escaped};

#[path = "../../../versus/src/report/canvas.rs"]
#[allow(dead_code, reason = "the page of versus needs more of it")]
mod canvas;

const STYLE: &str = include_str!("plot.css");

const LEFT: f64 = 76.0;
const RIGHT: f64 = 136.0;
const HEIGHT: f64 = 132.0;

/// One curve, or a row of dots with lines between.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// One of the six colours of `plot.css`, from 0.
    pub(crate) colour: usize,
    pub(crate) is_dashed: bool,
    pub(crate) has_dots: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A part of the plot, with an upright axis of its own.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Steps multiply. Otherwise they add, from 0.
    pub(crate) is_log: bool,
    /// How a value on the axis is written.
    pub(crate) unit: fn(f64) -> String,
    /// Values to be marked across, each with a word.
    pub(crate) marks: Vec<(f64, String)>,
    pub(crate) curves: Vec<Curve>,
}

/// What all panels have in common.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    pub(crate) title: &'a str,
    pub(crate) note: &'a str,
    /// The axis that lies: its ends, and where to write what.
    pub(crate) ends: (f64, f64),
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Sheet<'_> {
    /// The plot as the text of a file.
    pub(crate) fn draw(&self, panels: &[Panel]) -> String {
        let mut plot = Plot::new("", self.title, self.note);
        for panel in panels {
            self.panel(&mut plot, panel);
        }
        let y = plot.grow(16.0);
        for (value, says) in &self.ticks {
            plot.text("tick", self.across(*value), y, Align::Middle, says);
        }
        plot.standalone(STYLE)
    }

    fn across(&self, value: f64) -> f64 {
        let (from, to) = self.ends;
        let part = (value - from) / (to - from).max(f64::MIN_POSITIVE);
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn panel(&self, plot: &mut Plot, panel: &Panel) {
        let y = plot.grow(24.0);
        plot.text("group", 12.0, y + 16.0, Align::Left, &panel.title);
        let top = plot.grow(HEIGHT + 20.0);
        let upright = Upright::of(panel, top + HEIGHT);
        for (tick, place) in upright.ticks() {
            plot.line("grid", (LEFT, place), (WIDTH - RIGHT, place));
            plot.text("tick", LEFT - 8.0, place + 4.0, Align::Right, &(panel.unit)(tick));
        }
        for (value, _) in &self.ticks {
            let x = self.across(*value);
            plot.line("grid", (x, top), (x, top + HEIGHT));
        }
        for (value, says) in &panel.marks {
            let y = upright.place(*value);
            plot.line("mark", (LEFT, y), (WIDTH - RIGHT, y));
            plot.text("tick", LEFT + 6.0, y - 4.0, Align::Left, says);
        }
        let mut ends = Vec::new();
        for curve in &panel.curves {
            let points: Vec<_> =
                curve.points.iter().map(|(x, y)| (self.across(*x), upright.place(*y))).collect();
            line(plot, curve, &points);
            ends.extend(points.last().map(|last| (last.1, curve)));
        }
        names(plot, ends, top + HEIGHT);
    }
}

fn line(plot: &mut Plot, curve: &Curve, points: &[(f64, f64)]) {
    let mut path = String::new();
    for (x, y) in points {
        let _ = write!(path, "{x:.1},{y:.1} "); // a String takes everything
    }
    let (name, colour) = (escaped(&curve.name), curve.colour);
    let dashed = if curve.is_dashed { " dashed" } else { "" };
    plot.put(format_args!(
        "<polyline class=\"curve c{colour}{dashed}\" points=\"{path}\"><title>{name}</title></polyline>"
    ));
    for (x, y) in points.iter().filter(|_| curve.has_dots) {
        plot.put(format_args!(
            "<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        ));
    }
}

/// Writes each name beside the end of its curve, moved to where there is room.
fn names(plot: &mut Plot, mut ends: Vec<(f64, &Curve)>, bottom: f64) {
    const LINE: f64 = 14.0;
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::MIN;
    let mut below = ends.len() as f64;
    for (y, curve) in ends {
        below -= 1.0;
        let y = y.min(bottom + 12.0 - below * LINE).max(free);
        free = y + LINE;
        let (x, colour) = (WIDTH - RIGHT + 12.0, curve.colour);
        plot.put(format_args!(
            "<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
        ));
        plot.text("label", x + 9.0, y + 4.0, Align::Left, &curve.name);
    }
}

/// The axis that stands.
enum Upright {
    Log(Log),
    Linear { most: f64, bottom: f64 },
}

impl Upright {
    fn of(panel: &Panel, bottom: f64) -> Self {
        let of_curves = panel.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
        let of_marks = panel.marks.iter().map(|mark| mark.0);
        let values = || of_curves.clone().chain(of_marks.clone()).filter(|value| *value > 0.0);
        let most = values().fold(0.0, f64::max);
        if panel.is_log {
            let least = values().fold(most, f64::min);
            let (least, most) = if most > 0.0 { (least, most) } else { (1.0, 10.0) };
            return Self::Log(Log::new((least * 0.8, most * 1.25), bottom, -HEIGHT));
        }
        Self::Linear { most: if most > 0.0 { most * 1.15 } else { 1.0 }, bottom }
    }

    fn place(&self, value: f64) -> f64 {
        match self {
            Self::Log(axis) => axis.place(value),
            Self::Linear { most, bottom } => bottom - (value / most).clamp(0.0, 1.0) * HEIGHT,
        }
    }

    fn ticks(&self) -> Vec<(f64, f64)> {
        let values = match self {
            Self::Log(axis) => {
                let all = axis.ticks();
                let is_power = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
                let powers: Vec<f64> = all.iter().copied().filter(is_power).collect();
                if powers.len() >= 3 { powers } else { thinned(&all) }
            }
            Self::Linear { most, .. } => {
                let step = step_below(*most / 3.0);
                (0..).map(|at| f64::from(at) * step).take_while(|value| value <= most).collect()
            }
        };
        values.into_iter().map(|value| (value, self.place(value))).collect()
    }
}

/// At most six of them.
fn thinned(all: &[f64]) -> Vec<f64> {
    all.iter().copied().step_by(all.len().div_ceil(6).max(1)).collect()
}

/// The largest of 1, 2 and 5 times a power of ten that is not over this.
pub(crate) fn step_below(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    [5.0, 2.0].map(|step| step * power).into_iter().find(|step| *step <= value).unwrap_or(power)
}

/// Seconds on the axis that lies, at round places, in the unit that suits them.
pub(crate) fn time_ticks(seconds: f64) -> Vec<(f64, String)> {
    let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];
    let step = steps.into_iter().find(|step| seconds / step <= 10.0).unwrap_or(4.0 * 3600.0);
    let says = |at: f64| match step {
        long if long >= 1800.0 => format!("{} h", plain(at / 3600.0)),
        middle if middle >= 60.0 => format!("{} min", at / 60.0),
        _ => format!("{at} s"),
    };
    let places = (0..).map(|at| f64::from(at) * step).take_while(|at| *at <= seconds);
    places.map(|at| (at, says(at))).collect()
}

/// Microseconds in the unit that suits them.
pub(crate) fn micros(value: f64) -> String {
    match value {
        n if n >= 1e6 => format!("{} s", plain(n / 1e6)),
        n if n >= 1e3 => format!("{} ms", plain(n / 1e3)),
        n => format!("{} µs", plain(n)),
    }
}

/// Three digits or so, without zeros that say nothing.
pub(crate) fn plain(value: f64) -> String {
    let text = match value.abs() {
        n if n >= 99.95 => return format!("{value:.0}"),
        n if n >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(step_below(7.3), 5.0);
        assert_eq!(step_below(0.21), 0.2);
        assert_eq!(step_below(100.0), 100.0);
    }

    #[test]
    fn figures_are_for_people() {
        assert_eq!(micros(1_500.0), "1.5 ms");
        assert_eq!(micros(20.0), "20 µs");
        assert_eq!(plain(1234.5), "1234");
        assert_eq!(plain(0.0), "0");
        assert_eq!(time_ticks(180.3).last().map(|tick| tick.1.as_str()), Some("180 s"));
        let ticks = time_ticks(3_600.0);
        assert_eq!(ticks.last().map(|tick| tick.1.as_str()), Some("60 min"));
        assert!(ticks.len() <= 13);
    }

    #[test]
    fn a_plot_has_every_curve_and_no_number_that_is_none() {
        let curve = |name: &str, points| Curve {
            name: name.into(),
            colour: 0,
            is_dashed: false,
            has_dots: true,
            points,
        };
        let panel = |is_log, curves| Panel {
            title: "a < b".into(),
            is_log,
            unit: plain,
            marks: vec![(2.0, "the bound".into())],
            curves,
        };
        let sheet =
            Sheet { title: "t", note: "n", ends: (0.0, 10.0), ticks: vec![(5.0, "5".into())] };
        let text = sheet.draw(&[
            panel(false, vec![curve("first", vec![(0.0, 0.0), (10.0, 3.0)])]),
            panel(true, vec![curve("second", vec![(0.0, 0.0), (1.0, 1e6)]), curve("none", vec![])]),
        ]);
        for expected in ["first", "second", "the bound", "a &lt; b"] {
            assert!(text.contains(expected), "{expected}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
