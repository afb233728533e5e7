//! One WebSocket (`protocol.md` §3), from `init` to its end.

use std::sync::Arc;

use obsync_proto::wire::socket::word;
use obsync_proto::wire::{ClientMessage, Record, ServerMessage};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::PushError;
use crate::fault::{Event, Fault};
use crate::refusal;
use crate::service::{Entered, Service};
use crate::vault::{Author, Vault};

mod opening;
mod pull;
mod upload;
mod wire;

use upload::Upload;
pub(crate) use wire::Wire;
use wire::{Frame, Hangup};

/// Serves one WebSocket to its end.
pub(crate) async fn serve(mut wire: Wire, service: Arc<Service>) {
    // Either end may hang up at any time; that is no error here.
    let _ = run(&mut wire, service).await;
}

async fn run(wire: &mut Wire, service: Arc<Service>) -> Result<(), Hangup> {
    let Some(opened) = opening::open(wire, &service).await? else { return wire.close().await };
    let subscription = opened.list(wire, &service).await?;
    let (vault, author) = (opened.vault, opened.author);
    let mut session = Session { wire, service, vault, author, upload: None, _entered: opened.entered };
    session.talk(subscription).await
}

/// An open session.
struct Session<'a> {
    wire: &'a mut Wire,
    service: Arc<Service>,
    vault: Arc<Vault>,
    author: Author,
    upload: Option<Upload>,
    _entered: Entered,
}

impl Session<'_> {
    async fn talk(&mut self, mut live: UnboundedReceiver<Arc<Record>>) -> Result<(), Hangup> {
        loop {
            tokio::select! {
                frame = self.wire.next() => match frame? {
                    Frame::Text(text) => self.request(&text).await?,
                    Frame::Binary(piece) => self.piece(piece).await?,
                },
                Some(record) = live.recv() => {
                    self.service.counters.add(|counts| counts.live_records_sent += 1);
                    self.wire.send(&record_message(&record)).await?;
                }
            }
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), Hangup> {
        self.service.take_time().await;
        let Ok(message) = serde_json::from_str(text) else { return self.wire.fail(refusal::MALFORMED).await };
        match message {
            ClientMessage::Ping => self.pong().await,
            ClientMessage::Pull { uid } => pull::answer(self.wire, &self.service, &self.vault, uid).await,
            ClientMessage::Push(push) => self.push(push).await,
            other => {
                let answer = self.lookup(other);
                self.wire.send_json(&answer).await
            }
        }
    }

    async fn pong(&mut self) -> Result<(), Hangup> {
        self.service.counters.add(|counts| counts.pings += 1);
        let fault = self.service.faults.strike(Event::Ping);
        if self.wire.suffer(fault.as_ref()).await?.is_answered() {
            return Ok(());
        }
        self.wire.send(&ServerMessage::Pong { op: word::Pong }).await?;
        self.wire.recover();
        Ok(())
    }

    /// The requests that read or change records without content.
    fn lookup(&self, message: ClientMessage) -> serde_json::Value {
        let config = self.service.config();
        let answer = match message {
            ClientMessage::Deleted { suppressrenames } => {
                ServerMessage::Items { items: self.vault.deleted(suppressrenames), more: None }
            }
            ClientMessage::History { path, last } => {
                let (items, more) = self.vault.history(&path, last, config.history_page);
                ServerMessage::Items { items, more: Some(more) }
            }
            ClientMessage::Restore { uid } => restored(self.vault.restore(&self.author, uid)),
            ClientMessage::Size => ServerMessage::Size { size: self.vault.stored(), limit: config.storage_limit },
            ClientMessage::Usernames => {
                return serde_json::to_value(self.service.user_names(&self.vault)).unwrap_or_default();
            }
            _ => ServerMessage::Failed { err: refusal::MALFORMED.to_owned() },
        };
        serde_json::to_value(answer).unwrap_or_default()
    }
}

fn restored(outcome: Result<Option<obsync_proto::Uid>, PushError>) -> ServerMessage {
    match outcome {
        Ok(Some(_)) => ServerMessage::Done { res: word::Ok },
        Ok(None) => ServerMessage::Failed { err: refusal::NO_RECORD.to_owned() },
        Err(error) => ServerMessage::Failed { err: error.to_string() },
    }
}

fn record_message(record: &Record) -> ServerMessage {
    ServerMessage::Record { op: word::Push, record: record.clone() }
}

/// The text that a fault refuses a request with.
fn refusal_of(fault: Option<&Fault>) -> Option<&str> {
    match fault {
        Some(Fault::Refuse(text)) => Some(text),
        Some(Fault::ExpiredToken) => Some(refusal::WRONG_TOKEN),
        _ => None,
    }
}
