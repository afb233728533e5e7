//! `verify` finds every kind of difference, and nothing else.

use obsync_core::filter::Filter;
use obsync_testkit::generate::Shape;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_fresh_mirror_is_exact() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(21));
    let files = fixture.sync_exact().await.downloaded;
    for deep in [false, true] {
        let result = fixture.mirror().verify(&Filter::default(), deep, &fixture.options).await.unwrap();
        assert!(result.is_exact(), "{result:?}");
        assert_eq!(result.same, files);
    }
}

#[tokio::test]
async fn every_difference_is_found_and_foreign_files_are_none() {
    let mut fixture = Fixture::new().await;
    for name in ["changed", "grown", "missing", "gone"] {
        fixture.vault.put(name, name, 1);
    }
    fixture.sync_exact().await;
    fixture.vault.delete("gone");
    fixture.vault.put("new", "new", 1);
    fixture.vault.put_raw("../evil", b"evil", 1);
    fixture.blobs.put("changed", b"CHANGED");
    fixture.blobs.put("grown", b"grown and grown");
    fixture.blobs.remove("missing");
    fixture.blobs.put("foreign", b"foreign");
    for deep in [false, true] {
        let result = fixture.mirror().verify(&Filter::default(), deep, &fixture.options).await.unwrap();
        assert_eq!(result.missing, ["missing", "new"]);
        assert_eq!(result.different.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["changed", "grown"]);
        assert_eq!((result.extra, result.foreign), (vec!["gone".to_owned()], 1));
        assert_eq!(result.refused[0].path, "../evil");
    }
}

#[tokio::test]
async fn only_a_deep_look_finds_silent_rot() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a", "content", 1);
    fixture.sync_exact().await;
    fixture.blobs.rot("a");
    let look = async |deep| fixture.mirror().verify(&Filter::default(), deep, &fixture.options).await.unwrap();
    assert!(look(false).await.is_exact());
    assert_eq!(look(true).await.different.len(), 1);
}
