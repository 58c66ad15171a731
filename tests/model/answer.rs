//! Responses and indications as values that can be compared.

use super::world::{Sealed, Seen, World};
use hairpin::turn::Client;
use hairpin::wire::integrity;
use hairpin::wire::integrity::Seal;
use hairpin::wire::{AttributeType, Class, Message, attribute};
use std::net::SocketAddr;

/// The attributes of a response, without the attributes that authenticate it.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// ERROR-CODE; `None` for success.
    pub code: Option<u16>,
    pub relayed: Vec<SocketAddr>,
    /// ADDRESS-ERROR-CODE: family and code.
    pub failed: Option<(u8, u16)>,
    pub lifetime: Option<u32>,
    pub token: Option<[u8; 8]>,
    pub ticket: Option<Vec<u8>>,
    pub mapped: Option<SocketAddr>,
    pub connection: Option<u32>,
    /// Set by the model only: the allocation whose new ticket the response contains.
    pub learns: Option<u64>,
}

impl Answer {
    /// An error response.
    pub fn error(code: u16) -> Answer {
        Answer {
            code: Some(code),
            ..Answer::default()
        }
    }

    /// Parses a response to `client`, which must belong to the request and be authenticated like
    /// it.
    pub fn read(
        (to, octets): &(Client, Vec<u8>),
        client: Client,
        world: &World,
        request: Option<&Sealed>,
    ) -> Result<Answer, String> {
        let message = Message::parse(octets).map_err(|error| error.to_string())?;
        if *to != client {
            return Err(format!("the answer goes to {to:?}"));
        }
        let mut answer = Answer::default();
        for (kind, value) in message.attributes() {
            answer.note(&message, kind, value)?;
        }
        if (message.class() == Class::Error) != answer.code.is_some()
            || message.class() == Class::Indication
        {
            return Err(format!("class {:?} of {answer:?}", message.class()));
        }
        let challenged = matches!(answer.code, Some(401 | 438));
        if challenged != message.has(AttributeType::NONCE)
            || challenged != message.has(AttributeType::REALM)
        {
            return Err(format!("nonce and realm of {answer:?}"));
        }
        if let Some(request) = request {
            let sealed = integrity::verify(&message, Seal::Sha1, world.key(request.user));
            if sealed == challenged || message.transaction() != request.transaction {
                return Err(format!("seal or transaction of {answer:?}"));
            }
            if message.method() != request.ask.method() {
                return Err(format!("method of {answer:?}"));
            }
        }
        Ok(answer)
    }

    fn note(&mut self, message: &Message, kind: AttributeType, value: &[u8]) -> Result<(), String> {
        let address = || attribute::read_xor_address(value, &message.transaction());
        match kind {
            AttributeType::ERROR_CODE => {
                self.code = attribute::read_error_code(value).map(|code| code.0)
            }
            AttributeType::XOR_RELAYED_ADDRESS => self.relayed.extend(address()),
            AttributeType::XOR_MAPPED_ADDRESS => self.mapped = address(),
            AttributeType::ADDRESS_ERROR_CODE => {
                self.failed = attribute::read_error_code(value).map(|code| (value[0], code.0));
            }
            AttributeType::LIFETIME => self.lifetime = attribute::read_number(value),
            AttributeType::RESERVATION_TOKEN => self.token = value.try_into().ok(),
            AttributeType::MOBILITY_TICKET => self.ticket = Some(value.to_vec()),
            AttributeType::CONNECTION_ID => self.connection = attribute::read_number(value),
            AttributeType::REALM
            | AttributeType::NONCE
            | AttributeType::PASSWORD_ALGORITHMS
            | AttributeType::MESSAGE_INTEGRITY => {}
            other => return Err(format!("{other:?} is not expected")),
        }
        Ok(())
    }

    /// RESERVATION-TOKEN, if the response has one.
    pub fn token(seen: &Seen) -> Option<[u8; 8]> {
        let message = Message::parse(&seen.sent.first()?.1).ok()?;
        message
            .attribute(AttributeType::RESERVATION_TOKEN)?
            .try_into()
            .ok()
    }

    /// An indication's method and peer.
    pub fn read_indication(octets: &[u8]) -> Result<(u16, Option<SocketAddr>), String> {
        let message = Message::parse(octets).map_err(|error| error.to_string())?;
        if message.class() != Class::Indication {
            return Err(format!("{:?} is no indication", message.class()));
        }
        let peer = message.attribute(AttributeType::XOR_PEER_ADDRESS);
        let peer =
            peer.and_then(|value| attribute::read_xor_address(value, &message.transaction()));
        Ok((message.method().0, peer))
    }
}
