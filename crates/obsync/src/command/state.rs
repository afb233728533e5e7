//! `obsync state`: the memory of earlier runs, out of a store, into a store, or from one to another.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obsync_core::mirror::Options;
use obsync_core::state::StateStore;
use obsync_core::transfer::{Import, ImportError, Part, export};
use serde::{Deserialize, Serialize};

use crate::cli::State;
use crate::failure::{Exit, Failure};
use crate::memory::Location;
use crate::settings::Settings;
use crate::text::count;

/// The first line of an exported state.
#[derive(Debug, Serialize, Deserialize)]
struct Title {
    obsync_state: u32,
}

/// The form of what follows the title. Counts up when it changes.
const FORM: u32 = 1;

pub(crate) async fn run(settings: &Settings, command: &State) -> Result<Exit, Failure> {
    let location = |text: Option<&str>| Location::parse(text, &settings.home);
    let cloud = &settings.cloud;
    match command {
        State::Export { file, state } => {
            write(&location(state.location.as_deref())?.open_existing(cloud).await?, file).await
        }
        State::Import { file, state } => read(location(state.location.as_deref())?.open(cloud).await?, file).await,
        State::Migrate { from, to } if from == to => Err(Failure::usage(
            format!("{from} is both where the state comes from and where it goes"),
            "give two different stores",
        )),
        State::Migrate { from, to } => {
            let from = location(Some(from))?.open_existing(cloud).await?;
            let to = location(Some(to))?.open(cloud).await?;
            let mut import = Import::new(to, options());
            for (id, _) in from.mirrors().await? {
                export(&from, &id, &options(), async |part| import.take(part).await).await?;
            }
            told("Brought", import.end()?, ". The old state stays as it is; do not run on both");
            Ok(Exit::Done)
        }
    }
}

fn options() -> Options {
    Options { holder: format!("obsync state, process {}", std::process::id()), ..Options::default() }
}

fn told(done: &str, mirrors: u64, rest: &str) {
    eprintln!("{done} the state of {}{rest}.", count(mirrors, "mirror"));
}

async fn write(store: &Arc<dyn StateStore>, file: &Path) -> Result<Exit, Failure> {
    let mirrors = store.mirrors().await?;
    let mut lines = Lines::create(file)?;
    lines.write(&Title { obsync_state: FORM })?;
    for (id, _) in &mirrors {
        export(store, id, &options(), async |part| lines.write(&part)).await?;
    }
    lines.end()?;
    told("Exported", mirrors.len() as u64, "");
    Ok(Exit::Done)
}

async fn read(store: Arc<dyn StateStore>, file: &Path) -> Result<Exit, Failure> {
    let malformed = |line: usize, problem: &dyn std::fmt::Display| {
        Failure::usage(
            format!("{}, line {line}: {problem}", file.display()),
            "give a file that `obsync state export` has written; the mirrors before this line came in",
        )
    };
    let mut import = Import::new(store, options());
    let mut last = 0;
    for (n, line) in (1..).zip(open(file)?.lines()) {
        last = n;
        let line = line.map_err(|e| malformed(n, &e))?;
        if n == 1 {
            let title: Title = serde_json::from_str(&line).map_err(|e| malformed(n, &e))?;
            if title.obsync_state != FORM {
                return Err(malformed(n, &format_args!("form {} of another version of obsync", title.obsync_state)));
            }
            continue;
        }
        let part: Part = serde_json::from_str(&line).map_err(|e| malformed(n, &e))?;
        import.take(part).await.map_err(|error| match error {
            ImportError::Malformed(problem) => malformed(n, &problem),
            ImportError::State(error) => error.into(),
        })?;
    }
    if last == 0 {
        return Err(malformed(1, &"the file is empty"));
    }
    let mirrors = import.end().map_err(|error| malformed(last, &error))?;
    told("Imported", mirrors, "");
    Ok(Exit::Done)
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::State(error) => error.into(),
            ImportError::Malformed(problem) => Self::new(
                Exit::Unreachable,
                problem,
                "the store that the state comes from changed meanwhile; run again",
            ),
        }
    }
}

/// Standard input for `-`.
fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let opened = File::open(file)
        .map_err(|e| Failure::usage(format!("{}: {e}", file.display()), "give a file that this user can read, or -"))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// JSON, one value a line, into a file or to standard output.
struct Lines {
    place: PathBuf,
    out: BufWriter<Box<dyn Write>>,
}

impl Lines {
    /// Names of files are nobody else's business: the file is its owner's alone.
    fn create(file: &Path) -> Result<Self, Failure> {
        let place = file.to_owned();
        if file == Path::new("-") {
            return Ok(Self { place, out: BufWriter::new(Box::new(std::io::stdout())) });
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let opened = options.open(file).map_err(|e| failed(&place, &e))?;
        Ok(Self { place, out: BufWriter::new(Box::new(opened)) })
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value).map_err(|e| failed(&self.place, &e.into()))?;
        self.out.write_all(b"\n").map_err(|e| failed(&self.place, &e))
    }

    fn end(mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|e| failed(&self.place, &e))
    }
}

fn failed(place: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("{}: {error}", place.display()),
        "give a file that this user can write, or - for standard output",
    )
}
