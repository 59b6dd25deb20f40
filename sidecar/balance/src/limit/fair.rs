//! How much of it for each client: whoever has more than its share waits its turn when there is little left.
//!
//! Enters: clients' requests that begin and end. Leaves: whether one more may begin. Never here: who a client is; the caller
//! says it as a key.
//!
//! While there is room, everybody gets what it asks for. From a mark on (by default four fifths of the limit), a client
//! may begin only while it has less than its equal share of the limit among those that have anything under way. So one
//! client alone can use what is below the mark, a newcomer always finds the rest, and nothing has to be told in advance.
//!
//! The table has a fixed number of places. Clients that hash to the same place count as one (stochastic fairness queueing,
//! McKenney, 1990); the caller mixes a secret into the keys, so that nobody can choose whose place to share.

use super::Concurrency;
use crate::HashKey;
use crate::numbers::bounded;

/// Keeps places apart from other uses of a client's key.
const PLACE: u64 = 5;

bounded!(
    /// From how full on shares are enforced, in percent of the limit.
    Mark, "the mark in percent", 0..=100, default 80
);
bounded!(
    /// Places in the table, four bytes each. With ten times as many as there are clients, one in ten shares its place.
    Places, "the number of places", 1..=1_048_576, default 1_024
);

/// How shares are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FairSettings {
    /// From where on.
    pub mark: Mark,
    /// For how many clients.
    pub places: Places,
}

/// What each client has under way.
#[derive(Debug, Clone)]
pub struct FairShare {
    mark: Mark,
    under_way: Vec<u32>,
    total: u32,
    /// Places with anything under way.
    active: u32,
}

impl FairShare {
    /// Nobody has anything yet.
    pub fn new(settings: FairSettings) -> Self {
        let places = usize::try_from(settings.places.number()).unwrap_or(1);
        Self { mark: settings.mark, under_way: vec![0; places], total: 0, active: 0 }
    }

    /// Whether this client may begin one more request under a limit of `limit` for all, which may change from call to call
    /// (see [`AdaptiveLimit`](super::AdaptiveLimit)); if so it is counted, and [`end`](Self::end) follows, from a guard.
    #[must_use]
    pub fn begin(&mut self, client: HashKey, limit: Concurrency) -> bool {
        let place = self.place(client);
        let Some(own) = self.under_way.get_mut(place) else { return false };
        let is_new = *own == 0;
        let limit = u64::from(limit.number());
        let is_free = u64::from(self.total) * 100 < limit * u64::from(self.mark.number());
        // Rounded up: a small limit is enough for somebody. Who has nothing is below any share.
        let has_share = u64::from(*own) < limit.div_ceil(u64::from(self.active).max(1));
        let may = u64::from(self.total) < limit && (is_free || has_share);
        if may {
            *own += 1;
            self.total += 1;
            self.active += u32::from(is_new);
        }
        may
    }

    /// One of this client's has ended.
    pub fn end(&mut self, client: HashKey) {
        let place = self.place(client);
        let Some(own) = self.under_way.get_mut(place).filter(|own| **own > 0) else { return };
        *own -= 1;
        self.total = self.total.saturating_sub(1);
        self.active = self.active.saturating_sub(u32::from(*own == 0));
    }

    /// What this client has under way, and whoever shares its place.
    pub fn under_way(&self, client: HashKey) -> u32 {
        self.under_way.get(self.place(client)).copied().unwrap_or_default()
    }

    /// From another mark on from now on.
    pub fn set_mark(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// What all clients have under way.
    pub fn total(&self) -> u32 {
        self.total
    }

    fn place(&self, client: HashKey) -> usize {
        let places = u64::try_from(self.under_way.len()).unwrap_or(1).max(1);
        usize::try_from(client.salted(PLACE) % places).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(number: usize) -> HashKey {
        HashKey::of(&number.to_le_bytes())
    }

    fn limit(limit: u32) -> Concurrency {
        Concurrency::new(limit).expect("in range")
    }

    fn begin(fair: &mut FairShare, number: usize, wish: usize, most: u32) -> usize {
        (0..wish).filter(|_| fair.begin(client(number), limit(most))).count()
    }

    #[test]
    fn a_client_alone_may_use_all_and_nobody_more_than_the_limit() {
        let mut fair = FairShare::new(FairSettings::default());
        assert_eq!(begin(&mut fair, 1, 200, 100), 100);
        assert_eq!(begin(&mut fair, 2, 200, 100), 0);
    }

    #[test]
    fn a_newcomer_gets_its_share_as_the_greedy_ones_end() {
        let mut fair = FairShare::new(FairSettings::default());
        begin(&mut fair, 1, 200, 100);
        let mut newcomer = 0;
        for _ in 0..50 {
            fair.end(client(1));
            newcomer += begin(&mut fair, 2, 1, 100);
            assert_eq!(begin(&mut fair, 1, 1, 100), 0, "the greedy one has more than its share");
        }
        assert_eq!(newcomer, 50);
    }

    #[test]
    fn with_many_greedy_clients_each_has_its_share() {
        let mut fair = FairShare::new(FairSettings::default());
        let mut counts = [0_usize; 5];
        let mut under_way = std::collections::VecDeque::new();
        for _ in 0..1_000 {
            for (number, count) in counts.iter_mut().enumerate() {
                // The first asks for ten times as much.
                let begun = begin(&mut fair, number, if number == 0 { 40 } else { 4 }, 100);
                *count += begun;
                under_way.extend(std::iter::repeat_n(number, begun));
            }
            for ended in under_way.drain(..10.min(under_way.len())) {
                counts[ended] -= 1;
                fair.end(client(ended));
            }
        }
        assert!(counts.iter().all(|count| (16..=22).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_ends_without_having_begun_changes_nothing() {
        let mut fair = FairShare::new(FairSettings::default());
        fair.end(client(1));
        assert_eq!((fair.total(), begin(&mut fair, 1, 9, 5)), (0, 5));
        assert_eq!((fair.under_way(client(1)), fair.under_way(client(2))), (5, 0));
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_a_client_below_its_share_is_only_refused_by_the_limit(
            most in 1_u32..60, mark in 0_u32..=100, steps in prop::collection::vec((0_usize..12, any::<bool>()), 1..400),
        ) {
            let mark = Mark::new(mark).expect("in range");
            let mut fair = FairShare::new(FairSettings { mark, places: Places::MOST });
            let mut counts = [0_u32; 12];
            for (number, ends) in steps {
                if ends && counts[number] > 0 {
                    counts[number] -= 1;
                    fair.end(client(number));
                    continue;
                }
                let others = counts.iter().enumerate().filter(|(other, count)| *other != number && **count > 0).count() as u32;
                let share = most.div_ceil(others + 1);
                let total: u32 = counts.iter().sum();
                let began = fair.begin(client(number), limit(most));
                prop_assert!(!began || total < most);
                prop_assert!(began || total >= most || counts[number] >= share, "{:?}", counts);
                prop_assert!(!began || counts[number] < share || total * 100 < most * mark.number(), "{:?}", counts);
                counts[number] += u32::from(began);
                prop_assert_eq!(fair.total(), counts.iter().sum::<u32>());
            }
        }
    }
}
