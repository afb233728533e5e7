//! Exit codes, and the one place where an error of a library becomes a message with advice.

use std::fmt;

use obsync_adapters::remote::AccountError;
use obsync_core::mirror::{Report, RunError};
use obsync_core::remote::RemoteErrorKind;
use obsync_core::state::StateError;

/// How the program ends (`contract.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// Done in part, or `verify` found differences.
    Partly = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Sign-in or vault password refused.
    Refused = 3,
    /// No such vault.
    NoVault = 4,
    /// Another run holds the lease.
    Leased = 5,
    /// Server or destination out of reach.
    Unreachable = 6,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked to: what happened, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// The fact and its values.
    pub problem: String,
    /// What to do; may be empty.
    pub advice: String,
}

impl Failure {
    /// A failure with advice.
    pub fn new(exit: Exit, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit, problem: problem.into(), advice: advice.into() }
    }

    /// A fault in what the user wrote.
    pub fn usage(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Exit::Usage, problem, advice)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.advice) }
    }
}

impl std::error::Error for Failure {}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        let problem = error.to_string();
        let (exit, advice) = match error {
            AccountError::NoCredentials => (
                Exit::Refused,
                "run `obsync login`, or set OBSIDIAN_EMAIL and OBSIDIAN_PASSWORD (or OBSIDIAN_AUTH_TOKEN)",
            ),
            AccountError::WrongCredentials(_) => {
                (Exit::Refused, "check OBSIDIAN_EMAIL and OBSIDIAN_PASSWORD, or run `obsync login` and type them again")
            }
            AccountError::MfaRequired => (
                Exit::Refused,
                "set OBSIDIAN_TOTP_SECRET to the Base32 secret of your authenticator app, or run `obsync login --mfa CODE`",
            ),
            AccountError::MfaWrong => (
                Exit::Refused,
                "each code works once and for 30 s: check this machine's clock and OBSIDIAN_TOTP_SECRET, or use a new code",
            ),
            AccountError::PasswordWrong(_) => (Exit::Refused, VAULT_PASSWORD_ADVICE),
            AccountError::TokenRefused(_) => (
                Exit::Refused,
                "run `obsync login` again, or set OBSIDIAN_EMAIL and OBSIDIAN_PASSWORD to sign in by itself",
            ),
            AccountError::Unreachable(_) => (Exit::Unreachable, NETWORK_ADVICE),
            AccountError::Refused(_) => (Exit::Refused, ""),
            AccountError::TokenStore(_) => {
                (Exit::Usage, "make the folder writable for this user, or set OBSYNC_HOME to one that is")
            }
        };
        Self::new(exit, problem, advice)
    }
}

/// What to do about a wrong encryption password.
const VAULT_PASSWORD_ADVICE: &str = "this is the vault's encryption password, not the account's: set OBSIDIAN_VAULT_PASSWORD, \
     or OBSIDIAN_VAULT_PASSWORDS='{\"NAME OR ID\":\"PASSWORD\"}' for several vaults";

/// What to do about a service out of reach.
const NETWORK_ADVICE: &str =
    "check the network and https://status.obsidian.md, then run again: a run goes on where the last one stopped";

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let problem = error.to_string();
        let (exit, advice) = match &error {
            RunError::Remote(remote) => match remote.kind {
                RemoteErrorKind::Authentication => {
                    (Exit::Refused, "run `obsync login` again; if the vault was re-encrypted, give its new password")
                }
                RemoteErrorKind::Subscription => (Exit::Refused, "renew Obsidian Sync at https://obsidian.md/account"),
                RemoteErrorKind::VaultNotFound => (Exit::NoVault, "see `obsync vaults` for the vaults of this account"),
                RemoteErrorKind::Refused => (Exit::Unreachable, ""),
                RemoteErrorKind::Unreachable => (Exit::Unreachable, NETWORK_ADVICE),
            },
            RunError::Listing { .. } => (
                Exit::Partly,
                "if the vault is as large as that, set OBSYNC_MAX_LISTING to more MiB (a function: its memory)",
            ),
            RunError::Destination(_) => (
                Exit::Unreachable,
                "free space there or make it writable, then run again: what was written so far is whole and recorded",
            ),
            RunError::State(state) => return state.clone().into(),
        };
        Self::new(exit, problem, advice)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let problem = error.to_string();
        match error {
            StateError::Held { .. } => {
                Self::new(Exit::Leased, problem, "wait for it to end; the lease of a run that died expires by itself")
            }
            StateError::Lost => Self::new(Exit::Leased, problem, "run again once the other run has ended"),
            StateError::Unusable { .. } => Self::new(
                Exit::Unreachable,
                problem,
                "make it reachable, readable and writable for this user, or give another --state",
            ),
        }
    }
}

/// How a run over one vault ends the program, and what to say about it.
pub fn of_report(report: &Report, interrupted: bool) -> Option<Failure> {
    if let Some(error) = &report.error {
        return Some(error.clone().into());
    }
    if let Some(guarded) = report.guarded {
        let problem =
            format!("nothing was deleted: {} files would be, more than the {} allowed", guarded.deletes, guarded.limit);
        let advice = format!("if that is right, run again with --max-delete {}", guarded.deletes);
        return Some(Failure::new(Exit::Partly, problem, advice));
    }
    if interrupted && report.incomplete {
        return Some(Failure::new(Exit::Interrupted, "interrupted", "run again to go on where this run stopped"));
    }
    if report.incomplete {
        return Some(Failure::new(Exit::Partly, "the time was up before everything was done", "run again to go on"));
    }
    match report.failed.len() {
        0 => None,
        n => Some(Failure::new(
            Exit::Partly,
            format!("{n} {} could not be mirrored", if n == 1 { "path" } else { "paths" }),
            "they are kept in mind and tried again by every run",
        )),
    }
}

/// The exit code of several vaults: what they agree on, and 1 where some were done and some were not.
pub fn combined(exits: &[Exit]) -> Exit {
    let all_equal = exits.windows(2).all(|pair| pair[0] == pair[1]);
    match exits {
        [] => Exit::Done,
        [first, ..] if all_equal => *first,
        _ if exits.contains(&Exit::Interrupted) => Exit::Interrupted,
        _ => Exit::Partly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_vaults_end_with_what_they_agree_on() {
        assert_eq!(combined(&[]), Exit::Done);
        assert_eq!(combined(&[Exit::Refused, Exit::Refused]), Exit::Refused);
        assert_eq!(combined(&[Exit::Done, Exit::Refused]), Exit::Partly);
        assert_eq!(combined(&[Exit::Done, Exit::Interrupted]), Exit::Interrupted);
    }
}
