//! One client's way to the server over DTLS: an association, driven by whoever has something to send or receive.

use crate::net::{Buffers, SendCounts, Transmit};
use dimpl::Output;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the associations of a run share.
pub struct Terms {
    config: Arc<dimpl::Config>,
    own: dimpl::DtlsCertificate,
}

/// An association with the server, whose certificate is not looked at.
pub struct Dtls {
    socket: UdpSocket,
    engine: dimpl::Dtls,
    scratch: Vec<u8>,
}

/// What one look at an association's output found.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    Nothing,
    Connected,
    Closed,
}

impl Terms {
    /// Terms with a certificate of our own, which no server asks for.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> io::Result<Terms> {
        let config = dimpl::Config::builder()
            .mtu(MTU)
            .build()
            .map_err(io::Error::other)?;
        let own =
            dimpl::certificate::generate_self_signed_certificate().map_err(io::Error::other)?;
        Ok(Terms {
            config: Arc::new(config),
            own,
        })
    }
}

impl Dtls {
    /// Connects to `server` from an address, and shakes hands for at most `patience`.
    ///
    /// # Errors
    /// Those of the socket; no answer in time; a server that refuses the handshake.
    pub fn connect(
        local: IpAddr,
        server: SocketAddr,
        terms: &Terms,
        patience: Duration,
    ) -> io::Result<Dtls> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(STEP))?;
        let begun = Instant::now();
        let mut engine = dimpl::Dtls::new_auto(terms.config.clone(), terms.own.clone(), begun);
        engine.set_active(true);
        let mut dtls = Dtls {
            socket,
            engine,
            scratch: vec![0; SCRATCH],
        };
        let mut datagram = [0; DATAGRAM];
        loop {
            dtls.engine
                .handle_timeout(Instant::now())
                .map_err(io::Error::other)?;
            if dtls.poll(|_| {})? == Found::Connected {
                break;
            }
            match dtls.socket.recv(&mut datagram) {
                Ok(length) => dtls
                    .engine
                    .handle_packet(&datagram[..length])
                    .map_err(io::Error::other)?,
                Err(error) => unless_late(error)?,
            }
            if dtls.poll(|_| {})? == Found::Connected {
                break;
            }
            if begun.elapsed() > patience {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the DTLS handshake was not answered",
                ));
            }
        }
        dtls.socket.set_nonblocking(true)?;
        Ok(dtls)
    }

    /// Sends frames, each in a record and a datagram of its own.
    pub fn send(&mut self, frames: &[Transmit], octets: Buffers<'_>) -> SendCounts {
        let mut sent = SendCounts::default();
        for frame in frames {
            let taken = self
                .engine
                .send_application_data(octets.get(frame.payload))
                .is_ok();
            match taken && self.poll(|_| {}).is_ok() {
                true => sent.datagrams += 1,
                false => sent.failed += 1,
            }
        }
        sent
    }

    /// Receives at most [`BATCH`] datagrams and gives what is in them to `each`; true once nothing is left.
    ///
    /// # Errors
    /// An association that has ended.
    pub fn receive(
        &mut self,
        datagram: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.engine
            .handle_timeout(Instant::now())
            .map_err(io::Error::other)?;
        for _ in 0..BATCH {
            match self.socket.recv(datagram) {
                // A record that does not decipher is dropped, as RFC 9147 §4.5.2 has it.
                Ok(length) => drop(
                    self.engine
                        .handle_packet(datagram.get(..length).unwrap_or_default()),
                ),
                Err(error) => return unless_late(error).map(|()| true),
            }
            if self.poll(&mut each)? == Found::Closed {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the association",
                ));
            }
        }
        Ok(false)
    }

    /// Sends what the association wants sent, and gives what it received to `each`.
    fn poll(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Found> {
        let mut found = Found::Nothing;
        loop {
            match self.engine.poll_output(&mut self.scratch) {
                // Lost, as any datagram may be.
                Output::Packet(packet) => drop(self.socket.send(packet)),
                Output::ApplicationData(data) => each(data),
                Output::Connected => found = Found::Connected,
                Output::CloseNotify => found = Found::Closed,
                Output::BufferTooSmall { needed } => self.scratch.resize(needed, 0),
                Output::Timeout(_) => return Ok(found),
                _ => {}
            }
        }
    }
}

impl AsRawFd for Dtls {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Nothing there yet is no error.
fn unless_late(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// Buffers of a datagram of the handshake.
const MTU: usize = 1_200;
/// The longest datagram.
const DATAGRAM: usize = 65_535;
/// Buffers of one record, and what is around them.
const SCRATCH: usize = 18 << 10;
/// How long the handshake waits for a datagram before it looks at its timers.
const STEP: Duration = Duration::from_millis(20);
/// Datagrams of one receive.
const BATCH: usize = 64;
