//! `hairpin credentials`: a username and a password that expire, made from the secret that the server shares.

use crate::cli::ice_servers;
use crate::cli::output::{print_result, usage_error};
use crate::config::{HostInfo, value};
use clap::Args;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// Makes a username and a password that expire, from the secret that a server was given with --shared-secret, and prints
/// them, and what a browser's RTCPeerConnection takes
#[derive(Args, Clone, Debug)]
pub struct Credentials {
    /// The secret that the server was given; of several lines the first counts, as it does there
    #[arg(
        long,
        value_name = "SECRET",
        env = "HAIRPIN_SHARED_SECRET",
        hide_env_values = true
    )]
    shared_secret: String,
    /// Whom they are for: the server's logs and quotas go by this name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// How long they are good for
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value::duration)]
    ttl: Duration,
    /// The server as clients reach it; several may be named [default: this host's address and port 3478]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = server)]
    server: Vec<String>,
}

/// Runs it.
pub fn run(args: &Credentials) -> ExitCode {
    // The variable may have several, as the server reads it.
    let Some(secret) = args.shared_secret.lines().find(|line| !line.is_empty()) else {
        return usage_error(
            &"--shared-secret is empty; write the secret that the server was given",
        );
    };
    let pair = ice_servers::UserCredentials::time_limited(secret, args.user.as_deref(), args.ttl);
    let servers = if args.server.is_empty() {
        vec![here()]
    } else {
        args.server.clone()
    };
    let (ice_servers::UserCredentials { username, password }, json) =
        (&pair, ice_servers::json(&servers, &[], &pair));
    print_result(
        &format_args!("username {username}\npassword {password}\n{json}"),
        ExitCode::SUCCESS,
    )
}

fn here() -> String {
    let host = HostInfo::detect(String::new());
    let ip = host
        .source_v4
        .or(host.source_v6)
        .unwrap_or(Ipv4Addr::LOCALHOST.into());
    SocketAddr::new(ip, PORT).to_string()
}

/// A host with its port: a name, an IPv4 address, or an IPv6 address in brackets.
fn server(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{text}` is not HOST[:PORT]; write relay.example.net, 192.0.2.1:3478 or [2001:db8::1]:3478"
        )
    };
    if let Ok(ip) = value::ip_address(text) {
        return Ok(SocketAddr::new(ip, PORT).to_string());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    let (name, port) = text.split_once(':').unwrap_or((text, "3478"));
    let proper = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if name.is_empty() || !name.chars().all(proper) {
        Err(wrong())
    } else {
        Ok(format!("{name}:{port}"))
    }
}

/// Where STUN and TURN are spoken unless somebody says otherwise. RFC 8656 §5.
const PORT: u16 = 3478;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_get_a_port_and_brackets() {
        for (text, expected) in [
            ("relay.example.net", "relay.example.net:3478"),
            ("relay.example.net:443", "relay.example.net:443"),
            ("192.0.2.1", "192.0.2.1:3478"),
            ("2001:db8::1", "[2001:db8::1]:3478"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
        ] {
            assert_eq!(server(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", ":1", "a b", "a:x", "http://a", "a:99999"] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
