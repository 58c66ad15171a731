//! Which peers clients may reach, and how much of everything they get.

use crate::config::schema::format::{BYTE_LIMIT, COUNT_LIMIT, Format, duration};
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, ListKey};
use crate::config::value;
use crate::turn::Limits;
use crate::turn::policy::acl::Cidr;
use std::time::Duration;

section! { PEERS = "Peers";
    ALLOW_PEER: ListKey<Cidr> = ListKey::new(
        KeyInfo::new(
            "allow_peer",
            "CIDR",
            "Peers to permit in ranges that are refused by default. These ranges are loopback, \
             private, link-local, shared, multicast, documentation and reserved. The longest \
             matching prefix decides between allow_peer and deny_peer.",
        )
        .example(r#"["10.1.0.0/16"]"#)
        .per_realm(),
        value::cidr,
    );
    DENY_PEER: ListKey<Cidr> = ListKey::new(
        KeyInfo::new(
            "deny_peer",
            "CIDR",
            "Peers to refuse (403).",
        )
        .example(r#"["198.18.0.0/15"]"#)
        .per_realm(),
        value::cidr,
    );
}

section! { LIMITS = "Limits";
    ANSWER_RATE: Key<u32> = Key::new(
        KeyInfo::new(
            "answer_rate",
            "N",
            "Unauthenticated answers per second to one source prefix, an IPv4 /24 or an IPv6 \
             /48; 0 for no limit. Requests beyond it get no answer, which makes the server \
             useless for reflection attacks. Loopback is exempt.",
        ),
        Format::number(value::number),
        || 2_000,
    );
    MAX_ALLOCATIONS: Key<u32> = Key::new(
        KeyInfo::new(
            "max_allocations",
            "N",
            "Allocations of the whole server; 0 for as many as there are ports. Beyond it, 508.",
        ),
        COUNT_LIMIT,
        || Limits::default().allocations,
    );
    USER_ALLOCATIONS: Key<u32> = Key::new(
        KeyInfo::new(
            "user_allocations",
            "N",
            "Allocations of one user; 0 for no limit. Beyond it, 486.",
        )
        .per_realm(),
        COUNT_LIMIT,
        || Limits::default().allocations_per_user,
    );
    REALM_ALLOCATIONS: Key<u32> = Key::new(
        KeyInfo::new(
            "realm_allocations",
            "N",
            "Allocations of one realm; 0 for no limit. Beyond it, 486.",
        )
        .per_realm(),
        COUNT_LIMIT,
        || Limits::default().allocations_per_realm,
    );
    ADDRESS_ALLOCATIONS: Key<u32> = Key::new(
        KeyInfo::new(
            "address_allocations",
            "N",
            "Allocations of one client address, an IPv4 address or an IPv6 /64; 0 for no limit. \
             Beyond it, 486. Behind a carrier's NAT many clients share an address.",
        )
        .per_realm(),
        COUNT_LIMIT,
        || Limits::default().allocations_per_address,
    );
    ALLOCATION_BANDWIDTH: Key<Option<u64>> = Key::new(
        KeyInfo::new(
            "allocation_bandwidth",
            "SIZE",
            "Payload bytes per second of one allocation, both directions together; 0 for no \
             limit. Packets beyond it are dropped and counted. Bursts of 100 ms pass.",
        )
        .per_realm(),
        BYTE_LIMIT,
        || Limits::default().bandwidth.allocation,
    );
    USER_BANDWIDTH: Key<Option<u64>> = Key::new(
        KeyInfo::new(
            "user_bandwidth",
            "SIZE",
            "Payload bytes per second of all allocations of one user; 0 for no limit.",
        )
        .per_realm(),
        BYTE_LIMIT,
        || Limits::default().bandwidth.user,
    );
    REALM_BANDWIDTH: Key<Option<u64>> = Key::new(
        KeyInfo::new(
            "realm_bandwidth",
            "SIZE",
            "Payload bytes per second of all users of one realm; 0 for no limit.",
        )
        .per_realm(),
        BYTE_LIMIT,
        || Limits::default().bandwidth.realm,
    );
    MAX_BANDWIDTH: Key<Option<u64>> = Key::new(
        KeyInfo::new(
            "max_bandwidth",
            "SIZE",
            "Payload bytes per second of the whole server; 0 for no limit.",
        ),
        BYTE_LIMIT,
        || Limits::default().bandwidth.all,
    );
    USER_BYTES: Key<Option<u64>> = Key::new(
        KeyInfo::new(
            "user_bytes",
            "SIZE",
            "Payload bytes of one user in each user_period; 0 for no limit. Beyond it new \
             allocations get 486 and packets are dropped.",
        )
        .per_realm(),
        BYTE_LIMIT,
        || None,
    );
    USER_PERIOD: Key<Duration> = Key::new(
        KeyInfo::new(
            "user_period",
            "DURATION",
            "Period of user_bytes.",
        )
        .per_realm(),
        duration(value::at_least_one_second),
        || Duration::from_secs(86_400),
    );
    NEW_PEERS: Key<u32> = Key::new(
        KeyInfo::new(
            "new_peers",
            "N",
            "New peers per second of one allocation, against port scans through the relay; 0 \
             for no limit. An allocation may reach one second's worth at once.",
        )
        .per_realm(),
        Format::number(value::number),
        || Limits::default().new_peers,
    );
    PERMISSIONS: Key<usize> = Key::new(
        KeyInfo::new(
            "permissions",
            "N",
            "Permissions of one allocation. Beyond it, 508.",
        )
        .per_realm(),
        Format::number(value::number),
        || Limits::default().permissions,
    );
    CHANNELS: Key<usize> = Key::new(
        KeyInfo::new(
            "channels",
            "N",
            "Channels of one allocation. Beyond it, 508.",
        )
        .per_realm(),
        Format::number(value::number),
        || Limits::default().channels,
    );
    DATA_CONNECTIONS: Key<usize> = Key::new(
        KeyInfo::new(
            "data_connections",
            "N",
            "TCP connections to peers of one allocation. Beyond it, 508.",
        )
        .per_realm(),
        Format::number(value::number),
        || Limits::default().connections,
    );
    MAX_LIFETIME: Key<Duration> = Key::new(
        KeyInfo::new(
            "max_lifetime",
            "DURATION",
            "Longest lifetime granted to an allocation, at least 10m. Clients refresh it.",
        )
        .per_realm(),
        duration(value::maximum_lifetime),
        || Limits::default().maximum_lifetime,
    );
}
