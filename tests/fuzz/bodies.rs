//! The bodies of the fuzz targets as functions of arbitrary octets: the fuzzer calls them, and
//! `cargo test` replays the corpora through them.

use super::operation::{OCTETS, Operation};
use super::world::{RANGE, Setting, World, limits, policy, shared};
use hairpin::turn::{Forward, Framing, Policy, Shared};
use hairpin::wire::integrity;
use hairpin::wire::integrity::{Key, Seal};
use hairpin::wire::{
    AttributeType, ChannelData, Message, Packet, Writer, attribute, channel_data as channel,
    registry, stream as framing,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use stun::attributes::AttrType;
use stun::message::Getter;

/// A STUN message: every parsed part is inside the octets, and a rewritten message parses equally.
pub fn message(octets: &[u8]) {
    let Ok(message) = Message::parse(octets) else {
        return;
    };
    // The first octets of higher methods belong to DTLS or are unassigned (RFC 7983 §7).
    let classified = matches!(Packet::classify(octets), Ok(Packet::Message(_)));
    assert_eq!(classified, octets[0] < 4, "it is taken for what it is");
    for (kind, value) in message.attributes() {
        let range = message
            .range_of(value)
            .expect("a value lies in its message");
        assert_eq!(&octets[range], value);
        read_typed(&message, value);
        assert!(message.has(kind));
    }
    let key = Key::from_octets(b"key").expect("a short key");
    let sealed = [Seal::Sha1, Seal::Sha256].map(|seal| integrity::verify(&message, seal, &key));
    assert!(integrity::seal(&message).is_some() || sealed == [false; 2]);
    let _ = integrity::fingerprint_matches(&message);
    rewrite(&message);
}

fn read_typed(message: &Message, value: &[u8]) {
    let transaction = message.transaction();
    if let Some(address) = attribute::read_xor_address(value, &transaction) {
        let (written, length) = attribute::xor_address(address, &transaction);
        assert_eq!(
            &written[1..length],
            &value[1..],
            "but for the first octet, which is reserved"
        );
    }
    if let Some(address) = attribute::read_address(value) {
        let (written, length) = attribute::address(address);
        assert_eq!(&written[1..length], &value[1..]);
    }
    let _ = (
        attribute::read_number(value),
        attribute::read_channel_number(value),
    );
    let _ = (
        attribute::read_first_of_four(value),
        attribute::read_even_port(value),
    );
    assert!(attribute::read_error_code(value).is_none_or(|code| code.0 < 1000));
}

/// Writes the attributes that count again: they are read back in the same order.
fn rewrite(message: &Message) {
    let mut out = vec![b'x'; 3];
    let mut writer = Writer::new(
        &mut out,
        message.class(),
        message.method(),
        &message.transaction(),
    );
    for (kind, value) in message.attributes() {
        writer.attribute(kind, value);
    }
    let range = writer.finish();
    let again = Message::parse(&out[range]).expect("what is written is read");
    assert!(again.attributes().eq(message.attributes()));
    assert_eq!(
        (again.method(), again.class()),
        (message.method(), message.class())
    );
    assert_eq!(again.transaction(), message.transaction());
}

/// ChannelData: the payload has exactly the length in the header.
pub fn channel_data(octets: &[u8]) {
    let read = ChannelData::parse(octets);
    match (Packet::classify(octets), read) {
        (Ok(Packet::ChannelData(classified)), Ok(read)) => assert_eq!(classified, read),
        (Ok(Packet::ChannelData(_)), Err(_)) | (_, Ok(_)) => {
            panic!("one reads it and the other does not")
        }
        _ => {}
    }
    let Ok(read) = read else { return };
    assert!(channel::NUMBERS_OF_RFC_5766.contains(&read.number));
    assert_eq!(
        &octets[..4],
        channel::header(read.number, read.payload.len() as u16)
    );
    assert_eq!(&octets[4..4 + read.payload.len()], read.payload);
    let whole = 4 + read.payload.len();
    assert_eq!(
        ChannelData::parse(&octets[..whole]),
        Ok(read),
        "padding makes no difference"
    );
    assert!(ChannelData::parse(&octets[..whole - 1]).is_err());
}

/// A stream: where a frame ends does not depend on how much of it has arrived.
pub fn stream(octets: &[u8]) {
    let mut rest = octets;
    while let Ok(Some(length)) = framing::frame(rest) {
        assert!(
            length >= 4 && length % 4 == 0 && length <= 20 + 65_535,
            "{length}"
        );
        for end in 0..rest.len().min(24) {
            let early = framing::frame(&rest[..end]);
            assert!(
                early == Ok(None) || early == Ok(Some(length)),
                "{early:?} after {end}"
            );
        }
        let Some((frame, next)) = rest.split_at_checked(length) else {
            return;
        };
        let _ = Packet::classify(frame);
        if frame[0] >= 0x40 {
            assert!(ChannelData::parse(frame).is_ok(), "a whole frame is whole");
        }
        rest = next;
    }
    let whole = framing::frame(rest);
    for end in 0..rest.len().min(24) {
        let early = framing::frame(&rest[..end]);
        assert!(
            early.is_ok() || early == whole,
            "a fault stays a fault: {early:?}, {whole:?}"
        );
    }
}

/// Our codec and the crate `stun`: the crate accepts every message that ours accepts, and both
/// parse it equally.
///
/// The known differences; in all of them our codec is stricter, or the crate implements older RFCs:
/// - theirs takes octets behind the message, any first two bits, attributes behind FINGERPRINT,
///   seals of any length;
/// - ours passes over attributes behind a seal, which the seal does not cover (RFC 8489 §14.5);
/// - theirs reads 0x8020 as XOR-MAPPED-ADDRESS, an old draft's number for it;
/// - theirs takes an address's reserved octet for half of its family, and takes an address with
///   octets missing;
/// - theirs takes an ERROR-CODE's reserved bits for part of its hundreds.
pub fn differential(octets: &[u8]) {
    let Ok(ours) = Message::parse(octets) else {
        return;
    };
    let mut theirs = stun::message::Message::new();
    theirs
        .unmarshal_binary(octets)
        .expect("what ours accepts theirs does");
    assert_eq!(theirs.transaction_id.0, ours.transaction());
    assert_eq!(
        theirs.typ.value(),
        registry::message_type(ours.method(), ours.class())
    );
    let mut all = theirs.attributes.0.iter();
    for (kind, value) in ours.attributes() {
        // Ours leaves out some, but never takes another.
        let same = |raw: &&stun::attributes::RawAttribute| {
            (number(raw.typ), &raw.value[..]) == (compatible(kind.0), value)
        };
        assert!(all.any(|raw| same(&raw)), "{kind:?}");
        if ours.attribute(kind) == Some(value) {
            compare_typed(&ours, &theirs, kind, value);
        }
    }
    compare_seals(&ours, &theirs);
}

fn number(kind: AttrType) -> u16 {
    kind.value()
}

/// The number that theirs reads.
fn compatible(kind: u16) -> u16 {
    if kind == 0x8020 { 0x0020 } else { kind }
}

fn compare_typed(
    ours: &Message,
    theirs: &stun::message::Message,
    kind: AttributeType,
    value: &[u8],
) {
    let first = theirs
        .get(AttrType(kind.0))
        .is_ok_and(|first| first == value);
    if !first {
        return;
    }
    if let Some(address) =
        attribute::read_xor_address(value, &ours.transaction()).filter(|_| value[0] == 0)
    {
        let mut read = stun::xoraddr::XorMappedAddress::default();
        read.get_from_as(theirs, AttrType(kind.0))
            .expect("an XOR address");
        assert_eq!((read.ip, read.port), (address.ip(), address.port()));
    }
    if let Some(code) = attribute::read_error_code(value)
        .filter(|_| kind == AttributeType::ERROR_CODE && value[2] < 8)
    {
        let mut read = stun::error_code::ErrorCodeAttribute::default();
        read.get_from(theirs).expect("an error code");
        assert_eq!(read.code.0, code.0);
    }
    // Theirs reads no other as text.
    let is_text = [
        AttributeType::USERNAME,
        AttributeType::REALM,
        AttributeType::NONCE,
        AttributeType::SOFTWARE,
    ]
    .contains(&kind);
    if let Some(text) = ours.text(kind).filter(|_| is_text) {
        let read =
            stun::textattrs::TextAttribute::get_from_as(theirs, AttrType(kind.0)).expect("text");
        assert_eq!(read.text, text);
    }
}

fn compare_seals(ours: &Message, theirs: &stun::message::Message) {
    if ours.has_fingerprint() {
        let right = stun::fingerprint::FINGERPRINT.check(theirs).is_ok();
        assert_eq!(integrity::fingerprint_matches(ours), right);
    }
    if ours.has(AttributeType::MESSAGE_INTEGRITY) {
        let key = Key::from_octets(b"key").expect("a short key");
        let mut copy = theirs.clone();
        let right = stun::integrity::MessageIntegrity(b"key".to_vec())
            .check(&mut copy)
            .is_ok();
        assert_eq!(integrity::verify(ours, Seal::Sha1, &key), right);
    }
}

/// Operations on a server: after each the invariants hold, and after all nothing is left.
pub fn operations(octets: &[u8]) {
    let Some((&first, mut rest)) = octets.split_first() else {
        return;
    };
    let setting = Setting::of(first);
    let (policy, shared) = parts(setting);
    let mut world = World::new(setting, policy, shared);
    while let Some(operation) = next(&world, &mut rest) {
        let seen = world.perform(&operation);
        if let Some(onward) = seen.onward {
            check_onward(&world, &onward, packet_length(&operation, &seen));
        }
        check_invariants(&world);
        assert!(
            world.faults.is_empty(),
            "{:?} after {operation:?}",
            world.faults
        );
    }
    world.close().expect("nothing is left");
}

/// The next operation: eight octets, or a packet of any octets.
fn next(world: &World, rest: &mut &[u8]) -> Option<Operation> {
    if let [0xff, who, length, after @ ..] = *rest {
        let (octets, after) = after.split_at(after.len().min(usize::from(*length)));
        *rest = after;
        return Some(Operation::Raw {
            client: usize::from(who & 7),
            octets: octets.to_vec(),
        });
    }
    let (chunk, after) = rest.split_first_chunk::<OCTETS>()?;
    *rest = after;
    Some(world.read(*chunk))
}

/// The octets of the packet that an operation gave to the server, where its payload may lie.
fn packet_length(operation: &Operation, seen: &super::world::Seen) -> usize {
    match operation {
        Operation::Raw { octets, .. } => octets.len(),
        Operation::ChannelData { length, .. } => 4 + length,
        Operation::FromPeer { length, .. } => *length,
        Operation::Send { length, .. } => length + 3 + 20 + 24 + 4 + 4,
        _ => seen
            .request
            .as_ref()
            .map_or(0, |request| request.octets.len()),
    }
}

fn check_onward(world: &World, onward: &Forward, length: usize) {
    let inside = |range: Range<usize>| {
        assert!(
            range.start <= range.end && range.end <= length,
            "{range:?} of {length}"
        )
    };
    match *onward {
        Forward::ToPeer {
            relayed,
            to,
            start,
            end,
            ..
        } => {
            inside(start..end);
            let socket = world
                .sockets
                .iter()
                .find(|socket| socket.id == relayed)
                .expect("a socket to send from");
            assert!(!socket.tcp, "datagrams leave from UDP sockets");
            assert_eq!(socket.local.is_ipv4(), to.is_ipv4());
        }
        Forward::ToClient {
            client,
            start,
            end,
            framing,
        } => {
            inside(start..end);
            assert!(world.clients.contains(&client), "a client that is there");
            if let Framing::Channel(number) = framing {
                assert!(channel::NUMBERS_OF_RFC_5766.contains(&number));
            }
        }
        Forward::ToShard { .. } => panic!("there is one shard"),
        Forward::Discarded(_) | Forward::Answered => {}
    }
}

fn check_invariants(world: &World) {
    let server = &world.server;
    let records: Vec<_> = server.list_allocations(world.now, 0, usize::MAX);
    assert_eq!(records.len(), server.allocation_count());
    assert_eq!(
        world.shared.ledger.allocations() as usize,
        records.len(),
        "one grant for each allocation"
    );
    assert!(records.len() <= limits().allocations as usize);
    let mut relayed: Vec<_> = records
        .iter()
        .flat_map(|record| record.relayed.clone())
        .collect();
    let mut bound: Vec<_> = world
        .sockets
        .iter()
        .map(|socket| world.external(socket.local))
        .collect();
    relayed.sort();
    bound.sort();
    assert_eq!(
        relayed, bound,
        "every socket belongs to an allocation, and every relayed address has a socket"
    );
    assert!(
        records.iter().all(|record| !record.relayed.is_empty()),
        "every allocation has a relayed address"
    );
    let taken = world.shared.ports.taken() as usize;
    assert!(taken >= bound.len() && taken <= 2 * RANGE.len());
    assert!(
        records.is_empty() || server.next_timeout().is_some(),
        "an allocation has a deadline"
    );
    assert!(
        server.next_timeout().is_none_or(|at| at > world.now),
        "what is due was done"
    );
    assert!(world.routes.len() <= records.len() * limits().channels);
}

/// Policy and shared state of a setting, made once: a server leaves nothing behind, which is one of
/// the invariants.
pub fn parts(setting: Setting) -> (Arc<Policy>, Arc<Shared>) {
    type Parts = (Arc<Policy>, Arc<Shared>);
    thread_local! {
        static MADE: RefCell<HashMap<[bool; 4], Parts>> = RefCell::default();
    }
    let key = [setting.nat, setting.v6, setting.mobility, setting.own];
    MADE.with_borrow_mut(|made| {
        made.entry(key)
            .or_insert_with(|| (policy(setting), shared(setting)))
            .clone()
    })
}
