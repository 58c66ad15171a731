//! Commands of the supervisor to a shard: reload, listings, handover, stop. They are carried out
//! between iterations, off the packet path.

use crate::net::dtls::DtlsServer;
use crate::net::{TlsServer, UdpOptions};
use crate::relay::client::clients::Clients;
use crate::relay::client::handover::ClientEnds;
use crate::relay::client::listeners::ListenerSockets;
use crate::turn::{
    AllocationDetail, AllocationRecord, EndReason, FiveTuple, Instant, Policy, Server, Transport,
};
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// One command. Listeners have the same numbers on all shards.
#[derive(Debug)]
pub(crate) enum Command {
    /// End all allocations and stop.
    Stop,
    /// Reply, as a sign of life.
    Ping(oneshot::Sender<()>),
    /// Panic with this message.
    #[cfg(test)]
    Panic(String),
    ReplacePolicy(Arc<Policy>),
    /// Return at most `limit` allocations with an id above `after`, in ascending order of ids.
    ListAllocations {
        after: u64,
        limit: usize,
        reply: oneshot::Sender<Vec<AllocationRecord>>,
    },
    FindAllocation {
        id: u64,
        reply: oneshot::Sender<Option<Box<AllocationDetail>>>,
    },
    /// Return true if the allocation was found and ended.
    CloseAllocation {
        id: u64,
        reply: oneshot::Sender<bool>,
    },
    /// Open a listener with these sockets. Without a UDP socket, the retired UDP listener of that
    /// number accepts clients again.
    OpenListener {
        number: u32,
        sockets: ListenerSockets,
    },
    /// Accept no new clients at a listener; a `successor` with the same port may serve them.
    RetireListener {
        number: u32,
        successor: Option<u32>,
    },
    /// Return true if the listener answers the client of an allocation.
    IsListenerUsed {
        number: u32,
        reply: oneshot::Sender<bool>,
    },
    CloseListener(u32),
    /// Open a socket with these options for each client, and accept no others.
    PrepareHandover {
        options: UdpOptions,
        reply: oneshot::Sender<io::Result<()>>,
    },
    /// Accept new clients again.
    AbortHandover,
    /// Stop reading from the listeners; reply when done.
    CommitHandover(oneshot::Sender<()>),
    /// Close per-client sockets whose client has disconnected.
    CloseUnusedClientSockets,
    /// Offer TLS and DTLS with these servers to new clients, or not at all.
    SetTls(Option<Arc<TlsServer>>, Option<Arc<DtlsServer>>),
}

/// What remains to be done after the effects of a command are performed.
pub(crate) enum AfterCommand {
    Continue,
    /// Reply to the supervisor whether the allocation was found.
    Reply(oneshot::Sender<bool>, bool),
    Stop,
}

pub(crate) type CommandSender = mpsc::Sender<Command>;
pub(crate) type CommandReceiver = mpsc::Receiver<Command>;

/// The channel of one shard. A sender waits while [`MAX_COMMANDS`] are in it.
pub(crate) fn channel() -> (CommandSender, CommandReceiver) {
    mpsc::channel(MAX_COMMANDS)
}

impl Command {
    /// Carries the command out.
    pub(crate) fn execute(
        self,
        server: &mut Server,
        clients: &mut Clients,
        now: Instant,
    ) -> AfterCommand {
        match self {
            Command::Stop => {
                server.end_all(now, EndReason::Stopped);
                return AfterCommand::Stop;
            }
            Command::Ping(reply) => send_reply(reply, ()),
            #[cfg(test)]
            Command::Panic(message) => panic!("{message}"),
            Command::CloseAllocation { id, reply } => {
                let found = server.end_allocation(now, id, EndReason::Closed);
                return AfterCommand::Reply(reply, found);
            }
            Command::ReplacePolicy(policy) => server.replace_policy(policy),
            Command::ListAllocations {
                after,
                limit,
                reply,
            } => send_reply(reply, server.list_allocations(now, after, limit)),
            Command::FindAllocation { id, reply } => {
                send_reply(reply, server.allocation(now, id).map(Box::new));
            }
            Command::OpenListener { number, sockets } => {
                if let Err(error) = clients.open_listener(number, sockets) {
                    tracing::error!(%error, "new listener could not be registered with the runtime");
                }
            }
            Command::RetireListener { number, successor } => {
                clients.retire_listener(number, successor);
            }
            Command::IsListenerUsed { number, reply } => {
                send_reply(reply, clients.uses_listener(server.clients(), number));
            }
            Command::CloseListener(number) => clients.close_listener(number),
            Command::PrepareHandover { options, reply } => {
                send_reply(reply, clients.prepare_handover(server.clients(), &options));
            }
            Command::AbortHandover => clients.abort_handover(),
            Command::CommitHandover(reply) => {
                clients.commit_handover();
                send_reply(reply, ());
            }
            Command::CloseUnusedClientSockets => {
                clients
                    .close_unused_client_sockets(|ends| server.has_allocation(&udp_tuple(*ends)));
            }
            Command::SetTls(tls, dtls) => clients.set_tls(tls, dtls),
        }
        AfterCommand::Continue
    }
}

/// Replies to the supervisor, which may have stopped waiting.
pub(crate) fn send_reply<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}

/// The five-tuple of a client over plain UDP.
pub(crate) fn udp_tuple((client, server): ClientEnds) -> FiveTuple {
    FiveTuple {
        client,
        server,
        transport: Transport::Udp,
    }
}

const MAX_COMMANDS: usize = 64;
