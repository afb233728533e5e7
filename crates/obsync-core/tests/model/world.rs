//! What the steps happen to: a vault, a destination, a state, all in memory, and runs of the engine in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use obsync_core::blob::BlobErrorKind;
use obsync_core::clock::Clock;
use obsync_core::filter::Filter;
use obsync_core::mirror::{Mirror, Options, Report};
use obsync_core::plan::Rules;
use obsync_core::progress::Unobserved;
use obsync_core::retry::RetryPolicy;
use obsync_core::state::{Entry, Head, MirrorId};
use obsync_core::stop::Stop;
use obsync_proto::VaultId;
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::fault::{Fault, FaultPlan, FaultyBlobs, FaultyRemote, FaultyState, Moment};
use obsync_testkit::keys::vault_keys;
use obsync_testkit::memory::{MemoryBlobs, MemoryState, MemoryVault, StoredFile};
use tokio::time::{Instant, sleep};

use crate::doubts::Doubts;
use crate::step::{Fate, How, Setup, Show, Step};
use crate::vault::{Vault, content};

/// How long a lease outlives its holder.
const LEASE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) vault: Vault,
    pub(crate) blobs: MemoryBlobs,
    pub(crate) state: MemoryState,
    pub(crate) bucket: bool,
    /// What others put into the destination, by path.
    pub(crate) foreign: BTreeMap<String, BTreeSet<u8>>,
    pub(crate) doubts: Doubts,
    /// Effects of runs that had no lease.
    pub(crate) trespasses: Arc<Mutex<Vec<String>>>,
    /// The last dry run, if nothing has happened since.
    pub(crate) rehearsed: Option<(How, Report)>,
    saved: Option<(Option<Head>, BTreeMap<String, Entry>)>,
    runs: u64,
    began: Instant,
}

/// What there is at one moment.
pub(crate) struct Look {
    pub(crate) files: BTreeMap<String, StoredFile>,
    pub(crate) folders: BTreeSet<String>,
    pub(crate) head: Option<Head>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) holder: Option<String>,
}

struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn unix_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX).saturating_add(1)
    }
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let service = MemoryVault::new(vault_keys("password", "salt", EncryptionVersion::V3));
        let service = if setup.lists_newest { service.listing_newest() } else { service };
        Self {
            vault: Vault::new(service, setup),
            blobs: if setup.bucket { MemoryBlobs::bucket() } else { MemoryBlobs::folder() },
            state: MemoryState::new(),
            bucket: setup.bucket,
            foreign: BTreeMap::new(),
            doubts: Doubts::default(),
            trespasses: Arc::default(),
            rehearsed: None,
            saved: None,
            runs: 0,
            began: Instant::now(),
        }
    }

    pub(crate) fn look(&self) -> Look {
        let id = self.id();
        Look {
            files: self.blobs.stored(),
            folders: self.blobs.folders(),
            head: self.state.head_of(&id),
            entries: self.state.entries_of(&id),
            holder: self.state.holder_of(&id),
        }
    }

    /// Makes a step, and says what is wrong after it.
    pub(crate) async fn take(&mut self, step: &Step) -> Result<(), String> {
        if !matches!(step, Step::Run(_)) {
            self.rehearsed = None;
        }
        match step {
            Step::Put { path, content, mtime } => self.vault.put(path, *content, *mtime),
            Step::Folder { path } => self.vault.folder(path),
            Step::Delete { path } => self.vault.delete(path),
            Step::Rename { from, to } => self.vault.rename(from, to),
            Step::Swap { one, other } => self.vault.swap(one, other),
            Step::Fill { files } => (0..*files).for_each(|n| self.vault.put(&many(n), 1 + n % 5, 1)),
            Step::Thin { files } => (0..*files).for_each(|n| self.vault.delete(&many(n))),
            Step::StalePut { path, content, mtime } => self.vault.stale_put(path, *content, *mtime),
            Step::StaleFolder { path } => self.vault.stale_folder(path),
            Step::StaleDelete { path } => self.vault.stale_delete(path),
            Step::LoseContent { path } => self.vault.lose_content(path),
            Step::Run(how) => return self.run(how).await,
            Step::TwoRuns { first, second, after } => return self.two_runs(first, second, *after).await,
            Step::Wait { seconds } => sleep(Duration::from_secs(*seconds)).await,
            Step::Overwrite { path, content } => self.overwrite(path, *content),
            Step::Remove { path } => self.remove(path),
            Step::RemoveEverything => {
                self.doubts.tampered.extend(self.blobs.files().into_keys().chain(self.blobs.folders()));
                self.blobs.remove_all();
            }
            step => self.change_state(step),
        }
        Ok(())
    }

    fn overwrite(&mut self, path: &str, number: u8) {
        let (files, folders) = (self.blobs.files(), self.blobs.folders());
        let is_blocked = path.match_indices('/').any(|(at, _)| files.contains_key(&path[..at]));
        if !self.bucket && (is_blocked || folders.contains(path)) {
            return;
        }
        self.blobs.put(path, content(number));
        self.foreign.entry(path.to_owned()).or_default().insert(number);
        let made = self.blobs.folders();
        self.doubts.tampered.extend(made.difference(&folders).cloned().chain([path.to_owned()]));
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        let is_full = self.blobs.tree().folders.iter().chain(self.blobs.files().keys()).any(|p| p.starts_with(&below));
        if (self.bucket || !is_full) && self.blobs.remove(path) {
            self.doubts.tampered.insert(path.to_owned());
        }
    }

    fn change_state(&mut self, step: &Step) {
        let id = self.id();
        let entries = self.state.entries_of(&id);
        let mut n = 0;
        match step {
            Step::LoseState => self.state.lose_everything(),
            Step::LoseHead => self.state.put_head(&id, None),
            Step::LoseEntries { every } => {
                let lost: BTreeSet<String> = entries.into_keys().step_by(*every).collect();
                n = self.state.lose_entries(&id, |path, _| lost.contains(path.as_str()));
            }
            Step::SpoilEntries { every } => {
                for (path, entry) in entries.into_iter().step_by(*every) {
                    let Entry::File(mut file) = entry else { continue };
                    file.stamp.0 = "of another version".into();
                    file.hash.0[0] ^= 1;
                    self.state.put_entry(&id, &path, Entry::File(file));
                    n += 1;
                }
            }
            Step::CursorAhead => {
                if let Some(mut head) = self.state.head_of(&id) {
                    head.cursor.0 = self.vault.service.last().0 + 1_000;
                    self.state.put_head(&id, Some(head));
                }
            }
            Step::SaveState => self.saved = Some((self.state.head_of(&id), entries)),
            Step::RestoreState => {
                let Some((head, entries)) = self.saved.clone() else { return };
                self.state.lose_entries(&id, |_, _| true);
                entries.into_iter().for_each(|(path, entry)| self.state.put_entry(&id, &path, entry));
                self.state.put_head(&id, head);
                n = 1;
            }
            _ => {}
        }
        self.doubts.damaged |= n > 0;
        self.doubts.folders = true;
    }

    async fn run(&mut self, how: &How) -> Result<(), String> {
        let before = self.begin();
        let mut run = Box::pin(self.launch(how));
        let report = if let Fate::VaultChanges { after, path, content } = how.fate {
            let report = tokio::select! {
                biased;
                report = &mut run => Some(report),
                () = sleep(Duration::from_millis(after)) => None,
            };
            match content {
                Some(content) => self.vault.put(path, content, 9),
                None => self.vault.delete(path),
            }
            match report {
                Some(report) => report,
                None => run.await,
            }
        } else {
            run.await
        };
        self.judge(how, &before, report.as_ref())
    }

    async fn two_runs(&mut self, first: &How, second: &How, after: u64) -> Result<(), String> {
        let before = self.begin();
        let (one, other) = (self.launch(first), self.launch(second));
        let later = async {
            sleep(Duration::from_millis(after)).await;
            other.await
        };
        let (one, other) = tokio::join!(one, later);
        self.judge_two(&before, &[(first, one), (second, other)])
    }

    /// What there is before a run, from which on is counted.
    fn begin(&self) -> Look {
        self.vault.service.forget_pulls();
        self.blobs.reset_counts();
        self.look()
    }

    /// A run, as a process of its own; `None` if it did not come to its end.
    fn launch(&mut self, how: &How) -> impl Future<Output = Option<Report>> + use<> {
        self.runs += 1;
        let holder = format!("run {}", self.runs);
        let plan = self.faults(how, &holder);
        let mirror = self.mirror(&plan);
        let options = options(how, holder);
        let fate = how.fate.clone();
        async move {
            let mut stop = Stop::default();
            match fate {
                Fate::Stopped { after } => {
                    stop.deadline = Some(Instant::now() + Duration::from_millis(after));
                    Some(mirror.sync(&options, &stop).await)
                }
                Fate::Dropped { after } => {
                    let run = mirror.sync(&options, &stop);
                    let report = tokio::time::timeout(Duration::from_millis(after), run).await.ok();
                    // Its tasks see at their next turn that nobody waits for them.
                    sleep(Duration::from_millis(1)).await;
                    report
                }
                _ => tokio::select! {
                    biased;
                    () = plan.died() => None,
                    report = mirror.sync(&options, &stop) => Some(report),
                },
            }
        }
    }

    fn faults(&self, how: &How, holder: &str) -> FaultPlan {
        let plan = FaultPlan::new();
        plan.delay(Duration::from_millis(how.pace));
        self.watch(&plan, holder);
        let broken = Fault::fail(Moment::Before);
        match how.fate {
            Fate::Killed { effect, moment } => plan.at(effect, Fault::die(moment)),
            Fate::Fails { effect, moment } => plan.at(effect, Fault::fail(moment)),
            Fate::Unusable { effect } => {
                let unusable = Fault::fail_as(BlobErrorKind::Unusable, Moment::Before);
                (effect..effect + 1_000).for_each(|n| plan.at(n, unusable));
            }
            Fate::Cut { at } => plan.when(nth_word(move |n| n == at), broken),
            Fate::Unreachable { from } => plan.when(nth_word(move |n| n >= from), broken),
            Fate::LosesLease => plan.when(|call| call.name == "state.renew", broken),
            _ => {}
        }
        plan
    }

    /// Promise 6: whoever changes the destination holds the lease.
    fn watch(&self, plan: &FaultPlan, holder: &str) {
        const CHANGES: [&str; 6] =
            ["blob.commit", "blob.copy", "blob.delete", "blob.create_folder", "blob.remove_folder", "blob.clean"];
        let (state, id, holder) = (self.state.clone(), self.id(), holder.to_owned());
        let trespasses = self.trespasses.clone();
        let look = move |call: &obsync_testkit::fault::Call| {
            if CHANGES.contains(&call.name) && state.holder_of(&id).as_ref() != Some(&holder) {
                let mut trespasses = trespasses.lock().unwrap_or_else(PoisonError::into_inner);
                trespasses.push(format!("{holder} without the lease: {call}"));
            }
            false
        };
        plan.when(look, Fault::fail(Moment::Before));
    }

    fn mirror(&self, plan: &FaultPlan) -> Mirror {
        Mirror {
            vault: vault_id(),
            vault_name: "Notes".to_owned(),
            keys: self.vault.service.keys(),
            remote: Arc::new(FaultyRemote::new(Arc::new(self.vault.service.clone()), plan.clone())),
            blobs: Arc::new(FaultyBlobs::new(Arc::new(self.blobs.clone()), plan.clone())),
            state: Arc::new(FaultyState::new(Arc::new(self.state.clone()), plan.clone())),
            clock: Arc::new(VirtualClock(self.began)),
            observer: Arc::new(Unobserved),
        }
    }

    pub(crate) fn id(&self) -> MirrorId {
        let blobs: &dyn obsync_core::blob::BlobStore = &self.blobs;
        MirrorId { vault: vault_id(), destination: blobs.location() }
    }
}

fn many(n: u8) -> String {
    format!("many/{n}.txt")
}

fn vault_id() -> VaultId {
    "vault".parse().expect("an id")
}

/// Names those calls to the service whose number `which` names.
fn nth_word(which: impl Fn(u64) -> bool + Send + Sync) -> impl Fn(&obsync_testkit::fault::Call) -> bool + Send + Sync {
    let words = AtomicU64::new(0);
    move |call| call.name.starts_with("remote.") && which(words.fetch_add(1, Ordering::Relaxed))
}

fn options(how: &How, holder: String) -> Options {
    Options {
        complete: how.complete,
        dry_run: how.dry_run,
        filter: filter(how.filter),
        rules: Rules { keep_deleted: how.keep_deleted, max_delete: how.max_delete },
        jobs: 2,
        in_flight: 32 << 20,
        max_listing: 1 << 30,
        retry: RetryPolicy::default(),
        holder,
        lease_ttl: LEASE,
        // With the usual 3 s, a run in which calls take 1 or 20 ms would commit at its end alone.
        commit_every: if how.pace == 5_000 { Duration::from_secs(3) } else { Duration::from_millis(1) },
    }
}

pub(crate) fn filter(show: Show) -> Filter {
    let (include, exclude) = show.globs();
    let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
    Filter::new(&owned(include), &owned(exclude)).expect("globs")
}
