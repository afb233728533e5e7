//! How many connections the service is asked for.
//!
//! It shows how many it bears. One that it refuses, or takes long to open, halves the number to be had; one that it
//! opens proves that it bears so many; and each while without a refusal allows for one more.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What a connection takes to open, listing included, from a service that has enough to do.
const SLOW: Duration = Duration::from_secs(10);

/// Time without a refusal after which one more connection is tried.
const GROW_AFTER: Duration = Duration::from_secs(30);

/// The connections of one pool.
#[derive(Debug)]
pub(super) struct Width {
    state: Mutex<State>,
    given_back: Notify,
}

#[derive(Debug)]
struct State {
    /// As many as were asked for.
    most: usize,
    /// As many as may be had now.
    limit: usize,
    /// Permits given out.
    taken: usize,
    /// Connections that are open, each with a permit.
    open: usize,
    /// When `limit` was last changed, or would have been.
    changed: Instant,
    /// How often the service has been found too busy.
    refusals: u64,
}

impl State {
    /// When there may be one more than now; `None` where there are as many as were asked for.
    fn grows_at(&self) -> Option<Instant> {
        (self.limit < self.most).then(|| self.changed + GROW_AFTER)
    }

    fn shrink(&mut self) {
        self.limit = (self.limit / 2).max(self.open).max(1);
        self.changed = Instant::now();
        self.refusals += 1;
    }
}

impl Width {
    /// For a pool of at most so many connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let state = State { most, limit: most, taken: 0, open: 0, changed: Instant::now(), refusals: 0 };
        Arc::new(Self { state: Mutex::new(state), given_back: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more connection may be opened.
    pub(super) async fn permit(self: &Arc<Self>) -> Permit {
        loop {
            let mut given_back = pin!(self.given_back.notified());
            // In the row before the look at the state: of two that are given back before two who have looked wait, one
            // would wake nobody.
            given_back.as_mut().enable();
            let grows_at = {
                let mut state = self.state();
                if state.grows_at().is_some_and(|at| at <= Instant::now()) {
                    state.limit += 1;
                    state.changed = Instant::now();
                }
                if state.taken < state.limit {
                    state.taken += 1;
                    let (asked, refusals) = (Instant::now(), state.refusals);
                    return Permit { width: self.clone(), asked, refusals, is_open: false };
                }
                state.grows_at()
            };
            match grows_at {
                Some(at) => tokio::select! {
                    () = given_back => {}
                    () = sleep_until(at) => {}
                },
                None => given_back.await,
            }
        }
    }

    /// Whether any connection is open: the service can be reached.
    pub(super) fn has_open(&self) -> bool {
        self.state().open > 0
    }
}

/// The right to one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    width: Arc<Width>,
    asked: Instant,
    /// Refusals that were known when this one was asked for.
    refusals: u64,
    is_open: bool,
}

impl Permit {
    /// The connection is open.
    pub(super) fn opened(&mut self) {
        let mut state = self.width.state();
        self.is_open = true;
        state.open += 1;
        state.limit = state.limit.max(state.open);
        if self.asked.elapsed() >= SLOW && self.refusals == state.refusals {
            state.shrink();
        }
    }

    /// The service did not open it. Of those asked for together, the first that is refused counts for all.
    pub(super) fn refused(self) {
        let mut state = self.width.state();
        if self.refusals == state.refusals {
            state.shrink();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.width.state();
        state.taken -= 1;
        state.open -= usize::from(self.is_open);
        drop(state);
        self.width.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    /// Somebody who waits for a permit, in a task of his own.
    struct Waiting {
        permit: BoxFuture<'static, Permit>,
        woken: Arc<Woken>,
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl Waiting {
        fn at(width: &Arc<Width>) -> Self {
            let width = width.clone();
            Self { permit: async move { width.permit().await }.boxed(), woken: Arc::new(Woken(true.into())) }
        }

        /// Goes on, if it is time to.
        fn go_on(&mut self) -> Option<Permit> {
            if !self.woken.0.swap(false, Ordering::Relaxed) {
                return None;
            }
            match self.permit.poll_unpin(&mut Context::from_waker(&self.woken.clone().into())) {
                Poll::Ready(permit) => Some(permit),
                Poll::Pending => None,
            }
        }
    }

    /// Takes as many permits as there are now.
    fn take_all(width: &Arc<Width>) -> Vec<Permit> {
        std::iter::from_fn(|| width.permit().now_or_never()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_at_one_moment_halve_the_width_once_and_time_brings_it_back_one_by_one() {
        let width = Width::new(8);
        let permits = take_all(&width);
        assert_eq!(permits.len(), 8);
        permits.into_iter().for_each(Permit::refused);
        let permits = take_all(&width);
        assert_eq!(permits.len(), 4);
        permits.into_iter().for_each(Permit::refused);
        let mut permits = take_all(&width);
        assert_eq!(permits.len(), 2);
        let begun = Instant::now();
        for _ in 2..8 {
            permits.push(width.permit().await);
        }
        assert_eq!(begun.elapsed(), GROW_AFTER * 6);
        assert!(tokio::time::timeout(GROW_AFTER * 100, width.permit()).await.is_err(), "more than were asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_service_has_opened_it_bears() {
        let width = Width::new(8);
        let mut permits = take_all(&width);
        permits.iter_mut().take(5).for_each(Permit::opened);
        permits.drain(5..).for_each(Permit::refused);
        assert!(take_all(&width).is_empty(), "five are open");
        permits.pop();
        assert_eq!(take_all(&width).len(), 1, "one was given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_opening_is_as_a_refusal_but_for_the_connection_itself() {
        let width = Width::new(8);
        let mut first = width.permit().await;
        tokio::time::advance(SLOW).await;
        first.opened();
        assert_eq!(take_all(&width).len(), 3);
    }

    /// Tasks wait, go on in any order, give up at any moment, and give permits back in every way: at rest nobody waits
    /// while there is a permit to be had, and in the end all are there.
    #[tokio::test(start_paused = true)]
    async fn nobody_who_gives_up_keeps_a_permit_from_another() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let width = Width::new(random.usize(1..=4));
            let (mut waiting, mut held): (Vec<Waiting>, Vec<Permit>) = Default::default();
            for step in 0..60 {
                match random.u8(..6) {
                    0 => waiting.push(Waiting::at(&width)),
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(random.usize(..waiting.len()))),
                    2 if !held.is_empty() => drop(held.swap_remove(random.usize(..held.len()))),
                    3 if !held.is_empty() => held.swap_remove(random.usize(..held.len())).refused(),
                    _ if !waiting.is_empty() => {
                        let one = random.usize(..waiting.len());
                        if let Some(permit) = waiting[one].go_on() {
                            held.push(permit);
                            drop(waiting.swap_remove(one));
                        }
                    }
                    _ => {}
                }
                if step % 20 == 19 {
                    while let Some(one) = waiting.iter().position(|one| one.woken.0.load(Ordering::Relaxed)) {
                        if let Some(permit) = waiting[one].go_on() {
                            held.push(permit);
                            drop(waiting.swap_remove(one));
                        }
                    }
                    let state = width.state();
                    assert!(waiting.is_empty() || state.taken >= state.limit, "seed {seed}: {state:?}");
                }
            }
            drop((waiting, held));
            let state = width.state();
            assert_eq!((state.taken, state.open), (0, 0), "seed {seed}");
        }
    }
}
