//! The running server: executes signals and admin commands one at a time, drains, and hands over.

use crate::cli::flags::Flags;
use crate::cli::logs::LogFilter;
use crate::cli::serve::handover;
use crate::cli::serve::signals::{Signal, Signals};
use crate::cli::serve::startup_report::web_settings;
use crate::cli::serve::systemd::notify;
use crate::config::schema::AnyKey;
use crate::config::{Diagnostic, Error, HostInfo, Layer, Settings, resolve, schema};
use crate::net::TlsServer;
use crate::relay::ListenerChanges;
use crate::relay::Supervisor;
use crate::relay::observe::escaped::Escaped;
use crate::relay::supervisor::failure::ShardFailure;
use crate::service::admin::{
    AdminCommand, ApiError, BlockedUntil, BlockedUser, DrainReport, DrainState, LogLevel, PlanKey,
    PlanReport, Unblocked,
};
use crate::service::admin::{ListenerReport, ReloadReport};
use crate::service::certificates::CertificateFiles;
use crate::service::certificates::CertificateStore;
use crate::service::web::Web;
use crate::turn::policy::credentials::account;
use serde_json::json;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What a running server consists of.
pub(super) struct ServerParts {
    /// The command line. A reload merges its flags with the file as it is then.
    pub flags: Flags,
    /// The host as it was at the start.
    pub host: HostInfo,
    /// The configuration that is in effect.
    pub layer: Layer,
    /// The configuration that is in effect, resolved.
    pub settings: Settings,
    pub relay: Arc<Supervisor>,
    pub web: Option<Web>,
    /// The certificates, if there is TLS.
    pub certificates: Option<WatchedCertificates>,
    pub log_filter: LogFilter,
    /// Shared with the admin API.
    pub drain: Arc<DrainState>,
    pub stop_services: watch::Sender<bool>,
}

/// The certificates, and the task that watches their files.
pub(super) struct WatchedCertificates {
    pub certificates: CertificateStore,
    pub watcher: AbortHandle,
}

impl WatchedCertificates {
    pub(super) fn watch(certificates: CertificateStore) -> WatchedCertificates {
        let watcher = tokio::spawn(certificates.clone().watch()).abort_handle();
        WatchedCertificates {
            certificates,
            watcher,
        }
    }
}

/// The running server.
pub(super) struct RunningServer {
    pub(super) parts: ServerParts,
    draining: Option<Draining>,
    /// Another server process has taken over the ports.
    pub(super) handed_over: bool,
    blocked: Vec<Block>,
}

/// A user who gets no allocations for a while.
struct Block {
    user: String,
    /// End of the block, in Unix time.
    until: Duration,
}

struct Draining {
    deadline: Instant,
    /// The last report of the progress.
    reported_allocations: u32,
    reported_at: Instant,
}

impl RunningServer {
    pub(super) fn new(parts: ServerParts) -> RunningServer {
        RunningServer {
            parts,
            draining: None,
            handed_over: false,
            blocked: Vec::new(),
        }
    }

    /// Runs until a signal stops the server or it has drained, and drops the relay.
    ///
    /// # Errors
    /// A shard has died.
    pub(super) async fn run(
        mut self,
        mut signals: Signals,
        mut commands: mpsc::Receiver<AdminCommand>,
        mut handover_socket: Option<UnixListener>,
    ) -> Result<(), ShardFailure> {
        let relay = self.parts.relay.clone();
        let mut drain_check = tokio::time::interval(DRAIN_CHECK_INTERVAL);
        let mut maintenance = tokio::time::interval(MAINTENANCE_INTERVAL);
        let result = loop {
            let stops = tokio::select! {
                failure = relay.failed() => break Err(failure),
                signal = signals.next() => self.handle_signal(signal).await,
                Some(command) = commands.recv() => {
                    self.execute(command).await;
                    false
                }
                _ = drain_check.tick() => self.is_drained(),
                _ = maintenance.tick() => {
                    self.maintain().await;
                    false
                }
                stream = handover::accept(&handover_socket) => {
                    if self.hand_over(stream).await {
                        handover_socket = None;
                    }
                    false
                }
            };
            if stops {
                break Ok(());
            }
        };
        if let Some(watched) = &self.parts.certificates {
            watched.watcher.abort();
        }
        result
    }

    /// Returns true if the server stops now.
    async fn handle_signal(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt => {
                tracing::info!("SIGINT: stopping");
                true
            }
            Signal::Terminate if self.draining.is_some() => {
                tracing::info!("second SIGTERM: stopping at once");
                true
            }
            Signal::Terminate => {
                self.drain(self.parts.settings.drain_timeout).await;
                self.is_drained()
            }
            Signal::HangUp => {
                // `reload` logs its result.
                let _ = self.reload("SIGHUP").await;
                false
            }
        }
    }

    /// Executes a command. A reply is not sent if the client of the request has disconnected.
    async fn execute(&mut self, command: AdminCommand) {
        match command {
            AdminCommand::Reload(reply) => {
                let report = self.reload("admin API").await;
                let report = report.map_err(|error| ApiError::BadRequest(error.to_string()));
                let _ = reply.send(report);
            }
            AdminCommand::Drain { deadline, reply } => {
                let time = deadline.unwrap_or(self.parts.settings.drain_timeout);
                let _ = reply.send(Ok(self.drain(time).await));
            }
            AdminCommand::SetLogLevel { filter, reply } => {
                let _ = reply.send(match self.parts.log_filter.set(&filter) {
                    true => Ok(LogLevel { filter }),
                    false => Err(ApiError::BadRequest(format!(
                        "`{filter}` is not a log filter; write info or info,hairpin::relay=debug"
                    ))),
                });
            }
            AdminCommand::GetLogLevel(reply) => {
                let _ = reply.send(Ok(LogLevel {
                    filter: self.parts.log_filter.get(),
                }));
            }
            AdminCommand::Block { user, time, reply } => {
                let _ = reply.send(Ok(self.block(&user, time).await));
            }
            AdminCommand::Unblock { user, reply } => {
                let _ = reply.send(self.unblock(&user).await);
            }
            AdminCommand::ListBlocked(reply) => {
                let now = unix_time();
                let users = self.blocked.iter().map(|block| BlockedUser {
                    user: block.user.clone(),
                    seconds_left: block.until.saturating_sub(now).as_secs(),
                });
                let _ = reply.send(Ok(users
                    .filter(|blocked| blocked.seconds_left > 0)
                    .collect()));
            }
            AdminCommand::DescribePlan(reply) => {
                let keys = self
                    .parts
                    .layer
                    .describe()
                    .into_iter()
                    .map(|description| PlanKey {
                        key: description.key,
                        values: description.values,
                        origins: description.origins,
                        default: description.default,
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
        let until = unix_time().saturating_add(time);
        self.blocked.retain(|block| block.user != user);
        self.blocked.push(Block {
            user: user.clone(),
            until,
        });
        self.apply().await;
        tracing::info!(user = %Escaped(&user), seconds = time.as_secs(), "user blocked");
        BlockedUntil { user, until }
    }

    async fn unblock(&mut self, user: &str) -> Result<Unblocked, ApiError> {
        let user = account(user).to_owned();
        let before = self.blocked.len();
        self.blocked.retain(|block| block.user != user);
        if self.blocked.len() == before {
            return Err(ApiError::NotFound(format!("user {user} is not blocked")));
        }
        self.apply().await;
        Ok(Unblocked { unblocked: user })
    }

    /// Reloads the configuration and logs the result. Keys that need a restart keep their values.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration. Nothing has changed then.
    async fn reload(&mut self, trigger: &str) -> Result<ReloadReport, Error> {
        let result = self.try_reload().await;
        match &result {
            Ok(report) => {
                let report = json!(report);
                tracing::info!(%report, "{trigger}: configuration reloaded");
            }
            Err(error) => {
                tracing::error!("{trigger}: configuration refused, nothing has changed: {error}");
                if let Some(watched) = &self.parts.certificates {
                    watched.certificates.count_invalid_files();
                }
            }
        }
        result
    }

    async fn try_reload(&mut self) -> Result<ReloadReport, Error> {
        let loaded = self.parts.flags.load()?;
        let host = HostInfo {
            public: self.parts.host.public,
            ..HostInfo::detect(self.parts.host.secret.clone())
        };
        // The whole file must be valid, also the keys that take effect after a restart only.
        resolve(&loaded, &host)?;
        let (restart, changed): (Vec<_>, Vec<_>) = self
            .parts
            .layer
            .changed_keys(&loaded)
            .map(AnyKey::info)
            .partition(|info| info.restart);
        let realms_changed = self.parts.layer.realms != loaded.realms;
        let layer = loaded.keep(&self.parts.layer, |key| key.info().restart);
        let mut settings = resolve(&layer, &self.parts.host)?;
        let changes = self.apply_listeners(&layer, &mut settings).await?;

        // Nothing can fail from here on.
        if self.parts.settings.logs.level != settings.logs.level {
            self.parts.log_filter.set(&settings.logs.level);
        }
        settings.plan.policy.own_addresses = self.parts.settings.plan.policy.own_addresses.clone();
        self.parts.layer = layer;
        self.parts.settings = settings;
        self.apply().await;
        let settings = &self.parts.settings;
        if let Some(web) = &self.parts.web {
            web.replace_settings(web_settings(settings, &self.parts.relay, &self.parts.host));
        }
        let warnings = settings.warnings.iter().chain(&settings.advice);
        let names = |infos: Vec<&schema::KeyInfo>| -> Vec<String> {
            infos.iter().map(|info| info.name.to_owned()).collect()
        };
        let mut changed = names(changed);
        if realms_changed {
            changed.push("realms".into());
        }
        Ok(ReloadReport {
            changed,
            restart: names(restart),
            warnings: warnings.map(Diagnostic::to_string).collect(),
            listeners: listener_report(&changes),
        })
    }

    /// Applies the parts that can fail: the listeners, and whether they speak TLS.
    async fn apply_listeners(
        &mut self,
        layer: &Layer,
        settings: &mut Settings,
    ) -> Result<ListenerChanges, Error> {
        if self.handed_over {
            // The ports belong to another server process.
            return Ok(ListenerChanges::default());
        }
        let relay = self.parts.relay.clone();
        let old_tls = self.parts.settings.plan.secure.tls.clone();
        let new_tls = settings.plan.secure.tls.clone();
        let toggles_tls = old_tls.is_some() != new_tls.is_some();
        if toggles_tls {
            relay
                .set_tls(new_tls.clone())
                .await
                .map_err(|error| error_of_key(layer, &schema::CERTIFICATE, &error))?;
        }
        let changes = match relay.set_listeners(&settings.plan.listeners).await {
            Ok(changes) => changes,
            Err(error) => {
                if toggles_tls && let Err(error) = relay.set_tls(old_tls).await {
                    tracing::error!(%error, "TLS could not be restored after a refused reload");
                }
                let message = format_args!("a listener cannot be opened: {error}");
                return Err(error_of_key(layer, &schema::LISTEN, &message));
            }
        };
        if old_tls.is_some() && new_tls.is_some() {
            // The running TLS server has the certificate that ACME ordered, the new one does not.
            settings.plan.secure.tls = old_tls;
        }
        self.apply_certificates(new_tls, settings.tls.files.clone());
        Ok(changes)
    }

    fn apply_certificates(
        &mut self,
        new_tls: Option<Arc<TlsServer>>,
        files: Vec<CertificateFiles>,
    ) {
        let certificates = &mut self.parts.certificates;
        match (certificates.take(), new_tls) {
            (Some(watched), Some(_)) => {
                watched.certificates.set_files(files);
                watched.certificates.reload();
                *certificates = Some(watched);
            }
            (Some(watched), None) => watched.watcher.abort(),
            (None, Some(tls)) => {
                *certificates = Some(WatchedCertificates::watch(CertificateStore::new(
                    tls, files,
                )));
            }
            (None, None) => {}
        }
    }

    /// Replaces the relay's policy by the settings, with the drain and the blocks that came since.
    async fn apply(&mut self) {
        let now = unix_time();
        self.blocked.retain(|block| block.until > now);
        let parts = &self.parts;
        let mut policy = parts.settings.plan.policy.clone();
        policy.draining = self.draining.is_some();
        policy.blocked = self
            .blocked
            .iter()
            .map(|block| (block.user.as_str().into(), block.until))
            .collect();
        parts.relay.set_answer_rate(parts.settings.plan.answer_rate);
        parts.relay.replace_policy(policy).await;
    }

    /// Hands the ports over to the server that connected, and drains. Returns false if the handover
    /// failed.
    async fn hand_over(&mut self, stream: UnixStream) -> bool {
        if let Err(error) = handover::hand_over(stream, &self.parts.relay).await {
            tracing::warn!(%error, "another server did not take over");
            return false;
        }
        tracing::info!("another server has taken over the ports and serves new clients");
        self.handed_over = true;
        let _ = self.parts.stop_services.send(true);
        self.drain(self.parts.settings.drain_timeout).await;
        true
    }

    /// Closes unused listeners, and denies peers at addresses that the host has acquired since.
    async fn maintain(&mut self) {
        if self.parts.relay.host_addresses_changed() {
            self.apply().await;
        }
        if self.handed_over {
            return self.parts.relay.close_unused_client_sockets().await;
        }
        for address in self.parts.relay.close_unused_listeners().await {
            tracing::info!(%address, "a removed listener has lost its last allocation and is closed");
        }
    }

    /// Refuses new allocations from now on. Existing allocations are ended after `time`.
    async fn drain(&mut self, time: Duration) -> DrainReport {
        let now = Instant::now();
        // First of all: a load balancer that asks /readyz must stop sending clients here.
        self.parts.drain.start(time);
        let allocations = self.parts.relay.statistics().allocations;
        self.draining = Some(Draining {
            deadline: now + time,
            reported_allocations: allocations,
            reported_at: now,
        });
        self.apply().await;
        tracing::info!(
            allocations,
            seconds = time.as_secs_f64(),
            "draining: no new allocations"
        );
        notify_draining(allocations);
        DrainReport {
            draining: true,
            allocations,
            seconds: time.as_secs_f64(),
        }
    }

    /// Returns true if the server drains and has no allocations left, or no time. Reports the
    /// progress otherwise.
    fn is_drained(&mut self) -> bool {
        let Some(draining) = &mut self.draining else {
            return false;
        };
        let (now, allocations) = (Instant::now(), self.parts.relay.statistics().allocations);
        let left = draining.deadline.saturating_duration_since(now);
        if allocations == 0 {
            tracing::info!("drained: stopping");
            return true;
        }
        if left.is_zero() {
            tracing::warn!(allocations, "drain timeout expired: stopping");
            return true;
        }
        let interval = match draining.reported_allocations == allocations {
            true => MAX_REPORT_INTERVAL,
            false => MAINTENANCE_INTERVAL,
        };
        if now >= draining.reported_at + interval {
            draining.reported_allocations = allocations;
            draining.reported_at = now;
            tracing::info!(
                allocations,
                seconds_left = left.as_secs_f64().round(),
                "draining"
            );
            notify_draining(allocations);
        }
        false
    }
}

fn listener_report(changes: &ListenerChanges) -> Option<ListenerReport> {
    let texts = |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect();
    (*changes != ListenerChanges::default()).then(|| ListenerReport {
        added: texts(&changes.added),
        removed: texts(&changes.removed),
    })
}

fn error_of_key(layer: &Layer, key: &dyn AnyKey, message: &dyn Display) -> Error {
    Diagnostic::new(&layer.source(key), message.to_string()).into()
}

/// Reports the progress of draining to the service manager, and extends its stop timeout
/// (`EXTEND_TIMEOUT_USEC`).
fn notify_draining(allocations: u32) {
    let timeout = (MAX_REPORT_INTERVAL * 3).as_micros();
    notify(&format!(
        "STOPPING=1\nSTATUS=Draining: {allocations} allocations live\nEXTEND_TIMEOUT_USEC={timeout}"
    ));
}

fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Also the interval of drain reports while the number of allocations changes.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of drain reports while the number of allocations does not change.
const MAX_REPORT_INTERVAL: Duration = Duration::from_secs(10);
