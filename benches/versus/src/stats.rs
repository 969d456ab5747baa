//! Medians, quartiles and ratios: the little statistics that the report rests on.

use serde::{Deserialize, Serialize};

/// The middle of some figures, and the middle half of them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) q1: f64,
    pub(crate) median: f64,
    pub(crate) q3: f64,
}

impl Spread {
    /// `None` of nothing. Figures that are not numbers are left out.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> =
            figures.into_iter().filter(|figure| figure.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let [q1, median, q3] = [0.25, 0.5, 0.75].map(|part| quantile(&sorted, part));
        Some(Self { q1: q1?, median: median?, q3: q3? })
    }
}

/// The value that so large a part of the sorted figures does not pass; between two of them, in proportion.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    Some(below + (above - below) * place.fract())
}

/// The ratios of figures that were taken in the same rounds.
pub(crate) fn ratios(figures: &[f64], floor: &[f64]) -> Vec<f64> {
    figures.iter().zip(floor).map(|(figure, floor)| figure / floor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_figures_in_proportion() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).expect("figures");
        assert_eq!(spread, Spread { q1: 1.75, median: 2.5, q3: 3.25 });
        let spread = Spread::of([9.0, 7.0, 8.0, 5.0, 6.0]).expect("figures");
        assert_eq!(spread, Spread { q1: 6.0, median: 7.0, q3: 8.0 });
    }

    #[test]
    fn one_figure_is_its_own_spread_and_none_has_none() {
        assert_eq!(Spread::of([3.0]), Some(Spread { q1: 3.0, median: 3.0, q3: 3.0 }));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn one_mad_round_does_not_move_the_median() {
        let calm = Spread::of([2.0, 2.1, 1.9, 2.0, 2.0]).expect("figures");
        let mad = Spread::of([2.0, 2.1, 1.9, 2.0, 9_000.0]).expect("figures");
        assert_eq!(calm.median, mad.median);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is twice as slow in the second round; the ratio is not.
        assert_eq!(ratios(&[10.0, 20.0], &[5.0, 10.0]), [2.0, 2.0]);
    }
}
