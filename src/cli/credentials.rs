//! `hairpin credentials`: creates time-limited credentials from the secret that a server shares.

use crate::cli::ice_servers;
use crate::cli::ice_servers::UserCredentials;
use crate::cli::output::{print_result, usage_error};
use crate::config::value::ValueError;
use crate::config::{HostInfo, value};
use clap::Args;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// Create time-limited credentials from a shared secret
///
/// Prints a user name and a password that a server with the same --shared-secret accepts until they
/// expire, and an iceServers object for new RTCPeerConnection(…).
#[derive(Args, Clone, Debug)]
pub(super) struct CredentialsArgs {
    /// Secret of the server; if it has several lines, the first is used
    #[arg(
        long,
        value_name = "SECRET",
        env = "HAIRPIN_SHARED_SECRET",
        hide_env_values = true
    )]
    shared_secret: String,
    /// Name of the user in logs and quotas
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Lifetime of the credentials
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value::duration)]
    ttl: Duration,
    /// Server in the iceServers object; may be repeated [default: this host's address and port
    /// 3478]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = server)]
    server: Vec<String>,
}

pub(super) fn run(args: &CredentialsArgs) -> ExitCode {
    // The server's variable may hold several secrets, one per line.
    let Some(secret) = args.shared_secret.lines().find(|line| !line.is_empty()) else {
        return usage_error(&"--shared-secret is empty; write the secret of the server");
    };
    let credentials = UserCredentials::time_limited(secret, args.user.as_deref(), args.ttl);
    let servers = match args.server.is_empty() {
        true => vec![this_host()],
        false => args.server.clone(),
    };
    let json = ice_servers::json(&servers, &[], &credentials);
    let UserCredentials { username, password } = credentials;
    print_result(
        &format_args!("username {username}\npassword {password}\n{json}"),
        ExitCode::SUCCESS,
    )
}

fn this_host() -> String {
    let host = HostInfo::detect(String::new());
    let source = host.source_v4.or(host.source_v6);
    SocketAddr::new(source.unwrap_or(Ipv4Addr::LOCALHOST.into()), DEFAULT_PORT).to_string()
}

/// Parses a host and an optional port: a name, an IPv4 address, or an IPv6 address with or without
/// brackets.
fn server(text: &str) -> Result<String, ValueError> {
    let error = || ValueError::Malformed {
        text: text.into(),
        expected: "HOST[:PORT]",
        example: "relay.example.net, 192.0.2.1:3478 or [2001:db8::1]:3478",
    };
    if let Ok(ip) = value::ip_address(text) {
        return Ok(SocketAddr::new(ip, DEFAULT_PORT).to_string());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| error())?),
        None => (text, DEFAULT_PORT),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match !name.is_empty() && name.chars().all(is_name) {
        true => Ok(format!("{name}:{port}")),
        false => Err(error()),
    }
}

/// The port of STUN and TURN. RFC 8656 §5.
const DEFAULT_PORT: u16 = 3478;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_the_default_port_and_brackets() {
        for (text, expected) in [
            ("relay.example.net", "relay.example.net:3478"),
            ("relay.example.net:443", "relay.example.net:443"),
            ("192.0.2.1", "192.0.2.1:3478"),
            ("2001:db8::1", "[2001:db8::1]:3478"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
        ] {
            assert_eq!(server(text), Ok(expected.into()), "{text}");
        }
        for wrong in ["", ":1", "a b", "a:x", "http://a", "a:99999"] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
