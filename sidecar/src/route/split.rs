//! A rule's traffic shared out by weight. Pure: the random number is an argument.

/// Shares of the whole, ready to pick from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Running sums of the weights.
    sums: Box<[u64]>,
}

impl Split {
    /// Shares by weight; a weight of 0 is never picked.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let mut sum = 0u64;
        let sums = weights.into_iter().map(|weight| {
            sum += u64::from(weight);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// The share `random` (uniform over all of `u64`) falls on; nothing if there are no shares or all are 0.
    pub fn pick(&self, random: u64) -> Option<usize> {
        let total = *self.sums.last()?;
        // Multiply-shift maps uniformly onto 0..total without a division; the bias is below 2^-32.
        let point = u64::try_from((u128::from(random) * u128::from(total)) >> 64).ok()?;
        let index = self.sums.partition_point(|sum| *sum <= point);
        (index < self.sums.len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_follow_the_weights() {
        let split = Split::new([90, 0, 10]);
        let mut counts = [0u32; 3];
        let step = u64::MAX / 1000;
        for i in 0..1000 {
            counts[split.pick(i * step + step / 2).unwrap()] += 1;
        }
        assert_eq!(counts, [900, 0, 100]);
    }

    #[test]
    fn nothing_is_picked_where_there_is_no_share() {
        assert_eq!(Split::new([]).pick(7), None);
        assert_eq!(Split::new([0, 0]).pick(7), None);
    }

    proptest! {
        #[test]
        fn a_share_of_weight_zero_is_never_picked(
            weights in proptest::collection::vec(0u32..5, 1..6), random: u64,
        ) {
            match Split::new(weights.clone()).pick(random) {
                Some(index) => prop_assert!(weights[index] > 0),
                None => prop_assert!(weights.iter().all(|w| *w == 0)),
            }
        }
    }
}
