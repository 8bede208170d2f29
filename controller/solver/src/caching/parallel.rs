//! Work on many items by several threads, with the same result as by one.

use std::num::NonZeroUsize;

/// Below this many servers, rows or the like per thread, starting one costs more than it saves.
pub(crate) const ITEMS_MIN: usize = 64;

/// Applies `work` to contiguous parts of `items` and returns the results in the order of the parts. `work` gets the
/// position of its first item; no thread gets fewer than `items_min`; each item's result must depend on nothing else that the parts change.
pub(crate) fn for_parts<T, R, W>(threads: NonZeroUsize, items_min: usize, items: &mut [T], work: W) -> Vec<R>
where
    T: Send,
    R: Send,
    W: Fn(usize, &mut [T]) -> R + Sync,
{
    let num_parts = threads.get().min(items.len() / items_min.max(1)).max(1);
    let size = items.len().div_ceil(num_parts).max(1);
    if num_parts == 1 {
        return vec![work(0, items)];
    }
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = items
            .chunks_mut(size)
            .enumerate()
            .map(|(part, items)| scope.spawn(move || work(part * size, items)))
            .collect();
        started
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
