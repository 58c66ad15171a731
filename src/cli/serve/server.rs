//! A server that runs: what signals and operators ask of it, one thing at a time.

use crate::cli::flags::Flags;
use crate::cli::logs::LogFilter;
use crate::cli::serve::handover;
use crate::cli::serve::signals::{Signal, Signals};
use crate::cli::serve::systemd::notify;
use crate::config::{HostInfo, Layer, Settings};
use crate::relay::Supervisor;
use crate::relay::observe::escaped::Escaped;
use crate::service::admin::{
    AdminCommand, ApiError, BlockedUntil, BlockedUser, DrainReport, DrainState, LogLevel, PlanKey,
    PlanReport, Unblocked,
};
use crate::service::certificates::CertificateStore;
use crate::service::web::Web;
use crate::turn::policy::credentials::account;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What a running server consists of.
pub struct Parts {
    /// The command line, which is read again with the file.
    pub flags: Flags,
    /// The host at the start.
    pub host: HostInfo,
    /// What was written.
    pub written: Layer,
    /// What it means.
    pub settings: Settings,
    /// The relay.
    pub relay: Arc<Supervisor>,
    /// The web service.
    pub web: Option<Web>,
    /// The certificates, where TLS is spoken.
    pub certificates: Option<WatchedCertificates>,
    /// How much is logged.
    pub level: LogFilter,
    /// Whether the server drains, for the admin listener.
    pub drain: Arc<DrainState>,
    /// Ends the services.
    pub services_end: watch::Sender<bool>,
}

/// Certificates, and the task that looks at their files.
pub struct WatchedCertificates {
    /// The certificates.
    pub certificates: CertificateStore,
    /// Ends the looking.
    pub watching: AbortHandle,
}

impl WatchedCertificates {
    /// Begins to look at the files of `certificates`.
    pub fn watch(certificates: CertificateStore) -> WatchedCertificates {
        let watching = tokio::spawn(certificates.clone().watch()).abort_handle();
        WatchedCertificates {
            certificates,
            watching,
        }
    }
}

/// A server that runs.
pub struct RunningServer {
    pub(super) parts: Parts,
    leaving: Option<Leaving>,
    /// Another server has the ports.
    pub(super) replaced: bool,
    /// Users that are kept out, and until when in Unix time.
    blocked: Vec<(String, Duration)>,
}

/// How far a server is that leaves.
struct Leaving {
    /// Until when allocations may live on.
    until: Instant,
    /// How many there were when that was last told, and when.
    told: (u32, Instant),
}

impl RunningServer {
    /// A server that has just started.
    pub fn new(parts: Parts) -> RunningServer {
        RunningServer {
            parts,
            leaving: None,
            replaced: false,
            blocked: Vec::new(),
        }
    }

    /// Does what signals and operators ask until the end; gives the relay back to be stopped.
    pub async fn run(
        mut self,
        mut signals: Signals,
        mut commands: mpsc::Receiver<AdminCommand>,
        mut door: Option<UnixListener>,
    ) -> Arc<Supervisor> {
        let mut look = tokio::time::interval(LOOK);
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            tokio::select! {
                signal = signals.next() => if self.minds(signal).await {
                    break;
                },
                Some(command) = commands.recv() => self.execute(command).await,
                _ = look.tick() => if self.is_over() {
                    break;
                },
                _ = tidy.tick() => self.tidy().await,
                stream = handover::next(&door) => if self.hand_over(stream).await {
                    door = None;
                },
            }
        }
        if let Some(watched) = &self.parts.certificates {
            watched.watching.abort();
        }
        self.parts.relay
    }

    /// Whether a signal ends the server now.
    async fn minds(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt => tracing::info!("SIGINT: stopping"),
            Signal::Terminate if self.leaving.is_some() => {
                tracing::info!("a second SIGTERM: stopping at once")
            }
            Signal::Terminate => {
                self.drain(self.parts.settings.drain_timeout).await;
                return self.is_over();
            }
            Signal::HangUp => {
                // The log says what came of it.
                let _ = self.reload("SIGHUP").await;
                return false;
            }
        }
        true
    }

    /// Executes a command. A reply is not sent if the client of the request has disconnected.
    async fn execute(&mut self, command: AdminCommand) {
        match command {
            AdminCommand::Reload(reply) => {
                let report = self.reload("an operator").await;
                let report = report.map_err(|error| ApiError::BadRequest(error.to_string()));
                let _ = reply.send(report);
            }
            AdminCommand::Drain { deadline, reply } => {
                let time = deadline.unwrap_or(self.parts.settings.drain_timeout);
                let _ = reply.send(Ok(self.drain(time).await));
            }
            AdminCommand::SetLogLevel { filter, reply } => {
                let _ = reply.send(match self.parts.level.set(&filter) {
                    true => Ok(LogLevel { filter }),
                    false => Err(ApiError::BadRequest(format!(
                        "`{filter}` is not a log filter; write info or info,hairpin::relay=debug"
                    ))),
                });
            }
            AdminCommand::GetLogLevel(reply) => {
                let _ = reply.send(Ok(LogLevel {
                    filter: self.parts.level.get(),
                }));
            }
            AdminCommand::Block { user, time, reply } => {
                let _ = reply.send(Ok(self.block(&user, time).await));
            }
            AdminCommand::Unblock { user, reply } => {
                let _ = reply.send(self.unblock(&user).await);
            }
            AdminCommand::ListBlocked(reply) => {
                let now = unix();
                let left = self.blocked.iter().map(|(user, until)| BlockedUser {
                    user: user.clone(),
                    seconds_left: until.saturating_sub(now).as_secs(),
                });
                let _ = reply.send(Ok(left
                    .filter(|blocked| blocked.seconds_left > 0)
                    .collect()));
            }
            AdminCommand::DescribePlan(reply) => {
                let keys = self
                    .parts
                    .written
                    .describe()
                    .into_iter()
                    .map(|described| PlanKey {
                        key: described.key,
                        values: described.values,
                        origins: described.origins,
                        default: described.default,
                    });
                let _ = reply.send(Ok(PlanReport {
                    keys: keys.collect(),
                }));
            }
        }
    }

    async fn block(&mut self, user: &str, time: Duration) -> BlockedUntil {
        // Quotas count a user without the expiry of a time-limited name; so do blocks.
        let user = account(user).to_owned();
        let until = unix().saturating_add(time);
        self.blocked.retain(|(blocked, _)| *blocked != user);
        self.blocked.push((user.clone(), until));
        self.apply().await;
        tracing::info!(user = %Escaped(&user), seconds = time.as_secs(), "user blocked");
        BlockedUntil { user, until }
    }

    async fn unblock(&mut self, user: &str) -> Result<Unblocked, ApiError> {
        let user = account(user).to_owned();
        let before = self.blocked.len();
        self.blocked.retain(|(blocked, _)| *blocked != user);
        if self.blocked.len() == before {
            return Err(ApiError::NotFound(format!("user {user} is not blocked")));
        }
        self.apply().await;
        Ok(Unblocked { unblocked: user })
    }

    /// Makes the relay go by the settings, and by what operators said since.
    pub(super) async fn apply(&mut self) {
        let now = unix();
        self.blocked.retain(|(_, until)| *until > now);
        let parts = &self.parts;
        let mut policy = parts.settings.plan.policy.clone();
        policy.draining = self.leaving.is_some();
        policy.blocked = self
            .blocked
            .iter()
            .map(|(user, until)| (user.as_str().into(), *until))
            .collect();
        parts.relay.set_answer_rate(parts.settings.plan.answer_rate);
        parts.relay.replace_policy(policy).await;
    }

    /// Leaves the ports to the next server, and drains; tells whether there is one.
    async fn hand_over(&mut self, stream: UnixStream) -> bool {
        if let Err(error) = handover::give_way(stream, &self.parts.relay).await {
            tracing::warn!(%error, "another server did not take over");
            return false;
        }
        tracing::info!("another server has the ports and takes new clients");
        self.replaced = true;
        let _ = self.parts.services_end.send(true);
        self.drain(self.parts.settings.drain_timeout).await;
        true
    }

    /// Closes what nobody uses any more, and keeps relays away from addresses that the host has got since.
    async fn tidy(&mut self) {
        if self.parts.relay.host_addresses_changed() {
            self.apply().await;
        }
        if self.replaced {
            return self.parts.relay.close_unused_client_sockets().await;
        }
        for address in self.parts.relay.close_unused_listeners().await {
            tracing::info!(%address, "a listener that was taken away has lost its last allocation and is closed");
        }
    }

    /// Leaves: from here on new allocations are refused; those that live may do so for `time`.
    async fn drain(&mut self, time: Duration) -> DrainReport {
        let now = Instant::now();
        // Before anything else: who looks at it must not send anybody here from now on.
        self.parts.drain.start(time);
        let allocations = self.parts.relay.statistics().allocations;
        self.leaving = Some(Leaving {
            until: now + time,
            told: (allocations, now),
        });
        self.apply().await;
        tracing::info!(
            allocations,
            seconds = time.as_secs_f64(),
            "draining: no new allocations"
        );
        still_leaving(allocations);
        DrainReport {
            draining: true,
            allocations,
            seconds: time.as_secs_f64(),
        }
    }

    /// Whether a leaving server has nobody left to wait for.
    fn is_over(&mut self) -> bool {
        let Some(leaving) = &mut self.leaving else {
            return false;
        };
        let (now, allocations) = (Instant::now(), self.parts.relay.statistics().allocations);
        let left = leaving.until.saturating_duration_since(now);
        if allocations == 0 {
            tracing::info!("drained: stopping");
        } else if left.is_zero() {
            tracing::warn!(allocations, "the time to drain is over: stopping");
        }
        if allocations == 0 || left.is_zero() {
            return true;
        }
        let (before, at) = leaving.told;
        let pause = if before == allocations {
            PROGRESS
        } else {
            TIDY
        };
        if now >= at + pause {
            leaving.told = (allocations, now);
            tracing::info!(
                allocations,
                seconds_left = left.as_secs_f64().round(),
                "draining"
            );
            still_leaving(allocations);
        }
        false
    }
}

/// Tells the service manager that the server is on its way, so that it has patience (`EXTEND_TIMEOUT_USEC`).
fn still_leaving(allocations: u32) {
    let patience = (PROGRESS * 3).as_micros();
    notify(&format!(
        "STOPPING=1\nSTATUS=Draining: {allocations} allocations live\nEXTEND_TIMEOUT_USEC={patience}"
    ));
}

fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Between two looks at whether a leaving server is empty.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at what is not needed any more, and between two lines about a number that changes.
const TIDY: Duration = Duration::from_secs(1);
/// Between two lines about a leaving server at most.
const PROGRESS: Duration = Duration::from_secs(10);
