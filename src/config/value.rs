//! Values as texts: how each kind is read, with errors that say what would be right.

use crate::turn::policy::opaque::opaque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// A transport address: `IP:PORT`, IPv6 in brackets. IPv4 may have them too: then whoever puts a text together from an address and
/// a port need not know its family.
///
/// # Errors
/// Anything else.
pub fn transport_address(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse().ok().or_else(|| {
        let (ip, port) = text.strip_prefix('[')?.split_once("]:")?;
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    });
    parsed.ok_or_else(|| format!("`{text}` is not IP:PORT; write 0.0.0.0:3478 or [::]:3478"))
}

/// A transport address, or `off`.
///
/// # Errors
/// Anything else.
pub fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let or_off = |message: String| format!("{message}, or off");
    transport_address(text).map(Some).map_err(or_off)
}

/// Where operators come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address.
    Address(SocketAddr),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Address(address) => write!(f, "{address}"),
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A transport address, `unix:PATH`, or `off`.
///
/// # Errors
/// Anything else.
pub fn admin_address(text: &str) -> Result<Option<AdminAddress>, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("unix: wants a path behind it; write unix:/run/hairpin/admin.sock".into()),
        Some(path) => Ok(Some(AdminAddress::Unix(path.into()))),
        None if text == "off" => Ok(None),
        None => match transport_address(text) {
            Ok(address) => Ok(Some(AdminAddress::Address(address))),
            Err(message) => Err(format!("{message}, unix:/run/hairpin/admin.sock, or off")),
        },
    }
}

/// A host, by name or by address, and a port.
///
/// # Errors
/// No host, or no port.
pub fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && (!host.contains(':') || host.ends_with(']')));
    match parts.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(text.into()),
        _ => Err(format!(
            "`{text}` is not HOST:PORT; write stun.example.net:3478"
        )),
    }
}

/// An IP address, also in brackets.
///
/// # Errors
/// Anything else.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address: IpAddr = bare
        .parse()
        .map_err(|_| format!("`{text}` is not an IP address; write 192.0.2.1 or 2001:db8::1"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!(
            "`{text}` is no address of a host; write one that an interface bears"
        ));
    }
    Ok(address)
}

/// A range of ports, `MIN-MAX`.
///
/// # Errors
/// Anything else, port 0, and a range that ends before it starts.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("`{text}` is not a range of ports; write 49152-65535");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!(
            "`{text}` ends before it starts; write {last}-{first}"
        ));
    }
    Ok(first..=last)
}

/// A whole number in decimal.
///
/// # Errors
/// Anything else, or what does not fit.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number in range; write digits only"))
}

/// How many shards.
///
/// # Errors
/// Anything but a number from 1 to 1024.
pub fn shards(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1024).contains(count));
    count.ok_or_else(|| {
        format!("`{text}` is not a number of shards from 1 to 1024; leave it out for one a core")
    })
}

/// `true` or `false`, and what people write for them in an environment.
///
/// # Errors
/// Anything else.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// A span of time: `90s`, `10m`, `24h`, `1h30m`, `7d`, `100ms`; a bare number is in seconds.
///
/// # Errors
/// Anything else.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 90s, 10m, 24h or 1h30m");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (count, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let span = count
            .checked_mul(milliseconds)
            .map(Duration::from_millis)
            .ok_or_else(wrong)?;
        total = total.checked_add(span).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// An amount of octets: a number, or one with `k`, `M`, `G`, `T` (powers of 1000) or `Ki`, `Mi`, `Gi`, `Ti` (of 1024), with or
/// without a `B` behind it.
///
/// # Errors
/// Anything else.
pub fn octets(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an amount of bytes; write 500000, 500k, 10M or 1Gi");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().trim_end_matches(['B', 'b']) {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(wrong()),
    };
    count
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(factor))
        .ok_or_else(wrong)
}

/// A user: `NAME:PASSWORD`, where the password may contain colons.
///
/// # Errors
/// No colon, nothing on one of its sides, or a control character.
pub fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() && !password.is_empty() => {
            let fit = opaque(name).is_some() && opaque(password).is_some();
            if fit {
                Ok((name.into(), password.into()))
            } else {
                Err(UNFIT.into())
            }
        }
        _ => Err("a user is NAME:PASSWORD, with a colon between".into()),
    }
}

/// Any text but none.
///
/// # Errors
/// The empty text.
pub fn text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it must not be empty".into())
    } else {
        Ok(text.into())
    }
}

/// An `http` or `https` URL.
///
/// # Errors
/// Anything else.
pub fn url(text: &str) -> Result<String, String> {
    match text.starts_with("https://") || text.starts_with("http://") {
        true => Ok(text.into()),
        false => Err(format!(
            "`{text}` is no URL; write https://app.example.net/path"
        )),
    }
}

/// A log filter: a level, or a list of targets with levels.
///
/// # Errors
/// Anything else.
pub fn filter(text: &str) -> Result<String, String> {
    // A bare word that is no level would be read as the name of a module, and silence all others.
    let names_a_level = |part: &str| {
        part.contains(['=', ':']) || (!part.is_empty() && part.parse::<LevelFilter>().is_ok())
    };
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if text.split(',').map(str::trim).all(names_a_level) => Ok(text.into()),
        _ => Err(format!(
            "`{text}` is no log filter; write error, warn, info, debug, trace, or info,crate::relay=debug"
        )),
    }
}

/// One of a few words.
///
/// # Errors
/// Any other word.
pub fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not one of {}", words.join(", "))
    })
}

/// Why a name, a realm or a password is refused that no client could prepare. RFC 8265 §4.2.
pub(super) const UNFIT: &str =
    "names and passwords have no control characters, nor code points that are no characters";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("24h", 86_400),
            ("1h30m", 5_400),
            ("7d", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        for wrong in [
            "",
            "h",
            "5x",
            "1h3",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts() {
        for (text, count) in [
            ("500", 500),
            ("500k", 500_000),
            ("10MB", 10_000_000),
            ("1Gi", 1 << 30),
            ("2KiB", 2048),
        ] {
            assert_eq!(octets(text), Ok(count), "{text}");
        }
        for wrong in ["", "k", "1.5M", "1X", "99999999T"] {
            assert!(octets(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filters_of_logs() {
        for right in [
            "info",
            "WARN",
            "off",
            "info,crate::relay=debug",
            "hairpin=trace",
            "info, crate::turn",
        ] {
            assert!(filter(right).is_ok(), "{right}");
        }
        for wrong in ["", "loud", "info,loud", "info,", "hairpin=loud", "=====["] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_of_ports() {
        assert_eq!(ports("49152-65535"), Ok(49152..=65535));
        assert_eq!(ports("5-5"), Ok(5..=5));
        for wrong in ["", "5", "0-5", "5-70000", "a-b", "-5"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
        assert!(ports("9-5").unwrap_err().contains("write 5-9"));
    }

    #[test]
    fn users_and_addresses() {
        assert_eq!(user("a:b:c"), Ok(("a".into(), "b:c".into())));
        assert!(user("a").is_err() && user(":b").is_err() && user("a:").is_err());
        assert!(
            user("jos\u{e9}:π ♦").is_ok() && user("a:b\tc").is_err() && user("a\u{7f}:b").is_err()
        );
        assert!(ip("[::1]").is_ok() && ip("0.0.0.0").is_err() && ip("224.0.0.1").is_err());
        assert_eq!(optional_address("off"), Ok(None));
        for wrong in [
            "localhost:3478",
            "fd00::1:9641",
            "[10.0.0.5:9641",
            "[10.0.0.5]",
            "[a]:1",
            "10.0.0.5]:1",
        ] {
            assert!(transport_address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            transport_address("[10.0.0.5]:9641"),
            Ok(([10, 0, 0, 5], 9641).into())
        );
        assert!(transport_address("[fd00::1]:9641").is_ok());
        assert!(
            admin_address("nowhere").unwrap_err().contains("unix:/")
                && admin_address("off") == Ok(None)
        );
        assert!(host_and_port("a.example:1").is_ok() && host_and_port("[::1]:1").is_ok());
        assert!(
            ["a.example", ":1", "a.example:0", "::1", "a.example:x"]
                .iter()
                .all(|text| host_and_port(text).is_err())
        );
    }
}
