//! What is known of every candidate and pair of a call: where it came from, what was sent and answered on it, and so why it was taken or not.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::client::uri::ServerUri;
use crate::peer::verdict::{Candidate, Candidates, Checks, End, Fate, Kind, Pair, Path};
use crate::wire::{AttributeType, Class, Message, Method, attribute};

/// All candidates and checks of one call.
#[derive(Debug, Default)]
pub struct Ledger {
    local: Vec<Entry>,
    remote: Vec<Entry>,
    checks: BTreeMap<(SocketAddr, SocketAddr), Count>,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    address: Option<SocketAddr>,
    /// The address that packets of it leave from: itself, or the host address of a reflexive one.
    base: Option<SocketAddr>,
    url: Option<ServerUri>,
    at: Option<u64>,
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sent: u32,
    answered: u32,
    /// Our address as the other end saw it.
    mapped: Option<SocketAddr>,
}

impl Ledger {
    /// Notes a candidate of ours: its type, its address, the address it sends from, and the server it came from.
    pub fn local(
        &mut self,
        kind: Kind,
        address: SocketAddr,
        base: SocketAddr,
        url: Option<ServerUri>,
        at: u64,
    ) {
        self.local.push(Entry {
            kind,
            address: Some(address),
            base: Some(base),
            url,
            at: Some(at),
            why: None,
        });
    }

    /// Notes a server that gave no candidate.
    pub fn nothing(&mut self, url: ServerUri, why: String, at: u64) {
        let kind = if url.relays { Kind::Relay } else { Kind::Srflx };
        self.local.push(Entry {
            kind,
            address: None,
            base: None,
            url: Some(url),
            at: Some(at),
            why: Some(why),
        });
    }

    /// Notes a candidate of theirs, as SDP writes it; `why` says that we cannot use it.
    pub fn remote(&mut self, text: &str, at: u64, why: Option<String>) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let address = |host: Option<&&str>, port: Option<&&str>| {
            Some(SocketAddr::new(
                host?.parse::<IpAddr>().ok()?,
                port?.parse().ok()?,
            ))
        };
        let address = address(words.get(4), words.get(5));
        let kind = words
            .get(7)
            .and_then(|kind| Kind::from_name(kind))
            .unwrap_or(Kind::Host);
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
            url: None,
            at: Some(at),
            why,
        });
    }

    /// Notes what leaves, if it is a connectivity check.
    pub fn sent(&mut self, local: SocketAddr, remote: SocketAddr, octets: &[u8]) {
        if let Ok(message) = Message::parse(octets)
            && (message.class(), message.method()) == (Class::Request, Method::BINDING)
        {
            self.checks.entry((local, remote)).or_default().sent += 1;
        }
    }

    /// Notes what came in, if it is the answer to a check.
    pub fn received(&mut self, local: SocketAddr, remote: SocketAddr, octets: &[u8]) {
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

    /// Which way packets between these two addresses go.
    pub fn path(&self, local: SocketAddr, remote: SocketAddr) -> Path {
        let relayed = |entries: &[Entry], address| {
            entries
                .iter()
                .any(|entry| entry.kind == Kind::Relay && entry.address == Some(address))
        };
        if relayed(&self.local, local) || relayed(&self.remote, remote) {
            Path::Relay
        } else {
            Path::Direct
        }
    }

    /// The two ends of the pair between these addresses, `local` being the address that packets leave from. RFC 8445 §7.2.5.3: our end's type is that
    /// of the address that the other end saw.
    pub fn pair(&self, local: SocketAddr, remote: SocketAddr) -> Pair {
        let seen = self
            .checks
            .get(&(local, remote))
            .and_then(|count| count.mapped)
            .unwrap_or(local);
        let ours = self.local.iter().filter(|entry| entry.base == Some(local));
        let (mut kind, mut url, mut address) = (Kind::Prflx, None, seen);
        for entry in ours {
            if entry.kind == Kind::Relay {
                (kind, url, address) = (Kind::Relay, entry.url.as_ref(), local);
                break;
            }
            if entry.address == Some(seen) && kind != Kind::Host {
                kind = entry.kind;
            }
        }
        let theirs = self
            .remote
            .iter()
            .find(|entry| entry.address == Some(remote))
            .map_or(Kind::Prflx, |entry| entry.kind);
        let local = End {
            kind,
            address,
            server: url.map(ToString::to_string),
            transport: url.map(|url| url.transport_or_udp().name()),
        };
        Pair {
            local,
            remote: End {
                kind: theirs,
                address: remote,
                server: None,
                transport: None,
            },
        }
    }

    /// Every candidate with its fate. `selected` are the addresses of the selected pair, `refusal` what a server said to a peer's address.
    pub fn candidates(
        &self,
        selected: Option<(SocketAddr, SocketAddr)>,
        refusal: impl Fn(SocketAddr, IpAddr) -> Option<String>,
    ) -> Candidates {
        let ends = selected.map(|(local, remote)| self.pair(local, remote));
        let local = self.local.iter().map(|entry| {
            let is_selected = ends.as_ref().is_some_and(|pair| {
                entry.base == selected.map(|(local, _)| local)
                    && (entry.kind == pair.local.kind
                        || pair.local.kind == Kind::Prflx && entry.kind == Kind::Host)
            });
            let pairs = self
                .checks
                .iter()
                .filter(|((local, _), _)| entry.base == Some(*local));
            let mut told = entry.tell(is_selected, pairs.clone().map(|(_, count)| *count));
            let refused = pairs.filter_map(|((local, remote), _)| {
                refusal(*local, remote.ip()).map(|why| (remote.ip(), why))
            });
            let mut refused: Vec<String> = refused
                .map(|(peer, why)| format!("{why} for {peer}"))
                .collect();
            refused.dedup();
            if told.fate != Fate::Selected && !refused.is_empty() {
                told.why = Some(refused.join(", "));
            }
            told
        });
        let remote = self.remote.iter().map(|entry| {
            let is_selected =
                entry.address.is_some() && entry.address == selected.map(|(_, remote)| remote);
            let pairs = self
                .checks
                .iter()
                .filter(|((_, remote), _)| entry.address == Some(*remote));
            entry.tell(is_selected, pairs.map(|(_, count)| *count))
        });
        Candidates {
            local: local.collect(),
            remote: remote.collect(),
        }
    }

    /// All pairs that were checked.
    pub fn checks(&self) -> Vec<Checks> {
        let check = |(&(local, remote), count): (&(SocketAddr, SocketAddr), &Count)| {
            let Count { sent, answered, .. } = *count;
            Checks {
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
    fn tell(&self, selected: bool, pairs: impl Iterator<Item = Count>) -> Candidate {
        let (sent, answered) = pairs.fold((0, 0), |(sent, answered), count| {
            (sent + count.sent, answered + count.answered)
        });
        let fate = match self.why {
            Some(_) => Fate::Failed,
            None if selected => Fate::Selected,
            None if sent > 0 && answered == 0 => Fate::Unanswered,
            None => Fate::Unused,
        };
        Candidate {
            kind: self.kind,
            address: self.address,
            server: self.url.as_ref().map(ToString::to_string),
            at: self.at,
            fate,
            why: self.why.clone(),
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

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.local(Kind::Host, address(HOST), address(HOST), None, 1);
        ledger.local(
            Kind::Srflx,
            address(MAPPED),
            address(HOST),
            "stun:h".parse().ok(),
            2,
        );
        ledger.local(
            Kind::Relay,
            address(RELAYED),
            address(RELAYED),
            "turn:h?transport=tcp".parse().ok(),
            3,
        );
        ledger.remote(
            "candidate:1 1 udp 1 198.18.2.2 6000 typ srflx raddr 0.0.0.0 rport 9",
            4,
            None,
        );
        ledger
    }

    fn check(ledger: &mut Ledger, local: &str, mapped: Option<&str>) {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, Method::BINDING, &[1; 12]).finish();
        ledger.sent(address(local), address(THEM), &out);
        if let Some(mapped) = mapped {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, Class::Success, Method::BINDING, &[1; 12]);
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address(mapped));
            ledger.received(address(local), address(THEM), &out);
        }
    }

    #[test]
    fn our_end_is_of_the_type_that_the_other_saw() {
        for (mapped, kind) in [
            (HOST, Kind::Host),
            (MAPPED, Kind::Srflx),
            ("198.18.1.2:7", Kind::Prflx),
        ] {
            let mut ledger = ledger();
            check(&mut ledger, HOST, Some(mapped));
            let pair = ledger.pair(address(HOST), address(THEM));
            assert_eq!(
                (pair.local.kind, pair.remote.kind),
                (kind, Kind::Srflx),
                "{mapped}"
            );
            assert_eq!(ledger.path(address(HOST), address(THEM)), Path::Direct);
        }
    }

    #[test]
    fn a_relayed_end_names_its_server() {
        let ledger = ledger();
        let pair = ledger.pair(address(RELAYED), address(THEM));
        assert_eq!(
            (pair.local.kind, pair.local.transport),
            (Kind::Relay, Some("tcp"))
        );
        assert_eq!(
            pair.local.server.as_deref(),
            Some("turn:h:3478?transport=tcp")
        );
        assert_eq!(ledger.path(address(RELAYED), address(THEM)), Path::Relay);
    }

    #[test]
    fn fates_tell_why() {
        let mut ledger = ledger();
        ledger.nothing("turn:i".parse().unwrap(), "401 Unauthenticated".into(), 5);
        check(&mut ledger, HOST, None);
        check(&mut ledger, RELAYED, Some(RELAYED));
        let selected = Some((address(RELAYED), address(THEM)));
        let told = ledger.candidates(selected, |_, _| None);
        let fates: Vec<_> = told.local.iter().map(|candidate| candidate.fate).collect();
        assert_eq!(
            fates,
            [
                Fate::Unanswered,
                Fate::Unanswered,
                Fate::Selected,
                Fate::Failed
            ]
        );
        assert_eq!(told.remote[0].fate, Fate::Selected);
        let told = ledger.candidates(None, |local, _| {
            (local == address(RELAYED)).then(|| "403 Forbidden".to_owned())
        });
        assert_eq!(
            told.local[2].why.as_deref(),
            Some("403 Forbidden for 198.18.2.2")
        );
    }
}
