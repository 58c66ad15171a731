//! The supervisor: starts the shards of a plan, sends them commands, watches and stops them.

pub(crate) mod failure;
pub(crate) mod listeners;

use crate::net::TlsServer;
use crate::net::dtls::DtlsServer;
use crate::net::host::{cpu, interfaces};
use crate::relay::io::clock::Clock;
use crate::relay::observe::counters::{ShardStatistics, Statistics};
use crate::relay::peer::unbound::UnboundConnections;
use crate::relay::plan;
use crate::relay::plan::{Listener, Plan};
use crate::relay::shard::command;
use crate::relay::shard::command::{Command, CommandSender};
use crate::relay::shard::event_loop::EventLoop;
use crate::relay::shard::forwarding;
use crate::relay::shard::inbox::Inbox;
use crate::relay::shard::relay::RelaySetup;
use crate::relay::supervisor::failure::{ShardFailure, panic_message};
use crate::relay::supervisor::listeners::{ListenerChanges, ListenerSet};
use crate::turn::policy::acl::OwnAddresses;
use crate::turn::{AllocationDetail, AllocationRecord, Policy, Ports, Setup, Shared};
use futures_util::future::join_all;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A running relay. Dropping it stops the shards.
#[derive(Debug)]
pub struct Supervisor {
    listeners: Mutex<ListenerSet>,
    /// The own addresses of the plan's policy.
    own: OwnAddresses,
    /// The addresses of the host that the policy contains.
    host: Mutex<Vec<IpAddr>>,
    /// The command channels of the shards, by their numbers.
    commands: Vec<CommandSender>,
    threads: Vec<JoinHandle<()>>,
    shards: Vec<ShardStatistics>,
    /// The first shard that panicked. Every shard has a clone and writes it when it dies.
    failure: watch::Sender<Option<ShardFailure>>,
    shared: Arc<Shared>,
    relay_addresses: u64,
    clock: Clock,
    tls: Mutex<Option<Arc<TlsServer>>>,
    handshake_timeout: Duration,
}

impl Supervisor {
    /// Binds the listeners of `plan` and starts its shards. When it returns, clients are served.
    ///
    /// # Errors
    /// A listener cannot be bound (the error names the address) or a thread cannot be started.
    pub fn start(plan: Plan) -> io::Result<Supervisor> {
        let cores = cpu::allowed_cores();
        let count = if plan.shards == 0 {
            cores.len()
        } else {
            plan.shards
        };
        let (listeners, sockets) = ListenerSet::bind(&plan, count)?;
        let mut policy = plan.policy.clone();
        let own = policy.own_addresses.clone();
        let host = host_addresses().unwrap_or_default();
        let bound = listeners.bound_addresses();
        policy.own_addresses = plan::complete_own_addresses(&own, &policy, &bound, &host);
        let locals: Vec<_> = policy
            .relay_addresses
            .iter()
            .map(|relay| relay.local)
            .collect();
        let relay_addresses = locals.len() as u64;
        let ports = Ports::new(locals, plan.relay_ports.clone());
        let mut shared = Shared::new(ports, random_octets()?, plan.answer_rate);
        shared.multiple_shards = count > 1;
        let mut supervisor = Supervisor {
            own,
            commands: Vec::new(),
            threads: Vec::new(),
            shards: Vec::new(),
            failure: watch::channel(None).0,
            relay_addresses,
            shared: Arc::new(shared),
            clock: Clock::start(),
            tls: Mutex::new(plan.secure.tls.clone()),
            handshake_timeout: plan.connection_limits.handshakes.timeout,
            listeners: Mutex::new(listeners),
            host: Mutex::new(host),
        };
        let dtls = dtls_server(plan.secure.tls.clone(), supervisor.handshake_timeout)?;
        let policy = Arc::new(policy);
        let (shards, receivers) = forwarding::channels(count);
        let unbound: Arc<UnboundConnections> = Arc::default();
        let mut starting = Vec::new();
        for (number, (listeners, messages)) in sockets.into_iter().zip(receivers).enumerate() {
            let seed = random_octets()?;
            let setup = RelaySetup {
                turn: supervisor.turn_setup(number, &policy)?,
                listeners,
                relay_options: plan.relay_options(),
                connection_limits: plan.connection_limits,
                secure: plan.secure.clone(),
                dtls: dtls.clone(),
                shards: shards.clone(),
                unbound: unbound.clone(),
                seed: seed
                    .first_chunk()
                    .map_or(0, |seed| u64::from_be_bytes(*seed)),
                clock: supervisor.clock,
                counters: Arc::default(),
                allocation_log: plan.allocation_log.clone(),
            };
            let (sender, commands) = command::channel();
            supervisor.commands.push(sender);
            let core = cores
                .get(number)
                .copied()
                .filter(|_| plan.pin && count > 1 && count <= cores.len());
            let inbox = Inbox::new(commands, messages);
            starting.push(supervisor.start_shard(setup, inbox, core)?);
        }
        for shard in starting {
            let statistics = shard
                .recv()
                .map_err(|_| io::Error::other("a shard did not start"))??;
            supervisor.shards.push(statistics);
        }
        #[cfg(test)]
        supervisor.panic_if_requested();
        Ok(supervisor)
    }

    /// The addresses of the listeners that accept clients, in the order of the plan, with the ports
    /// that are bound.
    pub fn listener_addresses(&self) -> Vec<SocketAddr> {
        self.listeners().open_addresses()
    }

    /// Serves new clients at these listeners and at no others. A removed listener serves its
    /// clients as long as they have an allocation: see [`Supervisor::close_unused_listeners`].
    ///
    /// # Errors
    /// A listener cannot be bound; the error names its address, and nothing has changed.
    pub async fn set_listeners(&self, listeners: &[Listener]) -> io::Result<ListenerChanges> {
        let (changes, commands) = self.listeners().change(listeners)?;
        for (shard, commands) in self.commands.iter().zip(commands) {
            for command in commands {
                // A shard that has stopped serves no listener.
                let _ = shard.send(command).await;
            }
        }
        Ok(changes)
    }

    /// Closes the removed listeners whose last allocation has ended; returns their addresses.
    pub async fn close_unused_listeners(&self) -> Vec<SocketAddr> {
        let retired = self.listeners().retired();
        let mut closed = Vec::new();
        for number in retired {
            if self.is_listener_used(number).await {
                continue;
            }
            closed.extend(self.listeners().close(number));
            self.send_all(|| Command::CloseListener(number)).await;
        }
        closed
    }

    /// Prepares the handover of the ports to another process: keeps serving the present clients and
    /// ignores new ones, so that the other process can listen on the same ports. Then call either
    /// [`Supervisor::commit_handover`] or [`Supervisor::abort_handover`].
    ///
    /// # Errors
    /// There are too few sockets for one per client, or the system is not Linux; nothing has
    /// changed then.
    pub async fn prepare_handover(&self) -> io::Result<()> {
        if cfg!(not(target_os = "linux")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let options = self.listeners().options();
        let command = |reply| Command::PrepareHandover { options, reply };
        match self.query(command, io::Result::err).await {
            None => Ok(()),
            Some(error) => {
                self.abort_handover().await;
                Err(error)
            }
        }
    }

    /// Aborts the handover and serves new clients again.
    pub async fn abort_handover(&self) {
        self.send_all(|| Command::AbortHandover).await;
    }

    /// Completes the handover. When it returns, this process receives nothing more at its
    /// listeners.
    pub async fn commit_handover(&self) {
        // `None` asks every shard.
        let _: Option<()> = self.query(Command::CommitHandover, |()| None).await;
    }

    /// After a handover: closes the sockets of clients that disconnected. If such a client returns,
    /// it reaches the other process.
    pub async fn close_unused_client_sockets(&self) {
        self.send_all(|| Command::CloseUnusedClientSockets).await;
    }

    /// Offers TLS and DTLS with this server to new clients, or not at all. Established connections
    /// stay.
    ///
    /// # Errors
    /// There is no randomness for DTLS; then nothing has changed.
    pub async fn set_tls(&self, tls: Option<Arc<TlsServer>>) -> io::Result<()> {
        let dtls = dtls_server(tls.clone(), self.handshake_timeout)?;
        self.tls().clone_from(&tls);
        self.send_all(|| Command::SetTls(tls.clone(), dtls.clone()))
            .await;
        Ok(())
    }

    /// What all shards have counted so far. Does not wait for a shard.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            shards: self.shards.clone(),
            uptime: Duration::from_nanos(self.clock.now().0),
            allocations: self.shared.ledger.allocations(),
            ports_taken: self.shared.ports.taken(),
            ports: u64::from(self.shared.ports.count()) * self.relay_addresses,
            tls: self.tls().clone(),
        }
    }

    /// Sets the limit of answers per second to unauthenticated clients of one source prefix; 0 for
    /// no limit.
    pub fn set_answer_rate(&self, rate: u32) {
        self.shared.answer_rate.set(rate);
    }

    /// Replaces the policy on every shard. Existing allocations keep what they were granted.
    pub async fn replace_policy(&self, mut policy: Policy) {
        let bound = self.listeners().bound_addresses();
        if let Some(found) = host_addresses() {
            *self.host() = found;
        }
        let mut own = policy.own_addresses.clone();
        own.listeners.extend(&self.own.listeners);
        own.addresses.extend(&self.own.addresses);
        policy.own_addresses = plan::complete_own_addresses(&own, &policy, &bound, &self.host());
        let policy = Arc::new(policy);
        self.send_all(|| Command::ReplacePolicy(policy.clone()))
            .await;
    }

    /// Returns true if the addresses of the host differ from those in the policy. Replacing the
    /// policy updates them.
    pub fn host_addresses_changed(&self) -> bool {
        host_addresses().is_some_and(|found| found != *self.host())
    }

    /// All allocations. Each shard is asked for one page after the other, so that a listing of many
    /// allocations never delays packets for long.
    pub async fn allocations(&self) -> Vec<AllocationRecord> {
        let mut all = Vec::new();
        for shard in &self.commands {
            all.extend(list_allocations(shard).await);
        }
        all
    }

    /// The allocation with this [`AllocationRecord::id`].
    pub async fn allocation(&self, id: u64) -> Option<AllocationDetail> {
        let command = |reply| Command::FindAllocation { id, reply };
        let detail = self.query(command, |detail| detail).await;
        detail.map(|detail| *detail)
    }

    /// Ends the allocation with this [`AllocationRecord::id`]; returns false if there is none.
    pub async fn close_allocation(&self, id: u64) -> bool {
        let command = |reply| Command::CloseAllocation { id, reply };
        let closed = self.query(command, |closed| closed.then_some(()));
        closed.await.is_some()
    }

    /// Waits until a shard has panicked. The clients of that shard are no longer served, its ports
    /// stay claimed, and other shards trust its relayed addresses: the process should end.
    pub async fn failed(&self) -> ShardFailure {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(failure)) => failure.clone(),
            // `self` holds a sender.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The numbers of the shards that do not reply within `deadline`, because they died, block or
    /// are overloaded.
    pub async fn unresponsive_shards(&self, deadline: Duration) -> Vec<usize> {
        unresponsive(&self.commands, deadline).await
    }

    /// Makes the last shard panic if [`PANIC_VARIABLE`] is set.
    #[cfg(test)]
    fn panic_if_requested(&self) {
        if let (Ok(message), Some(last)) = (std::env::var(PANIC_VARIABLE), self.commands.last()) {
            let _ = last.try_send(Command::Panic(message));
        }
    }

    /// Makes a shard panic.
    #[cfg(test)]
    pub(crate) async fn panic_shard(&self, number: usize, message: &str) {
        let panic = Command::Panic(message.to_owned());
        let _ = self.commands[number].send(panic).await;
    }

    /// Ends all allocations and waits until every shard has stopped.
    pub fn stop(mut self) {
        self.stop_shards();
    }

    async fn is_listener_used(&self, number: u32) -> bool {
        let command = |reply| Command::IsListenerUsed { number, reply };
        let used = self.query(command, |used| used.then_some(()));
        used.await.is_some()
    }

    async fn send_all(&self, command: impl Fn() -> Command) {
        for shard in &self.commands {
            // A shard that has stopped needs no command.
            let _ = shard.send(command()).await;
        }
    }

    /// Asks one shard after the other until `find` returns something for a reply.
    async fn query<T, U>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> Command,
        find: impl Fn(T) -> Option<U>,
    ) -> Option<U> {
        for shard in &self.commands {
            let (reply, response) = oneshot::channel();
            if shard.send(command(reply)).await.is_ok()
                && let Some(found) = response.await.ok().and_then(&find)
            {
                return Some(found);
            }
        }
        None
    }

    fn listeners(&self) -> MutexGuard<'_, ListenerSet> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tls(&self) -> MutexGuard<'_, Option<Arc<TlsServer>>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_shards(&mut self) {
        for shard in self.commands.drain(..) {
            // If the channel is full, the shard stops because the sender is dropped.
            let _ = shard.try_send(Command::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
    }

    fn turn_setup(&self, shard: usize, policy: &Arc<Policy>) -> io::Result<Setup> {
        Ok(Setup {
            policy: policy.clone(),
            shared: self.shared.clone(),
            shard: u16::try_from(shard)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            seed: random_octets()?,
            unix_at_epoch: self.clock.unix_at_epoch(),
        })
    }

    fn start_shard(
        &mut self,
        setup: RelaySetup,
        inbox: Inbox,
        core: Option<usize>,
    ) -> io::Result<StartedReceiver> {
        let number = self.threads.len();
        let name = format!("shard-{number}");
        let failure = self.failure.clone();
        let (sender, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            if let Some(core) = core
                && let Err(error) = cpu::pin(core)
            {
                tracing::debug!(core, %error, "shard could not be pinned to its core");
            }
            // Nothing of the shard is used after a panic.
            let shard = AssertUnwindSafe(|| run_shard(setup, inbox, &sender));
            if let Err(panic) = catch_unwind(shard) {
                failure.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert_with(|| ShardFailure {
                        shard: number,
                        message: panic_message(&*panic),
                    });
                    is_first
                });
            }
        })?;
        self.threads.push(thread);
        Ok(started)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop_shards();
    }
}

/// Whether a shard started.
type Started = io::Result<ShardStatistics>;
type StartedReceiver = std::sync::mpsc::Receiver<Started>;

/// The main function of a shard's thread.
fn run_shard(setup: RelaySetup, inbox: Inbox, started: &std::sync::mpsc::Sender<Started>) {
    let relay = setup.counters.clone();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let entered = runtime.enter();
    match EventLoop::new(setup, inbox) {
        Err(error) => {
            let _ = started.send(Err(error));
        }
        Ok(event_loop) => {
            let turn = event_loop.turn_counters();
            let _ = started.send(Ok(ShardStatistics { relay, turn }));
            drop(entered);
            // A spawned task is woken without a system call, unlike the future of `block_on`.
            // tokio's budget would only interrupt it for other tasks, of which there are none.
            let task = runtime.spawn(tokio::task::unconstrained(event_loop.run()));
            if let Err(error) = runtime.block_on(task)
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// The numbers of the shards that do not reply within `deadline`. All are asked at once.
async fn unresponsive(shards: &[CommandSender], deadline: Duration) -> Vec<usize> {
    let replies = shards.iter().map(async |shard| {
        let (reply, response) = oneshot::channel();
        let ping =
            async { shard.send(Command::Ping(reply)).await.is_ok() && response.await.is_ok() };
        tokio::time::timeout(deadline, ping).await.unwrap_or(false)
    });
    let replied = join_all(replies).await;
    let silent = replied.iter().enumerate().filter(|(_, replied)| !**replied);
    silent.map(|(number, _)| number).collect()
}

/// The allocations of one shard, none if it has stopped.
async fn list_allocations(shard: &CommandSender) -> Vec<AllocationRecord> {
    let mut all: Vec<AllocationRecord> = Vec::new();
    loop {
        let (reply, page) = oneshot::channel();
        let command = Command::ListAllocations {
            after: all.last().map_or(0, |last| last.id),
            limit: LISTING_PAGE,
            reply,
        };
        let sent = shard.send(command).await.is_ok();
        let page = page.await.ok().filter(|_| sent).unwrap_or_default();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn dtls_server(
    tls: Option<Arc<TlsServer>>,
    handshake_timeout: Duration,
) -> io::Result<Option<Arc<DtlsServer>>> {
    let server = tls.map(|tls| DtlsServer::new(tls, handshake_timeout));
    Ok(server.transpose()?.map(Arc::new))
}

/// The addresses of this host, sorted. `None` if they cannot be read, for example because no
/// descriptors are left.
fn host_addresses() -> Option<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = interfaces::addresses()
        .ok()?
        .into_iter()
        .map(|found| found.address)
        .collect();
    all.sort_unstable();
    Some(all)
}

fn random_octets() -> io::Result<[u8; 32]> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(io::Error::other)?;
    Ok(octets)
}

/// In a test, the environment variable whose value is the message of the panic of the last shard.
#[cfg(test)]
pub(crate) const PANIC_VARIABLE: &str = "PANIC_OF_LAST_SHARD";
/// Records that a shard builds in one piece when allocations are listed: well below a millisecond
/// of work.
const LISTING_PAGE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{FiveTuple, Instant, Traffic, Transport};

    fn record(id: u64) -> AllocationRecord {
        let address: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        AllocationRecord {
            id,
            user: "user".into(),
            realm: "realm".into(),
            client: FiveTuple {
                client: address,
                server: address,
                transport: Transport::Udp,
            },
            relayed: Vec::new(),
            peers: Vec::new(),
            started: Instant(0),
            elapsed: Duration::ZERO,
            traffic: Traffic::default(),
            end_reason: None,
        }
    }

    #[tokio::test]
    async fn shards_that_died_or_block_are_unresponsive() {
        let (alive, mut commands) = command::channel();
        let (blocked, _unread) = command::channel();
        let (full, _full) = command::channel();
        let (dead, _) = command::channel();
        while full.try_send(Command::AbortHandover).is_ok() {}
        tokio::spawn(async move {
            while let Some(Command::Ping(reply)) = commands.recv().await {
                reply.send(()).unwrap();
            }
        });
        let shards = [alive.clone(), blocked, dead, full, alive];
        let silent = unresponsive(&shards, Duration::from_millis(100)).await;
        assert_eq!(silent, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_panic_of_a_shard_is_reported_with_its_number_and_message() {
        let supervisor = Supervisor::start(Plan::loopback(2)).unwrap();
        let deadline = Duration::from_secs(10);
        assert!(supervisor.unresponsive_shards(deadline).await.is_empty());
        supervisor.panic_shard(1, "a test's panic").await;
        let failure = tokio::time::timeout(deadline, supervisor.failed()).await;
        assert_eq!(
            failure.unwrap().to_string(),
            "shard 1 panicked: a test's panic"
        );
        assert_eq!(supervisor.unresponsive_shards(deadline).await, [1]);
        supervisor.stop();
    }

    #[tokio::test]
    async fn a_listing_of_many_allocations_asks_a_shard_for_bounded_pages() {
        let (sender, mut commands) = command::channel();
        let count = LISTING_PAGE as u64 * 3 + 7;
        let shard = tokio::spawn(async move {
            let mut pages = Vec::new();
            while let Some(command) = commands.recv().await {
                let Command::ListAllocations {
                    after,
                    limit,
                    reply,
                } = command
                else {
                    panic!("{command:?}");
                };
                let page: Vec<_> = (after + 1..=count).take(limit).map(record).collect();
                pages.push(page.len());
                reply.send(page).unwrap();
            }
            pages
        });
        let listed = list_allocations(&sender).await;
        drop(sender);
        assert!(listed.iter().map(|record| record.id).eq(1..=count));
        let pages = shard.await.unwrap();
        assert_eq!(pages, [LISTING_PAGE, LISTING_PAGE, LISTING_PAGE, 7, 0]);
    }
}
