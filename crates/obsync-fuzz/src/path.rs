//! Paths of a vault.

use std::path::{Component, Path};

use obsync_proto::VaultPath;

/// A path is one exactly where it keeps the invariants that [`VaultPath`] names, and then it leads nowhere but into the
/// folder that it is joined to.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let fits = text.len() <= VaultPath::MAX
        && !text.contains('\0')
        && text.split('/').all(|segment| !["", ".", ".."].contains(&segment));
    let parsed = VaultPath::parse(text);
    assert_eq!(parsed.is_ok(), fits);
    let Ok(path) = parsed else { return };
    assert_eq!(path.as_str(), text);
    let kept = serde_json::to_string(&path).expect("a text");
    assert_eq!(serde_json::from_str::<VaultPath>(&kept).expect("read from what was written"), path);

    let root = Path::new("/folder");
    let joined = root.join(path.as_str());
    let below: Vec<_> = joined.strip_prefix(root).expect("inside").components().collect();
    let names: Vec<_> = path.segments().map(|name| Component::Normal(name.as_ref())).collect();
    assert_eq!(below, names);

    assert_eq!(path.segments().next_back(), Some(path.name()));
    let mut child = path.clone();
    for folder in path.ancestors() {
        assert_eq!(child.as_str(), format!("{folder}/{}", child.name()));
        assert_eq!(VaultPath::parse(folder.as_str()), Ok(folder.clone()));
        child = folder;
    }
    assert_eq!(child.parent(), None);
    assert_eq!(child.name(), child.as_str());
}
