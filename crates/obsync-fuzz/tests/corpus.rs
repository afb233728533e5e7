//! What is kept in `fuzz/corpus`, without libFuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use obsync_fuzz::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz().join(folder)).expect("a folder of fuzz/");
    entries.map(|entry| entry.expect("an entry").path().file_stem().expect("a name").display().to_string()).collect()
}

#[test]
fn every_check_has_a_program_and_a_corpus() {
    let checks: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), checks);
    assert_eq!(names("corpus"), checks);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let programs =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
    assert_eq!(programs.map(str::to_owned).collect::<BTreeSet<_>>(), checks);
    for (name, _) in TARGETS {
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("obsync_fuzz::{name}::check")), "{name}");
    }
}

/// Every input as it is, and cut off anywhere (at up to 64 places).
#[test]
fn what_is_kept_passes_whole_and_cut_off() {
    for (name, check) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz().join("corpus").join(name)).expect("a corpus") {
            let path = entry.expect("an entry").path();
            let input = fs::read(&path).expect("an input");
            println!("{}", path.display());
            check(&input);
            inputs += 1;
            // Each takes milliseconds, and the end of an input is the end of a change.
            if name == "state_file" {
                continue;
            }
            let step = input.len().div_ceil(64).max(1);
            (0..input.len()).step_by(step).for_each(|end| check(&input[..end]));
        }
        assert!(inputs > 0, "{name} has no inputs");
    }
}
