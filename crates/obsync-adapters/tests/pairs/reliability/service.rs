//! The service, and the way to it.

use obsync_emulator::{Fault, FaultRule, Place};

use super::{End, FolderSqlite, MUCH_PATIENCE, PATIENCE, Row, S3DynamoDb, World, publish};

const CUT: &[&str] = &["the connection broke", "closed the connection"];
const SILENT: &[&str] = &["no answer"];
const NONSENSE: &[&str] = &["JSON"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_service() {
    let rows = vec![
        at("a connection is cut at the upgrade", CUT, Place::Connect, Fault::Cut),
        at("a connection is answered with 503", &["status 503"], Place::Connect, Fault::Status(503)),
        at("a connection is answered with 429", &["status 429"], Place::Connect, Fault::Status(429)),
        at(
            "a connection is answered with a page that says overloaded",
            &["status 200"],
            Place::Connect,
            Fault::Overloaded,
        ),
        at("a connection is not answered", &["no connection"], Place::Connect, Fault::Silence),
        at("a session is cut at its beginning", CUT, Place::Init, Fault::Cut),
        at("a session is refused in words that nobody knows", &["busy"], Place::Init, Fault::Refuse("busy".into())),
        at("a session is not answered", SILENT, Place::Init, Fault::Silence),
        at("a session is answered with nonsense", NONSENSE, Place::Init, Fault::BadJson),
        at("a listing is cut", CUT, Place::Listing, Fault::CutAfter(3)),
        at("a listing stops", SILENT, Place::Listing, Fault::Silence),
        at("a listing has nonsense in it", NONSENSE, Place::Listing, Fault::BadJson),
        at("a listing has every record twice", &[], Place::Listing, Fault::DuplicateRecords),
        at("a listing comes at 20 kB/s", &[], Place::Listing, Fault::Trickle(20_000)),
        at("a pull is cut before its answer", CUT, Place::Pull, Fault::Cut),
        at("a pull is cut within a piece", CUT, Place::Pull, Fault::CutInPiece(0)),
        at("a pull is cut after a piece", CUT, Place::Pull, Fault::CutAfter(0)),
        at("a pull is not answered", SILENT, Place::Pull, Fault::Silence),
        at("a pull is answered with nonsense", NONSENSE, Place::Pull, Fault::BadJson),
        at("a pull is refused in words that nobody knows", &["busy"], Place::Pull, Fault::Refuse("busy".into())),
        at("content comes at 200 kB/s", &[], Place::Pull, Fault::Trickle(200_000)),
        at("content has a wrong bit", &["authentication tag"], Place::Pull, Fault::FlipBit),
        at("content lacks its last byte", &["authentication tag", "bytes"], Place::Pull, Fault::ShortPiece),
        at("content has a piece too many", &["nobody asked for"], Place::Pull, Fault::ExtraPiece),
        at("content is announced with another size", &["bytes"], Place::Pull, Fault::WrongSize(7)),
        at("content is announced with 2^60 bytes", &["bytes"], Place::Pull, Fault::WrongSize(1 << 60)),
        at("content is announced with no piece", &["piece"], Place::Pull, Fault::WrongPieces(0)),
        at("content is announced with a million pieces", &["piece"], Place::Pull, Fault::WrongPieces(1_000_000)),
        at("content is gone", &["no longer"], Place::Pull, Fault::Gone),
    ];
    publish("the service", &[FolderSqlite, S3DynamoDb], rows).await;
}

fn at(fault: &'static str, says: &'static [&'static str], place: Place, what: Fault) -> Row {
    let patience = if what == Fault::Silence { PATIENCE } else { MUCH_PATIENCE };
    let begin = move |world: &World, schedule| -> End {
        let faults = world.fixture.emulator.faults();
        let id = faults.add(FaultRule::new(place.clone(), what.clone()).by(schedule));
        Box::new(move || {
            faults.remove(id);
            faults.struck(id)
        })
    };
    Row { patience, ..Row::new(fault, says, begin) }
}
