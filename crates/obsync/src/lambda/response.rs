//! What an event is answered with (`contract.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use obsync_core::mirror::Report;
use obsync_input::SyncType;
use obsync_proto::VaultId;
use serde::Serialize;

/// The answer to an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Response {
    /// Everything that was asked for is done, or (`incomplete`) goes on with the next event.
    pub success: bool,
    /// For people.
    pub message: String,
    /// The vaults whose mirror now is what the vault is.
    pub vaults_synced: Vec<VaultId>,
    /// Files that this run wrote.
    pub files_count: u64,
    /// `vault ID: reason`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Figures as texts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<&'static str, String>,
    /// Time ran out; a further event goes on.
    #[serde(skip)]
    pub incomplete: bool,
    /// At least one vault's run came to its end: what it could not mirror it has noted, and another try at once would
    /// find the same.
    #[serde(skip)]
    pub went_through: bool,
    /// Bytes of content fetched.
    #[serde(skip)]
    pub bytes: u64,
    /// The longest time since a vault's mirror was last what the vault is, as far as that is known.
    #[serde(skip)]
    pub lag: Option<Duration>,
}

impl Response {
    /// The answer to something that did not begin.
    pub fn refused(message: impl Into<String>, errors: Vec<String>) -> Self {
        Self { message: message.into(), errors, ..Self::default() }
    }

    /// Nothing at all came of it, so that a sender who tries again should.
    pub fn failed_outright(&self) -> bool {
        !self.success && !self.went_through
    }
}

/// What the runs over several vaults add up to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) synced: Vec<VaultId>,
    pub(super) errors: Vec<String>,
    pub(super) downloaded: u64,
    pub(super) copied: u64,
    pub(super) deleted: u64,
    pub(super) unchanged: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) incomplete: bool,
    pub(super) went_through: bool,
    pub(super) lag: Option<Duration>,
}

impl Sum {
    pub(super) fn add(&mut self, vault: &VaultId, report: &Report) {
        self.downloaded += report.downloaded;
        self.copied += report.copied;
        self.deleted += report.deleted;
        self.unchanged += report.unchanged;
        self.failed += report.failed.len() as u64;
        self.bytes += report.bytes;
        self.incomplete |= report.incomplete;
        self.went_through |= report.error.is_none();
        if report.is_success() {
            self.synced.push(vault.clone());
        }
    }

    pub(super) fn files(&self) -> u64 {
        self.downloaded + self.copied
    }

    pub(super) fn into_response(self, sync_type: SyncType, elapsed: Duration) -> Response {
        let files = self.files();
        let message = if self.errors.is_empty() {
            format!("Synced {} vaults with {files} files", self.synced.len())
        } else {
            format!("Sync completed with {} errors", self.errors.len())
        };
        let metadata = BTreeMap::from([
            ("sync_type", sync_type.as_str().to_owned()),
            ("execution_time", format!("{:.3}s", elapsed.as_secs_f64())),
            ("bytes", self.bytes.to_string()),
            ("downloaded", self.downloaded.to_string()),
            ("copied", self.copied.to_string()),
            ("deleted", self.deleted.to_string()),
            ("unchanged", self.unchanged.to_string()),
            ("failed", self.failed.to_string()),
            ("incomplete", self.incomplete.to_string()),
        ]);
        Response {
            success: self.errors.is_empty(),
            message,
            vaults_synced: self.synced,
            files_count: files,
            errors: self.errors,
            metadata,
            incomplete: self.incomplete,
            went_through: self.went_through,
            bytes: self.bytes,
            lag: self.lag,
        }
    }
}
