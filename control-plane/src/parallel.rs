//! One list on all processors at once, for the few moments in which nothing else is to be done: a start reads and compiles
//! every object.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Items that a processor takes at once: few enough that none has much more to do than the others, whatever lies where.
const SHARE: usize = 512;

/// What `make` makes of each item, in their order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (next, make) = (&AtomicUsize::new(0), &make);
    let work = move || {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(share) = items.chunks(SHARE).nth(number) else { return made };
            made.push((number, share.iter().map(make).collect::<Vec<R>>()));
        }
    };
    let mut made = std::thread::scope(|scope| {
        let shares = items.len().div_ceil(SHARE);
        let workers: Vec<_> = (0..processors.min(shares)).map(|_| scope.spawn(work)).collect();
        let made = workers.into_iter().map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic)));
        made.flatten().collect::<Vec<_>>()
    });
    made.sort_unstable_by_key(|(number, _)| *number);
    made.into_iter().flat_map(|(_, share)| share).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_is_kept() {
        for length in [0, 1, 512, 513, 5_000] {
            let items: Vec<u32> = (0..length).collect();
            assert_eq!(super::map(&items, |it| it * 2), items.iter().map(|it| it * 2).collect::<Vec<_>>());
        }
    }
}
