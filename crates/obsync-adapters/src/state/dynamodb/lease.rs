//! Taking a lease, keeping it and giving it back.

use std::time::Duration;

use obsync_core::state::{Head, Lease, MirrorId, StateError};

use super::item::{self, Item};
use super::session::{Cache, Session};
use super::table::{Change, Fault};
use super::{DynamoState, unique, warn};
use crate::state::packed::head::Reading;

/// The lease is this one.
pub(super) const HELD: &str = "#lease_token = :held AND attribute_exists(#lease_until)";

/// There is no lease, or one that has run out, and no token as high as the new one; or this very request was carried
/// out already, and its answer was lost.
const FREE: &str = "((attribute_not_exists(#lease_until) OR #lease_until <= :now) \
                    AND (attribute_not_exists(#lease_token) OR #lease_token < :lease_token)) \
                    OR #lease_nonce = :lease_nonce";

/// What goes when a lease is given back. The token stays: the next one is higher.
pub(super) const LEASE: [&str; 3] = ["lease_until", "lease_holder", "lease_nonce"];

impl DynamoState {
    pub(super) async fn take(
        &self,
        mirror: &MirrorId,
        holder: &str,
        ttl: Duration,
    ) -> Result<(Lease, Option<Head>), StateError> {
        let [first, second] = self.keys(mirror);
        let (lease, item) = self.take_at(&first, mirror, holder, ttl).await?;
        let reading = self.read(&item, mirror);
        if matches!(reading, Reading::Nothing) {
            // Another program may keep this mirror at its other place.
            let other = self.table.get(&second).await.map_err(|fault| self.error(fault));
            let other = other.inspect_err(|_| tracing::debug!(%mirror, "the lease just taken runs out by itself"))?;
            if other.is_some_and(|other| matches!(self.read(&other, mirror), Reading::Good(_))) {
                self.free(&first, &lease).await?;
                let (lease, item) = self.take_at(&second, mirror, holder, ttl).await?;
                let reading = self.read(&item, mirror);
                return self.begin(second, lease, &item, reading).await;
            }
        }
        self.begin(first, lease, &item, reading).await
    }

    /// Begins a session with what the head says.
    async fn begin(
        &self,
        key: String,
        lease: Lease,
        item: &Item,
        reading: Reading,
    ) -> Result<(Lease, Option<Head>), StateError> {
        let (mut head, mut meta) = (None, None);
        match reading {
            Reading::Nothing => {}
            Reading::Unusable(why) => warn(&lease.mirror, &why),
            Reading::Good(good) => {
                head = self.head_of(&key, &good).await.map_err(|fault| self.error(fault))?;
                if head.is_some() {
                    meta = Some(*good);
                } else {
                    let _ = self.mark(&key, &good, "its pending changes are damaged").await;
                    warn(&lease.mirror, "its pending changes are damaged");
                }
            }
        }
        if item::number(item, "ttl").is_some_and(|ttl| ttl <= self.now()) {
            // Without, it could be deleted in the middle of the run.
            let damaged = vec![("damaged", item::s("it has expired"))];
            let change = Change { set: damaged, remove: vec!["ttl"], ..held(&key, &lease) };
            self.table.update_quietly(&change).await.map_err(|fault| self.lost(fault))?;
        }
        let session = Session {
            key,
            token: lease.token,
            meta,
            leftovers: item.contains_key("leftovers"),
            cache: Cache::default(),
        };
        self.leases().add(&lease.mirror, session, self.end(lease.ttl));
        Ok((lease, head))
    }

    async fn take_at(
        &self,
        key: &str,
        mirror: &MirrorId,
        holder: &str,
        ttl: Duration,
    ) -> Result<(Lease, Item), StateError> {
        let nonce = format!("{:016x}", unique());
        let now = self.clock.unix_ms();
        // No lower than the time, so that it grows even where the head was lost.
        let mut token = u64::try_from(now).unwrap_or_default().max(1);
        loop {
            let change = Change {
                key: key.to_owned(),
                set: vec![
                    ("lease_token", item::n(token)),
                    ("lease_until", item::n(self.end(ttl))),
                    ("lease_holder", item::s(holder)),
                    ("lease_nonce", item::s(&nonce)),
                ],
                condition: FREE,
                values: vec![("now", item::n(now))],
                ..Change::default()
            };
            match self.table.update(&change).await {
                Ok(item) => return Ok((Lease { mirror: mirror.clone(), token, ttl }, item)),
                Err(Fault::Refused(_, mut item)) => {
                    if item.is_empty() {
                        item = self.table.get(key).await.map_err(|fault| self.error(fault))?.unwrap_or_default();
                    }
                    if item::number(&item, "lease_until").is_some_and(|until| until > now) {
                        let holder = item::text(&item, "lease_holder").unwrap_or_default().to_owned();
                        return Err(StateError::Held { holder });
                    }
                    // A clock behind that of the last holder.
                    let last = item::number(&item, "lease_token").and_then(|last| u64::try_from(last).ok());
                    token = token.max(last.unwrap_or_default() + 1);
                }
                Err(fault) => return Err(self.error(fault)),
            }
        }
    }

    pub(super) async fn prolong(&self, lease: &Lease) -> Result<(), StateError> {
        let until = self.end(lease.ttl);
        let key = self.key_of(lease).await?;
        let change = Change { set: vec![("lease_until", item::n(until))], ..held(&key, lease) };
        self.table.update_quietly(&change).await.map_err(|fault| self.lost(fault))?;
        self.leases().prolong(lease, until);
        Ok(())
    }

    pub(super) async fn let_go(&self, lease: &Lease) -> Result<(), StateError> {
        let key = self.key_of(lease).await;
        self.leases().remove(lease);
        match key {
            Ok(key) => self.free(&key, lease).await,
            Err(StateError::Lost) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Not an error where the lease was lost.
    pub(super) async fn free(&self, key: &str, lease: &Lease) -> Result<(), StateError> {
        let change = Change { remove: LEASE.to_vec(), ..held(key, lease) };
        match self.table.update_quietly(&change).await {
            Ok(()) | Err(Fault::Refused(..)) => Ok(()),
            Err(fault) => Err(self.error(fault)),
        }
    }

    /// Where the head of a lease is. For a lease that another store took, or that this one has replaced, the table
    /// tells.
    pub(super) async fn key_of(&self, lease: &Lease) -> Result<String, StateError> {
        if let Some(key) = self.leases().key(lease) {
            return Ok(key);
        }
        for key in self.keys(&lease.mirror) {
            let item = self.table.get(&key).await.map_err(|fault| self.error(fault))?.unwrap_or_default();
            if item::number(&item, "lease_token") == i64::try_from(lease.token).ok() {
                return Ok(key);
            }
        }
        Err(StateError::Lost)
    }

    /// The session of a lease, read anew where a call was broken off or has failed.
    pub(super) async fn session(&self, lease: &Lease) -> Result<Session, StateError> {
        if let Some(session) = self.leases().take(lease) {
            return Ok(session);
        }
        let key = self.key_of(lease).await?;
        let item = self.table.get(&key).await.map_err(|fault| self.error(fault))?.unwrap_or_default();
        if item::number(&item, "lease_token") != i64::try_from(lease.token).ok() || !item.contains_key("lease_until") {
            return Err(StateError::Lost);
        }
        let meta = match self.read(&item, &lease.mirror) {
            Reading::Good(meta) => Some(*meta),
            Reading::Nothing => None,
            // Found in the middle of a run: what it knows does not make a state.
            Reading::Unusable(why) => return Err(self.damaged(&lease.mirror, &why)),
        };
        let leftovers = item.contains_key("leftovers");
        Ok(Session { key, token: lease.token, meta, leftovers, cache: Cache::default() })
    }

    /// What a fault means where the condition was that the lease is held.
    pub(super) fn lost(&self, fault: Fault) -> StateError {
        match fault {
            Fault::Refused(..) => StateError::Lost,
            fault @ Fault::Unusable(_) => self.error(fault),
        }
    }

    fn end(&self, ttl: Duration) -> i64 {
        self.clock.unix_ms().saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2))
    }
}

/// A change of a head that is made only while the lease is held.
pub(super) fn held(key: &str, lease: &Lease) -> Change {
    Change { key: key.to_owned(), condition: HELD, values: vec![("held", item::n(lease.token))], ..Change::default() }
}
