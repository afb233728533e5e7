//! The code of two-factor sign-in: TOTP (RFC 6238) with HMAC-SHA-1, steps of 30 s and 6 digits.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha1::Sha1;

/// Seconds that one code holds (RFC 6238 §4).
pub const STEP: u64 = 30;

/// The shared secret of two-factor sign-in.
pub struct TotpSecret(SecretBox<Vec<u8>>);

/// A text that is no Base32 secret. The text itself is not shown.
#[derive(Debug, thiserror::Error)]
#[error("not a Base32 secret: expected letters A to Z and digits 2 to 7")]
pub struct InvalidSecret;

impl TotpSecret {
    /// Reads a Base32 secret (RFC 4648 §6) as people copy it: in either case, with or without spaces, hyphens
    /// and padding.
    ///
    /// # Errors
    /// [`InvalidSecret`] for other characters or no secret at all.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
        let (mut buffer, mut bits) = (0u32, 0);
        for c in text.trim_end_matches('=').bytes().filter(|c| !matches!(c, b' ' | b'-')) {
            let value = match c.to_ascii_uppercase() {
                c @ b'A'..=b'Z' => c - b'A',
                c @ b'2'..=b'7' => c - b'2' + 26,
                _ => return Err(InvalidSecret),
            };
            buffer = (buffer << 5) | u32::from(value);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push((buffer >> bits) as u8);
            }
        }
        if bytes.is_empty() { Err(InvalidSecret) } else { Ok(Self(SecretBox::new(Box::new(bytes)))) }
    }

    /// The code at `unix_seconds`.
    pub fn code(&self, unix_seconds: u64) -> String {
        let mut mac =
            Hmac::<Sha1>::new_from_slice(self.0.expose_secret()).expect("HMAC takes a key of any length (RFC 2104)");
        mac.update(&(unix_seconds / STEP).to_be_bytes());
        let digest = mac.finalize().into_bytes();
        // Dynamic truncation, RFC 4226 §5.3.
        let offset = usize::from(digest[19] & 0x0f);
        let word = u32::from_be_bytes([digest[offset], digest[offset + 1], digest[offset + 2], digest[offset + 3]]);
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B (the last 6 of its 8 digits).
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = TotpSecret::parse("gezd gnbv-GY3TQOJQ GEZDGNBVGY3TQOJQ====").unwrap();
        for (time, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(secret.code(time), code);
        }
    }

    #[test]
    fn other_characters_are_refused() {
        for bad in ["", "====", "0189", "ABC!", "é"] {
            assert!(TotpSecret::parse(bad).is_err(), "{bad}");
        }
    }
}
