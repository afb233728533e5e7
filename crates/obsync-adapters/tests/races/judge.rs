//! What must hold of a state store whatever the order of steps.

use std::collections::{BTreeMap, BTreeSet};

use obsync_core::state::StateError;

use crate::script::{Call, Got, State, Step};

/// Entries that a commit may have and still be one transaction of any store: it is seen whole.
const WHOLE: usize = 90;

/// Follows a race step by step.
pub(crate) struct Judge {
    /// The state before the first step, and after each.
    states: Vec<State>,
    /// The last one that a client was given.
    token: u64,
    tenures: BTreeMap<usize, Tenure>,
    /// Calls that have had their effect.
    effective: BTreeSet<u64>,
    /// An answer was lost to this client: it may not know what it has done.
    confused: BTreeSet<usize>,
}

/// From when to when a client has, or may have, the lease: in steps.
struct Tenure {
    began: usize,
    ended: Option<usize>,
}

impl Judge {
    pub(crate) fn new(before: State, token: u64) -> Self {
        let (tenures, effective, confused) = Default::default();
        Self { states: vec![before], token, tenures, effective, confused }
    }

    pub(crate) fn state(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// All leases have run out.
    pub(crate) fn leases_ran_out(&mut self) {
        let now = self.states.len();
        self.tenures.values_mut().filter(|tenure| tenure.ended.is_none()).for_each(|tenure| tenure.ended = Some(now));
    }

    pub(crate) fn answer_was_lost_to(&mut self, client: usize) {
        self.confused.insert(client);
    }

    /// A step was taken, and `state` is what there is now. `call`: what it was part of. `results`: what calls came to
    /// their ends with it.
    pub(crate) fn step(&mut self, call: Option<&Call>, state: State, results: Vec<(Call, Got)>) {
        if let Some(call) = call.filter(|call| call.step == Step::Lock) {
            let tenure = self.tenures.entry(call.client).or_insert(Tenure { began: call.began, ended: None });
            if tenure.ended.is_some() {
                *tenure = Tenure { began: call.began, ended: None };
            }
        }
        if state != *self.state() {
            let call = call.unwrap_or_else(|| panic!("nobody changed this: {state:?}"));
            self.changed(call, &state);
        }
        self.states.push(state);
        for (call, got) in results {
            self.came_to(&call, got);
        }
    }

    /// A change is the whole effect of the call that the step is part of, which has the last lease.
    fn changed(&mut self, call: &Call, state: &State) {
        assert_eq!(call.token, Some(self.token), "{call:?} has changed the state without the lease");
        assert!(!self.effective.contains(&call.id), "{call:?} has taken effect twice");
        let before = self.state();
        let wanted = match (&call.step, call.commit()) {
            (Step::Reset, _) => State::default(),
            (_, Some(commit)) => {
                if commit.entries.len() > WHOLE && is_part(before, state, &before.after(&commit)) {
                    return;
                }
                before.after(&commit)
            }
            _ => panic!("{call:?} has changed the state to {state:?}"),
        };
        assert!(*state == wanted, "{call:?} was made in part, or on another state:\n{before:?}\n{state:?}");
        self.effective.insert(call.id);
    }

    fn came_to(&mut self, call: &Call, got: Got) {
        let is_effective = self.effective.contains(&call.id);
        let now = self.states.len();
        match got {
            Got::Locked(lease, head) => {
                assert!(lease.token > self.token, "{call:?} was given {}, after {}", lease.token, self.token);
                assert!(head == self.state().head, "{call:?} found {head:?}, not {:?}", self.state().head);
                self.token = lease.token;
            }
            Got::Done => {
                match &call.step {
                    Step::Commit(_) | Step::Finish(_) => assert!(is_effective, "{call:?} was forgotten"),
                    Step::Renew => assert_eq!(call.token, Some(self.token), "{call:?} with another one's lease"),
                    Step::Reset => assert!(is_effective || *self.state() == State::default(), "{call:?} was forgotten"),
                    _ => {}
                }
                let Some(tenure) = self.tenures.get_mut(&call.client) else { return };
                match &call.step {
                    Step::Finish(_) | Step::Unlock => tenure.ended = Some(now),
                    Step::Renew => tenure.ended = None,
                    _ => {}
                }
            }
            Got::Head(head) => assert!(
                self.since(call).any(|state| state.head == head),
                "{call:?} found {head:?}, which never was: {:?}",
                self.since(call).collect::<Vec<_>>()
            ),
            Got::Entries(entries) => assert!(
                self.since(call).any(|state| state.entries == entries),
                "{call:?} found {entries:?}, which never were: {:?}",
                self.since(call).collect::<Vec<_>>()
            ),
            Got::Failed(StateError::Held { holder }) => {
                assert_eq!(call.step, Step::Lock);
                let holder: usize = holder.parse().unwrap();
                let tenure = &self.tenures[&holder];
                assert!(
                    holder != call.client && tenure.ended.is_none_or(|ended| ended >= call.began),
                    "{call:?}: {holder}"
                );
                // It was none of its own.
                self.tenures.remove(&call.client);
            }
            Got::Failed(StateError::Lost) => {
                let is_confused = self.confused.contains(&call.client);
                assert!(!is_effective || is_confused, "{call:?} has taken effect, and is said to have lost its lease");
                let own = self.tenures[&call.client].began;
                let other = self.tenures.iter().any(|(client, other)| *client != call.client && other.began >= own);
                assert!(other || is_confused, "{call:?} has lost its lease to nobody");
            }
            Got::Failed(error) => panic!("{call:?}: {error}"),
        }
    }

    /// The states that a call can have seen.
    fn since(&self, call: &Call) -> impl Iterator<Item = &State> {
        self.states[call.began..].iter()
    }
}

/// Whether `state` has the old head, and of each entry what it was or what it is to be.
fn is_part(before: &State, state: &State, wanted: &State) -> bool {
    let is_either = |path| {
        let now = state.entries.get(path);
        now == before.entries.get(path) || now == wanted.entries.get(path)
    };
    let mut paths = before.entries.keys().chain(state.entries.keys()).chain(wanted.entries.keys());
    state.head == before.head && paths.all(is_either)
}
