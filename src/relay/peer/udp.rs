//! UDP relay sockets: one for each relayed transport address.

use crate::net::{Poller, UdpOptions, UdpSocket};
use crate::turn::{BindError, RelayedId};
use std::io;
use std::net::SocketAddr;
use std::task::Context;

/// The UDP relay sockets of a shard, by [`RelayedId`].
pub(crate) struct RelaySockets {
    sockets: Vec<Option<Box<UdpSocket>>>,
    poller: Poller,
    options: UdpOptions,
    open: usize,
}

impl RelaySockets {
    /// # Errors
    /// The runtime cannot register the poller.
    pub(crate) fn new(options: UdpOptions) -> io::Result<RelaySockets> {
        Ok(RelaySockets {
            sockets: Vec::new(),
            poller: Poller::new()?,
            options,
            open: 0,
        })
    }

    /// Reports the numbers of the sockets that became ready since the last call. The next one wakes
    /// the task.
    pub(crate) fn for_each_ready(&mut self, cx: &mut Context<'_>, report: impl FnMut(u32)) {
        self.poller.for_each_ready(cx, report);
    }

    /// Binds a relay socket.
    ///
    /// # Errors
    /// [`BindError::InUse`] if another port may be free, [`BindError::Failed`] if none can be
    /// bound.
    pub(crate) fn bind(&mut self, relayed: RelayedId, local: SocketAddr) -> Result<(), BindError> {
        let socket = UdpSocket::bind(local, &self.options).map_err(|error| bind_error(&error))?;
        self.poller
            .add(&socket, relayed.0)
            .map_err(|_| BindError::Failed)?;
        let index = relayed.0 as usize;
        if index >= self.sockets.len() {
            self.sockets.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.sockets.get_mut(index)
            && slot.replace(Box::new(socket)).is_none()
        {
            self.open += 1;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, relayed: RelayedId) {
        let slot = self.sockets.get_mut(relayed.0 as usize);
        if slot.and_then(Option::take).is_some() {
            self.open -= 1;
        }
    }

    pub(crate) fn get(&mut self, number: u32) -> Option<&mut UdpSocket> {
        self.sockets.get_mut(number as usize)?.as_deref_mut()
    }

    /// The number of open sockets.
    pub(crate) fn open(&self) -> usize {
        self.open
    }
}

/// The report to the protocol that a relayed address could not be bound.
pub(crate) fn bind_error(error: &io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => BindError::InUse,
        _ => BindError::Failed,
    }
}
