//! What a configuration depends on besides what is written: the addresses of this host, and a secret drawn for it.

use crate::config::layers::Layer;
use crate::config::public_ip;
use crate::config::public_ip::PublicAddresses;
use crate::config::schema;
use crate::net::host::interfaces;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The host that a configuration is meant for.
#[derive(Clone, Debug, Default)]
pub struct HostInfo {
    /// The addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Where packets to the world leave from, IPv4.
    pub source_v4: Option<IpAddr>,
    /// The same for IPv6.
    pub source_v6: Option<IpAddr>,
    /// Whether it has IPv6 sockets at all.
    pub ipv6: bool,
    /// What it is called from outside; `None` when nobody was asked.
    pub public: Option<PublicAddresses>,
    /// What stands in for users and secrets when there are none.
    pub secret: String,
}

impl HostInfo {
    /// Looks at this host; `secret` is what stands in for users when there are none.
    pub fn detect(secret: String) -> HostInfo {
        let addresses = interfaces::addresses().unwrap_or_default();
        HostInfo {
            addresses: addresses.into_iter().map(|found| found.address).collect(),
            source_v4: interfaces::default_source_address(false),
            source_v6: interfaces::default_source_address(true),
            ipv6: UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok(),
            public: None,
            secret,
        }
    }

    /// Asks for the public address where `external_address = "auto"` wants to know it.
    pub fn with_public_addresses(mut self, written: &Layer) -> HostInfo {
        if written
            .get(&schema::EXTERNAL_ADDRESS)
            .iter()
            .any(|given| given.text == AUTO)
        {
            let stun = written
                .get(&schema::EXTERNAL_STUN)
                .last()
                .map(|given| given.text.as_str());
            self.public = Some(public_ip::discover(stun));
        }
        self
    }

    /// Where relay sockets bind unless somebody says otherwise: the source address of each family's default route, and
    /// where there is none at all, loopback.
    pub fn relay_addresses(&self) -> Vec<IpAddr> {
        let found: Vec<IpAddr> = [self.source_v4, self.source_v6]
            .into_iter()
            .flatten()
            .collect();
        if found.is_empty() {
            vec![Ipv4Addr::LOCALHOST.into()]
        } else {
            found
        }
    }
}

/// What `external_address` says when somebody else is to be asked.
pub const AUTO: &str = "auto";
