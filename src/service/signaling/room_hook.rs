//! The authentication hook: a service of the operator that admits peers to rooms.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use crate::service::http_client;
use crate::service::signaling::refusal::Refusal;

/// The hook. It receives a POST with a [`HookRequest`] as JSON. A 2xx status admits the client;
/// 401, 403 and 404 refuse it; any other outcome refuses it as `unchecked`.
#[derive(Clone, Debug)]
pub struct RoomHook {
    url: String,
    timeout: Duration,
    /// Limits the requests in progress; further ones wait within their timeout.
    permits: Arc<Semaphore>,
}

/// The body of a request to the hook.
#[derive(Clone, Debug, Serialize)]
pub struct HookRequest<'a> {
    /// The room.
    pub room: &'a str,
    /// The `token` parameter as the client sent it.
    pub token: Option<&'a str>,
    /// The client's IP address, if known.
    pub client: Option<String>,
    /// The `Origin` header as the client sent it.
    pub origin: Option<&'a str>,
}

impl RoomHook {
    /// A hook at an `http` or `https` URL, with a timeout of 2 s and 32 requests at once.
    pub fn new(url: &str) -> RoomHook {
        RoomHook {
            url: url.to_owned(),
            timeout: Duration::from_secs(2),
            permits: Arc::new(Semaphore::new(32)),
        }
    }

    /// The same hook with another timeout, from connecting to the status.
    pub fn with_timeout(self, timeout: Duration) -> RoomHook {
        RoomHook { timeout, ..self }
    }

    /// Asks the hook to admit a client.
    pub async fn admit(&self, request: &HookRequest<'_>) -> Result<(), Refusal> {
        let body = serde_json::to_vec(request).map_err(|_| Refusal::HookUnavailable)?;
        let exchange = async {
            let _permit = self
                .permits
                .acquire()
                .await
                .map_err(std::io::Error::other)?;
            http_client::post_json(&self.url, body, self.timeout).await
        };
        let response = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        match response.map(|status| status.as_u16()) {
            Ok(200..=299) => Ok(()),
            Ok(401 | 403 | 404) => Err(Refusal::RefusedByHook),
            Ok(status) => {
                tracing::warn!(
                    "unexpected status {status} from the room hook at {}",
                    self.url
                );
                Err(Refusal::HookUnavailable)
            }
            Err(error) => {
                tracing::warn!(%error, "no response from the room hook at {}", self.url);
                Err(Refusal::HookUnavailable)
            }
        }
    }
}
