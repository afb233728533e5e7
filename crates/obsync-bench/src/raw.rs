//! The service's clients with nothing in them: what bounds are measured with.
//!
//! One pulls files and throws their bytes away; one reads a listing, parses the frames, decodes the strings, and keeps
//! nothing. Whatever obsync does beyond that is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use obsync_adapters::remote::{Api, ApiConfig};
use obsync_proto::crypto::{StringCipher, VaultKeys};
use obsync_proto::wire::api::{ListVaults, SUPPORTED_ENCRYPTION_VERSION, SignIn, VaultRow};
use obsync_proto::wire::socket::{Incoming, Init};
use obsync_proto::wire::{ClientMessage, Record};
use obsync_proto::{Cursor, Uid};
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Result;
use crate::service::{EMAIL, PASSWORD, VAULT_PASSWORD};

type Socket = WebSocketStream<TcpStream>;

/// Signs in.
pub(crate) async fn sign_in(url: &str) -> Result<SecretString> {
    let (password, mfa) = (PASSWORD.to_owned().into(), String::new().into());
    Ok(api(url)?.call(&SignIn { email: EMAIL.to_owned(), password, mfa }).await?.token)
}

fn api(url: &str) -> Result<Api> {
    Ok(Api::new(&ApiConfig { base: url.to_owned(), ..ApiConfig::new("obsync-bench") })?)
}

/// A vault, and what it takes to open it.
#[derive(Clone)]
pub(crate) struct Raw {
    token: SecretString,
    row: VaultRow,
    keys: VaultKeys,
}

impl Raw {
    /// Finds a vault by its name.
    pub(crate) async fn find(url: &str, token: &SecretString, vault: &str) -> Result<Self> {
        let supported_encryption_version = SUPPORTED_ENCRYPTION_VERSION;
        let vaults = api(url)?.call(&ListVaults { token: token.clone(), supported_encryption_version }).await?.vaults;
        let row = vaults.into_iter().find(|row| row.name == vault).ok_or("the vault is not listed")?;
        let password = VAULT_PASSWORD.to_owned().into();
        let keys = VaultKeys::from_password(&password, &row.salt, row.encryption_version.try_into()?);
        Ok(Self { token: token.clone(), row, keys })
    }

    /// The vault's id.
    pub(crate) fn id(&self) -> &str {
        self.row.id.as_str()
    }

    /// The vault's keys.
    pub(crate) fn keys(&self) -> &VaultKeys {
        &self.keys
    }

    /// Opens a connection, and asks for the records behind `cursor`.
    async fn open(&self, cursor: Cursor) -> Result<Socket> {
        let stream = TcpStream::connect(&self.row.host).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(32 * 1024);
        let (mut socket, _) =
            client_async_with_config(format!("ws://{}/", self.row.host), stream, Some(config)).await?;
        let init = Init {
            token: self.token.clone(),
            id: self.row.id.clone(),
            keyhash: self.keys.keyhash.clone(),
            cursor,
            initial: cursor == Cursor::START,
            device: "obsync-bench".to_owned(),
            encryption_version: self.row.encryption_version,
        };
        send(&mut socket, &ClientMessage::Init(init)).await?;
        Ok(socket)
    }

    /// The files of the vault, and where its listing ends.
    pub(crate) async fn files(&self) -> Result<(Vec<Uid>, Cursor)> {
        let mut files = Vec::new();
        let mut socket = self.open(Cursor::START).await?;
        let cursor = read_listing(&mut socket, |record| {
            if !record.folder && !record.deleted {
                files.push(record.uid);
            }
            Ok(())
        })
        .await?;
        Ok((files, cursor))
    }

    /// How long it takes to pull these files over so many connections that are open already.
    pub(crate) async fn time_pulls(&self, files: &[Uid], cursor: Cursor, connections: usize) -> Result<Duration> {
        let mut sockets = Vec::new();
        for _ in 0..connections {
            let mut socket = self.open(cursor).await?;
            read_listing(&mut socket, |_| Ok(())).await?;
            sockets.push(socket);
        }
        let (files, next) = (Arc::<[Uid]>::from(files), Arc::<AtomicUsize>::default());
        let mut pulling = JoinSet::new();
        let started = Instant::now();
        for mut socket in sockets {
            let (files, next) = (files.clone(), next.clone());
            pulling.spawn(async move {
                while let Some(&uid) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    pull(&mut socket, uid).await?;
                }
                Ok(())
            });
        }
        while let Some(pulled) = pulling.join_next().await {
            let pulled: Result<()> = pulled?;
            pulled?;
        }
        Ok(started.elapsed())
    }

    /// How long it takes to read the whole listing, from the first connection on; and how many records there were.
    pub(crate) async fn time_listing(&self) -> Result<(Duration, u64)> {
        let strings = &self.keys.strings;
        let mut records = 0;
        let started = Instant::now();
        let mut socket = self.open(Cursor::START).await?;
        read_listing(&mut socket, |record| {
            records += 1;
            decode(&record, strings)
        })
        .await?;
        Ok((started.elapsed(), records))
    }
}

fn decode(record: &Record, strings: &StringCipher) -> Result<()> {
    strings.decode(&record.path)?;
    if !record.hash.is_empty() {
        strings.decode(&record.hash)?;
    }
    Ok(())
}

async fn send(socket: &mut Socket, message: &ClientMessage) -> Result<()> {
    Ok(socket.send(Message::text(serde_json::to_string(message)?)).await?)
}

async fn frame(socket: &mut Socket) -> Result<Message> {
    Ok(socket.next().await.ok_or("the service has closed the connection")??)
}

/// Reads to the end of the listing, which it returns.
async fn read_listing(socket: &mut Socket, mut each: impl FnMut(Record) -> Result<()>) -> Result<Cursor> {
    loop {
        let Message::Text(text) = frame(socket).await? else { return Err("a frame that is no text".into()) };
        match Incoming::parse(&text)? {
            Incoming::Record(record) => each(record)?,
            Incoming::Ready(cursor) => return Ok(cursor),
            Incoming::Accepted { .. } => {}
            other => return Err(format!("in a listing: {other:?}").into()),
        }
    }
}

async fn pull(socket: &mut Socket, uid: Uid) -> Result<()> {
    send(socket, &ClientMessage::Pull { uid }).await?;
    let Message::Text(text) = frame(socket).await? else { return Err("a frame that is no text".into()) };
    let Incoming::Content { pieces, .. } = Incoming::parse(&text)? else { return Err("no content".into()) };
    for _ in 0..pieces {
        frame(socket).await?;
    }
    Ok(())
}
