//! Promises about keys.

use super::*;

fn hashing() -> [Policy; 2] {
    [Policy::RingHash(RingSize::default(), None), Policy::Maglev(small_table(), None)]
}

fn owner(balancer: &mut Balancer<usize>, id: usize, tried: &[Slot]) -> usize {
    let request = PickFor { key: Some(key(id)), tried };
    // What is drawn does not matter.
    let pick = balancer.pick(request, START, &mut SmallRng::seeded(id as u64)).expect("there are endpoints");
    *balancer.id(pick.slot).expect("just picked")
}

#[test]
fn a_key_always_goes_to_the_same_endpoint_whatever_the_order_of_the_list() {
    for policy in hashing() {
        let members: Vec<(usize, Member)> = (0..20).map(|id| (id, member(id, Health::Ready))).collect();
        let (mut forwards, mut backwards) = (Balancer::with(by(policy)), Balancer::with(by(policy)));
        forwards.update(members.iter().copied(), START);
        backwards.update(members.iter().rev().copied(), START);
        for id in 0..1_000 {
            assert_eq!(owner(&mut forwards, id, &[]), owner(&mut backwards, id, &[]), "{policy:?}");
        }
    }
}

#[test]
fn without_a_key_requests_spread_by_weight() {
    for policy in hashing() {
        let members = [weighing(0, 1), weighing(1, 3)];
        let counts =
            picks(&mut balancer_of(by(policy), &members), 2, 10_000, START, &mut SmallRng::seeded(1));
        assert!((2_000..3_000).contains(&counts[0]), "{policy:?}: {counts:?}");
    }
}

#[test]
fn a_change_of_health_moves_only_the_keys_of_that_endpoint_and_gives_them_back() {
    for policy in hashing() {
        let mut balancer = ready_by(by(policy), 10);
        let before: Vec<usize> = (0..1_000).map(|id| owner(&mut balancer, id, &[])).collect();
        eject(&mut balancer, 3, START);
        for (id, before) in before.iter().enumerate() {
            let now = owner(&mut balancer, id, &[]);
            assert!(if *before == 3 { now != 3 } else { now == *before }, "{policy:?}");
        }
        balancer.pick(PickFor::default(), START + Duration::from_secs(1), &mut SmallRng::seeded(1));
        let after: Vec<usize> = (0..1_000).map(|id| owner(&mut balancer, id, &[])).collect();
        assert_eq!(before, after, "{policy:?}");
    }
}

#[test]
fn the_keys_of_a_draining_endpoint_move_once() {
    for policy in hashing() {
        let mut balancer = ready_by(by(policy), 10);
        let mut owners = |members: &[(usize, Member)]| -> Vec<usize> {
            balancer.update(members.iter().copied(), START);
            (0..1_000).map(|id| owner(&mut balancer, id, &[])).collect()
        };
        let mut members: Vec<(usize, Member)> = (0..10).map(|id| (id, member(id, Health::Ready))).collect();
        members[3].1.health = Health::Draining;
        let draining = owners(&members);
        assert!(draining.iter().all(|owner| *owner != 3));
        members.remove(3);
        assert_eq!(owners(&members), draining, "{policy:?}: nothing moves when it is gone");
    }
}

#[test]
fn retries_visit_every_endpoint_once_in_the_keys_own_order() {
    for policy in hashing() {
        let mut balancer = ready_by(by(policy), 6);
        let mut order = |id: usize| -> Vec<usize> {
            let mut tried = Vec::new();
            for _ in 0..6 {
                let next = owner(&mut balancer, id, &tried);
                tried.push(slot(&balancer, next));
            }
            tried.iter().map(|slot| *balancer.id(*slot).expect("it is there")).collect()
        };
        let orders: HashSet<Vec<usize>> = (0..50).map(&mut order).collect();
        assert!(orders.len() > 20, "{policy:?}: where one endpoint's keys go is not one other endpoint");
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5], "{policy:?}");
        }
    }
}

#[test]
fn an_endpoint_without_a_place_is_used_when_nobody_else_is_left() {
    let tiny = TableSize::new(2).expect("it is prime");
    let mut balancer = ready_by(by(Policy::Maglev(tiny, None)), 5);
    let with_place: HashSet<usize> = (0..100).map(|id| owner(&mut balancer, id, &[])).collect();
    let health = |id| if with_place.contains(&id) { Health::NotReady } else { Health::Ready };
    balancer.update((0..5).map(|id| (id, member(id, health(id)))), START);
    assert!((0..100).all(|id| !with_place.contains(&owner(&mut balancer, id, &[]))));
}

#[test]
fn two_endpoints_of_one_key_do_not_confuse_it() {
    for policy in hashing() {
        let members = [member(7, Health::Ready); 2];
        let mut balancer = balancer_of(by(policy), &members);
        assert!((0..100).all(|id| owner(&mut balancer, id, &[]) < 2), "{policy:?}");
    }
}

proptest! {
    #[test]
    fn nobody_has_more_than_its_bounded_share(
        maglev in any::<bool>(), percent in 101_u32..300, weights in prop::collection::vec(1_u32..6, 1..12),
        ends in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..300), keys in 1_usize..40,
    ) {
        let bound = Some(LoadBound::new(percent).expect("in range"));
        let policy = if maglev { Policy::Maglev(small_table(), bound) } else { Policy::RingHash(RingSize::default(), bound) };
        let members: Vec<Member> = weights.iter().enumerate().map(|(id, weight)| weighing(id, *weight)).collect();
        let mut balancer = balancer_of(by(policy), &members);
        let mut rng = SmallRng::seeded(1);
        let mut under_way: Vec<Slot> = Vec::new();
        for (number, end) in ends.into_iter().enumerate() {
            if let Some(end) = end.filter(|_| !under_way.is_empty()) {
                let slot = under_way.swap_remove(end.index(under_way.len()));
                balancer.ended(slot, START, success());
                continue;
            }
            let request = PickFor { key: Some(key(number % keys)), tried: &[] };
            let slot = balancer.pick(request, START, &mut rng).expect("there are endpoints").slot;
            balancer.started(slot);
            under_way.push(slot);
            let weight = balancer.member(slot).expect("it is there").weight.number();
            let share = f64::from(weight) / f64::from(weights.iter().sum::<u32>());
            let most = (f64::from(percent) / 100.0 * under_way.len() as f64 * share - 1e-9).ceil();
            prop_assert!(f64::from(balancer.pending(slot)) <= most, "{} of at most {}", balancer.pending(slot), most);
        }
    }

    #[test]
    fn without_load_the_bound_changes_nothing(maglev in any::<bool>(), count in 1_usize..20, id in any::<usize>()) {
        let policy = |bound| if maglev { Policy::Maglev(small_table(), bound) } else { Policy::RingHash(RingSize::default(), bound) };
        let (mut free, mut bounded) = (ready_by(by(policy(None)), count), ready_by(by(policy(Some(LoadBound::DEFAULT))), count));
        prop_assert_eq!(owner(&mut free, id, &[]), owner(&mut bounded, id, &[]));
    }
}
