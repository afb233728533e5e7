//! Looks for secrets in what a program leaves behind: in its output, its files, its memory.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine};
use hkdf::Hkdf;
use obsync_proto::totp::TotpSecret;
use secrecy::ExposeSecret;
use sha2::Sha256;

use crate::vault::TestVault;

/// Shorter texts are found by chance.
const SHORTEST: usize = 8;

/// From this length on, a half of a secret is one itself: who cuts a text short may have let the rest through.
const LONG: usize = 32;

/// Secrets by what they are, in every form in which they could be shown: as they are, hex, Base64, percent-coded,
/// escaped once and twice, as a list of numbers.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Forms, and what they are forms of.
    forms: BTreeMap<Vec<u8>, String>,
    /// Codes of two-factor sign-in, which are too short to be looked for anywhere but in texts.
    codes: Vec<String>,
    /// Finds all forms; made when they are first looked for.
    automaton: OnceLock<AhoCorasick>,
}

impl Secrets {
    /// With one more. Told as `what` where it is found.
    #[must_use]
    pub fn with(mut self, what: &str, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(secret.len() >= SHORTEST, "{what} is too short to be looked for");
        if secret.len() >= LONG {
            let half = format!("the first half of {what}");
            self.forms.extend(forms(first_half(secret)).into_iter().map(|form| (form, half.clone())));
        }
        self.forms.extend(forms(secret).into_iter().map(|form| (form, what.to_owned())));
        self.automaton = OnceLock::new();
        self
    }

    /// With the password of a vault, and all keys that come from it.
    #[must_use]
    pub fn with_vault(self, vault: &TestVault) -> Self {
        let (password, salt) = (vault.password(), vault.salt());
        let mut master = [0; 32];
        let params = scrypt::Params::new(15, 8, 1).unwrap();
        scrypt::scrypt(password.as_bytes(), salt.as_bytes(), &params, &mut master).unwrap();
        let keys = [
            (salt.as_str(), "ObsidianAesSivEnc"),
            (salt.as_str(), "ObsidianAesSivMac"),
            (salt.as_str(), "ObsidianKeyHash"),
            ("", "ObsidianAesGcm"),
        ];
        let mut secrets = self
            .with(&format!("the password of {}", vault.name()), password)
            .with(&format!("the master key of {}", vault.name()), master)
            .with(&format!("the key hash of {}", vault.name()), vault.keys().keyhash.expose_secret());
        for (salt, info) in keys {
            let mut key = [0; 32];
            Hkdf::<Sha256>::new(Some(salt.as_bytes()), &master).expand(info.as_bytes(), &mut key).unwrap();
            secrets = secrets.with(&format!("{info} of {}", vault.name()), key);
        }
        secrets
    }

    /// With a secret of two-factor sign-in, and the codes that it makes in these seconds since 1970.
    #[must_use]
    pub fn with_totp(mut self, base32: &str, seconds: std::ops::Range<u64>) -> Self {
        let totp = TotpSecret::parse(base32).unwrap();
        self.codes.extend(seconds.map(|second| totp.code(second)));
        self.codes.dedup();
        self.with("the two-factor secret", base32)
    }

    /// What of them is in `bytes`, and in which form.
    pub fn find(&self, bytes: &[u8]) -> Vec<String> {
        let patterns: Vec<_> = self.forms.iter().collect();
        let automaton = self.automaton.get_or_init(|| AhoCorasick::new(self.forms.keys()).unwrap());
        let told = |form: &[u8], what: &str| format!("{what} as {}", form.escape_ascii());
        let mut found: Vec<String> = automaton
            .find_overlapping_iter(bytes)
            .map(|hit| patterns[hit.pattern().as_usize()])
            .map(|(form, what)| told(form, what))
            .collect();
        found.extend(self.codes_in(bytes).into_iter().map(|code| told(code.as_bytes(), "a two-factor code")));
        found.sort();
        found.dedup();
        found
    }

    /// Codes that stand by themselves, and not in a longer number or behind a decimal point.
    fn codes_in(&self, bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let words = words.map(|word| word.trim_end_matches('.'));
        words.filter(|word| self.codes.iter().any(|code| code == word)).map(str::to_owned).collect()
    }

    /// Fails where one of them is in `bytes`.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.find(bytes);
        assert!(found.is_empty(), "{place} has {found:?}");
    }
}

/// Of a text, as many whole characters: half a character has no form of its own.
fn first_half(secret: &[u8]) -> &[u8] {
    let middle = secret.len() / 2;
    let is_boundary = |text: &str| (0..=middle).rev().find(|n| text.is_char_boundary(*n));
    &secret[..std::str::from_utf8(secret).ok().and_then(is_boundary).unwrap_or(middle)]
}

fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let percent = |byte: &u8| if is_plain(*byte) { char::from(*byte).into() } else { format!("%{byte:02X}") };
    let percent: String = secret.iter().map(percent).collect();
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![secret.escape_ascii().to_string()];
    if let Ok(text) = std::str::from_utf8(secret) {
        let once = text.escape_debug().to_string();
        forms.extend([once.escape_debug().to_string(), text.escape_default().to_string(), once]);
    }
    forms.extend([hex.to_uppercase(), hex, percent.replace("%20", "+"), percent]);
    forms.extend([numbers.join(","), numbers.join(", ")]);
    for offset in 0..3 {
        forms.extend([base64(secret, offset, &BASE64_STANDARD), base64(secret, offset, &BASE64_URL_SAFE)]);
    }
    forms.into_iter().map(String::into_bytes).chain([secret.to_vec()]).collect()
}

/// The characters that the Base64 of any text has, where it has the secret behind a multiple of three bytes and
/// `offset` more.
fn base64(secret: &[u8], offset: usize, engine: &impl Engine) -> String {
    let text = engine.encode([&[0; 3][..offset], secret].concat());
    let (start, end) = ((offset * 8).div_ceil(6), (offset + secret.len()) * 8 / 6);
    text[start..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let secret = "p\"ss w/rd é\\%";
        let secrets = Secrets::default().with("it", secret);
        let json = format!("{{\"a\":{secret:?}}}");
        let hidden = [
            format!("password={secret}!"),
            json.clone(),
            format!("{json:?}"),
            format!("{:?}", secret.as_bytes()),
            "x?p=p%22ss%20w%2Frd%20%C3%A9%5C%25&y".to_owned(),
            "p%22ss+w%2Frd+%C3%A9%5C%25".to_owned(),
            "0x7022737320772F726420C3A95C25".to_owned(),
        ];
        let encoded = (0..4).map(|n| BASE64_STANDARD.encode(format!("{}{secret}{}", "-".repeat(n), "+".repeat(n))));
        for text in hidden.into_iter().chain(encoded) {
            assert!(!secrets.find(text.as_bytes()).is_empty(), "not found in {text}");
        }
        secrets.assert_absent("another text", b"p\"ss w/rd e, and much else");
    }

    #[test]
    fn the_first_half_of_what_is_long_is_found() {
        let secrets = Secrets::default().with("it", "a long secret, é, cut short in its midst");
        assert!(!secrets.find(b"it was \"a long secret, \xc3\xa9, c...\"").is_empty());
        assert!(!secrets.find(BASE64_STANDARD.encode("a long secret, é, c").as_bytes()).is_empty());
        secrets.assert_absent("less than half", b"a long secret");
        let cut_in_a_character = Secrets::default().with("it", format!("{}é{}", "a".repeat(17), "b".repeat(17)));
        assert!(!cut_in_a_character.find(format!("\\{}", "a".repeat(17)).as_bytes()).is_empty());
        Secrets::default().with("it", "not so long").assert_absent("a half", b"not so lo");
    }

    #[test]
    fn a_code_is_found_that_stands_by_itself() {
        let secrets = Secrets::default().with_totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59..60);
        assert!(!secrets.find(b"{\"mfa\":\"287082\"}").is_empty());
        assert!(!secrets.find(b"\xff 287082").is_empty(), "not found in what is no text throughout");
        secrets.assert_absent("a time", b" 12:00:00.287082Z 12870821 ");
    }
}
