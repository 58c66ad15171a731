//! Parsers for the values of configuration keys and command line flags. Each error says what would
//! be accepted.

use crate::client::duration::parse_duration;
use crate::turn::policy::access_token::TokenKey;
use crate::turn::policy::acl::Cidr;
use crate::turn::policy::opaque::opaque;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// The text does not have the expected form.
    Malformed {
        /// The text.
        text: String,
        /// The expected form, with its article.
        expected: &'static str,
        /// Values that would be accepted.
        example: &'static str,
    },
    /// The value is empty.
    Empty,
    /// The value is outside of the accepted range.
    OutOfRange {
        /// The text.
        text: String,
        /// The accepted range.
        range: &'static str,
    },
    /// A port range ends before it starts.
    Reversed {
        /// The text.
        text: String,
        /// The same range with its ends swapped.
        swapped: String,
    },
    /// The address is a wildcard or a multicast address.
    NotAHostAddress(String),
    /// The text is not one of a fixed set of words.
    NotOneOf {
        /// The text.
        text: String,
        /// The accepted words.
        choices: Vec<&'static str>,
    },
    /// The text is a word that an earlier version accepted.
    RemovedWord {
        /// The text.
        text: String,
        /// What to write instead.
        replacement: &'static str,
    },
    /// The text is longer than the protocol allows.
    TooLong {
        /// Longest accepted text, in characters.
        maximum: usize,
    },
    /// A name or password contains code points that no client can prepare. RFC 8265 §4.2.
    ForbiddenCharacter,
    /// A user or key without a colon, or with nothing on one side of it.
    NotAPair {
        /// The expected form.
        expected: &'static str,
    },
    /// `unix:` without a path.
    NoSocketPath,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::Malformed {
                text,
                expected,
                example,
            } => {
                write!(f, "`{text}` is not {expected}; write {example}")
            }
            ValueError::Empty => f.write_str("the value must not be empty"),
            ValueError::OutOfRange { text, range } => {
                write!(f, "`{text}` is out of range; write {range}")
            }
            ValueError::Reversed { text, swapped } => {
                write!(f, "`{text}` ends before it starts; write {swapped}")
            }
            ValueError::NotAHostAddress(text) => write!(
                f,
                "`{text}` cannot be the address of a host; write an address of an interface"
            ),
            ValueError::NotOneOf { text, choices } => {
                write!(f, "`{text}` is not one of {}", choices.join(", "))
            }
            ValueError::RemovedWord { text, replacement } => {
                write!(f, "`{text}` was removed: {replacement}")
            }
            ValueError::TooLong { maximum } => {
                write!(f, "the value must have at most {maximum} characters")
            }
            ValueError::ForbiddenCharacter => f.write_str(
                "names and passwords must not contain control characters or unassigned code points",
            ),
            ValueError::NotAPair { expected } => write!(f, "the value is not {expected}"),
            ValueError::NoSocketPath => {
                f.write_str("`unix:` lacks its path; write unix:/run/hairpin/admin.sock")
            }
        }
    }
}

impl std::error::Error for ValueError {}

pub(crate) fn malformed(text: &str, expected: &'static str, example: &'static str) -> ValueError {
    ValueError::Malformed {
        text: text.into(),
        expected,
        example,
    }
}

/// Parses `IP:PORT`, with IPv6 addresses in brackets. IPv4 addresses may have brackets too, so that
/// a script can join an address and a port without looking at the family.
pub fn transport_address(text: &str) -> Result<SocketAddr, ValueError> {
    let bracketed = || {
        let (ip, port) = text.strip_prefix('[')?.split_once("]:")?;
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    };
    text.parse()
        .ok()
        .or_else(bracketed)
        .ok_or_else(|| malformed(text, "IP:PORT", "0.0.0.0:3478 or [::]:3478"))
}

/// Parses a transport address, or `off`.
pub(crate) fn transport_address_or_off(text: &str) -> Result<Option<SocketAddr>, ValueError> {
    if text == OFF {
        return Ok(None);
    }
    transport_address(text)
        .map(Some)
        .map_err(|_| malformed(text, "IP:PORT", "0.0.0.0:8080, [::]:8080 or off"))
}

/// The address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a UNIX socket.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Tcp(address) => write!(f, "{address}"),
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Parses a transport address, `unix:PATH`, or `off`.
pub fn admin_address(text: &str) -> Result<Option<AdminAddress>, ValueError> {
    match text.strip_prefix("unix:") {
        Some("") => Err(ValueError::NoSocketPath),
        Some(path) => Ok(Some(AdminAddress::Unix(path.into()))),
        None if text == OFF => Ok(None),
        None => match transport_address(text) {
            Ok(address) => Ok(Some(AdminAddress::Tcp(address))),
            Err(_) => Err(malformed(
                text,
                "IP:PORT",
                "127.0.0.1:9641, unix:/run/hairpin/admin.sock or off",
            )),
        },
    }
}

/// Parses a host name or address and a port, `HOST:PORT`.
pub(crate) fn host_and_port(text: &str) -> Result<String, ValueError> {
    let parts = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && (!host.contains(':') || host.ends_with(']')));
    match parts.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(text.into()),
        Some(0) | None => Err(malformed(text, "HOST:PORT", "stun.example.net:3478")),
    }
}

/// Parses the IP address of a host, with or without brackets.
pub fn ip_address(text: &str) -> Result<IpAddr, ValueError> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address: IpAddr = bare
        .parse()
        .map_err(|_| malformed(text, "an IP address", "192.0.2.1 or 2001:db8::1"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(ValueError::NotAHostAddress(text.into()));
    }
    Ok(address)
}

/// An external address as the operator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExternalAddress {
    /// An address that replaces the named relay address, or the next one of its family.
    Fixed {
        relay: Option<IpAddr>,
        external: IpAddr,
    },
    /// The address that a STUN server or the cloud's metadata service reports.
    Auto,
}

/// Parses `IP`, `RELAY=IP` or `auto`.
pub(crate) fn external_address(text: &str) -> Result<ExternalAddress, ValueError> {
    if text == AUTO {
        return Ok(ExternalAddress::Auto);
    }
    let (relay, external) = match text.split_once('=') {
        Some((relay, external)) => (Some(ip_address(relay)?), external),
        None => (None, text),
    };
    let external = ip_address(external)?;
    Ok(ExternalAddress::Fixed { relay, external })
}

/// Parses a range of addresses, `ADDRESS/PREFIX`, or one address.
pub(crate) fn cidr(text: &str) -> Result<Cidr, ValueError> {
    text.parse()
        .map_err(|_| malformed(text, "a range of IP addresses", "10.0.0.0/8 or fd00::/8"))
}

/// Parses a range of ports, `MIN-MAX`, without port 0.
pub(crate) fn port_range(text: &str) -> Result<RangeInclusive<u16>, ValueError> {
    let error = || malformed(text, "a range of ports", "49152-65535");
    let port = |text: &str| match text.trim().parse::<u16>() {
        Ok(port @ 1..) => Ok(port),
        Ok(0) | Err(_) => Err(error()),
    };
    let (first, last) = text.split_once('-').ok_or_else(error)?;
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        let swapped = format!("{last}-{first}");
        return Err(ValueError::Reversed {
            text: text.into(),
            swapped,
        });
    }
    Ok(first..=last)
}

/// Parses a whole number in decimal.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, ValueError> {
    text.parse()
        .map_err(|_| malformed(text, "a number in range", "digits only"))
}

/// Parses a whole number greater than zero.
pub(crate) fn positive_number(text: &str) -> Result<usize, ValueError> {
    match number(text)? {
        0 => Err(out_of_range(text, "1 or more")),
        number => Ok(number),
    }
}

/// Parses a number of shards, 1 to 1024.
pub(crate) fn shard_count(text: &str) -> Result<usize, ValueError> {
    match number(text) {
        Ok(count @ 1..=1024) => Ok(count),
        Ok(_) | Err(_) => Err(out_of_range(
            text,
            "1 to 1024, or leave it out for one shard per core",
        )),
    }
}

/// Parses `true` or `false`, or the words that are usual in environment variables.
pub(crate) fn boolean(text: &str) -> Result<bool, ValueError> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(malformed(text, "a truth value", "true or false")),
    }
}

/// Parses a duration: `90s`, `10m`, `24h`, `1h30m`, `7d`, `100ms`, `1.5s`. A number without a unit
/// is in seconds.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    parse_duration(text).ok_or_else(|| malformed(text, "a duration", "90s, 10m, 24h or 1h30m"))
}

/// Parses a duration greater than zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        Duration::ZERO => Err(out_of_range(text, "more than 0s")),
        duration => Ok(duration),
    }
}

/// Parses a duration of at least one second.
pub(crate) fn at_least_one_second(text: &str) -> Result<Duration, ValueError> {
    let duration = duration(text)?;
    if duration < Duration::from_secs(1) {
        return Err(out_of_range(text, "1s or more"));
    }
    Ok(duration)
}

/// Parses the longest lifetime of an allocation: at least the 10 minutes that RFC 8656 §7.2 makes
/// the default.
pub(crate) fn maximum_lifetime(text: &str) -> Result<Duration, ValueError> {
    let duration = duration(text)?;
    if duration < Duration::from_secs(600) {
        return Err(out_of_range(
            text,
            "10m or more, the default lifetime of RFC 8656",
        ));
    }
    Ok(duration)
}

/// Parses the lifetime of a nonce: at most an hour by RFC 8656 §5.
pub(crate) fn nonce_lifetime(text: &str) -> Result<Duration, ValueError> {
    let duration = duration(text)?;
    if duration.is_zero() || duration > Duration::from_secs(3600) {
        return Err(out_of_range(
            text,
            "1s to 1h, the longest that RFC 8656 allows",
        ));
    }
    Ok(duration)
}

/// Parses a number of bytes, or one with `k`, `M`, `G`, `T` (powers of 1000) or `Ki`, `Mi`, `Gi`,
/// `Ti` (powers of 1024), each with or without a `B`.
pub(crate) fn byte_count(text: &str) -> Result<u64, ValueError> {
    let error = || malformed(text, "an amount of bytes", "500000, 500k, 10M or 1Gi");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit = unit.trim().trim_end_matches(['B', 'b']);
    let factor = match unit {
        "" => 1,
        "K" => 1_000,
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(error)?,
    };
    count
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(factor))
        .ok_or_else(error)
}

/// Writes a number of bytes with the largest unit of 1024 that divides it.
pub(crate) fn format_byte_count(count: &u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.ends_with('i'));
    match binary
        .rev()
        .find(|(_, factor)| *count > 0 && count.is_multiple_of(*factor))
    {
        Some((name, factor)) => format!("{}{name}", count / factor),
        None => count.to_string(),
    }
}

/// Parses a user, `NAME:PASSWORD`. The password may contain colons.
pub(crate) fn user(text: &str) -> Result<(String, String), ValueError> {
    let (name, password) = text
        .split_once(':')
        .filter(|(name, password)| !name.is_empty() && !password.is_empty())
        .ok_or(ValueError::NotAPair {
            expected: "NAME:PASSWORD, separated by a colon",
        })?;
    if opaque(name).is_none() || opaque(password).is_none() {
        return Err(ValueError::ForbiddenCharacter);
    }
    Ok((name.into(), password.into()))
}

/// Parses a key of access tokens, `KID:BASE64`. RFC 7635.
pub(crate) fn token_key(text: &str) -> Result<TokenKey, ValueError> {
    let error = || ValueError::NotAPair {
        expected: "KID:BASE64 with a key of 16 or 32 bytes",
    };
    let (kid, key) = user(text).map_err(|_| error())?;
    let key = STANDARD.decode(key).map_err(|_| error())?;
    TokenKey::new(&kid, key).ok_or_else(error)
}

/// Parses the name of a realm: a quoted string of at most 127 characters. RFC 8489 §14.9.
pub(crate) fn realm_name(text: &str) -> Result<String, ValueError> {
    if text.is_empty() || text.chars().count() > 127 || text.contains(['"', '\\']) {
        return Err(malformed(
            text,
            "the name of a realm",
            "1 to 127 characters without quotes and backslashes",
        ));
    }
    let name = opaque(text).ok_or(ValueError::ForbiddenCharacter)?;
    Ok(name.into_owned())
}

/// Parses the value of SOFTWARE: at most 127 characters. RFC 8489 §14.14.
pub(crate) fn software(text: &str) -> Result<String, ValueError> {
    if text.chars().count() > 127 {
        return Err(ValueError::TooLong { maximum: 127 });
    }
    non_empty(text)
}

/// Accepts every text but the empty one.
pub(crate) fn non_empty(text: &str) -> Result<String, ValueError> {
    match text {
        "" => Err(ValueError::Empty),
        text => Ok(text.into()),
    }
}

/// Parses the path of a file, a directory or a socket.
pub(crate) fn path(text: &str) -> Result<PathBuf, ValueError> {
    non_empty(text).map(PathBuf::from)
}

/// Parses an `http` or `https` URL.
pub(crate) fn url(text: &str) -> Result<String, ValueError> {
    match text.starts_with("https://") || text.starts_with("http://") {
        true => Ok(text.into()),
        false => Err(malformed(text, "a URL", "https://app.example.net/path")),
    }
}

/// Parses an `https` URL.
pub(crate) fn https_url(text: &str) -> Result<String, ValueError> {
    match text.starts_with("https://") {
        true => Ok(text.into()),
        false => Err(malformed(
            text,
            "an https URL",
            "https://acme.example.net/directory",
        )),
    }
}

/// Parses the origin of a web page, or `any`.
pub(crate) fn web_origin(text: &str) -> Result<String, ValueError> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', ' ']) => Ok(text.to_lowercase()),
        None if text == ANY => Ok(ANY.into()),
        Some(_) | None => Err(malformed(
            text,
            "an origin",
            "https://app.example.net or any",
        )),
    }
}

/// Parses a DNS name that the TLS-ALPN-01 challenge can prove: no wildcard.
pub(crate) fn domain_name(text: &str) -> Result<String, ValueError> {
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    match text.split('.').all(is_label) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(malformed(
            text,
            "a domain name without a wildcard",
            "relay.example.net",
        )),
    }
}

/// Parses a log filter: a level, or a list of targets with levels.
pub(crate) fn log_filter(text: &str) -> Result<String, ValueError> {
    // tracing reads a bare word that is not a level as the name of a module, and silences all other
    // modules.
    let names_a_level = |part: &str| {
        part.contains(['=', ':']) || (!part.is_empty() && part.parse::<LevelFilter>().is_ok())
    };
    match EnvFilter::try_new(text) {
        Ok(_) if text.split(',').map(str::trim).all(names_a_level) => Ok(text.into()),
        Ok(_) | Err(_) => Err(malformed(
            text,
            "a log filter",
            "error, warn, info, debug, trace, or info,hairpin::relay=debug",
        )),
    }
}

/// Parses one of a fixed set of words.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, ValueError> {
    let found = choices.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| ValueError::NotOneOf {
            text: text.into(),
            choices: choices.iter().map(|(word, _)| *word).collect(),
        })
}

pub(crate) fn out_of_range(text: &str, range: &'static str) -> ValueError {
    ValueError::OutOfRange {
        text: text.into(),
        range,
    }
}

/// Closes a listener.
pub(crate) const OFF: &str = "off";
/// Lets the server find its external address.
const AUTO: &str = "auto";
/// Accepts every origin.
pub(crate) const ANY: &str = "any";
const UNITS: [(&str, u64); 8] = [
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_have_units() {
        for (text, count) in [
            ("500", 500),
            ("500k", 500_000),
            ("10MB", 10_000_000),
            ("1Gi", 1 << 30),
            ("2KiB", 2048),
        ] {
            assert_eq!(byte_count(text), Ok(count), "{text}");
        }
        for wrong in ["", "k", "1.5M", "1X", "99999999T"] {
            assert!(byte_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_filter_names_a_level() {
        for right in [
            "info",
            "WARN",
            "off",
            "info,hairpin::relay=debug",
            "hairpin=trace",
            "info, hairpin::turn",
        ] {
            assert!(log_filter(right).is_ok(), "{right}");
        }
        for wrong in ["", "loud", "info,loud", "info,", "hairpin=loud", "=====["] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_range_is_ordered() {
        assert_eq!(port_range("49152-65535"), Ok(49152..=65535));
        assert_eq!(port_range("5-5"), Ok(5..=5));
        for wrong in ["", "5", "0-5", "5-70000", "a-b", "-5"] {
            assert!(port_range(wrong).is_err(), "{wrong}");
        }
        assert!(
            port_range("9-5")
                .unwrap_err()
                .to_string()
                .contains("write 5-9")
        );
    }

    #[test]
    fn users_and_addresses_are_checked() {
        assert_eq!(user("a:b:c"), Ok(("a".into(), "b:c".into())));
        assert!(user("a").is_err() && user(":b").is_err() && user("a:").is_err());
        assert!(
            user("jos\u{e9}:π ♦").is_ok() && user("a:b\tc").is_err() && user("a\u{7f}:b").is_err()
        );
        assert!(
            ip_address("[::1]").is_ok()
                && ip_address("0.0.0.0").is_err()
                && ip_address("224.0.0.1").is_err()
        );
        assert_eq!(transport_address_or_off("off"), Ok(None));
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
            admin_address("nowhere")
                .unwrap_err()
                .to_string()
                .contains("unix:/")
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
