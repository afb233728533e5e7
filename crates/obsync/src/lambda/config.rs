//! What the function is configured with, and what it keeps between invocations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use obsync_adapters::queue::Queue;
use obsync_adapters::remote::{TableTokens, TokenInMemory, TokenStore};
use obsync_adapters::secrets;
use obsync_core::blob::BlobStore;
use obsync_core::plan::{InvalidMaxDelete, MaxDelete, Rules};
use obsync_core::state::StateStore;
use obsync_input::{Request, Stored};
use obsync_proto::wire::api::VaultRow;
use secrecy::{ExposeSecret, SecretString};

use crate::cloud::Cloud;
use crate::destination::folder_name;
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::{self, Settings};

/// Looks up an environment variable.
pub(super) type Env = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where mirrors go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    bucket: String,
    prefix: String,
}

/// Everything that is the same for all events.
pub(super) struct Ready {
    pub(super) session: Session,
    /// How the mirrors of all events are to be.
    pub(super) rules: Rules,
    place: Place,
    /// The secret's name and text.
    secret: Option<(String, SecretString)>,
    table: String,
    ttl: Option<Duration>,
    queue_url: Option<String>,
}

impl Ready {
    /// Reads the environment and the secret.
    pub(super) async fn read(env: &Env) -> Result<Self, Failure> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let required = |name: &str| {
            set(name)
                .ok_or_else(|| Failure::usage(format!("{name} is not set"), "set it in the function's environment"))
        };
        let place = Place { bucket: required("S3_BUCKET")?, prefix: set("S3_PREFIX").unwrap_or_default() };
        let table = required("STATE_TABLE_NAME")?;
        let max_delete =
            set("OBSYNC_MAX_DELETE").map(|limit| parse_max_delete(&limit)).transpose()?.unwrap_or_default();
        let ttl = set("OBSYNC_STATE_TTL_DAYS").map(|days| parse_ttl(&days)).transpose()?;
        let cloud = Cloud::new(env);
        let secret = match set("OBSYNC_SECRET_NAME") {
            Some(name) => Some((name.clone(), fetch(&cloud, &name).await?)),
            None => None,
        };
        let stored = match &secret {
            Some((name, text)) => settings::parse(text.expose_secret(), &format!("the secret {name:?}"))?,
            None => Stored::default(),
        };
        let tokens: Arc<dyn TokenStore> = match set("OBSYNC_TOKEN_IN_TABLE").as_deref() {
            None | Some("on") => Arc::new(TableTokens::new(cloud.sdk().await?, &table)),
            Some("off") => Arc::new(TokenInMemory::default()),
            Some(other) => {
                return Err(Failure::usage(format!("OBSYNC_TOKEN_IN_TABLE is {other:?}"), "set it to on or off"));
            }
        };
        // The function keeps no files: a home that nothing is written to.
        let settings = Settings::new(env, PathBuf::new(), cloud, stored)?;
        Ok(Self {
            session: Session::with_tokens(settings, tokens)?,
            rules: Rules { max_delete, ..Rules::default() },
            place,
            secret,
            table,
            ttl,
            queue_url: set("OBSYNC_QUEUE_URL"),
        })
    }

    /// Whether the secret is still what it was. One that cannot be read now is taken to be.
    pub(super) async fn is_current(&self) -> bool {
        let Some((name, text)) = &self.secret else { return true };
        match fetch(self.session.cloud(), name).await {
            Ok(now) => now.expose_secret() == text.expose_secret(),
            Err(failure) => {
                tracing::warn!(%failure, "the secret cannot be read again");
                true
            }
        }
    }

    /// Where an event's mirrors go.
    pub(super) fn place(&self, request: &Request) -> Place {
        Place {
            bucket: request.dest_bucket.clone().unwrap_or_else(|| self.place.bucket.clone()),
            prefix: request.dest_prefix.clone().unwrap_or_else(|| self.place.prefix.clone()),
        }
    }

    /// A vault's objects at `place`, below its name.
    pub(super) async fn blobs(&self, place: &Place, vault: &VaultRow) -> Result<Arc<dyn BlobStore>, Failure> {
        let folder = folder_name(vault.id.as_str(), &vault.name)?;
        let key_prefix = format!("{}{folder}/", place.prefix);
        Ok(Arc::new(self.session.cloud().bucket(&place.bucket, &key_prefix, vault.id.as_str()).await?))
    }

    /// The state of mirrors at `place`. Another place is another mirror of the same vault.
    pub(super) async fn state(&self, place: &Place) -> Result<Arc<dyn StateStore>, Failure> {
        let is_default = *place == self.place;
        let table = self.session.cloud().table(&self.table).await?;
        Ok(Arc::new(table.with_default(move |_| is_default).with_ttl(self.ttl)))
    }

    /// The queue for one message a vault.
    pub(super) async fn queue(&self) -> Result<Queue, Failure> {
        let url = self.queue_url.as_ref().ok_or_else(|| {
            Failure::usage("OBSYNC_QUEUE_URL is not set", "set it to the URL of the queue that feeds the function")
        })?;
        Ok(Queue::new(self.session.cloud().sdk().await?, url))
    }
}

async fn fetch(cloud: &Cloud, name: &str) -> Result<SecretString, Failure> {
    secrets::fetch(cloud.sdk().await?, name).await.map_err(|e| Failure::usage(e.to_string(), ""))
}

fn parse_max_delete(limit: &str) -> Result<MaxDelete, Failure> {
    limit
        .parse()
        .map_err(|e: InvalidMaxDelete| Failure::usage(format!("OBSYNC_MAX_DELETE is {limit:?}"), e.to_string()))
}

fn parse_ttl(days: &str) -> Result<Duration, Failure> {
    match days.parse::<u64>() {
        Ok(days @ 1..=3650) => Ok(Duration::from_secs(days * 86_400)),
        _ => Err(Failure::usage(format!("OBSYNC_STATE_TTL_DAYS is {days:?}"), "set it to 1 to 3650, or unset it")),
    }
}
