//! Which hosts may be given a token or a key hash.
//!
//! A vault row names the host of its WebSocket. A row is data from outside: a host that is not Obsidian's own is
//! refused, so that no row and no redirect can lead a credential away.

use std::fmt;
use std::net::IpAddr;

/// A host that a session may be opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHost {
    host: String,
    loopback: bool,
}

/// A host that a session must not be opened with.
#[derive(Debug, thiserror::Error)]
#[error("the host {0:?} is not one of *.obsidian.md: nothing was sent to it")]
pub struct ForeignHost(String);

impl SessionHost {
    /// Checks the `host` of a vault row: `*.obsidian.md`, or, where `allow_loopback` (the API base itself is on
    /// loopback), a loopback address or `localhost` with an optional port.
    ///
    /// # Errors
    /// [`ForeignHost`] for anything else.
    pub fn parse(host: &str, allow_loopback: bool) -> Result<Self, ForeignHost> {
        if allow_loopback && is_loopback(host) {
            return Ok(Self { host: host.to_owned(), loopback: true });
        }
        let label_bytes = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        let ours = host.len() <= 253
            && host.bytes().all(label_bytes)
            && host.to_ascii_lowercase().strip_suffix(".obsidian.md").is_some_and(|sub| !sub.is_empty());
        if ours {
            Ok(Self { host: host.to_owned(), loopback: false })
        } else {
            Err(ForeignHost(host.chars().take(100).collect()))
        }
    }

    /// The address to connect to: `wss://…/`, on loopback `ws://…/`.
    pub fn url(&self) -> String {
        let scheme = if self.loopback { "ws" } else { "wss" };
        format!("{scheme}://{}/", self.host)
    }
}

impl fmt::Display for SessionHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

/// Whether `host`, with or without a port, is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    address == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_obsidian_and_loopback_are_given_credentials() {
        for good in ["sync-12.obsidian.md", "a.b.obsidian.md", "SYNC-1.Obsidian.MD"] {
            assert!(SessionHost::parse(good, false).unwrap().url().starts_with("wss://"), "{good}");
        }
        for bad in [
            "obsidian.md",
            ".obsidian.md",
            "evil.com",
            "obsidian.md.evil.com",
            "evil.com/.obsidian.md",
            "x@evil.com:.obsidian.md",
            "evilobsidian.md",
            "sync.obsidian.md:8443",
            "sync.obsidian.md/x",
            "",
            "127.0.0.1:80",
            "a\u{0}.obsidian.md",
            "evil.com#.obsidian.md",
        ] {
            assert!(SessionHost::parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_only_where_the_api_is_on_loopback() {
        for host in ["127.0.0.1:8080", "localhost:1", "[::1]:9", "127.0.0.1"] {
            assert_eq!(SessionHost::parse(host, true).unwrap().url(), format!("ws://{host}/"));
            assert!(SessionHost::parse(host, false).is_err());
        }
        for host in
            ["127.0.0.1.evil.com", "localhost.evil.com:80", "10.0.0.1:80", "127.0.0.1:80/x", "127.0.0.1@evil.com:80"]
        {
            assert!(SessionHost::parse(host, true).is_err(), "{host}");
        }
    }
}
