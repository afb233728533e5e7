//! `init` and the listing that answers it.

use std::sync::Arc;

use obsync_proto::wire::socket::{Init, word};
use obsync_proto::wire::{ClientMessage, Record, ServerMessage};
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;

use super::refusal_of;
use super::wire::{BAD_JSON, Frame, Hangup, Wire};
use crate::config::OverLimit;
use crate::fault::{Event, Fault};
use crate::refusal;
use crate::service::{Entered, Service};
use crate::vault::{Author, Vault};

/// A session that was let in.
pub(super) struct Opened {
    pub(super) vault: Arc<Vault>,
    pub(super) author: Author,
    pub(super) entered: Entered,
    init: Init,
}

/// Waits for `init` and answers it; `None` if the session is refused.
pub(super) async fn open(wire: &mut Wire, service: &Arc<Service>) -> Result<Option<Opened>, Hangup> {
    let Some(init) = init(wire.next().await?) else {
        refuse(wire, refusal::INIT_FIRST).await?;
        return Ok(None);
    };
    service.take_time().await;
    let fault = service.faults.strike(Event::Init);
    if fault == Some(Fault::ExpiredToken) {
        let _ = service.expire_tokens();
    }
    if wire.suffer(fault.as_ref()).await?.is_answered() {
        // The client waits for an answer that never comes.
        while wire.next().await.is_ok() {}
        return Err(Hangup);
    }
    if let Some(text) = refusal_of(fault.as_ref()) {
        refuse(wire, text).await?;
        return Ok(None);
    }
    match admit(service, init) {
        Ok((opened, user_id)) => {
            let per_file_max = service.config().per_file_max;
            wire.send(&ServerMessage::Accepted { res: word::Ok, per_file_max, user_id }).await?;
            wire.recover();
            Ok(Some(opened))
        }
        Err(Denied::Silently) => Ok(None),
        Err(Denied::With(text)) => {
            refuse(wire, text).await?;
            Ok(None)
        }
    }
}

fn init(frame: Frame) -> Option<Init> {
    let Frame::Text(text) = frame else { return None };
    match serde_json::from_str(&text) {
        Ok(ClientMessage::Init(init)) => Some(init),
        _ => None,
    }
}

async fn refuse(wire: &mut Wire, text: &str) -> Result<(), Hangup> {
    wire.send(&ServerMessage::Refused { res: word::Err, msg: text.to_owned() }).await
}

/// Why a session is not let in.
enum Denied {
    With(&'static str),
    Silently,
}

impl From<&'static str> for Denied {
    fn from(text: &'static str) -> Self {
        Self::With(text)
    }
}

fn admit(service: &Arc<Service>, init: Init) -> Result<(Opened, u64), Denied> {
    let config = service.config();
    let caller = service.caller(init.token.expose_secret()).ok_or(refusal::WRONG_TOKEN)?;
    if config.subscription_expired {
        return Err(refusal::SUBSCRIPTION_EXPIRED.into());
    }
    let vault = service.open_vault(&caller, &init.id, init.keyhash.expose_secret(), init.encryption_version)?;
    let most = config.max_connections.filter(|_| config.over_limit != OverLimit::Status503);
    let Some(entered) = service.enter(&init.id, most) else {
        service.counters.add(|counts| counts.connects_refused += 1);
        return Err(match config.over_limit {
            OverLimit::Close => Denied::Silently,
            _ => Denied::With(refusal::TOO_MANY),
        });
    };
    let author = Author { device: init.device.clone(), user: caller.number };
    Ok((Opened { vault, author, entered, init }, caller.number))
}

impl Opened {
    /// Sends the listing; what comes later is in the result.
    pub(super) async fn list(
        &self,
        wire: &mut Wire,
        service: &Service,
    ) -> Result<UnboundedReceiver<Arc<Record>>, Hangup> {
        let config = service.config();
        let fault = service.faults.strike(Event::Listing);
        service.counters.add(|counts| counts.listings += 1);
        let mut listing = self.vault.subscribe(self.init.cursor, self.init.initial, config.listing);
        match &fault {
            // These stand beside the listing; elsewhere they would take an answer's place.
            Some(Fault::Raw(text)) => wire.send_raw(text).await?,
            Some(Fault::BadJson) => {
                wire.send_raw(BAD_JSON).await?;
                listing.records = listing.records.into_iter().skip(1).collect();
            }
            Some(Fault::CutAfter(records)) => {
                listing.records.truncate(usize::try_from(*records).unwrap_or(usize::MAX));
            }
            other => {
                if wire.suffer(other.as_ref()).await?.is_answered() {
                    return Ok(listing.live);
                }
            }
        }
        let times = if fault == Some(Fault::DuplicateRecords) { 2 } else { 1 };
        send_records(wire, service, &listing.records, times).await?;
        if matches!(fault, Some(Fault::CutAfter(_))) {
            return Err(Hangup);
        }
        wire.send(&ServerMessage::Ready { op: word::Ready, version: listing.reached }).await?;
        wire.recover();
        Ok(listing.live)
    }
}

/// [`ServerMessage::Record`] of a record that stays where it is: a listing can have a million.
#[derive(Serialize)]
struct Listed<'a> {
    op: word::Push,
    #[serde(flatten)]
    record: &'a Record,
}

async fn send_records(wire: &mut Wire, service: &Service, records: &[Arc<Record>], times: u64) -> Result<(), Hangup> {
    for record in records {
        for _ in 0..times {
            wire.feed(&Listed { op: word::Push, record }).await?;
        }
    }
    service.counters.add(|counts| counts.records_sent += records.len() as u64 * times);
    wire.flush().await
}
