//! `obsync completions SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Exit;

pub(crate) fn run(shell: Shell) -> Exit {
    clap_complete::generate(shell, &mut Cli::command(), "obsync", &mut std::io::stdout());
    Exit::Done
}
