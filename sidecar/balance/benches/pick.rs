//! What a pick costs, by policy and number of endpoints: `cargo bench -p mesh-balance`.
//!
//! Prints a table of nanoseconds per request: the pick, `started` and `ended`, with eight requests under way and a key for
//! those policies that hash. Each number is the median of several rounds. A second table says how long the first pick
//! after a change takes, which renews what depends on all endpoints.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]
#![allow(clippy::disallowed_types, reason = "it measures the time that really passes")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot run should say so")]

use mesh_balance::{
    Balancer, Choices, HashKey, Health, LoadBound, Member, Nanos, Outcome, PickFor, Policy, RingSize, Rng,
    Settings, Slot, SmallRng, TableSize, Weight,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const ENDPOINTS: [usize; 4] = [2, 10, 100, 1_000];
const ROUNDS: usize = 9;
const REQUESTS: u32 = 20_000;
const UNDER_WAY: usize = 8;

fn main() {
    let bound = Some(LoadBound::DEFAULT);
    let rows = [
        ("peak EWMA", Policy::PeakEwma, 1),
        ("peak EWMA, weighted", Policy::PeakEwma, 7),
        ("least request", Policy::LeastRequest(Choices::DEFAULT), 1),
        ("least request, weighted", Policy::LeastRequest(Choices::DEFAULT), 7),
        ("round robin", Policy::RoundRobin, 1),
        ("round robin, weighted", Policy::RoundRobin, 7),
        ("random", Policy::Random, 1),
        ("random, weighted", Policy::Random, 7),
        ("ring hash", Policy::RingHash(RingSize::default(), None), 1),
        ("ring hash, bounded load", Policy::RingHash(RingSize::default(), bound), 1),
        ("Maglev", Policy::Maglev(TableSize::default(), None), 1),
        ("Maglev, bounded load", Policy::Maglev(TableSize::default(), bound), 1),
    ];
    table("ns per request", &rows, |policy, weights, endpoints| {
        let mut balancer = filled(policy, weights, endpoints);
        per_request(&mut balancer)
    });
    table("µs for the first pick after a change", &rows, |policy, weights, endpoints| {
        first_pick(policy, weights, endpoints) / 1_000.0
    });
}

fn table(title: &str, rows: &[(&str, Policy, u32)], measure: impl Fn(Policy, u32, usize) -> f64) {
    print!("| {title} |");
    ENDPOINTS.iter().for_each(|endpoints| print!(" {endpoints} |"));
    println!("\n| --- |{}", " --- |".repeat(ENDPOINTS.len()));
    for (name, policy, weights) in rows {
        print!("| {name} |");
        ENDPOINTS.iter().for_each(|endpoints| print!(" {:.0} |", measure(*policy, *weights, *endpoints)));
        println!();
    }
    println!();
}

fn members(weights: u32, endpoints: usize) -> impl Iterator<Item = (usize, Member)> {
    (0..endpoints).map(move |id| {
        let weight = u32::try_from(id).unwrap_or(0) % weights + 1;
        let weight = Weight::new(weight).expect("it is in range");
        (id, Member { weight, ..Member::new(Health::Ready, HashKey::of(&id.to_le_bytes())) })
    })
}

fn filled(policy: Policy, weights: u32, endpoints: usize) -> Balancer<usize> {
    let mut balancer = Balancer::with(Settings { policy, ..Settings::default() });
    balancer.update(members(weights, endpoints), Nanos(0));
    balancer
}

fn request(rng: &mut SmallRng, tried: &'static [Slot]) -> PickFor<'static> {
    PickFor { key: Some(HashKey::new(rng.next_u64())), tried }
}

fn per_request(balancer: &mut Balancer<usize>) -> f64 {
    let mut rng = SmallRng::seeded(1);
    let mut under_way = VecDeque::with_capacity(UNDER_WAY + 1);
    let mut now = Nanos(0);
    median(|| {
        let start = Instant::now();
        for _ in 0..REQUESTS {
            now = now + Duration::from_micros(50);
            let pick = balancer.pick(request(&mut rng, &[]), now, &mut rng).expect("there are endpoints");
            balancer.started(pick.slot);
            under_way.push_back(pick.slot);
            if under_way.len() > UNDER_WAY
                && let Some(slot) = under_way.pop_front()
            {
                balancer.ended(slot, now, Outcome::Success { latency: Duration::from_millis(1) });
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
    })
}

fn first_pick(policy: Policy, weights: u32, endpoints: usize) -> f64 {
    let mut rng = SmallRng::seeded(1);
    median(|| {
        let mut balancer = filled(policy, weights, endpoints);
        let request = request(&mut rng, &[]);
        let start = Instant::now();
        std::hint::black_box(balancer.pick(request, Nanos(0), &mut rng));
        start.elapsed().as_secs_f64() * 1e9
    })
}

fn median(measure: impl FnMut() -> f64) -> f64 {
    let mut rounds: Vec<f64> = std::iter::repeat_with(measure).take(ROUNDS).collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}
