//! A STUN and TURN client as a value, without sockets and clock. RFC 8489 §9.2.5, RFC 8656 §6.
//!
//! It writes requests, answers challenges (401, 438), parses responses and data. The owner of the
//! socket sends what it writes, passes it what arrives, and retransmits requests after [`wait_ms`].
//! `hairpin bench` and `hairpin check` use it; it shares nothing with the server but the encoding.
//!
//! ```text
//!   request(..) ──► octets ──► the network ──► receive(..) ──► Granted, Refused
//!                     ▲                             │
//!                     └──────── Retried ◄───────────┘  401 or 438: the same request again, sealed
//! ```

use crate::turn::policy::opaque::prepared;
use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::integrity;
use crate::wire::integrity::{Key, Seal};
use crate::wire::registry::{PROTOCOL_UDP, PasswordAlgorithm};
use crate::wire::{
    AttributeType, ChannelData, Class, ErrorCode, Malformed, Message, Method, Packet,
    TransactionId, Writer,
};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;

/// One client on one five-tuple: its credentials, the server's challenge, and its open
/// transactions.
#[derive(Debug)]
pub struct ClientState {
    login: Option<Login>,
    challenge: Option<ServerChallenge>,
    open: Vec<Open>,
    seed: [u8; 32],
    written: u64,
}

/// A username and its password, for the long-term mechanism. RFC 8489 §9.2.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The username, static or time-limited.
    pub username: String,
    /// The password.
    pub password: String,
}

/// A request of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The client's address as the server sees it. RFC 8489 §3.
    Binding,
    /// A relayed UDP transport address. RFC 8656 §7.1.
    Allocate {
        /// REQUESTED-ADDRESS-FAMILY; without it the server gives IPv4.
        family: Option<Family>,
        /// LIFETIME in seconds; without it the server's default.
        lifetime: Option<u32>,
    },
    /// A new lifetime of the allocation; zero deletes it. RFC 8656 §8.
    Refresh {
        /// LIFETIME in seconds.
        lifetime: u32,
    },
    /// Permissions for these peer addresses. RFC 8656 §10.
    CreatePermission {
        /// The peers; their ports are ignored.
        peers: Vec<SocketAddr>,
    },
    /// A channel to a peer. RFC 8656 §12.1.
    ChannelBind {
        /// 0x4000 to 0x4FFF.
        number: u16,
        /// The peer.
        peer: SocketAddr,
    },
}

/// The meaning of one packet from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request was granted.
    Granted {
        /// The ended transaction.
        id: TransactionId,
        /// The request.
        request: Request,
        /// The content of the response.
        answer: Answer,
    },
    /// A request was refused, and a retry would be refused again.
    Refused {
        /// The ended transaction.
        id: TransactionId,
        /// The request.
        request: Request,
        /// The content of the error response.
        refusal: Refusal,
    },
    /// A challenge was answered: the output has the same request in a new transaction.
    Retried {
        /// The challenged transaction.
        was: TransactionId,
        /// The new transaction.
        now: TransactionId,
    },
    /// A Data indication.
    Data {
        /// The sender.
        peer: SocketAddr,
        /// The payload.
        payload: &'a [u8],
    },
    /// A Data indication that reports an ICMP error instead of data. RFC 8656 §11.6.
    Icmp {
        /// The peer that could not be reached.
        peer: SocketAddr,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// Data on a channel.
    Channel(ChannelData<'a>),
    /// The packet is not for this client, or cannot be trusted.
    Ignored(Ignored),
}

/// The content of a success response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// XOR-MAPPED-ADDRESS (or MAPPED-ADDRESS): the client's address as the server sees it.
    pub mapped: Option<SocketAddr>,
    /// XOR-RELAYED-ADDRESS.
    pub relayed: Option<SocketAddr>,
    /// LIFETIME in seconds.
    pub lifetime: Option<u32>,
    /// SOFTWARE.
    pub software: Option<String>,
}

/// The content of an error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number in ERROR-CODE.
    pub code: ErrorCode,
    /// The reason phrase.
    pub reason: String,
    /// ALTERNATE-SERVER of a 300.
    pub alternate: Option<SocketAddr>,
    /// The response has integrity with the client's key. RFC 8489 §9.2.5 demands to discard one
    /// without. It is reported because the user of a diagnostic tool needs to see it; do not act on
    /// it.
    pub sealed: bool,
}

/// Why a packet was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It could not be parsed.
    Malformed(Malformed),
    /// A DTLS record, or a message that servers do not send.
    Unexpected,
    /// A response to no open transaction.
    NoTransaction,
    /// FINGERPRINT does not match.
    Fingerprint,
    /// MESSAGE-INTEGRITY is missing or was not made with the client's key.
    Integrity,
    /// The nonce announces PASSWORD-ALGORITHMS, but an attacker removed them. RFC 8489 §9.2.1.
    BidDown,
}

impl ClientState {
    /// A client without transactions. Its transaction ids are derived from `seed`, 32 random
    /// octets.
    pub fn new(login: Option<Login>, seed: [u8; 32]) -> ClientState {
        let login = login.map(|Login { username, password }| Login {
            username: prepared(&username).into_owned(),
            password: prepared(&password).into_owned(),
        });
        ClientState {
            login,
            challenge: None,
            open: Vec::new(),
            seed,
            written: 0,
        }
    }

    /// Appends a request to `out`. Its transaction is open until it has a response or
    /// [`ClientState::forget`] is called.
    pub fn request(&mut self, request: Request, out: &mut Vec<u8>) -> TransactionId {
        self.write_request(request, 0, out)
    }

    /// Appends an open request to `out` again. Returns false if no such transaction is open.
    pub fn repeat(&self, id: &TransactionId, out: &mut Vec<u8>) -> bool {
        let found = self.open.iter().find(|open| open.id == *id);
        out.extend_from_slice(found.map_or(&[][..], |open| &open.octets));
        found.is_some()
    }

    /// Ends an open transaction. Returns its request.
    pub fn forget(&mut self, id: &TransactionId) -> Option<Request> {
        let at = self.open.iter().position(|open| open.id == *id)?;
        Some(self.open.swap_remove(at).request)
    }

    /// Appends a Send indication to `out`. RFC 8656 §11.1.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8], out: &mut Vec<u8>) {
        let id = self.next_id();
        let mut writer = Writer::new(out, Class::Indication, Method::SEND, &id);
        writer
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, payload);
    }

    /// The realm of the server's last challenge.
    pub fn realm(&self) -> Option<&str> {
        self.challenge
            .as_ref()
            .map(|challenge| challenge.realm.as_str())
    }

    /// The integrity attribute of requests since the last challenge.
    pub fn seal(&self) -> Option<Seal> {
        self.challenge.as_ref().map(|challenge| challenge.seal)
    }

    /// Handles one packet, or one frame of a stream, from the server. After [`Event::Retried`]
    /// `out` has a request that must be sent.
    pub fn receive<'a>(&mut self, octets: &'a [u8], out: &mut Vec<u8>) -> Event<'a> {
        let message = match Packet::classify(octets) {
            Ok(Packet::Message(message)) => message,
            Ok(Packet::ChannelData(data)) => return Event::Channel(data),
            Ok(Packet::Dtls) => return Event::Ignored(Ignored::Unexpected),
            Err(why) => return Event::Ignored(Ignored::Malformed(why)),
        };
        if !integrity::fingerprint_matches(&message) {
            return Event::Ignored(Ignored::Fingerprint);
        }
        match (message.class(), message.method()) {
            (Class::Success | Class::Error, _) => {
                self.response(&message, out).unwrap_or_else(Event::Ignored)
            }
            (Class::Indication, Method::DATA) => {
                indication(&message).unwrap_or(Event::Ignored(Ignored::Unexpected))
            }
            _ => Event::Ignored(Ignored::Unexpected),
        }
    }

    /// Matches a response with its transaction.
    fn response<'a>(
        &mut self,
        message: &Message<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'a>, Ignored> {
        let id = message.transaction();
        let fits = |open: &Open| open.id == id && open.request.method() == message.method();
        let at = self
            .open
            .iter()
            .position(fits)
            .ok_or(Ignored::NoTransaction)?;
        let sealed = match (
            self.open.get(at).and_then(|open| open.key.as_ref()),
            integrity::seal(message),
        ) {
            (Some((_, key)), Some(seal)) if integrity::verify(message, seal, key) => true,
            (Some(_), Some(_)) if !is_challenge(message) => return Err(Ignored::Integrity),
            (Some(_), None) if message.class() == Class::Success => return Err(Ignored::Integrity),
            _ => false,
        };
        let open = self.open.swap_remove(at);
        if message.class() == Class::Success {
            return Ok(Event::Granted {
                id,
                request: open.request,
                answer: read_answer(message),
            });
        }
        if is_challenge(message)
            && let Some(challenge) = self.answer_to_challenge(message, &open)?
        {
            self.challenge = Some(challenge);
            let now = self.write_request(open.request, open.tries + 1, out);
            return Ok(Event::Retried { was: id, now });
        }
        Ok(Event::Refused {
            id,
            request: open.request,
            refusal: read_refusal(message, sealed),
        })
    }

    /// The challenge to answer after 401 or 438, or `None` if a retry would be the same request.
    /// RFC 8489 §9.2.5.
    fn answer_to_challenge(
        &self,
        message: &Message,
        open: &Open,
    ) -> Result<Option<ServerChallenge>, Ignored> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let Some(challenge) = ServerChallenge::read(message, login)? else {
            return Ok(None);
        };
        let stale = error_code(message) == Some(ErrorCode::STALE_NONCE);
        let same = open
            .key
            .as_ref()
            .is_some_and(|(_, key)| *key == challenge.key);
        Ok((open.tries < MAX_RETRIES && (stale || !same)).then_some(challenge))
    }

    /// Writes a request, with integrity if there was a challenge before.
    fn write_request(&mut self, request: Request, tries: u8, out: &mut Vec<u8>) -> TransactionId {
        let id = self.next_id();
        let mut octets = Vec::with_capacity(160);
        let mut writer = Writer::new(&mut octets, Class::Request, request.method(), &id);
        request.write(&mut writer);
        let challenge = self
            .challenge
            .as_ref()
            .filter(|_| request != Request::Binding);
        if let (Some(challenge), Some(login)) = (challenge, &self.login) {
            challenge.write(&mut writer, login);
        }
        let key = challenge.map(|challenge| (challenge.seal, challenge.key.clone()));
        out.extend_from_slice(&octets);
        self.open.push(Open {
            id,
            request,
            octets,
            key,
            tries,
        });
        id
    }

    fn next_id(&mut self) -> TransactionId {
        self.written += 1;
        let digest = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.written.to_be_bytes())
            .finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl Request {
    /// The method of the request.
    pub fn method(&self) -> Method {
        match self {
            Request::Binding => Method::BINDING,
            Request::Allocate { .. } => Method::ALLOCATE,
            Request::Refresh { .. } => Method::REFRESH,
            Request::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Request::ChannelBind { .. } => Method::CHANNEL_BIND,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Request::Binding => {}
            Request::Allocate { family, lifetime } => {
                writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[PROTOCOL_UDP, 0, 0, 0]);
                if let Some(lifetime) = lifetime {
                    writer.number(AttributeType::LIFETIME, *lifetime);
                }
                if let Some(family) = family {
                    writer.attribute(
                        AttributeType::REQUESTED_ADDRESS_FAMILY,
                        &[family.code(), 0, 0, 0],
                    );
                }
            }
            Request::Refresh { lifetime } => {
                writer.number(AttributeType::LIFETIME, *lifetime);
            }
            Request::CreatePermission { peers } => {
                for peer in peers {
                    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
                }
            }
            Request::ChannelBind { number, peer } => {
                let [n0, n1] = number.to_be_bytes();
                writer.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
            }
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({:?}, …)", self.username)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = if self.reason.is_empty() {
            self.code.name().unwrap_or_default()
        } else {
            &self.reason
        };
        write!(f, "{} {reason}", self.code.0)
    }
}

/// The timeout in milliseconds after a request was sent over UDP for the `sent`-th time, `None`
/// when the client must give up. RFC 8489 §6.2.1 with an RTO of 500 ms, Rc of 7 and Rm of 16.
pub const fn wait_ms(sent: u32) -> Option<u64> {
    match sent {
        1..=6 => Some(500 << (sent - 1)),
        7 => Some(500 * 16),
        _ => None,
    }
}

/// An open transaction.
#[derive(Debug)]
struct Open {
    id: TransactionId,
    request: Request,
    octets: Vec<u8>,
    key: Option<(Seal, Key)>,
    tries: u8,
}

/// The server's last challenge, which every later request answers.
#[derive(Debug)]
struct ServerChallenge {
    realm: String,
    nonce: Vec<u8>,
    /// The received PASSWORD-ALGORITHMS, and the chosen algorithm.
    algorithms: Option<(Vec<u8>, PasswordAlgorithm)>,
    userhash: Option<[u8; 32]>,
    seal: Seal,
    key: Key,
}

impl ServerChallenge {
    /// Parses a 401 or 438. Returns `None` if it cannot be answered: no realm, no nonce, or no
    /// known algorithm.
    fn read(message: &Message, login: &Login) -> Result<Option<ServerChallenge>, Ignored> {
        let (Some(realm), Some(nonce)) = (
            message.text(AttributeType::REALM),
            message.attribute(AttributeType::NONCE),
        ) else {
            return Ok(None);
        };
        let offered = message.attribute(AttributeType::PASSWORD_ALGORITHMS);
        let features = security_features(nonce);
        if features & PASSWORD_ALGORITHMS_BIT != 0 && offered.is_none() {
            return Err(Ignored::BidDown);
        }
        let (algorithm, seal) = match offered.map(first_known) {
            None => (PasswordAlgorithm::MD5, Seal::Sha1),
            Some(Some(algorithm)) => (algorithm, Seal::Sha256),
            Some(None) => return Ok(None),
        };
        let Some(key) = Key::long_term(algorithm, &login.username, realm, &login.password) else {
            return Ok(None);
        };
        Ok(Some(ServerChallenge {
            realm: realm.to_owned(),
            nonce: nonce.to_vec(),
            algorithms: offered.map(|list| (list.to_vec(), algorithm)),
            userhash: (features & USERNAME_ANONYMITY_BIT != 0)
                .then(|| integrity::userhash(&login.username, realm)),
            seal,
            key,
        }))
    }

    fn write(&self, writer: &mut Writer, login: &Login) {
        match &self.userhash {
            Some(hash) => writer.attribute(AttributeType::USERHASH, hash),
            None => writer.attribute(AttributeType::USERNAME, login.username.as_bytes()),
        };
        writer.attribute(AttributeType::REALM, self.realm.as_bytes());
        writer.attribute(AttributeType::NONCE, &self.nonce);
        if let Some((list, chosen)) = &self.algorithms {
            let [a0, a1] = chosen.0.to_be_bytes();
            writer.attribute(AttributeType::PASSWORD_ALGORITHMS, list);
            writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[a0, a1, 0, 0]);
        }
        match self.seal {
            Seal::Sha1 => writer.integrity(&self.key),
            Seal::Sha256 => writer.integrity_sha256(&self.key),
        };
    }
}

/// The first known algorithm in PASSWORD-ALGORITHMS. RFC 8489 §14.11.
fn first_known(mut list: &[u8]) -> Option<PasswordAlgorithm> {
    while let Some((&[a0, a1, l0, l1], rest)) = list.split_first_chunk() {
        let algorithm = PasswordAlgorithm(u16::from_be_bytes([a0, a1]));
        if PasswordAlgorithm::ALL.contains(&algorithm) {
            return Some(algorithm);
        }
        list = rest.get(crate::wire::padded(usize::from(u16::from_be_bytes([l0, l1])))..)?;
    }
    None
}

/// The security features that a nonce announces: six bits, zero without the nonce cookie. RFC 8489
/// §9.2: "obMatJos2" and 24 bits in Base64; all defined features are in the first of the four
/// characters.
fn security_features(nonce: &[u8]) -> u8 {
    let Some(&first) = nonce.strip_prefix(NONCE_COOKIE).and_then(<[u8]>::first) else {
        return 0;
    };
    match first {
        b'A'..=b'Z' => first - b'A',
        b'a'..=b'z' => first - b'a' + 26,
        b'0'..=b'9' => first - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    }
}

fn error_code(message: &Message) -> Option<ErrorCode> {
    message
        .attribute(AttributeType::ERROR_CODE)
        .and_then(attribute::read_error_code)
}

fn is_challenge(message: &Message) -> bool {
    message.class() == Class::Error
        && matches!(
            error_code(message),
            Some(ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE)
        )
}

fn read_answer(message: &Message) -> Answer {
    let id = message.transaction();
    let xored = |kind| {
        message
            .attribute(kind)
            .and_then(|value| attribute::read_xor_address(value, &id))
    };
    let plain = || {
        message
            .attribute(AttributeType::MAPPED_ADDRESS)
            .and_then(attribute::read_address)
    };
    Answer {
        mapped: xored(AttributeType::XOR_MAPPED_ADDRESS).or_else(plain),
        relayed: xored(AttributeType::XOR_RELAYED_ADDRESS),
        lifetime: message
            .attribute(AttributeType::LIFETIME)
            .and_then(attribute::read_number),
        software: message.text(AttributeType::SOFTWARE).map(str::to_owned),
    }
}

fn read_refusal(message: &Message, sealed: bool) -> Refusal {
    let reason = message
        .attribute(AttributeType::ERROR_CODE)
        .and_then(|value| value.get(4..))
        .unwrap_or_default();
    Refusal {
        code: error_code(message).unwrap_or(ErrorCode::SERVER_ERROR),
        reason: String::from_utf8_lossy(reason).into_owned(),
        alternate: message
            .attribute(AttributeType::ALTERNATE_SERVER)
            .and_then(attribute::read_address),
        sealed,
    }
}

/// Parses a Data indication. RFC 8656 §11.4, §11.6.
fn indication<'a>(message: &Message<'a>) -> Option<Event<'a>> {
    let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS)?;
    let peer = attribute::read_xor_address(peer, &message.transaction())?;
    if let Some(&[_, _, kind, code, ..]) = message.attribute(AttributeType::ICMP) {
        return Some(Event::Icmp { peer, kind, code });
    }
    message
        .attribute(AttributeType::DATA)
        .map(|payload| Event::Data { peer, payload })
}

/// Challenges that one request answers: the first 401, and a 438 if the nonce expires meanwhile.
const MAX_RETRIES: u8 = 2;
/// The beginning of the nonces of a server that supports RFC 8489. §9.2.
const NONCE_COOKIE: &[u8] = b"obMatJos2";
/// "Password algorithms", bit 0 of 24, so the highest of the first character's six. RFC 8489 §18.1.
const PASSWORD_ALGORITHMS_BIT: u8 = 0x20;
/// "Username anonymity", bit 1. RFC 8489 §18.1.
const USERNAME_ANONYMITY_BIT: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOCATE: Request = Request::Allocate {
        family: None,
        lifetime: None,
    };

    fn client() -> ClientState {
        ClientState::new(
            Some(Login {
                username: "user".into(),
                password: "pass".into(),
            }),
            [7; 32],
        )
    }

    fn answer(
        class: Class,
        method: Method,
        id: &TransactionId,
        fill: impl FnOnce(&mut Writer),
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, class, method, id);
        fill(&mut writer);
        out
    }

    fn challenge(
        id: &TransactionId,
        code: ErrorCode,
        nonce: &[u8],
        algorithms: Option<&[u8]>,
    ) -> Vec<u8> {
        answer(Class::Error, Method::ALLOCATE, id, |writer| {
            writer.error_code(code, "");
            writer
                .attribute(AttributeType::REALM, b"realm")
                .attribute(AttributeType::NONCE, nonce);
            if let Some(list) = algorithms {
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, list);
            }
        })
    }

    /// Sends Allocate and receives one challenge. Returns the second request and its transaction.
    fn challenged(
        client: &mut ClientState,
        nonce: &[u8],
        algorithms: Option<&[u8]>,
    ) -> (Vec<u8>, TransactionId) {
        let mut out = Vec::new();
        let was = client.request(ALLOCATE, &mut out);
        out.clear();
        let refused = challenge(&was, ErrorCode::UNAUTHENTICATED, nonce, algorithms);
        let event = client.receive(&refused, &mut out);
        let Event::Retried { was: ended, now } = event else {
            panic!("{event:?}")
        };
        assert_eq!(ended, was);
        (out, now)
    }

    #[test]
    fn the_first_request_does_not_name_its_user() {
        let mut out = Vec::new();
        client().request(ALLOCATE, &mut out);
        let message = Message::parse(&out).unwrap();
        let kinds: Vec<_> = message.attributes().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [AttributeType::REQUESTED_TRANSPORT]);
    }

    #[test]
    fn a_401_without_algorithms_is_answered_with_sha1() {
        let mut client = client();
        let (out, now) = challenged(&mut client, b"plain", None);
        let message = Message::parse(&out).unwrap();
        let key = Key::long_term(PasswordAlgorithm::MD5, "user", "realm", "pass").unwrap();
        assert!(integrity::verify(&message, Seal::Sha1, &key));
        assert_eq!(message.text(AttributeType::USERNAME), Some("user"));
        let granted = answer(Class::Success, Method::ALLOCATE, &now, |writer| {
            writer.xor_address(
                AttributeType::XOR_RELAYED_ADDRESS,
                "192.0.2.1:50000".parse().unwrap(),
            );
            writer.number(AttributeType::LIFETIME, 600).integrity(&key);
        });
        let Event::Granted {
            answer, request, ..
        } = client.receive(&granted, &mut Vec::new())
        else {
            panic!()
        };
        assert_eq!(
            (answer.relayed.unwrap().port(), answer.lifetime, request),
            (50000, Some(600), ALLOCATE)
        );
        assert_eq!(
            client.receive(&granted, &mut Vec::new()),
            Event::Ignored(Ignored::NoTransaction),
            "a response counts once"
        );
    }

    #[test]
    fn offered_password_algorithms_are_repeated_and_sha256_is_used() {
        let list = [0, 9, 0, 1, 7, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0];
        let (out, _) = challenged(&mut client(), b"obMatJos2wAAAnonce", Some(&list));
        let message = Message::parse(&out).unwrap();
        let key = Key::long_term(PasswordAlgorithm::SHA256, "user", "realm", "pass").unwrap();
        assert!(integrity::verify(&message, Seal::Sha256, &key));
        assert_eq!(
            message.attribute(AttributeType::PASSWORD_ALGORITHMS),
            Some(&list[..])
        );
        assert_eq!(
            message.attribute(AttributeType::PASSWORD_ALGORITHM),
            Some(&[0, 2, 0, 0][..])
        );
        assert!(
            !message.has(AttributeType::USERNAME),
            "the nonce asks for anonymity"
        );
        assert_eq!(
            message.attribute(AttributeType::USERHASH),
            Some(&integrity::userhash("user", "realm")[..])
        );
    }

    #[test]
    fn a_removed_list_of_algorithms_is_detected() {
        let mut client = client();
        let was = client.request(ALLOCATE, &mut Vec::new());
        let octets = challenge(
            &was,
            ErrorCode::UNAUTHENTICATED,
            b"obMatJos2gAAAnonce",
            None,
        );
        assert_eq!(
            client.receive(&octets, &mut Vec::new()),
            Event::Ignored(Ignored::BidDown)
        );
    }

    #[test]
    fn a_second_401_is_final_and_a_438_is_retried() {
        let mut first = client();
        let (_, now) = challenged(&mut first, b"one", None);
        let wrong = challenge(&now, ErrorCode::UNAUTHENTICATED, b"two", None);
        let event = first.receive(&wrong, &mut Vec::new());
        assert!(
            matches!(&event, Event::Refused { refusal, .. } if refusal.code == ErrorCode::UNAUTHENTICATED)
        );

        let mut second = client();
        let (_, now) = challenged(&mut second, b"one", None);
        let stale = challenge(&now, ErrorCode::STALE_NONCE, b"two", None);
        let mut out = Vec::new();
        assert!(matches!(
            second.receive(&stale, &mut out),
            Event::Retried { .. }
        ));
        assert_eq!(
            Message::parse(&out)
                .unwrap()
                .attribute(AttributeType::NONCE),
            Some(&b"two"[..])
        );
    }

    #[test]
    fn retries_are_limited() {
        let mut client = client();
        let mut id = client.request(ALLOCATE, &mut Vec::new());
        for round in 0..10u8 {
            let stale = challenge(&id, ErrorCode::STALE_NONCE, &[b'a' + round], None);
            match client.receive(&stale, &mut Vec::new()) {
                Event::Retried { now, .. } => id = now,
                Event::Refused { .. } => return assert_eq!(round, MAX_RETRIES),
                other => panic!("{other:?}"),
            }
        }
        panic!("retried ten times");
    }

    #[test]
    fn a_response_with_wrong_integrity_is_ignored() {
        let mut client = client();
        let (_, now) = challenged(&mut client, b"one", None);
        let other = Key::from_octets(b"other").unwrap();
        for fill in [None, Some(&other)] {
            let forged = answer(Class::Success, Method::ALLOCATE, &now, |writer| {
                writer.number(AttributeType::LIFETIME, 1);
                if let Some(key) = fill {
                    writer.integrity(key);
                }
            });
            assert_eq!(
                client.receive(&forged, &mut Vec::new()),
                Event::Ignored(Ignored::Integrity)
            );
        }
        let mut out = Vec::new();
        assert!(
            client.repeat(&now, &mut out),
            "the transaction is still open"
        );
        assert_eq!(client.forget(&now), Some(ALLOCATE));
        assert!(!client.repeat(&now, &mut out));
    }

    #[test]
    fn data_is_received_in_indications_and_on_channels() {
        let peer: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        let octets = answer(Class::Indication, Method::DATA, &[1; 12], |writer| {
            writer
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
                .attribute(AttributeType::DATA, b"hello");
        });
        let mut client = client();
        assert_eq!(
            client.receive(&octets, &mut Vec::new()),
            Event::Data {
                peer,
                payload: b"hello"
            }
        );
        let octets = answer(Class::Indication, Method::DATA, &[1; 12], |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.attribute(AttributeType::ICMP, &attribute::icmp(3, 4, [0; 4]));
        });
        assert_eq!(
            client.receive(&octets, &mut Vec::new()),
            Event::Icmp {
                peer,
                kind: 3,
                code: 4
            }
        );
        let event = client.receive(&[0x40, 0, 0, 2, b'h', b'i'], &mut Vec::new());
        assert_eq!(
            event,
            Event::Channel(ChannelData {
                number: 0x4000,
                payload: b"hi"
            })
        );
    }

    #[test]
    fn a_send_indication_carries_peer_and_data() {
        let mut out = Vec::new();
        let peer: SocketAddr = "192.0.2.1:9".parse().unwrap();
        client().send(peer, b"hello", &mut out);
        let message = Message::parse(&out).unwrap();
        assert_eq!(
            (message.class(), message.method()),
            (Class::Indication, Method::SEND)
        );
        assert_eq!(message.attribute(AttributeType::DATA), Some(&b"hello"[..]));
    }

    #[test]
    fn a_request_is_sent_seven_times_within_39_5_seconds() {
        let waits: Vec<_> = (1..).map_while(wait_ms).collect();
        assert_eq!((waits.len(), waits.iter().sum::<u64>()), (7, 39_500));
    }
}
