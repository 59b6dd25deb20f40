//! The hash ring: each endpoint has points on a circle of hashes, and a key belongs to the first point after it.
//!
//! Enters: members with keys and weights. Leaves: the points, in order, with their owners. Never here: walking, which is
//! `table`'s.
//!
//! Source: Karger et al., "Consistent Hashing and Random Trees" (1997); libketama's points per server. [`RingSize`] says
//! how many points there are and why their number keeps still.

use super::table::{Owner, Start, Table};
use crate::RingSize;

/// Points of an endpoint of the least weight: the keys of an endpoint spread by 1 / √128, 9 %.
const POINTS: u64 = 128;
/// Keeps points apart from other hashes of an endpoint's key.
const POINT: u64 = 1 << 32;

pub(super) fn table(members: Vec<Owner>, size: RingSize) -> Table {
    Table::new(members, |members| points(members, size))
}

fn points(members: &[Owner], size: RingSize) -> (Vec<u16>, Start) {
    let divisor = members.iter().fold(0, |divisor, member| greatest_divisor(divisor, member.weight.number()));
    let units = |member: &Owner| u64::from(member.weight.number() / divisor.max(1));
    let total: u64 = members.iter().map(units).sum();
    let most = u64::from(size.most().number());
    let per_unit = points_per_unit(total, u64::from(size.least().number()), most);
    let mut points: Vec<(u64, u16)> = Vec::new();
    for (index, member) in (0..=u16::MAX).zip(members) {
        let count = match units(member) {
            units if total > most => (units * most / total).max(1),
            units => units * per_unit,
        };
        points.extend((0..count).map(|point| (member.key.salted(POINT + point), index)));
    }
    points.sort_unstable();
    let (points, owners): (Vec<u64>, Vec<u16>) = points.into_iter().unzip();
    (owners, Start::Point(points))
}

/// A power of two, so that it keeps still while endpoints come and go.
fn points_per_unit(total: u64, least: u64, most: u64) -> u64 {
    if total == 0 {
        return 1;
    }
    let mut points = POINTS;
    while points * total < least {
        points *= 2;
    }
    while points > 1 && points * total > most {
        points /= 2;
    }
    points
}

fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{keys, moved, owners, spread};
    use super::*;
    use crate::Points;
    use proptest::prelude::*;

    const KEYS: u64 = 4_000;

    fn ring(members: &[Owner]) -> Table {
        table(members.to_vec(), RingSize::default())
    }

    fn sizes(weights: &[u32], least: u32, most: u32) -> usize {
        let points = |points| Points::new(points).expect("in range");
        let size = RingSize::new(points(least), points(most)).expect("in order");
        super::points(&owners(weights), size).0.len()
    }

    #[test]
    fn a_ring_keeps_its_bounds_in_powers_of_two() {
        assert_eq!(
            [1, 2, 3, 8, 9].map(|count| sizes(&vec![1; count], 1_024, 65_536)),
            [1_024, 1_024, 1_536, 1_024, 1_152]
        );
        assert_eq!(sizes(&vec![1; 1_000], 1_024, 65_536), 64_000);
        assert_eq!(sizes(&vec![1; 300], 1, 100), 300, "each has one point");
        assert_eq!(sizes(&[1, 299], 1, 100), 1 + 99, "weights count as far as there is room");
        assert_eq!(sizes(&[], 1, 100), 0);
        assert_eq!(sizes(&[7, 7], 1, 256), 256, "equal weights are all 1");
    }

    #[test]
    fn every_sidecar_has_the_same_ring_in_every_version() {
        let members = owners(&[1, 2, 3]);
        let reversed: Vec<Owner> = members.iter().rev().copied().collect();
        let (forwards, backwards) = (ring(&members), ring(&reversed));
        assert!(keys(1_000).all(|key| forwards.walk(key).eq(backwards.walk(key))));
        let golden: Vec<usize> =
            keys(16).filter_map(|key| forwards.walk(key).next()).map(|slot| slot.index()).collect();
        assert_eq!(golden, [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 0, 2, 2, 1]);
    }

    #[test]
    fn without_members_there_is_nothing_to_walk() {
        assert_eq!(ring(&[]).walk(keys(1).next().expect("one key")).count(), 0);
    }

    proptest! {
        #[test]
        fn keys_spread_by_weight(weights in prop::collection::vec(1_u32..6, 1..12)) {
            let members = owners(&weights);
            let counts = spread(&ring(&members), members.len(), KEYS);
            let total: u32 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(&counts) {
                let expected = KEYS as f64 * f64::from(*weight) / f64::from(total);
                // Four deviations of the points, and of the keys.
                let tolerance = expected * 4.0 / (128.0 * f64::from(*weight)).sqrt() + 4.0 * expected.sqrt();
                prop_assert!((*count as f64 - expected).abs() <= tolerance, "{:?} of {:?}", counts, weights);
            }
        }

        /// With eight and more endpoints of weight 1, the number of points per endpoint keeps still.
        #[test]
        fn one_more_endpoint_takes_its_share_and_nothing_else_moves(count in 8_usize..40) {
            let members = owners(&vec![1; count + 1]);
            let (moved, needless) = moved(&ring(&members[..count]), &ring(&members), count, KEYS);
            let expected = KEYS as f64 / (count + 1) as f64;
            prop_assert_eq!(needless, 0);
            prop_assert!((moved as f64) < expected * (1.0 + 4.0 / 128_f64.sqrt()) + 4.0 * expected.sqrt(), "{} of {}", moved, expected);
        }

        #[test]
        fn one_endpoint_less_moves_its_own_keys_only(count in 9_usize..40, gone in any::<prop::sample::Index>()) {
            let members = owners(&vec![1; count]);
            let gone = gone.index(count);
            let rest: Vec<Owner> = members.iter().copied().filter(|member| member.slot.index() != gone).collect();
            let (moved, needless) = moved(&ring(&members), &ring(&rest), gone, KEYS);
            prop_assert_eq!(needless, 0);
            prop_assert_eq!(moved, spread(&ring(&members), count, KEYS)[gone]);
        }

        /// Skipping an endpoint while it is ejected is the same as having no such endpoint: its keys go where they would.
        #[test]
        fn skipping_is_like_removing(count in 9_usize..30, gone in any::<prop::sample::Index>()) {
            let members = owners(&vec![1; count]);
            let gone = gone.index(count);
            let rest: Vec<Owner> = members.iter().copied().filter(|member| member.slot.index() != gone).collect();
            let (all, rest) = (ring(&members), ring(&rest));
            for key in keys(500) {
                prop_assert_eq!(all.walk(key).find(|slot| slot.index() != gone), rest.walk(key).next());
            }
        }
    }
}
