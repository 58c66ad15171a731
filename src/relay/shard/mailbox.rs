//! What a supervisor may say to a shard, off the packet path.

use crate::net;
use crate::net::dtls::DtlsServer;
use crate::net::{TlsServer, UdpSocket};
use crate::turn::{AllocationDetail, AllocationRecord, Policy};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// One thing said to a shard.
#[derive(Debug)]
pub enum Letter {
    /// End all allocations and leave.
    Stop,
    /// Go by this policy from here on.
    ReplacePolicy(Arc<Policy>),
    /// Tell the allocations that live.
    List(oneshot::Sender<Vec<AllocationRecord>>),
    /// Tell all of the allocation with this [`AllocationRecord::id`].
    Detail(u64, oneshot::Sender<Option<Box<AllocationDetail>>>),
    /// End the allocation with this [`AllocationRecord::id`]; tells whether it was there.
    Close(u64, oneshot::Sender<bool>),
    /// Take clients at the listener of this number: at these sockets, in place of those that it had.
    Listen {
        /// Its number, the same on all shards.
        number: u32,
        /// Its UDP socket; `None` for the one that is there.
        udp: Option<UdpSocket>,
        /// Its TCP socket.
        tcp: Option<TcpListener>,
    },
    /// Take no new clients at a listener; those that it has keep it.
    Retire {
        /// Its number.
        number: u32,
        /// Which listener takes those that still come that way, if any.
        heir: Option<u32>,
    },
    /// Tell whether any allocation is answered by this listener.
    Uses(u32, oneshot::Sender<bool>),
    /// Close this listener.
    Unlisten(u32),
    /// Keep the clients that are there, each by a socket that is made so, and take no others; tell whether that could be.
    StepAside(net::UdpOptions, oneshot::Sender<io::Result<()>>),
    /// Take anybody again.
    Stay,
    /// Hear nobody at the listeners any more; tell when that is so.
    Leave(oneshot::Sender<()>),
    /// Close what only clients used that are gone.
    Release,
    /// Speak TLS and DTLS like this from here on, or not at all.
    Speak(Option<Arc<TlsServer>>, Option<Arc<DtlsServer>>),
}

/// Where letters are put.
pub type Sender = mpsc::Sender<Letter>;
/// Where a shard finds them.
pub type Receiver = mpsc::Receiver<Letter>;

/// A mailbox for one shard.
pub fn mailbox() -> (Sender, Receiver) {
    mpsc::channel(LETTERS)
}

/// Letters that may wait; who writes more waits too.
const LETTERS: usize = 64;
