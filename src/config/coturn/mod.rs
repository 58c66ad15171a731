//! Converts a `turnserver.conf` of coturn, and lists the options that have no counterpart.

mod options;

use crate::config::coturn::options::{NO_EFFECT, OFF_VALUES, RENAMED, SWITCHES, UNSUPPORTED};
use crate::config::schema;
use crate::config::schema::{AnyKey, Arity};
use crate::turn::policy::acl::Cidr;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A converted file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The text of the file.
    pub text: String,
    /// The options that could not be converted.
    pub unconverted: Vec<Unconverted>,
}

/// An option that could not be converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconverted {
    /// The line, counted from 1.
    pub line: usize,
    /// The name of the option.
    pub option: String,
    /// The reason, and what to do instead.
    pub reason: &'static str,
}

impl Unconverted {
    fn new(line: usize, option: &str, reason: &'static str) -> Unconverted {
        Unconverted {
            line,
            option: option.into(),
            reason,
        }
    }
}

/// Converts the text of a `turnserver.conf`. As coturn does, a line is a comment only if it begins
/// with `#`.
pub fn convert(text: &str) -> Converted {
    let mut converter = Converter::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(SEPARATORS).unwrap_or((line, ""));
        let value = value.trim_start_matches(SEPARATORS).trim();
        let value = value
            .strip_prefix('"')
            .map_or(value, |quoted| quoted.strip_suffix('"').unwrap_or(quoted));
        converter.line = index + 1;
        if let Err(why) = converter.option(name, value) {
            converter
                .unconverted
                .push(Unconverted::new(index + 1, name, why));
        }
    }
    converter.finish()
}

#[derive(Default)]
struct Converter {
    line: usize,
    values: BTreeMap<&'static str, Vec<String>>,
    port: Option<String>,
    tls_port: Option<String>,
    ips: Vec<String>,
    more: Vec<String>,
    ports: (Option<String>, Option<String>),
    /// The lines of `no-tls` and `no-dtls`.
    no_encryption: [Option<usize>; 2],
    /// The lines of `cert` and `pkey`.
    pair: [Option<usize>; 2],
    unconverted: Vec<Unconverted>,
}

impl Converter {
    fn option(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        // A switch that is off is the default.
        if NO_EFFECT.contains(&name) || (SWITCHES.contains(&name) && OFF_VALUES.contains(&value)) {
            return Ok(());
        }
        for (line, known) in self.pair.iter_mut().zip(["cert", "pkey"]) {
            *line = if name == known {
                Some(self.line)
            } else {
                *line
            };
        }
        match name {
            "listening-port" => self.port = Some(value.to_owned()),
            "tls-listening-port" => self.tls_port = Some(value.to_owned()),
            "listening-ip" => self.ips.push(value.to_owned()),
            "aux-server" => self.more.push(value.to_owned()),
            "min-port" => self.ports.0 = Some(value.to_owned()),
            "max-port" => self.ports.1 = Some(value.to_owned()),
            "no-tls" => self.no_encryption[0] = Some(self.line),
            "no-dtls" => self.no_encryption[1] = Some(self.line),
            "external-ip" => {
                let (public, private) = value.split_once('/').unwrap_or((value, ""));
                let text = if private.is_empty() {
                    public.to_owned()
                } else {
                    format!("{private}={public}")
                };
                self.push("external_address", text);
            }
            "user"
                if value
                    .split_once(':')
                    .is_some_and(|(_, password)| password.starts_with("0x")) =>
            {
                return Err("a password is needed instead of its hash");
            }
            "denied-peer-ip" | "allowed-peer-ip" => {
                let key = if name == "denied-peer-ip" {
                    "deny_peer"
                } else {
                    "allow_peer"
                };
                for range in ranges(value).ok_or("this is not a range of addresses")? {
                    self.push(key, range.to_string());
                }
            }
            "allow-loopback-peers" => {
                self.push("allow_peer", "127.0.0.0/8".into());
                self.push("allow_peer", "::1/128".into());
            }
            "no-tcp-relay" => self.push("tcp_relays", "false".into()),
            "mobility" => self.push("mobility", "true".into()),
            "Verbose" => self.push("log_level", "debug".into()),
            "alternate-server" => return self.alternate(value),
            // coturn limits each direction, Hairpin the sum of both.
            "max-bps" => self.push("allocation_bandwidth", doubled(value)?),
            "bps-capacity" => self.push("max_bandwidth", doubled(value)?),
            "stale-nonce" if value.is_empty() => {}
            "stale-nonce" => match value.parse() {
                Ok(seconds @ 1..=3600_u32) => self.push("nonce_lifetime", format!("{seconds}s")),
                _ => return Err("RFC 8656 allows 1 to 3600 s"),
            },
            "max-allocate-lifetime" => match value.parse() {
                Ok(600_u32..) => self.push("max_lifetime", format!("{value}s")),
                _ => return Err("RFC 8656 requires at least 600 s"),
            },
            "channel-lifetime" if value == "600" => {}
            "permission-lifetime" if value == "300" => {}
            "rest-api-separator" if value == ":" => {}
            _ => return self.rename(name, value),
        }
        Ok(())
    }

    /// Converts an option that only has another name.
    fn rename(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if let Some((_, why)) = UNSUPPORTED.iter().find(|(names, _)| names.contains(&name)) {
            return Err(why);
        }
        let key = RENAMED
            .iter()
            .find(|(coturn_name, _)| *coturn_name == name)
            .map(|(_, ours)| *ours);
        match key.filter(|key| schema::key(key).is_some()) {
            Some(key) if !value.is_empty() => self.push(key, value.to_owned()),
            Some(_) => return Err("it lacks its value"),
            None => return Err(UNKNOWN),
        }
        Ok(())
    }

    /// coturn redirects all clients, to each alternate server in rotation.
    fn alternate(&mut self, value: &str) -> Result<(), &'static str> {
        let address = value
            .parse()
            .or_else(|_| value.parse().map(|ip| SocketAddr::new(ip, 3478)));
        let address: SocketAddr = address.map_err(|_| "this is not an address")?;
        let known = self.values.entry("alternate_server").or_default();
        if known
            .iter()
            .any(|other| other.starts_with('[') == address.is_ipv6())
        {
            return Err(
                "there is one alternate_server of each family; use a DNS name with several addresses instead",
            );
        }
        known.push(address.to_string());
        self.values.insert("redirect", vec!["true".into()]);
        Ok(())
    }

    fn push(&mut self, key: &'static str, value: String) {
        self.values.entry(key).or_default().push(value);
    }

    fn finish(mut self) -> Converted {
        if let [Some(line), None] | [None, Some(line)] = self.pair {
            let name = if self.pair[0].is_some() {
                "cert"
            } else {
                "pkey"
            };
            let reason = "a certificate needs its key; write both";
            self.unconverted.push(Unconverted::new(line, name, reason));
        }
        self.convert_no_tls();
        self.unconverted.sort_by_key(|option| option.line);
        self.listen();
        let (first, last) = &self.ports;
        if first.is_some() || last.is_some() {
            let range = format!(
                "{}-{}",
                first.as_deref().unwrap_or("49152"),
                last.as_deref().unwrap_or("65535")
            );
            self.values.insert("relay_ports", vec![range]);
        }
        let mut text = String::from("# Converted from a configuration of coturn.\n");
        for key in schema::keys() {
            if let Some(values) = self.values.get(key.info().name) {
                let _ = writeln!(text, "{} = {}", key.info().name, format_values(key, values));
            }
        }
        Converted {
            text,
            unconverted: self.unconverted,
        }
    }

    /// A certificate enables both TLS and DTLS. It is removed if both are off; one alone cannot be
    /// off.
    fn convert_no_tls(&mut self) {
        let (name, line) = match self.no_encryption {
            [Some(_), Some(_)] => {
                self.values.remove("certificate");
                self.values.remove("private_key");
                return;
            }
            [Some(line), None] => ("no-tls", line),
            [None, Some(line)] => ("no-dtls", line),
            [None, None] => return,
        };
        if self.values.contains_key("certificate") {
            self.unconverted
                .push(Unconverted::new(line, name, TLS_AND_DTLS_TOGETHER));
        }
    }

    /// Listens on every address with every port. This is written even if it equals coturn's default
    /// with a certificate, because Hairpin's default has port 443 too.
    fn listen(&mut self) {
        let port = self.port.take().unwrap_or_else(|| "3478".into());
        let tls_port = self.tls_port.take().unwrap_or_else(|| "5349".into());
        let tls_port = self.values.contains_key("certificate").then_some(tls_port);
        let ips = std::mem::take(&mut self.ips);
        if ips.is_empty() && port == "3478" && tls_port.is_none() && self.more.is_empty() {
            return;
        }
        let everywhere = ["0.0.0.0".to_owned(), "::".to_owned()];
        let ports = || std::iter::once(&port).chain(&tls_port);
        let bracketed = |ip: &String, port: &String| match ip.contains(':') {
            true => format!("[{ip}]:{port}"),
            false => format!("{ip}:{port}"),
        };
        let addresses = if ips.is_empty() {
            &everywhere[..]
        } else {
            &ips
        };
        let mut listen: Vec<String> = addresses
            .iter()
            .flat_map(|ip| ports().map(move |p| bracketed(ip, p)))
            .collect();
        listen.append(&mut self.more);
        self.values.insert("listen", listen);
        if !ips.is_empty() {
            // coturn relays from the listening addresses by default.
            self.values.entry("relay_address").or_insert(ips);
        }
    }
}

fn doubled(value: &str) -> Result<String, &'static str> {
    let octets: u64 = value
        .parse()
        .map_err(|_| "this is not a number of bytes per second")?;
    Ok(octets.saturating_mul(2).to_string())
}

fn format_values(key: &dyn AnyKey, values: &[String]) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match (key.arity(), values) {
        (Arity::Many, values) => format!(
            "[{}]",
            values.iter().map(quoted).collect::<Vec<_>>().join(", ")
        ),
        (Arity::Switch, [.., value]) => value.clone(),
        (Arity::One, [.., value]) if value.bytes().all(|octet| octet.is_ascii_digit()) => {
            value.clone()
        }
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
            cover(
                u128::from(first.to_bits()),
                u128::from(last.to_bits()),
                32,
                address,
            )
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            cover(first.to_bits(), last.to_bits(), 128, |bits| {
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            })
        }
        _ => None,
    }
}

fn cover(
    mut first: u128,
    last: u128,
    width: u32,
    address: impl Fn(u128) -> IpAddr,
) -> Option<Vec<Cidr>> {
    let mut found = Vec::new();
    while first <= last {
        let mut size = first.trailing_zeros().min(width);
        while size > 0
            && first
                .checked_add(u128::MAX >> (128 - size))
                .is_none_or(|end| end > last)
        {
            size -= 1;
        }
        found.push(Cidr::new(address(first), (width - size) as u8)?);
        let Some(next) = 1_u128
            .checked_shl(size)
            .and_then(|step| first.checked_add(step))
        else {
            break;
        };
        first = next;
    }
    Some(found)
}

const SEPARATORS: [char; 3] = ['=', ' ', '\t'];
const TLS_AND_DTLS_TOGETHER: &str =
    "a certificate enables both TLS and DTLS; remove `certificate` to disable both";
const UNKNOWN: &str = "coturn 4.6 has no such option";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_prefixes() {
        let text = |range: &str| -> Vec<String> {
            ranges(range).unwrap().iter().map(Cidr::to_string).collect()
        };
        assert_eq!(text("10.0.0.0-10.255.255.255"), ["10.0.0.0/8"]);
        assert_eq!(text("0.0.0.0-255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(text("192.0.2.5"), ["192.0.2.5/32"]);
        assert_eq!(
            text("192.0.2.3-192.0.2.8"),
            ["192.0.2.3/32", "192.0.2.4/30", "192.0.2.8/32"]
        );
        assert_eq!(
            text("fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ["fc00::/7"]
        );
        assert_eq!(text("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert!(ranges("a-b").is_none() && ranges("::-1.2.3.4").is_none());
        assert_eq!(ranges("2.2.2.2-1.1.1.1"), Some(vec![]));
    }

    #[test]
    fn options_without_a_counterpart_are_listed_with_their_line() {
        assert_eq!(
            convert("prometheus\nprometheus-port=9641")
                .unconverted
                .len(),
            1
        );
        assert_ne!(
            convert("prometheus-port=9641").unconverted[0].reason,
            UNKNOWN
        );
        let converted = convert(
            "realm=a\n\nlog-file=/var/log/x\n  user = b:0xabcd\n# user=c\nfingerprint\nwhatever\n",
        );
        let left: Vec<(usize, &str)> = converted
            .unconverted
            .iter()
            .map(|option| (option.line, option.option.as_str()))
            .collect();
        assert_eq!(left, [(3, "log-file"), (4, "user"), (7, "whatever")]);
        assert!(converted.text.ends_with("realm = \"a\"\n"));
    }

    #[test]
    fn every_address_listens_on_every_port() {
        assert_eq!(
            lines("listening-port=5000"),
            ["listen = [\"0.0.0.0:5000\", \"[::]:5000\"]"]
        );
        assert_eq!(
            lines("listening-ip=::1\nrelay-ip=10.0.0.1\nmin-port=100"),
            [
                "listen = [\"[::1]:3478\"]",
                "relay_address = [\"10.0.0.1\"]",
                "relay_ports = \"100-65535\""
            ]
        );
        assert_eq!(
            lines("stale-nonce=600\nstale-nonce"),
            ["nonce_lifetime = \"600s\""]
        );
    }

    #[test]
    fn a_certificate_adds_the_tls_port() {
        let pair = "cert=/c.pem\npkey=/k.pem\n";
        let kept = ["certificate = [\"/c.pem\"]", "private_key = [\"/k.pem\"]"];
        // Layer out, since 443 would be a default here too.
        let everywhere = r#"listen = ["0.0.0.0:3478", "0.0.0.0:5349", "[::]:3478", "[::]:5349"]"#;
        for text in [
            "tls-listening-port=5349",
            "",
            "listening-port=3478",
            "no-tls=0\nno-dtls",
        ] {
            assert_eq!(
                lines(&format!("{pair}{text}")),
                [&[everywhere], &kept[..]].concat(),
                "{text}"
            );
        }
        assert_eq!(lines("tls-listening-port=443"), [""; 0]);
        let listens = |text: &str| lines(&format!("{pair}{text}")).swap_remove(0);
        assert_eq!(
            listens("listening-ip=10.0.0.1"),
            "listen = [\"10.0.0.1:3478\", \"10.0.0.1:5349\"]"
        );
        assert_eq!(
            listens("listening-ip=10.0.0.1\ntls-listening-port=443\naux-server=10.0.0.1:80"),
            "listen = [\"10.0.0.1:3478\", \"10.0.0.1:443\", \"10.0.0.1:80\"]"
        );
        assert_eq!(lines(&format!("{pair}no-tls\nno-dtls")), [""; 0]);
        let left = |text: &str| convert(&format!("{pair}{text}")).unconverted;
        assert_eq!(left("no-tls\nno-dtls"), []);
        assert_eq!(
            left("realm=a\nno-tls\nwhatever").remove(0),
            Unconverted::new(4, "no-tls", TLS_AND_DTLS_TOGETHER)
        );
        assert_eq!(
            left("no-dtls"),
            [Unconverted::new(3, "no-dtls", TLS_AND_DTLS_TOGETHER)]
        );
        assert_eq!(convert("no-tls").unconverted, []);
        for (text, name) in [("\ncert=/c.pem", "cert"), ("\npkey=/k.pem", "pkey")] {
            assert_eq!(
                convert(text).unconverted,
                [Unconverted::new(
                    2,
                    name,
                    "a certificate needs its key; write both"
                )]
            );
        }
    }

    #[test]
    fn values_are_parsed_as_coturn_parses_them() {
        assert_eq!(
            lines("static-auth-secret \t= a#b=c d"),
            ["shared_secret = [\"a#b=c d\"]"]
        );
        assert_eq!(lines("pkey=\"/a b.pem\""), ["private_key = [\"/a b.pem\"]"]);
        assert_eq!(lines("no-tcp-relay=no\nmobility=off"), [""; 0]);
        assert_eq!(
            lines("max-bps=1000\nbps-capacity=0"),
            ["allocation_bandwidth = 2000", "max_bandwidth = 0"]
        );
        assert_eq!(
            lines(
                "alternate-server=192.0.2.1\nalternate-server=192.0.2.2:5000\nalternate-server=[2001:db8::1]:3479"
            ),
            [
                "alternate_server = [\"192.0.2.1:3478\", \"[2001:db8::1]:3479\"]",
                "redirect = true"
            ]
        );
    }

    fn lines(text: &str) -> Vec<String> {
        convert(text)
            .text
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect()
    }
}
