//! How much of the traffic each level gets: nearer and more important levels first, as far as they are healthy.
//!
//! Enters: each level's healthy and whole weight, in order. Leaves: shares that add up to [`WHOLE`]. Never here: what a
//! level is.
//!
//! Source: Envoy's priority levels. A level's health is its healthy share times the overprovisioning factor, at most 100 %.
//! Each takes as much as its health says, until all traffic has a place; when all of them together are not healthy enough
//! for it, what they are is taken for the whole. Here in hundredths of a percent, where Envoy rounds to whole ones.

/// All traffic.
pub(super) const WHOLE: u32 = 10_000;

/// One level's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelHealth {
    /// Of its healthy endpoints.
    pub(super) healthy: u64,
    /// Of all its endpoints but the draining ones.
    pub(super) whole: u64,
}

impl LevelHealth {
    fn score(self, overprovisioning_percent: u32) -> u32 {
        let factor = u128::from(overprovisioning_percent) * u128::from(WHOLE / 100);
        let score = factor * u128::from(self.healthy) / u128::from(self.whole.max(1));
        u32::try_from(score).unwrap_or(WHOLE).min(WHOLE)
    }
}

/// What there is to share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// The levels can carry all traffic.
    Enough,
    /// They cannot: the panic rule may apply.
    Short,
    /// Nothing is healthy: no level has a share.
    None,
}

/// Each level's share, in order, and whether they are healthy enough together.
pub(super) fn spill(levels: &[LevelHealth], overprovisioning_percent: u32) -> (Vec<u32>, Health) {
    let scores = levels.iter().map(|level| level.score(overprovisioning_percent));
    let total = scores.clone().fold(0, u32::saturating_add).min(WHOLE);
    if total == 0 {
        return (vec![0; levels.len()], Health::None);
    }
    let mut left = WHOLE;
    let mut shares: Vec<u32> = scores
        .map(|score| {
            let part = u64::from(score) * u64::from(WHOLE) / u64::from(total);
            let share = u32::try_from(part).unwrap_or(WHOLE).min(left);
            left -= share;
            share
        })
        .collect();
    // What rounding leaves over goes to the first that has any.
    if let Some(first) = shares.iter_mut().find(|share| **share > 0) {
        *first += left;
    }
    (shares, if total < WHOLE { Health::Short } else { Health::Enough })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(levels: &[(u64, u64)], percent: u32) -> (Vec<u32>, Health) {
        let level = |(healthy, whole): &(u64, u64)| LevelHealth { healthy: *healthy, whole: *whole };
        let levels: Vec<LevelHealth> = levels.iter().map(level).collect();
        spill(&levels, percent)
    }

    #[test]
    fn two_levels_share_as_envoys_documentation_has_it() {
        let table = [(100, 100), (72, 100), (71, 99), (50, 70), (25, 35), (0, 0)];
        for (healthy, percent) in table {
            let (found, health) = shares(&[(healthy, 100), (100, 100)], 140);
            assert_eq!((found[0] / 100, health), (percent, Health::Enough), "{healthy} % healthy");
            assert_eq!(found.iter().sum::<u32>(), WHOLE);
        }
        assert_eq!(shares(&[(25, 100), (25, 100)], 140), (vec![5_000, 5_000], Health::Short));
        assert_eq!(shares(&[(5, 100), (0, 100), (10, 100)], 140).0, [3_334, 0, 6_666]);
    }

    #[test]
    fn three_levels_take_over_one_after_the_other() {
        assert_eq!(shares(&[(50, 100), (10, 100), (100, 100)], 140).0, [7_000, 1_400, 1_600]);
        assert_eq!(shares(&[(0, 100), (0, 0), (1, 1)], 140).0, [0, 0, WHOLE]);
    }

    #[test]
    fn without_health_nobody_has_a_share() {
        assert_eq!(shares(&[(0, 10), (0, 0)], 140), (vec![0, 0], Health::None));
        assert_eq!(shares(&[], 140), (vec![], Health::None));
    }

    proptest! {
        #[test]
        fn shares_follow_the_formula(
            levels in prop::collection::vec((0_u64..50, 0_u64..50), 1..6), percent in 100_u32..=1_000,
        ) {
            let levels: Vec<(u64, u64)> = levels.into_iter().map(|(a, b)| (a.min(b), b)).collect();
            let score = |(healthy, whole): &(u64, u64)| {
                let whole = *whole as f64;
                if whole == 0.0 { 0.0 } else { (f64::from(percent) / 100.0 * *healthy as f64 / whole).min(1.0) }
            };
            let total: f64 = levels.iter().map(score).sum::<f64>().min(1.0);
            let (found, health) = shares(&levels, percent);
            if total == 0.0 {
                prop_assert_eq!(health, Health::None);
                return Ok(());
            }
            prop_assert_eq!(found.iter().sum::<u32>(), WHOLE, "{:?}", found);
            let mut left = 1.0;
            for (level, share) in levels.iter().zip(&found) {
                let expected = (score(level) / total).min(left);
                left -= expected;
                // Each score is rounded to a hundredth of a percent, and divided by the sum of such.
                let tolerance = 2e-4 * (1.0 + 1.0 / total) + 1e-4 * levels.len() as f64;
                let share = f64::from(*share) / f64::from(WHOLE);
                prop_assert!((share - expected).abs() <= tolerance, "{:?}: {} of {}", found, share, expected);
                prop_assert_eq!(share > 0.0 && level.0 == 0, false, "no health, no share");
            }
        }
    }
}
