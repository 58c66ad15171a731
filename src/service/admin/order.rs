//! What an operator orders while the server runs. The server's own loop carries it out, one order at a time.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Something to do.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again and go by it, if it is right.
    Reload,
    /// Leave: take no new allocations, and end when the last is gone or the time is up. Without a time, the configured one.
    Drain(Option<Duration>),
    /// Log as this filter says.
    LogLevel(String),
    /// Tell what is logged.
    TellLogLevel,
    /// Refuse new allocations to a user for a time.
    Block {
        /// Whom.
        user: String,
        /// For how long.
        time: Duration,
    },
    /// Let a user in again.
    Unblock {
        /// Whom.
        user: String,
    },
    /// Tell who is kept out, and for how long.
    TellBlocked,
    /// Tell the configuration and where each part of it was written.
    TellPlan,
}

/// What came of an order, as it is answered.
pub type Answer = Result<Value, Refused>;

/// Why an order was not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status of the answer.
    pub status: StatusCode,
    /// A sentence that says what to do.
    pub message: String,
}

impl Refused {
    /// What was asked for cannot be.
    pub fn wrong(message: impl Into<String>) -> Refused {
        Refused {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// There is no such thing.
    pub fn missing(message: impl Into<String>) -> Refused {
        Refused {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

/// Where orders are put.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<(Order, oneshot::Sender<Answer>)>);

impl Orders {
    /// Both ends of the way that orders take.
    pub fn channel() -> (Orders, mpsc::Receiver<(Order, oneshot::Sender<Answer>)>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Orders(sender), receiver)
    }

    /// Gives an order and waits for what comes of it.
    ///
    /// # Errors
    /// Why it was not carried out; also because the server is ending.
    pub async fn give(&self, order: Order) -> Answer {
        let gone = || Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: "the server is ending".into(),
        };
        let (answer, answered) = oneshot::channel();
        self.0.send((order, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Orders that may wait; who gives more waits too.
const WAITING: usize = 16;
