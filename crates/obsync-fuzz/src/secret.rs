//! The function's secret or the configuration file, and the secret of two-factor sign-in.

use obsync_input::stored::{self, NotOfForm, Stored};
use obsync_proto::totp::TotpSecret;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// What is read is what is written; a misspelt key is not overlooked; and of a text that cannot be read nothing is
/// quoted.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Stored::parse(text) {
        Ok(stored) => check_stored(text, &stored),
        Err(error) => check_error(error),
    }
    match stored::passwords(text) {
        Ok(passwords) => {
            let shown = passwords.iter().map(|(name, password)| (name.clone(), json!(password.expose_secret())));
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(Value::Object(shown.collect()), value);
        }
        Err(error) => check_error(error),
    }
    if let Ok(secret) = TotpSecret::parse(text) {
        let code = secret.code(59);
        assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()));
        let copied = format!(" {}-==", text.to_ascii_lowercase().trim_end_matches('='));
        assert_eq!(TotpSecret::parse(&copied).expect("the same secret").code(59), code);
    }
}

/// Every text that the input has is found where it belongs, and there are no others.
fn check_stored(text: &str, stored: &Stored) {
    let value: Value = serde_json::from_str(text).expect("JSON");
    let Value::Object(value) = value else { return };
    let auth = &stored.auth;
    let secrets = [("password", &auth.password), ("totp_secret", &auth.totp_secret), ("token", &auth.token)];
    let found = secrets.map(|(name, secret)| (name, secret.as_ref().map(ExposeSecret::expose_secret)));
    let given = value.get("auth").and_then(Value::as_object);
    for (name, found) in found.into_iter().chain([("email", auth.email.as_deref())]) {
        let given = given.and_then(|auth| auth.get(name)).and_then(Value::as_str);
        if value.get("auth").is_some_and(Value::is_object) {
            assert_eq!(found, given, "{name}");
        }
    }
    if let Some(Value::Object(vaults)) = value.get("vaults") {
        assert_eq!(stored.vaults.len(), vaults.len());
    }
}

fn check_error(error: NotOfForm) {
    let NotOfForm { line, column } = error;
    assert_eq!(error.to_string(), format!("not of the expected form (line {line}, column {column})"));
}
