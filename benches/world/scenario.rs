//! The measured operations, repeatable, for time (divan) and instructions (callgrind).

use super::{World, client_at, peer, user};
use hairpin::turn::client_state::Request;
use hairpin::wire::integrity;
use hairpin::wire::integrity::{Key, Seal};
use hairpin::wire::registry::PasswordAlgorithm;
use hairpin::wire::{
    AttributeType, Class, Message, Method, Packet, Writer, channel_data, data_indication,
};
use std::hint::black_box;

/// One operation, ready to be repeated.
pub type Operation = Box<dyn FnMut()>;

/// A name, and the function that prepares the operation.
pub type Scenario = (&'static str, fn() -> Operation);

/// Operations of the codec for one packet.
pub const WIRE: &[Scenario] = &[
    ("wire: read ChannelData of 1200 B", read_channel_data),
    ("wire: read an authenticated Allocate", read_allocate),
    ("wire: verify MESSAGE-INTEGRITY", || verify(Seal::Sha1)),
    ("wire: verify MESSAGE-INTEGRITY-SHA256", || {
        verify(Seal::Sha256)
    }),
    ("wire: write an Allocate success response", write_answer),
    (
        "wire: write the header of a Data indication",
        write_data_header,
    ),
];

/// Operations of the protocol for one packet, with 1,000 allocations.
pub const SERVER: &[Scenario] = &[
    ("turn: ChannelData from a client", channel_to_peer),
    ("turn: data from a peer on a channel", peer_to_channel),
    ("turn: ChannelData to another allocation", hairpin),
    ("turn: Send indication", send_indication),
    (
        "turn: data from a peer without a channel",
        peer_to_indication,
    ),
    ("turn: Binding", binding),
    ("turn: Allocate, challenged, and its end", allocate),
    ("turn: Refresh", refresh),
    ("turn: ChannelBind again", channel_bind),
];

fn key(algorithm: PasswordAlgorithm) -> Key {
    Key::long_term(algorithm, "user", "bench", "pass").expect("a key")
}

/// An authenticated Allocate request as clients write it.
fn authenticated(seal: Seal) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, &[7; 12]);
    writer
        .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .number(AttributeType::LIFETIME, 600);
    writer
        .attribute(AttributeType::USERNAME, b"1800000000:user")
        .attribute(AttributeType::REALM, b"bench");
    writer.attribute(
        AttributeType::NONCE,
        b"obMatJos2gAAAabcdefghijklmnopqrstuvwxyz0123456789ABCDEF",
    );
    match seal {
        Seal::Sha1 => writer.integrity(&key(PasswordAlgorithm::MD5)),
        Seal::Sha256 => writer.integrity_sha256(&key(PasswordAlgorithm::SHA256)),
    };
    out
}

fn read_channel_data() -> Operation {
    let mut octets = channel_data::header(0x4000, 1200).to_vec();
    octets.resize(1204, 7);
    Box::new(move || {
        let _ = black_box(Packet::classify(black_box(&octets)));
    })
}

fn read_allocate() -> Operation {
    let octets = authenticated(Seal::Sha1);
    Box::new(move || {
        let message = Message::parse(black_box(&octets)).expect("a message");
        black_box((
            message.attribute(AttributeType::USERNAME),
            message.attribute(AttributeType::NONCE),
        ));
    })
}

fn verify(seal: Seal) -> Operation {
    let octets = authenticated(seal);
    let key = key(if seal == Seal::Sha1 {
        PasswordAlgorithm::MD5
    } else {
        PasswordAlgorithm::SHA256
    });
    Box::new(move || {
        let message = Message::parse(black_box(&octets)).expect("a message");
        assert!(integrity::verify(&message, seal, &key));
    })
}

fn write_answer() -> Operation {
    let key = key(PasswordAlgorithm::MD5);
    let mut out = Vec::with_capacity(512);
    Box::new(move || {
        out.clear();
        let mut writer = Writer::new(&mut out, Class::Success, Method::ALLOCATE, &[7; 12]);
        writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, black_box(peer(1)));
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, black_box(peer(2)));
        writer.number(AttributeType::LIFETIME, 600).integrity(&key);
        black_box(writer.finish());
    })
}

fn write_data_header() -> Operation {
    Box::new(|| {
        black_box(data_indication::header(black_box(peer(1)), 1200, &[7; 12]));
    })
}

/// A world with `flows` clients that have `channels` channels each.
pub fn populated(flows: usize, channels: usize) -> (World, Vec<super::Flow>) {
    let mut world = World::new(flows);
    let mut all: Vec<_> = (0..flows).map(|index| world.allocate(index)).collect();
    for flow in &mut all {
        for number in 0..channels {
            world.bind(flow, 0x4000 + number as u16, peer(number));
        }
    }
    (world, all)
}

/// ChannelData of every flow and channel in turn, in an order that defeats prefetching.
pub fn walk(flows: usize, channels: usize) -> Operation {
    let (mut world, all) = populated(flows, channels);
    let mut packet = [7; 1204];
    let mut at = 0usize;
    Box::new(move || {
        at = (at + 7_919) % (flows * channels);
        packet[..4].copy_from_slice(&channel_data::header(0x4000 + (at % channels) as u16, 1200));
        black_box(
            world
                .server
                .from_client(world.now, &all[at / channels].at, black_box(&packet)),
        );
    })
}

fn channel_to_peer() -> Operation {
    walk(1000, 1)
}

fn peer_to_channel() -> Operation {
    let (mut world, all) = populated(1000, 1);
    let mut at = 0;
    Box::new(move || {
        at = (at + 7) % all.len();
        black_box(
            world
                .server
                .from_peer(world.now, all[at].socket, black_box(peer(0)), 1200),
        );
    })
}

fn hairpin() -> Operation {
    let (mut world, mut all) = populated(1000, 0);
    for at in 0..all.len() {
        let other = all[at ^ 1].relayed;
        world.bind(&mut all[at], 0x4000, other);
    }
    let mut packet = [7; 1204];
    packet[..4].copy_from_slice(&channel_data::header(0x4000, 1200));
    let mut at = 0;
    Box::new(move || {
        at = (at + 7) % all.len();
        black_box(
            world
                .server
                .from_client(world.now, &all[at].at, black_box(&packet)),
        );
    })
}

fn send_indication() -> Operation {
    let (mut world, mut all) = populated(1000, 1);
    let mut packet = Vec::new();
    all[0].client.send(peer(0), &[7; 1200], &mut packet);
    let mut at = 0;
    Box::new(move || {
        at = (at + 7) % all.len();
        black_box(
            world
                .server
                .from_client(world.now, &all[at].at, black_box(&packet)),
        );
    })
}

fn peer_to_indication() -> Operation {
    let (mut world, all) = populated(1000, 1);
    // ChannelBind installed a permission for the address; no channel is bound to this port.
    let mut from = peer(0);
    from.set_port(9001);
    let mut at = 0;
    Box::new(move || {
        at = (at + 7) % all.len();
        black_box(
            world
                .server
                .from_peer(world.now, all[at].socket, black_box(from), 1200),
        );
    })
}

fn binding() -> Operation {
    let mut world = World::new(1);
    let mut request = Vec::new();
    user().request(Request::Binding, &mut request);
    let at = client_at(0);
    Box::new(move || {
        black_box(
            world
                .server
                .from_client(world.now, &at, black_box(&request)),
        );
        world.settle();
    })
}

fn allocate() -> Operation {
    let (mut world, all) = populated(1000, 0);
    let mut index = all.len();
    Box::new(move || {
        index += 1;
        let mut flow = world.allocate(index);
        world.ask(&flow.at, &mut flow.client, Request::Refresh { lifetime: 0 });
    })
}

fn refresh() -> Operation {
    let (mut world, mut all) = populated(1000, 0);
    let mut at = 0;
    Box::new(move || {
        at = (at + 7) % all.len();
        let flow = &mut all[at];
        world.ask(
            &flow.at,
            &mut flow.client,
            Request::Refresh { lifetime: 600 },
        );
    })
}

fn channel_bind() -> Operation {
    let (mut world, mut all) = populated(1000, 1);
    let mut at = 0;
    Box::new(move || {
        at = (at + 7) % all.len();
        world.bind(&mut all[at], 0x4000, peer(0));
    })
}
