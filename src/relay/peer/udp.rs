//! The peers' side: one UDP socket for each relayed transport address.

use crate::net;
use crate::net::{Poller, UdpSocket};
use crate::relay::io::ready_queue::Source;
use crate::turn::{BindError, RelayedId};
use std::io;
use std::net::SocketAddr;
use std::task::Context;

/// The relay sockets of a shard, by [`RelayedId`].
pub(crate) struct Peers {
    sockets: Vec<Option<Box<UdpSocket>>>,
    watch: Poller,
    options: net::UdpOptions,
    open: usize,
}

impl Peers {
    /// None yet; `options` is how each is made.
    ///
    /// # Errors
    /// When the runtime cannot watch them.
    pub(crate) fn new(options: net::UdpOptions) -> io::Result<Peers> {
        Ok(Peers {
            sockets: Vec::new(),
            watch: Poller::new()?,
            options,
            open: 0,
        })
    }

    /// Appends those that something came to since they were told of last; the task is woken for the next.
    pub(crate) fn ready(&mut self, cx: &mut Context<'_>, into: &mut Vec<Source>) {
        self.watch
            .for_each_ready(cx, |number| into.push(Source::Relay(number)));
    }

    /// Binds a relay socket.
    ///
    /// # Errors
    /// [`BindError::InUse`] when another port may do, [`BindError::Failed`] when none will.
    pub(crate) fn bind(&mut self, relayed: RelayedId, local: SocketAddr) -> Result<(), BindError> {
        let socket = UdpSocket::bind(local, &self.options).map_err(|error| cause(&error))?;
        self.watch
            .add(&socket, relayed.0)
            .map_err(|_| BindError::Failed)?;
        let place = relayed.0 as usize;
        if place >= self.sockets.len() {
            self.sockets.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.sockets.get_mut(place)
            && slot.replace(Box::new(socket)).is_none()
        {
            self.open += 1;
        }
        Ok(())
    }

    /// Closes a relay socket.
    pub(crate) fn unbind(&mut self, relayed: RelayedId) {
        if self
            .sockets
            .get_mut(relayed.0 as usize)
            .and_then(Option::take)
            .is_some()
        {
            self.open -= 1;
        }
    }

    /// A relay socket, while it is open.
    pub(crate) fn get(&mut self, index: u32) -> Option<&mut UdpSocket> {
        self.sockets.get_mut(index as usize)?.as_deref_mut()
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }
}

fn cause(error: &io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => BindError::InUse,
        _ => BindError::Failed,
    }
}
