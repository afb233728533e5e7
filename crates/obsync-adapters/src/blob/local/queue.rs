//! Who works on what waits.

use std::sync::{Arc, PoisonError};

#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};

// The tests below try all orders in which threads can come to it.
#[cfg(test)]
use loom::sync::{Mutex, MutexGuard};

/// Groups that are under way at once: one is written while the other waits for the disk.
const MOST_WORKERS: usize = 2;

/// What waits, and how many work on it. Nothing waits without a worker: whoever adds to it while one more may work is
/// given one, and a worker is gone from the very look at the queue on that finds nothing.
#[derive(Debug)]
pub(super) struct Queue<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    waiting: Vec<T>,
    workers: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { waiting: Vec::new(), workers: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something, and gives the worker that is to be set to work, if there is to be another.
    pub(super) fn add(self: &Arc<Self>, one: T) -> Option<Worker<T>> {
        let mut state = self.state();
        state.waiting.push(one);
        let is_free = state.workers < MOST_WORKERS;
        state.workers += usize::from(is_free);
        is_free.then(|| Worker { queue: self.clone(), has_ended: false })
    }
}

/// The right to work on what waits, until nothing does.
#[derive(Debug)]
pub(super) struct Worker<T> {
    queue: Arc<Queue<T>>,
    has_ended: bool,
}

impl<T> Worker<T> {
    /// The next group, of so many at most; `None`: the worker has ended.
    pub(super) fn next(&mut self, most: usize) -> Option<Vec<T>> {
        let mut state = self.queue.state();
        if state.waiting.is_empty() {
            state.workers -= 1;
            self.has_ended = true;
            return None;
        }
        let count = state.waiting.len().min(most);
        Some(state.waiting.drain(..count).collect())
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        if !self.has_ended {
            // A panic. Who waits for what it has not come to hears of an error, if nobody else takes it on.
            let mut state = self.queue.state();
            state.workers -= 1;
            if state.workers == 0 {
                state.waiting.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use loom::thread::{self, JoinHandle};

    use super::*;

    /// Three are added by two threads; each is worked on so often. `work` is what a worker does.
    fn added(often: RangeInclusive<usize>, work: fn(Worker<Done>)) {
        let mut model = loom::model::Builder::new();
        // All orders of the steps of five threads would take hours; what goes wrong does so with few interruptions.
        model.preemption_bound = Some(2);
        model.check(move || {
            let queue = Queue::new();
            let done = [0; 3].map(|_| Done::default());
            let add = move |queue: &Arc<Queue<Done>>, one: &Done| {
                queue.add(one.clone()).map(|worker| thread::spawn(move || work(worker)))
            };
            let (other_queue, other) = (queue.clone(), done[0].clone());
            let adding = thread::spawn(move || add(&other_queue, &other));
            let mut working: Vec<JoinHandle<()>> = done[1..].iter().filter_map(|one| add(&queue, one)).collect();
            working.extend(adding.join().unwrap());
            working.into_iter().for_each(|worker| worker.join().unwrap());
            let state = queue.state();
            assert_eq!((state.waiting.len(), state.workers), (0, 0), "something waits for ever");
            drop(state);
            for one in done {
                assert_eq!(Arc::strong_count(&one.0), 1);
                let times = *one.0.lock().unwrap();
                assert!(often.contains(&times), "it was worked on {times} times");
            }
        });
    }

    /// How often it was worked on.
    #[derive(Clone, Default)]
    struct Done(Arc<std::sync::Mutex<usize>>);

    impl Done {
        fn note(&self) {
            *self.0.lock().unwrap() += 1;
        }
    }

    #[test]
    fn nothing_waits_for_ever_or_is_worked_on_twice() {
        added(1..=1, |mut worker| {
            while let Some(group) = worker.next(2) {
                group.iter().for_each(Done::note);
            }
        });
    }

    /// Whoever waits for what is dropped hears of an error.
    #[test]
    fn what_a_dead_worker_leaves_is_worked_on_or_dropped() {
        added(0..=1, |mut worker| {
            if let Some(group) = worker.next(1) {
                group.iter().for_each(Done::note);
            }
        });
    }
}
