//! DEST: where a mirror goes.

use std::path::PathBuf;
use std::sync::Arc;

use obsync_adapters::blob::LocalFolder;
use obsync_core::blob::BlobStore;
use obsync_proto::VaultPath;

use crate::cloud::Cloud;
use crate::failure::{Exit, Failure};

/// DEST as it was written, with `{vault}` and `{id}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// DEST for one vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The vault's id.
    vault: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    /// Keys begin with the prefix: empty, or with a `/` at its end.
    Bucket {
        bucket: String,
        key_prefix: String,
    },
}

impl Template {
    /// Reads DEST. With `several` vaults to come and neither `{vault}` nor `{id}` in it, `/{vault}` is added.
    ///
    /// # Errors
    /// [`Failure`] for a DEST of a kind that is not there.
    pub fn parse(text: &str, several: bool) -> Result<Self, Failure> {
        if text.is_empty() {
            return Err(Failure::usage("--to is empty", "give a folder, or s3://BUCKET/PREFIX"));
        }
        // Of what may be in it, only the names are missing yet.
        Place::parse(text)?;
        let named = text.contains("{vault}") || text.contains("{id}");
        Ok(Self(if several && !named { format!("{}/{{vault}}", text.trim_end_matches('/')) } else { text.to_owned() }))
    }

    /// DEST for a vault.
    ///
    /// # Errors
    /// [`Failure`] where the vault's name cannot be a folder's.
    pub fn fill(&self, id: &str, name: &str) -> Result<Destination, Failure> {
        if self.0.contains("{vault}") {
            folder_name(id, name)?;
        }
        let text = self.0.replace("{id}", id).replace("{vault}", name);
        Ok(Destination { vault: id.to_owned(), place: Place::parse(&text)? })
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, Failure> {
        let Some(rest) = text.strip_prefix("s3://") else { return Ok(Self::Folder(PathBuf::from(text))) };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Failure::usage(format!("{text} names no bucket"), "give s3://BUCKET/PREFIX"));
        }
        let key_prefix =
            if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        Ok(Self::Bucket { bucket: bucket.to_owned(), key_prefix })
    }
}

impl Destination {
    /// Opens the place. It is made when something is written to it.
    ///
    /// # Errors
    /// [`Failure`] where it cannot be used.
    pub async fn open(&self, cloud: &Cloud) -> Result<Arc<dyn BlobStore>, Failure> {
        match &self.place {
            Place::Folder(path) => {
                let folder = LocalFolder::open(path, &self.vault).map_err(|e| {
                    Failure::new(Exit::Unreachable, e.to_string(), "give --to a folder that this user can write")
                })?;
                Ok(Arc::new(folder))
            }
            Place::Bucket { bucket, key_prefix } => Ok(Arc::new(cloud.bucket(bucket, key_prefix, &self.vault).await?)),
        }
    }
}

/// A vault's name as the name of a folder. It is data from outside: `..`, or one with a slash, would lead elsewhere.
///
/// # Errors
/// [`Failure`] where it cannot be one.
pub fn folder_name<'a>(id: &str, name: &'a str) -> Result<&'a str, Failure> {
    if VaultPath::parse(name).is_ok() && !name.contains(['/', '\\']) {
        return Ok(name);
    }
    Err(Failure::usage(
        format!("the vault {name:?} ({id}) has a name that no folder can have"),
        "rename the vault, or use {id} in --to instead of {vault}",
    ))
}

/// A vault and its place, for [`check_apart`].
#[derive(Debug, Clone)]
pub struct Placed {
    /// The vault's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// [`BlobStore::location`].
    pub place: String,
}

/// Checks that none of `placed` lands where another of them goes, or where one of `before` went, nor inside or around
/// it.
///
/// # Errors
/// [`Failure`] that names the two.
pub fn check_apart(placed: &[Placed], before: &[Placed]) -> Result<(), Failure> {
    for (i, one) in placed.iter().enumerate() {
        for other in placed[i + 1..].iter().chain(before) {
            let together = within(&one.place, &other.place) || within(&other.place, &one.place);
            if together && one.id != other.id {
                return Err(Failure::usage(
                    format!(
                        "the vaults {:?} ({}) and {:?} ({}) would both go to {}",
                        one.name, one.id, other.name, other.id, one.place
                    ),
                    "put {id} into --to to keep them apart; `obsync reset` forgets a mirror that is no more",
                ));
            }
        }
    }
    Ok(())
}

fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, several: bool, name: &str) -> Result<PathBuf, Failure> {
        match Template::parse(template, several)?.fill("id1", name)?.place {
            Place::Folder(path) => Ok(path),
            Place::Bucket { bucket, key_prefix } => Ok(PathBuf::from(format!("s3:{bucket}:{key_prefix}"))),
        }
    }

    #[test]
    fn vault_and_id_are_filled_in() {
        assert_eq!(fill("/m/{vault}-{id}", false, "My Notes").unwrap(), PathBuf::from("/m/My Notes-id1"));
        assert_eq!(fill("/m/", true, "កំណត់ត្រា").unwrap(), PathBuf::from("/m/កំណត់ត្រា"));
        assert_eq!(fill("/m", false, "x").unwrap(), PathBuf::from("/m"));
        assert_eq!(fill("/m/{id}", true, "../x").unwrap(), PathBuf::from("/m/id1"));
        assert_eq!(fill("s3://b", false, "x").unwrap(), PathBuf::from("s3:b:"));
        assert_eq!(fill("s3://b/p/", true, "x y").unwrap(), PathBuf::from("s3:b:p/x y/"));
        for none in ["s3://", "s3:///p"] {
            assert!(Template::parse(none, true).is_err() && Template::parse(none, false).is_err(), "{none}");
        }
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
        let placed = |id: &str, place: &str| Placed { id: id.into(), name: "n".into(), place: place.into() };
        let check = |a: &str, b: &str| {
            check_apart(&[placed("1", a)], &[placed("2", b)]).and(check_apart(&[placed("1", a), placed("2", b)], &[]))
        };
        assert!(check_apart(&[placed("1", "/m")], &[placed("1", "/m")]).is_ok(), "its own earlier runs");
        assert!(check("/m/a", "/m/b").is_ok() && check("/m/a", "/m/ab").is_ok());
        for (a, b) in [("/m", "/m"), ("/m", "/m/x"), ("/m/x", "/m")] {
            assert!(check(a, b).unwrap_err().problem.contains("(1)"));
        }
    }
}
