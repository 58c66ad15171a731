//! The peers' side: one UDP socket for each relayed transport address.

use super::ready::{Ready, Source};
use crate::net::{self, Port, UdpSocket};
use crate::turn::{BindError, RelayedId};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The relay sockets of a shard, by [`RelayedId`].
pub(super) struct Peers {
    sockets: Vec<Option<Box<Port>>>,
    options: net::Options,
    ready: Arc<Ready>,
    open: usize,
}

impl Peers {
    /// None yet; `options` is how each is made.
    pub(super) fn new(options: net::Options, ready: Arc<Ready>) -> Peers {
        Peers { sockets: Vec::new(), options, ready, open: 0 }
    }

    /// Binds a relay socket.
    ///
    /// # Errors
    /// [`BindError::InUse`] when another port may do, [`BindError::Failed`] when none will.
    pub(super) fn bind(&mut self, relayed: RelayedId, local: SocketAddr) -> Result<(), BindError> {
        let socket = UdpSocket::bind(local, &self.options).map_err(|error| cause(&error))?;
        let port = Port::new(socket, self.ready.waker(Source::Relay(relayed.0))).map_err(|_| BindError::Failed)?;
        let place = relayed.0 as usize;
        if place >= self.sockets.len() {
            self.sockets.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.sockets.get_mut(place)
            && slot.replace(Box::new(port)).is_none()
        {
            self.open += 1;
        }
        Ok(())
    }

    /// Closes a relay socket.
    pub(super) fn unbind(&mut self, relayed: RelayedId) {
        if self.sockets.get_mut(relayed.0 as usize).and_then(Option::take).is_some() {
            self.open -= 1;
        }
    }

    /// A relay socket, while it is open.
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Port> {
        self.sockets.get_mut(index as usize)?.as_deref_mut()
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }
}

fn cause(error: &io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => BindError::InUse,
        _ => BindError::Failed,
    }
}
