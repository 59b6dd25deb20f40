//! Whether what clients saw of one register can be explained by one order of its writes that keeps to real time
//! (linearizability; Herlihy and Wing, 1990).
//!
//! Every write is a compare-and-swap on the value before it, and no value is written twice. So the writes that took place
//! form one chain, and the order is known: what is left to check is that it agrees with the clock. That makes the check
//! exact, and linear but for a sort.

use std::collections::HashMap;
use std::time::Duration;

/// A value of a register.
pub(super) type Value = u64;

/// What a client did, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// It read this.
    Read(Value),
    /// It wrote the second in place of the first.
    Swapped(Value, Value),
    /// It was told that the value is not this any more.
    Refused(Value),
    /// It tried to write the second in place of the first, and was not told what came of it.
    Unknown(Value, Value),
}

/// An operation with the time from the call to its answer, on one clock for all clients.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) operation: Operation,
    pub(super) called: Duration,
    pub(super) answered: Duration,
}

/// Whether the history of a register that began with `first` is linearizable; else why not.
pub(super) fn check(first: Value, history: &[Entry]) -> Result<(), String> {
    let position = positions(first, history)?;
    let place = |value: &Value| {
        position.get(value).copied().ok_or_else(|| format!("{value} was read, and nobody wrote it"))
    };
    // (called, answered, place in the order): writes at even places, what reads them after them.
    let mut ordered = Vec::new();
    for entry in history {
        let (answered, at) = match &entry.operation {
            Operation::Read(value) => (entry.answered, 2 * place(value)? + 1),
            Operation::Swapped(_, new) => (entry.answered, 2 * place(new)?),
            // It may have happened at any time after the call.
            Operation::Unknown(_, new) => match position.get(new) {
                Some(place) => (Duration::MAX, 2 * place),
                None => continue,
            },
            Operation::Refused(old) => {
                let next = history.iter().any(|other| {
                    let replaces = match &other.operation {
                        Operation::Swapped(from, _) | Operation::Unknown(from, _) => from == old,
                        Operation::Read(_) | Operation::Refused(_) => false,
                    };
                    replaces && other.called <= entry.answered
                });
                if !next {
                    return Err(format!("{entry:?}: but nobody had begun to replace {old}"));
                }
                continue;
            }
        };
        ordered.push((entry.called, answered, at));
    }
    ordered.sort_unstable();
    let mut by_answer = ordered.clone();
    by_answer.sort_unstable_by_key(|(_, answered, _)| *answered);
    let (mut ended, mut furthest) = (by_answer.into_iter().peekable(), (0, Duration::ZERO));
    for (called, answered, at) in ordered {
        while let Some((_, before, place)) = ended.next_if(|(_, before, _)| *before < called) {
            furthest = furthest.max((place, before));
        }
        if furthest.0 > at {
            return Err(format!(
                "an operation from {called:?} to {answered:?} saw the state before one that had ended at {:?}",
                furthest.1
            ));
        }
    }
    Ok(())
}

/// The place of each value that the register had, from 0.
fn positions(first: Value, history: &[Entry]) -> Result<HashMap<Value, usize>, String> {
    let mut successors: HashMap<Value, Value> = HashMap::new();
    let mut unsure: HashMap<Value, Vec<Value>> = HashMap::new();
    for entry in history {
        match entry.operation {
            Operation::Swapped(old, new) => {
                if let Some(other) = successors.insert(old, new) {
                    return Err(format!("{old} was replaced by {other} and by {new}: an update is lost"));
                }
            }
            Operation::Unknown(old, new) => unsure.entry(old).or_default().push(new),
            Operation::Read(_) | Operation::Refused(_) => {}
        }
    }
    let seen = |value: Value| {
        history.iter().any(|entry| match entry.operation {
            Operation::Read(seen) | Operation::Swapped(seen, _) | Operation::Refused(seen) => seen == value,
            Operation::Unknown(seen, _) => seen == value,
        })
    };
    let mut position = HashMap::from([(first, 0)]);
    let mut last = first;
    loop {
        let maybe: Vec<Value> =
            unsure.get(&last).into_iter().flatten().copied().filter(|value| seen(*value)).collect();
        let next = match (successors.get(&last), &maybe[..]) {
            (Some(next), []) => *next,
            (None, [next]) => *next,
            (None, []) => break,
            (known, maybe) => return Err(format!("{last} was replaced by {known:?} and by {maybe:?}")),
        };
        if position.insert(next, position.len()).is_some() {
            return Err(format!("{next} came twice"));
        }
        last = next;
    }
    match successors.iter().find(|(_, new)| !position.contains_key(new)) {
        Some((old, new)) => Err(format!("{new} replaced {old}, which the register never had")),
        None => Ok(position),
    }
}

fn at(operation: Operation, called: u64, answered: u64) -> Entry {
    Entry { operation, called: Duration::from_millis(called), answered: Duration::from_millis(answered) }
}

#[test]
fn what_one_order_explains_is_linearizable() {
    use Operation::{Read, Refused, Swapped, Unknown};
    check(0, &[]).unwrap();
    check(0, &[at(Read(0), 0, 1), at(Swapped(0, 1), 2, 5), at(Read(0), 3, 4), at(Read(1), 3, 4)]).unwrap();
    check(0, &[at(Unknown(0, 1), 0, 1), at(Read(0), 2, 3), at(Read(1), 4, 5)]).unwrap();
    check(0, &[at(Unknown(0, 1), 0, 1), at(Swapped(0, 2), 2, 3), at(Read(2), 4, 5)]).unwrap();
    check(0, &[at(Swapped(0, 1), 0, 3), at(Refused(0), 1, 2)]).unwrap();
}

#[test]
fn what_no_order_explains_is_not() {
    use Operation::{Read, Refused, Swapped, Unknown};
    let stale = [at(Swapped(0, 1), 0, 1), at(Read(0), 2, 3)];
    let back = [at(Swapped(0, 1), 0, 9), at(Read(1), 1, 2), at(Read(0), 3, 4)];
    let lost = [at(Swapped(0, 1), 0, 1), at(Swapped(0, 2), 2, 3)];
    let forked = [at(Unknown(0, 1), 0, 1), at(Swapped(0, 2), 2, 3), at(Read(1), 4, 5)];
    let invented = [at(Read(7), 0, 1)];
    let early = [at(Read(1), 0, 1), at(Swapped(0, 1), 2, 3)];
    let wrongly_refused = [at(Refused(0), 0, 1), at(Swapped(0, 1), 2, 3)];
    for history in [&stale[..], &back, &lost, &forked, &invented, &early, &wrongly_refused] {
        check(0, history).expect_err(&format!("{history:?}"));
    }
}
