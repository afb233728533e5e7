//! The texts of refusals. Those in `protocol.md` hold the words that clients look for; the rest are ours.

pub(crate) const NOT_SIGNED_IN: &str = "Not logged in";
pub(crate) const SIGN_IN_FAILED: &str = "Login failed, please double check your email and password.";
pub(crate) const CODE_NEEDED: &str = "Please enter your 2FA code";
pub(crate) const CODE_WRONG: &str = "2FA code is incorrect";
pub(crate) const SUBSCRIPTION_EXPIRED: &str = "Your subscription to Obsidian Sync has expired.";
pub(crate) const NO_VAULT: &str = "Vault not found";
pub(crate) const WRONG_KEY: &str = "Authentication failed: wrong encryption key";
pub(crate) const WRONG_VERSION: &str = "Authentication failed: wrong encryption version";
pub(crate) const WRONG_TOKEN: &str = "Authentication failed: not logged in";
pub(crate) const MALFORMED: &str = "Bad request";
pub(crate) const HALF_A_KEY: &str = "A vault needs both a key hash and a salt, or neither";
pub(crate) const INTERNAL: &str = "Internal error";
pub(crate) const TOO_MANY: &str = "Too many connections";
pub(crate) const NO_RECORD: &str = "Record not found";
pub(crate) const UNEXPECTED_PIECE: &str = "No file was announced";
pub(crate) const INIT_FIRST: &str = "The first message must be init";

/// What the real service's attack detection answers, with status 200.
pub(crate) const OVERLOADED: &str =
    "<html><head><title>Overloaded</title></head><body>The server is overloaded, try again later.</body></html>\n";
