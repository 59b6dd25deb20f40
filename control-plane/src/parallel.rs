//! One list on all processors at once, for the few moments in which nothing else is to be done: a start reads every object.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;

/// What `read` makes of each item, in their order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], read: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let readers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = items.len().div_ceil(readers).max(1);
    let read = &read;
    std::thread::scope(|scope| {
        let readers: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(read).collect::<Vec<_>>()))
            .collect();
        let parts =
            readers.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| resume_unwind(panic)));
        parts.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_is_kept() {
        for length in [0, 1, 7, 1_000] {
            let items: Vec<u32> = (0..length).collect();
            assert_eq!(super::map(&items, |it| it * 2), items.iter().map(|it| it * 2).collect::<Vec<_>>());
        }
    }
}
