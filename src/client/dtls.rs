//! A DTLS association with one server, for datagrams each of which is a message. RFC 7350.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dimpl::{Output, ProtocolVersion};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

/// An association that stands.
pub struct Association {
    socket: UdpSocket,
    engine: Mutex<Engine>,
}

/// What the handshake settled on and met.
pub struct Shaken {
    /// The version.
    pub version: Option<rustls::ProtocolVersion>,
    /// The server's certificate in DER, without those that stand behind it: the library shows no others.
    pub certificate: Vec<u8>,
}

struct Engine {
    dtls: dimpl::Dtls,
    scratch: Vec<u8>,
    /// Messages that nobody has asked for yet.
    arrived: VecDeque<Vec<u8>>,
    certificate: Vec<u8>,
    connected: bool,
    closed: bool,
    /// When it must be looked at again.
    next: Instant,
}

impl Association {
    /// Shakes hands with the server that the socket is connected to, for as long as the library has patience.
    ///
    /// # Errors
    /// The socket's, and whatever the server or the library finds wrong.
    pub async fn shake_hands(socket: UdpSocket) -> io::Result<(Association, Shaken)> {
        let config = dimpl::Config::builder()
            .mtu(MTU)
            .build()
            .map_err(io::Error::other)?;
        let own =
            dimpl::certificate::generate_self_signed_certificate().map_err(io::Error::other)?;
        let now = Instant::now();
        let mut dtls = dimpl::Dtls::new_auto(Arc::new(config), own, now);
        dtls.set_active(true);
        let engine = Engine {
            dtls,
            scratch: vec![0; SCRATCH],
            arrived: VecDeque::new(),
            certificate: Vec::new(),
            connected: false,
            closed: false,
            next: now,
        };
        // Until the runtime has seen it, it refuses what it could send: the hello would wait for its repetition.
        socket.writable().await?;
        let association = Association {
            socket,
            engine: Mutex::new(engine),
        };
        let mut datagram = vec![0; LONGEST];
        while !association.lock().connected {
            association.step(&mut datagram).await?;
        }
        let shaken = {
            let engine = association.lock();
            let version = engine.dtls.protocol_version().and_then(known);
            Shaken {
                version,
                certificate: engine.certificate.clone(),
            }
        };
        Ok((association, shaken))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// An association that has ended.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        let mut engine = self.lock();
        engine
            .dtls
            .send_application_data(message)
            .map_err(io::Error::other)?;
        engine.turn_over(&self.socket);
        Ok(())
    }

    /// Receives one message. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The socket's, and [`io::ErrorKind::UnexpectedEof`] when the server closes.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut datagram = vec![0; LONGEST];
        loop {
            if let Some(message) = self.lock().arrived.pop_front() {
                return Ok(message);
            }
            self.step(&mut datagram).await?;
        }
    }

    /// Waits for a datagram or for the library's timer, and lets the library do what follows.
    async fn step(&self, datagram: &mut [u8]) -> io::Result<()> {
        let next = {
            let mut engine = self.lock();
            engine
                .dtls
                .handle_timeout(Instant::now())
                .map_err(io::Error::other)?;
            engine.turn_over(&self.socket);
            engine.next
        };
        let received = timeout_at(next.into(), self.socket.recv(datagram)).await;
        let mut engine = self.lock();
        if let Ok(length) = received {
            let datagram = datagram.get(..length?).unwrap_or_default();
            match engine.dtls.handle_packet(datagram) {
                Err(error) if !engine.connected => return Err(io::Error::other(error)),
                // A record that does not decipher is dropped, as RFC 9147 §4.5.2 has it.
                _ => {}
            }
        }
        engine.turn_over(&self.socket);
        match engine.closed && engine.arrived.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the association",
            )),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Sends what the library wants sent, and keeps what it received.
    fn turn_over(&mut self, socket: &UdpSocket) {
        loop {
            match self.dtls.poll_output(&mut self.scratch) {
                // What the socket cannot take now is lost, as on any network; that nobody listens is told to who receives.
                Output::Packet(packet) => drop(socket.try_send(packet)),
                Output::ApplicationData(data) => self.arrived.push_back(data.to_vec()),
                Output::PeerCert(certificate) => self.certificate = certificate.to_vec(),
                Output::Connected => self.connected = true,
                Output::CloseNotify => self.closed = true,
                Output::BufferTooSmall { needed } => self.scratch.resize(needed, 0),
                Output::Timeout(next) => {
                    self.next = next;
                    return;
                }
                _ => {}
            }
        }
    }
}

fn known(version: ProtocolVersion) -> Option<rustls::ProtocolVersion> {
    match version {
        ProtocolVersion::DTLS1_2 => Some(rustls::ProtocolVersion::DTLSv1_2),
        ProtocolVersion::DTLS1_3 => Some(rustls::ProtocolVersion::DTLSv1_3),
        _ => None,
    }
}

/// Octets of a datagram of the handshake.
const MTU: usize = 1_200;
/// The longest datagram.
const LONGEST: usize = 65_536;
/// Octets of one record, and what is around them.
const SCRATCH: usize = 18 << 10;
