//! `pull`: a head, then the content in binary frames.

use bytes::{Bytes, BytesMut};
use obsync_proto::Uid;
use obsync_proto::wire::ServerMessage;
use obsync_proto::wire::limits::MAX_PIECE;

use super::refusal_of;
use super::wire::{Hangup, Wire};
use crate::fault::{Event, Fault};
use crate::refusal;
use crate::service::Service;
use crate::vault::{Vault, read};

/// Answers one pull.
pub(super) async fn answer(wire: &mut Wire, service: &Service, vault: &Vault, uid: Uid) -> Result<(), Hangup> {
    service.counters.add(|counts| {
        counts.pulls += 1;
        *counts.pulls_by_uid.entry(uid).or_default() += 1;
    });
    let fault = service.faults.strike(Event::Pull(uid));
    if wire.suffer(fault.as_ref()).await?.is_answered() {
        return Ok(());
    }
    if let Some(text) = refusal_of(fault.as_ref()) {
        return wire.fail(text).await;
    }
    if fault == Some(Fault::Gone) {
        return wire.send(&ServerMessage::Gone { deleted: true }).await;
    }
    let Some(found) = vault.find(uid) else { return wire.fail(refusal::NO_RECORD).await };
    match read(&found).await {
        None => wire.send(&ServerMessage::Gone { deleted: true }).await,
        Some(Err(error)) => {
            tracing::error!(%error, %uid, "content");
            wire.fail(refusal::INTERNAL).await
        }
        Some(Ok(content)) => {
            let delivery = Delivery::new(&content, &found.record.hash).spoiled(fault.as_ref());
            delivery.send(wire, service).await?;
            wire.recover();
            Ok(())
        }
    }
}

/// Where a delivery breaks off.
enum Break {
    /// Before this piece.
    Before(u64),
    /// In the middle of this piece.
    Within(u64),
}

/// What a pull is answered with.
struct Delivery {
    size: u64,
    announced: u64,
    hash: String,
    pieces: Vec<Bytes>,
    breaks: Option<Break>,
}

impl Delivery {
    fn new(content: &Bytes, hash: &str) -> Self {
        let cuts = (0..content.len()).step_by(MAX_PIECE);
        let pieces: Vec<Bytes> =
            cuts.map(|start| content.slice(start..content.len().min(start.saturating_add(MAX_PIECE)))).collect();
        let (size, announced) = (content.len() as u64, pieces.len() as u64);
        Self { size, announced, hash: hash.to_owned(), pieces, breaks: None }
    }

    fn spoiled(mut self, fault: Option<&Fault>) -> Self {
        match fault {
            Some(Fault::FlipBit) => self.flip_bit(),
            Some(Fault::ShortPiece) => {
                if let Some(last) = self.pieces.last_mut() {
                    last.truncate(last.len().saturating_sub(1));
                }
            }
            Some(Fault::ExtraPiece) => self.pieces.push(Bytes::from_static(b"one piece too many")),
            Some(Fault::WrongSize(size)) => self.size = *size,
            Some(Fault::WrongPieces(pieces)) => self.announced = *pieces,
            Some(Fault::CutInPiece(piece)) => self.breaks = Some(Break::Within(*piece)),
            Some(Fault::CutAfter(pieces)) => self.breaks = Some(Break::Before(*pieces)),
            _ => {}
        }
        self
    }

    fn flip_bit(&mut self) {
        let middle = self.pieces.len() / 2;
        if let Some(piece) = self.pieces.get_mut(middle) {
            let mut spoiled = BytesMut::from(&piece[..]);
            let at = spoiled.len() / 2;
            if let Some(byte) = spoiled.get_mut(at) {
                *byte ^= 1;
            }
            *piece = spoiled.freeze();
        }
    }

    async fn send(self, wire: &mut Wire, service: &Service) -> Result<(), Hangup> {
        wire.send(&ServerMessage::Content { size: self.size, pieces: self.announced, hash: self.hash }).await?;
        for (n, piece) in (0..).zip(self.pieces) {
            match self.breaks {
                Some(Break::Before(at)) if at == n => return Err(Hangup),
                Some(Break::Within(at)) if at == n => wire.cut_after(piece.len() as u64 / 2),
                _ => {}
            }
            service.counters.add(|counts| counts.content_bytes += piece.len() as u64);
            wire.send_piece(piece).await?;
        }
        match self.breaks {
            // It was to break behind the last piece.
            Some(_) => Err(Hangup),
            None => Ok(()),
        }
    }
}
