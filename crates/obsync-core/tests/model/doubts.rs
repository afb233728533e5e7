//! What the model knows of the past: where a run may rightly find, or leave, something else than the vault has.

use std::collections::BTreeSet;

use obsync_core::mirror::Report;

use crate::step::How;
use crate::wanted::Wanted;
use crate::world::Look;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Paths of the destination that others changed since a run looked at it: an incremental run does not notice.
    pub(crate) tampered: BTreeSet<String>,
    /// The state was changed without a trace: it takes a complete run to notice.
    pub(crate) damaged: bool,
    /// Files that the vault does not have any more, or that the filter keeps out, and that were left because they were
    /// to be kept: an incremental run knows nothing of them.
    pub(crate) kept: BTreeSet<String>,
    /// A run did not get through, or the state was lost: folders may be there of which only a complete run takes note,
    /// and only where they are in the way.
    pub(crate) folders: bool,
    /// Paths at which obsync may take a file for its own, because it had one there.
    pub(crate) ours: BTreeSet<String>,
}

impl Doubts {
    /// After a run that came to its end, without an error: `report`; or one that did not.
    pub(crate) fn learn(&mut self, how: &How, ended: Option<&Report>, wanted: &Wanted, before: &Look, now: &Look) {
        let own = now.files.iter().filter(|(_, file)| file.own);
        let own: BTreeSet<String> = own.map(|(path, _)| path.clone()).collect();
        let unwanted: BTreeSet<String> = own.iter().filter(|path| !wanted.files.contains_key(*path)).cloned().collect();
        let compared = ended.filter(|report| report.complete && report.error.is_none() && !report.incomplete);
        if let Some(report) = compared {
            let failed: BTreeSet<&str> = report.failed.iter().map(|failure| failure.path.as_str()).collect();
            self.tampered.retain(|path| failed.contains(path.as_str()));
            self.damaged = false;
            self.kept.clear();
            self.ours.clear();
        } else if ended.is_some() {
            // What a run has written it knows.
            let is_written = |path: &String| {
                let version = |look: &Look| look.files.get(path).map(|file| file.version);
                version(before) != version(now) && own.contains(path) && wanted.has(path, now)
            };
            self.tampered.retain(|path| !is_written(path));
        }
        if how.keep_deleted {
            self.kept.extend(unwanted.iter().cloned());
        }
        let got_through = ended.is_some_and(|report| report.error.is_none() && !report.incomplete);
        self.folders |= !got_through;
        self.kept.retain(|path| now.files.contains_key(path) && !(got_through && wanted.has(path, now)));
        self.ours.extend(own);
    }
}
