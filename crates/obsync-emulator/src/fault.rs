//! Faults on request: rules that say where, how often and what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use obsync_proto::Uid;
use parking_lot::Mutex;

/// Where a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Any call of the HTTP API.
    AnyHttp,
    /// Calls of one path, such as `/vault/list`.
    Http(String),
    /// The WebSocket's upgrade.
    Connect,
    /// `init`.
    Init,
    /// The records and `ready` after `init`.
    Listing,
    /// Any `pull`.
    Pull,
    /// `pull` of one record.
    PullOf(Uid),
    /// `ping`.
    Ping,
    /// `push`.
    Push,
}

/// What goes wrong. A fault that makes no sense where it strikes does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the answer. Anywhere.
    Cut,
    /// The connection ends after so many more bytes. Anywhere.
    CutAfterBytes(u64),
    /// The connection ends in the middle of this piece (counted from 0), inside the binary frame. Pull.
    CutInPiece(u64),
    /// The connection ends after so many whole pieces (pull) or records (listing).
    CutAfter(u64),
    /// No answer at all; the connection stays. Anywhere.
    Silence,
    /// The answer comes later. Anywhere.
    Delay(Duration),
    /// The answer comes at so many bytes a second. Anywhere.
    Trickle(u64),
    /// Half a JSON object instead of the answer (in a listing: instead of its first record). Anywhere.
    BadJson,
    /// This text instead of the answer (in a listing: before its first record). Anywhere.
    Raw(String),
    /// A refusal with this text: `error`, `msg` or `err`, as the place has it. API calls, init, pull, push.
    Refuse(String),
    /// The refusal of a token that is no longer good; the tokens of all accounts end. API calls, init.
    ExpiredToken,
    /// This status instead of the answer. API calls, connect.
    Status(u16),
    /// A page that says "overloaded", with status 200. API calls, connect.
    Overloaded,
    /// One bit of the content is wrong, in the middle of it. Pull.
    FlipBit,
    /// The last piece lacks its last byte. Pull.
    ShortPiece,
    /// One more piece than announced. Pull.
    ExtraPiece,
    /// This size in the head; the content is whole. Pull.
    WrongSize(u64),
    /// This number of pieces in the head; the content is whole. Pull.
    WrongPieces(u64),
    /// `{"deleted":true}`. Pull.
    Gone,
    /// Every record of the listing twice. Listing.
    DuplicateRecords,
}

/// When a fault strikes: of the occasions that there are for it, which it takes. The first one alone, unless told
/// otherwise.
#[derive(Debug, Clone)]
pub struct Schedule {
    skip: u64,
    left: Option<u64>,
    one_in: Option<(u32, fastrand::Rng)>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { skip: 0, left: Some(1), one_in: None }
    }
}

impl Schedule {
    /// Lets so many occasions pass first.
    #[must_use]
    pub fn after(mut self, occasions: u64) -> Self {
        self.skip = occasions;
        self
    }

    /// Takes so many.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    /// Takes each.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.left = None;
        self
    }

    /// Takes each with a chance of one in `n`. Equal seeds make equal choices.
    #[must_use]
    pub fn at_random(mut self, n: u32, seed: u64) -> Self {
        self.left = None;
        self.one_in = Some((n, fastrand::Rng::with_seed(seed)));
        self
    }

    /// There is an occasion: whether the fault would take it. It has taken it only after [`take`](Self::take).
    pub fn wants(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.left != Some(0) && self.one_in.as_mut().is_none_or(|(n, rng)| rng.u32(..*n) == 0)
    }

    /// It takes the occasion.
    pub fn take(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }
}

/// A fault with its place and its schedule: once at the first request, unless told otherwise.
#[derive(Debug, Clone)]
pub struct FaultRule {
    place: Place,
    fault: Fault,
    schedule: Schedule,
}

impl FaultRule {
    /// `fault` at the first request at `place`.
    pub fn new(place: Place, fault: Fault) -> Self {
        Self { place, fault, schedule: Schedule::default() }
    }

    /// Lets `requests` at the place pass first.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.schedule = self.schedule.after(requests);
        self
    }

    /// Strikes so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.schedule = self.schedule.times(times);
        self
    }

    /// Strikes every time.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.schedule = self.schedule.always();
        self
    }

    /// Strikes by this schedule.
    #[must_use]
    pub fn by(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Whether the rule wants this request; each request at its place brings it nearer.
    fn wants(&mut self, event: Event<'_>) -> bool {
        event.is_at(&self.place) && self.schedule.wants()
    }
}

/// Names a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

/// A handle on the rules. Of the rules that want a request the one added first strikes.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Rules>>);

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<(FaultId, FaultRule)>,
    added: u64,
    struck: Vec<(FaultId, u64)>,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&self, rule: FaultRule) -> FaultId {
        let mut rules = self.0.lock();
        let id = FaultId(rules.added);
        rules.added += 1;
        rules.rules.push((id, rule));
        rules.struck.push((id, 0));
        id
    }

    /// Takes a rule back.
    pub fn remove(&self, id: FaultId) {
        self.0.lock().rules.retain(|(other, _)| *other != id);
    }

    /// Takes all rules back.
    pub fn clear(&self) {
        self.0.lock().rules.clear();
    }

    /// How often a rule struck, removed ones included.
    pub fn struck(&self, id: FaultId) -> u64 {
        self.0.lock().struck.iter().find(|(other, _)| *other == id).map_or(0, |(_, n)| *n)
    }

    pub(crate) fn strike(&self, event: Event<'_>) -> Option<Fault> {
        let mut rules = self.0.lock();
        let mut due = None;
        for (id, rule) in &mut rules.rules {
            // Every rule counts the request, also behind the one that strikes.
            if rule.wants(event) && due.is_none() {
                rule.schedule.take();
                due = Some((*id, rule.fault.clone()));
            }
        }
        let (id, fault) = due?;
        if let Some((_, struck)) = rules.struck.iter_mut().find(|(other, _)| *other == id) {
            *struck += 1;
        }
        tracing::debug!(?event, ?fault, "fault");
        Some(fault)
    }
}

/// A request that a rule may want.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    Http(&'a str),
    Connect,
    Init,
    Listing,
    Pull(Uid),
    Ping,
    Push,
}

impl Event<'_> {
    fn is_at(self, place: &Place) -> bool {
        match (self, place) {
            (Event::Http(_), Place::AnyHttp)
            | (Event::Connect, Place::Connect)
            | (Event::Init, Place::Init)
            | (Event::Listing, Place::Listing)
            | (Event::Pull(_), Place::Pull)
            | (Event::Ping, Place::Ping)
            | (Event::Push, Place::Push) => true,
            (Event::Http(path), Place::Http(wanted)) => path == wanted,
            (Event::Pull(uid), Place::PullOf(wanted)) => uid == *wanted,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_waits_strikes_and_is_spent() {
        let faults = Faults::default();
        let id = faults.add(FaultRule::new(Place::Pull, Fault::Cut).after(1).times(2));
        let struck: Vec<bool> = (0..5).map(|n| faults.strike(Event::Pull(Uid(n))).is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert_eq!(faults.struck(id), 2);
        assert!(faults.strike(Event::Ping).is_none());
    }

    #[test]
    fn rule_for_one_record_leaves_the_others_alone() {
        let faults = Faults::default();
        faults.add(FaultRule::new(Place::PullOf(Uid(7)), Fault::Gone).always());
        assert_eq!(faults.strike(Event::Pull(Uid(6))), None);
        assert_eq!(faults.strike(Event::Pull(Uid(7))), Some(Fault::Gone));
        faults.clear();
        assert_eq!(faults.strike(Event::Pull(Uid(7))), None);
    }
}
