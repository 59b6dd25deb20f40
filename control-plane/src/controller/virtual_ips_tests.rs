//! Whatever comes and goes, a living Service keeps its addresses and shares them with nobody.

use super::*;
use manifests::{Kind, Object};
use proptest::prelude::*;
use serde_json::{Value, json};

fn service(name: &str, spec: &Value) -> Service {
    let mut spec = spec.clone();
    spec["ports"] = json!([{"port": 80}]);
    let object = json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec});
    let Object::Service(service) = Object::from_json(Kind::Service, object).unwrap() else {
        panic!("a Service")
    };
    service
}

fn name(text: &str) -> ServiceName {
    ServiceName::new("shop".parse().unwrap(), text.parse().unwrap())
}

fn put(allocator: &mut Allocator, it: &Service, now: Instant) -> Option<Assignment> {
    allocator.observe(&it.name, Some(it), now);
    let assigned = allocator.assign([it.name.clone()], now);
    assigned.into_iter().find(|(name, _)| *name == it.name).map(|(_, assignment)| assignment)
}

fn texts(assignment: &Assignment) -> Vec<String> {
    assignment.addresses.iter().map(ToString::to_string).collect()
}

/// The Service as it is once the assignment is written.
fn written(name: &str, assignment: &Assignment) -> Service {
    service(name, &json!({"clusterIP": texts(assignment)[0], "clusterIPs": texts(assignment)}))
}

#[test]
fn a_service_gets_the_pair_its_name_leads_to() {
    let given = put(&mut Allocator::default(), &service("orders", &json!({})), Instant::now()).unwrap();
    // Written down: another hash would move every Service that is deleted and made again.
    assert_eq!(texts(&given), ["240.240.126.115", "fd6f:7574:7269::7e73"]);
    assert!(given.verdict.holds);
}

#[test]
fn what_is_stored_is_left_alone_and_what_is_taken_out_is_given_back() {
    let (mut allocator, now) = (Allocator::default(), Instant::now());
    let given = put(&mut allocator, &service("orders", &json!({})), now).unwrap();
    let again = put(&mut allocator, &service("orders", &json!({})), now).unwrap();
    assert_eq!(again, given, "not stored yet");
    put(&mut allocator, &written("orders", &given), now);
    assert_eq!(put(&mut allocator, &written("orders", &given), now), None, "the store says so already");
    assert_eq!(put(&mut allocator, &service("orders", &json!({})), now), Some(given));
}

#[test]
fn addresses_rest_for_an_hour_and_wait_for_the_same_name() {
    let (mut allocator, now) = (Allocator::default(), Instant::now());
    let given = put(&mut allocator, &service("orders", &json!({})), now).unwrap();
    allocator.observe(&name("orders"), None, now);
    // Another Service that asks for exactly this number does not get it meanwhile.
    let number = |assignment: &Assignment| assignment.addresses[0];
    let is_rested = |allocator: &Allocator, at: Instant| {
        allocator.resting.get(&number(&given)).is_none_or(|rest| rest.until <= at)
    };
    assert!(!is_rested(&allocator, now + REST - Duration::from_secs(1)));
    assert!(is_rested(&allocator, now + REST));
    assert_eq!(put(&mut allocator, &service("orders", &json!({})), now), Some(given));
    allocator.observe(&name("orders"), None, now);
    allocator.observe(&name("other"), None, now + REST);
    assert!(allocator.resting.is_empty() && allocator.ends.is_empty());
}

#[test]
fn a_headless_service_gets_none_and_gives_back_what_it_had() {
    let (mut allocator, now) = (Allocator::default(), Instant::now());
    let headless = service("orders", &json!({"clusterIP": "None"}));
    assert_eq!(put(&mut allocator, &headless, now), None);
    let given = put(&mut allocator, &service("orders", &json!({})), now).unwrap();
    assert_eq!(put(&mut allocator, &headless, now), None);
    assert!(!allocator.holders.contains_key(&given.addresses[0]));
}

#[test]
fn addresses_written_by_hand_are_kept_and_completed() {
    let (mut allocator, now) = (Allocator::default(), Instant::now());
    let given = put(&mut allocator, &service("orders", &json!({"clusterIP": "10.96.0.7"})), now).unwrap();
    assert_eq!(texts(&given)[0], "10.96.0.7");
    assert!(texts(&given)[1].starts_with("fd6f:7574:7269::"));
}

#[test]
fn of_two_services_with_one_address_the_first_has_it_and_the_other_hears_why_not_until_it_is_free() {
    let (mut allocator, now) = (Allocator::default(), Instant::now());
    let spec = json!({"clusterIP": "10.96.0.7"});
    assert!(put(&mut allocator, &service("a", &spec), now).unwrap().verdict.holds);
    let second = put(&mut allocator, &service("b", &spec), now).unwrap();
    assert_eq!(
        second.verdict.message,
        "10.96.0.7 belongs to the older service `shop/a`; take `clusterIP` and `clusterIPs` away, and this service is \
         given addresses of its own"
    );
    allocator.observe(&name("a"), None, now);
    let mended = allocator.assign([], now);
    assert_eq!(mended.len(), 1);
    assert!(mended[0].0 == name("b") && mended[0].1.verdict.holds);
}

#[test]
fn the_last_address_is_given_and_the_service_after_it_waits_for_a_deletion() {
    let (mut allocator, now) = (Allocator::default(), Instant::now());
    let names: Vec<_> = (0..PAIRS).map(|number| name(&format!("s{number}"))).collect();
    let one = service("any", &json!({}));
    for name in &names {
        allocator.observe(name, Some(&Service { name: name.clone(), ..one.clone() }), now);
    }
    let given = allocator.assign(names.iter().cloned(), now);
    let addresses: BTreeSet<_> = given.iter().flat_map(|(_, it)| it.addresses.clone()).collect();
    assert_eq!(addresses.len(), usize::from(PAIRS) * 2);
    let late = put(&mut allocator, &service("late", &json!({})), now).unwrap();
    assert_eq!((late.verdict.reason, late.addresses), ("Exhausted", vec![]));
    allocator.observe(&names[7], None, now);
    let mended = allocator.assign([], now);
    assert_eq!(mended[0].0, name("late"));
    assert_eq!(mended[0].1.addresses, given.iter().find(|(it, _)| *it == names[7]).unwrap().1.addresses);
}

proptest! {
    #[test]
    fn living_services_keep_what_they_have_and_share_nothing(
        steps in proptest::collection::vec((0u8..12, 0u8..4), 1..120),
    ) {
        let (mut allocator, mut now) = (Allocator::default(), Instant::now());
        let mut had: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for (which, action) in steps {
            now += Duration::from_secs(900);
            let called = format!("s{which}");
            match action {
                0 => {
                    allocator.observe(&name(&called), None, now);
                    had.remove(&called);
                }
                _ => {
                    let stored = had.get(&called).filter(|_| action == 1);
                    let spec = stored.map_or_else(|| json!({}), |ips| {
                        let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
                        json!({"clusterIP": ips[0], "clusterIPs": ips})
                    });
                    if let Some(given) = put(&mut allocator, &service(&called, &spec), now) {
                        let before = had.insert(called, given.addresses.clone());
                        prop_assert!(before.is_none_or(|before| before == given.addresses));
                    }
                }
            }
            let all: Vec<_> = had.values().flatten().collect();
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        }
    }
}
