//! Asking a person, where there is one.

use std::io::{self, BufRead, IsTerminal, Write};

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::failure::Failure;

/// Whether someone can be asked.
pub(crate) fn possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line.
pub(crate) fn line(question: &str) -> Result<String, Failure> {
    eprint!("{question}: ");
    io::stderr().flush().map_err(|e| unreadable(&e))?;
    read_line()
}

/// Asks for a secret, without showing what is typed.
pub(crate) fn secret(question: &str) -> Result<SecretString, Failure> {
    rpassword::prompt_password(format!("{question}: ")).map(SecretString::from).map_err(|e| unreadable(&e))
}

/// Reads a secret from the first line of standard input.
pub(crate) fn secret_from_stdin() -> Result<SecretString, Failure> {
    read_line().map(Zeroizing::new).map(|line| SecretString::from(line.as_str()))
}

fn read_line() -> Result<String, Failure> {
    // Memory that grows leaves copies behind, which nobody clears; a longer line is no password.
    let mut line = String::with_capacity(1024);
    io::stdin().lock().read_line(&mut line).map_err(|e| unreadable(&e))?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::usage(format!("standard input cannot be read: {error}"), "")
}
