//! The schedule, with a clock that is an argument.

use super::*;

const NAME: &str = "db.example.com";

struct Scene {
    schedule: Schedule,
    now: Instant,
    started: Instant,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let mut scene = Self { schedule: Schedule::default(), now, started: now };
        scene.schedule.want(&NAME.into(), now);
        scene
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn is_due(&mut self) -> bool {
        !self.schedule.due(self.now, self.started).is_empty()
    }

    fn answer(&mut self, answer: Answer) -> bool {
        assert!(self.is_due(), "nothing is looked up that is not due");
        self.schedule.answered(NAME, answer, self.now)
    }

    fn touch(&self) {
        let second = (self.now - self.started).as_secs();
        self.schedule.resolved().name(NAME).unwrap().last_used.touch(second);
    }

    fn stands(&self) -> String {
        match self.schedule.resolved().name(NAME).map(|view| view.state.clone()) {
            None => "nothing".into(),
            Some(NameState::Addresses(addresses)) => format!("{addresses:?}"),
            Some(NameState::Refused(why)) => why.to_string(),
        }
    }
}

fn addresses(last: &[u8], ttl: u64) -> Answer {
    let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
    Answer::Addresses(addresses, Duration::from_secs(ttl))
}

fn failed() -> Answer {
    Answer::Failed("no server answers".into())
}

#[test]
fn a_name_is_looked_up_at_once_and_again_before_its_ttl_ends() {
    let mut scene = Scene::new();
    assert_eq!(scene.stands(), "nothing");
    assert!(scene.answer(addresses(&[2, 1, 2], 100)));
    assert_eq!(scene.stands(), "[192.0.2.1, 192.0.2.2]");
    scene.pass(79);
    assert!(!scene.is_due());
    scene.pass(1);
    assert!(!scene.answer(addresses(&[1, 2], 100)), "the same in another order is no change");
    scene.pass(80);
    assert!(scene.answer(addresses(&[3], 100)));
}

#[test]
fn ttls_have_a_floor_and_a_ceiling() {
    for (ttl, early, due) in [(0, 3, 4), (1_000_000, 239, 240)] {
        let mut scene = Scene::new();
        scene.answer(addresses(&[1], ttl));
        scene.pass(early);
        assert!(!scene.is_due(), "{ttl}");
        scene.pass(due - early);
        assert!(scene.is_due(), "{ttl}");
    }
}

#[test]
fn errors_leave_what_was_known_and_its_age_is_told() {
    let mut scene = Scene::new();
    scene.answer(addresses(&[1], 10));
    scene.pass(8);
    assert!(!scene.answer(failed()));
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        scene.pass(pause - 1);
        assert!(!scene.is_due(), "the pause after a failure is {pause} s");
        scene.pass(1);
        scene.touch();
        scene.answer(failed());
    }
    assert_eq!(scene.stands(), "[192.0.2.1]");
    assert_eq!(scene.schedule.stalest(scene.now), Duration::from_secs(8 + 91 - 10));
    scene.pass(30);
    scene.answer(addresses(&[1], 10));
    assert_eq!(scene.schedule.stalest(scene.now), Duration::ZERO);
}

#[test]
fn no_such_name_is_believed_but_not_for_long() {
    let mut scene = Scene::new();
    scene.answer(addresses(&[1], 10));
    scene.pass(8);
    assert!(scene.answer(Answer::None(Some(Duration::from_secs(86_400)))));
    assert_eq!(scene.stands(), "DNS knows no address of `db.example.com`");
    scene.pass(29);
    assert!(!scene.is_due());
    scene.pass(1);
    assert!(scene.answer(addresses(&[1], 10)));
    let mut scene = Scene::new();
    scene.answer(Answer::None(Some(Duration::ZERO)));
    assert!(!scene.is_due(), "a floor here too");
}

#[test]
fn a_failure_before_the_first_answer_is_said() {
    let mut scene = Scene::new();
    assert!(scene.answer(failed()));
    assert_eq!(scene.stands(), "the address of `db.example.com` cannot be looked up: no server answers");
}

#[test]
fn a_name_nobody_uses_is_let_go_and_one_in_use_stays() {
    let mut scene = Scene::new();
    scene.answer(addresses(&[1], 300));
    scene.pass(240);
    scene.touch();
    scene.answer(addresses(&[1], 300));
    scene.pass(IDLE.as_secs() - 1);
    assert!(!scene.schedule.expire(scene.now, scene.started));
    scene.pass(1);
    assert!(scene.schedule.expire(scene.now, scene.started));
    assert_eq!(scene.stands(), "nothing");
}

#[test]
fn one_name_more_than_the_limit_replaces_the_one_used_longest_ago() {
    let mut scene = Scene::new();
    for other in 1..NAMES_MAX {
        assert!(!scene.schedule.want(&format!("n{other}").into(), scene.now + Duration::from_secs(1)));
    }
    assert!(scene.schedule.want(&"one.more".into(), scene.now + Duration::from_secs(2)));
    assert_eq!(scene.schedule.len(), NAMES_MAX);
    assert!(!scene.schedule.entries.contains_key(NAME));
}

#[test]
fn look_ups_at_once_are_bounded() {
    let mut scene = Scene::new();
    for other in 0..FLIGHTS_MAX {
        scene.schedule.want(&format!("n{other}").into(), scene.now);
    }
    assert_eq!(scene.schedule.due(scene.now, scene.started).len(), FLIGHTS_MAX);
    assert!(!scene.is_due());
    assert!(scene.schedule.next(scene.now) > scene.now, "no busy loop while all wait");
    scene.schedule.answered(NAME, failed(), scene.now);
    assert!(scene.is_due());
}
