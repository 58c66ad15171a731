//! What a `turnserver.conf` of coturn would be here, and what of it there is no counterpart for.

use super::schema::{self, Key, Shape};
use crate::turn::acl::Cidr;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A converted file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The text of the file.
    pub text: String,
    /// What could not be converted: line, what stands there, and why.
    pub left: Vec<(usize, String, &'static str)>,
}

/// Converts the text of a `turnserver.conf`.
pub fn convert(text: &str) -> Converted {
    let mut reading = Reading::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(['=', ' ']).unwrap_or((line, ""));
        if let Err(why) = reading.option(name.trim(), value.trim()) {
            reading.left.push((index + 1, name.trim().to_owned(), why));
        }
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    values: BTreeMap<&'static str, Vec<String>>,
    port: Option<String>,
    ips: Vec<String>,
    ports: (Option<String>, Option<String>),
    left: Vec<(usize, String, &'static str)>,
}

impl Reading {
    fn option(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if ALREADY.contains(&name) {
            return Ok(());
        }
        match name {
            "listening-port" => self.port = Some(value.to_owned()),
            "listening-ip" => self.ips.push(value.to_owned()),
            "min-port" => self.ports.0 = Some(value.to_owned()),
            "max-port" => self.ports.1 = Some(value.to_owned()),
            "external-ip" => {
                let (public, private) = value.split_once('/').unwrap_or((value, ""));
                let text = if private.is_empty() { public.to_owned() } else { format!("{private}={public}") };
                self.push("external_address", text);
            }
            "user" if value.split_once(':').is_some_and(|(_, password)| password.starts_with("0x")) => {
                return Err("a password is needed in place of its hash");
            }
            "denied-peer-ip" | "allowed-peer-ip" => {
                let key = if name == "denied-peer-ip" { "deny_peer" } else { "allow_peer" };
                for range in ranges(value).ok_or("this is no range of addresses")? {
                    self.push(key, range.to_string());
                }
            }
            "allow-loopback-peers" => {
                self.push("allow_peer", "127.0.0.0/8".into());
                self.push("allow_peer", "::1/128".into());
            }
            "no-tcp-relay" => self.push("tcp_relays", "false".into()),
            "mobility" => self.push("mobility", "true".into()),
            "verbose" | "Verbose" => self.push("log_level", "debug".into()),
            "stale-nonce" if value.is_empty() => {}
            "stale-nonce" => match value.parse() {
                Ok(seconds @ 1..=3600_u32) => self.push("nonce_lifetime", format!("{seconds}s")),
                _ => return Err("RFC 8656 allows 1 to 3600 s"),
            },
            "max-allocate-lifetime" => self.push("max_lifetime", format!("{value}s")),
            _ => return self.same(name, value),
        }
        Ok(())
    }

    /// Options that only have another name here.
    fn same(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if let Some((_, why)) = WITHOUT.iter().find(|(names, _)| names.contains(&name)) {
            return Err(why);
        }
        let key = SAME.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
        match key.filter(|key| schema::key(key).is_some()) {
            Some(key) if !value.is_empty() => self.push(key, value.to_owned()),
            Some(_) => return Err("it lacks its value"),
            None => return Err("there is no counterpart"),
        }
        Ok(())
    }

    fn push(&mut self, key: &'static str, value: String) {
        self.values.entry(key).or_default().push(value);
    }

    fn finish(mut self) -> Converted {
        let port = self.port.take().unwrap_or_else(|| "3478".into());
        let ips = std::mem::take(&mut self.ips);
        let bracketed = |ip: &String| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        if !ips.is_empty() {
            self.values.insert("listen", ips.iter().map(bracketed).collect());
            // Where relays bind unless somebody says otherwise.
            self.values.entry("relay_address").or_insert(ips);
        } else if port != "3478" {
            self.values.insert("listen", vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")]);
        }
        let (first, last) = &self.ports;
        if first.is_some() || last.is_some() {
            let range = format!("{}-{}", first.as_deref().unwrap_or("49152"), last.as_deref().unwrap_or("65535"));
            self.values.insert("relay_ports", vec![range]);
        }
        let mut text = String::from("# Converted from a configuration of coturn.\n");
        for key in schema::keys() {
            if let Some(values) = self.values.get(key.name) {
                let _ = writeln!(text, "{} = {}", key.name, written(key, values));
            }
        }
        Converted { text, left: self.left }
    }
}

fn written(key: &Key, values: &[String]) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match (key.shape, values) {
        (Shape::Many, values) => format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        (Shape::Switch, [.., value]) => value.clone(),
        (Shape::One, [.., value]) if value.bytes().all(|octet| octet.is_ascii_digit()) => value.clone(),
        (_, [.., value]) => quoted(value),
        (_, []) => "\"\"".into(),
    }
}

/// The fewest ranges that cover `FIRST-LAST`, or a single address.
fn ranges(text: &str) -> Option<Vec<Cidr>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let address = |bits: u128| IpAddr::V4(Ipv4Addr::from_bits(bits as u32));
            cover(u128::from(first.to_bits()), u128::from(last.to_bits()), 32, address)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            cover(first.to_bits(), last.to_bits(), 128, |bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}

fn cover(mut first: u128, last: u128, width: u32, address: impl Fn(u128) -> IpAddr) -> Option<Vec<Cidr>> {
    let mut found = Vec::new();
    while first <= last {
        let mut size = first.trailing_zeros().min(width);
        while size > 0 && first.checked_add(u128::MAX >> (128 - size)).is_none_or(|end| end > last) {
            size -= 1;
        }
        found.push(Cidr::new(address(first), (width - size) as u8)?);
        let Some(next) = 1_u128.checked_shl(size).and_then(|step| first.checked_add(step)) else { break };
        first = next;
    }
    Some(found)
}

/// Options whose value stands under another name here.
const SAME: &[(&str, &str)] = &[
    ("relay-ip", "relay_address"),
    ("realm", "realm"),
    ("user", "user"),
    ("static-auth-secret", "shared_secret"),
    ("user-quota", "user_allocations"),
    ("total-quota", "max_allocations"),
    ("max-bps", "allocation_bandwidth"),
    ("bps-capacity", "max_bandwidth"),
    ("alternate-server", "alternate_server"),
    ("cert", "certificate"),
    ("pkey", "private_key"),
];
/// What holds here anyway.
const ALREADY: &[&str] = &[
    "lt-cred-mech",
    "use-auth-secret",
    "fingerprint",
    "no-multicast-peers",
    "no-cli",
    "no-rfc5780",
    "no-stun-backward-compatibility",
    "response-origin-only-with-rfc5780",
    "prometheus",
    "no-software-attribute",
    "no-tlsv1",
    "no-tlsv1_1",
    "simple-log",
    "new-log-timestamp",
];
/// What there is no counterpart for, and what to do.
const WITHOUT: &[(&[&str], &str)] = &[
    (
        &["log-file", "syslog", "no-stdout-log", "log-binding"],
        "logs go to standard error: let the service manager keep them",
    ),
    (
        &["userdb", "psql-userdb", "mysql-userdb", "mongo-userdb", "redis-userdb"],
        "users stand in user_file or come with shared_secret",
    ),
    (&["redis-statsdb"], "statistics are at /metrics and in usage_file"),
    (&["proc-user", "proc-group", "pidfile"], "the service manager does that"),
    (
        &["cli-ip", "cli-port", "cli-password", "web-admin", "web-admin-ip", "web-admin-port"],
        "see `admin` and `hairpin admin`",
    ),
    (&["relay-threads"], "see `shards`"),
    (&["no-auth", "stun-only"], "a relay without users would be open to everybody"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_prefixes() {
        let text = |range: &str| -> Vec<String> { ranges(range).unwrap().iter().map(Cidr::to_string).collect() };
        assert_eq!(text("10.0.0.0-10.255.255.255"), ["10.0.0.0/8"]);
        assert_eq!(text("0.0.0.0-255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(text("192.0.2.5"), ["192.0.2.5/32"]);
        assert_eq!(text("192.0.2.3-192.0.2.8"), ["192.0.2.3/32", "192.0.2.4/30", "192.0.2.8/32"]);
        assert_eq!(text("fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["fc00::/7"]);
        assert_eq!(text("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert!(ranges("a-b").is_none() && ranges("::-1.2.3.4").is_none());
        assert_eq!(ranges("2.2.2.2-1.1.1.1"), Some(vec![]));
    }

    #[test]
    fn what_has_no_counterpart_is_listed_with_its_line() {
        let converted = convert("realm=a\n\nlog-file=/var/log/x\n  user = b:0xabcd # hash\nfingerprint\nwhatever\n");
        let left: Vec<(usize, &str)> = converted.left.iter().map(|(line, name, _)| (*line, name.as_str())).collect();
        assert_eq!(left, [(3, "log-file"), (4, "user"), (6, "whatever")]);
        assert!(converted.text.ends_with("realm = \"a\"\n"));
    }

    #[test]
    fn ports_and_addresses_belong_together() {
        let lines = |text: &str| -> Vec<String> { convert(text).text.lines().skip(1).map(str::to_owned).collect() };
        assert_eq!(lines("listening-port=5000"), ["listen = [\"0.0.0.0:5000\", \"[::]:5000\"]"]);
        assert_eq!(
            lines("listening-ip=::1\nrelay-ip=10.0.0.1\nmin-port=100"),
            ["listen = [\"[::1]:3478\"]", "relay_address = [\"10.0.0.1\"]", "relay_ports = \"100-65535\""]
        );
        assert_eq!(lines("stale-nonce=600\nstale-nonce"), ["nonce_lifetime = \"600s\""]);
    }
}
