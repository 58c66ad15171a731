//! Commands that the main loop of the server executes, one at a time, and their replies.

use crate::service::admin::error::ApiError;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// A command, with the sender of its reply.
#[derive(Debug)]
pub enum AdminCommand {
    /// Read the configuration again and apply it if it is valid.
    Reload(Reply<ReloadReport>),
    /// Reject new allocations; exit after the last one ended or at the deadline.
    Drain {
        /// Time until allocations are ended; `None` for the configured one.
        deadline: Option<Duration>,
        /// Receives the state of the drain.
        reply: Reply<DrainReport>,
    },
    /// Replace the log filter.
    SetLogLevel {
        /// A filter such as `info,hairpin::relay=debug`.
        filter: String,
        /// Receives the new filter.
        reply: Reply<LogLevel>,
    },
    /// Read the log filter.
    GetLogLevel(Reply<LogLevel>),
    /// Reject new allocations of a user for a time.
    Block {
        /// The user; the expiry of a time-limited name is ignored.
        user: String,
        /// For how long.
        time: Duration,
        /// Receives the end of the block.
        reply: Reply<BlockedUntil>,
    },
    /// End the block of a user.
    Unblock {
        /// The user; the expiry of a time-limited name is ignored.
        user: String,
        /// Receives the name of the user.
        reply: Reply<Unblocked>,
    },
    /// List blocked users.
    ListBlocked(Reply<Vec<BlockedUser>>),
    /// Describe the configuration.
    DescribePlan(Reply<PlanReport>),
}

/// The sender of the reply to a command.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// Sends commands to the main loop.
#[derive(Clone, Debug)]
pub struct CommandSender(mpsc::Sender<AdminCommand>);

impl CommandSender {
    /// Creates a bounded channel for commands.
    pub fn channel() -> (CommandSender, mpsc::Receiver<AdminCommand>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (CommandSender(sender), receiver)
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The error of the command, or that the server is shutting down.
    pub(super) async fn execute<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> AdminCommand,
    ) -> Result<T, ApiError> {
        let (reply, receiver) = oneshot::channel();
        self.0
            .send(command(reply))
            .await
            .map_err(|_| ApiError::ShuttingDown)?;
        receiver.await.map_err(|_| ApiError::ShuttingDown)?
    }
}

/// The outcome of a reload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReloadReport {
    /// Keys that changed and are applied.
    pub changed: Vec<String>,
    /// Keys that changed but need a restart.
    pub restart: Vec<String>,
    /// Warnings about the configuration.
    pub warnings: Vec<String>,
    /// Listeners that were opened and closed; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub listeners: Option<ListenerReport>,
}

/// Listeners that a reload opened and closed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ListenerReport {
    /// Addresses that accept clients since this reload.
    pub added: Vec<String>,
    /// Addresses that accept no new clients any more.
    pub removed: Vec<String>,
}

/// The state of a drain that has started.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct DrainReport {
    /// Always true.
    pub draining: bool,
    /// Allocations that are still alive.
    pub allocations: u32,
    /// Seconds until they are ended.
    pub seconds: f64,
}

/// The log filter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogLevel {
    /// For example `info` or `info,hairpin::relay=debug`.
    pub filter: String,
}

/// A user that is blocked now.
#[derive(Clone, Debug)]
pub struct BlockedUntil {
    /// The name of the user, without the expiry of a time-limited name.
    pub user: String,
    /// Unix time.
    pub until: Duration,
}

/// The outcome of unblocking a user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Unblocked {
    /// The user, without the expiry of a time-limited name.
    pub unblocked: String,
}

/// The configuration.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlanReport {
    /// Every key, in the order of the configuration file.
    pub keys: Vec<PlanKey>,
}

/// A key of the configuration.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlanKey {
    /// Its name.
    pub key: &'static str,
    /// The values given; secrets are replaced by `…`.
    pub values: Vec<String>,
    /// Where each value was given: a flag, a variable, or file and line.
    pub origins: Vec<String>,
    /// The default, which applies without values.
    pub default: String,
}

/// A blocked user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BlockedUser {
    /// The user, without the expiry of a time-limited name.
    pub user: String,
    /// Seconds until the block ends.
    pub seconds_left: u64,
}

/// Queued commands; further requests wait.
const QUEUE: usize = 16;
