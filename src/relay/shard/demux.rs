//! Where a connection's first octets tell what it is: TLS, STUN, a balancer's introduction; and inside TLS: STUN, or a
//! visitor for the web page.
//!
//! ```text
//!   accepted ─▶ (PROXY header) ─┬─ 0..3 ────▶ STUN, TURN
//!                               └─ 22 ──▶ TLS ─┬─ 0..3 ───▶ STUN, TURN
//!                                              └─ A..Z ───▶ WebConnection: HTTP is served elsewhere
//! ```

use crate::net::{Rewind, proxy_protocol};
use crate::relay::client::connection::{Conn, Negotiated};
use crate::relay::client::stream::Stream;
use crate::relay::plan::WebConnection;
use crate::relay::shard::event_loop::Shard;
use crate::wire::PacketKind;
use std::io;
use std::ops::Range;

impl Shard {
    /// Finds out what a connection is by the first octets on it, and takes care of it unless it is STUN: then this gives
    /// back where that begins.
    pub(crate) fn open(&mut self, index: u32, mut range: Range<usize>) -> Option<Range<usize>> {
        let conn = self.egress.clients.conn(index)?;
        let octets = self.batch.octets().get(range.clone()).unwrap_or_default();
        match introduced(conn, octets) {
            Ok(Some(length)) => range.start += length,
            Ok(None) => {
                conn.keep(octets);
                return None;
            }
            Err(_) => {
                self.turn_away(index);
                return None;
            }
        }
        let octets = octets.get(octets.len() - range.len()..).unwrap_or_default();
        if octets
            .first()
            .is_none_or(|first| PacketKind::of(*first) == PacketKind::Stun)
        {
            return Some(range);
        }
        match (octets.first(), conn.is_plain()) {
            (Some(&HANDSHAKE), true) if self.gate.secure.tls.is_some() => {
                let octets = octets.to_vec();
                self.negotiate_on(index, octets);
            }
            (Some(b'A'..=b'Z'), false) if self.gate.secure.web_connections.is_some() => {
                let octets = octets.to_vec();
                self.hand_over(index, octets);
            }
            _ => self.turn_away(index),
        }
        None
    }

    fn turn_away(&mut self, index: u32) {
        self.counters.connections_malformed.add(1);
        self.hang_up(index);
    }

    /// Begins TLS on a connection of which `hello` has been read.
    fn negotiate_on(&mut self, index: u32, hello: Vec<u8>) {
        let (Some(tls), Some(conn)) = (
            self.gate.secure.tls.clone(),
            self.egress.clients.conn(index),
        ) else {
            return;
        };
        if !self
            .gate
            .handshakes
            .begin(conn.client.five_tuple.client.ip())
        {
            self.counters.handshakes_refused.add(1);
            return self.hang_up(index);
        }
        let octets = self.gate.handshakes.bounds().max_octets;
        conn.secure(self.now, |stream| {
            tls.accept(
                Rewind::new(hello, stream)
                    .with_limit(octets)
                    .with_read_ahead(),
            )
        });
    }

    /// Goes on with a handshake, where there is one; tells whether the connection can be read.
    pub(crate) fn negotiate(&mut self, index: u32) -> bool {
        let Some(conn) = self.egress.clients.conn(index) else {
            return false;
        };
        match conn.negotiate(self.now) {
            Negotiated::Already => true,
            Negotiated::InProgress => false,
            Negotiated::Failed => {
                self.hang_up(index);
                false
            }
            Negotiated::Now {
                server_name,
                validation,
            } => {
                conn.client.realm =
                    server_name.and_then(|name| self.gate.policy.realm_of_server_name(&name));
                self.gate.handshakes.end(conn.client.five_tuple.client.ip());
                self.counters.tls_handshakes.add(1);
                if validation {
                    self.hang_up(index);
                }
                !validation
            }
        }
    }

    /// Gives a connection to whoever serves HTTP; `read` is what has been read of it.
    fn hand_over(&mut self, index: u32, read: Vec<u8>) {
        let Some(conn) = self.egress.clients.take(index) else {
            return;
        };
        let five_tuple = conn.client.five_tuple;
        let (Stream::Tls(stream), _) = conn.into_parts() else {
            return;
        };
        let stream = Box::new(Rewind::new(read, *stream));
        let visitor = WebConnection {
            stream,
            client: five_tuple.client,
            server: five_tuple.server,
        };
        let taken = self
            .gate
            .secure
            .web_connections
            .as_ref()
            .is_some_and(|visitors| visitors.try_send(visitor).is_ok());
        if taken {
            self.counters.web_connections.add(1)
        } else {
            self.counters.web_connections_refused.add(1)
        }
    }

    /// Closes a connection that was taken out, and counts what it left unfinished.
    pub(crate) fn part_with(&mut self, mut conn: Box<Conn>) {
        if conn.is_negotiating() {
            self.gate.handshakes.end(conn.client.five_tuple.client.ip());
            self.counters.handshakes_failed.add(1);
        }
        conn.farewell();
    }
}

/// Reads a balancer's introduction, where one has to come: how long it is, or `None` while it is incomplete.
fn introduced(conn: &mut Conn, octets: &[u8]) -> io::Result<Option<usize>> {
    if !conn.balanced {
        return Ok(Some(0));
    }
    let Some((origin, length)) = proxy_protocol::parse(octets)? else {
        return Ok(None);
    };
    if let proxy_protocol::ProxyHeader::Proxied(client) = origin {
        conn.client.five_tuple.client = client;
    }
    conn.balanced = false;
    Ok(Some(length))
}

/// A TLS record that holds a handshake message.
const HANDSHAKE: u8 = 22;
