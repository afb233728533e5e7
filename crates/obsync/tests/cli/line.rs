//! The network between the program and the service: it can go dead without a word.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port that leads to another one. It is gone when this is dropped, with every connection.
pub(crate) struct Line {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct Condition {
    dead: bool,
    /// Connections that were opened before the last change never come to life again.
    changes: u64,
}

impl Line {
    pub(crate) async fn to(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (condition, seen) = watch::channel(Condition::default());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, service, seen.clone()));
            }
        });
        Self { address, condition, accepting }
    }

    /// As a vault row names it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Connections stay, and nothing passes any more; new ones are taken, and hear nothing.
    pub(crate) fn goes_dead(&self) {
        self.change(true);
    }

    /// New connections are as good as any. The old ones stay dead.
    pub(crate) fn works_again(&self) {
        self.change(false);
    }

    fn change(&self, dead: bool) {
        self.condition.send_modify(|now| *now = Condition { dead, changes: now.changes + 1 });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut near: TcpStream, service: SocketAddr, mut condition: watch::Receiver<Condition>) {
    let begun = *condition.borrow_and_update();
    if !begun.dead {
        let Ok(mut far) = TcpStream::connect(service).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => return,
            changed = condition.changed() => if changed.is_err() { return },
        }
    }
    // Until the line is gone: neither an end nor a reset is seen from here.
    while condition.changed().await.is_ok() {}
    drop(near);
}
