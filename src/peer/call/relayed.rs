//! Relayed candidates: an allocation by the client of the crate `turn`, an implementation of TURN that is not ours, over our own [`Connection`].
//!
//! That client ends its read loop at ChannelData it does not expect, panics at a reason phrase that is no UTF-8, and believes every answer. [`Tamed`]
//! stands between it and the server: ChannelData reaches it as Data indications, and answers only when they verify.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use turn::client::{Client, ClientConfig};
use webrtc_util::conn::Conn;

use crate::client::transport::Connection;
use crate::peer::call::gather::Packet;
use crate::wire::data_indication;
use crate::wire::integrity;
use crate::wire::integrity::{Key, Seal};
use crate::wire::registry::PasswordAlgorithm;
use crate::wire::{AttributeType, Class, Message, Method, Packet as Wire, attribute, padded};

/// An allocation on a TURN server. Dropped, it is released.
pub struct Relayed {
    /// The relayed transport address.
    pub address: SocketAddr,
    /// Our address on the line to the server.
    pub base: SocketAddr,
    outgoing: mpsc::Sender<(SocketAddr, Vec<u8>)>,
    refused: Refused,
    done: mpsc::Receiver<()>,
}

/// The peers that the server would not relay to, and what it said.
type Refused = Arc<Mutex<HashMap<IpAddr, String>>>;

impl Relayed {
    /// Allocates on the server at the end of `line`; what peers send comes out of `packets`.
    ///
    /// # Errors
    /// What the server answered, or that it did not, in words.
    pub async fn allocate(
        line: Connection,
        username: &str,
        password: &str,
        packets: mpsc::Sender<Packet>,
    ) -> Result<Relayed, String> {
        let (server, base, reliable) = (line.server(), line.local(), line.is_reliable());
        let conn = Arc::new(Tamed::new(line, username, password));
        let config = ClientConfig {
            stun_serv_addr: String::new(),
            turn_serv_addr: server.to_string(),
            username: username.into(),
            password: password.into(),
            realm: String::new(),
            software: String::new(),
            // On a stream nothing is lost, and what is repeated comes twice.
            rto_in_ms: if reliable { 5_000 } else { 0 },
            conn: conn.clone(),
            vnet: None,
        };
        let client = Client::new(config)
            .await
            .map_err(|error| error.to_string())?;
        client.listen().await.map_err(|error| error.to_string())?;
        let allocated = tokio::time::timeout(PATIENCE, client.allocate()).await;
        let relay = match allocated {
            Ok(Ok(relay)) => relay,
            Ok(Err(error)) => return Err(conn.last_refusal().unwrap_or_else(|| error.to_string())),
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        let address = relay.local_addr().map_err(|error| error.to_string())?;
        let refused = Refused::default();
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (working, done) = mpsc::channel(1);
        tokio::spawn(carry(
            client,
            Arc::new(relay),
            address,
            to_send,
            packets,
            refused.clone(),
            conn,
            working,
        ));
        Ok(Relayed {
            address,
            base,
            outgoing,
            refused,
            done,
        })
    }

    /// Sends to a peer; what the queue cannot take is lost, as on any network.
    pub fn send(&self, peer: SocketAddr, octets: &[u8]) {
        let _full = self.outgoing.try_send((peer, octets.to_vec()));
    }

    /// Why the server would not relay to a peer, if it said so.
    pub fn refusal(&self, peer: IpAddr) -> Option<String> {
        self.refused.lock().ok()?.get(&peer).cloned()
    }

    /// Releases the allocation and waits until the server knows.
    pub async fn release(self) {
        let Relayed {
            outgoing, mut done, ..
        } = self;
        drop(outgoing);
        let _ended = tokio::time::timeout(PATIENCE, done.recv()).await;
    }
}

/// Carries packets both ways until nobody sends any more, then releases the allocation.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one allocation, handed to the task that owns them"
)]
async fn carry(
    client: Client,
    relay: Arc<dyn Conn + Send + Sync>,
    address: SocketAddr,
    mut to_send: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
    packets: mpsc::Sender<Packet>,
    refused: Refused,
    conn: Arc<Tamed>,
    _working: mpsc::Sender<()>,
) {
    let incoming = relay.clone();
    let receiver = tokio::spawn(async move {
        let mut octets = vec![0; LONGEST];
        while let Ok((length, source)) = incoming.recv_from(&mut octets).await {
            let octets = octets.get(..length).unwrap_or_default().to_vec();
            let _full = packets.try_send(Packet {
                source,
                destination: address,
                octets,
            });
        }
    });
    while let Some((peer, octets)) = to_send.recv().await {
        if refused
            .lock()
            .is_ok_and(|refused| refused.contains_key(&peer.ip()))
        {
            continue;
        }
        if let Err(error) = relay.send_to(&octets, peer).await {
            let why = conn.last_refusal().unwrap_or_else(|| error.to_string());
            if let Ok(mut refused) = refused.lock() {
                refused.insert(peer.ip(), why);
            }
        }
    }
    receiver.abort();
    let _released = tokio::time::timeout(Duration::from_secs(1), relay.close()).await;
    let _closed = client.close().await;
}

/// A [`Connection`] as the crate `turn` wants it, and only with what it can take.
struct Tamed {
    line: Connection,
    username: String,
    password: String,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The peers of the channels that were asked for.
    channels: HashMap<u16, SocketAddr>,
    key: Option<Key>,
    refusal: Option<String>,
}

impl Tamed {
    fn new(line: Connection, username: &str, password: &str) -> Tamed {
        Tamed {
            line,
            username: username.into(),
            password: password.into(),
            seen: Mutex::default(),
        }
    }

    /// What the server last refused, and why.
    fn last_refusal(&self) -> Option<String> {
        self.seen.lock().ok()?.refusal.clone()
    }

    /// Remembers which peer a requested channel leads to.
    fn outgoing(&self, octets: &[u8]) {
        let Ok(Wire::Message(message)) = Wire::classify(octets) else {
            return;
        };
        if (message.class(), message.method()) != (Class::Request, Method::CHANNEL_BIND) {
            return;
        }
        let number = message
            .attribute(AttributeType::CHANNEL_NUMBER)
            .and_then(attribute::read_channel_number);
        let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS);
        let peer =
            peer.and_then(|value| attribute::read_xor_address(value, &message.transaction()));
        if let (Some(number), Some(peer), Ok(mut seen)) = (number, peer, self.seen.lock()) {
            seen.channels.insert(number, peer);
        }
    }

    /// What of a message may pass, and as what.
    fn incoming(&self, octets: Vec<u8>) -> Option<Vec<u8>> {
        match Wire::classify(&octets).ok()? {
            Wire::Message(message) => self.may_pass(&message).then_some(())?,
            Wire::ChannelData(data) => {
                let peer = *self.seen.lock().ok()?.channels.get(&data.number)?;
                let (header, length) = data_indication::header(peer, data.payload.len(), &[0; 12])?;
                let mut indication = header.get(..length)?.to_vec();
                indication.extend_from_slice(data.payload);
                indication.resize(length + padded(data.payload.len()), 0);
                return Some(indication);
            }
            Wire::Dtls => return None,
        }
        Some(octets)
    }

    /// Requests never come from a server; reason phrases must be text; answers must verify once there is a key. A challenge brings the key.
    fn may_pass(&self, message: &Message) -> bool {
        let Ok(mut seen) = self.seen.lock() else {
            return false;
        };
        match message.class() {
            Class::Request => false,
            Class::Indication => {
                message.method() != Method::DATA || message.has(AttributeType::DATA)
            }
            Class::Error => {
                let value = message
                    .attribute(AttributeType::ERROR_CODE)
                    .unwrap_or_default();
                let Some(reason) = value
                    .get(4..)
                    .and_then(|reason| std::str::from_utf8(reason).ok())
                else {
                    return false;
                };
                let code = attribute::read_error_code(value).map_or(0, |code| code.0);
                if code != 438 && (seen.key.is_some() || code != 401) {
                    seen.refusal = Some(format!("{code} {reason}"));
                }
                if let Some(realm) = message.text(AttributeType::REALM) {
                    seen.key = Key::long_term(
                        PasswordAlgorithm::MD5,
                        &self.username,
                        realm,
                        &self.password,
                    );
                }
                true
            }
            Class::Success => seen
                .key
                .as_ref()
                .is_none_or(|key| integrity::verify(message, Seal::Sha1, key)),
        }
    }
}

#[async_trait]
impl Conn for Tamed {
    async fn connect(&self, _server: SocketAddr) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    async fn recv(&self, octets: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        self.recv_from(octets).await.map(|(length, _)| length)
    }

    async fn recv_from(
        &self,
        octets: &mut [u8],
    ) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        loop {
            let received = match self.line.receive().await {
                Ok(received) => received,
                // An ICMP error belongs to one packet; the line still stands.
                Err(_) if !self.line.is_reliable() => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(message) = self.incoming(received) else {
                continue;
            };
            if let Some(place) = octets.get_mut(..message.len()) {
                place.copy_from_slice(&message);
                return Ok((message.len(), self.line.server()));
            }
        }
    }

    async fn send(&self, octets: &[u8]) -> Result<usize, webrtc_util::Error> {
        self.send_to(octets, self.line.server()).await
    }

    async fn send_to(
        &self,
        octets: &[u8],
        _server: SocketAddr,
    ) -> Result<usize, webrtc_util::Error> {
        self.outgoing(octets);
        match self.line.send(octets).await {
            Err(error) if self.line.is_reliable() => Err(error.into()),
            _ => Ok(octets.len()),
        }
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        Ok(self.line.local())
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.line.server())
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

/// How long an allocation may take; the crate's own client would wait for a minute.
const PATIENCE: Duration = Duration::from_secs(8);
/// Packets that wait for the server before further ones are lost.
const QUEUE: usize = 256;
/// The longest datagram there can be.
const LONGEST: usize = 65_536;
