//! `verify`, and what only it can find.

use obsync_core::filter::Filter;

use crate::fixture::Fixture;

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
