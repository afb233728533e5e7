//! Promise 10 (contained): nothing gets out of DEST, and nothing is lost by trying.

use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::tree::Tree;

use crate::fixture::Fixture;

const BAD_PATHS: [&str; 7] = ["../escape.md", "/abs.md", "a/../../up.md", "x/./y.md", "nul\0byte.md", "", "a//b.md"];

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn records_and_links_that_lead_outside_are_refused_by_name() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    for n in 0..20 {
        vault.put(&format!("good {n}.md"), format!("good {n}"), 1);
    }
    for path in BAD_PATHS {
        vault.put_raw(path, b"evil", 1);
    }
    let long = format!("{}.md", "n".repeat(297));
    vault.put_raw(&long, b"evil", 1);
    vault.put_raw("linked/file.md", b"evil", 1);
    vault.put_raw("link.md", b"evil", 1);
    let outside = fixture.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir(fixture.dest()).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.dest().join("linked")).unwrap();
    std::fs::write(outside.join("target.md"), "untouched").unwrap();
    std::os::unix::fs::symlink(outside.join("target.md"), fixture.dest().join("link.md")).unwrap();
    let everything = |root: &std::path::Path| Tree::read(root);

    for run in 0..2 {
        let ended = fixture.sync("V", &[]).await;
        assert_eq!(ended.exit, Some(1), "{ended:?}");
        let failed = ended.vault()["failed"].clone();
        let mut names: Vec<&str> = failed.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
        let mut expected: Vec<&str> = BAD_PATHS.to_vec();
        expected.extend([long.as_str(), "linked/file.md", "link.md"]);
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "run {run}");
        for n in 0..20 {
            assert_eq!(
                std::fs::read_to_string(fixture.dest().join(format!("good {n}.md"))).unwrap(),
                format!("good {n}")
            );
        }
        let outside_now = everything(&outside);
        assert_eq!(
            outside_now.files.into_iter().collect::<Vec<_>>(),
            [("target.md".to_owned(), b"untouched".to_vec())]
        );
        let mut beside: Vec<_> = std::fs::read_dir(fixture.folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        beside.sort_unstable();
        assert_eq!(beside, ["dest", "home", "outside"]);
        assert!(!std::path::Path::new("/abs.md").exists());
    }
}
