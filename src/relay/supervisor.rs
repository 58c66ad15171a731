//! Starts the shards of a plan, speaks to them, stops them.

use crate::net::TlsServer;
use crate::net::dtls::DtlsServer;
use crate::net::host::{cpu, interfaces};
use crate::relay::client::listeners::{ListenerChanges, Listeners};
use crate::relay::io::clock::Clock;
use crate::relay::observe::counters::{ShardStatistics, Statistics};
use crate::relay::peer::unbound::Waiting;
use crate::relay::plan;
use crate::relay::plan::{Listener, Plan};
use crate::relay::shard::event_loop::{Parts, Shard};
use crate::relay::shard::mailbox;
use crate::relay::shard::mailbox::{Letter, mailbox};
use crate::relay::shard::messages::Neighbours;
use crate::turn::policy::acl::OwnAddresses;
use crate::turn::{AllocationDetail, AllocationRecord, Policy, Ports, Setup, Shared};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A running relay: its shards' threads, and their mailboxes. Dropping it stops them.
#[derive(Debug)]
pub struct Supervisor {
    listeners: Mutex<Listeners>,
    own: OwnAddresses,
    /// The host's addresses that the policy in force goes by.
    host: Mutex<Vec<IpAddr>>,
    mailboxes: Vec<mailbox::Sender>,
    threads: Vec<JoinHandle<()>>,
    shards: Vec<ShardStatistics>,
    shared: Arc<Shared>,
    relay_addresses: u64,
    clock: Clock,
    tls: Mutex<Option<Arc<TlsServer>>>,
    /// How long a handshake may take.
    patience: Duration,
}

impl Supervisor {
    /// Binds every listener of `plan` and starts its shards. When it returns, clients are served.
    ///
    /// # Errors
    /// When a listener cannot be bound (the error names the address) or a thread cannot be started.
    pub fn start(plan: Plan) -> io::Result<Supervisor> {
        let cores = cpu::allowed_cores();
        let count = if plan.shards == 0 {
            cores.len()
        } else {
            plan.shards
        };
        let (listeners, bound) = Listeners::bind(&plan, count)?;
        let mut policy = plan.policy.clone();
        let own = policy.own_addresses.clone();
        let host = host_addresses().unwrap_or_default();
        policy.own_addresses = plan::complete(&own, &policy, &listeners.bound(), &host);
        let locals: Vec<_> = policy
            .relay_addresses
            .iter()
            .map(|relay| relay.local)
            .collect();
        let relay_addresses = locals.len() as u64;
        let mut shared = Shared::new(
            Ports::new(locals, plan.relay_ports.clone()),
            random()?,
            plan.answer_rate,
        );
        shared.multiple_shards = count > 1;
        let mut supervisor = Supervisor {
            own,
            mailboxes: Vec::new(),
            threads: Vec::new(),
            shards: Vec::new(),
            relay_addresses,
            shared: Arc::new(shared),
            clock: Clock::start(),
            tls: Mutex::new(plan.secure.tls.clone()),
            patience: plan.connection_limits.handshakes.timeout,
            listeners: Mutex::new(listeners),
            host: Mutex::new(host),
        };
        let dtls = dtls(plan.secure.tls.clone(), supervisor.patience)?;
        let policy = Arc::new(policy);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox()).unzip();
        let (neighbours, inboxes) = Neighbours::of(count);
        let waiting: Arc<Waiting> = Arc::default();
        supervisor.mailboxes = senders;
        let mut started = Vec::new();
        let sockets = bound.into_iter().zip(receivers).zip(inboxes);
        for (number, ((listeners, mailbox), inbox)) in sockets.enumerate() {
            let setup = supervisor.setup(number, &policy)?;
            let parts = Parts {
                listeners,
                relay_options: plan.relay_options(),
                connections: plan.connection_limits,
                secure: plan.secure.clone(),
                dtls: dtls.clone(),
                mailbox,
                clock: supervisor.clock,
                counters: Arc::default(),
                seed: random()?
                    .first_chunk()
                    .map_or(0, |octets| u64::from_be_bytes(*octets)),
                waiting: waiting.clone(),
                allocation_log: plan.allocation_log.clone(),
                neighbours: neighbours.clone(),
                inbox,
                setup,
            };
            let core = cores
                .get(number)
                .copied()
                .filter(|_| plan.pin && count > 1 && count <= cores.len());
            started.push(supervisor.start_shard(parts, core)?);
        }
        for answer in started {
            let statistics = answer
                .recv()
                .map_err(|_| io::Error::other("a shard did not start"))??;
            supervisor.shards.push(statistics);
        }
        Ok(supervisor)
    }

    /// The addresses of the plan's listeners, in its order, with the ports that they really have.
    pub fn listener_addresses(&self) -> Vec<SocketAddr> {
        self.listeners().open()
    }

    /// Takes clients at these listeners and at no others. Clients of one that is gone keep it as long as they have an
    /// allocation: see [`Supervisor::close_unused_listeners`].
    ///
    /// # Errors
    /// When a listener cannot be bound: the error names its address, and nothing has changed.
    pub async fn set_listeners(&self, wanted: &[Listener]) -> io::Result<ListenerChanges> {
        let (relistened, letters) = self.listeners().change(wanted)?;
        for (mailbox, letters) in self.mailboxes.iter().zip(letters) {
            for letter in letters {
                // A shard that is gone listens nowhere.
                let _ = mailbox.send(letter).await;
            }
        }
        Ok(relistened)
    }

    /// Closes the listeners that were taken away and whose last allocation has ended; tells where they were.
    pub async fn close_unused_listeners(&self) -> Vec<SocketAddr> {
        let leaving = self.listeners().leaving();
        let mut closed = Vec::new();
        for number in leaving {
            if self.uses(number).await {
                continue;
            }
            closed.extend(self.listeners().close(number));
            self.tell_all(|| Letter::Unlisten(number)).await;
        }
        closed
    }

    /// Keeps the clients that it has and takes no others, so that another process may listen on the same ports. Then either
    /// [`Supervisor::commit_handover`] or [`Supervisor::abort_handover`].
    ///
    /// # Errors
    /// When there are not sockets enough to give each client its own, or the system is not Linux; nothing has changed then.
    pub async fn prepare_handover(&self) -> io::Result<()> {
        if cfg!(not(target_os = "linux")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let options = self.listeners().options();
        match self
            .ask(|answer| Letter::StepAside(options, answer), io::Result::err)
            .await
        {
            None => Ok(()),
            Some(error) => {
                self.abort_handover().await;
                Err(error)
            }
        }
    }

    /// Takes new clients again: there is no other process after all.
    pub async fn abort_handover(&self) {
        self.tell_all(|| Letter::Stay).await;
    }

    /// Leaves the ports to the other process; nobody is at them any more when this returns.
    pub async fn commit_handover(&self) {
        // All are asked: none has anything else to say.
        let _: Option<()> = self.ask(Letter::Leave, |()| None).await;
    }

    /// Closes the sockets of clients that are gone, of a process that has left its ports: they reach the other one then.
    pub async fn close_unused_client_sockets(&self) {
        self.tell_all(|| Letter::Release).await;
    }

    /// Speaks TLS and DTLS as this says from here on, or not at all. What is established goes on.
    ///
    /// # Errors
    /// When there is no randomness to begin DTLS with; then nothing has changed.
    pub async fn set_tls(&self, tls: Option<Arc<TlsServer>>) -> io::Result<()> {
        let dtls = dtls(tls.clone(), self.patience)?;
        self.tls().clone_from(&tls);
        self.tell_all(|| Letter::Speak(tls.clone(), dtls.clone()))
            .await;
        Ok(())
    }

    /// What all shards have counted so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            shards: self.shards.clone(),
            uptime: std::time::Duration::from_nanos(self.clock.now().0),
            allocations: self.shared.ledger.allocations(),
            ports_taken: self.shared.ports.taken(),
            ports: u64::from(self.shared.ports.count()) * self.relay_addresses,
            tls: self.tls().clone(),
        }
    }

    /// Changes how often the unauthenticated of one source prefix are answered, in answers a second; 0 for no bound.
    pub fn set_answer_rate(&self, rate: u32) {
        self.shared.answer_rate.set(rate);
    }

    /// Makes every shard go by a new policy. What was granted stays granted.
    pub async fn replace_policy(&self, mut policy: Policy) {
        let bound = self.listeners().bound();
        if let Some(found) = host_addresses() {
            *self.host() = found;
        }
        policy.own_addresses = plan::complete(
            &merged(&policy.own_addresses, &self.own),
            &policy,
            &bound,
            &self.host(),
        );
        let policy = Arc::new(policy);
        self.tell_all(|| Letter::ReplacePolicy(policy.clone()))
            .await;
    }

    /// Whether the host has other addresses than when the policy was last replaced, which takes those that it has.
    pub fn host_addresses_changed(&self) -> bool {
        host_addresses().is_some_and(|found| found != *self.host())
    }

    /// The allocations that live, shard by shard.
    pub async fn allocations(&self) -> Vec<AllocationRecord> {
        let mut all = Vec::new();
        for mailbox in &self.mailboxes {
            let (answer, listed) = oneshot::channel();
            if mailbox.send(Letter::List(answer)).await.is_ok() {
                all.extend(listed.await.unwrap_or_default());
            }
        }
        all
    }

    /// All that is known of the allocation with this [`AllocationRecord::id`].
    pub async fn allocation(&self, id: u64) -> Option<AllocationDetail> {
        let detail = self
            .ask(|answer| Letter::Detail(id, answer), |detail| detail)
            .await;
        detail.map(|detail| *detail)
    }

    /// Ends the allocation with this [`AllocationRecord::id`]; tells whether there was one.
    pub async fn close_allocation(&self, id: u64) -> bool {
        self.ask(
            |answer| Letter::Close(id, answer),
            |closed| closed.then_some(()),
        )
        .await
        .is_some()
    }

    /// Ends all allocations and waits until every shard has left.
    pub fn stop(mut self) {
        self.end();
    }

    async fn tell_all(&self, letter: impl Fn() -> Letter) {
        for mailbox in &self.mailboxes {
            // A shard that is gone has nothing to go by.
            let _ = mailbox.send(letter()).await;
        }
    }

    async fn uses(&self, listener: u32) -> bool {
        self.ask(
            |answer| Letter::Uses(listener, answer),
            |used| used.then_some(()),
        )
        .await
        .is_some()
    }

    /// Asks one shard after the other, until `found` makes something of what one answers.
    async fn ask<T, U>(
        &self,
        letter: impl Fn(oneshot::Sender<T>) -> Letter,
        found: impl Fn(T) -> Option<U>,
    ) -> Option<U> {
        for mailbox in &self.mailboxes {
            let (answer, told) = oneshot::channel();
            // A shard that is gone knows nothing.
            if mailbox.send(letter(answer)).await.is_ok()
                && let Some(found) = told.await.ok().and_then(&found)
            {
                return Some(found);
            }
        }
        None
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
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
            shard: u16::try_from(number)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
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
    match Shard::new(parts) {
        Err(error) => {
            let _ = started.send(Err(error));
        }
        Ok((shard, turn)) => {
            let _ = started.send(Ok(ShardStatistics {
                relay: counters,
                turn,
            }));
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

/// What DTLS begins with, where there are certificates.
fn dtls(tls: Option<Arc<TlsServer>>, patience: Duration) -> io::Result<Option<Arc<DtlsServer>>> {
    let dtls = tls.map(|tls| DtlsServer::new(tls, patience));
    Ok(dtls.transpose()?.map(Arc::new))
}

/// The addresses of this host, in order; `None` when it cannot tell, as without a descriptor left: then those that were
/// known stay its own.
fn host_addresses() -> Option<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = interfaces::addresses()
        .ok()?
        .into_iter()
        .map(|found| found.address)
        .collect();
    all.sort_unstable();
    Some(all)
}

fn merged(one: &OwnAddresses, other: &OwnAddresses) -> OwnAddresses {
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
