//! What the service was asked for, so that a test can tell how much a client did.

use std::collections::BTreeMap;
use std::sync::Arc;

use obsync_proto::Uid;
use parking_lot::Mutex;

/// The figures since the start or the last [`Counters::reset`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// API calls by path, those that a fault hit included.
    pub http: BTreeMap<String, u64>,
    /// Sign-ins that were granted.
    pub sign_ins: u64,
    /// API calls without a `User-Agent`.
    pub without_user_agent: u64,
    /// WebSockets that were upgraded.
    pub connects_accepted: u64,
    /// WebSockets that were refused at the upgrade or for being one too many.
    pub connects_refused: u64,
    /// WebSockets open now. Not reset.
    pub connections: u64,
    /// Most WebSockets open at once.
    pub most_connections: u64,
    /// Listings that were begun.
    pub listings: u64,
    /// Records sent in listings.
    pub records_sent: u64,
    /// Records sent live.
    pub live_records_sent: u64,
    /// Pulls that were asked for.
    pub pulls: u64,
    /// The same by record.
    pub pulls_by_uid: BTreeMap<Uid, u64>,
    /// Bytes of content handed to connections.
    pub content_bytes: u64,
    /// Records that clients pushed, over the WebSocket or in process.
    pub pushes: u64,
    /// Pings.
    pub pings: u64,
    /// Bytes that came in, over all connections, with all that HTTP and WebSocket put around them.
    pub bytes_received: u64,
    /// Bytes that went out.
    pub bytes_sent: u64,
}

impl Counts {
    /// All API calls.
    pub fn http_total(&self) -> u64 {
        self.http.values().sum()
    }
}

/// A handle on the figures.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<Counts>>);

impl Counters {
    /// The figures now.
    pub fn get(&self) -> Counts {
        self.0.lock().clone()
    }

    /// Starts again from 0; connections that are open stay counted.
    pub fn reset(&self) {
        let mut counts = self.0.lock();
        let connections = counts.connections;
        *counts = Counts { connections, most_connections: connections, ..Counts::default() };
    }

    pub(crate) fn add(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock());
    }

    /// Counts a WebSocket for as long as the result lives; `None` if `most` are open already.
    pub(crate) fn connect(&self, most: Option<usize>) -> Option<Connected> {
        let mut counts = self.0.lock();
        if most.is_some_and(|most| counts.connections >= most as u64) {
            counts.connects_refused += 1;
            return None;
        }
        counts.connects_accepted += 1;
        counts.connections += 1;
        counts.most_connections = counts.most_connections.max(counts.connections);
        Some(Connected(self.clone()))
    }
}

/// One open WebSocket.
#[derive(Debug)]
pub(crate) struct Connected(Counters);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.add(|c| c.connections -= 1);
    }
}
