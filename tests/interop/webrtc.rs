//! The client of the crate `turn` 0.17.2.

use crate::support::TIMEOUT;
use crate::support::client::{PASSWORD, USER};
use crate::support::process::{REALM_NAME, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

/// The client learns its address, allocates, and exchanges data with a peer, at first by
/// indications and then on a channel.
#[test]
fn the_turn_crate_relays() {
    let server = Server::shared();
    block_on(async {
        let client = connect(server).await;
        let mapped = client.send_binding_request().await.unwrap();
        assert_eq!(mapped.ip().to_string(), "127.0.0.1");
        let relay = client.allocate().await.unwrap();
        let relayed = relay.local_addr().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buffer = [0; 2048];
        for round in 0..200_u32 {
            relay
                .send_to(&round.to_be_bytes(), peer.local_addr().unwrap())
                .await
                .unwrap();
            let (length, from) = timeout(TIMEOUT, peer.recv_from(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&round.to_be_bytes()[..], relayed)
            );
            peer.send_to(&buffer[..length], from).await.unwrap();
            let (length, from) = timeout(TIMEOUT, relay.recv_from(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&round.to_be_bytes()[..], peer.local_addr().unwrap())
            );
        }
        relay.close().await.unwrap();
        client.close().await.unwrap();
    });
}

#[test]
fn two_turn_crate_clients_reach_each_other() {
    let server = Server::shared();
    block_on(async {
        let (one, two) = (connect(server).await, connect(server).await);
        let (a, b) = (one.allocate().await.unwrap(), two.allocate().await.unwrap());
        let (a_address, b_address) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let mut buffer = [0; 2048];
        // Sending installs a permission; a datagram that arrives before that is lost.
        a.send_to(&u32::MAX.to_be_bytes(), b_address).await.unwrap();
        b.send_to(&u32::MAX.to_be_bytes(), a_address).await.unwrap();
        for round in 0..100_u32 {
            a.send_to(&round.to_be_bytes(), b_address).await.unwrap();
            loop {
                let (length, from) = timeout(TIMEOUT, b.recv_from(&mut buffer))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(from, a_address);
                if buffer[..length] != u32::MAX.to_be_bytes() {
                    assert_eq!(buffer[..length], round.to_be_bytes());
                    break;
                }
            }
        }
    });
}

#[test]
fn a_wrong_password_is_an_error_of_the_turn_crates_allocate() {
    let server = Server::shared();
    block_on(async {
        let client = connect_as(server.v4, USER, "wrong").await;
        let outcome = timeout(TIMEOUT, client.allocate()).await.unwrap();
        assert!(outcome.is_err());
    });
}

#[test]
fn the_stun_crate_learns_its_address() {
    use stun::message::{BINDING_REQUEST, Message};
    use stun::xoraddr::XorMappedAddress;
    let server = Server::shared();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut request = Message::new();
    request
        .build(&[
            Box::<stun::agent::TransactionId>::default(),
            Box::new(BINDING_REQUEST),
        ])
        .unwrap();
    socket.send_to(&request.raw, server.v4).unwrap();
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).unwrap();
    let mut answer = Message::new();
    answer.raw = buffer[..length].to_vec();
    answer.decode().unwrap();
    let mut mapped = XorMappedAddress::default();
    stun::message::Getter::get_from(&mut mapped, &answer).unwrap();
    assert_eq!(
        SocketAddr::new(mapped.ip, mapped.port),
        socket.local_addr().unwrap()
    );
}

async fn connect(server: &Server) -> Client {
    connect_as(server.v4, USER, PASSWORD).await
}

async fn connect_as(server: SocketAddr, username: &str, password: &str) -> Client {
    let conn = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let config = ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: username.to_owned(),
        password: password.to_owned(),
        realm: REALM_NAME.to_owned(),
        software: "interop".to_owned(),
        rto_in_ms: 0,
        conn,
        vnet: None,
    };
    let client = Client::new(config).await.unwrap();
    client.listen().await.unwrap();
    client
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}
