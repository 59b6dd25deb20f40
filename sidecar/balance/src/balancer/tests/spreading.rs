//! Promises about how requests spread by load, weight and age.

use super::*;
use crate::SlowStart;

/// Sends `requests` one after another; endpoint `id` takes `latency(id)`. Returns how many each got.
fn spread(
    balancer: &mut Balancer<usize>,
    requests: usize,
    latency: impl Fn(usize) -> Duration,
) -> Vec<usize> {
    let mut rng = SmallRng::seeded(11);
    let mut counts = vec![0; balancer.len()];
    let mut now = START;
    for _ in 0..requests {
        let pick = balancer.pick(PickFor::default(), now, &mut rng).expect("there are endpoints");
        let id = *balancer.id(pick.slot).expect("just picked");
        now = now + MS;
        run(balancer, pick.slot, now, Outcome::Success { latency: latency(id) });
        counts[id] += 1;
    }
    counts
}

fn least_request() -> Policy {
    Policy::LeastRequest(Choices::DEFAULT)
}

#[test]
fn equal_endpoints_get_about_the_same() {
    for policy in policies() {
        let counts = spread(&mut ready_by(by(policy), 10), 10_000, |_| MS);
        assert!(counts.iter().all(|count| (600..1_500).contains(count)), "{policy:?}: {counts:?}");
    }
}

#[test]
fn a_slow_endpoint_gets_less_but_is_not_forgotten() {
    let counts = spread(&mut ready(4), 60_000, |id| if id == 0 { MS * 20 } else { MS });
    assert!(counts[0] < counts[1] / 10, "{counts:?}");
    assert!(counts[0] > 1, "it is tried again after its peak has decayed: {counts:?}");
}

#[test]
fn an_endpoint_whose_callers_give_up_is_no_idle_one() {
    let mut balancer = ready_by(by(Policy::PeakEwma), 2);
    let mut rng = SmallRng::seeded(5);
    let mut counts = [0, 0];
    // The first hangs: whoever asks it gives up after 100 ms. One request at a time, so that nothing is ever pending.
    for step in 0..1_000 {
        let now = START + MS * step;
        let slot = balancer.pick(PickFor::default(), now, &mut rng).unwrap().slot;
        let id = *balancer.id(slot).unwrap();
        counts[id] += 1;
        run(
            &mut balancer,
            slot,
            now,
            if id == 0 { Outcome::Abandoned { waited: MS * 100 } } else { success() },
        );
    }
    assert!(counts[0] <= 2, "{counts:?}");
}

#[test]
fn pending_requests_count() {
    for policy in [Policy::PeakEwma, least_request()] {
        let mut balancer = ready_by(by(policy), 2);
        for id in 0..2 {
            let slot = slot(&balancer, id);
            run(&mut balancer, slot, START, success());
        }
        let (busy, idle) = (slot(&balancer, 0), slot(&balancer, 1));
        balancer.started(busy);
        let mut rng = SmallRng::seeded(1);
        let mut pick = || balancer.pick(PickFor::default(), START, &mut rng).map(|pick| pick.slot);
        assert!((0..100).all(|_| pick() == Some(idle)), "{policy:?}");
        balancer.ended(busy, START, Outcome::Abandoned { waited: Duration::ZERO });
        assert_eq!(balancer.pending(busy), 0);
    }
}

/// Keeps `width` requests under way, ending the oldest before a new one begins.
pub(super) fn under_load(
    balancer: &mut Balancer<usize>,
    ids: usize,
    requests: usize,
    width: usize,
) -> Vec<usize> {
    let mut rng = SmallRng::seeded(3);
    let mut under_way = std::collections::VecDeque::new();
    let mut counts = vec![0; ids];
    for _ in 0..requests {
        if under_way.len() == width
            && let Some(slot) = under_way.pop_front()
        {
            balancer.ended(slot, START, success());
        }
        let slot = balancer.pick(PickFor::default(), START, &mut rng).expect("there are endpoints").slot;
        balancer.started(slot);
        under_way.push_back(slot);
        counts[*balancer.id(slot).expect("just picked")] += 1;
    }
    counts
}

/// With a bound, a few requests under way follow how it is rounded; `hashing` has its promise.
fn unbounded() -> impl Strategy<Value = Policy> {
    let is_bounded =
        |policy: &Policy| matches!(policy, Policy::RingHash(_, Some(_)) | Policy::Maglev(_, Some(_)));
    any_policy().prop_filter("it has no bound", move |policy| !is_bounded(policy))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Without load, as by one request after another, and with much of it.
    #[test]
    fn requests_follow_the_weights(policy in unbounded(), weights in prop::collection::vec(1_u32..6, 1..7), width in 1_usize..64) {
        const REQUESTS: usize = 6_000;
        let members: Vec<Member> = weights.iter().enumerate().map(|(id, weight)| weighing(id, *weight)).collect();
        let mut balancer = balancer_of(by(policy), &members);
        // The first answers are still unmeasured.
        for id in 0..weights.len() {
            let slot = slot(&balancer, id);
            run(&mut balancer, slot, START, success());
        }
        let counts = under_load(&mut balancer, weights.len(), REQUESTS, width);
        let total: u32 = weights.iter().sum();
        for (weight, count) in weights.iter().zip(&counts) {
            let expected = REQUESTS as f64 * f64::from(*weight) / f64::from(total);
            let tolerance = match policy {
                // Points on a ring are less even than draws.
                Policy::RingHash(..) => expected * 4.0 / (128.0 * f64::from(*weight)).sqrt() + 4.0 * expected.sqrt(),
                Policy::RoundRobin => 10.0,
                // With a few under way, who is compared with whom matters as much. The more choices, the more an idle
                // light endpoint gets: half a request it cannot have.
                Policy::PeakEwma => expected * 0.4 + 4.0 * expected.sqrt(),
                Policy::LeastRequest(choices) => expected * 0.2 * f64::from(choices.number()) + 4.0 * expected.sqrt(),
                Policy::Random | Policy::Maglev(..) => 6.0 * expected.sqrt() + 10.0,
            };
            prop_assert!((*count as f64 - expected).abs() <= tolerance, "{:?}: {:?} of {:?}", policy, counts, weights);
        }
    }

    #[test]
    fn a_new_endpoints_share_grows_with_its_age(policy in any_policy(), seed in any::<u64>()) {
        let hashes = matches!(policy, Policy::RingHash(..) | Policy::Maglev(..));
        prop_assume!(!hashes);
        let slow_start = Some(SlowStart::over(Duration::from_secs(100)));
        let mut balancer = ready_by(Settings { slow_start, ..by(policy) }, 4);
        balancer.update((0..5).map(|id| (id, member(id, Health::Ready))), START);
        for id in 0..5 {
            let slot = slot(&balancer, id);
            run(&mut balancer, slot, START, success());
        }
        let mut rng = SmallRng::seeded(seed);
        let shares: Vec<usize> = [0, 25, 50, 75, 100]
            .into_iter()
            .map(|age| picks(&mut balancer, 5, 4_000, START + Duration::from_secs(age), &mut rng)[4])
            .collect();
        // By chance, a later share may be a little smaller.
        let grows = shares.windows(2).all(|pair| pair[1] as f64 >= pair[0] as f64 - 4.0 * (pair[0] as f64).sqrt());
        prop_assert!(grows, "{:?}: {:?}", policy, shares);
        prop_assert!(shares[0] < 250, "{:?}: a tenth of a fair share is 80 or so: {:?}", policy, shares);
        prop_assert!((500..1_200).contains(&shares[4]), "{:?}: its fair share is 800: {:?}", policy, shares);
    }
}

#[test]
fn endpoints_of_the_first_list_are_warm() {
    let slow_start = Some(SlowStart::over(Duration::from_secs(10)));
    let mut balancer = ready_by(Settings { slow_start, ..by(Policy::RoundRobin) }, 3);
    assert_eq!(picks(&mut balancer, 3, 300, START, &mut SmallRng::seeded(1)), [100, 100, 100]);
}

#[test]
fn a_new_unmeasured_endpoint_is_tried_but_not_flooded_while_it_is_cold() {
    let slow_start = Some(SlowStart::over(Duration::from_secs(10)));
    let mut balancer = ready_by(Settings { slow_start, ..Settings::default() }, 4);
    (0..4).for_each(|id| {
        let slot = slot(&balancer, id);
        run(&mut balancer, slot, START, success());
    });
    balancer.update((0..5).map(|id| (id, member(id, Health::Ready))), START);
    // Nobody answers: what is unmeasured costs nothing while it is idle, and 30 ms with requests under way.
    let counts = under_load(&mut balancer, 5, 100, 100);
    assert!(counts[4] <= 3, "{counts:?}");
}

#[test]
fn the_turns_of_round_robin_interleave() {
    let mut balancer = balancer_of(by(Policy::RoundRobin), &[weighing(0, 2), weighing(1, 1), weighing(2, 1)]);
    let mut rng = SmallRng::seeded(1);
    for _ in 0..10 {
        assert_eq!(picks(&mut balancer, 3, 4, START, &mut rng), [2, 1, 1]);
    }
}
