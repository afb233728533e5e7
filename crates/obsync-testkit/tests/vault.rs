//! What the device wrote is what the emulator holds, in every version and under every kind of key.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use bytes::BytesMut;
use obsync_emulator::{Account, Config, Emulator, ListingShape, RenameShape};
use obsync_proto::ContentHash;
use obsync_proto::crypto::{ContentDecryptor, EncryptionVersion};
use obsync_testkit::generate::Shape;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;

const OWNER: &str = "me@example.com";
const PASSWORD: &str = "correct horse";

async fn emulator() -> Arc<Emulator> {
    let emulator = Emulator::start(Config::default()).await.unwrap();
    emulator.create_account(Account::new(OWNER, "secret")).unwrap();
    Arc::new(emulator)
}

/// Reads the live records as a client would.
async fn held(emulator: &Emulator, vault: &TestVault) -> Tree {
    let mut tree = Tree::default();
    for record in emulator.live_records(vault.id()).unwrap() {
        let path = vault.decode(&record.path);
        if record.folder {
            tree.folders.insert(path);
            continue;
        }
        let content = emulator.content(vault.id(), record.uid).await.unwrap().unwrap();
        assert_eq!(content.len() as u64, record.size, "{path}");
        let mut decryptor = ContentDecryptor::new(&vault.keys().content, record.size).unwrap();
        let plaintext = decryptor.update(BytesMut::from(content)).unwrap();
        let hash: ContentHash = vault.decode(&record.hash).parse().unwrap();
        decryptor.finish(Some(hash)).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(vault.mtimes()[&path], record.mtime, "{path}");
        assert_eq!(vault.uid(&path), record.uid, "{path}");
        tree.files.insert(path, plaintext.to_vec());
    }
    tree
}

#[tokio::test]
async fn generated_vault_is_at_the_emulator() {
    let emulator = emulator().await;
    for version in [EncryptionVersion::V0, EncryptionVersion::V2, EncryptionVersion::V3] {
        let mut vault = TestVault::create(&emulator, OWNER, "Notes", version, PASSWORD);
        vault.fill(&Shape::small(1));
        assert_same_tree(&vault.tree(), &held(&emulator, &vault).await);
        for seed in 0..5 {
            vault.random_changes(seed, 40);
            assert_same_tree(&vault.tree(), &held(&emulator, &vault).await);
        }
    }
}

#[tokio::test]
async fn managed_vault_has_its_password_in_the_row() {
    let emulator = emulator().await;
    let mut vault = TestVault::create_managed(&emulator, OWNER, "Managed", EncryptionVersion::V3, PASSWORD);
    vault.put("a/b.md", &b"x"[..], 5);
    assert_same_tree(&vault.tree(), &held(&emulator, &vault).await);
    assert_eq!(vault.tree().folders.len(), 1);
}

#[tokio::test]
async fn rename_is_a_new_record_and_a_deleted_one() {
    use RenameShape::{NewOnly, NewThenOld, OldThenNew, OneUid};
    let (new, old) = (("new.md", false, Some("old.md")), ("old.md", true, None));
    for (shape, expected) in
        [(NewThenOld, [new, old]), (OldThenNew, [old, new]), (OneUid, [new, old]), (NewOnly, [new, old])]
    {
        let emulator = emulator().await;
        emulator.configure(|config| {
            config.rename = shape;
            config.listing = ListingShape { deleted: true, ..ListingShape::default() };
        });
        let mut vault = TestVault::create(&emulator, OWNER, "Renames", EncryptionVersion::V2, PASSWORD);
        vault.put("old.md", &b"note"[..], 7);
        vault.rename("old.md", "new.md");
        let decode = |text: &str| vault.decode(text);
        let records = emulator.records(vault.id()).unwrap();
        let told = records[1..].iter().map(|r| (decode(&r.path), r.deleted, r.relatedpath.as_deref().map(decode)));
        let expected = expected
            .map(|(path, deleted, old): (&str, _, Option<&str>)| (path.to_owned(), deleted, old.map(str::to_owned)));
        assert_eq!(told.collect::<Vec<_>>(), expected, "{shape:?}");
        vault.put("folder/sub/note.md", &b"other"[..], 8);
        vault.rename("folder", "moved/away");
        assert_same_tree(&vault.tree(), &held(&emulator, &vault).await);
    }
}

#[tokio::test]
async fn hostile_path_is_a_record_that_the_model_does_not_know() {
    let emulator = emulator().await;
    let mut vault = TestVault::create(&emulator, OWNER, "Hostile", EncryptionVersion::V3, PASSWORD);
    let uid = vault.put_raw("../escape.md", b"out", 1);
    let (mut record, ciphertext) = vault.sealed("damaged.md", b"note", 1);
    record.hash.clear();
    vault.push_record(record, Some(ciphertext.slice(1..)));
    let records = emulator.records(vault.id()).unwrap();
    assert_eq!((records.len(), records[0].uid), (2, uid));
    assert_eq!(vault.decode(&records[0].path), "../escape.md");
    assert_same_tree(&Tree::default(), &vault.tree());
}
