//! State stores raced on (SEMANTICS.md, 6: one writer): clients that lock, commit, renew, give back and die, in every
//! order of their steps that has few switches, and in random ones, with leases that run out and answers that are lost
//! at any time.
//!
//! | module | what it is |
//! |---|---|
//! | [`order`] | the orders of steps |
//! | [`racer`] | those who take one step at a time |
//! | [`script`] | what a client does |
//! | [`field`] | the stores |
//! | [`judge`] | what must hold after each step |
//!
//! With a table, a step is a request; with SQLite and in memory, a call. All is in virtual time, so that one order is
//! always the same race.
//!
//! By default:
//!
//! | store | every order of | with up to | random orders |
//! |---|---|---|---|
//! | table | "a lease is taken over" | 2 switches | 2 of each race |
//! | SQLite, in memory | each race but those in which an answer is lost | 1 switch | none |
//!
//! With `OBSYNC_RACE_SWITCHES`, each race on a table is played in every order, too.
//!
//! `OBSYNC_RACE_ORDERS` says how many random orders of each race, `OBSYNC_RACE_SEED` which one;
//! `OBSYNC_RACE_SWITCHES` how often those are interrupted who could go on, where every order is played.
#![cfg(all(unix, feature = "dynamodb", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod field;
mod judge;
mod order;
mod racer;
mod script;

use std::cell::Cell;

use field::{Database, Field, Table, is_left_in_order};
use judge::Judge;
use obsync_core::state::StateError;
use obsync_testkit::memory::MemoryState;
use order::Order;
use racer::{Gate, Racer, race};
use script::{Change, Got, Log, State, Step, mirror, play};

/// What happens once, at whatever time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    LeasesRunOut,
    Dies(usize),
    AnswerIsLostTo(usize),
}

/// A race: what is there before, what clients do, and what happens to them.
#[derive(Debug, Clone, Default)]
struct Race {
    before: Vec<Change>,
    scripts: Vec<Vec<Step>>,
    events: Vec<Event>,
}

/// How often clients were in each other's way. Were they never, they would not have been racing.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    held: usize,
    lost: usize,
}

impl Met {
    fn note(&mut self, got: &Got) {
        self.held += usize::from(matches!(got, Got::Failed(StateError::Held { .. })));
        self.lost += usize::from(matches!(got, Got::Failed(StateError::Lost)));
    }

    fn and(self, other: Self) -> Self {
        Self { held: self.held + other.held, lost: self.lost + other.lost }
    }

    fn assert_both(self) {
        assert!(self.held > 0 && self.lost > 0, "clients were not in each other's way: {self:?}");
    }
}

const CLIENTS: [&str; 3] = ["0", "1", "2"];

impl Race {
    async fn run(&self, field: &dyn Field, order: &mut Order) -> Met {
        let watching = field.open_freely().await;
        let mut token = 0;
        for (number, change) in self.before.iter().enumerate() {
            let (lease, _) = watching.lock(&mirror(), "before", script::TTL).await.unwrap();
            token = lease.token;
            watching.finish(lease, change.commit(5_000 + number as u64)).await.unwrap();
        }
        let mut judge = Judge::new(State::of(&*watching).await, token);
        let mut version = field.version();
        let log = Log::default();
        let mut met = Met::default();
        let mut racers = Vec::new();
        let gates: Vec<Gate> = self.scripts.iter().map(|_| Gate::default()).collect();
        for (client, script) in self.scripts.iter().enumerate() {
            let store = field.open(&gates[client]).await;
            let work = play(client, store, gates[client].clone(), script.clone(), log.clone());
            racers.push(Racer::new(CLIENTS[client], gates[client].clone(), work));
        }
        racers.extend(self.events.iter().map(|event| match *event {
            Event::LeasesRunOut => Racer::event("leases run out", field.expire()),
            Event::Dies(client) => {
                let gate = gates[client].clone();
                Racer::event("one dies", move || gate.kill())
            }
            Event::AnswerIsLostTo(client) => {
                let gate = gates[client].clone();
                Racer::event("an answer is lost", move || gate.lose_answer())
            }
        }));
        race(racers, order, async |who| {
            let (results, doing) = {
                let mut notes = log.notes();
                notes.steps += 1;
                (std::mem::take(&mut notes.results), notes.doing.clone())
            };
            results.iter().for_each(|(_, got)| met.note(got));
            let Some(who) = who else { return };
            match who.checked_sub(self.scripts.len()).map(|event| self.events[event]) {
                Some(Event::LeasesRunOut) => judge.leases_ran_out(),
                Some(Event::AnswerIsLostTo(client)) => judge.answer_was_lost_to(client),
                _ => {}
            }
            let call = results.first().map(|(call, _)| call).or_else(|| doing.get(&who)).cloned();
            let now = field.version();
            let state = match now {
                Some(_) if now == version => judge.state().clone(),
                _ => State::of(&*watching).await,
            };
            version = now;
            judge.step(call.as_ref(), state, results);
        })
        .await;
        is_left_in_order(field, judge.state(), judge.token()).await;
        met
    }
}

/// In virtual time, on a field of its own.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn one_change() -> Vec<Step> {
    vec![Step::Lock, Step::Finish(Change::sets(0..2))]
}

fn long_run(sets: std::ops::Range<u64>) -> Vec<Step> {
    let half = Change { forgets: 3..4, ..Change::sets(sets.clone()) };
    vec![Step::Lock, Step::Commit(half), Step::Renew, Step::Finish(Change::sets(sets))]
}

fn races() -> Vec<(&'static str, Race)> {
    use Event::{AnswerIsLostTo, Dies, LeasesRunOut};
    let few = || vec![Change::sets(0..4)];
    let race = |before: &[Change], scripts: Vec<Vec<Step>>, events: &[Event]| Race {
        before: before.to_vec(),
        scripts,
        events: events.to_vec(),
    };
    // One entry more than a generation with one shard is to have when a run begins: the empty commit begins another.
    let many = [Change::sets(0..30), Change::sets(30..65)];
    let growth = || vec![Step::Lock, Step::Commit(Change::default()), Step::Finish(Change::sets(0..2))];
    let spill = |sets| Change { spills: true, ..Change::sets(sets) };
    let spilling = || vec![Step::Lock, Step::Commit(spill(0..2)), Step::Finish(spill(1..3))];
    let reading = || vec![Step::Head, Step::Scan];
    let anew = || vec![Step::Lock, Step::Reset, Step::Finish(Change::sets(5..7))];
    let holding_on = || vec![Step::Lock, Step::Renew, Step::Commit(Change::sets(0..2))];
    let taking_over = || vec![Step::Lock, Step::Commit(Change::sets(1..3))];
    vec![
        ("a lease is taken over", race(&few(), vec![holding_on(), taking_over()], &[LeasesRunOut])),
        ("two first runs", race(&[], vec![one_change(), one_change()], &[])),
        ("two first runs, one stalled", race(&[], vec![long_run(0..2), one_change()], &[LeasesRunOut])),
        ("a stalled run", race(&few(), vec![long_run(1..3), long_run(0..2)], &[LeasesRunOut])),
        ("a reader", race(&few(), vec![long_run(0..3), reading()], &[])),
        ("a run that dies", race(&few(), vec![long_run(0..3), one_change()], &[Dies(0), LeasesRunOut])),
        ("growth and a reader", race(&many, vec![growth(), reading()], &[])),
        ("growth, stalled", race(&many, vec![growth(), growth()], &[LeasesRunOut])),
        ("growth that dies", race(&many, vec![growth(), one_change()], &[Dies(0), LeasesRunOut])),
        ("pending changes and a reader", race(&[spill(0..2)], vec![spilling(), reading()], &[])),
        ("pending changes, stalled", race(&[spill(0..2)], vec![spilling(), long_run(0..2)], &[LeasesRunOut])),
        ("begun anew before a reader", race(&few(), vec![anew(), reading()], &[])),
        ("begun anew by a stalled run", race(&few(), vec![anew(), long_run(0..3)], &[LeasesRunOut])),
        ("three runs", race(&few(), vec![long_run(0..3), anew(), one_change()], &[LeasesRunOut])),
        ("three runs, and growth", race(&many, vec![growth(), growth(), spilling()], &[LeasesRunOut])),
        ("given back", race(&few(), vec![vec![Step::Lock, Step::Renew, Step::Unlock], one_change()], &[LeasesRunOut])),
        ("an answer is lost", race(&few(), vec![long_run(0..3), one_change()], &[AnswerIsLostTo(0), LeasesRunOut])),
        ("an answer is lost in growth", race(&many, vec![growth(), one_change()], &[AnswerIsLostTo(0), LeasesRunOut])),
    ]
}

/// Orders that there are at least, of all races together, where one switch is allowed: fewer were hardly a search.
const LEAST_ORDERS: u64 = 50;

/// Every order with so many switches, or with as many as `OBSYNC_RACE_SWITCHES` says.
fn in_every_order(races: &[(&str, Race)], switches: usize, play: impl Fn(&Race, &mut Order) -> Met) {
    let switches = order::number("OBSYNC_RACE_SWITCHES").map_or(switches, |switches| switches as usize);
    let (mut met, mut orders) = (Met::default(), 0);
    for (name, race) in races {
        println!("{name}");
        let count = order::every(switches, |order| met = met.and(play(race, order)));
        println!("{count} orders with up to {switches} switches");
        orders += count;
    }
    println!("{orders} orders in all: {met:?}");
    // One who is never interrupted need not meet anyone.
    if switches > 0 {
        assert!(orders >= LEAST_ORDERS, "no more than {orders} orders");
        met.assert_both();
    }
}

fn at_random(races: &[(&str, Race)], count: u64, play: impl Fn(&Race, &mut Order) -> Met) {
    let met = Cell::new(Met::default());
    for (name, race) in races {
        println!("{name}");
        order::at_random(count, |order| met.set(met.get().and(play(race, order))));
    }
    println!("{:?}", met.get());
    // Which order it is may have been asked for, or that there are none.
    if ["OBSYNC_RACE_SEED", "OBSYNC_RACE_ORDERS"].iter().all(|name| order::number(name).is_none()) {
        met.get().assert_both();
    }
}

fn on_a_table(race: &Race, order: &mut Order) -> Met {
    in_virtual_time(async { race.run(&Table::new().await, order).await })
}

/// What happens to calls as a whole.
fn races_of_calls() -> Vec<(&'static str, Race)> {
    let is_of_calls = |race: &Race| !race.events.iter().any(|event| matches!(event, Event::AnswerIsLostTo(_)));
    races().into_iter().filter(|(_, race)| is_of_calls(race)).collect()
}

#[test]
fn table_in_random_orders() {
    at_random(&races(), 2, on_a_table);
}

/// Each request takes some milliseconds, most of them the SDK's: without `OBSYNC_RACE_SWITCHES`, only what a lease is
/// for.
#[test]
fn table_in_every_order() {
    let mut races = races();
    if order::number("OBSYNC_RACE_SWITCHES").is_none() {
        races.truncate(1);
    }
    in_every_order(&races, 2, on_a_table);
}

#[test]
fn sqlite_in_every_order() {
    let races = races_of_calls();
    in_every_order(&races, 1, |race, order| in_virtual_time(async { race.run(&Database::new(), order).await }));
}

#[test]
fn memory_in_every_order() {
    let races = races_of_calls();
    in_every_order(&races, 1, |race, order| in_virtual_time(async { race.run(&MemoryState::new(), order).await }));
}
