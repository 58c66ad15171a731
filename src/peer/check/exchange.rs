//! Requests to a server over one connection, one after the other and timed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::transport::Connection;
use crate::turn::client_state::{Answer, ClientState, Event, Login, Refusal, Request, wait_ms};
use crate::wire::channel_data;

/// A connection to one server with the state of its client.
pub struct Exchange {
    connection: Connection,
    client: ClientState,
}

/// A request that was granted.
#[derive(Debug)]
pub struct Granted {
    /// The success response.
    pub answer: Answer,
    /// Time from the first request, over every challenge and retransmission, to the response.
    pub took: Duration,
}

/// Why a request was not granted.
#[derive(Debug)]
pub enum RequestError {
    /// No response.
    NoAnswer,
    /// An error response.
    Refused(Refusal),
    /// The connection broke: an ICMP error, or the end of a stream.
    Connection(io::Error),
}

/// How application data arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// In a Data indication, from this peer.
    Peer(SocketAddr),
    /// On this channel.
    Channel(u16),
}

impl Exchange {
    /// An exchange without any request yet.
    pub fn new(connection: Connection, login: Option<Login>) -> Exchange {
        Exchange {
            connection,
            client: ClientState::new(login, random_seed()),
        }
    }

    /// The realm of the server's challenge.
    pub fn realm(&self) -> Option<&str> {
        self.client.realm()
    }

    /// Sends a request, answers challenges, and waits for the response.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&mut self, request: Request) -> Result<Granted, RequestError> {
        let started = Instant::now();
        let is_reliable = self.connection.is_reliable();
        let mut out = Vec::new();
        let mut id = self.client.request(request, &mut out);
        self.send(&out).await?;
        let mut sent = 1;
        loop {
            let wait = match wait_ms(sent) {
                Some(milliseconds) if !is_reliable => Duration::from_millis(milliseconds),
                Some(_) | None => RESPONSE_TIMEOUT,
            };
            let received = match tokio::time::timeout(wait, self.connection.receive()).await {
                Ok(received) => received.map_err(RequestError::Connection)?,
                Err(_) if is_reliable || sent == MAX_SENT => {
                    self.client.forget(&id);
                    return Err(RequestError::NoAnswer);
                }
                Err(_) => {
                    sent += 1;
                    out.clear();
                    self.client.repeat(&id, &mut out);
                    self.send(&out).await?;
                    continue;
                }
            };
            out.clear();
            match self.client.receive(&received, &mut out) {
                Event::Granted {
                    id: answered,
                    answer,
                    ..
                } if answered == id => {
                    let took = started.elapsed();
                    return Ok(Granted { answer, took });
                }
                Event::Refused {
                    id: answered,
                    refusal,
                    ..
                } if answered == id => return Err(RequestError::Refused(refusal)),
                Event::Retried { was, now } if was == id => {
                    (id, sent) = (now, 1);
                    self.send(&out).await?;
                }
                _ => {}
            }
        }
    }

    /// Sends `payload` to `peer` through the relay, in a Send indication.
    pub async fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut out = Vec::new();
        self.client.send(peer, payload, &mut out);
        let _lost = self.connection.send(&out).await;
    }

    /// Sends `payload` on a channel.
    pub async fn send_channel_data(&mut self, channel: u16, payload: &[u8]) {
        let mut out = channel_data::header(channel, payload.len() as u16).to_vec();
        out.extend_from_slice(payload);
        let _lost = self.connection.send(&out).await;
    }

    /// Waits until `payload` arrives through the relay.
    pub async fn receive_payload(
        &mut self,
        payload: &[u8],
        timeout: Duration,
    ) -> Option<DataSource> {
        let receive = async {
            loop {
                let received = match self.connection.receive().await {
                    Ok(received) => received,
                    // On UDP an ICMP error concerns one packet.
                    Err(_) if !self.connection.is_reliable() => continue,
                    Err(_) => return None,
                };
                match self.client.receive(&received, &mut Vec::new()) {
                    Event::Data {
                        peer,
                        payload: received,
                    } if received == payload => return Some(DataSource::Peer(peer)),
                    Event::Channel(data) if data.payload == payload => {
                        return Some(DataSource::Channel(data.number));
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(timeout, receive).await.ok().flatten()
    }

    async fn send(&self, message: &[u8]) -> Result<(), RequestError> {
        self.connection
            .send(message)
            .await
            .map_err(RequestError::Connection)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::NoAnswer => f.write_str("no answer"),
            RequestError::Refused(refusal) => write!(f, "{} {}", refusal.code.0, refusal.reason),
            RequestError::Connection(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RequestError::Connection(error) => Some(error),
            RequestError::NoAnswer | RequestError::Refused(_) => None,
        }
    }
}

/// The seed of a client's transaction ids; zero without randomness: a client that tests a server
/// needs ids that differ, not ids that cannot be guessed.
pub(super) fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let _ = getrandom::fill(&mut seed);
    seed
}

/// Time limit of a response on a stream, and of the last retransmission over UDP.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a request is sent over UDP: after 0, 500 and 1,500 ms.
const MAX_SENT: u32 = 3;
