//! `verify` finds every kind of difference, and nothing else.

use obsync_core::filter::Filter;

use super::Pairs;
use crate::generate::Shape;

/// By the state as by the content.
pub async fn a_fresh_mirror_is_exact(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(21));
    let files = fixture.sync_exact().await.downloaded;
    for deep in [false, true] {
        let result = fixture.mirror().verify(&Filter::default(), deep, &fixture.options).await.unwrap();
        assert!(result.is_exact(), "{result:?}");
        assert_eq!(result.same, files);
    }
}

/// Content, size, absence, what the vault no longer has, what cannot be mirrored.
pub async fn every_difference_is_found_and_foreign_files_are_none(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    for name in ["changed", "grown", "missing", "gone"] {
        fixture.vault.put(name, name, 1);
    }
    fixture.sync_exact().await;
    fixture.vault.delete("gone");
    fixture.vault.put("new", "new", 1);
    fixture.vault.put_raw("../evil", b"evil", 1);
    let destination = &fixture.pair.destination;
    destination.put("changed", b"CHANGED");
    destination.put("grown", b"grown and grown");
    destination.remove("missing");
    destination.put("foreign", b"foreign");
    for deep in [false, true] {
        let result = fixture.mirror().verify(&Filter::default(), deep, &fixture.options).await.unwrap();
        assert_eq!(result.missing, ["missing", "new"]);
        assert_eq!(result.different.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["changed", "grown"]);
        assert_eq!((result.extra, result.foreign), (vec!["gone".to_owned()], 1));
        assert_eq!(result.refused[0].path, "../evil");
    }
}
