//! Which paths of a vault are mirrored.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use obsync_proto::VaultPath;

/// Globs that let paths through. Without any, everything is let through.
///
/// - `*` and `?` stay within one segment, `**` spans any number of them, `[…]` and `{a,b}` choose.
/// - A glob without `/` matches a name at any depth; a glob with one matches from the vault's root.
/// - A glob that matches a folder matches everything in it.
/// - A path is let through if an include glob matches it (or there is none) and no exclude glob does.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
    canonical: String,
}

/// A glob that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{glob:?} is no glob: {reason}")]
pub struct InvalidGlob {
    glob: String,
    reason: String,
}

impl Filter {
    /// Reads the globs.
    ///
    /// # Errors
    /// [`InvalidGlob`] for the first that is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, InvalidGlob> {
        if include.is_empty() && exclude.is_empty() {
            return Ok(Self::default());
        }
        let sorted = |globs: &[String]| {
            let mut globs = globs.to_vec();
            globs.sort();
            globs.dedup();
            globs
        };
        let (include, exclude) = (sorted(include), sorted(exclude));
        Ok(Self {
            canonical: serde_json::json!({ "include": include, "exclude": exclude }).to_string(),
            include: if include.is_empty() { None } else { Some(glob_set(&include)?) },
            exclude: glob_set(&exclude)?,
        })
    }

    /// Reads what [`canonical`](Self::canonical) wrote.
    ///
    /// # Errors
    /// [`InvalidGlob`] where it is of another form.
    pub fn from_canonical(canonical: &str) -> Result<Self, InvalidGlob> {
        #[derive(serde::Deserialize)]
        struct Globs {
            include: Vec<String>,
            exclude: Vec<String>,
        }
        if canonical.is_empty() {
            return Ok(Self::default());
        }
        let Globs { include, exclude } = serde_json::from_str(canonical)
            .map_err(|e| InvalidGlob { glob: canonical.to_owned(), reason: e.to_string() })?;
        Self::new(&include, &exclude)
    }

    /// A text that is equal for filters with the same globs; empty for the filter that lets everything through.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether `path` is mirrored.
    pub fn admits(&self, path: &VaultPath) -> bool {
        self.canonical.is_empty()
            || (self.include.as_ref().is_none_or(|set| matches(set, path)) && !matches(&self.exclude, path))
    }
}

fn matches(set: &GlobSet, path: &VaultPath) -> bool {
    set.is_match(path.as_str()) || path.ancestors().any(|folder| set.is_match(folder.as_str()))
}

fn glob_set(globs: &[String]) -> Result<GlobSet, InvalidGlob> {
    let invalid = |glob: &str, e: globset::Error| InvalidGlob { glob: glob.to_owned(), reason: e.kind().to_string() };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let trimmed = glob.trim_end_matches('/');
        let anchored = match trimmed.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if trimmed.contains('/') => trimmed.to_owned(),
            None => format!("**/{trimmed}"),
        };
        set.add(GlobBuilder::new(&anchored).literal_separator(true).build().map_err(|e| invalid(glob, e))?);
    }
    set.build().map_err(|e| invalid(&globs.join(", "), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    }

    fn admits(filter: &Filter, path: &str) -> bool {
        filter.admits(&VaultPath::parse(path).unwrap())
    }

    #[test]
    fn everything_is_let_through_unless_filtered_out() {
        let open = filter(&[], &[]);
        assert!(admits(&open, "a/b.canvas") && open.canonical().is_empty());
    }

    #[test]
    fn globs_match_names_folders_and_anchored_paths() {
        let f = filter(&[], &["*.png", "private", "/Archive/2019", "daily/*/draft.md", "x.{tmp,bak}"]);
        for out in [
            "a.png",
            "a/b/c.png",
            "private/x.md",
            "a/private/b/c.md",
            "Archive/2019/x.md",
            "daily/mon/draft.md",
            "a/x.bak",
        ] {
            assert!(!admits(&f, out), "{out}");
        }
        for through in
            ["a.md", "privateer/x.md", "b/Archive/2019/x.md", "daily/mon/tue/draft.md", "png", "daily/draft.md"]
        {
            assert!(admits(&f, through), "{through}");
        }
    }

    #[test]
    fn exclude_wins_over_include() {
        let f = filter(&["Notes/**", "ភាសា*"], &["*.md"]);
        assert!(admits(&f, "Notes/a.txt") && admits(&f, "ភាសាខ្មែរ.txt"));
        assert!(!admits(&f, "Notes/a.md") && !admits(&f, "other.txt"));
    }

    #[test]
    fn canonical_form_ignores_order_and_tells_filters_apart() {
        assert_eq!(filter(&["a", "b"], &[]).canonical(), filter(&["b", "a", "a"], &[]).canonical());
        assert_ne!(filter(&["a"], &[]).canonical(), filter(&[], &["a"]).canonical());
        let read = Filter::from_canonical(filter(&["a"], &["b"]).canonical()).unwrap();
        assert!(admits(&read, "a") && !admits(&read, "a/b"));
        assert!(Filter::from_canonical("{}").is_err() && admits(&Filter::from_canonical("").unwrap(), "x"));
    }

    #[test]
    fn a_broken_glob_is_named() {
        let error = Filter::new(&["a[".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().starts_with("\"a[\" is no glob"), "{error}");
    }
}
