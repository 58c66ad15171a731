//! Host candidates: UDP sockets on the addresses of this machine, shared by ICE and Binding
//! requests (crate `stun`).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stun::agent::TransactionId;
use stun::attributes::ATTR_XORMAPPED_ADDRESS;
use stun::message::{BINDING_REQUEST, Message, Setter};
use stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

/// A packet that arrived at one of our candidates.
pub struct IncomingPacket {
    /// The sender.
    pub source: SocketAddr,
    /// The address of the candidate, host or relayed.
    pub destination: SocketAddr,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A UDP socket on one address of this machine.
#[derive(Clone)]
pub struct Host {
    /// The local address.
    pub address: SocketAddr,
    socket: Arc<UdpSocket>,
    pending: PendingRequests,
}

/// Binding requests without a response. Key: the transaction id.
type PendingRequests = Arc<Mutex<HashMap<[u8; 12], oneshot::Sender<Message>>>>;

/// Why a server returned no reflexive address.
#[derive(Debug)]
pub enum BindingError {
    /// The request could not be encoded.
    Encode(stun::Error),
    /// The request could not be sent.
    Send(io::Error),
    /// No response within [`BINDING_TIMEOUT`].
    NoAnswer,
    /// A response without XOR-MAPPED-ADDRESS.
    NoMappedAddress,
}

impl Host {
    /// Opens a socket on every local address from which packets would leave for one of `targets`,
    /// or for the Internet. What arrives there is sent to `packets`.
    ///
    /// # Errors
    /// This machine has no address, or a socket cannot be opened.
    pub async fn open_all(
        targets: &[SocketAddr],
        packets: &mpsc::Sender<IncomingPacket>,
    ) -> io::Result<Vec<Host>> {
        let mut hosts: Vec<Host> = Vec::new();
        for target in targets.iter().chain(&INTERNET) {
            let Ok(address) = local_address_toward(*target).await else {
                continue;
            };
            let is_known = hosts.iter().any(|host| host.address.ip() == address);
            if !is_known && !is_link_local(address) {
                hosts.push(Host::open(address, packets.clone()).await?);
            }
        }
        match hosts.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                "this machine has no address",
            )),
            false => Ok(hosts),
        }
    }

    /// Sends a packet from this address. What the socket does not take is lost, as on any network.
    pub fn send(&self, to: SocketAddr, payload: &[u8]) {
        let _lost = self.socket.try_send_to(payload, to);
    }

    /// Asks a STUN server for the reflexive address of this socket. RFC 8489 §2.
    pub async fn reflexive_address(&self, server: SocketAddr) -> Result<SocketAddr, BindingError> {
        let request = binding_request().map_err(BindingError::Encode)?;
        let (sender, response) = oneshot::channel();
        if let Ok(mut pending) = self.pending.lock() {
            pending.insert(request.transaction_id.0, sender);
        }
        let retransmit = async {
            let mut wait = FIRST_RETRANSMISSION;
            loop {
                if let Err(error) = self.socket.send_to(&request.raw, server).await {
                    break BindingError::Send(error);
                }
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        };
        let outcome = tokio::select! {
            error = retransmit => Err(error),
            response = tokio::time::timeout(BINDING_TIMEOUT, response) => match response {
                Ok(Ok(message)) => mapped_address(&message),
                Ok(Err(_)) | Err(_) => Err(BindingError::NoAnswer),
            },
        };
        if let Ok(mut pending) = self.pending.lock() {
            pending.remove(&request.transaction_id.0);
        }
        outcome
    }

    async fn open(address: IpAddr, packets: mpsc::Sender<IncomingPacket>) -> io::Result<Host> {
        let socket = Arc::new(UdpSocket::bind((address, 0)).await?);
        let host = Host {
            address: socket.local_addr()?,
            socket,
            pending: PendingRequests::default(),
        };
        tokio::spawn(host.clone().receive(packets));
        Ok(host)
    }

    /// Passes Binding responses to the pending requests, and everything else to `packets`.
    async fn receive(self, packets: mpsc::Sender<IncomingPacket>) {
        let mut buffer = vec![0; 65_536];
        loop {
            // On UDP an ICMP error concerns one packet.
            let Ok((length, source)) = self.socket.recv_from(&mut buffer).await else {
                continue;
            };
            let payload = buffer.get(..length).unwrap_or_default();
            if let Some((request, response)) = self.match_response(payload) {
                let _timed_out = request.send(response);
                continue;
            }
            let packet = IncomingPacket {
                source,
                destination: self.address,
                payload: payload.to_vec(),
            };
            if let Err(mpsc::error::TrySendError::Closed(_)) = packets.try_send(packet) {
                return;
            }
        }
    }

    fn match_response(&self, payload: &[u8]) -> Option<(oneshot::Sender<Message>, Message)> {
        let id: [u8; 12] = payload.get(8..20)?.try_into().ok()?;
        let request = self.pending.lock().ok()?.remove(&id)?;
        let mut response = Message::new();
        response.unmarshal_binary(payload).ok()?;
        Some((request, response))
    }
}

impl fmt::Display for BindingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindingError::Encode(error) => error.fmt(f),
            BindingError::Send(error) => error.fmt(f),
            BindingError::NoAnswer => {
                write!(f, "no answer within {} s", BINDING_TIMEOUT.as_secs())
            }
            BindingError::NoMappedAddress => f.write_str("a response without XOR-MAPPED-ADDRESS"),
        }
    }
}

impl std::error::Error for BindingError {}

fn binding_request() -> Result<Message, stun::Error> {
    let mut request = Message::new();
    let parts: [Box<dyn Setter>; 2] = [Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)];
    request.build(&parts)?;
    Ok(request)
}

fn mapped_address(response: &Message) -> Result<SocketAddr, BindingError> {
    let mut mapped = XorMappedAddress::default();
    match mapped.get_from_as(response, ATTR_XORMAPPED_ADDRESS) {
        Ok(()) => Ok(SocketAddr::new(mapped.ip, mapped.port)),
        Err(_) => Err(BindingError::NoMappedAddress),
    }
}

/// The source address of packets for `target`. Connecting a UDP socket asks the routing table and
/// sends nothing.
async fn local_address_toward(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket.local_addr()?.ip())
}

/// A link-local address means nothing without its interface. ICE omits it, RFC 8445 §5.1.1.1.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Addresses that stand for the Internet in a query of the routing table (documentation ranges).
const INTERNET: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
        9,
    ),
];
/// How long a Binding request waits before its first retransmission. Doubled each time.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(100);
const BINDING_TIMEOUT: Duration = Duration::from_secs(5);
