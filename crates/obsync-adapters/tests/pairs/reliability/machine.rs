//! The machine's clock, and other runs.

use obsync_testkit::clock::JumpingClock;
use tokio::runtime::Handle;

use super::{FolderDynamoDb, FolderSqlite, HOUR, Row, S3DynamoDb, S3Sqlite, World, by_turns, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_machine() {
    let rows = vec![
        Row::new("the clock that leases end by jumps an hour ahead and back", &[], |world, schedule| {
            let clock = clock(world);
            by_turns(schedule, move |on| jump(&clock, on))
        }),
        Row::new("the clock that leases end by jumps an hour back and ahead", &[], |world, schedule| {
            let clock = clock(world);
            by_turns(schedule, move |on| jump(&clock, !on))
        }),
        Row {
            exact: 0,
            ..Row::new(
                "another run takes the lease once it has run out",
                &["lost its lease", "another run"],
                |world, schedule| {
                    let (clock, mirror, state) =
                        (clock(world), world.fixture.mirror().id(), world.fixture.state.clone());
                    let (runtime, mut held) = (Handle::current(), None);
                    by_turns(schedule, move |on| {
                        runtime.block_on(async {
                            match held.take() {
                                Some(lease) => drop(state.unlock(lease).await),
                                None => {
                                    clock.forward(HOUR);
                                    held = state.lock(&mirror, "another", HOUR / 60).await.ok().map(|(lease, _)| lease);
                                }
                            }
                        });
                        held.is_some() == on
                    })
                },
            )
        },
    ];
    publish("the machine", &[FolderSqlite, FolderDynamoDb, S3Sqlite, S3DynamoDb], rows).await;
}

fn jump(clock: &JumpingClock, ahead: bool) -> bool {
    if ahead {
        clock.forward(HOUR);
    } else {
        clock.back(HOUR);
    }
    true
}

fn clock(world: &World) -> JumpingClock {
    let of_sqlite = world.sqlite.as_ref().map(|sqlite| sqlite.clock.clone());
    of_sqlite.or_else(|| world.dynamodb.as_ref().map(|dynamodb| dynamodb.clock.clone())).unwrap()
}
