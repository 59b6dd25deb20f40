//! Maglev's table: every endpoint fills places in an order of its own, in turns, until all are taken.
//!
//! Enters: members with keys and weights. Leaves: whose each place is. Never here: walking, which is `table`'s.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4; weights
//! as Envoy has them: an endpoint of half the largest weight takes part in every second round.

use super::table::{Owner, Start, Table};
use crate::TableSize;

/// Keeps an endpoint's first place and its steps apart from other hashes of its key.
const OFFSET: u64 = 2;
const SKIP: u64 = 3;

const EMPTY: u16 = u16::MAX;

/// One endpoint's way through the table: its places in the order in which it wants them.
struct Wish {
    index: u16,
    place: u64,
    step: u64,
    weight: u64,
    /// The round in which it takes its next place, times the largest weight.
    target: u64,
}

pub(super) fn table(members: Vec<Owner>, size: TableSize) -> Table {
    Table::new(members, |members| (owners(members, u64::from(size.number())), Start::Remainder))
}

fn owners(members: &[Owner], places: u64) -> Vec<u16> {
    let mut wishes: Vec<Wish> =
        (0..EMPTY).zip(members).map(|(index, member)| wish(index, member, places)).collect();
    if wishes.is_empty() {
        return Vec::new();
    }
    let largest = wishes.iter().map(|wish| wish.weight).max().unwrap_or(1);
    let mut owners = vec![EMPTY; usize::try_from(places).unwrap_or_default()];
    let mut left = owners.len();
    for round in 1_u64.. {
        for wish in &mut wishes {
            if round * wish.weight < wish.target {
                continue;
            }
            if left == 0 {
                return owners;
            }
            // Half a round later after the first place: a share is then rounded to the nearest, and at least one.
            wish.target += if wish.target == 0 { largest + largest / 2 } else { largest };
            take_next(wish, &mut owners, places);
            left -= 1;
        }
    }
    owners
}

fn wish(index: u16, member: &Owner, places: u64) -> Wish {
    let (offset, skip) = (member.key.salted(OFFSET), member.key.salted(SKIP));
    let step = skip % places.saturating_sub(1).max(1) + 1;
    Wish { index, place: offset % places.max(1), step, weight: member.weight.number().into(), target: 0 }
}

/// Takes the first place of the wish that is still empty. There is one: the number of places is prime, so the steps reach
/// all of them.
fn take_next(wish: &mut Wish, owners: &mut [u16], places: u64) {
    for _ in 0..places {
        let place = usize::try_from(wish.place).unwrap_or_default();
        wish.place = (wish.place + wish.step) % places;
        if let Some(owner) = owners.get_mut(place).filter(|owner| **owner == EMPTY) {
            *owner = wish.index;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{keys, moved, owners as members, spread};
    use super::*;
    use proptest::prelude::*;

    const KEYS: u64 = 4_000;

    fn small() -> TableSize {
        TableSize::new(2_039).expect("it is prime")
    }

    fn places(members: &[Owner]) -> Vec<u64> {
        let mut counts = vec![0; members.len()];
        let mut sorted = members.to_vec();
        sorted.sort_unstable_by_key(|member| member.key);
        for owner in owners(&sorted, small().number().into()) {
            counts[sorted[usize::from(owner)].slot.index()] += 1;
        }
        counts
    }

    #[test]
    fn every_sidecar_has_the_same_table_in_every_version() {
        let list = members(&[1, 2, 3]);
        let reversed: Vec<Owner> = list.iter().rev().copied().collect();
        let (forwards, backwards) = (table(list, small()), table(reversed, small()));
        assert!(keys(200).all(|key| forwards.walk(key).eq(backwards.walk(key))));
        let golden: Vec<usize> =
            keys(16).filter_map(|key| forwards.walk(key).next()).map(|slot| slot.index()).collect();
        assert_eq!(golden, [1, 0, 1, 2, 2, 2, 1, 2, 0, 2, 0, 1, 1, 0, 1, 0]);
    }

    #[test]
    fn without_members_there_is_nothing_to_walk() {
        assert_eq!(table(Vec::new(), small()).walk(keys(1).next().expect("one key")).count(), 0);
    }

    #[test]
    fn more_endpoints_than_places_is_no_trouble() {
        let tiny = TableSize::new(2).expect("it is prime");
        let table = table(members(&[1; 5]), tiny);
        assert_eq!(keys(10).map(|key| table.walk(key).count()).max(), Some(2));
    }

    #[test]
    fn one_endpoint_has_every_place() {
        assert_eq!(places(&members(&[7])), [2_039]);
    }

    proptest! {
        #[test]
        fn equal_endpoints_have_the_same_number_of_places_but_for_one(count in 1_usize..100) {
            let places = places(&members(&vec![3; count]));
            prop_assert!(places.iter().all(|own| *own >= 2_039 / count as u64 && *own <= 2_039 / count as u64 + 1), "{:?}", places);
        }

        #[test]
        fn places_follow_the_weights(weights in prop::collection::vec(1_u32..20, 1..20)) {
            let places = places(&members(&weights));
            let total: u32 = weights.iter().sum();
            for (weight, own) in weights.iter().zip(&places) {
                let expected = 2_039.0 * f64::from(*weight) / f64::from(total);
                prop_assert!((*own as f64 - expected).abs() <= 2.0, "{:?} of {:?}", places, weights);
            }
        }

        #[test]
        fn keys_spread_by_weight(weights in prop::collection::vec(1_u32..6, 1..12)) {
            let list = members(&weights);
            let counts = spread(&table(list, small()), weights.len(), KEYS);
            let total: u32 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(&counts) {
                let expected = KEYS as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!((*count as f64 - expected).abs() <= 5.0 * expected.sqrt() + 5.0, "{:?} of {:?}", counts, weights);
            }
        }

        /// The paper's measurement (figure 12 and its text): a little more than the minimum moves, and the less the
        /// larger the table is for its members.
        #[test]
        fn one_endpoint_less_moves_little_more_than_its_own_keys(count in 4_usize..20, gone in any::<prop::sample::Index>()) {
            let list = members(&vec![1; count]);
            let gone = gone.index(count);
            let rest: Vec<Owner> = list.iter().copied().filter(|member| member.slot.index() != gone).collect();
            let size = TableSize::new(16_381).expect("it is prime");
            let (moved, needless) = moved(&table(list, size), &table(rest, size), gone, KEYS);
            let own = KEYS as f64 / count as f64;
            prop_assert!((moved as f64) < own * 1.2 + KEYS as f64 * 0.06, "{} of {}, {} without need", moved, KEYS, needless);
            prop_assert!((needless as f64) < KEYS as f64 * 0.06, "{} without need", needless);
        }
    }
}
