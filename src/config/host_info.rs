//! The inputs of a configuration besides its text: the addresses of this host, and a secret
//! generated for this run.

use crate::config::layer::Layer;
use crate::config::public_ip;
use crate::config::public_ip::PublicAddresses;
use crate::config::schema;
use crate::config::value;
use crate::config::value::ExternalAddress;
use crate::net::host::interfaces;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The host that a configuration is resolved for.
#[derive(Clone, Debug, Default)]
pub struct HostInfo {
    /// The addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// The source address of the IPv4 default route.
    pub source_v4: Option<IpAddr>,
    /// The source address of the IPv6 default route.
    pub source_v6: Option<IpAddr>,
    /// IPv6 sockets can be bound.
    pub ipv6: bool,
    /// The public addresses; `None` if discovery was not requested.
    pub public: Option<PublicAddresses>,
    /// The shared secret that holds if the operator configures neither users nor secrets.
    pub secret: String,
}

impl HostInfo {
    /// Reads the addresses of this host.
    pub fn detect(secret: String) -> HostInfo {
        let interfaces = interfaces::addresses().unwrap_or_default();
        HostInfo {
            addresses: interfaces.into_iter().map(|found| found.address).collect(),
            source_v4: interfaces::default_source_address(false),
            source_v6: interfaces::default_source_address(true),
            ipv6: UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok(),
            public: None,
            secret,
        }
    }

    /// Discovers the public addresses if the configuration has `external_address = "auto"`. Blocks
    /// until the answer.
    pub fn with_public_addresses(mut self, layer: &Layer) -> HostInfo {
        let mut external = layer.get(&schema::EXTERNAL_ADDRESS).iter();
        if external.any(|raw| value::external_address(&raw.text) == Ok(ExternalAddress::Auto)) {
            let stun = layer.get(&schema::EXTERNAL_STUN).last();
            self.public = Some(public_ip::discover(stun.map(|raw| raw.text.as_str())));
        }
        self
    }

    /// The default addresses of relay sockets: the source addresses of the default routes, or
    /// loopback without a route.
    pub fn relay_addresses(&self) -> Vec<IpAddr> {
        let sources: Vec<IpAddr> = [self.source_v4, self.source_v6]
            .into_iter()
            .flatten()
            .collect();
        match sources.is_empty() {
            true => vec![Ipv4Addr::LOCALHOST.into()],
            false => sources,
        }
    }
}
