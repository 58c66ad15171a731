//! DTLS clients: records in, packets for the protocol out, and the other way round.

use crate::net::dtls::{CookieCheck, DtlsServer, Event, VerifiedHello};
use crate::net::{Datagram, Transmit};
use crate::relay::client::associations::{Ends, over_dtls};
use crate::relay::client::clients::Way;
use crate::relay::io::send_queue::{Sender, source};
use crate::relay::shard::egress::{Arrival, Egress};
use crate::relay::shard::event_loop::Shard;
use crate::relay::shard::messages::Passed;
use crate::turn::{Client, FiveTuple, Instant};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

impl Shard {
    /// Takes a datagram whose first octet says that it holds DTLS records.
    pub(crate) fn take_records(&mut self, listener: u32, server: SocketAddr, datagram: &Datagram) {
        let ends = (datagram.source, server);
        let known = self.egress.associations.find(&ends);
        let octets = self.batch.payload(datagram);
        let hello = is_hello(octets);
        let index = if hello {
            self.meet(listener, ends, datagram)
        } else {
            known
        };
        let Some((index, entry)) =
            index.and_then(|index| Some((index, self.egress.associations.get(index)?)))
        else {
            // A hello has had its answer.
            return if hello {
                self.counters.dtls_unassociated.add(1)
            } else {
                self.pass_records(listener, ends, datagram)
            };
        };
        let octets = self.batch.payload(datagram);
        let ended = entry
            .association
            .receive(octets, self.clock.std(self.now))
            .is_err();
        self.drain(index, Some(datagram));
        if ended {
            self.part(index);
        }
    }

    /// Passes records to the shard that knows who sent them, if one does.
    fn pass_records(&mut self, listener: u32, ends: Ends, datagram: &Datagram) {
        match self.server.owning_shard(&over_dtls(ends)) {
            Some(shard) => {
                let (client, server) = ends;
                let octets = self.batch.payload(datagram).to_vec();
                self.egress.pass(
                    shard,
                    Passed::Records {
                        listener,
                        client,
                        server,
                        octets,
                    },
                );
            }
            None => self.counters.dtls_unassociated.add(1),
        }
    }

    /// Meets a ClientHello: answers it, or finds the association that it belongs to, which may be a new one.
    fn meet(&mut self, listener: u32, ends: Ends, datagram: &Datagram) -> Option<u32> {
        let door = self.gate.dtls.clone()?;
        let octets = self.batch.payload(datagram).to_vec();
        match door.check_cookie(&octets, ends.0, ends.1, Duration::from_nanos(self.now.0)) {
            CookieCheck::Reply(answer) => {
                if self.gate.shared.answer_rate.allows(self.now, ends.0.ip()) {
                    self.counters.dtls_cookies_sent.add(1);
                    self.egress.send_record(
                        listener,
                        &over_dtls(ends),
                        &answer,
                        Arrival::of(datagram),
                    );
                }
                None
            }
            CookieCheck::Verified(proven) => self.associate(&door, listener, ends, &proven),
            CookieCheck::Discard => None,
        }
    }

    /// The association of a proven hello. A client that begins anew from the same address has lost the old one (RFC 6347
    /// §4.2.8); who could pretend that, cookie and all, could as well have taken it over on the way.
    fn associate(
        &mut self,
        door: &DtlsServer,
        listener: u32,
        ends: Ends,
        proven: &VerifiedHello<'_>,
    ) -> Option<u32> {
        if let Some(index) = self.egress.associations.find(&ends) {
            let same = self
                .egress
                .associations
                .get(index)
                .is_some_and(|entry| entry.association.began_with_hello(proven));
            if same {
                return Some(index);
            }
            self.part(index);
        }
        if !self.egress.associations.has_room() || !self.gate.handshakes.begin(ends.0.ip()) {
            self.counters.handshakes_refused.add(1);
            return None;
        }
        let Ok(association) = door.accept(proven, self.clock.std(self.now)) else {
            self.gate.handshakes.end(ends.0.ip());
            self.counters.handshakes_failed.add(1);
            return None;
        };
        let five_tuple = over_dtls(ends);
        if let Some(shard) = self.server.owning_shard(&five_tuple) {
            // The one that it has lost may be another shard's.
            self.egress.pass(
                shard,
                Passed::Gone(Client::new(five_tuple, Way::Listener(listener).link())),
            );
        }
        let index = self
            .egress
            .associations
            .insert(ends, listener, association, self.now);
        if let Some(entry) = self.egress.associations.get(index) {
            entry.client.realm = proven
                .server_name()
                .and_then(|name| self.gate.policy.realm_of_server_name(name));
        }
        self.drain(index, None);
        // The hello itself has been taken.
        None
    }

    /// Does all that an association wants, until it waits. What the client said is put where its datagram was.
    fn drain(&mut self, index: u32, datagram: Option<&Datagram>) {
        let arrival = datagram.map_or(Arrival::NOWHERE, Arrival::of);
        let mut room = datagram.map_or(0..0, Datagram::range);
        let mut said = std::mem::take(&mut self.said);
        let mut scratch = std::mem::take(&mut self.egress.associations.scratch);
        let mut closed = false;
        while let Some(entry) = self.egress.associations.get(index) {
            let (client, listener) = (entry.client, entry.listener);
            match entry.association.poll(&mut scratch) {
                Event::Send(record) => {
                    self.egress
                        .send_record(listener, &client.five_tuple, record, arrival)
                }
                Event::Data(data) => {
                    entry.active = self.now;
                    said.extend(self.put(data, &mut room));
                }
                Event::Connected => {
                    self.gate.handshakes.end(client.five_tuple.client.ip());
                    self.counters.dtls_handshakes.add(1);
                }
                Event::Closed => {
                    closed = true;
                    break;
                }
                Event::WaitUntil(until) => {
                    self.egress
                        .look_after(index, self.clock.instant(until), self.now);
                    break;
                }
            }
        }
        self.egress.associations.scratch = scratch;
        // Only now: what comes of it may be sealed by the same association.
        let client = self
            .egress
            .associations
            .get(index)
            .map(|entry| entry.client);
        for range in said.drain(..) {
            let Some(client) = client else { break };
            let arrival = Arrival {
                start: range.start,
                room: 0,
                ..arrival
            };
            self.take(&client, range, arrival);
        }
        self.said = said;
        if closed {
            self.part(index);
        }
    }

    /// Puts octets into the batch, where there was room for them before they were deciphered; else in a slot of their own.
    fn put(&mut self, data: &[u8], room: &mut Range<usize>) -> Option<Range<usize>> {
        let start = if data.len() <= room.len() {
            let start = room.start;
            room.start += data.len();
            start
        } else if self.batch.free() > 0 {
            self.batch.occupy_slot()
        } else {
            self.counters.dtls_unassociated.add(1);
            return None;
        };
        let place = start..start + data.len();
        self.batch
            .octets_mut()
            .get_mut(place.clone())?
            .copy_from_slice(data);
        Some(place)
    }

    /// Ends an association, and with it the allocation.
    pub(crate) fn part(&mut self, index: u32) {
        let Some(entry) = self.egress.associations.take(index) else {
            return;
        };
        if !entry.association.is_connected() {
            self.gate
                .handshakes
                .end(entry.client.five_tuple.client.ip());
            self.counters.handshakes_failed.add(1);
        }
        if let Some(home) = self.server.client_disconnected(self.now, &entry.client) {
            self.egress.pass(home, Passed::Gone(entry.client));
        }
        self.perform();
    }

    /// Says goodbye to a DTLS client, and ends its association.
    pub(crate) fn dismiss(&mut self, index: u32) {
        if let Some(entry) = self.egress.associations.get(index) {
            entry.association.close();
            self.egress.send_pending(index, Arrival::NOWHERE);
        }
        self.part(index);
    }

    /// Looks after the associations that want it by the clock.
    pub(crate) fn look_after_associations(&mut self) {
        let idle = self.egress.clients.limits().idle_timeout;
        while let Some(index) = self.egress.associations.due(self.now) {
            let Some(entry) = self.egress.associations.get(index) else {
                continue;
            };
            let silent = entry.association.is_connected() && entry.active + idle <= self.now;
            if silent && !self.server.is_known_client(&entry.client.five_tuple) {
                self.counters.connections_idle.add(1);
                self.dismiss(index);
                continue;
            }
            let ended = entry
                .association
                .handle_timeout(self.clock.std(self.now))
                .is_err();
            self.drain(index, None);
            if ended {
                self.part(index);
            }
        }
    }
}

impl Egress {
    /// Queues a datagram of DTLS records.
    fn send_record(
        &mut self,
        listener: u32,
        five_tuple: &FiveTuple,
        record: &[u8],
        arrival: Arrival,
    ) {
        let Some(wildcard) = self.clients.udp(listener).map(|listener| listener.wildcard) else {
            return self.counters.client_gone.add(1);
        };
        let payload = self.outbox.write(record);
        let outgoing = Transmit {
            from: source(five_tuple.server, wildcard),
            traffic_class: arrival.traffic_class,
            hop_limit: arrival.hop_limit,
            ..Transmit::new(five_tuple.client, payload)
        };
        self.outbox.push(Sender::Listener(listener), outgoing);
    }

    /// Seals what lies in `associations.plain`, and queues it for the client that a link leads to.
    pub(crate) fn seal(&mut self, link: crate::turn::Link, arrival: Arrival) {
        let plain = std::mem::take(&mut self.associations.plain);
        let place = self.associations.place(link);
        let sealed = place
            .and_then(|index| self.associations.get(index))
            .is_some_and(|entry| entry.association.send(&plain).is_ok());
        self.associations.plain = plain;
        match place {
            Some(index) if sealed => self.send_pending(index, arrival),
            _ => self.counters.client_gone.add(1),
        }
    }

    /// Queues the records that an association has ready.
    fn send_pending(&mut self, index: u32, arrival: Arrival) {
        let mut scratch = std::mem::take(&mut self.sealed);
        while let Some(entry) = self.associations.get(index) {
            let (five_tuple, listener) = (entry.client.five_tuple, entry.listener);
            let Event::Send(record) = entry.association.poll(&mut scratch) else {
                break;
            };
            self.send_record(listener, &five_tuple, record, arrival);
        }
        self.sealed = scratch;
    }

    /// Has an association looked after when it wants that, or when it may have been silent for too long.
    fn look_after(&mut self, index: u32, wanted: Instant, now: Instant) {
        let idle = self.clients.limits().idle_timeout;
        let Some(entry) = self.associations.get(index) else {
            return;
        };
        let silent = entry.active + idle;
        let check = if silent > now { silent } else { now + idle };
        self.associations.schedule(index, wanted.min(check));
    }

    /// Whether a link leads to a DTLS client, and of which shard.
    pub(crate) fn association_of(link: crate::turn::Link) -> Option<u16> {
        match Way::of(link) {
            Way::Association { shard, .. } => Some(shard),
            _ => None,
        }
    }
}

/// Whether a datagram begins with a ClientHello in the clear.
fn is_hello(octets: &[u8]) -> bool {
    matches!(octets, [22, _, _, 0, 0, _, _, _, _, _, _, _, _, 1, ..])
}
