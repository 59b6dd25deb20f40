//! Promises about who is left out.

use super::*;
use crate::{ByFailureShare, ByLatency, BySuccessRate, Detection, EjectedShare, SlowStart};

const SHORTEST: Duration = Duration::from_secs(1);

fn pick(balancer: &mut Balancer<usize>, rng: &mut SmallRng, now: Nanos, tried: &[Slot]) -> Option<Slot> {
    balancer.pick(PickFor::retry(tried), now, rng).map(|pick| pick.slot)
}

#[test]
fn an_ejected_endpoint_is_left_out_and_comes_back() {
    for policy in policies() {
        let mut balancer = ready_by(by(policy), 2);
        let (out, other) = (slot(&balancer, 0), slot(&balancer, 1));
        let end = START + SHORTEST;
        let ejected = eject(&mut balancer, 0, START);
        assert_eq!(ejected, Some(Ejected { slot: out, cause: Cause::GatewayFailures, until: end }));
        assert_eq!((tier(&balancer, 0), balancer.ejected_until(out)), (Tier::Ejected, Some(end)));
        let mut rng = SmallRng::seeded(1);
        let before = Nanos(end.0 - 1);
        assert!((0..100).all(|_| pick(&mut balancer, &mut rng, before, &[]) == Some(other)), "{policy:?}");
        assert_eq!(pick(&mut balancer, &mut rng, end, &[other]), Some(out), "{policy:?}");
        assert_eq!((tier(&balancer, 0), balancer.ejected_until(out)), (Tier::Healthy, None));
    }
}

#[test]
fn at_most_half_are_ejected_however_many_fail() {
    let mut balancer = ready(5);
    (0..5).for_each(|id| {
        eject(&mut balancer, id, START);
    });
    assert_eq!((balancer.count(Tier::Ejected), balancer.count(Tier::Healthy)), (3, 2));
}

#[test]
fn nobody_is_ejected_when_the_share_is_zero() {
    let detection = Detection { most: EjectedShare::LEAST, ..Detection::default() };
    let mut balancer = ready_by(Settings { detection, ..Settings::default() }, 5);
    (0..5).for_each(|id| assert_eq!(eject(&mut balancer, id, START), None));
}

#[test]
fn when_only_the_ejected_are_left_they_are_used_and_then_the_not_ready() {
    for policy in policies() {
        let mut balancer = ready_by(by(policy), 2);
        eject(&mut balancer, 0, START);
        let mut rng = SmallRng::seeded(1);
        let mut tier_after = |first, second| {
            balancer.update([(0, member(0, first)), (1, member(1, second))], START);
            balancer.pick(PickFor::default(), START, &mut rng).map(|pick| pick.tier)
        };
        assert_eq!(tier_after(Health::Ready, Health::Draining), Some(Tier::Ejected), "{policy:?}");
        assert_eq!(tier_after(Health::NotReady, Health::Draining), Some(Tier::NotReady), "{policy:?}");
        assert_eq!(tier_after(Health::Draining, Health::Draining), None, "{policy:?}");
    }
}

fn send(balancer: &mut Balancer<usize>, id: usize, count: usize, outcome: Outcome) {
    let slot = slot(balancer, id);
    for _ in 0..count {
        run(balancer, slot, START, outcome);
    }
}

fn comparing(detection: Detection, count: usize) -> Balancer<usize> {
    ready_by(Settings { detection, ..Settings::default() }, count)
}

#[test]
fn each_detector_ejects_when_the_interval_ends_if_it_is_on() {
    let failed = Outcome::Failure { latency: MS, fault: Fault::Answer };
    let slow = Outcome::Success { latency: MS * 100 };
    let table = [
        (
            Detection { success_rate: Some(BySuccessRate::default()), ..Detection::OFF },
            failed,
            Cause::SuccessRate,
        ),
        (
            Detection { failure_share: Some(ByFailureShare::default()), ..Detection::OFF },
            failed,
            Cause::FailureShare,
        ),
        (Detection { latency: Some(ByLatency::default()), ..Detection::OFF }, slow, Cause::Latency),
    ];
    for (detection, outcome, cause) in table {
        for detection in [detection, Detection::OFF] {
            let mut balancer = comparing(detection, 6);
            (0..5).for_each(|id| send(&mut balancer, id, 100, success()));
            send(&mut balancer, 5, 100, outcome);
            let ejected: Vec<Cause> =
                balancer.evaluate(START).into_iter().map(|ejected| ejected.cause).collect();
            let expected: &[Cause] = if detection.needs_intervals() { &[cause] } else { &[] };
            assert_eq!(ejected, expected);
            assert_eq!(balancer.count(Tier::Ejected), expected.len());
            assert_eq!(balancer.evaluate(START), [], "an interval is judged once");
        }
    }
}

#[test]
fn when_most_fail_the_worst_half_is_ejected() {
    let mut balancer =
        comparing(Detection { failure_share: Some(ByFailureShare::default()), ..Detection::OFF }, 6);
    for id in 0..6 {
        send(&mut balancer, id, 6 - id, success());
        send(&mut balancer, id, 94 + id, Outcome::Failure { latency: MS, fault: Fault::Answer });
    }
    let ejected: Vec<usize> = balancer
        .evaluate(START)
        .iter()
        .map(|ejected| *balancer.id(ejected.slot).expect("it is there"))
        .collect();
    assert_eq!(ejected, [5, 4, 3]);
}

#[test]
fn what_was_counted_before_a_detector_was_on_is_not_judged() {
    let mut balancer = comparing(Detection::OFF, 6);
    (0..6).for_each(|id| send(&mut balancer, id, 100, if id == 0 { failure() } else { success() }));
    let detection = Detection { failure_share: Some(ByFailureShare::default()), ..Detection::OFF };
    balancer.set(Settings { detection, ..Settings::default() });
    assert_eq!(balancer.evaluate(START), []);
}

#[test]
fn an_ejected_endpoint_comes_back_slowly_if_that_is_asked_for() {
    let slow_start = Some(SlowStart::over(Duration::from_secs(10)));
    let mut balancer = ready_by(Settings { slow_start, ..by(Policy::Random) }, 2);
    eject(&mut balancer, 0, START);
    let counts = picks(&mut balancer, 2, 10_000, START + SHORTEST, &mut SmallRng::seeded(1));
    assert!((700..1_150).contains(&counts[0]), "a tenth against one: {counts:?}");
}
