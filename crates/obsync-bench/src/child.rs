//! Processes: servers on a leash, and runs that are measured.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;

/// Time between two looks at a process that is measured.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Ticks a second of the times in `/proc`, the same on all of Linux (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// This program under another name, which is the part that it plays.
pub(crate) fn this_program(part: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(part);
    Ok(command)
}

/// A server in a process of its own. It reads one question a line and answers each with a line; it ends with its
/// standard input, so also when this process dies.
pub(crate) struct Server {
    part: &'static str,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a server answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Failed(String),
}

impl Server {
    /// Starts the server that [`serve`] is called in.
    pub(crate) fn start(part: &'static str) -> Result<Self> {
        let mut process = this_program(part)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (questions, answers) = pipes.ok_or("a server without pipes")?;
        Ok(Self { part, process, questions, answers: BufReader::new(answers) })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<A> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        self.questions.write_all(&line)?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(format!("{} has died", self.part).into());
        }
        match serde_json::from_str(&answer)? {
            Answer::Done(value) => Ok(serde_json::from_value(value)?),
            Answer::Failed(error) => Err(format!("{}: {error}", self.part).into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's side: answers until there are no more questions.
pub(crate) fn serve<Q: DeserializeOwned>(mut answer: impl FnMut(Q) -> Result<Value>) -> Result<()> {
    let mut out = io::stdout();
    for line in io::stdin().lines() {
        let answered = serde_json::from_str(&line?).map_err(Into::into).and_then(&mut answer);
        let answer = answered.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Done);
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// The most bytes of memory that it had at once.
    pub(crate) peak: u64,
    /// Processor time, its own and the system's for it.
    pub(crate) cpu: Duration,
}

impl Usage {
    /// What `/proc` says; `None` once the process has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = peak.trim().trim_end_matches("kB").trim_end().parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which is in parentheses and can hold anything: the 14th and 15th value are the times.
        let values = stat.rsplit(')').next()?;
        let ticks: f64 = values.split_whitespace().skip(11).take(2).filter_map(|value| value.parse::<f64>().ok()).sum();
        Some(Self { peak: kib * 1024, cpu: Duration::from_secs_f64(ticks / TICKS) })
    }
}

/// A process that was run to its end.
#[derive(Debug)]
pub(crate) struct Run {
    /// From before it was started until after it had ended.
    pub(crate) time: Duration,
    /// What it used, up to [`LOOK_EVERY`] before its end.
    pub(crate) usage: Usage,
    /// What it wrote to standard output.
    pub(crate) output: Vec<u8>,
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

impl PartialOrd for Run {
    /// By time.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.time.partial_cmp(&other.time)
    }
}

/// Runs a process that has to succeed. What it says on standard error goes to the file `log`.
pub(crate) fn run(mut command: Command, log: &Path) -> Result<Run> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?);
    let started = Instant::now();
    let mut process = command.spawn()?;
    let watch = Watch::start(process.id());
    let mut output = Vec::new();
    if let Some(mut stdout) = process.stdout.take() {
        stdout.read_to_end(&mut output)?;
    }
    let status = process.wait()?;
    let time = started.elapsed();
    let usage = watch.end();
    if status.success() {
        return Ok(Run { time, usage, output });
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    Err(format!("{} ended with {status}: {}", command.get_program().display(), said.trim_end()).into())
}

/// Looks at a process from a thread, so that whoever waits for it hears of its end at once.
struct Watch {
    ended: Arc<AtomicBool>,
    looking: thread::JoinHandle<Usage>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let ended = Arc::<AtomicBool>::default();
        let stop = ended.clone();
        let looking = thread::spawn(move || {
            let mut last = Usage::default();
            while !stop.load(atomic::Ordering::Relaxed) {
                // A peak only grows: the last one that was seen counts.
                last = Usage::of(pid).unwrap_or(last);
                thread::sleep(LOOK_EVERY);
            }
            last
        });
        Self { ended, looking }
    }

    fn end(self) -> Usage {
        self.ended.store(true, atomic::Ordering::Relaxed);
        self.looking.join().unwrap_or_default()
    }
}
