//! What the system is not to do with the memory of the programs, which has passwords and keys in it.

/// No core dump is written where the program crashes, and, on Linux, no other program of this user reads its memory or its
/// environment. The administrator's can. Where the system refuses, the program runs on: it is not what it needs to work.
#[cfg(unix)]
pub(crate) fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // Where dumps go to a program instead of a file, the limit does not count; this does.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// There is nothing of the kind to ask for.
#[cfg(not(unix))]
pub(crate) fn keep_memory_private() {}
