//! S3 and DynamoDB in a process of their own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use obsync_testkit::dynamodb::MemoryDynamo;
use obsync_testkit::generate::noise;
use obsync_testkit::s3::MemoryS3;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::Result;
use crate::child::{self, Server};

/// The name that this program plays the part under.
pub(crate) const NAME: &str = "obsync-bench-stores";

pub(crate) const BUCKET: &str = "notes";
pub(crate) const TABLE: &str = "state";

/// Bytes of one part of a large object, as obsync has them.
const PART: usize = 8 << 20;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Environment,
    Latency { micros: u64 },
    Put { bytes: u64 },
    Counts,
}

/// What the stores were asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Requests to S3, by operation.
    pub(crate) s3: Vec<(String, u64)>,
    /// Bytes to and from S3.
    pub(crate) s3_bytes: u64,
    /// Requests to DynamoDB, by operation.
    pub(crate) dynamo: Vec<(String, u64)>,
    /// Bytes to and from DynamoDB.
    pub(crate) dynamo_bytes: u64,
}

/// The stores, as the benches hold them.
pub(crate) struct Stores {
    server: Server,
    /// What tells a program to use them.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Stores {
    /// Starts them, with one bucket and one table.
    pub(crate) fn start() -> Result<Self> {
        let mut server = Server::start(NAME)?;
        let environment = server.ask(&Question::Environment)?;
        Ok(Self { server, environment })
    }

    /// Lets S3 wait so long before each answer, from now on.
    pub(crate) fn set_latency(&mut self, latency: Duration) -> Result<()> {
        self.server.ask(&Question::Latency { micros: u64::try_from(latency.as_micros())? })
    }

    /// How long it takes to upload an object of so many bytes in parts, one after the other, and nothing else.
    pub(crate) fn time_put(&mut self, bytes: u64) -> Result<Duration> {
        Ok(Duration::from_secs_f64(self.server.ask(&Question::Put { bytes })?))
    }

    /// What they were asked for since this was last asked.
    pub(crate) fn take_asked(&mut self) -> Result<Asked> {
        self.server.ask(&Question::Counts)
    }
}

/// Plays the part.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut stores = runtime.block_on(async {
        let (s3, dynamo) = (MemoryS3::start().await, MemoryDynamo::start().await);
        s3.create_bucket(BUCKET);
        dynamo.create_table(TABLE).await;
        Servers { s3, dynamo, counted: BTreeMap::new(), counted_bytes: 0 }
    });
    child::serve(|question| stores.answer(question, &runtime))
}

struct Servers {
    s3: MemoryS3,
    dynamo: MemoryDynamo,
    /// What was told of S3 already: it counts from its start on.
    counted: BTreeMap<String, u64>,
    counted_bytes: u64,
}

impl Servers {
    fn answer(&mut self, question: Question, runtime: &Runtime) -> Result<Value> {
        match question {
            Question::Environment => {
                let variables = self.s3.environment().into_iter().chain([self.dynamo.environment()]);
                Ok(json!(variables.collect::<BTreeMap<_, _>>()))
            }
            Question::Latency { micros } => {
                self.s3.set_latency(Duration::from_micros(micros));
                Ok(Value::Null)
            }
            Question::Put { bytes } => Ok(json!(runtime.block_on(self.put(bytes))?.as_secs_f64())),
            Question::Counts => Ok(serde_json::to_value(self.asked())?),
        }
    }

    fn asked(&mut self) -> Asked {
        let counts = self.s3.counts().into_iter().map(|(operation, count)| (format!("{operation:?}"), count));
        let (counts, bytes): (BTreeMap<String, u64>, u64) = (counts.collect(), self.s3.bytes());
        let new = counts.iter().map(|(name, count)| (name.clone(), count - self.counted.get(name).unwrap_or(&0)));
        let s3 = new.filter(|(_, count)| *count > 0).collect();
        let s3_bytes = bytes - self.counted_bytes;
        (self.counted, self.counted_bytes) = (counts, bytes);
        let traffic = self.dynamo.take_traffic();
        Asked { s3, s3_bytes, dynamo_bytes: traffic.bytes(), dynamo: traffic.requests.into_iter().collect() }
    }

    async fn put(&self, bytes: u64) -> Result<Duration> {
        let content = Bytes::from(noise(usize::try_from(bytes)?, 1));
        let (client, key) = (self.s3.client(), "nothing but an upload");
        let started = Instant::now();
        let upload = client.create_multipart_upload().bucket(BUCKET).key(key);
        let upload = upload.checksum_algorithm(ChecksumAlgorithm::Crc32).send().await?;
        let id = upload.upload_id.ok_or("an upload without an id")?;
        let mut parts = Vec::new();
        for (number, start) in (1..).zip((0..content.len()).step_by(PART)) {
            let part = content.slice(start..content.len().min(start + PART));
            let request = client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(number);
            let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32).body(ByteStream::from(part));
            let answer = request.send().await?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
            parts.push(part.set_checksum_crc32(answer.checksum_crc32).build());
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(&id);
        complete.multipart_upload(parts).send().await?;
        Ok(started.elapsed())
    }
}
