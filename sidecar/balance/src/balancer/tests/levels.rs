//! Promises about priorities, distances and panic.

use super::*;
use crate::{Distance, PanicThreshold, Priority};

fn at(id: usize, priority: u32, distance: Distance, health: Health) -> Member {
    let priority = Priority::new(priority).expect("in range");
    Member { priority, distance, ..member(id, health) }
}

/// Ten endpoints of priority 0, `healthy` of them ready, and ten of priority 1.
fn two_levels(settings: Settings, healthy: usize) -> Balancer<usize> {
    let members: Vec<Member> = (0..20)
        .map(|id| {
            let health = if id < healthy || id >= 10 { Health::Ready } else { Health::NotReady };
            at(id, u32::from(id >= 10), Distance::Here, health)
        })
        .collect();
    balancer_of(settings, &members)
}

fn to_first(balancer: &mut Balancer<usize>, count: usize) -> usize {
    picks(balancer, 20, count, START, &mut SmallRng::seeded(5)).iter().take(10).sum()
}

#[test]
fn the_next_priority_takes_over_what_the_first_cannot_carry() {
    const PICKS: usize = 20_000;
    for policy in policies() {
        for (healthy, percent) in [(10, 100), (8, 100), (7, 98), (5, 70), (2, 28), (0, 0)] {
            let share = to_first(&mut two_levels(by(policy), healthy), PICKS) * 100;
            let expected = percent * PICKS;
            assert!(
                share.abs_diff(expected) <= PICKS,
                "{policy:?}, {healthy}0 % healthy: {share} of {expected}"
            );
            assert!(percent % 100 != 0 || share == expected, "all or nothing is exact");
        }
    }
}

#[test]
fn a_key_stays_in_its_level_while_the_level_can_carry_it() {
    for policy in [Policy::RingHash(RingSize::default(), None), Policy::Maglev(small_table(), None)] {
        let mut rng = SmallRng::seeded(1);
        let mut owners = |healthy| -> Vec<usize> {
            let mut balancer = two_levels(by(policy), healthy);
            let mut owner = |id| {
                let pick = balancer.pick(PickFor { key: Some(key(id)), tried: &[] }, START, &mut rng);
                *balancer.id(pick.expect("there are endpoints").slot).expect("just picked")
            };
            (0..1_000).map(&mut owner).collect()
        };
        let (seven, five) = (owners(7), owners(5));
        let came_back = seven.iter().zip(&five).filter(|(seven, five)| **seven >= 10 && **five < 10).count();
        assert_eq!(came_back, 0, "{policy:?}: less health only moves keys away");
        let stayed = seven.iter().zip(&five).filter(|(seven, five)| **seven < 5 && seven == five).count();
        let had = seven.iter().filter(|seven| **seven < 5).count();
        assert!(stayed * 10 >= had * 6, "{policy:?}: {stayed} of {had}");
    }
}

#[test]
fn the_nearest_endpoints_are_used_if_that_is_asked_for() {
    let distances = [Distance::Elsewhere, Distance::SameRegion, Distance::Here, Distance::SameZone];
    let members: Vec<Member> =
        distances.into_iter().enumerate().map(|(id, distance)| at(id, 0, distance, Health::Ready)).collect();
    let mut rng = SmallRng::seeded(1);
    let mut balancer = balancer_of(by(Policy::Random), &members);
    assert!(picks(&mut balancer, 4, 1_000, START, &mut rng).iter().all(|count| *count > 200));
    balancer.set(Settings { locality: LocalityPreference::Nearest, ..by(Policy::Random) });
    assert_eq!(picks(&mut balancer, 4, 100, START, &mut rng), [0, 0, 100, 0]);
    for (gone, next) in [(2, 3), (3, 1), (1, 0)] {
        let mut member = *balancer.member(slot(&balancer, gone)).expect("it is there");
        member.health = Health::NotReady;
        let listed: Vec<(usize, Member)> = (0..4)
            .map(|id| {
                (
                    id,
                    if id == gone {
                        member
                    } else {
                        *balancer.member(slot(&balancer, id)).expect("it is there")
                    },
                )
            })
            .collect();
        balancer.update(listed, START);
        assert_eq!(picks(&mut balancer, 4, 100, START, &mut rng)[next], 100, "without {gone}");
    }
}

/// One endpoint here, three in the next zone, and one of a lower priority; `width` requests under way.
fn zones(policy: Policy, locality: LocalityPreference, width: usize) -> Vec<usize> {
    let members: Vec<Member> =
        [Distance::Here, Distance::SameRegion, Distance::SameRegion, Distance::SameRegion]
            .into_iter()
            .enumerate()
            .map(|(id, distance)| at(id, 0, distance, Health::Ready))
            .chain([at(4, 1, Distance::Here, Health::Ready)])
            .collect();
    let mut balancer = balancer_of(Settings { locality, ..by(policy) }, &members);
    for id in 0..5 {
        let slot = slot(&balancer, id);
        run(&mut balancer, slot, START, success());
    }
    super::spreading::under_load(&mut balancer, 5, 4_000, width)
}

#[test]
fn a_near_endpoint_that_is_overrun_is_helped_by_farther_ones_if_that_is_asked_for() {
    let balanced = LocalityPreference::Balanced(crate::TransferCost::DEFAULT);
    for policy in [Policy::PeakEwma, Policy::LeastRequest(Choices::DEFAULT)] {
        assert_eq!(
            zones(policy, balanced, 2),
            [4_000, 0, 0, 0, 0],
            "{policy:?}: without need nothing leaves the zone"
        );
        assert_eq!(zones(policy, LocalityPreference::Nearest, 40), [4_000, 0, 0, 0, 0], "{policy:?}");
        let counts = zones(policy, balanced, 40);
        assert!(
            (1_400..2_000).contains(&counts[0]),
            "{policy:?}: twice what each of the others has: {counts:?}"
        );
        assert!(counts[1..4].iter().all(|count| (600..950).contains(count)), "{policy:?}: {counts:?}");
        assert_eq!(counts[4], 0, "{policy:?}: another priority is no help for load");
    }
    assert_eq!(
        zones(Policy::RoundRobin, balanced, 40),
        [4_000, 0, 0, 0, 0],
        "what is not measured stays near"
    );
}

#[test]
fn priority_comes_before_distance() {
    let members = [at(0, 1, Distance::Here, Health::Ready), at(1, 0, Distance::Elsewhere, Health::Ready)];
    let settings = Settings { locality: LocalityPreference::Nearest, ..Settings::default() };
    let counts = picks(&mut balancer_of(settings, &members), 2, 100, START, &mut SmallRng::seeded(1));
    assert_eq!(counts, [0, 100]);
}

#[test]
fn a_retry_that_has_tried_its_level_goes_to_the_next_before_it_repeats() {
    for policy in policies() {
        let members = [at(0, 0, Distance::Here, Health::Ready), at(1, 1, Distance::Here, Health::Ready)];
        let mut balancer = balancer_of(by(policy), &members);
        let mut rng = SmallRng::seeded(1);
        let (first, second) = (slot(&balancer, 0), slot(&balancer, 1));
        let mut pick = |tried: &[Slot]| {
            let pick = balancer.pick(PickFor::retry(tried), START, &mut rng).expect("there are endpoints");
            (pick.slot, pick.is_repeated)
        };
        assert_eq!(pick(&[]), (first, false), "{policy:?}");
        assert_eq!(pick(&[first]), (second, false), "{policy:?}");
        assert_eq!(pick(&[first, second]), (first, true), "{policy:?}");
    }
}

#[test]
fn weights_count_in_a_levels_health() {
    let heavy =
        Member { weight: Weight::new(9).expect("in range"), ..at(0, 0, Distance::Here, Health::NotReady) };
    let members = [heavy, at(1, 0, Distance::Here, Health::Ready), at(2, 1, Distance::Here, Health::Ready)];
    let counts =
        picks(&mut balancer_of(by(Policy::Random), &members), 3, 10_000, START, &mut SmallRng::seeded(1));
    assert!((1_250..1_550).contains(&counts[1]), "a tenth of the weight, times 1.4: {counts:?}");
}

fn tiers(panic: u32, healths: &[Health], ejected: &[usize]) -> Vec<Tier> {
    let panic = PanicThreshold::new(panic).expect("in range");
    let members: Vec<Member> = healths.iter().enumerate().map(|(id, health)| member(id, *health)).collect();
    let mut balancer = balancer_of(Settings { panic, ..by(Policy::Random) }, &members);
    for id in ejected {
        assert!(eject(&mut balancer, *id, START).is_some());
    }
    let mut rng = SmallRng::seeded(1);
    let mut found: Vec<Tier> = (0..200)
        .filter_map(|_| balancer.pick(PickFor::default(), START, &mut rng))
        .map(|pick| pick.tier)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn panic_uses_the_ejected_first_and_the_not_ready_only_if_it_must() {
    const R: Health = Health::Ready;
    const N: Health = Health::NotReady;
    assert_eq!(tiers(0, &[R, R, N, N, N], &[0]), [Tier::Healthy], "by default, as long as there is one");
    assert_eq!(tiers(50, &[R, R, R, R], &[0, 1]), [Tier::Healthy], "half is enough");
    assert_eq!(tiers(51, &[R, R, R, R], &[0, 1]), [Tier::Healthy, Tier::Ejected]);
    assert_eq!(tiers(50, &[R, R, R, N], &[0]), [Tier::Healthy]);
    assert_eq!(tiers(50, &[R, R, R, N, N], &[0]), [Tier::Healthy, Tier::Ejected], "three of five are ready");
    assert_eq!(tiers(50, &[R, R, N, N, N], &[]), [Tier::Healthy, Tier::NotReady]);
    assert_eq!(tiers(100, &[R, R, R, N], &[0]), [Tier::Healthy, Tier::Ejected, Tier::NotReady]);
}

#[test]
fn nobody_panics_while_another_level_can_take_over() {
    let panic = PanicThreshold::new(50).expect("in range");
    let mut balancer = two_levels(Settings { panic, ..by(Policy::Random) }, 4);
    let counts = picks(&mut balancer, 20, 10_000, START, &mut SmallRng::seeded(1));
    assert_eq!(counts[4..10].iter().sum::<usize>(), 0, "{counts:?}");
    assert!((5_400..5_800).contains(&counts[..4].iter().sum::<usize>()), "40 % times 1.4: {counts:?}");
}
