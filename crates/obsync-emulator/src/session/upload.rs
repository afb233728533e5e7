//! `push`, and the binary frames that follow it.

use bytes::{Bytes, BytesMut};
use obsync_proto::Uid;
use obsync_proto::wire::ServerMessage;
use obsync_proto::wire::limits::{MAX_PIECE, MAX_PIECES};
use obsync_proto::wire::socket::{Push, word};

use super::wire::Hangup;
use super::{Session, refusal_of};
use crate::error::PushError;
use crate::fault::Event;
use crate::refusal;
use crate::vault::Pushed;

/// A push whose pieces are on their way.
pub(super) struct Upload {
    push: Push,
    received: BytesMut,
    pieces: u64,
}

impl Session<'_> {
    /// Takes a push at once, or asks for its pieces.
    pub(super) async fn push(&mut self, push: Push) -> Result<(), Hangup> {
        // A client that announces something new has given the old one up.
        self.upload = None;
        let fault = self.service.faults.strike(Event::Push);
        if self.wire.suffer(fault.as_ref()).await?.is_answered() {
            return Ok(());
        }
        if let Some(text) = refusal_of(fault.as_ref()) {
            return self.wire.fail(text).await;
        }
        let config = self.service.config();
        if push.size > config.per_file_max || push.pieces > MAX_PIECES {
            let error = PushError::TooLarge { size: push.size, limit: config.per_file_max };
            return self.wire.fail(&error.to_string()).await;
        }
        match self.vault.announce(&self.author, &push, config.rename) {
            Ok(Pushed::Done(uid)) => self.done(uid).await?,
            Ok(Pushed::WantsContent) => {
                self.upload = Some(Upload { push, received: BytesMut::new(), pieces: 0 });
                self.wire.send(&ServerMessage::Next { res: word::Next }).await?;
            }
            Err(error) => self.wire.fail(&error.to_string()).await?,
        }
        self.wire.recover();
        Ok(())
    }

    /// Takes one piece; the last one makes the record.
    pub(super) async fn piece(&mut self, piece: Bytes) -> Result<(), Hangup> {
        self.service.take_time().await;
        let Some(mut upload) = self.upload.take() else { return self.wire.fail(refusal::UNEXPECTED_PIECE).await };
        if let Err(error) = upload.take(&piece) {
            return self.wire.fail(&error.to_string()).await;
        }
        if upload.pieces < upload.push.pieces {
            self.upload = Some(upload);
            return self.wire.send(&ServerMessage::Next { res: word::Next }).await;
        }
        match self.finish(upload) {
            Ok(uid) => self.done(uid).await,
            Err(error) => self.wire.fail(&error.to_string()).await,
        }
    }

    fn finish(&self, upload: Upload) -> Result<Uid, PushError> {
        let (announced, received) = (upload.push.size, upload.received.len() as u64);
        if announced != received {
            return Err(PushError::WrongSize { announced, received });
        }
        self.vault.store(&self.author, &upload.push, upload.received.freeze(), self.service.config().rename)
    }

    async fn done(&mut self, uid: Uid) -> Result<(), Hangup> {
        tracing::debug!(%uid, "pushed");
        self.service.counters.add(|counts| counts.pushes += 1);
        self.wire.send(&ServerMessage::Done { res: word::Ok }).await
    }
}

impl Upload {
    fn take(&mut self, piece: &Bytes) -> Result<(), PushError> {
        let received = self.received.len() as u64 + piece.len() as u64;
        if received > self.push.size || piece.len() > MAX_PIECE {
            return Err(PushError::WrongSize { announced: self.push.size, received });
        }
        self.received.extend_from_slice(piece);
        self.pieces += 1;
        Ok(())
    }
}
