//! The frames of one WebSocket, and the faults that every place has in common.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use obsync_proto::wire::ServerMessage;
use serde::Serialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::fault::Fault;
use crate::link::LinkControl;

/// The connection is over.
#[derive(Debug)]
pub(super) struct Hangup;

/// What a client sends.
pub(super) enum Frame {
    Text(Utf8Bytes),
    Binary(Bytes),
}

/// What a fault left of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suffered {
    /// The answer is still to come.
    Nothing,
    /// The fault was the answer.
    Answered,
}

impl Suffered {
    pub(super) fn is_answered(self) -> bool {
        self == Self::Answered
    }
}

/// Half a JSON object.
pub(super) const BAD_JSON: &str = r#"{"op":"push","uid":"#;

/// One WebSocket.
pub(crate) struct Wire {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    link: LinkControl,
}

impl Wire {
    pub(crate) fn new(socket: WebSocketStream<TokioIo<Upgraded>>, link: LinkControl) -> Self {
        Self { socket, link }
    }

    /// The next frame with content. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Frame, Hangup> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    tracing::trace!(%text, "from client");
                    return Ok(Frame::Text(text));
                }
                Some(Ok(Message::Binary(piece))) => {
                    tracing::trace!(bytes = piece.len(), "from client");
                    return Ok(Frame::Binary(piece));
                }
                Some(Ok(Message::Close(_))) | None => return Err(Hangup),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "read");
                    return Err(Hangup);
                }
            }
        }
    }

    pub(super) async fn send(&mut self, message: &ServerMessage) -> Result<(), Hangup> {
        self.send_json(message).await
    }

    pub(super) async fn send_json<T: Serialize>(&mut self, message: &T) -> Result<(), Hangup> {
        let text = serde_json::to_string(message).map_err(|_| Hangup)?;
        tracing::trace!(%text, "to client");
        self.frame(Message::text(text)).await
    }

    /// A text that need not be JSON.
    pub(super) async fn send_raw(&mut self, text: &str) -> Result<(), Hangup> {
        self.frame(Message::text(text)).await
    }

    pub(super) async fn send_piece(&mut self, piece: Bytes) -> Result<(), Hangup> {
        tracing::trace!(bytes = piece.len(), "to client");
        self.frame(Message::Binary(piece)).await
    }

    /// Like [`Wire::send`], but may stay in the buffer until [`Wire::flush`]: for long listings.
    pub(super) async fn feed<T: Serialize>(&mut self, message: &T) -> Result<(), Hangup> {
        let text = serde_json::to_string(message).map_err(|_| Hangup)?;
        tracing::trace!(%text, "to client");
        self.socket.feed(Message::text(text)).await.map_err(|_| Hangup)
    }

    pub(super) async fn flush(&mut self) -> Result<(), Hangup> {
        self.socket.flush().await.map_err(|_| Hangup)
    }

    async fn frame(&mut self, message: Message) -> Result<(), Hangup> {
        self.socket.send(message).await.map_err(|error| {
            tracing::debug!(%error, "write");
            Hangup
        })
    }

    /// `{"err":text}`.
    pub(super) async fn fail(&mut self, text: &str) -> Result<(), Hangup> {
        self.send(&ServerMessage::Failed { err: text.to_owned() }).await
    }

    /// A closing handshake.
    pub(super) async fn close(&mut self) -> Result<(), Hangup> {
        let _ = self.socket.close(None).await;
        // Reading on until the client closes too: a reset could overtake what it was last told.
        while self.next().await.is_ok() {}
        Err(Hangup)
    }

    /// Ends the connection within the next frame, after so many of its bytes.
    pub(super) fn cut_after(&self, bytes: u64) {
        self.link.cut_after(bytes);
    }

    /// Does what a fault does wherever it strikes; the other faults are left to the place.
    pub(super) async fn suffer(&mut self, fault: Option<&Fault>) -> Result<Suffered, Hangup> {
        match fault {
            Some(Fault::Cut) => return Err(Hangup),
            Some(Fault::CutAfterBytes(bytes)) => self.cut_after(*bytes),
            Some(Fault::Silence) => return Ok(Suffered::Answered),
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::Trickle(rate)) => self.link.trickle(*rate),
            Some(Fault::BadJson) => return self.send_raw(BAD_JSON).await.map(|()| Suffered::Answered),
            Some(Fault::Raw(text)) => return self.send_raw(text).await.map(|()| Suffered::Answered),
            _ => {}
        }
        Ok(Suffered::Nothing)
    }

    /// Ends a [`Fault::Trickle`].
    pub(super) fn recover(&self) {
        self.link.usual_rate();
    }
}
