//! What has to hold, and whether it did; and the line through the memory that says so.

use serde::Serialize;

/// One thing that had to hold.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    /// What was found.
    pub(crate) found: String,
    /// What had to be found.
    pub(crate) bound: String,
    pub(crate) holds: bool,
}

impl Check {
    pub(crate) fn new(
        what: impl Into<String>,
        found: impl Into<String>,
        bound: impl Into<String>,
        holds: bool,
    ) -> Self {
        Self { what: what.into(), found: found.into(), bound: bound.into(), holds }
    }
}

/// The checks as lines, and whether all hold.
pub(crate) fn told(checks: &[Check]) -> (String, bool) {
    let mut text = String::new();
    for Check { what, found, bound, holds } in checks {
        let verdict = if *holds { "holds " } else { "FAILED" };
        text += &format!("{verdict}  {what}: {found} ({bound})\n");
    }
    let holds = checks.iter().all(|check| check.holds);
    text += if holds { "all of it holds\n" } else { "NOT all of it holds\n" };
    (text, holds)
}

/// The slope of the least-squares line through points; `None` of fewer than two moments.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then(|| together / spread)
}

/// From so many hours on, the slope alone decides.
const LONG: f64 = 1.0 / 3.0;

/// Whether memory stays: `points` are hours and KiB, once it is warm.
///
/// The line through them may rise by `most` KiB an hour. In a run of minutes it may rise faster, as long as it does not rise
/// by more than `grain` KiB in all: one page more of an allocator or a cache, multiplied to an hour, would look like a leak.
pub(crate) fn memory(name: &str, points: &[(f64, f64)], most: f64, grain: f64) -> Check {
    let what = format!("memory of {name}");
    let Some(slope) = slope(points) else {
        return Check::new(what, "too few samples", "", false);
    };
    let hours = points.last().map_or(0.0, |last| last.0) - points[0].0;
    let grown = slope * hours;
    let found = format!("{slope:+.0} KiB an hour, {grown:+.0} KiB in {:.1} min", hours * 60.0);
    if hours >= LONG {
        return Check::new(what, found, format!("at most {most:.0} KiB an hour"), slope <= most);
    }
    let bound = format!("a short run: at most {grain:.0} KiB in all, or {most:.0} KiB an hour");
    Check::new(what, found, bound, slope <= most || grown <= grain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour from a seed: `leak` KiB an hour, and noise of 100 KiB about it.
    fn hour(leak: f64) -> Vec<(f64, f64)> {
        let mut random = fastrand::Rng::with_seed(7);
        let at = |minute: u32| f64::from(minute) / 60.0;
        (0..=60).map(|minute| (at(minute), 9e3 + leak * at(minute) + random.f64() * 1e2)).collect()
    }

    #[test]
    fn the_line_through_a_line_is_that_line() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 5.0)]), Some(0.0));
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn a_flat_hour_holds_and_a_leak_does_not() {
        let flat = memory("it", &hour(0.0), 1024.0, 0.0);
        assert!(flat.holds, "{flat:?}");
        let leak = memory("it", &hour(4096.0), 1024.0, 1e6);
        assert!(!leak.holds, "{leak:?}");
        let shrinks = memory("it", &hour(-4096.0), 1024.0, 0.0);
        assert!(shrinks.holds, "{shrinks:?}");
    }

    #[test]
    fn a_page_in_a_minute_is_no_leak_but_a_megabyte_is() {
        let minute = |kib: f64| [(0.0, 0.0), (1.0 / 60.0, kib)];
        assert!(memory("it", &minute(64.0), 1024.0, 512.0).holds);
        assert!(!memory("it", &minute(1024.0), 1024.0, 512.0).holds);
        assert!(!memory("it", &[], 1024.0, 512.0).holds, "nothing measured proves nothing");
    }

    #[test]
    fn one_failure_fails_all() {
        let good = Check::new("a", "1", "1", true);
        let bad = Check::new("b", "2", "1", false);
        assert!(told(std::slice::from_ref(&good)).1);
        let (text, holds) = told(&[good, bad]);
        assert!(!holds);
        assert!(text.contains("FAILED  b: 2 (1)"), "{text}");
    }
}
