//! What the function is configured with, and what it keeps between invocations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use obsync_adapters::aws;
use obsync_adapters::blob::{S3Bucket, S3Config};
use obsync_adapters::queue::Queue;
use obsync_adapters::remote::{TableTokens, TokenInMemory, TokenStore};
use obsync_adapters::secrets;
use obsync_adapters::state::DynamoState;
use obsync_core::blob::BlobStore;
use obsync_core::state::StateStore;
use secrecy::ExposeSecret;

use super::request::Request;
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::{Settings, Stored};

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
    pub(super) function: String,
    aws: SdkConfig,
    place: Place,
    s3: S3Config,
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
        let ttl = set("OBSYNC_STATE_TTL_DAYS").map(|days| parse_ttl(&days)).transpose()?;
        let aws = aws::config().await;
        let stored = match set("OBSYNC_SECRET_NAME") {
            Some(name) => {
                let secret = secrets::fetch(&aws, &name).await.map_err(|e| Failure::usage(e.to_string(), ""))?;
                Stored::parse(secret.expose_secret(), &format!("the secret {name:?}"))?
            }
            None => Stored::default(),
        };
        // The function keeps no files: a home that nothing is written to.
        let settings = Settings::new(env, PathBuf::new(), stored)?;
        let tokens: Arc<dyn TokenStore> = match set("OBSYNC_TOKEN_IN_TABLE").as_deref() {
            None | Some("on") => Arc::new(TableTokens::new(&aws, &table)),
            Some("off") => Arc::new(TokenInMemory::default()),
            Some(other) => {
                return Err(Failure::usage(format!("OBSYNC_TOKEN_IN_TABLE is {other:?}"), "set it to on or off"));
            }
        };
        let s3 = S3Config {
            sse_kms_key: set("S3_SSE_KMS_KEY_ID"),
            storage_class: set("S3_STORAGE_CLASS"),
            tags: set("S3_OBJECT_TAGS"),
            ..S3Config::new(&place.bucket, "")
        };
        Ok(Self {
            session: Session::with_tokens(settings, tokens)?,
            function: set("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "obsync".to_owned()),
            aws,
            place,
            s3,
            table,
            ttl,
            queue_url: set("OBSYNC_QUEUE_URL"),
        })
    }

    /// Where an event's mirrors go.
    pub(super) fn place(&self, request: &Request) -> Place {
        Place {
            bucket: request.dest_bucket.clone().unwrap_or_else(|| self.place.bucket.clone()),
            prefix: request.dest_prefix.clone().unwrap_or_else(|| self.place.prefix.clone()),
        }
    }

    /// A vault's objects at `place`.
    pub(super) fn blobs(&self, place: &Place, folder: &str) -> Arc<dyn BlobStore> {
        let key_prefix = format!("{}{folder}/", place.prefix);
        Arc::new(S3Bucket::connect(&self.aws, S3Config { bucket: place.bucket.clone(), key_prefix, ..self.s3.clone() }))
    }

    /// The state of mirrors at `place`. Another place is another mirror of the same vault.
    pub(super) fn state(&self, place: &Place) -> Arc<dyn StateStore> {
        let is_default = *place == self.place;
        Arc::new(DynamoState::new(&self.aws, &self.table).with_default(move |_| is_default).with_ttl(self.ttl))
    }

    /// The queue for one message a vault.
    pub(super) fn queue(&self) -> Result<Queue, Failure> {
        let url = self.queue_url.as_ref().ok_or_else(|| {
            Failure::usage("OBSYNC_QUEUE_URL is not set", "set it to the URL of the queue that feeds the function")
        })?;
        Ok(Queue::new(&self.aws, url))
    }
}

fn parse_ttl(days: &str) -> Result<Duration, Failure> {
    match days.parse::<u64>() {
        Ok(days @ 1..=3650) => Ok(Duration::from_secs(days * 86_400)),
        _ => Err(Failure::usage(format!("OBSYNC_STATE_TTL_DAYS is {days:?}"), "set it to 1 to 3650, or unset it")),
    }
}
