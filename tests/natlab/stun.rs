//! A STUN responder with CHANGE-REQUEST (RFC 5780) and its client, independent of the tested code,
//! because they prove the lab.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::namespace::Namespace;

/// The responder's addresses: two of each family, two ports each.
pub const ADDRESSES: [[IpAddr; 2]; 2] = [
    [
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 10)),
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 11)),
    ],
    [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11)),
    ],
];
/// The responder's ports.
pub const PORTS: [u16; 2] = [3478, 3479];

/// The source of the response (RFC 5780 §7.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The address of the request.
    Nothing,
    /// The other port.
    Port,
    /// The other address and the other port.
    AddressAndPort,
}

/// A running responder with a TCP listener on port 443, stopped when it is dropped.
pub struct Responder {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Responder {
    /// Starts the responder and waits until it answers.
    pub fn start(server: &Namespace) -> Responder {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = server.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                for family in ADDRESSES {
                    let sockets = Rc::new(bind_all(family).await);
                    for asked in 0..sockets.len() {
                        tokio::task::spawn_local(answer(sockets.clone(), asked));
                    }
                    let listener = TcpListener::bind((family[1], 443)).await.expect("port 443");
                    tokio::task::spawn_local(
                        async move { while listener.accept().await.is_ok() {} },
                    );
                }
                ready.send(()).expect("the lab waits");
                let _dropped_is_stopped = stopped.await;
            });
        });
        is_ready.recv().expect("the responder starts");
        Responder {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _reported_already = thread.join();
        }
    }
}

/// Sends one request; returns the reflexive address and the source of the response, or the error of
/// the socket, such as a timeout.
pub fn ask(
    socket: &UdpSocket,
    server: SocketAddr,
    change: Change,
    timeout: Duration,
) -> io::Result<(SocketAddr, SocketAddr)> {
    let id = send(socket, server, change)?;
    let until = Instant::now() + timeout;
    loop {
        let (answered, mapped, from) = receive(socket, until)?;
        if answered == id {
            return Ok((mapped, from));
        }
    }
}

/// Returns true if the response to `change` arrives. A plain request follows and the responder
/// answers in order, so if only the second response arrives, the first was filtered, and no timeout
/// is needed.
pub fn comes_through(socket: &UdpSocket, server: SocketAddr, change: Change) -> io::Result<bool> {
    for _ in 0..3 {
        let changed = send(socket, server, change)?;
        let fence = send(socket, server, Change::Nothing)?;
        let until = Instant::now() + FENCE;
        loop {
            match receive(socket, until) {
                Ok((id, ..)) if id == changed => return Ok(true),
                Ok((id, ..)) if id == fence => break,
                Ok(_) => {}
                Err(error) if timed_out(&error) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(false)
}

/// Returns true if a read timed out.
pub fn timed_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// How long an answer may take on a busy machine.
pub const FENCE: Duration = Duration::from_secs(3);

async fn bind_all(family: [IpAddr; 2]) -> Vec<tokio::net::UdpSocket> {
    let mut sockets = Vec::new();
    for address in family {
        for port in PORTS {
            sockets.push(
                tokio::net::UdpSocket::bind((address, port))
                    .await
                    .expect("an address of the server"),
            );
        }
    }
    sockets
}

/// Answers the requests to one of the four sockets; bit 1 of the index is the address, bit 0 the
/// port.
async fn answer(sockets: Rc<Vec<tokio::net::UdpSocket>>, asked: usize) {
    let mut packet = [0; 1500];
    loop {
        // An ICMP error of an earlier answer is no reason to stop.
        let Ok((length, from)) = sockets[asked].recv_from(&mut packet).await else {
            continue;
        };
        if length < 20 || packet[..2] != [0, 1] {
            continue;
        }
        let change = if length >= 28 && packet[20..22] == [0, 3] {
            packet[27]
        } else {
            0
        };
        let by = asked ^ usize::from(change & 4 != 0) << 1 ^ usize::from(change & 2 != 0);
        let id: [u8; 12] = packet[8..20].try_into().expect("twelve octets");
        let _unreachable = sockets[by].send_to(&success(id, from), from).await;
    }
}

/// Sends a Binding request; returns its transaction id.
pub fn send(socket: &UdpSocket, server: SocketAddr, change: Change) -> io::Result<[u8; 12]> {
    let mut id = [0; 12];
    getrandom::fill(&mut id).expect("random octets");
    let mut request = vec![0, 1, 0, 0];
    request.extend_from_slice(&COOKIE);
    request.extend_from_slice(&id);
    let flags = match change {
        Change::Nothing => 0,
        Change::Port => 2,
        Change::AddressAndPort => 6,
    };
    if flags != 0 {
        request[3] = 8;
        request.extend_from_slice(&[0, 3, 0, 4, 0, 0, 0, flags]);
    }
    // A connected socket must not be given an address.
    match socket.peer_addr() {
        Ok(_) => socket.send(&request)?,
        Err(_) => socket.send_to(&request, server)?,
    };
    Ok(id)
}

/// The transaction id, reflexive address and source of the next response before `until`.
fn receive(socket: &UdpSocket, until: Instant) -> io::Result<([u8; 12], SocketAddr, SocketAddr)> {
    let mut packet = [0; 1500];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let (length, from) = socket.recv_from(&mut packet)?;
        if length >= 32 && packet[..2] == [1, 1] {
            let id: [u8; 12] = packet[8..20].try_into().expect("twelve octets");
            return Ok((id, mapped(&packet[20..length], id), from));
        }
    }
}

fn success(id: [u8; 12], to: SocketAddr) -> Vec<u8> {
    let mut mask = COOKIE.to_vec();
    mask.extend_from_slice(&id);
    let (family, address) = match to.ip() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let value = 4 + address.len() as u8;
    let mut answer = vec![1, 1, 0, 4 + value];
    answer.extend_from_slice(&mask);
    answer.extend_from_slice(&[0, 0x20, 0, value, 0, family]);
    answer.extend(
        to.port()
            .to_be_bytes()
            .iter()
            .zip(&mask)
            .map(|(octet, mask)| octet ^ mask),
    );
    answer.extend(address.iter().zip(&mask).map(|(octet, mask)| octet ^ mask));
    answer
}

/// XOR-MAPPED-ADDRESS, which the responder writes first.
fn mapped(attributes: &[u8], id: [u8; 12]) -> SocketAddr {
    assert_eq!(
        attributes[..2],
        [0, 0x20],
        "our responder puts XOR-MAPPED-ADDRESS first"
    );
    let mut mask = COOKIE.to_vec();
    mask.extend_from_slice(&id);
    let clear: Vec<u8> = attributes[8..]
        .iter()
        .zip(&mask)
        .map(|(octet, mask)| octet ^ mask)
        .collect();
    let port = u16::from_be_bytes([attributes[6] ^ COOKIE[0], attributes[7] ^ COOKIE[1]]);
    let address = match attributes[5] {
        1 => IpAddr::from(<[u8; 4]>::try_from(&clear[..4]).expect("four octets")),
        _ => IpAddr::from(<[u8; 16]>::try_from(&clear[..16]).expect("sixteen octets")),
    };
    SocketAddr::new(address, port)
}

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
