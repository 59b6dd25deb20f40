//! Promises of the balancer: those of every policy here, others beside.

mod ejections;
mod hashing;
mod levels;
mod spreading;

use super::*;
use crate::{
    Choices, Fault, HashKey, Health, LoadBound, LocalityPreference, Policy, RingSize, SmallRng, TableSize,
    Weight,
};
use proptest::prelude::*;
use std::time::Duration;

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) const START: Nanos = Nanos(0);

pub(super) fn key(id: usize) -> HashKey {
    HashKey::of(&id.to_le_bytes())
}

pub(super) fn member(id: usize, health: Health) -> Member {
    Member::new(health, key(id))
}

pub(super) fn weighing(id: usize, weight: u32) -> Member {
    Member { weight: Weight::new(weight).expect("in range"), ..member(id, Health::Ready) }
}

pub(super) fn small_table() -> TableSize {
    TableSize::new(1_021).expect("it is prime")
}

pub(super) fn policies() -> Vec<Policy> {
    let bound = Some(LoadBound::DEFAULT);
    vec![
        Policy::PeakEwma,
        Policy::LeastRequest(Choices::DEFAULT),
        Policy::LeastRequest(Choices::new(4).expect("in range")),
        Policy::RoundRobin,
        Policy::Random,
        Policy::RingHash(RingSize::default(), None),
        Policy::RingHash(RingSize::default(), bound),
        Policy::Maglev(small_table(), None),
        Policy::Maglev(small_table(), bound),
    ]
}

pub(super) fn any_policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(policies())
}

pub(super) fn by(policy: Policy) -> Settings {
    Settings { policy, ..Settings::default() }
}

pub(super) fn balancer_of(settings: Settings, members: &[Member]) -> Balancer<usize> {
    let mut balancer = Balancer::with(settings);
    balancer.update(members.iter().copied().enumerate(), START);
    balancer
}

pub(super) fn ready_by(settings: Settings, count: usize) -> Balancer<usize> {
    let members: Vec<Member> = (0..count).map(|id| member(id, Health::Ready)).collect();
    balancer_of(settings, &members)
}

pub(super) fn ready(count: usize) -> Balancer<usize> {
    ready_by(Settings::default(), count)
}

pub(super) fn slot(balancer: &Balancer<usize>, id: usize) -> Slot {
    balancer.slot(&id).expect("it was added")
}

pub(super) fn failure() -> Outcome {
    Outcome::Failure { latency: MS, fault: Fault::Gateway }
}

pub(super) fn success() -> Outcome {
    Outcome::Success { latency: MS }
}

pub(super) fn run(
    balancer: &mut Balancer<usize>,
    slot: Slot,
    now: Nanos,
    outcome: Outcome,
) -> Option<Ejected> {
    balancer.started(slot);
    balancer.ended(slot, now, outcome)
}

pub(super) fn eject(balancer: &mut Balancer<usize>, id: usize, now: Nanos) -> Option<Ejected> {
    let slot = slot(balancer, id);
    (0..5).find_map(|_| run(balancer, slot, now, failure()))
}

pub(super) fn tier(balancer: &Balancer<usize>, id: usize) -> Tier {
    balancer.endpoints().find(|(_, other, _)| **other == id).expect("it was added").2
}

/// Picks without a key and without load; returns how many each endpoint got, of the ids below `ids`.
pub(super) fn picks(
    balancer: &mut Balancer<usize>,
    ids: usize,
    count: usize,
    now: Nanos,
    rng: &mut SmallRng,
) -> Vec<usize> {
    let mut counts = vec![0; ids];
    for _ in 0..count {
        let pick = balancer.pick(PickFor::default(), now, rng).expect("there are endpoints");
        counts[*balancer.id(pick.slot).expect("just picked")] += 1;
    }
    counts
}

#[test]
fn without_endpoints_there_is_no_pick() {
    let mut rng = SmallRng::seeded(1);
    for policy in policies() {
        assert_eq!(Balancer::<usize>::with(by(policy)).pick(PickFor::default(), START, &mut rng), None);
        let mut draining = balancer_of(by(policy), &[member(0, Health::Draining)]);
        assert_eq!(draining.pick(PickFor::default(), START, &mut rng), None);
    }
}

#[test]
fn one_endpoint_always_works_whatever_it_did() {
    for policy in policies() {
        let mut balancer = ready_by(by(policy), 1);
        assert_eq!(eject(&mut balancer, 0, START), None);
        let only = slot(&balancer, 0);
        let pick = balancer.pick(PickFor::retry(&[only]), START, &mut SmallRng::seeded(1));
        assert_eq!(pick, Some(Pick { slot: only, tier: Tier::Healthy, is_repeated: true }));
    }
}

#[test]
fn an_update_keeps_what_is_known_of_those_that_stay() {
    let mut balancer = ready(3);
    eject(&mut balancer, 0, START);
    let (kept, gone) = (slot(&balancer, 0), slot(&balancer, 2));
    balancer.started(kept);
    let removed = balancer.update([0, 1, 7].map(|id| (id, member(id, Health::Ready))), Nanos(5));
    assert_eq!(removed, [gone]);
    assert_eq!((tier(&balancer, 0), balancer.pending(kept)), (Tier::Ejected, 1));
    assert_eq!(balancer.id(gone), None, "the index is used again, by another generation");
    balancer.ended(gone, Nanos(5), success());
    assert_eq!(balancer.slot(&7).map(Slot::index), Some(gone.index()));
}

#[test]
fn other_settings_keep_what_is_known() {
    let mut balancer = ready(4);
    eject(&mut balancer, 0, START);
    let busy = slot(&balancer, 1);
    balancer.started(busy);
    let mut rng = SmallRng::seeded(1);
    for policy in policies() {
        balancer.set(by(policy));
        assert_eq!(balancer.settings().policy, policy);
        assert_eq!((tier(&balancer, 0), balancer.pending(busy)), (Tier::Ejected, 1));
        assert!(picks(&mut balancer, 4, 100, START, &mut rng)[0] == 0, "{policy:?}");
    }
}

/// What a few kilobytes per service are made of; `docs/balancing.md` says these numbers to operators.
#[test]
fn an_endpoint_takes_as_many_bytes_as_documented() {
    assert_eq!(size_of::<Endpoint<u64>>(), 144);
    assert_eq!(size_of::<pool::Entry>(), 12);
}

#[derive(Debug, Clone)]
enum Step {
    Update(Vec<Member>),
    Send { failed: bool, key: Option<usize>, exclude: Vec<usize> },
    Begin,
    Evaluate,
    Set(Settings),
    Wait(u64),
}

fn any_member(id: usize) -> impl Strategy<Value = Member> {
    let health =
        prop_oneof![3 => Just(Health::Ready), 1 => Just(Health::NotReady), 1 => Just(Health::Draining)];
    let weight = prop_oneof![3 => Just(1), 1 => 1_u32..20];
    let distance = prop::sample::select(vec![crate::Distance::Here, crate::Distance::SameRegion]);
    (health, weight, prop_oneof![3 => Just(0), 1 => 0_u32..3], distance).prop_map(
        move |(health, weight, priority, distance)| {
            let priority = crate::Priority::new(priority).expect("in range");
            Member { health, priority, distance, ..weighing(id, weight) }
        },
    )
}

fn any_members() -> impl Strategy<Value = Vec<Member>> {
    (0_usize..9).prop_flat_map(|count| (0..count).map(any_member).collect::<Vec<_>>())
}

pub(super) fn any_settings() -> impl Strategy<Value = Settings> {
    let locality = prop::sample::select(vec![
        LocalityPreference::None,
        LocalityPreference::Nearest,
        LocalityPreference::Balanced(crate::TransferCost::DEFAULT),
    ]);
    let slow_start = prop::option::of(Just(crate::SlowStart::over(MS * 1_000)));
    let least = crate::LeastRequests::new(3).expect("in range");
    let peers = crate::LeastPeers::LEAST;
    let detection = prop::sample::select(vec![
        crate::Detection::default(),
        crate::Detection {
            failure_share: Some(crate::ByFailureShare { peers, requests: least, ..Default::default() }),
            success_rate: Some(crate::BySuccessRate { peers, requests: least, ..Default::default() }),
            latency: Some(crate::ByLatency { peers, requests: least, ..Default::default() }),
            most: crate::EjectedShare::MOST,
            ..crate::Detection::default()
        },
    ]);
    // With fewer places than endpoints.
    let tiny = Policy::Maglev(TableSize::new(3).expect("it is prime"), None);
    let policy = prop_oneof![9 => any_policy(), 1 => Just(tiny)];
    (policy, locality, prop_oneof![2 => Just(0), 1 => 0_u32..=100], slow_start, detection).prop_map(
        |(policy, locality, panic, slow_start, detection)| {
            let panic = crate::PanicThreshold::new(panic).expect("in range");
            Settings { policy, locality, panic, slow_start, detection, ..Settings::default() }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let send = (any::<bool>(), prop::option::of(0_usize..50), prop::collection::vec(0_usize..9, 0..4));
    prop_oneof![
        2 => any_members().prop_map(Step::Update),
        24 => send.prop_map(|(failed, key, exclude)| Step::Send { failed, key, exclude }),
        2 => Just(Step::Begin),
        1 => Just(Step::Evaluate),
        1 => any_settings().prop_map(Step::Set),
        2 => (0_u64..3_000_000_000).prop_map(Step::Wait),
    ]
}

/// Pools, places, sums and tiers agree, whatever happened.
fn is_consistent(balancer: &Balancer<usize>) -> Result<(), TestCaseError> {
    for tier in Tier::ALL {
        let count = balancer.endpoints().filter(|(_, _, other)| *other == tier).count();
        prop_assert_eq!(balancer.count(tier), count);
    }
    balancer.levels.check(|entry, place, tier| {
        let endpoint = balancer.slots.get(entry.slot).expect("pools hold live slots");
        assert_eq!((endpoint.place, endpoint.tier(), endpoint.member.weight), (place, tier, entry.weight));
        u64::from(endpoint.pending)
    });
    Ok(())
}

/// What every pick promises, by every policy.
fn is_right(balancer: &Balancer<usize>, pick: Option<Pick>, exclude: &[Slot]) -> Result<(), TestCaseError> {
    let tiers = || balancer.endpoints().map(|(_, _, tier)| tier).filter(|tier| *tier != Tier::Draining);
    let Some(pick) = pick else {
        prop_assert_eq!(tiers().count(), 0, "there was somebody");
        return Ok(());
    };
    prop_assert_ne!(pick.tier, Tier::Draining);
    prop_assert_eq!(Some(pick.tier), balancer.slots.get(pick.slot).map(Endpoint::tier));
    prop_assert_eq!(exclude.contains(&pick.slot), pick.is_repeated);
    if balancer.settings.panic.number() == 0 {
        prop_assert_eq!(Some(pick.tier), tiers().min(), "without panic, the best tier there is");
    }
    let fresh_and_healthy =
        balancer.endpoints().any(|(slot, _, tier)| tier == Tier::Healthy && !exclude.contains(&slot));
    prop_assert!(!(pick.is_repeated && fresh_and_healthy), "an untried healthy one was left out");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_picks_are_right_and_somebody_is_left(
        seed in any::<u64>(), settings in any_settings(), steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut rng = SmallRng::seeded(seed);
        let mut balancer = Balancer::<usize>::with(settings);
        let mut now = START;
        let mut begun: Vec<Slot> = Vec::new();
        for step in steps {
            let healthy = balancer.count(Tier::Healthy);
            let mut ejected = 0;
            match step {
                Step::Update(members) => { balancer.update(members.into_iter().enumerate(), now); }
                Step::Wait(nanos) => now = Nanos(now.0 + nanos),
                Step::Set(settings) => balancer.set(settings),
                Step::Begin => match balancer.pick(PickFor::default(), now, &mut rng) {
                    Some(pick) if begun.len() < 20 => { balancer.started(pick.slot); begun.push(pick.slot); }
                    Some(_) | None => for slot in begun.drain(..) { balancer.ended(slot, now, Outcome::Abandoned { waited: MS }); },
                },
                Step::Evaluate => ejected = balancer.evaluate(now).len(),
                Step::Send { failed, key, exclude } => {
                    let exclude: Vec<Slot> = exclude.iter().filter_map(|id| balancer.slot(id)).collect();
                    let request = PickFor { key: key.map(super::tests::key), tried: &exclude };
                    let pick = balancer.pick(request, now, &mut rng);
                    is_right(&balancer, pick, &exclude)?;
                    let Some(pick) = pick else { continue };
                    let outcome = if failed { failure() } else { success() };
                    ejected = usize::from(run(&mut balancer, pick.slot, now, outcome).is_some());
                }
            }
            prop_assert!(ejected == 0 || balancer.count(Tier::Healthy) > 0, "the last of {} was ejected", healthy);
            is_consistent(&balancer)?;
        }
    }
}
