//! A server that runs: what signals and operators ask of it, one thing at a time.

use super::announce::web_settings;
use super::signals::{Signal, Signals};
use crate::cli::flags::Flags;
use crate::cli::logs::Level;
use crate::config::resolve::resolve;
use crate::config::{Error, Host, Settings, Written};
use crate::relay::Supervisor;
use crate::service::admin::{Answer, Condition, Order, Refused};
use crate::service::certificates::Certificates;
use crate::service::web::Web;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What a running server consists of.
pub struct Parts {
    /// The command line, which is read again with the file.
    pub flags: Flags,
    /// The host at the start.
    pub host: Host,
    /// What was written.
    pub written: Written,
    /// What it means.
    pub settings: Settings,
    /// The relay.
    pub relay: Arc<Supervisor>,
    /// The web service.
    pub web: Option<Web>,
    /// The certificates, where TLS is spoken.
    pub certificates: Option<Certificates>,
    /// How much is logged.
    pub level: Level,
    /// How the server is, for the operators' listener.
    pub condition: Arc<Condition>,
}

/// A server that runs.
pub struct Running {
    parts: Parts,
    /// Until when allocations may live on, once the server leaves.
    leaving: Option<Instant>,
    /// Users that are kept out, and until when in Unix time.
    blocked: Vec<(String, Duration)>,
}

impl Running {
    /// A server that has just started.
    pub fn new(parts: Parts) -> Running {
        Running { parts, leaving: None, blocked: Vec::new() }
    }

    /// Does what signals and operators ask until the end; gives the relay back to be stopped.
    pub async fn run(
        mut self,
        mut signals: Signals,
        mut orders: mpsc::Receiver<(Order, oneshot::Sender<Answer>)>,
    ) -> Arc<Supervisor> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                signal = signals.next() => if self.minds(signal).await {
                    break;
                },
                Some((order, answer)) = orders.recv() => {
                    // Whoever asked may have left.
                    let _ = answer.send(self.carry_out(order).await);
                }
                _ = look.tick() => if self.is_over() {
                    break;
                },
            }
        }
        self.parts.relay
    }

    /// Whether a signal ends the server now.
    async fn minds(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt => tracing::info!("SIGINT: stopping"),
            Signal::Terminate if self.leaving.is_some() => tracing::info!("a second SIGTERM: stopping at once"),
            Signal::Terminate => {
                self.drain(self.parts.settings.drain).await;
                return self.is_over();
            }
            Signal::HangUp => {
                match self.reload().await {
                    Ok(report) => tracing::info!(%report, "SIGHUP: configuration read again"),
                    Err(error) => tracing::error!("SIGHUP: nothing has changed: {error}"),
                }
                return false;
            }
        }
        true
    }

    async fn carry_out(&mut self, order: Order) -> Answer {
        match order {
            Order::Reload => self.reload().await.map_err(|error| Refused::wrong(error.to_string())),
            Order::Drain(deadline) => Ok(self.drain(deadline.unwrap_or(self.parts.settings.drain)).await),
            Order::LogLevel(filter) => match self.parts.level.set(&filter) {
                true => Ok(json!({ "filter": filter })),
                false => {
                    Err(Refused::wrong(format!("`{filter}` is no log filter; write info or info,hairpin::relay=debug")))
                }
            },
            Order::TellLogLevel => Ok(json!({ "filter": self.parts.level.get() })),
            Order::Block { user, time } => {
                let until = unix().saturating_add(time);
                self.blocked.retain(|(known, _)| *known != user);
                self.blocked.push((user.clone(), until));
                self.apply().await;
                tracing::info!(%user, seconds = time.as_secs(), "user blocked");
                Ok(json!({ "blocked": user, "until": until.as_secs() }))
            }
            Order::Unblock { user } => {
                let before = self.blocked.len();
                self.blocked.retain(|(known, _)| *known != user);
                if self.blocked.len() == before {
                    return Err(Refused::missing(format!("{user} is not blocked")));
                }
                self.apply().await;
                Ok(json!({ "unblocked": user }))
            }
            Order::TellPlan => Ok(json!({ "keys": self.parts.written.describe() })),
        }
    }

    /// Reads the configuration again and goes by it; what needs a restart stays as it is.
    async fn reload(&mut self) -> Result<Value, Error> {
        // Whatever becomes of the rest: a bad certificate is counted, a good one is shown.
        if let Some(certificates) = &self.parts.certificates {
            certificates.reload();
        }
        let fresh = self.parts.flags.written()?;
        let known = &self.parts.host;
        let host = Host { public: known.public, ..Host::look(known.secret.clone()) };
        // The whole must be right, also what only a restart would bring.
        resolve(&fresh, &host)?;
        let changed: Vec<_> = self.parts.written.differences(&fresh).collect();
        let names = |restart: bool| -> Vec<&str> {
            changed.iter().filter(|key| key.restart == restart).map(|key| key.name).collect()
        };
        let (live, restart) = (names(false), names(true));
        let realms = self.parts.written.realms != fresh.realms;
        let written = fresh.keep(&self.parts.written, |key| key.restart);
        let mut settings = resolve(&written, &self.parts.host)?;
        settings.plan.policy.own = self.parts.settings.plan.policy.own.clone();
        let warnings: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
        if self.parts.settings.logs.level != settings.logs.level {
            self.parts.level.set(&settings.logs.level);
        }
        self.parts.written = written;
        self.parts.settings = settings;
        self.apply().await;
        let live: Vec<&str> = live.into_iter().chain(realms.then_some("realms")).collect();
        Ok(json!({ "changed": live, "restart": restart, "warnings": warnings }))
    }

    /// Makes relay and web go by the settings, and by what operators said since.
    async fn apply(&mut self) {
        let now = unix();
        self.blocked.retain(|(_, until)| *until > now);
        let parts = &self.parts;
        let mut policy = parts.settings.plan.policy.clone();
        policy.draining = self.leaving.is_some();
        policy.blocked = self.blocked.iter().map(|(user, until)| (user.as_str().into(), *until)).collect();
        parts.relay.set_answer_rate(parts.settings.plan.answer_rate);
        parts.relay.replace_policy(policy).await;
        if let Some(certificates) = &parts.certificates {
            certificates.follow(parts.settings.secure.pairs.clone());
        }
        if let Some(web) = &parts.web {
            web.replace(web_settings(&parts.settings, &parts.relay, &parts.host));
        }
    }

    /// Leaves: from here on new allocations are refused; those that live may do so for `time`.
    async fn drain(&mut self, time: Duration) -> Value {
        self.leaving = Some(Instant::now() + time);
        self.parts.condition.set_draining(true);
        self.apply().await;
        let allocations = self.parts.relay.statistics().allocations;
        tracing::info!(allocations, seconds = time.as_secs_f64(), "draining: no new allocations");
        json!({ "draining": true, "allocations": allocations, "seconds": time.as_secs_f64() })
    }

    /// Whether a leaving server has nobody left to wait for.
    fn is_over(&self) -> bool {
        let Some(until) = self.leaving else { return false };
        let allocations = self.parts.relay.statistics().allocations;
        if allocations == 0 {
            tracing::info!("drained: stopping");
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!(allocations, "the time to drain is over: stopping");
            return true;
        }
        tracing::debug!(allocations, seconds_left = left.as_secs(), "draining");
        false
    }
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Between two looks at whether a leaving server is empty.
const LOOK: Duration = Duration::from_millis(200);
