//! Starts the shards of a plan, speaks to them, stops them.

use super::clock::Clock;
use super::mailbox::{self, Letter, mailbox};
use super::neighbours::Neighbours;
use super::plan::{self, Listener, Plan};
use super::shard::{Parts, Shard};
use super::stats::{ShardStatistics, Statistics};
use super::waiting::Waiting;
use crate::net::dtls::Dtls;
use crate::net::{Tls, UdpSocket, cpu, tcp};
use crate::turn::acl::Own;
use crate::turn::{Detail, Policy, Ports, Record, Setup, Shared};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A running relay: its shards' threads, and their mailboxes. Dropping it stops them.
#[derive(Debug)]
pub struct Supervisor {
    addresses: Vec<SocketAddr>,
    own: Own,
    mailboxes: Vec<mailbox::Sender>,
    threads: Vec<JoinHandle<()>>,
    shards: Vec<ShardStatistics>,
    shared: Arc<Shared>,
    relay_addresses: u64,
    clock: Clock,
    tls: Option<Arc<Tls>>,
    dtls: Option<Arc<Dtls>>,
}

impl Supervisor {
    /// Binds every listener of `plan` and starts its shards. When it returns, clients are served.
    ///
    /// # Errors
    /// When a listener cannot be bound (the error names the address) or a thread cannot be started.
    pub fn start(plan: Plan) -> io::Result<Supervisor> {
        let cores = cpu::allowed();
        let count = if plan.shards == 0 { cores.len() } else { plan.shards };
        let bound = bind_all(&plan, count)?;
        let mut policy = plan.policy.clone();
        let own = policy.own.clone();
        policy.own = plan::complete(&own, &policy, &bound.addresses);
        let locals: Vec<_> = policy.relay_addresses.iter().map(|relay| relay.local).collect();
        let relay_addresses = locals.len() as u64;
        let mut shared = Shared::new(Ports::new(locals, plan.relay_ports.clone()), random()?, plan.answer_rate);
        shared.crosses = count > 1;
        let mut supervisor = Supervisor {
            own,
            mailboxes: Vec::new(),
            threads: Vec::new(),
            shards: Vec::new(),
            relay_addresses,
            shared: Arc::new(shared),
            clock: Clock::start(),
            tls: plan.secure.tls.clone(),
            dtls: plan.dtls()?,
            addresses: bound.addresses,
        };
        let policy = Arc::new(policy);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox()).unzip();
        let (neighbours, inboxes) = Neighbours::of(count);
        let waiting: Arc<Waiting> = Arc::default();
        supervisor.mailboxes = senders;
        let mut started = Vec::new();
        let sockets = bound.sockets.into_iter().zip(receivers).zip(inboxes);
        for (number, (((udp, tcp), mailbox), inbox)) in sockets.enumerate() {
            let setup = supervisor.setup(number, &policy)?;
            let parts = Parts {
                udp,
                tcp,
                relay_options: plan.relay_options(),
                connections: plan.connections,
                secure: plan.secure.clone(),
                dtls: supervisor.dtls.clone(),
                mailbox,
                clock: supervisor.clock,
                counters: Arc::default(),
                seed: random()?.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets)),
                waiting: waiting.clone(),
                journal: plan.journal.clone(),
                neighbours: neighbours.clone(),
                inbox,
                setup,
            };
            let core = cores.get(number).copied().filter(|_| plan.pin && count > 1 && count <= cores.len());
            started.push(supervisor.start_shard(parts, core)?);
        }
        for answer in started {
            let statistics = answer.recv().map_err(|_| io::Error::other("a shard did not start"))??;
            supervisor.shards.push(statistics);
        }
        Ok(supervisor)
    }

    /// The addresses of the plan's listeners, in its order, with the ports that they really have.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What all shards have counted so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            shards: self.shards.clone(),
            uptime: std::time::Duration::from_nanos(self.clock.now().0),
            allocations: self.shared.ledger.allocations(),
            ports_taken: self.shared.ports.taken(),
            ports: u64::from(self.shared.ports.count()) * self.relay_addresses,
            tls: self.tls.clone(),
        }
    }

    /// Changes how often the unauthenticated of one source prefix are answered, in answers a second; 0 for no bound.
    pub fn set_answer_rate(&self, rate: u32) {
        self.shared.answer_rate.set(rate);
    }

    /// Makes every shard go by a new policy. What was granted stays granted.
    pub async fn replace_policy(&self, mut policy: Policy) {
        policy.own = plan::complete(&merged(&policy.own, &self.own), &policy, &self.addresses);
        let policy = Arc::new(policy);
        for mailbox in &self.mailboxes {
            // A shard that is gone has nothing to go by.
            let _ = mailbox.send(Letter::ReplacePolicy(policy.clone())).await;
        }
    }

    /// The allocations that live, shard by shard.
    pub async fn allocations(&self) -> Vec<Record> {
        let mut all = Vec::new();
        for mailbox in &self.mailboxes {
            let (answer, listed) = oneshot::channel();
            if mailbox.send(Letter::List(answer)).await.is_ok() {
                all.extend(listed.await.unwrap_or_default());
            }
        }
        all
    }

    /// All that is known of the allocation with this [`Record::id`].
    pub async fn allocation(&self, id: u64) -> Option<Detail> {
        for mailbox in &self.mailboxes {
            let (answer, told) = oneshot::channel();
            if mailbox.send(Letter::Detail(id, answer)).await.is_ok()
                && let Some(detail) = told.await.ok().flatten()
            {
                return Some(*detail);
            }
        }
        None
    }

    /// Ends the allocation with this [`Record::id`]; tells whether there was one.
    pub async fn close(&self, id: u64) -> bool {
        for mailbox in &self.mailboxes {
            let (answer, closed) = oneshot::channel();
            if mailbox.send(Letter::Close(id, answer)).await.is_ok() && closed.await.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    /// Ends all allocations and waits until every shard has left.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // A shard whose mailbox has no writer stops too, so a full one does not matter.
        for mailbox in self.mailboxes.drain(..) {
            let _ = mailbox.try_send(Letter::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard ended in a panic");
            }
        }
    }

    /// What the protocol of a shard starts from.
    fn setup(&self, number: usize, policy: &Arc<Policy>) -> io::Result<Setup> {
        Ok(Setup {
            policy: policy.clone(),
            shared: self.shared.clone(),
            shard: u16::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            seed: random()?,
            unix_at_epoch: self.clock.unix_at_epoch(),
        })
    }

    fn start_shard(&mut self, parts: Parts, core: Option<usize>) -> io::Result<Started> {
        let name = format!("shard-{}", self.threads.len());
        let (answer, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            if let Some(core) = core
                && let Err(error) = cpu::pin(core)
            {
                tracing::debug!(core, %error, "a shard could not be kept on its core");
            }
            live(parts, &answer);
        })?;
        self.threads.push(thread);
        Ok(started)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a shard's thread says once it is up.
type Started = std::sync::mpsc::Receiver<io::Result<ShardStatistics>>;

/// The life of a shard's thread.
fn live(parts: Parts, started: &std::sync::mpsc::Sender<io::Result<ShardStatistics>>) {
    let counters = parts.counters.clone();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let entered = runtime.enter();
    match Shard::new(parts) {
        Err(error) => {
            let _ = started.send(Err(error));
        }
        Ok((shard, turn)) => {
            let _ = started.send(Ok(ShardStatistics { relay: counters, turn }));
            drop(entered);
            // As a task of its own it is woken without a system call; the budget of a task is for those who share a thread.
            let task = runtime.spawn(tokio::task::unconstrained(shard.run()));
            if let Err(error) = runtime.block_on(task)
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// The sockets of every shard.
struct Bound {
    addresses: Vec<SocketAddr>,
    sockets: Vec<(Vec<UdpSocket>, Vec<TcpListener>)>,
}

fn bind_all(plan: &Plan, shards: usize) -> io::Result<Bound> {
    let mut bound = Bound { addresses: Vec::new(), sockets: Vec::new() };
    bound.sockets.resize_with(shards, Default::default);
    for listener in &plan.listeners {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", listener.address));
        let (address, all) = bind_listener(plan, listener, shards).map_err(named)?;
        bound.addresses.push(address);
        for ((udp, tcp), (one_udp, one_tcp)) in bound.sockets.iter_mut().zip(all) {
            udp.extend(one_udp);
            tcp.extend(one_tcp);
        }
    }
    Ok(bound)
}

/// One listener's sockets of one shard.
type Pair = (Option<UdpSocket>, Option<TcpListener>);

/// Binds a listener once for each shard. Where the system chooses the port, UDP and TCP get the same one.
fn bind_listener(plan: &Plan, listener: &Listener, shards: usize) -> io::Result<(SocketAddr, Vec<Pair>)> {
    let tries = if listener.address.port() == 0 { TRIES } else { 1 };
    let mut failure = io::Error::from(io::ErrorKind::InvalidInput);
    for _ in 0..tries {
        match bind_once(plan, listener, shards) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_once(plan: &Plan, listener: &Listener, shards: usize) -> io::Result<(SocketAddr, Vec<Pair>)> {
    let mut address = listener.address;
    if listener.udp {
        // Sockets that share a port would be bound beside those of another server without an error: ask first.
        address = UdpSocket::bind(address, &plan.listener_options(false))?.local_address();
    }
    if listener.tcp {
        address = tcp::listen(address, false)?.local_addr()?;
    }
    let mut all = Vec::new();
    for _ in 0..shards {
        let udp = listener.udp.then(|| UdpSocket::bind(address, &plan.listener_options(true))).transpose()?;
        let tcp = listener.tcp.then(|| tcp::listen(address, true)).transpose()?;
        all.push((udp, tcp));
    }
    Ok((address, all))
}

fn merged(one: &Own, other: &Own) -> Own {
    let mut own = one.clone();
    own.listeners.extend(&other.listeners);
    own.addresses.extend(&other.addresses);
    own
}

fn random() -> io::Result<[u8; 32]> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(io::Error::other)?;
    Ok(octets)
}

/// Ports that the system chose for UDP and that may be taken for TCP.
const TRIES: usize = 16;
