//! The suites that every implementation of a seam passes, each wrapper too. They are written against the docs of the
//! traits in `obsync-core`.
//!
//! [`blob()`] and [`state()`] run all cases, each on a store of its own, and fail with the names of the cases that
//! failed. A case can be run alone: it is a public function of [`mod@blob`] or [`mod@state`].
//!
//! ```no_run
//! # use std::sync::Arc;
//! use obsync_testkit::conformance::{self, BlobFixture};
//! use obsync_testkit::memory::MemoryBlobs;
//!
//! # async fn test() {
//! conformance::blob(async || BlobFixture::new(Arc::new(MemoryBlobs::folder()))).await;
//! # }
//! ```

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use obsync_core::blob::BlobStore;
use obsync_core::state::StateStore;

pub mod blob;
pub(crate) mod names;
pub mod state;

pub use blob::all as blob;
pub use state::all as state;

/// Runs cases, each on a fixture of its own, and names those that failed.
macro_rules! run_cases {
    ($make:expr, $($case:ident),* $(,)?) => {{
        use futures_util::FutureExt;
        let mut failed: Vec<&str> = Vec::new();
        $(
            let case = async { $case(&$make().await).await };
            if std::panic::AssertUnwindSafe(case).catch_unwind().await.is_err() {
                eprintln!("FAILED: {}", stringify!($case));
                failed.push(stringify!($case));
            }
        )*
        assert!(failed.is_empty(), "{} cases failed: {}", failed.len(), failed.join(", "));
    }};
}
use run_cases;

/// What must live as long as a store: a temporary folder, a server.
type Guard = Box<dyn Any + Send + Sync>;

/// Something that only the maker of a fixture can find out or do.
type Ask<T> = Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>;

/// A fresh destination, and what the suite may know of it.
pub struct BlobFixture {
    store: Arc<dyn BlobStore>,
    leftovers: Option<Ask<usize>>,
    _guard: Option<Guard>,
}

impl BlobFixture {
    /// A destination with nothing in it.
    pub fn new(store: Arc<dyn BlobStore>) -> Self {
        Self { store, leftovers: None, _guard: None }
    }

    /// Keeps `guard` as long as the store.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self._guard = Some(Box::new(guard));
        self
    }

    /// `count` tells how many unfinished writes the store keeps (temporary files, multipart uploads).
    #[must_use]
    pub fn with_leftovers(mut self, count: impl Fn() -> BoxFuture<'static, usize> + Send + Sync + 'static) -> Self {
        self.leftovers = Some(Box::new(count));
        self
    }
}

/// A fresh state store, and what the suite may know of it.
pub struct StateFixture {
    store: Arc<dyn StateStore>,
    again: Option<Ask<Arc<dyn StateStore>>>,
    short_ttl: Duration,
    _guard: Option<Guard>,
}

impl StateFixture {
    /// A state store with nothing in it.
    pub fn new(store: Arc<dyn StateStore>) -> Self {
        Self { store, again: None, short_ttl: Duration::from_millis(300), _guard: None }
    }

    /// Keeps `guard` as long as the store.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self._guard = Some(Box::new(guard));
        self
    }

    /// `open` opens the same store once more, as a second process would.
    #[must_use]
    pub fn opened_again_by(
        mut self,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn StateStore>> + Send + Sync + 'static,
    ) -> Self {
        self.again = Some(Box::new(open));
        self
    }

    /// The shortest lease that makes sense with this store; 300 ms unless said otherwise.
    #[must_use]
    pub fn with_short_ttl(mut self, ttl: Duration) -> Self {
        self.short_ttl = ttl;
        self
    }
}
