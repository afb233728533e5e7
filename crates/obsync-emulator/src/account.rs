//! Accounts and their second factor.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Secret, Totp};

use crate::error::EmulatorError;
use crate::refusal;

/// An account. Its secrets are for tests: they are kept as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) totp_secret: Option<String>,
}

impl Account {
    /// An account without a second factor.
    pub fn new(email: impl Into<String>, password: impl Into<String>) -> Self {
        let email = email.into();
        let name = email.split('@').next().unwrap_or_default().to_owned();
        Self { email, password: password.into(), name, totp_secret: None }
    }

    /// With two-factor sign-in: RFC 6238, SHA-1, 30 s, 6 digits of this Base32 secret.
    #[must_use]
    pub fn with_totp(mut self, secret: impl Into<String>) -> Self {
        self.totp_secret = Some(secret.into());
        self
    }

    /// With this display name, instead of the address's first half.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Refuses a secret that could never be met.
    pub(crate) fn check(&self) -> Result<(), EmulatorError> {
        self.totp().map(drop).ok_or(EmulatorError::BadTotpSecret)
    }

    /// The second factor: `Some(None)` without one, `None` if its secret is unusable.
    fn totp(&self) -> Option<Option<Totp>> {
        let Some(text) = &self.totp_secret else { return Some(None) };
        let bare: String =
            text.chars().filter(|c| !c.is_whitespace() && *c != '=').map(|c| c.to_ascii_uppercase()).collect();
        let secret = Secret::try_from_base32(bare).ok()?;
        // Noncompliant: RFC 4226 asks for 128 bits, many real secrets have 80.
        Some(Some(Builder::new().with_secret(secret).build_noncompliant()))
    }
}

/// An account with what the service knows of it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) account: Account,
    /// Its number, `userId` and `user` on the wire.
    pub(crate) number: u64,
    /// The 30 s steps whose code was used.
    used_steps: BTreeSet<u64>,
}

impl Member {
    pub(crate) fn new(account: Account, number: u64) -> Self {
        Self { account, number, used_steps: BTreeSet::new() }
    }

    /// Checks password and code at `now` (seconds since 1970). A code that is granted is used up.
    pub(crate) fn sign_in(&mut self, password: &str, code: &str, now: u64, once: bool) -> Result<(), &'static str> {
        if password != self.account.password {
            return Err(refusal::SIGN_IN_FAILED);
        }
        let Some(Some(totp)) = self.account.totp() else { return Ok(()) };
        if code.is_empty() {
            return Err(refusal::CODE_NEEDED);
        }
        let step = totp.check(code, now).ok_or(refusal::CODE_WRONG)?;
        if !self.used_steps.insert(step) && once {
            return Err(refusal::CODE_WRONG);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the secret is the ASCII text 12345678901234567890; at 59 s the code ends in 287082.
    #[test]
    fn code_of_the_rfc_is_taken_once() {
        let account = Account::new("a@x", "p").with_totp("GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        account.check().unwrap();
        let mut member = Member::new(account, 1);
        assert_eq!(member.sign_in("p", "", 59, true), Err(refusal::CODE_NEEDED));
        assert_eq!(member.sign_in("wrong", "287082", 59, true), Err(refusal::SIGN_IN_FAILED));
        assert_eq!(member.sign_in("p", "287083", 59, true), Err(refusal::CODE_WRONG));
        assert_eq!(member.sign_in("p", "287082", 59, true), Ok(()));
        assert_eq!(member.sign_in("p", "287082", 59, true), Err(refusal::CODE_WRONG));
        assert_eq!(member.sign_in("p", "287082", 59, false), Ok(()));
    }

    #[test]
    fn secret_that_is_no_base32_is_refused() {
        assert!(Account::new("a@x", "p").with_totp("not base32!").check().is_err());
    }
}
