//! Every way a workload comes and goes, on a clock that is told the time.

use super::*;
use proptest::prelude::*;

struct World {
    leases: Leases,
    now: Instant,
}

fn peer(account: &str) -> SpiffeId {
    format!("spiffe://mesh.internal/ns/shop/sa/{account}").parse().unwrap()
}

fn said(name: &str, sequence: u64, state: AnnouncedState) -> Announcement {
    Announcement {
        sequence,
        name: name.parse().unwrap(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
        address: [127, 0, 0, 1].into(),
        inbound_port: 15008.try_into().unwrap(),
        ports: vec![],
        locality: Default::default(),
        weight: Default::default(),
        state,
        reason: String::new(),
        certificate_expires: None,
    }
}

impl World {
    fn new() -> Self {
        Self { leases: Leases::default(), now: Instant::now() }
    }

    fn announce(&mut self, stream: u64, account: &str, name: &str) -> Result<WorkloadName, Refusal> {
        self.leases.announce(StreamId(stream), &peer(account), said(name, 1, AnnouncedState::Ready))
    }

    fn say(&mut self, stream: u64, name: &str, sequence: u64, state: AnnouncedState) {
        self.leases.announce(StreamId(stream), &peer("orders"), said(name, sequence, state)).unwrap();
    }

    fn lose(&mut self, stream: u64) {
        self.leases.lost(StreamId(stream), self.now);
    }

    fn after(&mut self, duration: Duration) -> Vec<String> {
        self.now += duration;
        let changes = self.leases.take_changes(self.now);
        changes.into_iter().map(|(name, desired)| format!("{name} {}", short(&desired))).collect()
    }

    fn changes(&mut self) -> Vec<String> {
        self.after(Duration::ZERO)
    }
}

fn short(desired: &Desired) -> String {
    match desired {
        Desired::Registered { standing, account, .. } => format!("{account} {standing:?}"),
        Desired::Silent => "silent".into(),
        Desired::Absent => "absent".into(),
    }
}

const JUST: Duration = Duration::from_millis(1);

#[test]
fn a_workload_that_stays_connected_changes_nothing() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    assert_eq!(world.changes(), ["shop/a orders Ready"]);
    assert!(world.after(Duration::from_secs(86_400)).is_empty());
    assert_eq!(world.leases.next_deadline(), None, "no heartbeats");
}

#[test]
fn a_lost_stream_makes_unready_after_the_grace_and_deletes_after_the_keep() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    world.changes();
    world.lose(1);
    assert!(world.changes().is_empty());
    assert!(world.after(LOST_GRACE - JUST).is_empty());
    assert_eq!(world.after(JUST), ["shop/a orders Lost"]);
    assert!(world.after(UNREADY_KEEP - JUST).is_empty());
    assert_eq!(world.after(JUST), ["shop/a absent"]);
    assert_eq!(world.leases.next_deadline(), None);
}

#[test]
fn a_sidecar_that_comes_back_has_no_trouble_until_it_says_so_and_who_is_not_believed_says_none() {
    let mut world = World::new();
    let trouble = |world: &World| match world.leases.desired(&"shop/a".parse().unwrap()) {
        Desired::Registered { trouble, .. } => trouble,
        other @ (Desired::Silent | Desired::Absent) => panic!("{other:?}"),
    };
    world.announce(1, "orders", "a").unwrap();
    world.changes();
    world.leases.configured(StreamId(1), Some(Trouble::Silent));
    assert_eq!(world.changes().len(), 1);
    world.leases.configured(StreamId(1), Some(Trouble::Silent));
    assert!(world.changes().is_empty(), "nothing new");
    world.say(1, "a", 2, AnnouncedState::NotReady);
    assert_eq!(trouble(&world), Some(Trouble::Silent), "the same stream");
    world.announce(2, "orders", "a").unwrap();
    assert_eq!(trouble(&world), None, "another");
    world.leases.configured(StreamId(1), Some(Trouble::Silent));
    assert_eq!(trouble(&world), None, "the one before it");
}

#[test]
fn a_return_within_the_grace_is_not_seen_by_anyone_else() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    world.changes();
    world.lose(1);
    world.after(LOST_GRACE - JUST);
    world.announce(2, "orders", "a").unwrap();
    assert_eq!(world.changes(), ["shop/a orders Ready"]);
    assert!(world.after(UNREADY_KEEP * 2).is_empty());
}

#[test]
fn an_unready_workload_comes_back_by_itself() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    world.lose(1);
    assert_eq!(world.after(LOST_GRACE), ["shop/a orders Lost"]);
    world.announce(2, "orders", "a").unwrap();
    assert_eq!(world.changes(), ["shop/a orders Ready"]);
    assert!(world.after(UNREADY_KEEP * 2).is_empty());
}

#[test]
fn a_takeover_makes_the_old_streams_end_harmless() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    world.announce(2, "orders", "a").unwrap();
    world.changes();
    world.lose(1);
    assert!(world.after(UNREADY_KEEP * 2).is_empty());
    assert_eq!(world.leases.holder(&"shop/a".parse().unwrap()), Some(StreamId(2)));
    world.lose(2);
    assert_eq!(world.after(LOST_GRACE), ["shop/a orders Lost"]);
}

#[test]
fn a_takeover_that_fails_leaves_the_old_stream_in_its_place() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    world.announce(2, "orders", "a").unwrap();
    world.changes();
    world.lose(2);
    assert_eq!(world.changes(), ["shop/a orders Ready"]);
    assert!(world.after(UNREADY_KEEP * 2).is_empty(), "the old process serves as before");
    assert_eq!(world.leases.holder(&"shop/a".parse().unwrap()), Some(StreamId(1)));
    world.lose(1);
    assert_eq!(world.after(LOST_GRACE), ["shop/a orders Lost"]);
}

#[test]
fn a_stream_that_was_superseded_may_not_take_the_workload_away() {
    let mut world = World::new();
    world.say(1, "a", 1, AnnouncedState::Ready);
    world.say(2, "a", 1, AnnouncedState::Ready);
    world.changes();
    world.say(1, "a", 2, AnnouncedState::Leaving);
    assert!(world.changes().is_empty());
    world.lose(1);
    assert!(world.after(UNREADY_KEEP * 2).is_empty());
    // The word of one that has left is final: what is behind it is a stream whose end was not noticed yet.
    world.say(3, "a", 1, AnnouncedState::Ready);
    world.say(3, "a", 2, AnnouncedState::Leaving);
    world.changes();
    world.lose(3);
    assert_eq!(world.changes(), ["shop/a absent"]);
}

#[test]
fn only_so_many_superseded_streams_are_remembered() {
    let mut world = World::new();
    for stream in 1..=20 {
        world.announce(stream, "orders", "a").unwrap();
    }
    let name = "shop/a".parse().unwrap();
    assert_eq!(world.leases.superseded.len(), SUPERSEDED_MAX);
    assert_eq!(world.leases.leases[&name].superseded.len(), SUPERSEDED_MAX);
    for stream in (17..=20).rev() {
        assert_eq!(world.leases.holder(&name), Some(StreamId(stream)));
        world.lose(stream);
    }
    world.lose(16);
    assert_eq!(world.leases.holder(&name), None);
    assert!(world.leases.superseded.is_empty());
}

#[test]
fn leaving_is_told_at_once_and_the_end_of_the_stream_deletes() {
    let mut world = World::new();
    world.say(1, "a", 1, AnnouncedState::Ready);
    world.changes();
    world.say(1, "a", 2, AnnouncedState::Leaving);
    assert_eq!(world.changes(), ["shop/a orders Leaving"]);
    world.lose(1);
    assert_eq!(world.changes(), ["shop/a absent"]);
    assert_eq!(world.leases.next_deadline(), None);
}

#[test]
fn a_workload_may_be_registered_before_it_wants_traffic() {
    let mut world = World::new();
    world.say(1, "a", 1, AnnouncedState::NotReady);
    assert_eq!(world.changes(), ["shop/a orders NotReady"]);
    world.say(1, "a", 2, AnnouncedState::Ready);
    assert_eq!(world.changes(), ["shop/a orders Ready"]);
}

#[test]
fn another_service_account_cannot_take_a_living_name() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    let refusal = world.announce(2, "web", "a").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "workload `shop/a` is held by a sidecar of service account `orders`: give this one another name, or stop the other first"
    );
    world.lose(2);
    world.changes();
    world.lose(1);
    assert!(world.announce(2, "web", "a").is_err(), "within the grace the name is still its own");
    assert_eq!(world.after(LOST_GRACE), ["shop/a orders Lost"]);
    world.announce(3, "web", "a").unwrap();
    assert_eq!(world.changes(), ["shop/a web Ready"]);
}

#[test]
fn a_stream_is_one_workloads() {
    let mut world = World::new();
    world.announce(1, "orders", "a").unwrap();
    let refusal = world.announce(1, "orders", "b").unwrap_err();
    assert!(matches!(refusal, Refusal::Renamed { .. }), "{refusal}");
}

#[test]
fn stored_workloads_have_a_fresh_grace_after_a_restart() {
    let mut world = World::new();
    world.leases.restore("shop/a".parse().unwrap(), "orders".parse().unwrap(), world.now);
    world.leases.restore("shop/b".parse().unwrap(), "orders".parse().unwrap(), world.now);
    assert!(world.announce(7, "web", "a").is_err(), "a restart frees no names");
    world.announce(1, "orders", "a").unwrap();
    assert_eq!(world.changes(), ["shop/a orders Ready"]);
    assert!(world.after(RESTART_GRACE - JUST).is_empty());
    assert_eq!(world.after(JUST), ["shop/b silent"]);
    assert_eq!(world.after(UNREADY_KEEP), ["shop/b absent"]);
}

#[test]
fn when_most_are_lost_nobody_becomes_unready_for_it() {
    let mut world = World::new();
    let names: Vec<String> = (0..10).map(|n| format!("w{n}")).collect();
    for (stream, name) in (0..).zip(&names) {
        world.announce(stream, "orders", name).unwrap();
    }
    world.changes();
    for stream in 0..6 {
        world.lose(stream);
    }
    assert!(world.after(LOST_GRACE).is_empty(), "six of ten: the control plane is cut off");
    assert!(world.after(Duration::from_secs(600)).is_empty());
    for (stream, name) in (100..).zip(&names).take(3) {
        world.announce(stream, "orders", name).unwrap();
    }
    world.changes();
    assert!(world.after(RESTART_GRACE).is_empty(), "the others have time to come back too");
    assert_eq!(
        world.after(CUT_OFF_LOOK),
        ["shop/w3 orders Lost", "shop/w4 orders Lost", "shop/w5 orders Lost"]
    );
}

#[test]
fn in_a_small_mesh_only_the_loss_of_all_means_being_cut_off() {
    let mut world = World::new();
    for (stream, name) in [(1, "a"), (2, "b"), (3, "c")] {
        world.announce(stream, "orders", name).unwrap();
    }
    world.changes();
    world.lose(1);
    world.lose(2);
    assert_eq!(world.after(LOST_GRACE), ["shop/a orders Lost", "shop/b orders Lost"]);
    world.announce(4, "orders", "a").unwrap();
    world.announce(5, "orders", "b").unwrap();
    world.changes();
    for stream in 3..=5 {
        world.lose(stream);
    }
    assert!(world.after(CUT_OFF_MAX - JUST).is_empty(), "all three at once");
    assert_eq!(world.after(CUT_OFF_LOOK).len(), 3, "but not for ever");
}

proptest! {
    #[test]
    fn every_workload_ends_held_by_a_living_stream_or_gone(
        steps in proptest::collection::vec((0u8..6, 0u8..3, 0u64..400), 0..60),
    ) {
        let mut world = World::new();
        let mut alive = BTreeSet::new();
        for (stream, (action, name, wait)) in (1u64..).zip(steps) {
            let name = ["a", "b", "c"][usize::from(name)];
            match action {
                0 | 1 => { world.announce(stream, "orders", name).unwrap(); alive.insert(stream); }
                2 => if let Some(stream) = alive.pop_first() { world.lose(stream); },
                3 => if let Some(stream) = alive.pop_last() { world.lose(stream); },
                // One that was opened before and comes last.
                4 => { world.announce(1000 - stream, "orders", name).unwrap(); alive.insert(1000 - stream); }
                _ => { world.after(Duration::from_secs(wait)); }
            }
        }
        world.after(CUT_OFF_MAX + RESTART_GRACE);
        world.after(UNREADY_KEEP);
        prop_assert_eq!(world.leases.lost, 0);
        let held: Vec<_> = world.leases.leases.keys().filter_map(|name| world.leases.holder(name)).collect();
        prop_assert_eq!(held.len(), world.leases.leases.len());
        prop_assert!(held.iter().all(|stream| alive.contains(&stream.0)));
        let behind: usize = world.leases.leases.values().map(|lease| lease.superseded.len()).sum();
        prop_assert_eq!(behind, world.leases.superseded.len());
        prop_assert!(world.leases.superseded.keys().all(|stream| alive.contains(&stream.0)));
        prop_assert_eq!(world.leases.next_deadline(), None);
    }
}
