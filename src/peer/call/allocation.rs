//! A relayed candidate: an allocation by the client of the crate `turn`, an implementation of TURN
//! independent of ours.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use turn::client::{Client, ClientConfig};
use webrtc_util::conn::Conn;

use crate::client::transport::Connection;
use crate::peer::call::guarded_conn::GuardedConn;
use crate::peer::call::host::IncomingPacket;
use crate::turn::client_state::Login;

/// An allocation on a TURN server. Dropping it releases it.
pub struct Allocation {
    /// The relayed address.
    pub address: SocketAddr,
    /// The local address of the connection to the server.
    pub base: SocketAddr,
    outgoing: mpsc::Sender<OutgoingPacket>,
    refused: RefusedPeers,
    /// Closed once the allocation is released.
    released: mpsc::Receiver<()>,
}

struct OutgoingPacket {
    peer: SocketAddr,
    payload: Vec<u8>,
}

/// The peers to which the server does not relay, with its error response.
type RefusedPeers = Arc<Mutex<HashMap<IpAddr, String>>>;

/// Why a server created no allocation.
#[derive(Debug)]
pub enum AllocateError {
    /// An error response: code and reason.
    Refused(String),
    /// The client failed.
    Client(turn::Error),
    /// The client returned no relayed address.
    NoAddress(webrtc_util::Error),
    /// No response within [`TIMEOUT`].
    NoAnswer,
}

impl Allocation {
    /// Creates an allocation on the server of `connection`. What peers send to it is sent to
    /// `packets`.
    ///
    /// # Errors
    /// [`AllocateError`].
    pub async fn create(
        connection: Connection,
        login: &Login,
        packets: mpsc::Sender<IncomingPacket>,
    ) -> Result<Allocation, AllocateError> {
        let base = connection.local();
        let is_reliable = connection.is_reliable();
        let server = connection.server().to_string();
        let conn = Arc::new(GuardedConn::new(connection, login.clone()));
        let config = ClientConfig {
            stun_serv_addr: String::new(),
            turn_serv_addr: server,
            username: login.username.clone(),
            password: login.password.clone(),
            realm: String::new(),
            software: String::new(),
            // On a stream nothing is lost, and a retransmission would arrive as a second request.
            rto_in_ms: if is_reliable { 5_000 } else { 0 },
            conn: conn.clone(),
            vnet: None,
        };
        let client = Client::new(config).await.map_err(AllocateError::Client)?;
        client.listen().await.map_err(AllocateError::Client)?;
        let relay = match tokio::time::timeout(TIMEOUT, client.allocate()).await {
            Ok(Ok(relay)) => relay,
            Ok(Err(error)) => {
                return Err(match conn.last_refusal() {
                    Some(refusal) => AllocateError::Refused(refusal),
                    None => AllocateError::Client(error),
                });
            }
            Err(_) => return Err(AllocateError::NoAnswer),
        };
        let address = relay.local_addr().map_err(AllocateError::NoAddress)?;
        let refused = RefusedPeers::default();
        let (outgoing, to_send) = mpsc::channel(SEND_QUEUE);
        let (is_alive, released) = mpsc::channel(1);
        let task = AllocationTask {
            client,
            relay: Arc::new(relay),
            address,
            to_send,
            packets,
            refused: refused.clone(),
            conn,
            _is_alive: is_alive,
        };
        tokio::spawn(task.run());
        Ok(Allocation {
            address,
            base,
            outgoing,
            refused,
            released,
        })
    }

    /// Sends to a peer. What the queue does not take is lost, as on any network.
    pub fn send(&self, peer: SocketAddr, payload: &[u8]) {
        let payload = payload.to_vec();
        let _full = self.outgoing.try_send(OutgoingPacket { peer, payload });
    }

    /// The server's error response if it does not relay to this peer.
    pub fn refusal(&self, peer: IpAddr) -> Option<String> {
        self.refused.lock().ok()?.get(&peer).cloned()
    }

    /// Deletes the allocation and waits for the server's response.
    pub async fn release(self) {
        let Allocation {
            outgoing,
            mut released,
            ..
        } = self;
        drop(outgoing);
        let _ = tokio::time::timeout(TIMEOUT, released.recv()).await;
    }
}

/// The task that owns the client of an allocation.
struct AllocationTask {
    client: Client,
    relay: Arc<dyn Conn + Send + Sync>,
    address: SocketAddr,
    to_send: mpsc::Receiver<OutgoingPacket>,
    packets: mpsc::Sender<IncomingPacket>,
    refused: RefusedPeers,
    conn: Arc<GuardedConn>,
    _is_alive: mpsc::Sender<()>,
}

impl AllocationTask {
    /// Forwards packets in both directions until the [`Allocation`] is dropped, then deletes it.
    async fn run(mut self) {
        let receiver = tokio::spawn(receive(
            self.relay.clone(),
            self.address,
            self.packets.clone(),
        ));
        while let Some(OutgoingPacket { peer, payload }) = self.to_send.recv().await {
            let is_refused = |refused: &HashMap<_, _>| refused.contains_key(&peer.ip());
            if self
                .refused
                .lock()
                .is_ok_and(|refused| is_refused(&refused))
            {
                continue;
            }
            if let Err(error) = self.relay.send_to(&payload, peer).await {
                let refusal = self.conn.last_refusal();
                let reason = refusal.unwrap_or_else(|| error.to_string());
                if let Ok(mut refused) = self.refused.lock() {
                    refused.insert(peer.ip(), reason);
                }
            }
        }
        receiver.abort();
        let _released = tokio::time::timeout(RELEASE_TIMEOUT, self.relay.close()).await;
        let _closed = self.client.close().await;
    }
}

async fn receive(
    relay: Arc<dyn Conn + Send + Sync>,
    destination: SocketAddr,
    packets: mpsc::Sender<IncomingPacket>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok((length, source)) = relay.recv_from(&mut buffer).await {
        let _full = packets.try_send(IncomingPacket {
            source,
            destination,
            payload: buffer.get(..length).unwrap_or_default().to_vec(),
        });
    }
}

impl fmt::Display for AllocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllocateError::Refused(refusal) => f.write_str(refusal),
            AllocateError::Client(error) => error.fmt(f),
            AllocateError::NoAddress(error) => error.fmt(f),
            AllocateError::NoAnswer => write!(f, "no answer within {} s", TIMEOUT.as_secs()),
        }
    }
}

impl std::error::Error for AllocateError {}

/// Time limit of an allocation and of its release. The crate's client would wait for a minute.
const TIMEOUT: Duration = Duration::from_secs(8);
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Packets that wait for the server. Beyond it they are dropped.
const SEND_QUEUE: usize = 256;
