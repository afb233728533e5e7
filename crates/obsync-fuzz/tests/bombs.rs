//! Inputs that are small to send and large to read: none takes more memory or time than its limit.
//!
//! One test, so that nothing else of the process is in its figures.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use miniz_oxide::deflate::compress_to_vec;
use obsync_adapters::state::packed::head::{Attributes, MOST_SHARDS, Reading, pack_versions, read, read_generations};
use obsync_adapters::state::packed::shard::{self, pack_bytes};
use obsync_fuzz::{answer, event, head, message, path, record, secret, session, shard as shards, string};
use obsync_proto::ContentHash;
use obsync_proto::wire::api::{AnswerError, SignedIn, parse_answer};
use obsync_proto::wire::limits::{MAX_ANSWER, MAX_ENCODED, MAX_TEXT};

/// For each input: the program is to run in 512 MB, and does more than one thing at a time.
const MOST_MEMORY: u64 = 160 << 20;

/// Of this whole process, with the inputs, and with what the allocator keeps of one for the next: that is not in the
/// figures above.
const MOST_IN_ALL: u64 = 256 << 20;

/// Bytes of a message in a queue.
const MOST_EVENT: usize = 256 << 10;

/// Of a processor, in a debug build.
const MOST_TIME: Duration = Duration::from_secs(8);

/// Runs `work`, and holds it to the limits that this system lets us measure.
fn bounded(what: &str, work: impl FnOnce()) {
    // The peak from here on.
    let before = fs::write("/proc/self/clear_refs", "5").ok().map(|()| memory("VmRSS:"));
    let started = processor_time();
    work();
    if let Some(before) = before {
        let peak = memory("VmHWM:");
        let used = peak.saturating_sub(before);
        println!("{what}: {} MiB more, {} MiB in all", used >> 20, peak >> 20);
        assert!(used <= MOST_MEMORY, "{what} took {} MiB", used >> 20);
        assert!(peak <= MOST_IN_ALL, "{what}: {} MiB in all", peak >> 20);
    }
    if let (Some(started), Some(ended)) = (started, processor_time()) {
        let took = ended - started;
        println!("{what}: {took:?}");
        assert!(took <= MOST_TIME, "{what} took {took:?}");
    }
}

/// Says what cannot be measured here. Not every kernel and sandbox has what it takes.
fn tell_what_is_not_measured() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        eprintln!("not tried here: how much memory it takes (/proc/self/clear_refs: {error})");
    }
    if processor_time().is_none() {
        eprintln!("not tried here: how long it takes (/proc/thread-self/schedstat)");
    }
}

/// What this thread has had: how busy the machine is does not count.
fn processor_time() -> Option<Duration> {
    let times = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(times.split(' ').next()?.parse().ok()?))
}

/// Bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// `start`, as many of `unit` as have room in `most` bytes, and `end`.
fn filled(start: &str, unit: &str, end: &str, most: usize) -> String {
    let count = (most - start.len() - end.len()) / unit.len();
    format!("{start}{}{end}", unit.repeat(count))
}

/// A shard's bytes with this in them.
fn sealed(plain: &[u8]) -> Vec<u8> {
    let packed = compress_to_vec(plain, 1);
    let mut body = Vec::new();
    let mut length = packed.len();
    while length >= 0x80 {
        body.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    body.push(length.to_le_bytes()[0]);
    body.extend_from_slice(&packed);
    let mut bytes = ContentHash::of(&body).0[..8].to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

#[test]
fn nothing_that_is_small_to_send_is_large_to_read() {
    tell_what_is_not_measured();
    // Keys are made once.
    string::check(b"warm up");
    texts();
    conversations();
    state();
}

fn texts() {
    for (what, start, unit, end) in [
        ("open arrays", "", "[", ""),
        ("open objects", "", r#"{"a":"#, ""),
        ("arrays under an unknown key", r#"{"a":"#, "[", ""),
        ("arrays as an error", r#"{"error":"#, "[", ""),
        ("objects as an error", r#"{"error":[0"#, r#",{"":0}"#, "]}"),
        ("vaults", r#"{"vaults":[{"id":"a","name":"","host":""}"#, r#",{"id":"a","name":"","host":""}"#, "]}"),
        ("a long text", r#"{"error":""#, "a", r#""}"#),
        ("spaces", "", " ", ""),
    ] {
        let text = filled(start, unit, end, MAX_TEXT);
        bounded(&format!("answer: {what}"), || answer::check(text.as_bytes()));
        bounded(&format!("message: {what}"), || message::check(text.as_bytes()));
        bounded(&format!("secret: {what}"), || secret::check(text.as_bytes()));
        bounded(&format!("head: {what}"), || head::check(text.as_bytes()));
        // Kept as it is, and several times over by the check.
        let text = filled(start, unit, end, MOST_EVENT);
        bounded(&format!("event: {what}"), || event::check(text.as_bytes()));
    }
    let objects = filled(r#"{"error":[0"#, r#",{"":0}"#, "]}", MAX_ANSWER);
    bounded("answer: objects as an error, as many as may be", || {
        assert!(matches!(parse_answer::<SignedIn>(objects.as_bytes()), Err(AnswerError::Refused(_))));
    });
    let ten = 10 << 20;
    for (what, text) in
        [("one name", "a".repeat(ten)), ("folders", "a/".repeat(ten / 2)), ("up", "../".repeat(ten / 3))]
    {
        bounded(&format!("path: {what} of 10 MiB"), || path::check(text.as_bytes()));
        bounded(&format!("string: {what} of 10 MiB"), || string::check(text.as_bytes()));
    }
    for length in [MAX_ENCODED, MAX_ENCODED + 1, MAX_TEXT - 100, MAX_TEXT] {
        let text = format!(r#"{{"op":"push","uid":1,"path":"{}"}}"#, "a".repeat(length));
        bounded(&format!("message: a path of {length} bytes"), || message::check(text.as_bytes()));
        bounded(&format!("record: a path of {length} bytes"), || record::check(text.as_bytes()));
    }
}

fn conversations() {
    let pull = "<{\"res\":\"ok\"}\n<{\"op\":\"ready\"}\n>1\n";
    let two_to_60 = 1_u64 << 60;
    for (what, text) in [
        ("a million pieces", format!("{pull}<{{\"size\":5,\"pieces\":1000000}}\n{}", "=0\n".repeat(1_000_000))),
        (
            "as many empty pieces as may be",
            format!("{pull}<{{\"size\":5,\"pieces\":65536}}\n{}", "=0\n".repeat(65_536)),
        ),
        ("2^60 bytes", format!("{pull}<{{\"size\":{two_to_60},\"pieces\":{two_to_60}}}\n=1\n")),
        ("a million frames after the end", format!("=1\n{}", "<{}\n".repeat(1_000_000))),
        ("pulls", pull.to_owned() + &"<{\"deleted\":true}\n>2\n".repeat(100_000)),
    ] {
        bounded(&format!("session: {what}"), || session::check(text.as_bytes()));
    }
    for size in [two_to_60 - 1, two_to_60, u64::MAX, i64::MAX.cast_unsigned()] {
        let text = format!(r#"{{"op":"push","uid":1,"path":"a","size":{size}}}"#);
        bounded(&format!("record: {size} bytes"), || record::check(text.as_bytes()));
    }
}

fn state() {
    // What is in a table's item of at most 400 KB.
    let zeros = sealed(&vec![0; 64 << 20]);
    let mut same = vec![0x80, 0x80, 0x80, 0x08];
    same.extend_from_slice(&b"a\0".repeat(15 << 20));
    let same = sealed(&same);
    assert!(zeros.len().max(same.len()) < 2 << 20);
    bounded("shard: zeros", || shards::check(&zeros));
    bounded("shard: one path, millions of times", || {
        assert_eq!(shard::unpack(&same, 0, 1), None);
    });

    let good = r#"{"layout":1,"destination":"d","head":{"cursor":1,"vault_name":"","filter":"","files":0},"generation":"g","shards":3,"entries":0,"parts_until":null,"pending":null}"#;
    let believed = |state: &str, versions: &[u8]| {
        let (state, generation, versions) = (Some(state), Some("g"), Some(versions));
        matches!(read(&Attributes { state, generation, versions, ..Attributes::default() }, None, 0), Reading::Good(_))
    };
    assert!(believed(good, &pack_versions(&[1, 2, 3])));
    let zeros = pack_bytes(&vec![0; 31 << 20]);
    for shards in [MOST_SHARDS, MOST_SHARDS + 1, 31 << 20, u32::MAX] {
        let state = good.replace("\"shards\":3", &format!("\"shards\":{shards}"));
        bounded(&format!("head: {shards} shards"), || assert!(!believed(&state, &zeros)));
    }
    let most = good.replace("\"shards\":3", &format!("\"shards\":{MOST_SHARDS}"));
    bounded("head: as many shards as may be", || {
        assert!(believed(&most, &pack_bytes(&vec![0; MOST_SHARDS as usize])));
    });
    let parts = good.replace("\"pending\":null", r#""pending":{"slot":0,"parts":4294967295,"check":""}"#);
    bounded("head: 2^32 parts", || assert!(!believed(&parts, &pack_versions(&[1, 2, 3]))));
    bounded("generations: 2^32 shards", || {
        assert_eq!(read_generations(r#"[{"generation":"g","shards":4294967295}]"#), []);
    });
}
