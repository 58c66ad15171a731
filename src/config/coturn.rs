//! What a `turnserver.conf` of coturn would be here, and what of it there is no counterpart for.

use crate::config::schema;
use crate::config::schema::{Key, Shape};
use crate::turn::policy::acl::Cidr;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A converted file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The text of the file.
    pub text: String,
    /// What could not be converted: line, what stands there, and why.
    pub left: Vec<(usize, String, &'static str)>,
}

/// Converts the text of a `turnserver.conf`. As coturn does, a line is a comment only if it begins with `#`.
pub fn convert(text: &str) -> Converted {
    let mut reading = Reading::default();
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
        reading.line = index + 1;
        if let Err(why) = reading.option(name, value) {
            reading.left.push((index + 1, name.to_owned(), why));
        }
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    line: usize,
    values: BTreeMap<&'static str, Vec<String>>,
    port: Option<String>,
    tls_port: Option<String>,
    ips: Vec<String>,
    more: Vec<String>,
    ports: (Option<String>, Option<String>),
    /// The lines that say `no-tls` and `no-dtls`.
    plain: [Option<usize>; 2],
    /// Those that say `cert` and `pkey`.
    pair: [Option<usize>; 2],
    left: Vec<(usize, String, &'static str)>,
}

impl Reading {
    fn option(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        // A switch that is off says nothing but the default.
        if ALREADY.contains(&name) || (SWITCHES.contains(&name) && OFF.contains(&value)) {
            return Ok(());
        }
        for (place, known) in self.pair.iter_mut().zip(["cert", "pkey"]) {
            *place = if name == known {
                Some(self.line)
            } else {
                *place
            };
        }
        match name {
            "listening-port" => self.port = Some(value.to_owned()),
            "tls-listening-port" => self.tls_port = Some(value.to_owned()),
            "listening-ip" => self.ips.push(value.to_owned()),
            "aux-server" => self.more.push(value.to_owned()),
            "min-port" => self.ports.0 = Some(value.to_owned()),
            "max-port" => self.ports.1 = Some(value.to_owned()),
            "no-tls" => self.plain[0] = Some(self.line),
            "no-dtls" => self.plain[1] = Some(self.line),
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
                return Err("a password is needed in place of its hash");
            }
            "denied-peer-ip" | "allowed-peer-ip" => {
                let key = if name == "denied-peer-ip" {
                    "deny_peer"
                } else {
                    "allow_peer"
                };
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
            "Verbose" => self.push("log_level", "debug".into()),
            "alternate-server" => return self.alternate(value),
            // There each direction has so much; here both together.
            "max-bps" => self.push("allocation_bandwidth", doubled(value)?),
            "bps-capacity" => self.push("max_bandwidth", doubled(value)?),
            "stale-nonce" if value.is_empty() => {}
            "stale-nonce" => match value.parse() {
                Ok(seconds @ 1..=3600_u32) => self.push("nonce_lifetime", format!("{seconds}s")),
                _ => return Err("RFC 8656 allows 1 to 3600 s"),
            },
            "max-allocate-lifetime" => match value.parse() {
                Ok(600_u32..) => self.push("max_lifetime", format!("{value}s")),
                _ => return Err("RFC 8656 has 600 s at least"),
            },
            "channel-lifetime" if value == "600" => {}
            "permission-lifetime" if value == "300" => {}
            "rest-api-separator" if value == ":" => {}
            _ => return self.same(name, value),
        }
        Ok(())
    }

    /// Options that only have another name here.
    fn same(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if let Some((_, why)) = WITHOUT.iter().find(|(names, _)| names.contains(&name)) {
            return Err(why);
        }
        let key = SAME
            .iter()
            .find(|(theirs, _)| *theirs == name)
            .map(|(_, ours)| *ours);
        match key.filter(|key| schema::key(key).is_some()) {
            Some(key) if !value.is_empty() => self.push(key, value.to_owned()),
            Some(_) => return Err("it lacks its value"),
            None => return Err(UNKNOWN),
        }
        Ok(())
    }

    /// There, clients are always sent on, to each sibling in turn.
    fn alternate(&mut self, value: &str) -> Result<(), &'static str> {
        let address = value
            .parse()
            .or_else(|_| value.parse().map(|ip| SocketAddr::new(ip, 3478)));
        let address: SocketAddr = address.map_err(|_| "this is no address")?;
        let known = self.values.entry("alternate_server").or_default();
        if known
            .iter()
            .any(|other| other.starts_with('[') == address.is_ipv6())
        {
            return Err(
                "there is one alternate_server of each family: let a name in DNS lead to several servers",
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
            self.left.push((
                line,
                name.to_owned(),
                "a certificate goes with its key: write both",
            ));
        }
        self.plain();
        self.left.sort_by_key(|(line, ..)| *line);
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
            if let Some(values) = self.values.get(key.name) {
                let _ = writeln!(text, "{} = {}", key.name, written(key, values));
            }
        }
        Converted {
            text,
            left: self.left,
        }
    }

    /// A certificate brings both TLS and DTLS, so that it goes with both; one of them alone cannot be left out.
    fn plain(&mut self) {
        let (name, line) = match self.plain {
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
            self.left.push((line, name.to_owned(), TOGETHER));
        }
    }

    /// Every address with every port, unless that is the default. With a certificate it never is: 443 would be there too.
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
            // Where relays bind unless somebody says otherwise.
            self.values.entry("relay_address").or_insert(ips);
        }
    }
}

fn doubled(value: &str) -> Result<String, &'static str> {
    let octets: u64 = value
        .parse()
        .map_err(|_| "this is no number of bytes a second")?;
    Ok(octets.saturating_mul(2).to_string())
}

fn written(key: &Key, values: &[String]) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match (key.shape, values) {
        (Shape::Many, values) => format!(
            "[{}]",
            values.iter().map(quoted).collect::<Vec<_>>().join(", ")
        ),
        (Shape::Switch, [.., value]) => value.clone(),
        (Shape::One, [.., value]) if value.bytes().all(|octet| octet.is_ascii_digit()) => {
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
const TOGETHER: &str =
    "a certificate brings TLS and DTLS to every port: without `certificate` there is neither";
const UNKNOWN: &str = "coturn 4.6 has no such option";
/// Options whose value stands under another name here.
const SAME: &[(&str, &str)] = &[
    ("relay-ip", "relay_address"),
    ("realm", "realm"),
    ("user", "user"),
    ("static-auth-secret", "shared_secret"),
    ("user-quota", "user_allocations"),
    ("total-quota", "max_allocations"),
    ("cert", "certificate"),
    ("pkey", "private_key"),
    ("CA-file", "client_authority"),
    ("server-name", "token_server"),
];
/// Switches that change something here.
const SWITCHES: &[&str] = &[
    "allow-loopback-peers",
    "no-tcp-relay",
    "mobility",
    "Verbose",
    "no-tls",
    "no-dtls",
];
const OFF: &[&str] = &[
    "0", "no", "n", "No", "NO", "off", "Off", "OFF", "false", "f", "False", "FALSE",
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
    "prod",
    "no-tlsv1",
    "no-tlsv1_1",
    "simple-log",
    "new-log-timestamp",
    "verbose",
    "daemon",
    "no-auth-pings",
    "no-dynamic-ip-list",
    "no-dynamic-realms",
    "check-origin-consistency",
    "max-allocate-timeout",
    "udp-self-balance",
    "ne",
];
/// What there is no counterpart for, and what to do.
const WITHOUT: &[(&[&str], &str)] = &[
    (
        &[
            "log-file",
            "syslog",
            "syslog-facility",
            "no-stdout-log",
            "log-binding",
            "new-log-timestamp-format",
        ],
        "logs go to standard error: let the service manager keep them",
    ),
    (
        &[
            "userdb",
            "db",
            "psql-userdb",
            "sql-userdb",
            "mysql-userdb",
            "mongo-userdb",
            "redis-userdb",
            "secret-key-file",
        ],
        "users stand in user_file or come with shared_secret",
    ),
    (
        &["redis-statsdb"],
        "statistics are at /metrics and in usage_file",
    ),
    (
        &["prometheus-port", "prometheus-address"],
        "metrics are where `admin` says, by default at 127.0.0.1:9641",
    ),
    (&["prometheus-path"], "metrics are at /metrics"),
    (
        &["prometheus-username-labels"],
        "no series is a user's: see usage_file and `hairpin admin users`",
    ),
    (
        &["proc-user", "proc-group", "pidfile"],
        "the service manager does that",
    ),
    (
        &[
            "cli-ip",
            "cli-port",
            "cli-password",
            "cli-max-output-sessions",
            "web-admin",
            "web-admin-ip",
            "web-admin-port",
            "web-admin-listen-on-workers",
        ],
        "see `admin` and `hairpin admin`",
    ),
    (&["relay-threads"], "see `shards`"),
    (
        &["no-auth", "stun-only"],
        "a relay without users would be open to everybody",
    ),
    (
        &["no-stun", "secure-stun"],
        "Binding is answered to everybody, within answer_rate",
    ),
    (
        &["listening-device", "relay-device"],
        "name addresses: `listen`, `relay_address`",
    ),
    (
        &["alt-listening-port", "alt-tls-listening-port"],
        "see `alternate_listen`",
    ),
    (
        &["tcp-proxy-port"],
        "every port takes the PROXY protocol from whom `balancer` names",
    ),
    (&["oauth"], "see `token_key`"),
    (&["rest-api-separator"], "names are EXPIRY:NAME"),
    (
        &["no-udp", "no-tcp"],
        "every listener speaks both: close one in the firewall",
    ),
    (&["no-udp-relay"], "relaying UDP is what the server is for"),
    (
        &["channel-lifetime", "permission-lifetime"],
        "they are RFC 8656's: 10 and 5 minutes",
    ),
    (
        &["keep-address-family", "allocation-default-address-family"],
        "an allocation is of the family that is asked for, or IPv4",
    ),
    (
        &["pkey-pwd"],
        "keys are read as they are: write the key without a password, for the server alone to read",
    ),
    (
        &[
            "cipher-list",
            "ec-curve-name",
            "dh-file",
            "dh566",
            "dh1066",
            "no-tlsv1_2",
        ],
        "TLS is 1.2 and 1.3 with what is strong today",
    ),
    (
        &["tls-alternate-server"],
        "alternate_server is for all transports",
    ),
    (&["acme-redirect"], "see `acme_domain`"),
    (
        &["server-relay"],
        "it would open the relay to addresses that must not be reached",
    ),
];

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
    fn what_has_no_counterpart_is_listed_with_its_line() {
        assert_eq!(convert("prometheus\nprometheus-port=9641").left.len(), 1);
        assert_ne!(convert("prometheus-port=9641").left[0].2, UNKNOWN);
        let converted = convert(
            "realm=a\n\nlog-file=/var/log/x\n  user = b:0xabcd\n# user=c\nfingerprint\nwhatever\n",
        );
        let left: Vec<(usize, &str)> = converted
            .left
            .iter()
            .map(|(line, name, _)| (*line, name.as_str()))
            .collect();
        assert_eq!(left, [(3, "log-file"), (4, "user"), (7, "whatever")]);
        assert!(converted.text.ends_with("realm = \"a\"\n"));
    }

    #[test]
    fn ports_and_addresses_belong_together() {
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
    fn with_a_certificate_there_is_a_port_for_tls() {
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
        let left = |text: &str| convert(&format!("{pair}{text}")).left;
        assert_eq!(left("no-tls\nno-dtls"), []);
        assert_eq!(
            left("realm=a\nno-tls\nwhatever").remove(0),
            (4, "no-tls".into(), TOGETHER)
        );
        assert_eq!(left("no-dtls"), [(3, "no-dtls".into(), TOGETHER)]);
        assert_eq!(convert("no-tls").left, []);
        for (text, name) in [("\ncert=/c.pem", "cert"), ("\npkey=/k.pem", "pkey")] {
            assert_eq!(
                convert(text).left,
                [(
                    2,
                    name.to_owned(),
                    "a certificate goes with its key: write both"
                )]
            );
        }
    }

    #[test]
    fn values_are_read_as_coturn_reads_them() {
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
