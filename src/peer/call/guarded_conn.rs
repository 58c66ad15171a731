//! A [`Connection`] as the crate `turn` uses it, with a filter for what its client does not handle.
//!
//! That client ends its read loop at unexpected ChannelData, panics at a reason phrase that is not
//! UTF-8, and does not verify responses. The filter turns ChannelData into Data indications, and
//! passes only responses that verify.

use std::any::Any;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use webrtc_util::conn::Conn;

use crate::client::transport::Connection;
use crate::turn::client_state::Login;
use crate::wire::data_indication;
use crate::wire::integrity::{self, Key, Seal};
use crate::wire::registry::PasswordAlgorithm;
use crate::wire::{AttributeType, Class, Message, Method, Packet, attribute, padded};

/// A connection with a filter.
pub struct GuardedConn {
    connection: Connection,
    login: Login,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The peer of each channel that the client requested.
    channels: HashMap<u16, SocketAddr>,
    /// The key of responses, once a challenge named the realm.
    key: Option<Key>,
    last_refusal: Option<String>,
}

impl GuardedConn {
    pub fn new(connection: Connection, login: Login) -> GuardedConn {
        GuardedConn {
            connection,
            login,
            state: Mutex::default(),
        }
    }

    /// Code and reason of the last error response that is not a challenge.
    pub fn last_refusal(&self) -> Option<String> {
        self.state.lock().ok()?.last_refusal.clone()
    }

    /// Records the channel and the peer of a ChannelBind request.
    fn inspect_outgoing(&self, octets: &[u8]) {
        let Ok(Packet::Message(message)) = Packet::classify(octets) else {
            return;
        };
        if (message.class(), message.method()) != (Class::Request, Method::CHANNEL_BIND) {
            return;
        }
        let number = message
            .attribute(AttributeType::CHANNEL_NUMBER)
            .and_then(attribute::read_channel_number);
        let peer = message
            .attribute(AttributeType::XOR_PEER_ADDRESS)
            .and_then(|value| attribute::read_xor_address(value, &message.transaction()));
        if let (Some(number), Some(peer), Ok(mut state)) = (number, peer, self.state.lock()) {
            state.channels.insert(number, peer);
        }
    }

    /// What the client may see of a packet from the server.
    fn filter_incoming(&self, octets: Vec<u8>) -> Option<Vec<u8>> {
        match Packet::classify(&octets).ok()? {
            Packet::Message(message) => self.is_acceptable(&message).then_some(octets),
            Packet::ChannelData(data) => {
                let peer = *self.state.lock().ok()?.channels.get(&data.number)?;
                let (header, length) = data_indication::header(peer, data.payload.len(), &[0; 12])?;
                let mut indication = header.get(..length)?.to_vec();
                indication.extend_from_slice(data.payload);
                indication.resize(length + padded(data.payload.len()), 0);
                Some(indication)
            }
            Packet::Dtls => None,
        }
    }

    /// Rejects requests, which no server sends, reason phrases that are not UTF-8, and responses
    /// that do not verify. Records the key of a challenge and the refusal of an error response.
    fn is_acceptable(&self, message: &Message) -> bool {
        let Ok(mut state) = self.state.lock() else {
            return false;
        };
        match message.class() {
            Class::Request => false,
            Class::Indication => {
                message.method() != Method::DATA || message.has(AttributeType::DATA)
            }
            Class::Success => match &state.key {
                Some(key) => integrity::verify(message, Seal::Sha1, key),
                None => true,
            },
            Class::Error => {
                let value = message
                    .attribute(AttributeType::ERROR_CODE)
                    .unwrap_or_default();
                let reason = value.get(4..).map(std::str::from_utf8);
                let Some(Ok(reason)) = reason else {
                    return false;
                };
                let code = attribute::read_error_code(value).map_or(0, |code| code.0);
                let is_challenge = code == 438 || code == 401 && state.key.is_none();
                if !is_challenge {
                    state.last_refusal = Some(format!("{code} {reason}"));
                }
                if let Some(realm) = message.text(AttributeType::REALM) {
                    let Login { username, password } = &self.login;
                    state.key = Key::long_term(PasswordAlgorithm::MD5, username, realm, password);
                }
                true
            }
        }
    }
}

#[async_trait]
impl Conn for GuardedConn {
    async fn connect(&self, _server: SocketAddr) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        self.recv_from(buffer).await.map(|(length, _)| length)
    }

    async fn recv_from(
        &self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        loop {
            let received = match self.connection.receive().await {
                Ok(received) => received,
                // On UDP an ICMP error concerns one packet.
                Err(_) if !self.connection.is_reliable() => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(message) = self.filter_incoming(received) else {
                continue;
            };
            if let Some(octets) = buffer.get_mut(..message.len()) {
                octets.copy_from_slice(&message);
                return Ok((message.len(), self.connection.server()));
            }
        }
    }

    async fn send(&self, octets: &[u8]) -> Result<usize, webrtc_util::Error> {
        self.send_to(octets, self.connection.server()).await
    }

    async fn send_to(
        &self,
        octets: &[u8],
        _server: SocketAddr,
    ) -> Result<usize, webrtc_util::Error> {
        self.inspect_outgoing(octets);
        match self.connection.send(octets).await {
            Err(error) if self.connection.is_reliable() => Err(error.into()),
            Ok(()) | Err(_) => Ok(octets.len()),
        }
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        Ok(self.connection.local())
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.connection.server())
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}
