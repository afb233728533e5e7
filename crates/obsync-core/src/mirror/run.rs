//! The steps of one run.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;
use obsync_proto::wire::Record;
use obsync_proto::{Cursor, VaultPath};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fetch::{Outcome, Pool};
use super::journal::Journal;
use super::lease::{LeaseGate, LeaseKeeper};
use super::{Failure, Mirror, Options, Report, RunError};
use crate::blob::{BlobError, BlobErrorKind, Stamp};
use crate::item::{FileItem, Item, ItemKind};
use crate::listing::{Items, Listing, oversized};
use crate::plan::{Copy, Delete, Fetch, Plan, plan};
use crate::progress::{Action, Progress};
use crate::reconcile::Survey;
use crate::remote::Connection;
use crate::state::{Entry, FileEntry, Head, Lease, Pending};
use crate::stop::Stop;

/// The most changes that are kept by name. With more, the cursor stays where it was, which serves as well.
const MOST_PENDING: usize = 500;

/// Copies that run at once.
const COPIES_AT_ONCE: usize = 16;

/// Files that are deleted by one call.
const DELETES_AT_ONCE: usize = 1000;

/// Times that a run lists the vault: once, and once more when the service no longer has what it listed.
const PASSES: u32 = 2;

/// Runs, and tells in the report how it ended.
pub(super) async fn run(mirror: &Mirror, options: &Options, stop: &Stop) -> Report {
    let mut report = Report::default();
    let result = if options.dry_run {
        rehearse(mirror, options, stop, &mut report).await
    } else {
        perform(mirror, options, stop, &mut report).await
    };
    report.error = result.err();
    report
}

/// Finds out what would be done.
async fn rehearse(mirror: &Mirror, options: &Options, stop: &Stop, report: &mut Report) -> Result<(), RunError> {
    let head = mirror.state.head(&mirror.id()).await?;
    let mut scope = Scope::of(head.as_ref(), mirror, options);
    report.complete = scope.compares_destination;
    let head = head.unwrap_or_default();
    report.cursor = head.cursor;
    let mut listing = loop {
        let mut seed = Listing::new(&options.filter);
        scope.seed(&mut seed, &head, mirror);
        let Some((listing, _)) = list(mirror, options, stop, scope.cursor, seed).await? else {
            report.incomplete = true;
            return Ok(());
        };
        if listing.cursor >= scope.cursor {
            break listing;
        }
        // The vault's history was begun anew.
        scope = Scope { cursor: Cursor::START, ..scope };
    };
    let refused = refuse(mirror, scope, &mut listing).await?;
    let survey = survey(mirror, stop, scope, listing.items).await?;
    let Some(survey) = survey.filter(|survey| !survey.cut_short) else {
        report.incomplete = true;
        return Ok(());
    };
    let files = survey.corrected_files().unwrap_or(head.files);
    let plan = plan(survey.items, &survey.known, files, options.rules);
    report.failed = refused.into_iter().map(|f| f.failure).chain(oversized(&listing.oversized)).collect();
    if !options.rules.keep_deleted {
        let failed = |(path, error): (VaultPath, BlobError)| Failure { path: path.to_string(), error: error.message };
        report.failed.extend(survey.unread.into_iter().map(failed));
    }
    tell_plan(mirror, &plan, report);
    report.unchanged = plan.unchanged(files, &survey.known);
    Ok(())
}

/// Tells and counts what a plan would do.
fn tell_plan(mirror: &Mirror, plan: &Plan, report: &mut Report) {
    let size = plan.size();
    mirror.observer.on(Progress::Planned(&size));
    let tell = |action| mirror.observer.on(Progress::Done(action));
    plan.clears.iter().for_each(|d| tell(Action::Delete { path: &d.path }));
    plan.folders.iter().for_each(|path| tell(Action::Folder { path }));
    plan.copies.iter().for_each(|c| tell(Action::Copy { from: &c.from, to: &c.to.path }));
    plan.fetches.iter().for_each(|f| tell(Action::Fetch { path: &f.path, size: f.file.size() }));
    plan.deletes.iter().for_each(|d| tell(Action::Delete { path: &d.path }));
    (report.downloaded, report.copied, report.deleted) = (size.fetches, size.copies, size.deletes);
    report.bytes = size.fetch_bytes;
    report.guarded = plan.guarded;
}

/// Does it.
async fn perform(mirror: &Mirror, options: &Options, stop: &Stop, report: &mut Report) -> Result<(), RunError> {
    let before = Instant::now();
    let (lease, head) = mirror.state.lock(&mirror.id(), &options.holder, options.lease_ttl).await?;
    let keeper = LeaseKeeper::start(mirror.state.clone(), lease.clone(), before);
    let scope = Scope::of(head.as_ref(), mirror, options);
    report.complete = scope.compares_destination;
    let leftovers = head.as_ref().is_none_or(|head| head.unfinished);
    let head = Head { vault_name: mirror.vault_name.clone(), ..head.unwrap_or_default() };
    (report.cursor, report.succeeded_at) = (head.cursor, head.succeeded_at);
    let mut run = Run {
        mirror,
        options,
        stop,
        gate: keeper.gate(),
        lease,
        journal: Journal::new(head, options.commit_every),
        report,
        failures: Vec::new(),
        held: false,
        unsettled: false,
        unsure: HashSet::new(),
        leftovers,
    };
    if scope.is_whole_vault() {
        run.journal.begin_anew(options.filter.canonical(), mirror.keys.fingerprint());
    }
    let result = run.passes(scope).await;
    let ended = match result {
        Ok(cursor) => run.finish(cursor).await,
        Err(error) => run.give_up(error).await,
    };
    drop(keeper);
    ended
}

/// How much of the vault and the destination a run looks at.
#[derive(Clone, Copy)]
struct Scope {
    /// List from here.
    cursor: Cursor,
    /// Compare with a listing of the destination too.
    compares_destination: bool,
}

impl Scope {
    /// Everything where it is asked for, nothing is known, or a run died in the midst of changing the destination; the
    /// whole vault where the filter is another than last time, so that what it newly lets through is fetched, or the
    /// vault was encrypted anew, which may have cost it the records of what was deleted; otherwise what is new.
    fn of(head: Option<&Head>, mirror: &Mirror, options: &Options) -> Self {
        let compares_destination = options.complete || head.is_none_or(|head| head.unfinished);
        let is_known =
            |head: &Head| head.filter == options.filter.canonical() && head.keys == mirror.keys.fingerprint();
        let cursor = match head {
            Some(head) if !compares_destination && is_known(head) => head.cursor,
            _ => Cursor::START,
        };
        Self { cursor, compares_destination }
    }

    fn is_whole_vault(self) -> bool {
        self.cursor == Cursor::START
    }

    /// Puts in what earlier runs left undone. A listing of the whole vault has it anyway.
    fn seed(self, listing: &mut Listing, head: &Head, mirror: &Mirror) {
        if !self.is_whole_vault() {
            head.pending.iter().for_each(|pending| listing.add(pending.record.clone(), &mirror.keys.strings));
        }
    }
}

/// Lists the vault from `cursor` on top of `seed`, on a fresh connection that stays open; `None` when it is time to
/// stop.
async fn list(
    mirror: &Mirror,
    options: &Options,
    stop: &Stop,
    cursor: Cursor,
    seed: Listing,
) -> Result<Option<(Listing, Box<dyn Connection>)>, RunError> {
    let mut listing = seed;
    let reading = listing.open(mirror, cursor, options);
    let Some(connection) = stop.or(reading).await.transpose()? else { return Ok(None) };
    Ok(Some((listing, connection)))
}

/// `None`: the time to stop came first.
async fn survey(mirror: &Mirror, stop: &Stop, scope: Scope, items: Items) -> Result<Option<Survey>, RunError> {
    let (state, id) = (mirror.state.as_ref(), mirror.id());
    if scope.compares_destination {
        Survey::of_vault_and_destination(items, state, &id, mirror.blobs.as_ref(), stop).await
    } else if scope.is_whole_vault() {
        stop.or(Survey::of_vault(items, state, &id)).await.transpose()
    } else {
        stop.or(Survey::of_changes(items, state, &id)).await.transpose()
    }
}

/// A failure, and the record that is to be tried again.
struct Noted {
    failure: Failure,
    record: Record,
}

impl Noted {
    fn to_pending(&self) -> Pending {
        let Failure { path, error } = self.failure.clone();
        Pending { name: path, record: self.record.clone(), error }
    }
}

/// Takes out of a listing what cannot be applied: records that cannot be read, paths that the destination cannot
/// hold, files that have something below them.
async fn refuse(mirror: &Mirror, scope: Scope, listing: &mut Listing) -> Result<Vec<Noted>, RunError> {
    let noted = |name: String, error: String, record: Record| Noted { failure: Failure { path: name, error }, record };
    let mut refused: Vec<Noted> = std::mem::take(&mut listing.refused)
        .into_values()
        .map(|(record, refused)| noted(refused.name, refused.reason.to_string(), record))
        .collect();
    let mut refuse = |path: &VaultPath, item: &Item, error: String| {
        refused.push(noted(path.to_string(), error, record(mirror, path, item)));
    };
    listing.items.retain(|path, item| {
        let fit = if item.is_live() { mirror.blobs.check(path) } else { Ok(()) };
        fit.map_err(|error| refuse(path, item, error.to_string())).is_ok()
    });
    if mirror.blobs.keeps_folders() {
        let live = listing.items.iter().filter(|(_, item)| item.is_live());
        let folders: HashSet<VaultPath> = live.flat_map(|(path, _)| path.ancestors()).collect();
        for (path, item) in files_among(mirror, scope, &folders, &listing.items).await? {
            refuse(&path, &item, "refused: the vault also has a folder of this name, with something in it".to_owned());
            listing.items.insert(path, Item { uid: item.uid, kind: ItemKind::Deleted });
        }
    }
    for noted in &refused {
        mirror.observer.on(Progress::Failed { path: &noted.failure.path, error: &noted.failure.error });
    }
    Ok(refused)
}

/// Files that are in the way of a folder: a client that replaced a file by a folder may never have deleted the file's
/// record. They are among the records listed or, of those that were not, in the mirror.
async fn files_among(
    mirror: &Mirror,
    scope: Scope,
    folders: &HashSet<VaultPath>,
    items: &Items,
) -> Result<Vec<(VaultPath, Item)>, RunError> {
    let is_file = |item: &&Item| matches!(item.kind, ItemKind::File(_));
    let listed = |path: &VaultPath| Some((path.clone(), items.get(path).filter(is_file)?.clone()));
    let mut files: Vec<(VaultPath, Item)> = folders.iter().filter_map(listed).collect();
    let unlisted: Vec<VaultPath> = folders.iter().filter(|path| !items.contains_key(path.as_str())).cloned().collect();
    if !scope.is_whole_vault() && !unlisted.is_empty() {
        for (path, entry) in mirror.state.entries(&mirror.id(), &unlisted).await? {
            if let Entry::File(file) = entry {
                files.push((path, Item { uid: file.uid, kind: ItemKind::File(FileItem::of_entry(&file)) }));
            }
        }
    }
    Ok(files)
}

/// The record that an item came from, as far as a later run needs it.
fn record(mirror: &Mirror, path: &VaultPath, item: &Item) -> Record {
    let strings = &mirror.keys.strings;
    let mut record = Record { uid: item.uid, path: strings.encode(path), ..Record::default() };
    match &item.kind {
        ItemKind::File(file) => {
            record.hash = file.hash.map(|hash| strings.encode(&hash.to_string())).unwrap_or_default();
            (record.size, record.mtime, record.ctime) = (file.encrypted_size, file.mtime, file.ctime);
        }
        ItemKind::Folder => record.folder = true,
        ItemKind::Deleted | ItemKind::Unreadable => record.deleted = true,
    }
    record
}

/// What a run carries from step to step.
struct Run<'a> {
    mirror: &'a Mirror,
    options: &'a Options,
    stop: &'a Stop,
    gate: LeaseGate,
    lease: Lease,
    journal: Journal,
    report: &'a mut Report,
    failures: Vec<Noted>,
    /// Something was left undone without a note of its name: the cursor must stay.
    held: bool,
    /// Something was begun at the destination that no note was taken of.
    unsettled: bool,
    /// Paths at the destination that are as they were or as they were to be: the call failed that was to change them.
    unsure: HashSet<VaultPath>,
    /// An earlier run may have left unfinished things at the destination.
    leftovers: bool,
}

impl Run<'_> {
    /// Lists and applies, and does so once more for what the service no longer had; gives the cursor reached.
    async fn passes(&mut self, mut scope: Scope) -> Result<Cursor, RunError> {
        let mut listing = Listing::new(&self.options.filter);
        scope.seed(&mut listing, self.journal.head(), self.mirror);
        let mut pass = 1;
        loop {
            let listed = list(self.mirror, self.options, self.stop, scope.cursor, listing).await?;
            let Some((mut listed, connection)) = listed else {
                self.report.incomplete = true;
                return Ok(scope.cursor);
            };
            let cursor = listed.cursor;
            if cursor < scope.cursor {
                // The vault's history was begun anew: what is new since the old cursor means nothing.
                self.journal.begin_anew(self.options.filter.canonical(), self.mirror.keys.fingerprint());
                scope = Scope { cursor: Cursor::START, ..scope };
                listing = Listing::new(&self.options.filter);
                continue;
            }
            let refused = refuse(self.mirror, scope, &mut listed).await?;
            // What an earlier pass failed at, and this one looks at anew.
            self.failures.retain(|noted| !listed.items.contains_key(noted.failure.path.as_str()));
            self.failures.extend(refused);
            if !listed.oversized.is_empty() {
                self.held = true;
                self.report.failed.extend(oversized(&listed.oversized));
            }
            let gone = self.pass(scope, listed.items, connection, cursor).await?;
            if gone.is_empty() || self.report.incomplete {
                return Ok(cursor);
            }
            if pass == PASSES {
                gone.iter()
                    .for_each(|fetch| self.fail(fetch, "the service no longer has this version, nor a newer one"));
                return Ok(cursor);
            }
            pass += 1;
            // The next pass asks the state what there is.
            self.journal.commit(self.mirror, &self.lease).await?;
            scope = Scope { cursor, compares_destination: false };
            listing = Listing::new(&self.options.filter);
            for fetch in gone {
                listing.add_item(fetch.path, Item { uid: fetch.uid, kind: ItemKind::File(fetch.file) });
            }
        }
    }

    /// Brings the mirror up to one listing; gives what the service no longer had.
    async fn pass(
        &mut self,
        scope: Scope,
        items: Items,
        connection: Box<dyn Connection>,
        cursor: Cursor,
    ) -> Result<Vec<Fetch>, RunError> {
        let Some(survey) = survey(self.mirror, self.stop, scope, items).await? else {
            self.report.incomplete = true;
            return Ok(Vec::new());
        };
        let Survey { items, mut known, corrections, unread, files, cut_short } = survey;
        if let Some(files) = files {
            self.journal.set_files(files);
        }
        for (path, was, is) in corrections {
            self.journal.note(path, was.as_ref(), is);
        }
        if cut_short {
            // What was found out is recorded, and the next run looks at the rest.
            (self.report.incomplete, self.unsettled) = (true, true);
            return Ok(Vec::new());
        }
        for (path, error) in unread {
            if self.options.rules.keep_deleted {
                tracing::warn!(%path, %error, "not recognised");
                continue;
            }
            self.doubt(&path, &error);
            self.fail_deletion(&path, error.message);
        }
        let mut plan = plan(items, &known, self.journal.files(), self.options.rules);
        if self.held {
            // Records that nobody could read: what seems to be gone may be among them.
            plan.spare_deletions();
        }
        self.mirror.observer.on(Progress::Planned(&plan.size()));
        if plan.is_empty() {
            if self.leftovers {
                self.clean().await?;
            }
            return Ok(Vec::new());
        }
        self.apply(plan, &mut known, connection, cursor).await
    }

    /// Removes what a run that died has left unfinished: also one that did not get as far as to record anything.
    async fn clean(&mut self) -> Result<(), RunError> {
        self.gate.check()?;
        self.mirror.blobs.clean().await?;
        self.leftovers = false;
        Ok(())
    }

    /// Carries out a plan, step by step.
    async fn apply(
        &mut self,
        plan: Plan,
        known: &mut HashMap<VaultPath, Entry>,
        connection: Box<dyn Connection>,
        cursor: Cursor,
    ) -> Result<Vec<Fetch>, RunError> {
        self.clean().await?;
        self.journal.begin(self.mirror, &self.lease).await?;
        if plan.guarded.is_some() {
            self.held = true;
            self.report.guarded = plan.guarded;
        }
        for path in plan.forgets {
            let was = known.get(&path);
            self.journal.note(path, was, None);
        }
        self.unsettled = true;
        self.delete(&plan.clears, known, &plan.folders).await?;
        // What comes in their place is new.
        plan.clears.iter().for_each(|delete| _ = known.remove(&delete.path));
        self.make_folders(&plan.folders, known).await?;
        let mut fetches = plan.fetches;
        fetches.extend(self.copy(plan.copies, known).await?);
        self.unsettled = false;
        fetches.sort_by_cached_key(|fetch| self.mirror.state.place(&fetch.path));
        let gone = self.fetch(fetches, known, connection, cursor).await?;
        let unsettled = std::mem::replace(&mut self.unsettled, true);
        self.delete(&plan.deletes, known, &plan.folders).await?;
        self.unsettled = unsettled;
        Ok(gone)
    }

    /// Whether it is time to stop; then the run is incomplete.
    fn stops(&mut self) -> bool {
        self.report.incomplete |= self.stop.has_come();
        self.report.incomplete
    }

    fn fail(&mut self, fetch: &Fetch, error: impl Into<String>) {
        let item = Item { uid: fetch.uid, kind: ItemKind::File(fetch.file) };
        self.fail_item(&fetch.path, &item, error.into());
    }

    fn fail_item(&mut self, path: &VaultPath, item: &Item, error: String) {
        self.mirror.observer.on(Progress::Failed { path, error: &error });
        let record = record(self.mirror, path, item);
        self.failures.push(Noted { failure: Failure { path: path.to_string(), error }, record });
    }

    fn fail_deletion(&mut self, path: &VaultPath, error: String) {
        let item = Item { uid: self.cursor_uid(), kind: ItemKind::Deleted };
        self.fail_item(path, &item, error);
    }

    /// Takes note that a path may have been changed although `error` came back.
    fn doubt(&mut self, path: &VaultPath, error: &BlobError) {
        if error.leaves_doubt() {
            self.unsure.insert(path.clone());
        }
    }

    /// Takes back a failure to clear `path`, because of what came in its place; whether there was one. Were it kept by
    /// name, the next run would delete what the vault has there now.
    fn take_back(&mut self, path: &VaultPath) -> bool {
        let before = self.failures.len();
        self.failures.retain(|noted| noted.failure.path != path.as_str());
        self.failures.len() < before
    }

    fn done(&self, action: Action<'_>) {
        self.mirror.observer.on(Progress::Done(action));
    }

    async fn make_folders(&mut self, folders: &[VaultPath], known: &HashMap<VaultPath, Entry>) -> Result<(), RunError> {
        for path in folders {
            if self.stops() {
                break;
            }
            if self.take_back(path) {
                let item = Item { uid: self.cursor_uid(), kind: ItemKind::Folder };
                self.fail_item(path, &item, "the file that is there cannot be removed".to_owned());
                continue;
            }
            self.gate.check()?;
            match self.mirror.blobs.create_folder(path).await {
                Ok(()) => {
                    self.journal.note(path.clone(), known.get(path), Some(Entry::Folder));
                    self.done(Action::Folder { path });
                }
                Err(error) => {
                    self.doubt(path, &error);
                    let item = Item { uid: self.cursor_uid(), kind: ItemKind::Folder };
                    self.fail_item(path, &item, usable(error)?);
                }
            }
            self.journal.commit_if_due(self.mirror, &self.lease).await?;
        }
        Ok(())
    }

    /// A number for a record that is made up: it gives way to every real one that is new.
    fn cursor_uid(&self) -> obsync_proto::Uid {
        obsync_proto::Uid(self.journal.head().cursor.0)
    }

    /// Copies within the destination; gives what has to be fetched after all.
    async fn copy(&mut self, copies: Vec<Copy>, known: &HashMap<VaultPath, Entry>) -> Result<Vec<Fetch>, RunError> {
        let (mirror, gate, stop) = (self.mirror, self.gate.clone(), self.stop);
        let stopped = std::pin::pin!(stop.wait());
        let mut results = futures_util::stream::iter(copies)
            .take_until(stopped)
            .map(|copy| {
                let gate = gate.clone();
                async move { (copy_one(mirror, &gate, &copy).await, copy) }
            })
            .buffer_unordered(COPIES_AT_ONCE);
        let mut fetches = Vec::new();
        while let Some((result, copy)) = results.next().await {
            match result {
                Ok(stamp) => self.copied(&copy, stamp, known),
                Err(RunError::Destination(error)) if error.kind == BlobErrorKind::Unusable => return Err(error.into()),
                Err(RunError::Destination(error)) => {
                    tracing::debug!(from = %copy.from, to = %copy.to.path, %error, "fetching instead of copying");
                    self.doubt(&copy.to.path, &error);
                    fetches.push(copy.to);
                }
                Err(error) => return Err(error),
            }
            self.journal.commit_if_due(self.mirror, &self.lease).await?;
        }
        self.stops();
        Ok(fetches)
    }

    fn copied(&mut self, copy: &Copy, stamp: Stamp, known: &HashMap<VaultPath, Entry>) {
        let Fetch { path, uid, file } = &copy.to;
        let FileEntry { hash, size, .. } = copy.source;
        let entry = FileEntry { uid: *uid, hash, size, mtime: file.mtime, ctime: file.ctime, stamp };
        self.take_back(path);
        self.report.copied += 1;
        self.done(Action::Copy { from: &copy.from, to: path });
        self.journal.note(path.clone(), known.get(path), Some(Entry::File(entry)));
    }

    /// Fetches; gives what the service no longer had.
    async fn fetch(
        &mut self,
        fetches: Vec<Fetch>,
        known: &HashMap<VaultPath, Entry>,
        connection: Box<dyn Connection>,
        cursor: Cursor,
    ) -> Result<Vec<Fetch>, RunError> {
        if fetches.is_empty() || self.stops() {
            return Ok(Vec::new());
        }
        let given = fetches.len();
        let (outcomes, received) = mpsc::unbounded_channel();
        let pool =
            Pool::start(self.mirror, self.options, self.gate.clone(), fetches, Some(connection), cursor, outcomes);
        // Also where this run is dropped: whatever the pool did then, nobody would take note of.
        let end = [&pool.drain, &pool.cut, &pool.leave].map(|token| token.clone().drop_guard());
        let result = self.follow(&pool, received, known).await;
        drop(end);
        let followed = result?;
        if followed.outcomes + pool.waiting() < given && !self.report.incomplete {
            // A task has panicked: the cursor must not pass its file.
            tracing::error!(given, outcomes = followed.outcomes, "files are unaccounted for");
            self.report.incomplete = true;
        }
        Ok(followed.gone)
    }

    /// Takes note of what the pool does until it is done or has to stop. What is being published when it stops is
    /// waited for, as long as the time allows.
    async fn follow(
        &mut self,
        pool: &Arc<Pool>,
        mut outcomes: mpsc::UnboundedReceiver<Outcome>,
        known: &HashMap<VaultPath, Entry>,
    ) -> Result<Followed, RunError> {
        let mut followed = Followed::default();
        self.unsettled = true;
        let (mut unreachable, mut fatal) = (None, None);
        // When to cut off what is in flight, and when to wait for nothing any more.
        let mut ends: Option<(Instant, Instant)> = None;
        loop {
            let (cut_at, leave_at) = ends.unwrap_or_else(|| (Instant::now(), Instant::now()));
            let outcome = tokio::select! {
                outcome = outcomes.recv() => outcome,
                () = tokio::time::sleep_until(self.journal.due()) => {
                    self.journal.commit(self.mirror, &self.lease).await?;
                    continue;
                }
                () = self.stop.wait(), if ends.is_none() => {
                    self.report.incomplete = true;
                    pool.drain.cancel();
                    let cut_at = Instant::now() + self.stop.grace;
                    ends = Some((cut_at, cut_at + self.stop.grace));
                    continue;
                }
                () = tokio::time::sleep_until(cut_at), if ends.is_some() && !pool.cut.is_cancelled() => {
                    pool.cut.cancel();
                    continue;
                }
                () = tokio::time::sleep_until(leave_at), if ends.is_some() => break,
            };
            match outcome {
                None => {
                    self.unsettled = false;
                    break;
                }
                Some(Outcome::Written(fetch, entry)) => self.fetched(fetch, entry, known),
                Some(Outcome::Failed(fetch, error)) => self.fail(&fetch, error),
                Some(Outcome::Gone(fetch)) => followed.gone.push(fetch),
                Some(Outcome::Unsure(path)) => {
                    self.unsure.insert(path);
                    continue;
                }
                Some(Outcome::Fatal(error)) => {
                    pool.drain.cancel();
                    pool.cut.cancel();
                    ends.get_or_insert((Instant::now(), Instant::now() + self.stop.grace));
                    fatal.get_or_insert(error);
                    continue;
                }
                Some(Outcome::Unreachable(error)) => {
                    unreachable = Some(error);
                    continue;
                }
            }
            followed.outcomes += 1;
            self.journal.commit_if_due(self.mirror, &self.lease).await?;
        }
        match (fatal, unreachable) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if pool.waiting() > 0 && !self.report.incomplete => Err(error.into()),
            _ => Ok(followed),
        }
    }

    fn fetched(&mut self, fetch: Fetch, entry: FileEntry, known: &HashMap<VaultPath, Entry>) {
        self.report.downloaded += 1;
        self.report.bytes += entry.size;
        self.done(Action::Fetch { path: &fetch.path, size: entry.size });
        self.take_back(&fetch.path);
        self.unsure.remove(&fetch.path);
        let was = known.get(&fetch.path);
        self.journal.note(fetch.path, was, Some(Entry::File(entry)));
    }

    /// Deletes files, then the folders among `deletes` and those that the files leave empty, and only then takes
    /// note: after a crash all of it is done again.
    async fn delete(
        &mut self,
        deletes: &[Delete],
        known: &HashMap<VaultPath, Entry>,
        wanted: &[VaultPath],
    ) -> Result<(), RunError> {
        let (folders, files): (Vec<&Delete>, Vec<&Delete>) = deletes.iter().partition(|delete| delete.folder);
        let mut removed = Vec::new();
        for chunk in files.chunks(DELETES_AT_ONCE) {
            if self.stops() {
                break;
            }
            self.gate.check()?;
            let paths: Vec<VaultPath> = chunk.iter().map(|delete| delete.path.clone()).collect();
            let results = self.mirror.blobs.delete(&paths).await;
            for (path, result) in paths.into_iter().zip(results) {
                match result {
                    Ok(()) => removed.push(path),
                    // What is there now is not obsync's: another program put a link or a folder in its place.
                    Err(error) if error.kind == BlobErrorKind::Unfit => removed.push(path),
                    Err(error) => {
                        self.doubt(&path, &error);
                        self.fail_deletion(&path, usable(error)?);
                    }
                }
            }
        }
        if self.stops() && self.mirror.blobs.keeps_folders() {
            // There is no time for the folders. Not noted: the next run deletes once more, and then looks at them; but if
            // the vault has the files again by then, it must not take them for being there.
            self.unsure.extend(removed);
            return Ok(());
        }
        let stuck = self.remove_folders(&folders, &removed, wanted).await?;
        // What lies in a folder that could not be removed stays recorded, so that the folder is tried again; but it is
        // gone.
        self.unsure.extend(stuck.keys().cloned());
        let why_stuck = |path: &VaultPath| {
            let around = || path.ancestors().find_map(|folder| stuck.get(&folder));
            stuck.get(path).or_else(around)
        };
        removed.retain(|path| why_stuck(path).is_none());
        for folder in folders.iter().filter(|folder| why_stuck(&folder.path).is_none()) {
            self.done(Action::Delete { path: &folder.path });
            self.journal.note(folder.path.clone(), known.get(&folder.path), None);
        }
        for path in folders.iter().chain(&files).map(|delete| &delete.path) {
            if let Some(why) = why_stuck(path) {
                self.fail_deletion(path, why.clone());
            }
        }
        for path in removed {
            self.report.deleted += 1;
            self.done(Action::Delete { path: &path });
            let was = known.get(&path);
            self.journal.note(path, was, None);
        }
        self.journal.commit_if_due(self.mirror, &self.lease).await
    }

    /// Removes, innermost first, the given folders and those around them and removed files that the vault does not have by
    /// themselves, as far as they are empty. Gives those that could not be removed, each with the reason.
    async fn remove_folders(
        &mut self,
        folders: &[&Delete],
        removed: &[VaultPath],
        wanted: &[VaultPath],
    ) -> Result<HashMap<VaultPath, String>, RunError> {
        let wanted: HashSet<&VaultPath> = wanted.iter().collect();
        let mut stuck = HashMap::new();
        if !self.mirror.blobs.keeps_folders() || (folders.is_empty() && removed.is_empty()) {
            return Ok(stuck);
        }
        let gone = removed.iter().chain(folders.iter().map(|delete| &delete.path));
        let mut around: HashSet<VaultPath> = gone.flat_map(VaultPath::ancestors).collect();
        around.retain(|path| !wanted.contains(path));
        let paths: Vec<VaultPath> = around.iter().cloned().collect();
        if !paths.is_empty() {
            let kept = self.mirror.state.entries(&self.mirror.id(), &paths).await?;
            around.retain(|path| !kept.contains_key(path));
        }
        let empty: BTreeSet<VaultPath> = around.into_iter().chain(folders.iter().map(|d| d.path.clone())).collect();
        for path in empty.iter().rev() {
            self.gate.check()?;
            if let Err(error) = self.mirror.blobs.remove_folder(path).await {
                let why = usable(error)?;
                tracing::warn!(%path, error = why, "a folder cannot be removed");
                stuck.insert(path.clone(), why);
            }
        }
        Ok(stuck)
    }

    /// Records the end of a run that got through, or was stopped.
    async fn finish(mut self, cursor: Cursor) -> Result<(), RunError> {
        let now = self.mirror.clock.unix_ms();
        let mut head = self.journal.head().clone();
        (head.ended_at, head.unfinished) = (now, self.is_unfinished());
        self.held |= self.report.incomplete || self.failures.len() > MOST_PENDING;
        let noted = std::mem::take(&mut self.failures);
        if !self.held {
            head.cursor = cursor;
            head.filter = self.options.filter.canonical().to_owned();
            head.pending = noted.iter().map(Noted::to_pending).collect();
        }
        self.take_failures(noted);
        if self.report.is_success() {
            head.succeeded_at = now;
        }
        self.report.succeeded_at = head.succeeded_at;
        self.report.cursor = head.cursor;
        self.report.unchanged = head.files.saturating_sub(self.report.downloaded + self.report.copied);
        self.journal.finish(self.mirror, self.lease, head).await
    }

    /// Whether the next run must not believe the state alone: this one left something in the air or in doubt, or did not
    /// get as far as to compare what an earlier one left.
    fn is_unfinished(&self) -> bool {
        self.unsettled || self.leftovers || !self.unsure.is_empty() || self.journal.is_broken()
    }

    /// Records what was done before an error, as far as that is possible.
    async fn give_up(mut self, error: RunError) -> Result<(), RunError> {
        let noted = std::mem::take(&mut self.failures);
        self.take_failures(noted);
        self.report.unchanged = self.journal.files().saturating_sub(self.report.downloaded + self.report.copied);
        let head = Head {
            ended_at: self.mirror.clock.unix_ms(),
            unfinished: self.is_unfinished(),
            ..self.journal.head().clone()
        };
        if let Err(second) = self.journal.finish(self.mirror, self.lease, head).await {
            tracing::warn!(error = %second, "what this run did could not be recorded; the next one compares everything");
        }
        Err(error)
    }

    fn take_failures(&mut self, noted: Vec<Noted>) {
        self.report.failed.extend(noted.into_iter().map(|noted| noted.failure));
        self.report.failed.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

/// What the fetch pool came to.
#[derive(Default)]
struct Followed {
    /// Files that something became of.
    outcomes: usize,
    /// Those of them that the service no longer had.
    gone: Vec<Fetch>,
}

async fn copy_one(mirror: &Mirror, gate: &LeaseGate, copy: &Copy) -> Result<Stamp, RunError> {
    gate.check()?;
    let meta = crate::blob::BlobMeta { hash: Some(copy.source.hash), size: copy.source.size, ..copy.to.file.meta() };
    Ok(mirror.blobs.copy(&copy.from, &copy.source.stamp, &copy.to.path, &meta).await?)
}

/// The text of a fault with one path; a fault of the whole destination ends the run.
fn usable(error: BlobError) -> Result<String, RunError> {
    if error.kind == BlobErrorKind::Unusable { Err(error.into()) } else { Ok(error.to_string()) }
}
