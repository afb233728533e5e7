//! What becomes of runs of the real program when the account or the vault changes under it, or the service's API fails;
//! the rest of `docs/reliability.md` is in `obsync-adapters/tests/pairs/reliability`.

use futures_util::future::join_all;
use obsync_emulator::{Fault, FaultRule, Place, Schedule};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::reliability::{Outcome, Section};
use obsync_testkit::tree::Tree;
use obsync_testkit::vault::TestVault;

use crate::cloud::{BUCKET, Cloud, TABLE};
use crate::fixture::{EMAIL, Ended, PASSWORD, VAULT_PASSWORD, end};
use crate::line::Line;

/// The columns: whether to a bucket, and whether with a table.
const STORES: [(&str, bool, bool); 4] = [
    ("folder, SQLite", false, false),
    ("folder, DynamoDB", false, true),
    ("S3, SQLite", true, false),
    ("S3, DynamoDB", true, true),
];

/// What goes wrong.
struct Row {
    fault: &'static str,
    /// What the program says of it; empty where it gets over it.
    says: &'static [&'static str],
    begin: fn(&mut Case),
    end: fn(&mut Case),
}

/// A vault and its mirror.
struct Case {
    cloud: Cloud,
    vault: TestVault,
    to_bucket: bool,
    destination: String,
    state: String,
    password: &'static str,
    vault_password: &'static str,
    /// Another way to the service.
    line: Line,
    /// The vault before its last change.
    before: Tree,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_account_and_the_vault() {
    let mut section = Section::new("the account and the vault", STORES.map(|(name, ..)| name));
    for row in rows() {
        let outcomes = join_all(STORES.map(|(_, bucket, table)| met_by(&row, bucket, table))).await;
        section.add(row.fault, &outcomes.into_iter().map(Some).collect::<Vec<_>>(), &row.says.join(", "));
    }
    section.publish();
}

fn rows() -> Vec<Row> {
    let nothing = |_: &mut Case| {};
    let over = |case: &mut Case| case.cloud.fixture.emulator.faults().clear();
    vec![
        Row {
            fault: "the token ends between two runs",
            says: &[],
            begin: |case| case.cloud.fixture.emulator.expire_tokens().unwrap(),
            end: nothing,
        },
        Row {
            fault: "the token ends in the midst of a run",
            says: &["obsync login"],
            begin: |case| case.strikes(Place::Init, Fault::ExpiredToken, Schedule::default().after(1)),
            end: over,
        },
        Row {
            fault: "no token is good for a session",
            says: &["obsync login"],
            begin: |case| case.strikes(Place::Init, Fault::ExpiredToken, Schedule::default().always()),
            end: over,
        },
        Row {
            fault: "the API answers with 503, twice",
            says: &[],
            begin: |case| case.strikes(Place::AnyHttp, Fault::Status(503), Schedule::default().times(2)),
            end: over,
        },
        Row {
            fault: "the API answers with 503",
            says: &["503"],
            begin: |case| case.strikes(Place::AnyHttp, Fault::Status(503), Schedule::default().always()),
            end: over,
        },
        Row {
            fault: "the API is cut off, twice",
            says: &[],
            begin: |case| case.strikes(Place::AnyHttp, Fault::Cut, Schedule::default().times(2)),
            end: over,
        },
        Row {
            fault: "the API answers with nonsense",
            says: &["JSON"],
            begin: |case| case.strikes(Place::AnyHttp, Fault::BadJson, Schedule::default().always()),
            end: over,
        },
        Row {
            fault: "the account's password is another, and no token is good",
            says: &["password"],
            begin: |case| case.cloud.fixture.emulator.change_password(EMAIL, "another-pass-1").unwrap(),
            end: |case| case.password = "another-pass-1",
        },
        Row {
            fault: "the vault is encrypted anew under another password",
            says: &["encryption password"],
            begin: |case| case.vault.reencrypt(EncryptionVersion::V3, "another-pass-2"),
            end: |case| case.vault_password = "another-pass-2",
        },
        Row {
            fault: "the vault is encrypted anew, from version 0 to version 3",
            says: &[],
            begin: |case| case.vault.reencrypt(EncryptionVersion::V3, VAULT_PASSWORD),
            end: nothing,
        },
        Row {
            fault: "the vault moves to another host",
            says: &[],
            begin: |case| {
                let host = Some(case.line.host());
                case.cloud.fixture.emulator.set_vault_host(case.vault.id(), host).unwrap();
            },
            end: nothing,
        },
        Row {
            fault: "the subscription ends",
            says: &["subscription"],
            begin: |case| case.cloud.fixture.emulator.set_subscription_expired(true),
            end: |case| case.cloud.fixture.emulator.set_subscription_expired(false),
        },
    ]
}

async fn met_by(row: &Row, to_bucket: bool, with_table: bool) -> Outcome {
    let mut case = Case::new(to_bucket, with_table).await;
    let first = case.run().await;
    assert_eq!(first.exit, Some(0), "{first:?}");
    let mut outcome = Outcome { struck: 1, ..Outcome::default() };
    case.change(1);
    (row.begin)(&mut case);
    let ended = case.run().await;
    case.assert_no_wrong_byte();
    if ended.exit == Some(0) {
        outcome.exact = 1;
        case.assert_exact(row);
    } else {
        outcome.told = 1;
        assert!(row.says.iter().any(|says| ended.stderr.contains(says)), "{}: {ended:?}", row.fault);
    }
    (row.end)(&mut case);
    case.change(2);
    let next = case.run().await;
    assert_eq!(next.exit, Some(0), "after {}: {next:?}", row.fault);
    case.assert_exact(row);
    outcome
}

impl Case {
    async fn new(to_bucket: bool, with_table: bool) -> Self {
        let cloud = Cloud::new().await;
        let mut vault = cloud.fixture.vault("V", EncryptionVersion::V0);
        vault.fill(&Shape { folders: 2, ..Shape::notes(7, 10) });
        let destination = if to_bucket { format!("s3://{BUCKET}/notes") } else { cloud.path("mirror") };
        let state = if with_table { format!("dynamodb:{TABLE}") } else { format!("sqlite:{}", cloud.path("state.db")) };
        let line = Line::to(cloud.fixture.emulator.address()).await;
        Self {
            cloud,
            vault,
            to_bucket,
            destination,
            state,
            password: PASSWORD,
            vault_password: VAULT_PASSWORD,
            line,
            before: Tree::default(),
        }
    }

    fn change(&mut self, time: i64) {
        self.before = self.vault.tree();
        self.vault.random_changes(u64::try_from(time).unwrap(), 4);
        self.vault.put("always edited.md", format!("for the time number {time}"), time);
    }

    fn strikes(&self, place: Place, fault: Fault, schedule: Schedule) {
        self.cloud.fixture.emulator.faults().add(FaultRule::new(place, fault).by(schedule));
    }

    async fn run(&self) -> Ended {
        let args = ["sync", "V", "--to", &self.destination, "--state", &self.state, "--json"];
        let mut command = self.cloud.command(&args);
        command.env("OBSIDIAN_PASSWORD", self.password).env("OBSIDIAN_VAULT_PASSWORD", self.vault_password);
        end(command).await
    }

    fn mirror(&self) -> Tree {
        if self.to_bucket {
            return self.cloud.objects("notes/");
        }
        Tree::read(self.destination.as_ref()).filtered(|path| !path.starts_with(".obsync-tmp"))
    }

    /// Each file is what the vault has, or had before the change.
    fn assert_no_wrong_byte(&self) {
        let (was, is, mirror) = (&self.before, self.vault.tree(), self.mirror());
        for (path, content) in &mirror.files {
            let versions = [was.files.get(path), is.files.get(path)];
            assert!(versions.contains(&Some(content)), "{path} is no version of it");
        }
    }

    fn assert_exact(&self, row: &Row) {
        let vault = if self.to_bucket { self.vault.tree().files_only() } else { self.vault.tree() };
        assert_eq!(vault.differences(&self.mirror()), Vec::<String>::new(), "{}", row.fault);
    }
}
