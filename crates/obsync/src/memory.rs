//! STATE: where the memory of earlier runs is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use obsync_adapters::state::SqliteState;
use obsync_core::state::StateStore;

use crate::cloud::Cloud;
use crate::failure::Failure;

/// STATE as it was written, or the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A table in DynamoDB.
    Dynamo(String),
}

impl Location {
    /// Reads STATE; without one it is a file in `home`.
    ///
    /// # Errors
    /// [`Failure`] for a kind that is not there.
    pub fn parse(text: Option<&str>, home: &Path) -> Result<Self, Failure> {
        match text {
            None => Ok(Self::Sqlite(home.join("state.db"))),
            Some(text) => match text.split_once(':') {
                Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
                Some(("dynamodb", table)) if !table.is_empty() => Ok(Self::Dynamo(table.to_owned())),
                _ => Err(Failure::usage(
                    format!("--state {text:?} is of no known kind"),
                    "use sqlite:PATH or dynamodb:TABLE",
                )),
            },
        }
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// [`Failure`] where it is not, or cannot be used.
    pub async fn open_existing(&self, cloud: &Cloud) -> Result<Arc<dyn StateStore>, Failure> {
        match self {
            Self::Sqlite(path) if !path.exists() => Err(Failure::usage(
                format!("{} is not there", path.display()),
                "give a state that an earlier run has written",
            )),
            _ => self.open(cloud).await,
        }
    }

    /// Opens the store; it is made where there is none.
    ///
    /// # Errors
    /// [`Failure`] where it cannot be used.
    pub async fn open(&self, cloud: &Cloud) -> Result<Arc<dyn StateStore>, Failure> {
        match self {
            Self::Sqlite(path) => Ok(Arc::new(SqliteState::open(path).await?)),
            Self::Dynamo(table) => Ok(Arc::new(cloud.table(table).await?)),
        }
    }
}
