//! A second STUN codec, written from RFC 8489 §14 and RFC 8656 §18 independently of `src/wire`, so
//! that errors of either show.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// A transaction id, chosen by the client.
pub type Id = [u8; 12];

/// An attribute to send.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// Type and raw value.
    Plain(u16, Vec<u8>),
    /// An address, XORed with cookie and transaction id when it is encoded.
    Xor(u16, SocketAddr),
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub class: u16,
    pub method: u16,
    pub id: Id,
    pub attributes: Vec<Attribute>,
    /// Attributes between MESSAGE-INTEGRITY and FINGERPRINT.
    pub trailing: Vec<Attribute>,
    pub fingerprint: bool,
    /// The value of padding octets.
    pub padding: u8,
}

/// The authentication of a request (RFC 8489 §9.2).
#[derive(Clone, Debug)]
pub struct Credentials {
    pub username: Vec<u8>,
    pub password: Vec<u8>,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
    /// USERHASH in place of USERNAME.
    pub userhash: bool,
    /// The value of PASSWORD-ALGORITHMS to send, as the server offered it.
    pub algorithms: Option<Vec<u8>>,
    /// PASSWORD-ALGORITHM: [`MD5`] or [`SHA256`]; `None` sends none and uses MD5.
    pub algorithm: Option<u16>,
    /// Adds MESSAGE-INTEGRITY.
    pub sha1: bool,
    /// Adds MESSAGE-INTEGRITY-SHA256 of this many octets.
    pub sha256: Option<usize>,
    /// Replaces the key of the password (RFC 7635).
    pub key: Option<Vec<u8>>,
    /// Added to every request (e.g. ACCESS-TOKEN).
    pub extra: Vec<Attribute>,
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub class: u16,
    pub method: u16,
    pub id: Id,
    pub attributes: Vec<(u16, Vec<u8>)>,
    /// The offset of each attribute in `octets`.
    pub starts: Vec<usize>,
    pub octets: Vec<u8>,
}

impl Attribute {
    pub fn plain(kind: u16, value: &[u8]) -> Attribute {
        Attribute::Plain(kind, value.to_vec())
    }
    pub fn peer(address: SocketAddr) -> Attribute {
        Attribute::Xor(XOR_PEER_ADDRESS, address)
    }
    pub fn lifetime(seconds: u32) -> Attribute {
        Attribute::Plain(LIFETIME, seconds.to_be_bytes().to_vec())
    }
    pub fn channel(number: u16) -> Attribute {
        let [a, b] = number.to_be_bytes();
        Attribute::Plain(CHANNEL_NUMBER, vec![a, b, 0, 0])
    }
    pub fn data(value: &[u8]) -> Attribute {
        Attribute::plain(DATA, value)
    }
    /// REQUESTED-TRANSPORT: 17 is UDP, 6 is TCP.
    pub fn transport(protocol: u8) -> Attribute {
        Attribute::Plain(REQUESTED_TRANSPORT, vec![protocol, 0, 0, 0])
    }
    /// REQUESTED-ADDRESS-FAMILY: 1 is IPv4, 2 is IPv6.
    pub fn family(family: u8) -> Attribute {
        Attribute::Plain(REQUESTED_ADDRESS_FAMILY, vec![family, 0, 0, 0])
    }
    pub fn additional_family(family: u8) -> Attribute {
        Attribute::Plain(ADDITIONAL_ADDRESS_FAMILY, vec![family, 0, 0, 0])
    }
    pub fn even_port(reserve: bool) -> Attribute {
        Attribute::Plain(EVEN_PORT, vec![u8::from(reserve) << 7])
    }

    fn write(&self, to: &mut Vec<u8>, id: &Id, padding: u8) {
        let (kind, value) = match self {
            Attribute::Plain(kind, value) => (*kind, value.clone()),
            Attribute::Xor(kind, address) => (*kind, xor(*address, id)),
        };
        to.extend(kind.to_be_bytes());
        to.extend((value.len() as u16).to_be_bytes());
        to.extend(&value);
        while !to.len().is_multiple_of(4) {
            to.push(padding);
        }
    }
}

impl Outgoing {
    pub fn request(method: u16) -> Outgoing {
        Outgoing {
            class: REQUEST,
            method,
            id: fresh_id(),
            attributes: vec![],
            trailing: vec![],
            fingerprint: false,
            padding: 0,
        }
    }
    pub fn indication(method: u16) -> Outgoing {
        Outgoing {
            class: INDICATION,
            ..Outgoing::request(method)
        }
    }
    /// An Allocate request for a UDP allocation.
    pub fn allocate() -> Outgoing {
        Outgoing::request(ALLOCATE).with(Attribute::transport(17))
    }
    /// An Allocate request for a TCP allocation.
    pub fn allocate_tcp() -> Outgoing {
        Outgoing::request(ALLOCATE).with(Attribute::transport(6))
    }
    pub fn connect(peer: SocketAddr) -> Outgoing {
        Outgoing::request(CONNECT).with(Attribute::peer(peer))
    }
    pub fn connection_bind(id: &[u8]) -> Outgoing {
        Outgoing::request(CONNECTION_BIND).with(Attribute::plain(CONNECTION_ID, id))
    }
    pub fn with(mut self, attribute: Attribute) -> Outgoing {
        self.attributes.push(attribute);
        self
    }
    pub fn trailing(mut self, attribute: Attribute) -> Outgoing {
        self.trailing.push(attribute);
        self
    }
    pub fn fingerprint(mut self) -> Outgoing {
        self.fingerprint = true;
        self
    }
    pub fn id(mut self, id: Id) -> Outgoing {
        self.id = id;
        self
    }

    /// Encodes the message, authenticated if there are credentials.
    pub fn encode(&self, credentials: Option<&Credentials>) -> Vec<u8> {
        let mut octets = Vec::with_capacity(128);
        octets.extend(message_type(self.class, self.method).to_be_bytes());
        octets.extend([0, 0]);
        octets.extend(COOKIE.to_be_bytes());
        octets.extend(self.id);
        for attribute in &self.attributes {
            attribute.write(&mut octets, &self.id, self.padding);
        }
        if let Some(credentials) = credentials {
            credentials.write(&mut octets, &self.id, self.padding);
        }
        for attribute in &self.trailing {
            attribute.write(&mut octets, &self.id, self.padding);
        }
        if self.fingerprint {
            set_length(&mut octets, 8);
            let crc = crc32fast::hash(&octets) ^ FINGERPRINT_XOR;
            Attribute::Plain(FINGERPRINT, crc.to_be_bytes().to_vec()).write(
                &mut octets,
                &self.id,
                0,
            );
        }
        set_length(&mut octets, 0);
        octets
    }
}

impl Credentials {
    /// As in RFC 5389: MD5 key, SHA-1 integrity.
    pub fn legacy(username: &str, password: &str, realm: &[u8], nonce: &[u8]) -> Credentials {
        Credentials {
            username: username.into(),
            password: password.into(),
            realm: realm.into(),
            nonce: nonce.into(),
            userhash: false,
            algorithms: None,
            algorithm: None,
            sha1: true,
            sha256: None,
            key: None,
            extra: vec![],
        }
    }

    /// The long-term key (RFC 8489 §9.2.2).
    pub fn key(&self) -> Vec<u8> {
        if let Some(key) = &self.key {
            return key.clone();
        }
        let text = [&self.username[..], b":", &self.realm, b":", &self.password].concat();
        match self.algorithm {
            Some(SHA256) => Sha256::digest(&text).to_vec(),
            _ => Md5::digest(&text).to_vec(),
        }
    }

    fn write(&self, octets: &mut Vec<u8>, id: &Id, padding: u8) {
        let name = match self.userhash {
            true => Attribute::Plain(USERHASH, userhash(&self.username, &self.realm)),
            false => Attribute::plain(USERNAME, &self.username),
        };
        let mut attributes = vec![name];
        attributes.push(Attribute::plain(REALM, &self.realm));
        attributes.push(Attribute::plain(NONCE, &self.nonce));
        if let Some(offered) = &self.algorithms {
            attributes.push(Attribute::plain(PASSWORD_ALGORITHMS, offered));
        }
        if let Some(chosen) = self.algorithm {
            let [a, b] = chosen.to_be_bytes();
            attributes.push(Attribute::Plain(PASSWORD_ALGORITHM, vec![a, b, 0, 0]));
        }
        attributes.extend(self.extra.iter().cloned());
        for attribute in attributes {
            attribute.write(octets, id, padding);
        }
        if self.sha1 {
            append_sha1(octets, &self.key());
        }
        if let Some(length) = self.sha256 {
            append_sha256(octets, &self.key(), length);
        }
    }
}

impl Incoming {
    /// Parses exactly one well-formed STUN message.
    pub fn parse(octets: &[u8]) -> Option<Incoming> {
        let head = octets.get(..20)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if kind >> 14 != 0
            || head[4..8] != COOKIE.to_be_bytes()
            || length + 20 != octets.len()
            || !length.is_multiple_of(4)
        {
            return None;
        }
        let mut attributes = vec![];
        let mut starts = vec![];
        let mut at = 20;
        while at < octets.len() {
            let head = octets.get(at..at + 4)?;
            let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = octets.get(at + 4..at + 4 + size)?;
            starts.push(at);
            attributes.push((u16::from_be_bytes([head[0], head[1]]), value.to_vec()));
            at += 4 + size.next_multiple_of(4);
        }
        if at != octets.len() {
            return None;
        }
        Some(Incoming {
            class: (kind >> 4 & 1) | (kind >> 7 & 2),
            method: (kind & 0xf) | (kind >> 1 & 0x70) | (kind >> 2 & 0xf80),
            id: head[8..20].try_into().ok()?,
            attributes,
            starts,
            octets: octets.to_vec(),
        })
    }

    /// The value of the first attribute of this type.
    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.attributes
            .iter()
            .find(|a| a.0 == kind)
            .map(|a| &a.1[..])
    }
    pub fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }
    pub fn all(&self, kind: u16) -> Vec<&[u8]> {
        self.attributes
            .iter()
            .filter(|a| a.0 == kind)
            .map(|a| &a.1[..])
            .collect()
    }
    /// The error code of an error response.
    pub fn error(&self) -> Option<u16> {
        let value = self.get(ERROR_CODE)?;
        (self.class == ERROR).then(|| u16::from(value[2] & 7) * 100 + u16::from(value[3]))
    }
    pub fn is_success(&self) -> bool {
        self.class == SUCCESS
    }
    /// An attribute as a 32-bit number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }
    /// The first XOR address of this type.
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        unxor(self.get(kind)?, &self.id)
    }
    pub fn addresses(&self, kind: u16) -> Vec<SocketAddr> {
        self.all(kind)
            .iter()
            .filter_map(|v| unxor(v, &self.id))
            .collect()
    }
    /// An address that is not XORed (ALTERNATE-SERVER, RESPONSE-ORIGIN, OTHER-ADDRESS).
    pub fn plain_address(&self, kind: u16) -> Option<SocketAddr> {
        read_address(self.get(kind)?)
    }
    pub fn plain_addresses(&self, kind: u16) -> Vec<SocketAddr> {
        self.all(kind)
            .iter()
            .filter_map(|v| read_address(v))
            .collect()
    }
    /// The types in UNKNOWN-ATTRIBUTES.
    pub fn unknown(&self) -> Vec<u16> {
        let value = self.get(UNKNOWN_ATTRIBUTES).unwrap_or_default();
        value
            .chunks_exact(2)
            .map(|c| u16::from_be_bytes([c[0], c[1]]))
            .collect()
    }

    /// Returns true if MESSAGE-INTEGRITY is present and valid under this key.
    pub fn verify_sha1(&self, key: &[u8]) -> bool {
        let Some(at) = self.start_of(MESSAGE_INTEGRITY) else {
            return false;
        };
        let mut text = self.octets[..at].to_vec();
        set_length(&mut text, 24);
        self.get(MESSAGE_INTEGRITY) == Some(&hmac_sha1(key, &text))
    }

    /// Returns true if MESSAGE-INTEGRITY-SHA256 is present and valid under this key, truncated or
    /// not.
    pub fn verify_sha256(&self, key: &[u8]) -> bool {
        let Some(at) = self.start_of(MESSAGE_INTEGRITY_SHA256) else {
            return false;
        };
        let value = self.get(MESSAGE_INTEGRITY_SHA256).unwrap_or_default();
        let mut text = self.octets[..at].to_vec();
        set_length(&mut text, 4 + value.len());
        value.len() >= 16 && hmac_sha256(key, &text).starts_with(value)
    }

    /// Returns true if FINGERPRINT is present, last and valid.
    pub fn verify_fingerprint(&self) -> bool {
        let Some((FINGERPRINT, value)) = self.attributes.last().map(|a| (a.0, &a.1)) else {
            return false;
        };
        let before = &self.octets[..self.octets.len() - 8];
        value[..] == (crc32fast::hash(before) ^ FINGERPRINT_XOR).to_be_bytes()
    }

    fn start_of(&self, kind: u16) -> Option<usize> {
        let index = self.attributes.iter().position(|a| a.0 == kind)?;
        Some(self.starts[index])
    }
}

/// SHA-256 over `username ":" realm` (RFC 8489 §14.4).
pub fn userhash(username: &[u8], realm: &[u8]) -> Vec<u8> {
    Sha256::digest([username, b":", realm].concat()).to_vec()
}

/// A ChannelData message, padded to four octets if `pad`.
pub fn channel_data(channel: u16, payload: &[u8], pad: bool) -> Vec<u8> {
    let mut octets = channel.to_be_bytes().to_vec();
    octets.extend((payload.len() as u16).to_be_bytes());
    octets.extend(payload);
    while pad && !octets.len().is_multiple_of(4) {
        octets.push(0);
    }
    octets
}

/// A transaction id that this process has not used before.
pub fn fresh_id() -> Id {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0x68; 12];
    id[..4].copy_from_slice(&std::process::id().to_be_bytes());
    id[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

pub fn append_sha1(octets: &mut Vec<u8>, key: &[u8]) {
    set_length(octets, 24);
    let mac = hmac_sha1(key, octets);
    octets.extend(MESSAGE_INTEGRITY.to_be_bytes());
    octets.extend([0, 20]);
    octets.extend(mac);
    set_length(octets, 0);
}

pub fn append_sha256(octets: &mut Vec<u8>, key: &[u8], length: usize) {
    set_length(octets, 4 + length);
    let mac = hmac_sha256(key, octets);
    octets.extend(MESSAGE_INTEGRITY_SHA256.to_be_bytes());
    octets.extend((length as u16).to_be_bytes());
    octets.extend(
        mac.iter()
            .copied()
            .chain(std::iter::repeat(0))
            .take(length.next_multiple_of(4)),
    );
    set_length(octets, 0);
}

pub fn hmac_sha1(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha1>::new_from_slice(key)
        .unwrap()
        .chain_update(text)
        .finalize()
        .into_bytes()
        .to_vec()
}

pub fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key)
        .unwrap()
        .chain_update(text)
        .finalize()
        .into_bytes()
        .to_vec()
}

/// Sets the header's length to the current length plus `more`.
pub fn set_length(octets: &mut [u8], more: usize) {
    let length = (octets.len() - 20 + more) as u16;
    octets[2..4].copy_from_slice(&length.to_be_bytes());
}

/// The 14 bits of class and method, interleaved (RFC 8489 §5).
pub fn message_type(class: u16, method: u16) -> u16 {
    let method_bits = (method & 0xf) | (method & 0x70) << 1 | (method & 0xf80) << 2;
    method_bits | (class & 1) << 4 | (class & 2) << 7
}

fn xor(address: SocketAddr, id: &Id) -> Vec<u8> {
    let mask = [&COOKIE.to_be_bytes()[..], id].concat();
    let port = address.port() ^ (COOKIE >> 16) as u16;
    let (family, bytes) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    value.extend(bytes.iter().zip(&mask).map(|(a, b)| a ^ b));
    value
}

fn unxor(value: &[u8], id: &Id) -> Option<SocketAddr> {
    let mask = [&COOKIE.to_be_bytes()[..2], &COOKIE.to_be_bytes(), id].concat();
    let mut plain = value.get(..2)?.to_vec();
    plain.extend(value[2..].iter().zip(&mask).map(|(a, b)| a ^ b));
    read_address(&plain)
}

fn read_address(value: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]);
    let ip = match (value[1], &value[4..]) {
        (1, ip) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        (2, ip) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

pub const COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_XOR: u32 = 0x5354_554E;

pub const REQUEST: u16 = 0;
pub const INDICATION: u16 = 1;
pub const SUCCESS: u16 = 2;
pub const ERROR: u16 = 3;

pub const BINDING: u16 = 0x001;
pub const ALLOCATE: u16 = 0x003;
pub const REFRESH: u16 = 0x004;
pub const SEND: u16 = 0x006;
pub const DATA_METHOD: u16 = 0x007;
pub const CREATE_PERMISSION: u16 = 0x008;
pub const CHANNEL_BIND: u16 = 0x009;
pub const CONNECT: u16 = 0x00a;
pub const CONNECTION_BIND: u16 = 0x00b;
pub const CONNECTION_ATTEMPT: u16 = 0x00c;

pub const MAPPED_ADDRESS: u16 = 0x0001;
pub const CHANGE_REQUEST: u16 = 0x0003;
pub const USERNAME: u16 = 0x0006;
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
pub const ERROR_CODE: u16 = 0x0009;
pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
pub const CHANNEL_NUMBER: u16 = 0x000c;
pub const LIFETIME: u16 = 0x000d;
pub const XOR_PEER_ADDRESS: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const REALM: u16 = 0x0014;
pub const NONCE: u16 = 0x0015;
pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub const EVEN_PORT: u16 = 0x0018;
pub const REQUESTED_TRANSPORT: u16 = 0x0019;
pub const DONT_FRAGMENT: u16 = 0x001a;
pub const ACCESS_TOKEN: u16 = 0x001b;
pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
pub const PASSWORD_ALGORITHM: u16 = 0x001d;
pub const USERHASH: u16 = 0x001e;
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub const RESERVATION_TOKEN: u16 = 0x0022;
pub const PADDING: u16 = 0x0026;
pub const RESPONSE_PORT: u16 = 0x0027;
pub const CONNECTION_ID: u16 = 0x002a;
pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
pub const ALTERNATE_DOMAIN: u16 = 0x8003;
pub const ICMP: u16 = 0x8004;
pub const SOFTWARE: u16 = 0x8022;
pub const ALTERNATE_SERVER: u16 = 0x8023;
pub const FINGERPRINT: u16 = 0x8028;
pub const RESPONSE_ORIGIN: u16 = 0x802b;
pub const OTHER_ADDRESS: u16 = 0x802c;
pub const THIRD_PARTY_AUTHORIZATION: u16 = 0x802e;
pub const MOBILITY_TICKET: u16 = 0x8030;

/// PASSWORD-ALGORITHM numbers (RFC 8489 §18.5).
pub const MD5: u16 = 1;
pub const SHA256: u16 = 2;
