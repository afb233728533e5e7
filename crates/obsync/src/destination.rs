//! DEST: where a mirror goes.

use std::path::PathBuf;
use std::sync::Arc;

use obsync_adapters::blob::LocalFolder;
use obsync_core::blob::BlobStore;
use obsync_proto::VaultPath;
use obsync_proto::wire::api::VaultRow;

use crate::failure::{Exit, Failure};

/// DEST as it was written, with `{vault}` and `{id}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// DEST for one vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination(PathBuf);

impl Template {
    /// Reads DEST. With `several` vaults to come and neither `{vault}` nor `{id}` in it, `/{vault}` is added.
    ///
    /// # Errors
    /// [`Failure`] for a DEST of a kind that is not there.
    pub fn parse(text: &str, several: bool) -> Result<Self, Failure> {
        if text.starts_with("s3://") {
            return Err(Failure::usage(
                format!("{text}: S3 destinations are not in this version of obsync yet"),
                "give a folder to --to; S3 comes with the next version",
            ));
        }
        if text.is_empty() {
            return Err(Failure::usage("--to is empty", "give a folder"));
        }
        let named = text.contains("{vault}") || text.contains("{id}");
        Ok(Self(if several && !named { format!("{}/{{vault}}", text.trim_end_matches('/')) } else { text.to_owned() }))
    }

    /// DEST for a vault.
    ///
    /// # Errors
    /// [`Failure`] where the vault's name cannot be a folder's.
    pub fn fill(&self, id: &str, name: &str) -> Result<Destination, Failure> {
        // A name is data from outside: `..`, or one with a slash, would lead elsewhere.
        let fits = VaultPath::parse(name).is_ok() && !name.contains(['/', '\\']);
        if self.0.contains("{vault}") && !fits {
            return Err(Failure::usage(
                format!("the vault {name:?} ({id}) has a name that no folder can have"),
                "use {id} in --to instead of {vault}",
            ));
        }
        Ok(Destination(PathBuf::from(self.0.replace("{id}", id).replace("{vault}", name))))
    }
}

impl Destination {
    /// Opens the place. It is made when something is written to it.
    ///
    /// # Errors
    /// [`Failure`] where it cannot be used.
    pub fn open(&self) -> Result<Arc<dyn BlobStore>, Failure> {
        let folder = LocalFolder::open(&self.0).map_err(|e| {
            Failure::new(Exit::Unreachable, e.to_string(), "give --to a folder that this user can write")
        })?;
        Ok(Arc::new(folder))
    }
}

/// Checks that no two vaults land in one place, nor one inside another.
///
/// # Errors
/// [`Failure`] that names the two.
pub fn check_apart(places: &[(VaultRow, String)]) -> Result<(), Failure> {
    for (i, (row, place)) in places.iter().enumerate() {
        for (other, other_place) in &places[i + 1..] {
            if within(place, other_place) || within(other_place, place) {
                return Err(Failure::usage(
                    format!(
                        "the vaults {:?} ({}) and {:?} ({}) would both go to {place}",
                        row.name, row.id, other.name, other.id
                    ),
                    "put {id} into --to to keep them apart",
                ));
            }
        }
    }
    Ok(())
}

fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, several: bool, name: &str) -> Result<PathBuf, Failure> {
        Ok(Template::parse(template, several)?.fill("id1", name)?.0)
    }

    #[test]
    fn vault_and_id_are_filled_in() {
        assert_eq!(fill("/m/{vault}-{id}", false, "My Notes").unwrap(), PathBuf::from("/m/My Notes-id1"));
        assert_eq!(fill("/m/", true, "កំណត់ត្រា").unwrap(), PathBuf::from("/m/កំណត់ត្រា"));
        assert_eq!(fill("/m", false, "x").unwrap(), PathBuf::from("/m"));
        assert_eq!(fill("/m/{id}", true, "../x").unwrap(), PathBuf::from("/m/id1"));
    }

    #[test]
    fn a_vaults_name_leads_nowhere_else() {
        for name in ["..", ".", "", "a/b", "/abs", "a\\b", "x\0"] {
            let failure = fill("/m/{vault}", false, name).unwrap_err();
            assert!(failure.advice.contains("{id}"), "{name:?}");
        }
    }

    #[test]
    fn vaults_in_one_place_or_inside_each_other_are_refused() {
        let row =
            |id: &str| serde_json::from_str::<VaultRow>(&format!(r#"{{"id":"{id}","name":"n","host":"h"}}"#)).unwrap();
        let check = |a: &str, b: &str| check_apart(&[(row("1"), a.into()), (row("2"), b.into())]);
        assert!(check("/m/a", "/m/b").is_ok() && check("/m/a", "/m/ab").is_ok());
        for (a, b) in [("/m", "/m"), ("/m", "/m/x"), ("/m/x", "/m")] {
            assert!(check(a, b).unwrap_err().problem.contains("(1)"));
        }
    }
}
