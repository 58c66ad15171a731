//! Where clients reach the server, and where it relays.

use crate::config::schema::format::{Format, PORT_RANGE};
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, ListKey, OptionalKey};
use crate::config::value;
use crate::config::value::ExternalAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

section! { ADDRESSES = "Addresses";
    LISTEN: ListKey<SocketAddr> = ListKey::with_default(
        KeyInfo::new(
            "listen",
            "IP:PORT",
            "Addresses to listen on, UDP and TCP. With a certificate the same ports speak DTLS \
             and TLS too, and the default includes ports 5349 and 443. [::] beside 0.0.0.0 is \
             left out on a host without IPv6. A listener that a reload removes takes no new \
             clients; its allocations live on.",
        ),
        Format::displayed(value::transport_address),
        || [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            .map(|ip| SocketAddr::new(ip, 3478)).into(),
    );
    RELAY_ADDRESS: ListKey<IpAddr> = ListKey::new(
        KeyInfo::new(
            "relay_address",
            "IP",
            "Addresses that relay sockets bind to. Without it, the source addresses of the \
             default routes, one for each family. Several addresses of a family are used in \
             rotation.",
        )
        .example(r#"["10.0.0.5"]"#)
        .restart(),
        value::ip_address,
    );
    EXTERNAL_ADDRESS: ListKey<ExternalAddress> = ListKey::new(
        KeyInfo::new(
            "external_address",
            "IP",
            "Addresses announced to clients instead of relay addresses, for clouds with 1:1 \
             NAT. The first of a family replaces the first relay address of that family, and so \
             on; `10.0.0.5=203.0.113.7` replaces the relay address that it names. `auto` asks \
             external_stun, or without it the metadata service of the cloud.",
        )
        .example(r#"["203.0.113.7"]"#)
        .restart(),
        value::external_address,
    );
    EXTERNAL_STUN: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "external_stun",
            "HOST:PORT",
            "STUN server that external_address = \"auto\" asks. It must be outside of the NAT.",
        )
        .example(r#""stun.example.net:3478""#)
        .restart(),
        value::host_and_port,
    );
    RELAY_PORTS: Key<RangeInclusive<u16>> = Key::new(
        KeyInfo::new(
            "relay_ports",
            "MIN-MAX",
            "Ports of relayed transport addresses. Open them for UDP in the firewall. Each \
             allocation gets an unpredictable one.",
        )
        .restart(),
        PORT_RANGE,
        || 49_152..=65_535,
    );
}
