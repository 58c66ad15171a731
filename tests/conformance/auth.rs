//! RFC 8489 §9.2: long-term credentials as in RFC 5389, and time-limited credentials of the TURN
//! REST convention.

use crate::support::client::{Client, PASSWORD, USER};
use crate::support::codec::*;
use crate::support::process::{
    OLD_SECRET, OTHER_PASSWORD, OTHER_USER, REALM_NAME, SECRET, Server, Setup,
};
use base64::Engine;
use std::time::{SystemTime, UNIX_EPOCH};

/// RFC 8489 §9.2.4: "If the message does not contain a MESSAGE-INTEGRITY or
/// MESSAGE-INTEGRITY-SHA256 attribute, the server MUST generate an error response with an error
/// code of 401 (Unauthenticated)."
#[test]
fn a_request_without_integrity_is_challenged() {
    for mut client in Server::shared().each() {
        for method in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
            let answer = client.exchange(&Outgoing::request(method));
            assert_eq!((answer.error(), answer.method), (Some(401), method));
            assert_eq!(answer.get(REALM), Some(REALM_NAME.as_bytes()));
            assert!(
                answer
                    .get(NONCE)
                    .is_some_and(|n| !n.is_empty() && n.len() < 128)
            );
        }
    }
}

/// RFC 8489 §9.2.4: "The response SHOULD NOT contain a USERNAME, USERHASH, MESSAGE-INTEGRITY, or
/// MESSAGE-INTEGRITY-SHA256 attribute."
#[test]
fn a_challenge_has_no_username_and_no_integrity() {
    let mut client = Server::shared().udp();
    let answer = client.exchange(&Outgoing::allocate());
    for kind in [
        USERNAME,
        USERHASH,
        MESSAGE_INTEGRITY,
        MESSAGE_INTEGRITY_SHA256,
    ] {
        assert!(!answer.has(kind));
    }
}

/// RFC 8489 §9.2.4: "The server MUST NOT choose the same NONCE for two requests unless they have
/// the same source IP address and port."
#[test]
fn nonces_differ_between_clients() {
    let server = Server::shared();
    let mut nonces: Vec<Vec<u8>> = (0..8)
        .map(|_| {
            server
                .udp()
                .exchange(&Outgoing::allocate())
                .get(NONCE)
                .unwrap()
                .to_vec()
        })
        .collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 8);
}

/// RFC 8489 §9.2.4: "If the resulting value does not match the contents of the MESSAGE-INTEGRITY
/// attribute [...] This response MUST use an error code of 401 (Unauthenticated). It MUST include
/// the REALM and NONCE attributes".
#[test]
fn a_wrong_password_gets_401() {
    for mut client in Server::shared().both() {
        client.login(USER, "not the password");
        let answer = client.ask(Outgoing::allocate());
        assert_eq!(answer.error(), Some(401));
        assert!(answer.has(REALM) && answer.has(NONCE));
        for kind in [
            USERNAME,
            USERHASH,
            MESSAGE_INTEGRITY,
            MESSAGE_INTEGRITY_SHA256,
        ] {
            assert!(!answer.has(kind));
        }
    }
}

/// RFC 8489 §9.2.4: "If the value of the USERNAME or USERHASH attribute is not valid, the server
/// MUST generate an error response with an error code of 401 (Unauthenticated)."
#[test]
fn an_unknown_user_gets_401() {
    let mut client = Server::shared().udp();
    for name in ["mallory", "", "alice\0", &"a".repeat(508)] {
        client.login(name, PASSWORD);
        let answer = client.ask(Outgoing::allocate());
        assert_eq!(answer.error(), Some(401), "{name:?}");
        assert!(answer.has(REALM) && answer.has(NONCE));
    }
}

/// RFC 8489 §14.3: "A compliant implementation MUST be able to parse a UTF-8-encoded sequence of
/// 763 or fewer octets".
#[test]
fn a_username_of_763_octets_gets_401() {
    let mut client = Server::shared().udp();
    for length in [509, 512, 513, 762, 763] {
        client.login(&"ü".repeat(length / 2), PASSWORD);
        let answer = client.ask(Outgoing::allocate());
        assert_eq!(answer.error(), Some(401), "{length} octets");
    }
}

/// The responses have the same attributes, so that they do not reveal which usernames exist.
#[test]
fn a_wrong_password_gets_the_same_response_as_an_unknown_user() {
    let mut client = Server::shared().udp();
    let mut shape = |name: &str| {
        client.login(name, "guess");
        let answer = client.ask(Outgoing::allocate());
        let kinds: Vec<u16> = answer.attributes.iter().map(|a| a.0).collect();
        (answer.get(ERROR_CODE).map(<[u8]>::to_vec), kinds)
    };
    assert_eq!(shape(USER), shape("mallory"));
}

/// RFC 8489 §9.2.4: integrity without "either the USERNAME or USERHASH, REALM, or NONCE attribute"
/// gets 400, and "This response SHOULD NOT include a USERNAME, USERHASH, NONCE, or REALM".
#[test]
fn integrity_without_name_realm_or_nonce_gets_400() {
    for mut client in Server::shared().both() {
        client.login(USER, PASSWORD);
        let credentials = client.credentials.clone().unwrap();
        let parts = [
            Attribute::plain(USERNAME, &credentials.username),
            Attribute::plain(REALM, &credentials.realm),
            Attribute::plain(NONCE, &credentials.nonce),
        ];
        for missing in 0..parts.len() {
            let mut request = Outgoing::allocate();
            let rest = parts
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != missing)
                .map(|(_, a)| a.clone());
            request.attributes.extend(rest);
            let mut octets = request.encode(None);
            append_sha1(&mut octets, &credentials.key());
            let answer = client.ask_raw(&octets);
            assert_eq!(answer.error(), Some(400), "without part {missing}");
            for kind in [USERNAME, USERHASH, NONCE, REALM, MESSAGE_INTEGRITY] {
                assert!(!answer.has(kind), "{kind:#x} in {answer:?}");
            }
        }
    }
}

/// RFC 8489 §9.2.4: "If the NONCE is no longer valid, the server MUST generate an error response
/// with an error code of 438 (Stale Nonce). This response MUST include NONCE, REALM"; the new one
/// works.
#[test]
fn an_invalid_nonce_gets_438_with_a_valid_one() {
    for mut client in Server::shared().both() {
        client.login(USER, PASSWORD);
        let good = client.credentials.clone().unwrap();
        let mut flipped = good.nonce.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for nonce in [b"made up".to_vec(), vec![], vec![b'x'; 400], flipped] {
            client.credentials = Some(Credentials {
                nonce,
                ..good.clone()
            });
            let answer = client.ask(Outgoing::allocate());
            assert_eq!(answer.error(), Some(438), "{answer:?}");
            assert!(answer.has(REALM) && !answer.has(USERNAME));
            let fresh = answer.get(NONCE).unwrap().to_vec();
            client.credentials = Some(Credentials {
                nonce: fresh,
                ..good.clone()
            });
            assert!(
                client.refresh(0).error() == Some(437),
                "the new nonce is valid"
            );
        }
    }
}

/// A nonce is bound to the address and port of the client that received it.
#[test]
fn a_nonce_of_another_address_gets_438() {
    let server = Server::shared();
    let mut one = server.udp();
    let mut two = server.udp();
    one.login(USER, PASSWORD);
    two.credentials = one.credentials.clone();
    assert_eq!(two.ask(Outgoing::allocate()).error(), Some(438));
    assert!(one.ask(Outgoing::allocate()).is_success());
}

/// RFC 8656 §7.2: "the server MUST require that the request be authenticated", so a wrong password
/// is refused before the nonce is looked at (RFC 8489 §9.2.4 lists the checks in this order).
#[test]
fn a_wrong_password_with_a_stale_nonce_gets_401() {
    let mut client = Server::shared().udp();
    client.credentials = Some(Credentials::legacy(
        USER,
        "wrong",
        REALM_NAME.as_bytes(),
        b"stale",
    ));
    assert_eq!(client.ask(Outgoing::allocate()).error(), Some(401));
}

/// RFC 8489 §9.2.4: "In that case, the MESSAGE-INTEGRITY attribute MUST be used [...] and the
/// REALM, NONCE, USERNAME, and USERHASH attributes SHOULD NOT be included."
#[test]
fn responses_to_authenticated_requests_have_integrity() {
    for mut client in Server::shared().both() {
        client.login(USER, PASSWORD);
        let key = client.credentials.as_ref().unwrap().key();
        let refused = client.ask(Outgoing::request(ALLOCATE));
        let granted = client.ask(Outgoing::allocate());
        let mismatch = client.ask(Outgoing::allocate());
        let codes = [refused.error(), granted.error(), mismatch.error()];
        assert_eq!(codes, [Some(400), None, Some(437)]);
        for answer in [refused, granted, mismatch] {
            assert!(answer.verify_sha1(&key), "{answer:?}");
            for kind in [USERNAME, USERHASH, NONCE, REALM, MESSAGE_INTEGRITY_SHA256] {
                assert!(!answer.has(kind), "{kind:#x} in {answer:?}");
            }
        }
    }
}

/// RFC 8656 §5: a request that "does not use the same username as used to create the allocation
/// [...] MUST be rejected with a 441 (Wrong Credentials) error."
#[test]
fn another_user_on_the_same_allocation_gets_441() {
    for mut client in Server::shared().both() {
        client.allocate();
        let owner = client.credentials.clone();
        client.login_without_allocating(OTHER_USER, OTHER_PASSWORD);
        let peer = "127.0.0.1:9".parse().unwrap();
        assert_eq!(client.refresh(0).error(), Some(441));
        assert_eq!(client.try_permit(peer).error(), Some(441));
        assert_eq!(client.try_bind(0x4000, peer).error(), Some(441));
        client.credentials = owner;
        assert!(client.refresh(600).is_success(), "the owner still has it");
    }
}

/// RFC 8656 §5: "All requests after the initial Allocate must use the same username": a wrong
/// password of the owner is 401, not 441.
#[test]
fn the_owner_with_a_wrong_password_gets_401() {
    let mut client = Server::shared().udp();
    client.allocate();
    client.credentials.as_mut().unwrap().password = b"wrong".to_vec();
    assert_eq!(client.refresh(0).error(), Some(401));
}

/// The key includes the realm, and the server has keys for its own realms only.
#[test]
fn another_realm_gets_401() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    client.credentials.as_mut().unwrap().realm = b"elsewhere".to_vec();
    assert_eq!(client.ask(Outgoing::allocate()).error(), Some(401));
}

/// The TURN REST convention: username `expiry:name` or `expiry`, password base64(HMAC-SHA1(secret,
/// username)).
#[test]
fn time_limited_credentials_are_accepted_until_they_expire() {
    for name in [
        format!("{}:carol", in_seconds(60)),
        in_seconds(60).to_string(),
    ] {
        let mut client = Server::shared().udp();
        client.login(&name, &rest_password(SECRET, &name));
        assert!(client.ask(Outgoing::allocate()).is_success(), "{name}");
    }
}

#[test]
fn expired_credentials_get_401() {
    for name in [
        format!("{}:carol", in_seconds(-5)),
        in_seconds(-5).to_string(),
        "0:carol".into(),
        "1".into(),
    ] {
        let mut client = Server::shared().udp();
        client.login(&name, &rest_password(SECRET, &name));
        assert_eq!(
            client.ask(Outgoing::allocate()).error(),
            Some(401),
            "{name}"
        );
    }
}

#[test]
fn two_shared_secrets_are_valid_at_once_and_no_third() {
    let name = format!("{}:carol", in_seconds(60));
    for (secret, outcome) in [
        (SECRET, None),
        (OLD_SECRET, None),
        ("third secret", Some(401)),
    ] {
        let mut client = Server::shared().udp();
        client.login(&name, &rest_password(secret, &name));
        assert_eq!(
            client.ask(Outgoing::allocate()).error(),
            outcome,
            "{secret}"
        );
    }
}

/// A username whose first part is not a number, or overflows, is refused even with the password
/// that the secret gives it.
#[test]
fn a_username_without_a_valid_expiry_is_not_time_limited() {
    for name in [
        "carol",
        "carol:99999999999",
        ":carol",
        "-1:carol",
        "99999999999999999999999:carol",
        "0x7fffffff:carol",
    ] {
        let mut client = Server::shared().udp();
        client.login(name, &rest_password(SECRET, name));
        let answer = client.ask(Outgoing::allocate());
        assert_eq!(answer.error(), Some(401), "{name}");
    }
}

/// An expired username may still delete its allocation, so that nothing stays behind.
#[test]
fn an_expired_username_makes_no_new_allocation() {
    let server = Server::shared();
    let name = format!("{}:dora", in_seconds(2));
    let mut client = server.udp();
    client.login(&name, &rest_password(SECRET, &name));
    assert!(client.ask(Outgoing::allocate()).is_success());
    while in_seconds(0) <= name.split(':').next().unwrap().parse().unwrap() {
        std::thread::yield_now();
    }
    let mut late = server.udp();
    late.login(&name, &rest_password(SECRET, &name));
    assert_eq!(late.ask(Outgoing::allocate()).error(), Some(401));
}

#[test]
fn static_users_and_shared_secrets_work_together() {
    let mut client = Server::shared().udp();
    client.login(OTHER_USER, OTHER_PASSWORD);
    assert!(client.ask(Outgoing::allocate()).is_success());
}

/// RFC 8489 §9.2.2, §14.3, §14.4, §14.9: usernames, realms and passwords are prepared by the
/// profile OpaqueString (RFC 8265 §4.2), which composes characters and replaces spaces by the
/// ASCII one. A client that prepares nothing, as browsers do, is accepted too.
#[test]
fn usernames_realms_and_passwords_are_prepared_as_opaque_strings() {
    let server = Setup::new()
        .without_users()
        .replace("--realm", "re\u{301}alm")
        .flag("--user", "jose\u{301}:pass\u{a0}wo\u{308}rd")
        .start();
    let mut client = server.udp();
    let challenge = client.exchange(&Outgoing::allocate());
    assert_eq!(challenge.get(REALM), Some("r\u{e9}alm".as_bytes()));
    for (name, password, outcome) in [
        ("jos\u{e9}", "pass w\u{f6}rd", None),
        ("jose\u{301}", "pass\u{a0}wo\u{308}rd", None),
        ("jos\u{e9}", "pass\u{a0}wo\u{308}rd", Some(401)),
        ("jose", "pass w\u{f6}rd", Some(401)),
        ("jos\u{e9}", "pass word", Some(401)),
    ] {
        for login in [Client::login, Client::login_modern] {
            let mut client = server.udp();
            login(&mut client, name, password);
            assert_eq!(
                client.ask(Outgoing::allocate()).error(),
                outcome,
                "{name} {password}"
            );
        }
    }
    let mut hidden = server.udp();
    hidden.login_modern("jos\u{e9}", "pass w\u{f6}rd");
    hidden.credentials.as_mut().unwrap().userhash = true;
    assert!(hidden.ask(Outgoing::allocate()).is_success());
}

/// Only the first colon of `--user` separates.
#[test]
fn a_password_may_contain_a_colon() {
    let server = Setup::new()
        .without_users()
        .flag("--user", "eve:se:cr:et")
        .start();
    let mut client = server.udp();
    client.login("eve", "se:cr:et");
    assert!(client.ask(Outgoing::allocate()).is_success());
}

/// Packets from thousands of sources do not grow the process.
#[test]
fn unauthenticated_packets_take_no_memory() {
    let server = Setup::new().start();
    let flood = |sources: usize| {
        for _ in 0..sources {
            let mut client = server.udp();
            for _ in 0..4 {
                assert_eq!(client.exchange(&Outgoing::allocate()).error(), Some(401));
            }
        }
    };
    flood(200);
    let before = resident_kilobytes(server.pid);
    flood(4000);
    let after = resident_kilobytes(server.pid);
    assert!(after < before + 1024, "{before} kB became {after} kB");
}

impl Client {
    /// Replaces the credentials but keeps the nonce, so that no challenge is needed.
    pub fn login_without_allocating(&mut self, username: &str, password: &str) {
        let challenge = self.exchange(&Outgoing::request(REFRESH));
        assert_eq!(challenge.error(), Some(401));
        let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
        self.credentials = Some(Credentials::legacy(username, password, realm, nonce));
    }
}

/// The password of a username under the TURN REST convention.
pub fn rest_password(secret: &str, name: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(hmac_sha1(secret.as_bytes(), name.as_bytes()))
}

/// The Unix time in this many seconds.
pub fn in_seconds(seconds: i64) -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
        + seconds
}

fn resident_kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
