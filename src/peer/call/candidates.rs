//! The candidates and pairs of a call: the origin of each, and the connectivity checks that were
//! sent and answered. From these follows why a candidate was selected or not.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::client::uri::ServerUri;
use crate::peer::verdict::{
    CallPath, CandidateKind, CandidateReport, Candidates, Fate, PairChecks, PairEnd, SelectedPair,
};
use crate::wire::{AttributeType, Class, Message, Method, attribute};

/// All candidates and checks of one call.
#[derive(Debug, Default)]
pub struct CandidateTable {
    local: Vec<Entry>,
    remote: Vec<Entry>,
    /// Key: the local and the remote address of the pair.
    checks: BTreeMap<(SocketAddr, SocketAddr), CheckCount>,
}

#[derive(Debug)]
struct Entry {
    kind: CandidateKind,
    address: Option<SocketAddr>,
    /// RFC 8445 base, the source address of packets sent from this candidate: `address`, except for
    /// reflexive candidates, whose base is a host address.
    base: Option<SocketAddr>,
    server: Option<ServerUri>,
    at: Option<u64>,
    /// Why the candidate cannot be used.
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct CheckCount {
    sent: u32,
    answered: u32,
    /// Our address as the other peer sees it.
    mapped: Option<SocketAddr>,
}

impl CandidateTable {
    /// Adds a candidate of ours.
    pub fn add_local(
        &mut self,
        kind: CandidateKind,
        address: SocketAddr,
        base: SocketAddr,
        server: Option<ServerUri>,
        at: u64,
    ) {
        self.local.push(Entry {
            kind,
            address: Some(address),
            base: Some(base),
            server,
            at: Some(at),
            failure: None,
        });
    }

    /// Adds a server that returned no candidate.
    pub fn add_failed(&mut self, server: ServerUri, failure: String, at: u64) {
        let kind = match server.relays {
            true => CandidateKind::Relay,
            false => CandidateKind::Srflx,
        };
        self.local.push(Entry {
            kind,
            address: None,
            base: None,
            server: Some(server),
            at: Some(at),
            failure: Some(failure),
        });
    }

    /// Adds a candidate of the other peer in the syntax of SDP; `failure` is why we cannot use it.
    pub fn add_remote(&mut self, text: &str, at: u64, failure: Option<String>) {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let address = |host: Option<&&str>, port: Option<&&str>| {
            Some(SocketAddr::new(
                host?.parse::<IpAddr>().ok()?,
                port?.parse().ok()?,
            ))
        };
        let address = address(fields.get(4), fields.get(5));
        let kind = fields
            .get(7)
            .and_then(|kind| CandidateKind::from_name(kind))
            .unwrap_or(CandidateKind::Host);
        if address.is_some()
            && self
                .remote
                .iter()
                .any(|entry| entry.address == address && entry.kind == kind)
        {
            return;
        }
        self.remote.push(Entry {
            kind,
            address,
            base: None,
            server: None,
            at: Some(at),
            failure,
        });
    }

    /// Counts a sent packet if it is a connectivity check.
    pub fn record_sent(&mut self, local: SocketAddr, remote: SocketAddr, octets: &[u8]) {
        if let Ok(message) = Message::parse(octets)
            && (message.class(), message.method()) == (Class::Request, Method::BINDING)
        {
            self.checks.entry((local, remote)).or_default().sent += 1;
        }
    }

    /// Counts a received packet if it answers a connectivity check.
    pub fn record_received(&mut self, local: SocketAddr, remote: SocketAddr, octets: &[u8]) {
        let Ok(message) = Message::parse(octets) else {
            return;
        };
        if (message.class(), message.method()) != (Class::Success, Method::BINDING) {
            return;
        }
        let count = self.checks.entry((local, remote)).or_default();
        count.answered += 1;
        let mapped = message.attribute(AttributeType::XOR_MAPPED_ADDRESS);
        count.mapped =
            mapped.and_then(|value| attribute::read_xor_address(value, &message.transaction()));
    }

    /// The path between these two addresses.
    pub fn path(&self, local: SocketAddr, remote: SocketAddr) -> CallPath {
        let relayed = |entries: &[Entry], address| {
            entries
                .iter()
                .any(|entry| entry.kind == CandidateKind::Relay && entry.address == Some(address))
        };
        if relayed(&self.local, local) || relayed(&self.remote, remote) {
            CallPath::Relay
        } else {
            CallPath::Direct
        }
    }

    /// The candidate pair with these addresses; `local` is the source address of our packets. The
    /// address that the other peer sees decides the type of our candidate (RFC 8445 §7.2.5.3).
    pub fn pair(&self, local: SocketAddr, remote: SocketAddr) -> SelectedPair {
        let seen = self
            .checks
            .get(&(local, remote))
            .and_then(|count| count.mapped)
            .unwrap_or(local);
        let ours = self.local.iter().filter(|entry| entry.base == Some(local));
        let (mut kind, mut server, mut address) = (CandidateKind::Prflx, None, seen);
        for entry in ours {
            if entry.kind == CandidateKind::Relay {
                (kind, server, address) = (entry.kind, entry.server.as_ref(), local);
                break;
            }
            if entry.address == Some(seen) && kind != CandidateKind::Host {
                kind = entry.kind;
            }
        }
        let remote_kind = self
            .remote
            .iter()
            .find(|entry| entry.address == Some(remote))
            .map_or(CandidateKind::Prflx, |entry| entry.kind);
        let local = PairEnd {
            kind,
            address,
            server: server.map(ToString::to_string),
            transport: server.map(|uri| uri.transport_or_udp().name()),
        };
        SelectedPair {
            local,
            remote: PairEnd {
                kind: remote_kind,
                address: remote,
                server: None,
                transport: None,
            },
        }
    }

    /// Every candidate with its fate. `selected` has the addresses of the selected pair; `refusal`
    /// returns the server's error response for a relayed address and a peer, if any.
    pub fn candidates(
        &self,
        selected: Option<(SocketAddr, SocketAddr)>,
        refusal: impl Fn(SocketAddr, IpAddr) -> Option<String>,
    ) -> Candidates {
        let pair = selected.map(|(local, remote)| self.pair(local, remote));
        let local = self.local.iter().map(|entry| {
            let is_selected = pair.as_ref().is_some_and(|pair| {
                entry.base == selected.map(|(local, _)| local)
                    && (entry.kind == pair.local.kind
                        || pair.local.kind == CandidateKind::Prflx
                            && entry.kind == CandidateKind::Host)
            });
            let pairs = self
                .checks
                .iter()
                .filter(|((local, _), _)| entry.base == Some(*local));
            let mut report = entry.report(is_selected, pairs.clone().map(|(_, count)| *count));
            let refused = pairs.filter_map(|((local, remote), _)| {
                let peer = remote.ip();
                refusal(*local, peer).map(|reason| format!("{reason} for {peer}"))
            });
            let mut refused: Vec<String> = refused.collect();
            refused.dedup();
            if report.fate != Fate::Selected && !refused.is_empty() {
                report.why = Some(refused.join(", "));
            }
            report
        });
        let remote = self.remote.iter().map(|entry| {
            let is_selected =
                entry.address.is_some() && entry.address == selected.map(|(_, remote)| remote);
            let pairs = self
                .checks
                .iter()
                .filter(|((_, remote), _)| entry.address == Some(*remote));
            entry.report(is_selected, pairs.map(|(_, count)| *count))
        });
        Candidates {
            local: local.collect(),
            remote: remote.collect(),
        }
    }

    /// All pairs that were checked.
    pub fn checks(&self) -> Vec<PairChecks> {
        let check = |(&(local, remote), count): (&(SocketAddr, SocketAddr), &CheckCount)| {
            let CheckCount { sent, answered, .. } = *count;
            PairChecks {
                local,
                remote,
                sent,
                answered,
            }
        };
        self.checks.iter().map(check).collect()
    }
}

impl Entry {
    fn report(
        &self,
        is_selected: bool,
        pairs: impl Iterator<Item = CheckCount>,
    ) -> CandidateReport {
        let (sent, answered) = pairs.fold((0, 0), |(sent, answered), count| {
            (sent + count.sent, answered + count.answered)
        });
        let fate = match self.failure {
            Some(_) => Fate::Failed,
            None if is_selected => Fate::Selected,
            None if sent > 0 && answered == 0 => Fate::Unanswered,
            None => Fate::Unused,
        };
        CandidateReport {
            kind: self.kind,
            address: self.address,
            server: self.server.as_ref().map(ToString::to_string),
            at: self.at,
            fate,
            why: self.failure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    const HOST: &str = "192.168.1.2:5000";
    const MAPPED: &str = "198.18.1.2:5000";
    const RELAYED: &str = "198.18.0.11:50000";
    const THEM: &str = "198.18.2.2:6000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn table() -> CandidateTable {
        let mut table = CandidateTable::default();
        table.add_local(CandidateKind::Host, address(HOST), address(HOST), None, 1);
        table.add_local(
            CandidateKind::Srflx,
            address(MAPPED),
            address(HOST),
            "stun:h".parse().ok(),
            2,
        );
        table.add_local(
            CandidateKind::Relay,
            address(RELAYED),
            address(RELAYED),
            "turn:h?transport=tcp".parse().ok(),
            3,
        );
        table.add_remote(
            "candidate:1 1 udp 1 198.18.2.2 6000 typ srflx raddr 0.0.0.0 rport 9",
            4,
            None,
        );
        table
    }

    fn check(table: &mut CandidateTable, local: &str, mapped: Option<&str>) {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, Method::BINDING, &[1; 12]).finish();
        table.record_sent(address(local), address(THEM), &out);
        if let Some(mapped) = mapped {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, Class::Success, Method::BINDING, &[1; 12]);
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address(mapped));
            table.record_received(address(local), address(THEM), &out);
        }
    }

    #[test]
    fn our_candidate_has_the_type_of_the_address_that_the_other_peer_sees() {
        for (mapped, kind) in [
            (HOST, CandidateKind::Host),
            (MAPPED, CandidateKind::Srflx),
            ("198.18.1.2:7", CandidateKind::Prflx),
        ] {
            let mut table = table();
            check(&mut table, HOST, Some(mapped));
            let pair = table.pair(address(HOST), address(THEM));
            assert_eq!(
                (pair.local.kind, pair.remote.kind),
                (kind, CandidateKind::Srflx),
                "{mapped}"
            );
            assert_eq!(table.path(address(HOST), address(THEM)), CallPath::Direct);
        }
    }

    #[test]
    fn a_relayed_candidate_names_its_server() {
        let table = table();
        let pair = table.pair(address(RELAYED), address(THEM));
        assert_eq!(
            (pair.local.kind, pair.local.transport),
            (CandidateKind::Relay, Some("tcp"))
        );
        assert_eq!(
            pair.local.server.as_deref(),
            Some("turn:h:3478?transport=tcp")
        );
        assert_eq!(table.path(address(RELAYED), address(THEM)), CallPath::Relay);
    }

    #[test]
    fn a_candidate_that_is_not_selected_has_a_reason() {
        let mut table = table();
        table.add_failed("turn:i".parse().unwrap(), "401 Unauthenticated".into(), 5);
        check(&mut table, HOST, None);
        check(&mut table, RELAYED, Some(RELAYED));
        let selected = Some((address(RELAYED), address(THEM)));
        let candidates = table.candidates(selected, |_, _| None);
        let fates: Vec<_> = candidates
            .local
            .iter()
            .map(|candidate| candidate.fate)
            .collect();
        assert_eq!(
            fates,
            [
                Fate::Unanswered,
                Fate::Unanswered,
                Fate::Selected,
                Fate::Failed
            ]
        );
        assert_eq!(candidates.remote[0].fate, Fate::Selected);
        let candidates = table.candidates(None, |local, _| {
            (local == address(RELAYED)).then(|| "403 Forbidden".to_owned())
        });
        assert_eq!(
            candidates.local[2].why.as_deref(),
            Some("403 Forbidden for 198.18.2.2")
        );
    }
}
