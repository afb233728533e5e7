//! Which paths a file system can hold.

use obsync_core::blob::BlobError;
use obsync_proto::VaultPath;

use super::fault::unfit;

/// Where unfinished files are, at the top of the destination.
pub(super) const TEMP_FOLDER: &str = ".obsync-tmp";

/// The most bytes of a name on the file systems of Unix (`NAME_MAX`).
const MAX_NAME: usize = 255;

pub(super) fn check(path: &VaultPath) -> Result<(), BlobError> {
    if path.segments().next().is_some_and(is_reserved) {
        return Err(unfit(format!("{TEMP_FOLDER:?} is kept for obsync's own unfinished files")));
    }
    for name in path.segments() {
        let reason = if cfg!(windows) { unfit_on_windows(name) } else { unfit_on_unix(name) };
        if let Some(reason) = reason {
            return Err(unfit(format!("the name {name:?} {reason}")));
        }
    }
    Ok(())
}

/// In either case: on some file systems both are one.
pub(super) fn is_reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case(TEMP_FOLDER)
}

fn unfit_on_unix(name: &str) -> Option<String> {
    (name.len() > MAX_NAME).then(|| format!("is {} bytes long, the most is {MAX_NAME}", name.len()))
}

/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>: `:` would even write into another file's stream.
fn unfit_on_windows(name: &str) -> Option<String> {
    let length = name.encode_utf16().count();
    if length > MAX_NAME {
        return Some(format!("is {length} UTF-16 units long, the most is {MAX_NAME}"));
    }
    if let Some(bad) = name.chars().find(|c| c.is_ascii_control() || r#"<>:"/\|?*"#.contains(*c)) {
        return Some(format!("has the character {bad:?}, which Windows does not take"));
    }
    if name.ends_with(['.', ' ']) {
        return Some("ends with a dot or a space, which Windows does not keep".to_owned());
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    is_device(&stem).then(|| "is a device on Windows".to_owned())
}

fn is_device(stem: &str) -> bool {
    let numbered =
        |port| stem.strip_prefix(port).is_some_and(|n: &str| n.chars().count() == 1 && "123456789¹²³".contains(n));
    matches!(stem, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_refuses_devices_streams_and_trailing_dots() {
        for name in
            ["CON", "con.md", "aux .txt", "LPT1", "com¹.x", "a:b", r"a\b", "what?", "dot.", "space ", "\u{1}", "a\"b"]
        {
            assert!(unfit_on_windows(name).is_some(), "{name:?}");
        }
        for name in ["console.md", "com.md", "com10", ".hidden", "LPT", "ភាសាខ្មែរ.md", "a b.c"] {
            assert_eq!(unfit_on_windows(name), None, "{name:?}");
        }
        assert!(unfit_on_windows(&"é".repeat(255)).is_none() && unfit_on_unix(&"é".repeat(128)).is_some());
    }
}
