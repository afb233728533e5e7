//! What must hold after a run. Each check repeats the promise of SEMANTICS.md that it holds the engine to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use obsync_core::mirror::{Report, RunError};
use obsync_core::plan::MaxDelete;
use obsync_core::state::{Entry, Head, StateError};
use obsync_proto::ContentHash;

use crate::step::{Fate, How, Show};
use crate::vault::content;
use crate::wanted::Wanted;
use crate::world::{Look, World, filter};

type Verdict = Result<(), String>;

fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn is_held(report: Option<&Report>) -> bool {
    matches!(report, Some(Report { error: Some(RunError::State(StateError::Held { .. })), .. }))
}

fn failed(report: &Report) -> BTreeSet<&str> {
    report.failed.iter().map(|failure| failure.path.as_str()).collect()
}

impl World {
    /// After one run; `None`: it did not come to its end.
    pub(crate) fn judge(&mut self, how: &How, before: &Look, report: Option<&Report>) -> Verdict {
        let now = self.look();
        // Where a copy fails, what was to be copied is fetched.
        let may_fetch_anew = matches!(how.fate, Fate::Fails { .. });
        let result = if may_fetch_anew { Ok(()) } else { self.nothing_is_fetched_twice(before) };
        let result = result.and_then(|()| self.judge_run(how, before, &now, report));
        result.map_err(|wrong| format!("{wrong}\n  after {how:?}\n  with {report:?}"))
    }

    fn judge_run(&mut self, how: &How, before: &Look, now: &Look, report: Option<&Report>) -> Verdict {
        let wanted = self.wanted(how.filter);
        self.invariants(how.keep_deleted, before, now)?;
        let idle = how.dry_run || is_held(report);
        if idle {
            demand(before.files == now.files && before.folders == now.folders, || "it changed the destination".into())?;
            demand(before.head == now.head && before.entries == now.entries, || "it changed the state".into())?;
        }
        let undisturbed = how.fate == Fate::Undisturbed;
        if is_held(report) {
            return demand(before.holder.is_some(), || "nobody holds the lease".into());
        }
        if let Some(report) = report.filter(|_| undisturbed) {
            demand(report.error.is_none(), || "an undisturbed run ended with an error".into())?;
            demand(!report.incomplete, || "an undisturbed run was not complete".into())?;
        }
        if how.dry_run {
            self.rehearsed = report.filter(|_| undisturbed).map(|report| (how.clone(), report.clone()));
            return Ok(());
        }
        if let Some(report) = report {
            let follows_all = report.cursor.0 == self.vault.service.last().0;
            if undisturbed {
                self.guard_is_right(how, &wanted, before, now, report)?;
                self.failures_are_right(how, &wanted, before, report)?;
                self.as_rehearsed(how, report)?;
            }
            if undisturbed || (report.is_success() && follows_all) {
                self.is_exact(how, &wanted, before, now, report)?;
            }
            if undisturbed && report.is_success() {
                demand(follows_all, || "the cursor is not where the vault is".into())?;
                self.counts_are_true(before, now, report)?;
                self.costs_what_changed(how, before, report)?;
            }
        }
        self.rehearsed = None;
        self.learn(how, report, before, now);
        Ok(())
    }

    /// After two runs that overlapped, or followed one another.
    pub(crate) fn judge_two(&mut self, before: &Look, runs: &[(&How, Option<Report>); 2]) -> Verdict {
        let now = self.look();
        let ran: Vec<_> = runs.iter().filter(|(_, report)| !is_held(report.as_ref())).collect();
        let result = match ran[..] {
            [(how, report)] if how.fate == Fate::Undisturbed && !how.dry_run => {
                self.judge_run(how, before, &now, report.as_ref())
            }
            _ => {
                let result = self.invariants(ran.iter().any(|(how, _)| how.keep_deleted), before, &now);
                let mut kept = BTreeSet::new();
                for (how, _) in ran.into_iter().filter(|(how, _)| !how.dry_run) {
                    self.learn(how, None, before, &now);
                    kept.append(&mut self.doubts.kept.clone());
                }
                // Which of them came last is not known.
                self.doubts.kept.append(&mut kept);
                result
            }
        };
        result.map_err(|wrong| format!("{wrong}\n  after two runs, {runs:?}"))
    }

    fn learn(&mut self, how: &How, report: Option<&Report>, before: &Look, now: &Look) {
        let wanted = self.wanted(how.filter);
        self.doubts.learn(how, report, &wanted, before, now);
    }

    fn wanted(&self, show: Show) -> Wanted {
        Wanted::of(&self.vault.live, show, self.bucket)
    }

    /// What holds after every run, however it ended.
    fn invariants(&self, keeps: bool, before: &Look, now: &Look) -> Verdict {
        if let Some(trespass) = self.trespasses.lock().unwrap_or_else(PoisonError::into_inner).first() {
            return Err(format!("promise 6: {trespass}"));
        }
        self.contents_are_the_vaults(now)?;
        self.foreign_files_are_left_alone(before, now)?;
        match &now.head {
            Some(head) => self.cursor_is_not_ahead(head, keeps, now),
            None => Ok(()),
        }
    }

    /// Promises 2 and 3: what is visible is a version that the vault has or had there, or somebody else's.
    fn contents_are_the_vaults(&self, now: &Look) -> Verdict {
        now.files.iter().try_for_each(|(path, file)| {
            let from = if file.own { &self.vault.history } else { &self.foreign };
            let mut known = from.get(path).into_iter().flatten();
            demand(known.any(|n| file.content == content(*n)), || {
                format!("promise 2: {path:?} has a content that is nobody's")
            })
        })
    }

    /// Promise 9: files that obsync did not write are left alone, unless the vault has a file of that name.
    fn foreign_files_are_left_alone(&self, before: &Look, now: &Look) -> Verdict {
        let is_stranger = |path: &String| {
            let has_been_in_the_vault = self.vault.history.contains_key(path);
            !self.doubts.ours.contains(path) && !has_been_in_the_vault
        };
        before.files.iter().filter(|(path, file)| !file.own && is_stranger(path)).try_for_each(|(path, file)| {
            demand(now.files.get(path) == Some(file), || format!("promise 9: the foreign {path:?} was touched"))
        })
    }

    /// Promises 4 and 12: what was recorded is not fetched again. (Of two files that the state and the destination
    /// agree on, that is; what a run finds out about the others is its own affair.)
    fn nothing_is_fetched_twice(&self, before: &Look) -> Verdict {
        let pulls = self.vault.service.pulls();
        let is_recorded = |path: &String| match (before.files.get(path), before.entries.get(path)) {
            (Some(file), Some(Entry::File(entry))) => {
                *entry.stamp.0 == *format!("v{}", file.version) && entry.hash == ContentHash::of(&file.content)
            }
            _ => false,
        };
        let of_now = |path: &String| match self.vault.live.get(path) {
            Some(crate::vault::Node::File(file)) => {
                before.files.get(path).is_some_and(|f| f.content == content(file.content))
            }
            _ => false,
        };
        self.vault.uids.iter().filter(|(_, uid)| pulls.contains(uid)).try_for_each(|(path, _)| {
            demand(!(is_recorded(path) && of_now(path)), || format!("promise 4: {path:?} was fetched again"))
        })
    }

    /// Promise 5: the stored cursor never passes a record that was not applied or noted by name.
    fn cursor_is_not_ahead(&self, head: &Head, keeps: bool, now: &Look) -> Verdict {
        const SHOWS: [Show; 5] = [Show::All, Show::Notes, Show::NoNotes, Show::OnlyD, Show::NoD];
        let show = SHOWS.into_iter().find(|show| filter(*show).canonical() == head.filter);
        let Some(show) = show else { return Err(format!("a filter that no run had: {:?}", head.filter)) };
        if self.doubts.damaged || head.cursor.0 > self.vault.service.last().0 {
            return Ok(());
        }
        let wanted = self.wanted(show);
        let is_noted = |path: &str| head.pending.iter().any(|pending| pending.name == path);
        let is_passed = |path: &str| self.vault.uids.get(path).is_some_and(|uid| uid.0 <= head.cursor.0);
        let paths = self.vault.uids.keys().filter(|path| is_passed(path) && !is_noted(path));
        for path in paths.filter(|path| !self.doubts.tampered.contains(*path)) {
            if wanted.refused.contains(path) {
                // What came below it may be new.
                let is_followed = head.cursor.0 == self.vault.service.last().0;
                demand(!is_followed, || format!("promise 5: {path:?} cannot be there, and is not noted"))?;
                continue;
            }
            let is_file = wanted.files.contains_key(path);
            demand(!is_file || wanted.has(path, now), || format!("promise 5: the cursor is past {path:?}"))?;
            let is_left = !is_file && now.files.get(path).is_some_and(|file| file.own);
            let is_kept = keeps || self.doubts.kept.contains(path);
            demand(!is_left || is_kept, || format!("promise 5: the cursor is past the deletion of {path:?}"))?;
        }
        Ok(())
    }

    /// Promise 1: what the vault has is there, and nothing that obsync wrote and the vault no longer has. Of an
    /// incremental run: as far as nobody else changed the destination, or the state.
    fn is_exact(&self, how: &How, wanted: &Wanted, before: &Look, now: &Look, report: &Report) -> Verdict {
        let incremental = !report.complete;
        if incremental && self.doubts.damaged {
            return Ok(());
        }
        let failed = failed(report);
        let is_doubtful = |path: &String| incremental && self.doubts.tampered.contains(path);
        for path in wanted.files.keys().filter(|path| !is_doubtful(path) && !failed.contains(path.as_str())) {
            demand(wanted.has(path, now), || format!("promise 1: {path:?} is not as it is in the vault"))?;
        }
        let is_left = |path: &String| {
            let is_kept = how.keep_deleted || (incremental && self.doubts.kept.contains(path));
            is_kept || is_doubtful(path) || report.guarded.is_some()
        };
        for (path, file) in now.files.iter().filter(|(path, file)| file.own && !wanted.files.contains_key(*path)) {
            demand(is_left(path), || format!("promise 1: {path:?} is still there"))?;
            demand(before.files.get(path) == Some(file) || is_doubtful(path), || {
                format!("{path:?} was written, and is not wanted")
            })?;
        }
        if how.keep_deleted {
            let is_in_the_way = |path: &str| {
                let is_replaced = wanted.named.contains(path) || wanted.folders.contains(path);
                is_replaced || (!self.bucket && wanted.files.keys().any(|p| is_below(path, p)))
            };
            let kept =
                before.files.iter().filter(|(path, _)| !wanted.files.contains_key(*path) && !is_in_the_way(path));
            for (path, file) in kept {
                demand(now.files.get(path) == Some(file), || format!("{path:?} was to be kept"))?;
            }
        }
        self.folders_are_right(wanted, before, now, report)
    }

    /// Promise 1: every folder of the vault; the others go with their last file.
    fn folders_are_right(&self, wanted: &Wanted, before: &Look, now: &Look, report: &Report) -> Verdict {
        let failed = failed(report);
        let is_in_doubt = |path: &str| self.doubts.tampered.iter().any(|t| t == path || is_below(t, path));
        for path in wanted.folders.iter().filter(|path| !is_in_doubt(path) || report.complete) {
            let has_failed = failed.iter().any(|f| f == path || is_below(f, path) || is_below(path, f));
            // A file that was to go is where it was to be.
            let is_guarded = report.guarded.is_some();
            demand(now.folders.contains(path) || has_failed || is_guarded, || {
                format!("promise 1: the folder {path:?} is missing")
            })?;
        }
        if report.guarded.is_some() || !failed.is_empty() {
            return Ok(());
        }
        let holds_a_file = |look: &Look, folder: &str| look.files.keys().any(|path| is_below(path, folder));
        let holds_a_folder = |folder: &str| now.folders.iter().any(|path| is_below(path, folder));
        for path in now.folders.iter().filter(|path| !wanted.folders.contains(*path) && !holds_a_folder(path)) {
            let has_lost_its_last = holds_a_file(before, path) && !holds_a_file(now, path);
            demand(!has_lost_its_last, || format!("promise 1: the folder {path:?} is still there"))?;
        }
        Ok(())
    }

    /// What cannot be mirrored is told by name, every time; and nothing else is.
    fn failures_are_right(&self, how: &How, wanted: &Wanted, before: &Look, report: &Report) -> Verdict {
        let incremental = !report.complete;
        if incremental && self.doubts.damaged {
            return Ok(());
        }
        let failed = failed(report);
        let is_doubtful = |path: &String| incremental && self.doubts.tampered.contains(path);
        for path in wanted.refused.iter().filter(|path| !is_doubtful(path)) {
            demand(failed.contains(path.as_str()), || format!("{path:?} cannot be there, and is not told of"))?;
        }
        let stays = |path: &String| {
            let is_unknown = incremental && (self.doubts.kept.contains(path) || self.doubts.tampered.contains(path));
            let is_left = how.keep_deleted || report.guarded.is_some() || is_unknown;
            !wanted.files.contains_key(path) && (is_left || !before.files[path].own)
        };
        let blockers: Vec<&String> = before.files.keys().filter(|path| stays(path)).collect();
        let is_blocked = |path: &str| {
            let by = |other: &String| is_below(path, other) || is_below(other, path) || other == path;
            let may_be_unknown = !self.foreign.is_empty() || (incremental && self.doubts.folders);
            let by_folder = before.folders.contains(path) && (may_be_unknown || report.guarded.is_some());
            !self.bucket && (blockers.iter().any(|other| by(other)) || by_folder)
        };
        let is_lost = |path: &str| self.vault.uids.get(path).is_some_and(|uid| self.vault.lost.contains(uid));
        for path in failed.into_iter().filter(|path| !wanted.refused.contains(*path)) {
            demand(is_lost(path) || is_blocked(path), || format!("{path:?} failed without a cause"))?;
        }
        Ok(())
    }

    /// Promise 9: too many deletions are none; the old names of renamed files do not count.
    fn guard_is_right(&self, how: &How, wanted: &Wanted, before: &Look, now: &Look, report: &Report) -> Verdict {
        let incremental = !report.complete;
        if report.guarded.is_some() {
            for path in before.files.keys() {
                demand(now.files.contains_key(path), || format!("promise 9: {path:?} was deleted by a guarded run"))?;
            }
        }
        let is_foreign = before.files.values().any(|file| !file.own);
        let is_kept = incremental && !self.doubts.kept.is_empty();
        if self.doubts.damaged || !self.doubts.tampered.is_empty() || is_foreign || is_kept {
            return Ok(());
        }
        let files = before.files.len() as u64;
        let limit = match how.max_delete {
            MaxDelete::Default if files > 100 => files / 2,
            MaxDelete::Default => files,
            MaxDelete::Count(count) => count,
            MaxDelete::Percent(percent) => files * u64::from(percent) / 100,
        };
        let goes = |path: &str| match wanted.named.contains(path) || wanted.folders.contains(path) {
            true => !wanted.files.contains_key(path),
            false => !wanted.files.contains_key(path) && !how.keep_deleted,
        };
        let gone = before.files.iter().filter(|(path, _)| goes(path));
        let mut by_content: BTreeMap<&[u8], u64> = BTreeMap::new();
        gone.for_each(|(_, file)| *by_content.entry(&file.content).or_default() += 1);
        let is_new =
            |path: &String| before.files.get(path).is_none_or(|f| f.content != content(wanted.files[path].content));
        let arriving: BTreeSet<&[u8]> =
            wanted.files.keys().filter(|path| is_new(path)).map(|path| content(wanted.files[path].content)).collect();
        // Of several files with one content, it is not said which one was renamed.
        let most: u64 = by_content.iter().map(|(c, n)| n - u64::from(arriving.contains(c))).sum();
        let least: u64 = by_content.iter().filter(|(c, _)| !arriving.contains(*c)).map(|(_, n)| n).sum();
        match report.guarded {
            Some(guarded) => {
                demand(guarded.limit == limit, || format!("promise 9: the limit is {limit}"))?;
                demand(guarded.deletes <= most, || format!("promise 9: no more than {most} would be lost"))
            }
            None => demand(least <= limit, || format!("promise 9: {least} files are lost, {limit} may be")),
        }
    }

    /// A dry run tells what the same run then does.
    fn as_rehearsed(&self, how: &How, report: &Report) -> Verdict {
        let Some((rehearsed, told)) = &self.rehearsed else { return Ok(()) };
        let is_same = *rehearsed == How { dry_run: true, ..how.clone() };
        if !is_same || self.doubts.damaged || !self.doubts.tampered.is_empty() || !report.failed.is_empty() {
            return Ok(());
        }
        let counts = |r: &Report| (r.downloaded, r.copied, r.deleted, r.unchanged, r.guarded, r.complete);
        demand(counts(told) == counts(report), || format!("it was rehearsed as {told:?}"))
    }

    /// A report of success tells what was done.
    fn counts_are_true(&self, before: &Look, now: &Look, report: &Report) -> Verdict {
        if self.doubts.damaged || !self.doubts.tampered.is_empty() {
            return Ok(());
        }
        let version = |look: &Look, path: &String| look.files.get(path).map(|file| file.version);
        let written = now.files.keys().filter(|path| version(before, path) != version(now, path)).count() as u64;
        let deleted = before.files.keys().filter(|path| !now.files.contains_key(*path)).count() as u64;
        let known = now.entries.values().filter(|entry| matches!(entry, Entry::File(_))).count() as u64;
        let head = now.head.clone().unwrap_or_default();
        let did = (report.downloaded + report.copied, report.deleted, report.unchanged, head.files, report.cursor);
        let expected = (written, deleted, known - written, known, head.cursor);
        demand(did == expected, || {
            format!("it tells {did:?} of {expected:?} (written, deleted, unchanged, files, cursor)")
        })
    }

    /// Promise 7: nothing changed, nothing asked.
    fn costs_what_changed(&self, how: &How, before: &Look, report: &Report) -> Verdict {
        let head = before.head.clone().unwrap_or_default();
        let is_new = head.cursor != report.cursor || head.filter != filter(how.filter).canonical();
        if report.complete || is_new || !head.pending.is_empty() || head.cursor.0 == 0 {
            return Ok(());
        }
        let requests = self.blobs.counts().requests() + self.vault.service.pulls().len() as u64;
        demand(requests == 0, || format!("promise 7: nothing is new, and there were {requests} requests"))
    }
}

/// Whether `path` is below `folder`.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
