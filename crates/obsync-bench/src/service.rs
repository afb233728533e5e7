//! The emulator in a process of its own, with vaults to measure with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use obsync_emulator::{Account, Config, Counts, Emulator};
use obsync_proto::ContentHash;
use obsync_proto::crypto::{EncryptionVersion, encrypted_size};
use obsync_proto::wire::Record;
use obsync_testkit::generate::noise;
use obsync_testkit::vault::TestVault;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Result;
use crate::child::{self, Server};

/// The name that this program plays the part under.
pub(crate) const NAME: &str = "obsync-bench-service";

pub(crate) const EMAIL: &str = "bench@example.com";
pub(crate) const PASSWORD: &str = "account password";
pub(crate) const VAULT_PASSWORD: &str = "vault password";

/// Files in one folder of a vault.
const FILES_IN_FOLDER: u64 = 100;

/// When all files were written, ms since 1970.
const MTIME: i64 = 1_790_000_000_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Url,
    Latency { micros: u64 },
    Notes { vault: String, notes: u64, bytes: u64 },
    File { vault: String, bytes: u64 },
    Records { vault: String, records: u64 },
    Edit { vault: String },
    Counts,
}

/// What the service was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// API calls, by path.
    pub(crate) calls: Vec<(String, u64)>,
    /// WebSockets that were opened.
    pub(crate) sockets: u64,
    /// Listings, one for each WebSocket that got so far.
    pub(crate) listings: u64,
    /// Files.
    pub(crate) pulls: u64,
    /// Bytes in both directions, over all connections.
    pub(crate) bytes: u64,
}

/// The service, as the benches hold it.
pub(crate) struct Service {
    server: Server,
    /// The API's base.
    pub(crate) url: String,
}

impl Service {
    /// Starts it, with one account and no vaults.
    pub(crate) fn start() -> Result<Self> {
        let mut server = Server::start(NAME)?;
        let url = server.ask(&Question::Url)?;
        Ok(Self { server, url })
    }

    /// Waits so long before each answer, from now on.
    pub(crate) fn set_latency(&mut self, latency: Duration) -> Result<()> {
        self.server.ask(&Question::Latency { micros: u64::try_from(latency.as_micros())? })
    }

    /// Makes a vault of notes, each of about so many bytes, 100 in a folder.
    pub(crate) fn add_notes(&mut self, vault: &str, notes: u64, bytes: u64) -> Result<()> {
        self.server.ask(&Question::Notes { vault: vault.to_owned(), notes, bytes })
    }

    /// Makes a vault of one file.
    pub(crate) fn add_file(&mut self, vault: &str, bytes: u64) -> Result<()> {
        self.server.ask(&Question::File { vault: vault.to_owned(), bytes })
    }

    /// Makes a vault of records without content.
    pub(crate) fn add_records(&mut self, vault: &str, records: u64) -> Result<()> {
        self.server.ask(&Question::Records { vault: vault.to_owned(), records })
    }

    /// Changes one note.
    pub(crate) fn edit(&mut self, vault: &str) -> Result<()> {
        self.server.ask(&Question::Edit { vault: vault.to_owned() })
    }

    /// What it was asked for since this was last asked.
    pub(crate) fn take_asked(&mut self) -> Result<Asked> {
        self.server.ask(&Question::Counts)
    }
}

/// Plays the part.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let emulator = Arc::new(runtime.block_on(Emulator::start(Config::default()))?);
    emulator.create_account(Account::new(EMAIL, PASSWORD))?;
    let mut vaults = Vaults { emulator, by_name: HashMap::new(), edits: 0 };
    child::serve(|question| vaults.answer(question))
}

struct Vaults {
    emulator: Arc<Emulator>,
    by_name: HashMap<String, TestVault>,
    edits: u32,
}

impl Vaults {
    fn answer(&mut self, question: Question) -> Result<Value> {
        match question {
            Question::Url => return Ok(json!(self.emulator.api_url())),
            Question::Latency { micros } => {
                self.emulator.configure(|config| config.latency = Duration::from_micros(micros));
            }
            Question::Notes { vault, notes, bytes } => {
                let vault = self.vault(vault);
                for note in 0..notes {
                    vault.put(&path(note), noise(varied(note, bytes), note), MTIME);
                }
            }
            Question::File { vault, bytes } => {
                self.vault(vault).put("large file.bin", noise(usize::try_from(bytes)?, 1), MTIME);
            }
            Question::Records { vault, records } => {
                let vault = self.vault(vault);
                for number in 0..records {
                    vault.push_record(record(vault, number), None);
                }
            }
            Question::Edit { vault } => {
                self.edits += 1;
                let (text, mtime) = (format!("# Edit {}\n", self.edits), MTIME + i64::from(self.edits));
                self.vault(vault).put(&path(0), text, mtime);
            }
            Question::Counts => {
                let counts = self.emulator.counters();
                let asked = asked(&counts.get());
                counts.reset();
                return Ok(serde_json::to_value(asked)?);
            }
        }
        Ok(Value::Null)
    }

    fn vault(&mut self, name: String) -> &mut TestVault {
        let emulator = &self.emulator;
        self.by_name
            .entry(name)
            .or_insert_with_key(|name| TestVault::create(emulator, EMAIL, name, EncryptionVersion::V3, VAULT_PASSWORD))
    }
}

fn asked(counts: &Counts) -> Asked {
    Asked {
        calls: counts.http.clone().into_iter().collect(),
        sockets: counts.connects_accepted,
        listings: counts.listings,
        pulls: counts.pulls,
        bytes: counts.bytes_received + counts.bytes_sent,
    }
}

/// A path as people have them: some 35 bytes.
fn path(number: u64) -> String {
    format!("Folder {:04}/A note of some kind {number:07}.md", number / FILES_IN_FOLDER)
}

/// From three to five quarters of `bytes`.
fn varied(number: u64, bytes: u64) -> usize {
    (bytes * 3 / 4 + number.wrapping_mul(7_919) % (bytes / 2).max(1)) as usize
}

/// A live file's record, with everything that a real one has. Only its content is nowhere.
fn record(vault: &TestVault, number: u64) -> Record {
    Record {
        path: vault.encode(&path(number)),
        hash: vault.encode(&ContentHash::of(&number.to_le_bytes()).to_string()),
        size: encrypted_size(4096),
        ctime: MTIME,
        mtime: MTIME,
        device: "A laptop".to_owned(),
        user: 1,
        ..Record::default()
    }
}
