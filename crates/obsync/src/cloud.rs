//! AWS, as far as it is configured: one configuration and one set of connections for all of its services.

use obsync_adapters::aws;
use obsync_adapters::aws::SdkConfig;
use obsync_adapters::blob::{S3Bucket, S3Config};
use obsync_adapters::state::DynamoState;
use tokio::sync::OnceCell;

use crate::failure::Failure;

/// Where the AWS SDK looks for the addresses of other services than Amazon's, of those that obsync uses.
const ENDPOINTS: &[&str] = &[
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_STS",
];

/// How obsync reaches AWS, and how it keeps objects there. Reads the AWS SDK's own settings when they are first needed.
#[derive(Debug, Default)]
pub struct Cloud {
    kms_key: Option<String>,
    storage_class: Option<String>,
    tags: Option<String>,
    /// Endpoints as they are configured: variables and their values.
    endpoints: Vec<(&'static str, String)>,
    sdk: OnceCell<SdkConfig>,
}

impl Cloud {
    /// Reads obsync's own settings from the environment.
    pub fn new(env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        Self {
            kms_key: set("S3_SSE_KMS_KEY_ID"),
            storage_class: set("S3_STORAGE_CLASS"),
            tags: set("S3_OBJECT_TAGS"),
            endpoints: ENDPOINTS.iter().filter_map(|name| Some((*name, env(name)?))).collect(),
            sdk: OnceCell::new(),
        }
    }

    /// Region, credentials and endpoints.
    ///
    /// # Errors
    /// [`Failure`] for an endpoint that is no URL, on which the SDK would panic, and without a region, for which no
    /// request could be signed.
    pub async fn sdk(&self) -> Result<&SdkConfig, Failure> {
        for (name, url) in &self.endpoints {
            let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) || url.contains(char::is_whitespace) {
                let advice = format!("set {name} to http://… or https://…, or unset it");
                return Err(Failure::usage(format!("{name} is {url:?}, which is no URL"), advice));
            }
        }
        let sdk = self.sdk.get_or_init(aws::config).await;
        match sdk.region() {
            Some(_) => Ok(sdk),
            None => Err(Failure::usage("no AWS region is set", "set AWS_REGION, or `region` in your AWS profile")),
        }
    }

    /// The objects of the vault `vault` whose keys begin with `key_prefix`.
    ///
    /// # Errors
    /// As [`sdk`](Self::sdk).
    pub async fn bucket(&self, bucket: &str, key_prefix: &str, vault: &str) -> Result<S3Bucket, Failure> {
        let config = S3Config {
            owner: vault.to_owned(),
            sse_kms_key: self.kms_key.clone(),
            storage_class: self.storage_class.clone(),
            tags: self.tags.clone(),
            ..S3Config::new(bucket, key_prefix)
        };
        Ok(S3Bucket::connect(self.sdk().await?, config))
    }

    /// The state in a table.
    ///
    /// # Errors
    /// As [`sdk`](Self::sdk).
    pub async fn table(&self, name: &str) -> Result<DynamoState, Failure> {
        Ok(DynamoState::new(self.sdk().await?, name))
    }
}
