//! RFC 8489: the Binding method, and the rules for every message.

use crate::support::client::{Client, Packet};
use crate::support::codec::*;
use crate::support::process::Server;

/// RFC 8489 §6.3.1.1: "the server adds an XOR-MAPPED-ADDRESS attribute to the response; this
/// attribute contains the source transport address of the request message."
#[test]
fn binding_returns_the_source_address() {
    for mut client in Server::shared().each() {
        let request = Outgoing::request(BINDING);
        let answer = client.exchange(&request);
        assert_eq!(
            (answer.class, answer.method, answer.id),
            (SUCCESS, BINDING, request.id)
        );
        assert_eq!(answer.address(XOR_MAPPED_ADDRESS), Some(client.address));
    }
}

/// RFC 8489 §12: "It SHOULD NOT utilize the short-term or long-term credential mechanism."
#[test]
fn binding_requires_no_credentials_and_ignores_wrong_ones() {
    for mut client in Server::shared().both() {
        client.credentials = Some(Credentials::legacy(
            "unknown", "wrong", b"another", b"invalid",
        ));
        assert!(client.ask(Outgoing::request(BINDING)).is_success());
    }
}

/// RFC 8489 §6.3.1: "the server replies with an error response with an error code of 420 (Unknown
/// Attribute) and includes an UNKNOWN-ATTRIBUTES attribute in the response that lists the unknown
/// comprehension-required attributes."
#[test]
fn unknown_required_attributes_get_420_and_are_listed() {
    for mut client in Server::shared().each() {
        let request = Outgoing::request(BINDING)
            .with(Attribute::plain(0x7ff1, b"x"))
            .with(Attribute::plain(0xfff0, b"optional"))
            .with(Attribute::plain(0x7ff2, b""));
        let answer = client.exchange(&request);
        assert_eq!(answer.error(), Some(420));
        assert_eq!(answer.unknown(), [0x7ff1, 0x7ff2]);
    }
}

/// RFC 8489 §6.3.1 and §9.2.4: for an authenticated request, either order of the checks gives 420.
#[test]
fn unknown_required_attributes_in_an_authenticated_request_get_420() {
    for mut client in Server::shared().both() {
        client.allocate();
        let answer = client.ask(Outgoing::request(REFRESH).with(Attribute::plain(0x7ff1, b"xyz")));
        assert_eq!(answer.error(), Some(420));
        assert_eq!(answer.unknown(), [0x7ff1]);
        assert!(
            client.refresh(600).is_success(),
            "the allocation is as it was"
        );
    }
}

/// RFC 8489 §6.3: "Unknown comprehension-optional attributes MUST be ignored by the agent."
#[test]
fn unknown_optional_attributes_are_ignored() {
    for mut client in Server::shared().both() {
        let request = Outgoing::request(BINDING).with(Attribute::plain(0xfff0, b"whatever"));
        assert!(client.exchange(&request).is_success());
        client.login(
            crate::support::client::USER,
            crate::support::client::PASSWORD,
        );
        let request = Outgoing::allocate()
            .with(Attribute::plain(0xbfff, b"1"))
            .with(Attribute::plain(0xc000, b""));
        assert!(client.ask(request).is_success());
    }
}

/// RFC 8489 §6.3: "Known-but-unexpected attributes SHOULD be ignored by the agent."
#[test]
fn known_but_unexpected_attributes_are_ignored() {
    let mut client = Server::shared().udp();
    let request = Outgoing::request(BINDING)
        .with(Attribute::lifetime(5))
        .with(Attribute::channel(0x4000));
    assert!(client.exchange(&request).is_success());
}

/// RFC 8489 §6.3.2: "No response is generated for an indication."
#[test]
fn indications_are_never_answered() {
    for mut client in Server::shared().both() {
        client.send(&Outgoing::indication(BINDING));
        client.send(&Outgoing::indication(BINDING).with(Attribute::plain(0x7ff1, b"unknown")));
        client.send(&Outgoing::indication(SEND));
        client.send(&Outgoing::indication(DATA_METHOD).with(Attribute::data(b"?")));
        client.send(&Outgoing::indication(ALLOCATE).with(Attribute::transport(17)));
        client.send(&Outgoing::indication(REFRESH).with(Attribute::lifetime(0)));
        assert!(client.fence().is_empty());
    }
}

/// RFC 8489 §6.3: a response whose transaction is not in progress is discarded, and a server starts
/// none.
#[test]
fn responses_are_never_answered() {
    for mut client in Server::shared().both() {
        for class in [SUCCESS, ERROR] {
            for method in [BINDING, ALLOCATE, REFRESH] {
                client.send(&Outgoing {
                    class,
                    ..Outgoing::request(method)
                });
            }
        }
        assert!(client.fence().is_empty());
    }
}

/// RFC 8489 §6.3: the agent checks "that the method value is a supported method"; "If any errors
/// are detected, the message is silently discarded."
#[test]
fn requests_of_unknown_methods_are_discarded() {
    let mut client = Server::shared().udp();
    for method in [0x000, 0x002, 0x005, 0x0ff, 0xfff] {
        client.send(&Outgoing::request(method));
    }
    assert!(client.fence().is_empty());
}

/// RFC 8489 §6.3: a datagram that is not one whole STUN message. So are messages of RFC 3489,
/// which have no magic cookie.
#[test]
fn malformed_datagrams_are_discarded() {
    let mut client = Server::shared().udp();
    let good = Outgoing::request(BINDING)
        .with(Attribute::plain(SOFTWARE, b"test"))
        .encode(None);
    let mut bad = vec![
        vec![],
        vec![0],
        good[..19].to_vec(),
        good[..good.len() - 1].to_vec(),
    ];
    let mut without_cookie = good.clone();
    without_cookie[4] ^= 1;
    let mut long = good.clone();
    long.extend([0; 4]);
    let mut odd = good.clone();
    odd.push(0);
    odd[3] += 1;
    let mut beyond = good.clone();
    beyond[23] = 200;
    let mut type_bits = good.clone();
    type_bits[0] |= 0x80;
    bad.extend([without_cookie, long, odd, type_bits]);
    for octets in &bad {
        client.send_raw(octets);
    }
    let early = client.fence();
    assert!(early.is_empty(), "{early:?}");
    client.send_raw(&beyond);
    let early = client.fence();
    let refused = |p: &Packet| matches!(p, Packet::Stun(m) if m.error() == Some(400));
    assert!(
        early.iter().all(refused),
        "an attribute beyond the end is dropped or refused: {early:?}"
    );
}

/// RFC 8489 §14: "The padding bits MUST be set to zero on sending and MUST be ignored by the
/// receiver."
#[test]
fn padding_is_ignored() {
    for mut client in Server::shared().both() {
        client.login(
            crate::support::client::USER,
            crate::support::client::PASSWORD,
        );
        let request = Outgoing {
            padding: 0xa5,
            ..Outgoing::allocate().with(Attribute::plain(SOFTWARE, b"odd"))
        };
        let answer = client.ask(request);
        assert!(answer.is_success(), "{answer:?}");
    }
}

/// RFC 8489 §14: "The padding bits MUST be set to zero on sending".
#[test]
fn padding_is_sent_as_zero() {
    let mut client = Server::shared().udp();
    let answer = client.exchange(&Outgoing::allocate());
    for (index, (_, value)) in answer.attributes.iter().enumerate() {
        let from = answer.starts[index] + 4 + value.len();
        let to = answer.starts[index] + 4 + value.len().next_multiple_of(4);
        assert!(
            answer.octets[from..to].iter().all(|&b| b == 0),
            "{answer:?}"
        );
    }
}

/// RFC 8489 §14.7: and one with the right value is answered.
#[test]
fn a_message_with_a_wrong_fingerprint_is_discarded() {
    for mut client in Server::shared().both() {
        let mut wrong = Outgoing::request(BINDING).fingerprint().encode(None);
        *wrong.last_mut().unwrap() ^= 1;
        client.send_raw(&wrong);
        assert!(client.fence().is_empty());
        assert!(
            client
                .exchange(&Outgoing::request(BINDING).fingerprint())
                .is_success()
        );
    }
}

#[test]
fn a_request_with_fingerprint_gets_a_response_with_fingerprint() {
    for mut client in Server::shared().both() {
        assert!(
            client
                .exchange(&Outgoing::request(BINDING).fingerprint())
                .verify_fingerprint()
        );
        assert!(
            client
                .exchange(&Outgoing::allocate().fingerprint())
                .verify_fingerprint()
        );
        assert!(
            !client
                .exchange(&Outgoing::request(BINDING))
                .has(FINGERPRINT)
        );
        client.login(
            crate::support::client::USER,
            crate::support::client::PASSWORD,
        );
        let answer = client.ask(Outgoing::allocate().fingerprint());
        assert!(answer.is_success() && answer.verify_fingerprint());
        assert!(answer.verify_sha1(&client.credentials.as_ref().unwrap().key()));
    }
}

/// RFC 8489 §9: "agents MUST ignore all attributes that follow MESSAGE-INTEGRITY, with the
/// exception of the MESSAGE-INTEGRITY-SHA256 and FINGERPRINT attributes."
#[test]
fn attributes_after_the_integrity_are_ignored() {
    for mut client in Server::shared().both() {
        client.allocate();
        let answer = client.ask(
            Outgoing::request(REFRESH)
                .with(Attribute::lifetime(1000))
                .trailing(Attribute::lifetime(0))
                .trailing(Attribute::plain(0x7ff1, b"unknown"))
                .fingerprint(),
        );
        assert_eq!(answer.number(LIFETIME), Some(1000), "{answer:?}");
        let answer = client.ask(Outgoing::request(REFRESH).trailing(Attribute::lifetime(3000)));
        assert_eq!(answer.number(LIFETIME), Some(600), "{answer:?}");
    }
}

/// RFC 8489 §14.7: "When present, the FINGERPRINT attribute MUST be the last attribute in the
/// message".
#[test]
fn an_attribute_after_fingerprint_makes_the_message_malformed() {
    let mut client = Server::shared().udp();
    let mut octets = Outgoing::request(BINDING).fingerprint().encode(None);
    octets.extend([0x80, 0x22, 0, 0]);
    set_length(&mut octets, 0);
    client.send_raw(&octets);
    let refused = |p: &Packet| matches!(p, Packet::Stun(m) if m.error() == Some(400));
    assert!(client.fence().iter().all(refused));
}

/// RFC 8489 §14: "Any attribute type MAY appear more than once in a STUN message. Unless specified
/// otherwise, the order of appearance is significant: only the first occurrence needs to be
/// processed by a receiver".
#[test]
fn the_first_of_a_repeated_attribute_counts() {
    let mut client = Server::shared().udp();
    client.allocate();
    let answer = client.ask(
        Outgoing::request(REFRESH)
            .with(Attribute::lifetime(1000))
            .with(Attribute::lifetime(0)),
    );
    assert_eq!(answer.number(LIFETIME), Some(1000));
    assert!(client.refresh(600).is_success());
}

/// RFC 8489 §14.1: "The first 8 bits of the MAPPED-ADDRESS MUST be set to 0 and MUST be ignored by
/// receivers."
#[test]
fn the_first_octet_of_an_address_is_zero_and_ignored() {
    let mut client = Server::shared().udp();
    client.allocate();
    let answer = client.exchange(&Outgoing::request(BINDING));
    assert_eq!(answer.get(XOR_MAPPED_ADDRESS).unwrap()[0], 0);
    let cookie = COOKIE.to_be_bytes();
    let mut value = vec![0xff, 1, cookie[0], cookie[1]];
    value.extend(
        [127, 0, 0, 1]
            .iter()
            .zip(cookie)
            .map(|(a, b): (&u8, u8)| a ^ b),
    );
    let request =
        Outgoing::request(CREATE_PERMISSION).with(Attribute::plain(XOR_PEER_ADDRESS, &value));
    assert!(client.ask(request).is_success());
}

/// RFC 8489 §14.8: class between 3 and 6, number below 100, reason phrase in UTF-8 of fewer than
/// 128 characters, reserved bits 0.
#[test]
fn error_codes_are_well_formed() {
    let mut client = Server::shared().udp();
    let unknown = client.exchange(&Outgoing::request(BINDING).with(Attribute::plain(0x7ff1, b"")));
    let challenge = client.exchange(&Outgoing::allocate());
    for answer in [unknown, challenge] {
        let value = answer.get(ERROR_CODE).unwrap();
        assert_eq!(&value[..2], [0, 0]);
        assert!((3..=6).contains(&value[2]) && value[3] < 100);
        assert!(std::str::from_utf8(&value[4..]).unwrap().chars().count() < 128);
    }
}

/// RFC 8489 §6.3.1.2: the response goes to the source of the request, also with many clients.
#[test]
fn each_client_gets_its_own_response() {
    let server = Server::shared();
    let mut clients: Vec<Client> = (0..20)
        .map(|i| {
            if i % 2 == 0 {
                server.udp()
            } else {
                server.tcp()
            }
        })
        .collect();
    let requests: Vec<Outgoing> = clients.iter().map(|_| Outgoing::request(BINDING)).collect();
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.send(request);
    }
    for (client, request) in clients.iter_mut().zip(&requests) {
        assert_eq!(
            client.answer(request.id).address(XOR_MAPPED_ADDRESS),
            Some(client.address)
        );
    }
}

/// RFC 8489 §6.3.1: a retransmitted Binding request is answered again, with the same answer.
#[test]
fn a_retransmitted_binding_gets_the_same_response() {
    let mut client = Server::shared().udp();
    let request = Outgoing::request(BINDING);
    assert_eq!(
        client.exchange(&request).octets,
        client.exchange(&request).octets
    );
}

/// A wrong or malformed packet is dropped or answered, is logged at debug level at most, and never
/// panics.
#[test]
fn garbage_is_dropped_without_harm() {
    let server = Server::shared();
    let mut client = server.udp();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seeds = [
        Outgoing::allocate()
            .with(Attribute::even_port(true))
            .fingerprint()
            .encode(None),
        Outgoing::indication(SEND)
            .with(Attribute::peer(client.server))
            .with(Attribute::data(b"payload"))
            .encode(None),
        channel_data(0x4001, b"payload", true),
    ];
    for round in 0..3000 {
        let mut octets = seeds[round % seeds.len()].clone();
        for _ in 0..=next() % 4 {
            let at = next() as usize % octets.len();
            octets[at] = next() as u8;
        }
        octets.truncate(next() as usize % 80);
        client.socket().send_to(&octets, client.server).unwrap();
        if round % 64 == 0 {
            while client
                .receive_within(std::time::Duration::from_millis(1))
                .is_some()
            {}
        }
    }
    while client
        .receive_within(std::time::Duration::from_millis(50))
        .is_some()
    {}
    assert!(client.exchange(&Outgoing::request(BINDING)).is_success());
}
