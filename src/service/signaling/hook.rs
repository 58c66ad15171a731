//! The authentication hook: the operator's own service says who may enter a room.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use crate::service::outbound;
use crate::service::signaling::refusal::Refusal;

/// Where to ask. The hook gets `POST` with an [`Asker`] as JSON: a 2xx lets in, 401, 403 and 404 keep out, and
/// anything else, or no answer in time, keeps out as `unchecked`.
#[derive(Clone, Debug)]
pub struct Hook {
    /// An `http://` or `https://` URL.
    pub url: String,
    /// How long it may take, from the connection to the answer.
    pub within: Duration,
    /// How many questions may be under way at once; further ones wait within their time.
    pub at_once: Arc<Semaphore>,
}

/// Who asks to come in.
#[derive(Clone, Debug, Serialize)]
pub struct Asker<'a> {
    /// The room.
    pub room: &'a str,
    /// The `token` parameter, as it came.
    pub token: Option<&'a str>,
    /// The asker's IP address, if known.
    pub client: Option<String>,
    /// The `Origin` header, as it came.
    pub origin: Option<&'a str>,
}

impl Hook {
    /// A hook at `url` with 2 s of time and 32 questions at once.
    pub fn new(url: &str) -> Hook {
        Hook {
            url: url.to_owned(),
            within: Duration::from_secs(2),
            at_once: Arc::new(Semaphore::new(32)),
        }
    }

    /// Asks.
    pub async fn admit(&self, asker: &Asker<'_>) -> Result<(), Refusal> {
        let body = serde_json::to_vec(asker).map_err(|_| Refusal::Unchecked)?;
        let asked = async {
            let _turn = self
                .at_once
                .acquire()
                .await
                .map_err(std::io::Error::other)?;
            outbound::post_json(&self.url, body, self.within).await
        };
        match tokio::time::timeout(self.within, asked).await {
            Ok(Ok(200..=299)) => Ok(()),
            Ok(Ok(401 | 403 | 404)) => Err(Refusal::Refused),
            Ok(Ok(status)) => {
                tracing::warn!(
                    url = self.url,
                    status,
                    "the authentication hook gave an answer that means nothing here"
                );
                Err(Refusal::Unchecked)
            }
            Ok(Err(error)) => {
                tracing::warn!(url = self.url, %error, "the authentication hook cannot be asked");
                Err(Refusal::Unchecked)
            }
            Err(_) => {
                tracing::warn!(
                    url = self.url,
                    "the authentication hook did not answer in time"
                );
                Err(Refusal::Unchecked)
            }
        }
    }
}
