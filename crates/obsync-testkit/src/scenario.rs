//! Scenarios of the engine: what a run does, whatever the destination and the state store are.
//!
//! Each is written once, and holds on every pair of a destination and a state store: a vault at the emulator is mirrored
//! over the real protocol, then both sides are compared. What a scenario needs to know behind obsync's back, or to do
//! there, it asks of a [`TestDestination`] and a [`TestState`]. Tests that look into the stores in memory are with the
//! engine.
//!
//! [`scenarios!`](crate::scenarios) makes a test of each, so that a failure names the pair and the scenario:
//!
//! ```no_run
//! # use obsync_testkit::memory::{MemoryBlobs, MemoryState};
//! # use obsync_testkit::scenario::{Pair, Pairs};
//! mod memory_folder {
//!     # use super::*;
//!     obsync_testkit::scenarios!(Pairs::new(async || Pair::new(MemoryBlobs::folder(), MemoryState::new())));
//! }
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use obsync_core::blob::BlobStore;
use obsync_core::state::StateStore;
use obsync_proto::VaultId;
use obsync_proto::crypto::EncryptionVersion;

use crate::tree::Tree;

pub mod careful;
pub mod changes;
pub mod crash;
pub mod faults;
pub mod first;
mod fixture;
pub mod interrupted;
mod memory;
pub mod verify;

pub use fixture::Fixture;

/// A destination, fresh, and what only its maker can do.
pub trait TestDestination: Send + Sync {
    /// Opens it for the files of a vault, as each process does for itself.
    fn open(&self, vault: &VaultId) -> Arc<dyn BlobStore>;

    /// Everything in it but what is unfinished.
    fn tree(&self) -> Tree;

    /// The modification time of a file, ms since 1970.
    fn mtime(&self, path: &str) -> Option<i64>;

    /// Writes that were begun and have not ended.
    fn unfinished(&self) -> usize;

    /// Puts a file there behind obsync's back.
    fn put(&self, path: &str, content: &[u8]);

    /// Removes a file behind obsync's back.
    fn remove(&self, path: &str);

    /// Requests since the last time that this was asked, where they can be counted.
    fn take_requests(&self) -> Option<u64>;
}

/// A state store, fresh, and what only its maker can do.
#[async_trait]
pub trait TestState: Send + Sync {
    /// Opens it, as each process does for itself.
    async fn open(&self) -> Arc<dyn StateStore>;

    /// Loses everything. What is open already may go on with what it has.
    async fn lose(&self);

    /// Lets all leases run out now, as those of killed runs do in time.
    async fn expire_leases(&self);

    /// Requests since the last time that this was asked, where they can be counted.
    fn take_requests(&self) -> Option<u64>;
}

/// A destination and a state store, with nothing in them.
#[derive(Clone)]
pub struct Pair {
    /// Where the mirror is.
    pub destination: Arc<dyn TestDestination>,
    /// What is remembered of it.
    pub state: Arc<dyn TestState>,
}

impl Pair {
    /// These two.
    pub fn new(destination: impl TestDestination + 'static, state: impl TestState + 'static) -> Self {
        Self { destination: Arc::new(destination), state: Arc::new(state) }
    }
}

/// Fresh pairs of one kind, as many as a scenario needs.
pub struct Pairs(Box<dyn Fn() -> BoxFuture<'static, Pair> + Send + Sync>);

impl Pairs {
    /// Those that `make` makes.
    pub fn new<F: Future<Output = Pair> + Send + 'static>(make: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Self(Box::new(move || make().boxed()))
    }

    /// One more.
    pub async fn make(&self) -> Pair {
        (self.0)().await
    }

    /// A vault, and a pair for its mirror.
    pub async fn fixture(&self) -> Fixture {
        self.fixture_under(EncryptionVersion::V3).await
    }

    /// The same with another version of the encryption.
    pub async fn fixture_under(&self, version: EncryptionVersion) -> Fixture {
        Fixture::new(self.make().await, version).await
    }
}

/// Makes every scenario a test, in a module as [`scenario`](crate::scenario) has it, on the pairs of an expression. The
/// caller depends on `tokio`, with its macros and its runtime of several threads.
#[macro_export]
macro_rules! scenarios {
    ($pairs:expr) => {
        $crate::scenarios! {
            in $pairs;
            careful {
                too_many_deletions_are_none_until_they_are_allowed
                foreign_files_are_left_alone
                with_the_state_lost_nothing_is_fetched_twice
                a_complete_run_repairs_what_others_changed
                a_run_whose_lease_is_held_does_nothing
                two_runs_at_once_make_one_mirror
                a_reset_mirror_is_compared_anew_and_keeps_its_files
            }
            changes {
                random_changes_are_followed_and_cost_what_changed
                a_rename_is_copied_and_not_pulled
                swapped_names_and_names_renamed_over_are_right
                a_file_becomes_a_folder_and_a_folder_a_file
                a_new_time_alone_is_no_pull
                hard_names_are_kept_through_every_kind_of_change
                a_widened_filter_fetches_what_it_newly_lets_through
                a_narrowed_filter_removes_what_it_keeps_out
                deleted_files_are_kept_on_request
                a_vault_whose_history_begins_anew_is_listed_anew
                a_vault_encrypted_anew_is_listed_anew
            }
            crash {
                a_first_run_that_dies_at_any_effect_is_gone_on_with
                a_large_file_whose_run_dies_at_any_effect_is_fetched_again
                a_later_run_that_dies_at_any_effect_is_gone_on_with
            }
            faults {
                a_passing_cut_is_survived
                a_file_that_failed_is_fetched_by_the_next_run
                a_version_that_the_service_lost_is_reported_until_there_is_a_newer_one
            }
            first {
                a_vault_arrives_byte_for_byte
                files_of_every_edge_size_arrive
                a_second_run_does_nothing
                an_empty_vault_is_mirrored
                listings_with_earlier_doubled_and_deleted_records_mean_the_same
                a_run_out_of_time_is_gone_on_with
                a_run_stopped_before_it_listed_changes_nothing
                a_dry_run_tells_and_changes_nothing
            }
            interrupted {
                a_run_whose_process_died_is_gone_on_with
                a_run_that_was_dropped_is_gone_on_with
            }
            verify {
                a_fresh_mirror_is_exact
                every_difference_is_found_and_foreign_files_are_none
            }
        }
    };
    (in $pairs:expr; $($module:ident { $($case:ident)* })*) => {
        $(
            mod $module {
                #[allow(unused_imports, reason = "what the expression names")]
                use super::*;

                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        $crate::scenario::$module::$case(&$pairs).await;
                    }
                )*
            }
        )*
    };
}
