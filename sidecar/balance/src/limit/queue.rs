//! Who waits for its turn, and who is next: the client that has least under way, and of one client who came first.
//!
//! Enters: clients' requests that may not begin yet. Leaves: which of them begins when there is room, and which has to go
//! when there are too many. Never here: waiting itself, and how much there is room for.
//!
//! When all places are taken, somebody new takes the place of the last of whoever has most waiting, unless that is himself:
//! a client that floods the queue drives nobody out of it but its own requests (longest queue drop, Suter et al., 1998).

use crate::HashKey;
use std::collections::{HashMap, VecDeque};

/// Requests that wait, by client. `T` is whatever wakes one.
#[derive(Debug)]
pub struct FairQueue<T> {
    most: usize,
    waiting: usize,
    next: u64,
    lines: HashMap<HashKey, VecDeque<(u64, T)>>,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    client: HashKey,
    number: u64,
}

/// What became of one that wants to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<T> {
    /// It waits.
    Waits(Ticket),
    /// It waits, and this one of another client has to go.
    InPlaceOf(Ticket, T),
    /// There is no place for it.
    Full,
}

impl<T> FairQueue<T> {
    /// Nobody waits; at most `most` ever do.
    pub fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { most, waiting: 0, next: 0, lines: HashMap::new() }
    }

    /// Takes another bound. Those who wait stay.
    pub fn set(&mut self, most: u32) {
        self.most = usize::try_from(most).unwrap_or(usize::MAX);
    }

    /// One of this client's wants to wait.
    pub fn join(&mut self, client: HashKey, waiter: T) -> Joined<T> {
        let mut driven_out = None;
        if self.waiting >= self.most {
            let own = self.waiting_of(client);
            // Of equals the one that came last: the order of a map must decide nothing.
            let longest = self.lines.iter().max_by_key(|(_, line)| (line.len(), last(line)));
            let Some((longest, _)) = longest.filter(|(_, line)| line.len() > own + 1) else {
                return Joined::Full;
            };
            let longest = *longest;
            driven_out = self.take(longest, VecDeque::pop_back);
        }
        let ticket = Ticket { client, number: self.next };
        self.next += 1;
        self.waiting += 1;
        self.lines.entry(client).or_default().push_back((ticket.number, waiter));
        match driven_out {
            Some(other) => Joined::InPlaceOf(ticket, other),
            None => Joined::Waits(ticket),
        }
    }

    /// Who is next, by what each client has under way; it waits no longer.
    pub fn next(&mut self, under_way: impl Fn(HashKey) -> u32) -> Option<(HashKey, T)> {
        let line = self.lines.iter().min_by_key(|(client, line)| (under_way(**client), first(line)));
        let client = *line?.0;
        self.take(client, VecDeque::pop_front).map(|waiter| (client, waiter))
    }

    /// One goes away; nothing if it waits no longer.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let line = self.lines.get(&ticket.client)?;
        let place = line.iter().position(|(number, _)| *number == ticket.number)?;
        self.take(ticket.client, |line| line.remove(place))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many of this client wait.
    pub fn waiting_of(&self, client: HashKey) -> usize {
        self.lines.get(&client).map_or(0, VecDeque::len)
    }

    fn take(
        &mut self,
        client: HashKey,
        take: impl FnOnce(&mut VecDeque<(u64, T)>) -> Option<(u64, T)>,
    ) -> Option<T> {
        let line = self.lines.get_mut(&client)?;
        let (_, waiter) = take(line)?;
        if line.is_empty() {
            self.lines.remove(&client);
        }
        self.waiting -= 1;
        Some(waiter)
    }
}

fn first<T>(line: &VecDeque<(u64, T)>) -> u64 {
    line.front().map_or(u64::MAX, |(number, _)| *number)
}

fn last<T>(line: &VecDeque<(u64, T)>) -> u64 {
    line.back().map_or(0, |(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(number: u32) -> HashKey {
        HashKey::of(&number.to_le_bytes())
    }

    #[test]
    fn one_more_than_the_places_is_refused_and_a_quiet_client_takes_the_place_of_a_loud_one() {
        let mut queue = FairQueue::new(3);
        for waiter in 0..3 {
            assert!(matches!(queue.join(client(1), waiter), Joined::Waits(_)));
        }
        assert_eq!(queue.join(client(1), 3), Joined::Full);
        assert!(matches!(queue.join(client(2), 4), Joined::InPlaceOf(_, 2)), "the last of the loud one");
        assert_eq!(queue.join(client(2), 5), Joined::Full, "two and one: both would have the same");
        assert_eq!((queue.len(), queue.waiting_of(client(1)), queue.waiting_of(client(2))), (3, 2, 1));
    }

    #[test]
    fn without_places_nobody_waits() {
        assert_eq!(FairQueue::new(0).join(client(1), ()), Joined::Full);
    }

    #[test]
    fn the_client_with_least_under_way_is_next_and_of_equals_who_came_first() {
        let mut queue = FairQueue::new(10);
        for (number, waiter) in [(1, 'a'), (1, 'b'), (2, 'c'), (3, 'd')] {
            assert!(matches!(queue.join(client(number), waiter), Joined::Waits(_)));
        }
        let under_way = |key| if key == client(1) { 5 } else { 1 };
        let order: Vec<_> = std::iter::from_fn(|| queue.next(under_way)).map(|(_, waiter)| waiter).collect();
        assert_eq!(order, ['c', 'd', 'a', 'b']);
    }

    #[test]
    fn who_goes_away_leaves_its_place_and_only_once() {
        let mut queue = FairQueue::new(1);
        let Joined::Waits(ticket) = queue.join(client(1), 'a') else { panic!("there is a place") };
        assert_eq!((queue.leave(ticket), queue.leave(ticket), queue.len()), (Some('a'), None, 0));
        assert!(matches!(queue.join(client(2), 'b'), Joined::Waits(_)));
    }

    proptest! {
        /// Each waiter leaves once, by one of the ways there are, and the bound holds.
        #[test]
        fn nobody_is_lost_and_nobody_counts_twice(
            most in 0_u32..12, steps in prop::collection::vec((0_u32..4, 0_u32..3), 1..300),
        ) {
            let mut queue = FairQueue::new(most);
            let mut inside: HashMap<u64, (u32, Ticket)> = HashMap::new();
            for (id, (number, what)) in (0_u64..).zip(steps) {
                match what {
                    0 => {
                        if let Some((key, id)) = queue.next(|_| 0) {
                            let (of, _) = inside.remove(&id).expect("it waited");
                            prop_assert_eq!(key, client(of));
                            prop_assert!(inside.keys().all(|other| *other > id), "first come, first served");
                        }
                    }
                    1 => {
                        let one = inside.iter().find(|(_, (of, _))| *of == number).map(|(id, (_, ticket))| (*id, *ticket));
                        if let Some((id, ticket)) = one {
                            prop_assert_eq!(queue.leave(ticket), Some(id));
                            inside.remove(&id);
                        }
                    }
                    _ => {
                        let own = inside.values().filter(|(of, _)| *of == number).count();
                        match queue.join(client(number), id) {
                            Joined::Waits(ticket) => { inside.insert(id, (number, ticket)); }
                            Joined::InPlaceOf(ticket, other) => {
                                let (loser, _) = inside.remove(&other).expect("it waited");
                                prop_assert!(loser != number);
                                inside.insert(id, (number, ticket));
                                let left = inside.values().filter(|(of, _)| *of == loser).count();
                                prop_assert!(left > own, "it still has as many as the new one");
                            }
                            Joined::Full => prop_assert!(queue.len() >= most as usize),
                        }
                    }
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert!(queue.len() <= most as usize);
                for number in 0..4 {
                    let own = inside.values().filter(|(of, _)| *of == number).count();
                    prop_assert_eq!(queue.waiting_of(client(number)), own);
                }
            }
        }
    }
}
