//! Promises of the balancer.

use super::*;
use crate::{FAILURES_TO_EJECT, SHORTEST_EJECTION, SmallRng};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn balancer(healths: &[Health]) -> Balancer<usize> {
    let mut balancer = Balancer::new();
    balancer.update(healths.iter().copied().enumerate(), Nanos(0));
    balancer
}

fn ready(count: usize) -> Balancer<usize> {
    balancer(&vec![Health::Ready; count])
}

fn slot(balancer: &Balancer<usize>, id: usize) -> Slot {
    balancer.slot(&id).expect("it was added")
}

fn run(balancer: &mut Balancer<usize>, slot: Slot, now: Nanos, outcome: Outcome) {
    balancer.started(slot);
    balancer.ended(slot, now, outcome);
}

fn eject(balancer: &mut Balancer<usize>, id: usize, now: Nanos) {
    let slot = slot(balancer, id);
    (0..FAILURES_TO_EJECT).for_each(|_| run(balancer, slot, now, Outcome::Failure { latency: MS }));
}

fn tier(balancer: &Balancer<usize>, id: usize) -> Tier {
    balancer.endpoints().find(|(_, other, _)| **other == id).expect("it was added").2
}

/// Sends `requests` one after another; endpoint `id` takes `latency(id)`. Returns how many each got.
fn spread(
    balancer: &mut Balancer<usize>,
    requests: usize,
    latency: impl Fn(usize) -> Duration,
) -> Vec<usize> {
    let mut rng = SmallRng::seeded(11);
    let mut counts = vec![0; balancer.len()];
    let mut now = Nanos(0);
    for _ in 0..requests {
        let pick = balancer.pick(&mut rng, now, &[]).expect("there are endpoints");
        let id = *balancer.id(pick.slot).expect("just picked");
        now = now + MS;
        run(balancer, pick.slot, now, Outcome::Success { latency: latency(id) });
        counts[id] += 1;
    }
    counts
}

#[test]
fn without_endpoints_there_is_no_pick() {
    let mut rng = SmallRng::seeded(1);
    assert_eq!(Balancer::<usize>::new().pick(&mut rng, Nanos(0), &[]), None);
    assert_eq!(balancer(&[Health::Draining]).pick(&mut rng, Nanos(0), &[]), None);
}

#[test]
fn one_endpoint_always_works_whatever_it_did() {
    let mut balancer = ready(1);
    eject(&mut balancer, 0, Nanos(0));
    let only = slot(&balancer, 0);
    let pick = balancer.pick(&mut SmallRng::seeded(1), Nanos(0), &[only]);
    assert_eq!(pick, Some(Pick { slot: only, tier: Tier::Healthy, is_repeated: true }));
}

#[test]
fn equal_endpoints_get_about_the_same() {
    let counts = spread(&mut ready(10), 10_000, |_| MS);
    assert!(counts.iter().all(|count| (600..1_500).contains(count)), "{counts:?}");
}

#[test]
fn a_slow_endpoint_gets_less_but_is_not_forgotten() {
    let counts = spread(&mut ready(4), 60_000, |id| if id == 0 { MS * 20 } else { MS });
    assert!(counts[0] < counts[1] / 10, "{counts:?}");
    assert!(counts[0] > 1, "it is tried again after its peak has decayed: {counts:?}");
}

#[test]
fn pending_requests_count() {
    let mut balancer = ready(2);
    for id in 0..2 {
        let slot = slot(&balancer, id);
        run(&mut balancer, slot, Nanos(0), Outcome::Success { latency: MS });
    }
    let (busy, idle) = (slot(&balancer, 0), slot(&balancer, 1));
    balancer.started(busy);
    let mut rng = SmallRng::seeded(1);
    assert!((0..100).all(|_| balancer.pick(&mut rng, Nanos(0), &[]).map(|pick| pick.slot) == Some(idle)));
    balancer.ended(busy, Nanos(0), Outcome::Abandoned);
    assert_eq!(balancer.pending(busy), 0);
}

#[test]
fn an_ejected_endpoint_is_left_out_and_comes_back() {
    let mut balancer = ready(2);
    eject(&mut balancer, 0, Nanos(0));
    assert_eq!(tier(&balancer, 0), Tier::Ejected);
    let mut rng = SmallRng::seeded(1);
    let (out, other) = (slot(&balancer, 0), slot(&balancer, 1));
    let end = Nanos(0) + SHORTEST_EJECTION;
    let before = Nanos(end.0 - 1);
    assert!((0..100).all(|_| balancer.pick(&mut rng, before, &[]).map(|pick| pick.slot) == Some(other)));
    assert_eq!(balancer.pick(&mut rng, end, &[other]).map(|pick| pick.slot), Some(out));
    assert_eq!(tier(&balancer, 0), Tier::Healthy);
}

#[test]
fn at_most_half_are_ejected_however_many_fail() {
    let mut balancer = ready(5);
    (0..5).for_each(|id| eject(&mut balancer, id, Nanos(0)));
    let ejected = balancer.endpoints().filter(|(_, _, tier)| *tier == Tier::Ejected).count();
    assert_eq!(ejected, 3);
}

#[test]
fn an_update_keeps_what_is_known_of_those_that_stay() {
    let mut balancer = ready(3);
    eject(&mut balancer, 0, Nanos(0));
    let (kept, gone) = (slot(&balancer, 0), slot(&balancer, 2));
    balancer.started(kept);
    let removed = balancer.update([(0, Health::Ready), (1, Health::Ready), (7, Health::Ready)], Nanos(5));
    assert_eq!(removed, [gone]);
    assert_eq!((tier(&balancer, 0), balancer.pending(kept)), (Tier::Ejected, 1));
    assert_eq!(balancer.id(gone), None, "the index is used again, by another generation");
    balancer.ended(gone, Nanos(5), Outcome::Success { latency: MS });
    assert_eq!(balancer.slot(&7).map(Slot::index), Some(gone.index()));
}

#[test]
fn when_only_the_ejected_are_left_they_are_used_and_then_the_not_ready() {
    let mut balancer = ready(2);
    eject(&mut balancer, 0, Nanos(0));
    let mut rng = SmallRng::seeded(1);
    balancer.update([(0, Health::Ready), (1, Health::Draining)], Nanos(0));
    let tier_of = |balancer: &mut Balancer<usize>, rng: &mut SmallRng| {
        balancer.pick(rng, Nanos(0), &[]).map(|pick| pick.tier)
    };
    assert_eq!(tier_of(&mut balancer, &mut rng), Some(Tier::Ejected));
    balancer.update([(0, Health::NotReady), (1, Health::Draining)], Nanos(0));
    assert_eq!(tier_of(&mut balancer, &mut rng), Some(Tier::NotReady));
    balancer.update([(0, Health::Draining), (1, Health::Draining)], Nanos(0));
    assert_eq!(tier_of(&mut balancer, &mut rng), None);
}

#[derive(Debug, Clone)]
enum Step {
    Update(Vec<Health>),
    Send { failed: bool, exclude: Vec<usize> },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let health =
        prop_oneof![3 => Just(Health::Ready), 1 => Just(Health::NotReady), 1 => Just(Health::Draining)];
    prop_oneof![
        1 => prop::collection::vec(health, 0..9).prop_map(Step::Update),
        12 => (any::<bool>(), prop::collection::vec(0_usize..9, 0..4))
            .prop_map(|(failed, exclude)| Step::Send { failed, exclude }),
        1 => (0_u64..3_000_000_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_best_tier_is_used_and_exclusions_hold(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..200)) {
        let mut rng = SmallRng::seeded(seed);
        let mut balancer = Balancer::<usize>::new();
        let mut now = Nanos(0);
        for step in steps {
            match step {
                Step::Update(healths) => { balancer.update(healths.into_iter().enumerate(), now); }
                Step::Wait(nanos) => now = Nanos(now.0 + nanos),
                Step::Send { failed, exclude } => {
                    let exclude: Vec<Slot> = exclude.iter().filter_map(|id| balancer.slot(id)).collect();
                    let pick = balancer.pick(&mut rng, now, &exclude);
                    let best = balancer.endpoints().map(|(_, _, tier)| tier).min();
                    prop_assert_eq!(pick.map(|pick| pick.tier), best.filter(|tier| *tier != Tier::Draining));
                    let Some(pick) = pick else { continue };
                    let fresh = balancer.endpoints().any(|(slot, _, tier)| tier == pick.tier && !exclude.contains(&slot));
                    prop_assert_eq!(exclude.contains(&pick.slot), !fresh);
                    prop_assert_eq!(pick.is_repeated, !fresh);
                    let outcome = if failed { Outcome::Failure { latency: MS } } else { Outcome::Success { latency: MS } };
                    run(&mut balancer, pick.slot, now, outcome);
                }
            }
            let count = |wanted| balancer.endpoints().filter(|(_, _, tier)| *tier == wanted).count();
            let pools = [&balancer.pools.healthy, &balancer.pools.ejected, &balancer.pools.not_ready, &balancer.pools.draining];
            let tiers = [Tier::Healthy, Tier::Ejected, Tier::NotReady, Tier::Draining];
            for (pool, tier) in pools.into_iter().zip(tiers) {
                prop_assert_eq!(pool.len(), count(tier));
                for (place, slot) in pool.iter().enumerate() {
                    let endpoint = balancer.slots.get(*slot).expect("pools hold live slots");
                    prop_assert_eq!((endpoint.place, endpoint.tier()), (place, tier));
                }
            }
        }
    }
}
