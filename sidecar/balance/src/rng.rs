//! Randomness as an argument.
//!
//! Enters: a seed. Leaves: numbers that are even enough to spread load. Never here: secrets; these numbers can be
//! predicted.

/// A source of random bits.
pub trait Rng {
    /// 64 random bits.
    fn next_u64(&mut self) -> u64;

    /// A number below `bound`, or 0 when that is 0. Multiply-shift (Lemire, "Fast Random Integer Generation in an
    /// Interval", 2019) without its rejection step: the bias is below `bound / 2^32`.
    fn below(&mut self, bound: u32) -> u32 {
        let high = self.next_u64() >> 32;
        let scaled = (high * u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// The same for large bounds; the bias is below `bound / 2^64`.
    fn below_u64(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next_u64()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }

    /// Whether something of this probability, from 0 to 1, happens now.
    fn happens(&mut self, probability: f64) -> bool {
        probability >= 1.0 || f64::from(self.below(u32::MAX)) < probability * f64::from(u32::MAX)
    }
}

/// wyrand (Wang Yi, <https://github.com/wangyi-fudan/wyhash>): eight bytes of state and one multiplication per number,
/// good enough to pass BigCrush.
#[derive(Debug, Clone)]
pub struct SmallRng(u64);

impl SmallRng {
    /// The sequence of this seed. Workers take different seeds, so that they do not march in step.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }
}

impl Rng for SmallRng {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.0) * u128::from(self.0 ^ 0xe703_7ed1_a0b4_28db);
        // Both halves fit: the mask and the shift leave 64 bits each.
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(product >> 64).unwrap_or_default();
        high ^ low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_below_the_bound_and_every_one_of_them_comes() {
        let mut rng = SmallRng::seeded(7);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[rng.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn large_bounds_are_filled_too() {
        let mut rng = SmallRng::seeded(7);
        let bound = 10 << 40;
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[(rng.below_u64(bound) >> 40) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(rng.below_u64(0), 0);
    }

    #[test]
    fn what_has_a_probability_happens_that_often() {
        let mut rng = SmallRng::seeded(7);
        let mut often = |probability| (0..10_000).filter(|_| rng.happens(probability)).count();
        assert_eq!((often(0.0), often(1.0)), (0, 10_000));
        assert!((2_300..2_700).contains(&often(0.25)));
    }

    #[test]
    fn a_seed_repeats_its_sequence() {
        let (mut first, mut second) = (SmallRng::seeded(1), SmallRng::seeded(1));
        assert!((0..100).all(|_| first.next_u64() == second.next_u64()));
    }
}
