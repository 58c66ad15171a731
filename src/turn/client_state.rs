//! The other end as a value: a STUN and TURN client without sockets and without a clock. RFC 8489 §9.2.5, RFC 8656 §6.
//!
//! It writes requests, answers challenges (401, 438) by itself, reads answers, and tells data from noise. Whoever owns
//! the socket sends what it writes, gives it what arrives, and repeats an unanswered request as [`wait_ms`] says. It is
//! the client of `hairpin bench` and `hairpin check`; it knows no more of the server than any other client.
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

/// One client of one server over one five-tuple: its credentials, the server's challenge, and its open transactions.
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
    /// The username, also one minted from a shared secret.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// My address as you see it. RFC 8489 §3.
    Binding,
    /// A relayed UDP transport address. RFC 8656 §7.1.
    Allocate {
        /// REQUESTED-ADDRESS-FAMILY; without it the server gives IPv4.
        family: Option<Family>,
        /// LIFETIME in seconds; without it the server's default.
        lifetime: Option<u32>,
    },
    /// The allocation for so many seconds more; zero deletes it. RFC 8656 §8.
    Refresh {
        /// LIFETIME in seconds.
        lifetime: u32,
    },
    /// Leave for these peers' IP addresses to send. RFC 8656 §10.
    CreatePermission {
        /// The peers; their ports do not count.
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

/// What one packet from the server turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request was granted.
    Granted {
        /// The transaction that the answer ended.
        id: TransactionId,
        /// What was asked.
        request: Request,
        /// What was answered.
        answer: Answer,
    },
    /// A request was refused, for good.
    Refused {
        /// The transaction that the answer ended.
        id: TransactionId,
        /// What was asked.
        request: Request,
        /// Why not.
        refusal: Refusal,
    },
    /// A challenge was met: the same request waits in the output under a new transaction.
    Retried {
        /// The transaction that the challenge ended.
        was: TransactionId,
        /// The one that took its place.
        now: TransactionId,
    },
    /// A Data indication.
    Data {
        /// Who sent it.
        peer: SocketAddr,
        /// What was sent.
        payload: &'a [u8],
    },
    /// A Data indication that reports an ICMP error instead of data. RFC 8656 §11.6.
    Icmp {
        /// The peer that could not be reached.
        peer: SocketAddr,
        /// ICMP type and code.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// Data on a channel.
    Channel(ChannelData<'a>),
    /// Not for us, or not to be believed.
    Ignored(Ignored),
}

/// What a success response says; what a method does not answer is absent.
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

/// What an error response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// ERROR-CODE's number.
    pub code: ErrorCode,
    /// Its reason phrase.
    pub reason: String,
    /// ALTERNATE-SERVER of a 300.
    pub alternate: Option<SocketAddr>,
    /// Whether the answer was sealed with our key. RFC 8489 §9.2.5 would have an unsealed refusal discarded; it is
    /// reported here, since a refusal is what a person at a terminal needs to see, but do not act on it.
    pub sealed: bool,
}

/// Why a packet was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It could not be read.
    Malformed(Malformed),
    /// A DTLS record, or a message that servers do not send.
    Unexpected,
    /// An answer to nothing we asked, or asked no more.
    NoTransaction,
    /// FINGERPRINT does not match.
    Fingerprint,
    /// MESSAGE-INTEGRITY is missing or not made with our key.
    Integrity,
    /// The nonce promises PASSWORD-ALGORITHMS, which somebody removed. RFC 8489 §9.2.1.
    BidDown,
}

impl ClientState {
    /// A client that has asked nothing yet. `seed` is 32 random octets from which its transaction ids are derived.
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

    /// Appends a request to `out` and keeps its transaction open until it is answered or [`ClientState::forget`] is called.
    pub fn request(&mut self, request: Request, out: &mut Vec<u8>) -> TransactionId {
        self.ask(request, 0, out)
    }

    /// Appends an open request to `out` once more, as it was. False when no such transaction is open.
    pub fn repeat(&self, id: &TransactionId, out: &mut Vec<u8>) -> bool {
        let found = self.open.iter().find(|open| open.id == *id);
        out.extend_from_slice(found.map_or(&[][..], |open| &open.octets));
        found.is_some()
    }

    /// Ends a transaction that is waited for no more; what was asked.
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

    /// How requests are sealed since the last challenge.
    pub fn seal(&self) -> Option<Seal> {
        self.challenge.as_ref().map(|challenge| challenge.seal)
    }

    /// Reads one packet (or one frame of a stream) from the server. After [`Event::Retried`], `out` has grown by a
    /// request that must be sent.
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
                self.answered(&message, out).unwrap_or_else(Event::Ignored)
            }
            (Class::Indication, Method::DATA) => {
                indication(&message).unwrap_or(Event::Ignored(Ignored::Unexpected))
            }
            _ => Event::Ignored(Ignored::Unexpected),
        }
    }

    /// Meets an answer with its transaction.
    fn answered<'a>(
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
            && let Some(challenge) = self.meet(message, &open)?
        {
            self.challenge = Some(challenge);
            let now = self.ask(open.request, open.tries + 1, out);
            return Ok(Event::Retried { was: id, now });
        }
        Ok(Event::Refused {
            id,
            request: open.request,
            refusal: read_refusal(message, sealed),
        })
    }

    /// What to retry with after 401 or 438, or `None` when a retry would say the same again. RFC 8489 §9.2.5.
    fn meet(&self, message: &Message, open: &Open) -> Result<Option<ServerChallenge>, Ignored> {
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

    /// Writes a request, sealed when the server has challenged before.
    fn ask(&mut self, request: Request, tries: u8, out: &mut Vec<u8>) -> TransactionId {
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
    /// The STUN method that asks for it.
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

/// How long to wait for an answer over UDP after sending a request for the `sent`-th time (1 for the first), in
/// milliseconds; `None` when it is time to give up. RFC 8489 §6.2.1 with its RTO of 500 ms, Rc of 7 and Rm of 16.
pub const fn wait_ms(sent: u32) -> Option<u64> {
    match sent {
        1..=6 => Some(500 << (sent - 1)),
        7 => Some(500 * 16),
        _ => None,
    }
}

/// A request without an answer.
#[derive(Debug)]
struct Open {
    id: TransactionId,
    request: Request,
    octets: Vec<u8>,
    key: Option<(Seal, Key)>,
    tries: u8,
}

/// What the server wants to see in every request since it said 401 or 438.
#[derive(Debug)]
struct ServerChallenge {
    realm: String,
    nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS as it came, and which of them we chose.
    algorithms: Option<(Vec<u8>, PasswordAlgorithm)>,
    userhash: Option<[u8; 32]>,
    seal: Seal,
    key: Key,
}

impl ServerChallenge {
    /// Reads a 401 or 438; `None` when it cannot be met (no realm or nonce, no algorithm that we know).
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

/// The first algorithm of a PASSWORD-ALGORITHMS value that we know. RFC 8489 §14.11.
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

/// The security feature bits of a nonce that starts with the nonce cookie, else none. RFC 8489 §9.2: "obMatJos2" and
/// 24 bits in base64; the features that exist are in the first of the four characters.
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

/// Reads a Data indication. RFC 8656 §11.4, §11.6.
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

/// Challenges that one request meets before it counts as refused: the first 401, and a nonce that went stale since.
const MAX_RETRIES: u8 = 2;
/// What the nonce of a server that follows RFC 8489 starts with. §9.2.
const NONCE_COOKIE: &[u8] = b"obMatJos2";
/// "Password algorithms", bit 0 of 24, so the highest of the first character's six. RFC 8489 §18.1.
const PASSWORD_ALGORITHMS_BIT: u8 = 0x20;
/// "Username anonymity", bit 1. RFC 8489 §18.1.
const USERNAME_ANONYMITY_BIT: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Request = Request::Allocate {
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

    /// Asks to allocate and meets one challenge; the second request and its transaction.
    fn challenged(
        client: &mut ClientState,
        nonce: &[u8],
        algorithms: Option<&[u8]>,
    ) -> (Vec<u8>, TransactionId) {
        let mut out = Vec::new();
        let was = client.request(ASK, &mut out);
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
    fn the_first_request_says_nothing_of_its_user() {
        let mut out = Vec::new();
        client().request(ASK, &mut out);
        let message = Message::parse(&out).unwrap();
        let kinds: Vec<_> = message.attributes().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [AttributeType::REQUESTED_TRANSPORT]);
    }

    #[test]
    fn a_401_is_answered_with_sha1_where_nothing_else_is_offered() {
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
            (50000, Some(600), ASK)
        );
        assert_eq!(
            client.receive(&granted, &mut Vec::new()),
            Event::Ignored(Ignored::NoTransaction),
            "an answer counts once"
        );
    }

    #[test]
    fn password_algorithms_bring_sha256_and_the_list_back() {
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
    fn a_removed_list_of_algorithms_is_noticed() {
        let mut client = client();
        let was = client.request(ASK, &mut Vec::new());
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
    fn a_second_401_is_a_refusal_and_a_438_is_not() {
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
    fn a_server_cannot_make_it_retry_for_ever() {
        let mut client = client();
        let mut id = client.request(ASK, &mut Vec::new());
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
    fn an_answer_with_a_wrong_seal_changes_nothing() {
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
        assert_eq!(client.forget(&now), Some(ASK));
        assert!(!client.repeat(&now, &mut out));
    }

    #[test]
    fn data_comes_by_indication_and_by_channel() {
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
    fn requests_are_repeated_seven_times_over_39_5_seconds() {
        let waits: Vec<_> = (1..).map_while(wait_ms).collect();
        assert_eq!((waits.len(), waits.iter().sum::<u64>()), (7, 39_500));
    }
}
