//! The cookie exchange and an association, against the client of the same library.

use crate::net::dtls::cookie::Version;
use crate::net::dtls::{Association, CookieCheck, DtlsServer, Event};
use crate::net::tls::server::TlsOptions;
use crate::net::{Certificate, TlsServer};
use dimpl::Output;
use rcgen::{CertificateParams, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const VERSIONS: [Version; 2] = [Version::Dtls12, Version::Dtls13];
const CLIENT: &str = "192.0.2.1:4000";
const OTHER_CLIENT: &str = "192.0.2.3:4000";
const SERVER: &str = "192.0.2.2:3478";

fn server() -> DtlsServer {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["relay.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let certificate = Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let tls = TlsServer::new(vec![Arc::new(certificate)], TlsOptions::default()).unwrap();
    DtlsServer::new(Arc::new(tls), Duration::from_secs(10)).unwrap()
}

/// Checks a datagram from a client at a number of seconds.
fn check<'a>(
    server: &DtlsServer,
    datagram: &'a [u8],
    client: &str,
    seconds: u64,
) -> CookieCheck<'a> {
    let [client, own]: [SocketAddr; 2] = [client, SERVER].map(|text| text.parse().unwrap());
    server.check_cookie(datagram, client, own, Duration::from_secs(seconds))
}

fn client(version: Version, now: Instant) -> dimpl::Dtls {
    let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
    let config = Arc::new(dimpl::Config::default());
    let mut client = match version {
        Version::Dtls12 => dimpl::Dtls::new_12(config, certificate, now),
        Version::Dtls13 => dimpl::Dtls::new_13(config, certificate, now),
    };
    client.set_active(true);
    client.handle_timeout(now).unwrap();
    client
}

#[derive(Default)]
struct Outputs {
    datagrams: Vec<Vec<u8>>,
    data: Vec<Vec<u8>>,
    connected: bool,
}

fn client_outputs(client: &mut dimpl::Dtls) -> Outputs {
    let mut outputs = Outputs::default();
    let mut scratch = vec![0; 20_000];
    loop {
        match client.poll_output(&mut scratch) {
            Output::Packet(packet) => outputs.datagrams.push(packet.to_vec()),
            Output::ApplicationData(data) => outputs.data.push(data.to_vec()),
            Output::Connected => outputs.connected = true,
            Output::Timeout(_) => return outputs,
            _ => {}
        }
    }
}

fn first_datagram(client: &mut dimpl::Dtls) -> Vec<u8> {
    client_outputs(client).datagrams.remove(0)
}

fn association_outputs(association: &mut Association) -> Outputs {
    let mut outputs = Outputs::default();
    let mut scratch = Vec::new();
    loop {
        match association.poll(&mut scratch) {
            Event::Send(packet) => outputs.datagrams.push(packet.to_vec()),
            Event::Data(data) => outputs.data.push(data.to_vec()),
            Event::Connected => outputs.connected = true,
            Event::Closed => panic!("the association has ended"),
            Event::WaitUntil(_) => return outputs,
        }
    }
}

fn handshake(version: Version) -> (Association, dimpl::Dtls, Instant) {
    let (server, now) = (server(), Instant::now());
    let mut client = client(version, now);
    let mut association: Option<Association> = None;
    let (mut replies, mut client_connected) = (0, false);
    for _ in 0..20 {
        let outputs = client_outputs(&mut client);
        client_connected |= outputs.connected;
        if client_connected && association.as_ref().is_some_and(Association::is_connected) {
            assert_eq!(replies, 1, "round trips for the cookie");
            return (association.unwrap(), client, now);
        }
        for datagram in outputs.datagrams {
            let answers = match &mut association {
                Some(association) => {
                    association.receive(&datagram, now).unwrap();
                    association_outputs(association).datagrams
                }
                None => match check(&server, &datagram, CLIENT, 0) {
                    CookieCheck::Reply(reply) => {
                        assert!(reply.len() <= datagram.len());
                        replies += 1;
                        vec![reply]
                    }
                    CookieCheck::Verified(hello) => {
                        assert_eq!(hello.version(), version);
                        let mut accepted = server.accept(&hello, now).unwrap();
                        assert!(accepted.began_with_hello(&hello));
                        let answers = association_outputs(&mut accepted).datagrams;
                        association = Some(accepted);
                        answers
                    }
                    CookieCheck::Discard => panic!("the hello was discarded"),
                },
            };
            for answer in answers {
                client.handle_packet(&answer).unwrap();
            }
        }
    }
    panic!("the handshake did not complete");
}

#[test]
fn both_versions_connect_after_one_cookie_and_carry_data_both_ways() {
    for version in VERSIONS {
        let (mut association, mut client, now) = handshake(version);
        client.send_application_data(b"to the server").unwrap();
        for datagram in client_outputs(&mut client).datagrams {
            association.receive(&datagram, now).unwrap();
            // A replay, which must be discarded.
            association.receive(&datagram, now).unwrap();
            let data = association_outputs(&mut association).data;
            assert_eq!(data, [b"to the server"], "{version:?}");
        }
        association.send(&[7; 1_400]).unwrap();
        for datagram in association_outputs(&mut association).datagrams {
            client.handle_packet(&datagram).unwrap();
        }
        let data = client_outputs(&mut client).data;
        assert_eq!(data, [vec![7; 1_400]], "{version:?}");
    }
}

/// RFC 6347 §4.1.2.7: invalid records are discarded. Otherwise anyone who can forge an address
/// could end an association. (The library accepts a record whose version field was changed. The
/// data then come from the changed copy, and the original is the replay.)
#[test]
fn forged_records_neither_end_an_association_nor_add_data() {
    for version in VERSIONS {
        let (mut association, mut client, now) = handshake(version);
        client.send_application_data(b"to the server").unwrap();
        let record = first_datagram(&mut client);
        let mut data = Vec::new();
        for bit in 0..record.len() * 8 {
            let mut forged = record.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            for forged in [&forged[..], &forged[..bit / 8]] {
                association.receive(forged, now).unwrap();
                data.extend(association_outputs(&mut association).data);
            }
        }
        association.receive(&record, now).unwrap();
        data.extend(association_outputs(&mut association).data);
        assert_eq!(data, [b"to the server"], "{version:?}");
        client.send_application_data(b"and on").unwrap();
        let record = first_datagram(&mut client);
        association.receive(&record, now).unwrap();
        let data = association_outputs(&mut association).data;
        assert_eq!(data, [b"and on"], "{version:?}");
    }
}

#[test]
fn a_cookie_is_valid_for_one_hello_of_one_client_for_one_to_two_minutes() {
    for version in VERSIONS {
        let (server, now) = (server(), Instant::now());
        let mut client = client(version, now);
        let first = first_datagram(&mut client);
        let CookieCheck::Reply(reply) = check(&server, &first, CLIENT, 0) else {
            panic!("no reply")
        };
        client.handle_packet(&reply).unwrap();
        let second = first_datagram(&mut client);
        let is_verified = |datagram: &[u8], client, seconds| {
            let check = check(&server, datagram, client, seconds);
            matches!(check, CookieCheck::Verified(_))
        };
        for (seconds, expected) in [(0, true), (119, true), (121, false)] {
            let verified = is_verified(&second, CLIENT, seconds);
            assert_eq!(verified, expected, "{version:?} {seconds}");
        }
        assert!(!is_verified(&second, OTHER_CLIENT, 0), "{version:?}");
        let mut changed = second.clone();
        // The last octet of the client's random.
        changed[25 + 33] ^= 1;
        assert!(!is_verified(&changed, CLIENT, 0), "{version:?}");
    }
}

#[test]
fn truncated_hellos_are_discarded_and_no_reply_is_longer_than_its_hello() {
    let server = server();
    let hello = first_datagram(&mut client(Version::Dtls12, Instant::now()));
    for end in 0..hello.len() {
        let check = check(&server, &hello[..end], CLIENT, 0);
        assert!(matches!(check, CookieCheck::Discard), "{end}");
    }
    for bit in 0..hello.len() * 8 {
        let mut changed = hello.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let CookieCheck::Reply(reply) = check(&server, &changed, CLIENT, 0) {
            assert!(reply.len() <= changed.len());
        }
    }
}
