//! Destinations, state stores and services that fail, die or dawdle at a chosen call.
//!
//! A [`FaultPlan`] is shared by the wrappers of one run, so that effects on the destination and on the state are
//! numbered in one row. A crash test goes over that row:
//!
//! ```no_run
//! # use obsync_testkit::fault::*;
//! # async fn run(_: &FaultPlan) {}
//! # async fn check() {}
//! # async fn test() {
//! let plan = FaultPlan::new();
//! run(&plan).await;
//! for n in 0..plan.effects() {
//!     for moment in [Moment::Before, Moment::Half, Moment::After] {
//!         let plan = FaultPlan::new();
//!         plan.at(n, Fault::die(moment));
//!         tokio::select! { () = run(&plan) => {}, () = plan.died() => {} }
//!         run(&FaultPlan::new()).await;
//!         check().await;
//!     }
//! }
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use obsync_core::blob::{BlobError, BlobErrorKind};
use obsync_core::state::StateError;
use tokio::sync::watch;

use crate::lock;

mod blobs;
mod remote;
mod state;

pub use blobs::FaultyBlobs;
pub use remote::FaultyRemote;
pub use state::FaultyState;

/// One call of a wrapped store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method, with the seam before it: `blob.commit`, `state.finish`, `blob.write` for a writer's chunk.
    pub name: &'static str,
    /// The path that it is about, where it is about one (of a copy: the target).
    pub path: Option<String>,
    /// It changes the store, so it has a number.
    pub effect: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} {path}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// How far a call comes before its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has no effect.
    Before,
    /// Part of its effect is there: half of a chunk, of the paths to delete, of the entries (under the old head), one
    /// item of a listing. As [`Before`](Self::Before) for a call that has no half.
    Half,
    /// It has all of its effect; only the answer is lost.
    After,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It fails, of this kind at a destination, as [`StateError::Unusable`] at a state store. Later calls go through.
    Fail(BlobErrorKind),
    /// The process is killed: no later call has any effect, and what is unfinished stays so.
    Die,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub moment: Moment,
    /// What.
    pub outcome: Outcome,
}

impl Fault {
    /// The call fails, as [`BlobErrorKind::Other`].
    pub fn fail(moment: Moment) -> Self {
        Self::fail_as(BlobErrorKind::Other, moment)
    }

    /// The call fails, as `kind`.
    pub fn fail_as(kind: BlobErrorKind, moment: Moment) -> Self {
        Self { moment, outcome: Outcome::Fail(kind) }
    }

    /// The process is killed.
    pub fn die(moment: Moment) -> Self {
        Self { moment, outcome: Outcome::Die }
    }
}

/// What goes wrong in one run. A clone is the same plan.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    plan: Mutex<Plan>,
    dead: watch::Sender<bool>,
}

#[derive(Default)]
struct Plan {
    at: BTreeMap<u64, Fault>,
    when: Vec<(Condition, Fault)>,
    delay: Duration,
    effects: u64,
    log: Vec<Call>,
}

type Condition = Box<dyn Fn(&Call) -> bool + Send + Sync>;

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("at", &self.at).field("when", &self.when.len()).field("log", &self.log).finish()
    }
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// The effect number `n`, from 0, meets this fault.
    pub fn at(&self, n: u64, fault: Fault) {
        self.plan().at.insert(n, fault);
    }

    /// Every call that `condition` names meets this fault, be it an effect or a question.
    pub fn when(&self, condition: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) {
        self.plan().when.push((Box::new(condition), fault));
    }

    /// Every call takes this much longer.
    pub fn delay(&self, delay: Duration) {
        self.plan().delay = delay;
    }

    /// Takes all faults and the delay back, and forgets the calls so far. The dead stay dead.
    pub fn clear(&self) {
        *self.plan() = Plan::default();
    }

    /// Effects so far.
    pub fn effects(&self) -> u64 {
        self.plan().effects
    }

    /// Calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.plan().log.clone()
    }

    /// Whether the process was killed.
    pub fn is_dead(&self) -> bool {
        *self.0.dead.borrow()
    }

    /// Waits until the process is killed.
    pub async fn died(&self) {
        let mut dead = self.0.dead.subscribe();
        if dead.wait_for(|dead| *dead).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.0.plan)
    }

    /// Notes a call down and says what becomes of it.
    async fn meet(&self, name: &'static str, path: Option<&str>, effect: bool) -> Result<Option<Fault>, Struck> {
        let delay = self.plan().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.is_dead() {
            return Err(Struck(Outcome::Die));
        }
        Ok(self.plan().note(Call { name, path: path.map(str::to_owned), effect }))
    }

    /// Kills the process, if that is the outcome.
    fn strike(&self, fault: Fault) -> Struck {
        if fault.outcome == Outcome::Die {
            self.0.dead.send_replace(true);
        }
        Struck(fault.outcome)
    }

    /// Lets a call have as much of its effect as its fault allows.
    async fn effect<T, E: From<Struck>>(
        &self,
        name: &'static str,
        path: Option<&str>,
        half: impl Future<Output = ()>,
        whole: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(fault) = self.meet(name, path, true).await? else { return whole.await };
        let result = match fault.moment {
            Moment::Before => None,
            Moment::Half => {
                half.await;
                None
            }
            Moment::After => Some(whole.await?),
        };
        let struck = self.strike(fault);
        // Only now: what a dead process drops has no effect.
        drop(result);
        Err(struck.into())
    }

    /// The same for a call that changes nothing.
    async fn question<T, E: From<Struck>>(
        &self,
        name: &'static str,
        path: Option<&str>,
        whole: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.meet(name, path, false).await? {
            None => whole.await,
            Some(fault) => Err(self.strike(fault).into()),
        }
    }
}

impl Plan {
    fn note(&mut self, call: Call) -> Option<Fault> {
        let numbered = call.effect.then_some(self.effects);
        self.effects += u64::from(call.effect);
        let at = numbered.and_then(|n| self.at.get(&n).copied());
        let fault = at.or_else(|| self.when.iter().find(|(condition, _)| condition(&call)).map(|(_, fault)| *fault));
        self.log.push(call);
        fault
    }
}

/// The error of a call that met a fault.
#[derive(Debug, Clone, Copy)]
struct Struck(Outcome);

impl Struck {
    fn message(self) -> &'static str {
        match self.0 {
            Outcome::Fail(_) => "a fault of the test",
            Outcome::Die => "killed by the test",
        }
    }
}

impl From<Struck> for BlobError {
    fn from(struck: Struck) -> Self {
        let kind = match struck.0 {
            Outcome::Fail(kind) => kind,
            Outcome::Die => BlobErrorKind::Unusable,
        };
        Self::new(kind, struck.message())
    }
}

impl From<Struck> for StateError {
    fn from(struck: Struck) -> Self {
        Self::Unusable { location: "of the test".to_owned(), message: struck.message().to_owned() }
    }
}
