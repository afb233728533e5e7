//! Racers that take one step at a time.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::order::Order;

/// Where a racer waits before each step until it is its turn. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: Option<Waker>,
    is_open: bool,
    has_died: bool,
    loses_answer: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn.
    pub(crate) fn pass(&self) -> impl Future<Output = ()> + Send + 'static {
        let gate = self.clone();
        poll_fn(move |context| {
            let mut state = gate.state();
            if std::mem::take(&mut state.is_open) {
                return Poll::Ready(());
            }
            state.waiting = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn open(&self) {
        let mut state = self.state();
        state.is_open = true;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    /// The racer dies before its next step.
    pub(crate) fn kill(&self) {
        self.state().has_died = true;
    }

    /// The racer does not hear what its next request comes to.
    pub(crate) fn lose_answer(&self) {
        self.state().loses_answer = true;
    }

    /// Whether the answer to this request is lost.
    pub(crate) fn is_answer_lost(&self) -> bool {
        std::mem::take(&mut self.state().loses_answer)
    }
}

/// Somebody who waits at a gate before each step.
pub(crate) struct Racer {
    pub(crate) name: &'static str,
    gate: Gate,
    work: Option<BoxFuture<'static, ()>>,
}

impl Racer {
    pub(crate) fn new(name: &'static str, gate: Gate, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name, gate, work: Some(work.boxed()) }
    }

    /// Something that happens once, at whatever time.
    pub(crate) fn event(name: &'static str, act: impl FnOnce() + Send + 'static) -> Self {
        let gate = Gate::default();
        let turn = gate.pass();
        Self::new(name, gate, async move {
            turn.await;
            act();
        })
    }

    /// Goes on to the next step, or to the end.
    async fn approach(&mut self) {
        let Some(work) = &mut self.work else { return };
        let has_ended = poll_fn(|context| match work.poll_unpin(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if self.gate.state().waiting.is_some() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        });
        if has_ended.await {
            self.work = None;
        }
    }
}

/// Lets all racers come to their ends; `after` is told that all stand at their gates, and then who has taken a step, by
/// his number.
pub(crate) async fn race(mut racers: Vec<Racer>, order: &mut Order, mut after: impl AsyncFnMut(Option<usize>)) {
    let names: Vec<&'static str> = racers.iter().map(|racer| racer.name).collect();
    for racer in &mut racers {
        racer.approach().await;
    }
    after(None).await;
    let mut last = None;
    loop {
        for racer in racers.iter_mut().filter(|racer| racer.gate.state().has_died) {
            racer.work = None;
        }
        let able: Vec<usize> = (0..racers.len()).filter(|n| racers[*n].work.is_some()).collect();
        if able.is_empty() {
            return;
        }
        let next = order.next(&able, last, &names);
        racers[next].gate.open();
        racers[next].approach().await;
        after(Some(next)).await;
        last = Some(next);
    }
}
