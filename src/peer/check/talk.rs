//! One conversation with a STUN or TURN server, step by step and timed: [`crate::turn::client_state`] over a [`Connection`].

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::transport::Connection;
use crate::turn::client_state::{Answer, ClientState, Event, Login, Refusal, Request, wait_ms};

/// A conversation with one server over one line.
pub struct Talk {
    line: Connection,
    client: ClientState,
}

/// Why a request was not granted.
#[derive(Debug)]
pub enum Trouble {
    /// No answer.
    Silent,
    /// An error response.
    Refused(Refusal),
    /// The line broke: ICMP said that nobody listens, or the stream ended.
    Broken(io::Error),
}

/// Where application data came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this peer, in a Data indication.
    Peer(SocketAddr),
    /// On this channel.
    Channel(u16),
}

impl Talk {
    /// A conversation that has not begun.
    pub fn new(line: Connection, login: Option<Login>) -> Talk {
        let mut seed = [0; 32];
        // Transaction ids only have to differ; where the system has no randomness they still do.
        let _predictable = getrandom::fill(&mut seed);
        Talk {
            line,
            client: ClientState::new(login, seed),
        }
    }

    /// The realm of the server's challenge.
    pub fn realm(&self) -> Option<&str> {
        self.client.realm()
    }

    /// Asks, meets challenges, and waits for the answer; how long that took.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn ask(&mut self, request: Request) -> Result<(Answer, Duration), Trouble> {
        let began = Instant::now();
        let mut out = Vec::new();
        let mut open = self.client.request(request, &mut out);
        self.line.send(&out).await.map_err(Trouble::Broken)?;
        let mut sent = 1;
        loop {
            let wait = if self.line.is_reliable() {
                PATIENCE
            } else {
                wait_ms(sent).map_or(PATIENCE, Duration::from_millis)
            };
            let received = match tokio::time::timeout(wait, self.line.receive()).await {
                Ok(received) => received.map_err(Trouble::Broken)?,
                Err(_) if self.line.is_reliable() || sent == MOST_SENT => {
                    self.client.forget(&open);
                    return Err(Trouble::Silent);
                }
                Err(_) => {
                    sent += 1;
                    out.clear();
                    self.client.repeat(&open, &mut out);
                    self.line.send(&out).await.map_err(Trouble::Broken)?;
                    continue;
                }
            };
            out.clear();
            match self.client.receive(&received, &mut out) {
                Event::Granted { id, answer, .. } if id == open => {
                    return Ok((answer, began.elapsed()));
                }
                Event::Refused { id, refusal, .. } if id == open => {
                    return Err(Trouble::Refused(refusal));
                }
                Event::Retried { was, now } if was == open => {
                    (open, sent) = (now, 1);
                    self.line.send(&out).await.map_err(Trouble::Broken)?;
                }
                _ => {}
            }
        }
    }

    /// Sends `payload` to `peer` through the relay, in a Send indication.
    pub async fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut out = Vec::new();
        self.client.send(peer, payload, &mut out);
        let _lost = self.line.send(&out).await;
    }

    /// Sends `payload` on a channel.
    pub async fn send_on(&mut self, channel: u16, payload: &[u8]) {
        let mut out = crate::wire::channel_data::header(channel, payload.len() as u16).to_vec();
        out.extend_from_slice(payload);
        let _lost = self.line.send(&out).await;
    }

    /// Waits until `payload` comes through the relay; from where.
    pub async fn hear(&mut self, payload: &[u8], patience: Duration) -> Option<Source> {
        let hearing = async {
            loop {
                let received = match self.line.receive().await {
                    Ok(received) => received,
                    Err(_) if !self.line.is_reliable() => continue,
                    Err(_) => return None,
                };
                match self.client.receive(&received, &mut Vec::new()) {
                    Event::Data {
                        peer,
                        payload: heard,
                    } if heard == payload => return Some(Source::Peer(peer)),
                    Event::Channel(data) if data.payload == payload => {
                        return Some(Source::Channel(data.number));
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(patience, hearing).await.ok().flatten()
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Silent => f.write_str("no answer"),
            Trouble::Refused(refusal) => write!(f, "{} {}", refusal.code.0, refusal.reason),
            Trouble::Broken(error) => error.fmt(f),
        }
    }
}

/// How long an answer on a stream is waited for, and the last one over UDP.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a request is sent over UDP: after 0, 500 and 1,500 ms, given up after 3,500.
const MOST_SENT: u32 = 3;
