//! Numbers as people read them.

/// Writes a line to standard output. Control characters, which the names of vaults and files can have, are shown and not
/// sent to the terminal. Where nobody reads any more, nothing is written.
pub(crate) fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let line = line.to_string();
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    let _ = writeln!(std::io::stdout(), "{shown}");
}

/// `1 file`, `2 files`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Bytes in a unit that fits: `999 B`, `1.5 kB`, `12 MB`.
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        for (n, text) in [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (12_345_678, "12 MB"), (999_999, "1.0 MB")] {
            assert_eq!(bytes(n), text);
        }
    }
}
