//! Where two peers meet: the signaling endpoint, as a client of its WebSocket.

use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use crate::client::transport::tls;
use crate::client::uri::ServerUri;
use crate::peer::call::gather::IceServer;
use crate::peer::verdict::{Kind, Types};

/// What the signaling endpoint told us.
#[derive(Debug)]
pub enum Signal {
    /// We are in.
    Welcome {
        /// Who else is there.
        peers: Vec<String>,
        /// The servers to use.
        servers: Vec<IceServer>,
        /// Entries of `iceServers` that could not be read, and why.
        unread: Vec<String>,
    },
    /// Somebody came.
    Joined(String),
    /// Somebody is gone.
    Left(String),
    /// An offer.
    Offer {
        /// Whose.
        from: String,
        /// SDP.
        sdp: String,
    },
    /// An answer.
    Answer {
        /// Whose.
        from: String,
        /// SDP.
        sdp: String,
    },
    /// A candidate as SDP writes it, or none: the end of candidates.
    Candidate {
        /// Whose.
        from: String,
        /// `candidate:…`
        candidate: Option<String>,
    },
    /// The types of the other's selected pair, as the call page tells them.
    View {
        /// Whose.
        from: String,
        /// Its own end, and ours as it sees it.
        types: Types,
    },
    /// The other hung up.
    Bye(String),
    /// The endpoint refused something.
    Refused {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// The connection to the endpoint is gone.
    Gone(String),
}

/// A connection to the signaling endpoint. Dropped, it is closed.
pub struct Rendezvous {
    incoming: mpsc::Receiver<Signal>,
    outgoing: mpsc::UnboundedSender<Value>,
    writing: tokio::task::JoinHandle<()>,
}

impl Rendezvous {
    /// Enters `room` at `endpoint` (`ws://` or `wss://`), with the room's access token where it asks for one.
    ///
    /// # Errors
    /// In words: the endpoint cannot be reached, or refuses.
    pub async fn enter(
        endpoint: &str,
        room: &str,
        token: Option<&str>,
        ca: Option<&Path>,
    ) -> Result<Rendezvous, String> {
        let mut url = format!(
            "{endpoint}{}room={}",
            if endpoint.contains('?') { '&' } else { '?' },
            percent(room)
        );
        if let Some(token) = token {
            url.push_str(&format!("&token={}", percent(token)));
        }
        let tls = tls::verifying(ca).map_err(|error| error.to_string())?;
        let mut request = url
            .into_client_request()
            .map_err(|error| error.to_string())?;
        // We are what the endpoint's own page is: many let only such in, or give only such a relay.
        if let Some(origin) = origin(endpoint) {
            request.headers_mut().insert("origin", origin);
        }
        let connecting =
            connect_async_tls_with_config(request, None, true, Some(Connector::Rustls(tls)));
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let (socket, _) = connected
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
            .map_err(refusal)?;
        let (mut sink, mut stream) = socket.split();
        let (outgoing, mut to_send) = mpsc::unbounded_channel::<Value>();
        let (incoming_sender, incoming) = mpsc::channel(64);
        let writing = tokio::spawn(async move {
            while let Some(message) = to_send.recv().await {
                if sink.send(Message::text(message.to_string())).await.is_err() {
                    return;
                }
            }
            let _gone_already = sink.close().await;
        });
        tokio::spawn(async move {
            let ending = loop {
                let signal = match stream.next().await {
                    Some(Ok(Message::Text(text))) => Signal::read(text.as_str()),
                    Some(Ok(Message::Close(frame))) => {
                        break frame.map_or_else(|| "closed".into(), |frame| frame.to_string());
                    }
                    Some(Ok(_)) => None,
                    Some(Err(error)) => break error.to_string(),
                    None => break "closed".into(),
                };
                if let Some(signal) = signal
                    && incoming_sender.send(signal).await.is_err()
                {
                    return;
                }
            };
            let _nobody_waits = incoming_sender.send(Signal::Gone(ending)).await;
        });
        Ok(Rendezvous {
            incoming,
            outgoing,
            writing,
        })
    }

    /// Leaves the room, and waits until that is said: a connection that only breaks keeps its seat for a while, and the next
    /// who enters meets nobody there.
    pub async fn leave(self) {
        drop(self.outgoing);
        let _endpoint_is_deaf = tokio::time::timeout(FAREWELL, self.writing).await;
    }

    /// The next signal; `None` after [`Signal::Gone`].
    pub async fn next(&mut self) -> Option<Signal> {
        self.incoming.recv().await
    }

    /// Sends `{"type":"offer","sdp":…}` to a peer.
    pub fn offer(&self, to: &str, sdp: &str) {
        self.send(json!({"type": "offer", "to": to, "sdp": sdp}));
    }

    /// Sends `{"type":"answer","sdp":…}` to a peer.
    pub fn answer(&self, to: &str, sdp: &str) {
        self.send(json!({"type": "answer", "to": to, "sdp": sdp}));
    }

    /// Sends a candidate as `RTCIceCandidate.toJSON` writes it, or `null`.
    pub fn candidate(&self, to: &str, candidate: Option<(&str, &str)>) {
        let candidate = candidate.map(
            |(candidate, mid)| json!({"candidate": candidate, "sdpMid": mid, "sdpMLineIndex": 0}),
        );
        self.send(json!({"type": "candidate", "to": to, "candidate": candidate}));
    }

    /// Says good-bye to a peer.
    pub fn bye(&self, to: &str) {
        self.send(json!({"type": "bye", "to": to}));
    }

    fn send(&self, message: Value) {
        // When the endpoint is gone, the signals have said so.
        let _gone = self.outgoing.send(message);
    }
}

/// The origin of a page at the host of a `ws://` or `wss://` URL.
fn origin(endpoint: &str) -> Option<HeaderValue> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let scheme = if scheme.eq_ignore_ascii_case("wss") {
        "https"
    } else {
        "http"
    };
    let authority = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    HeaderValue::from_str(&format!("{scheme}://{authority}")).ok()
}

impl Signal {
    /// Reads a message; what is unknown is passed over, as the format may grow.
    fn read(text: &str) -> Option<Signal> {
        let message: Value = serde_json::from_str(text).ok()?;
        let word = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(match message.get("type")?.as_str()? {
            "welcome" => {
                let (servers, unread) =
                    read_servers(message.get("iceServers").unwrap_or(&Value::Null));
                let peers = message
                    .get("peers")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten();
                let peers = peers.filter_map(Value::as_str).map(str::to_owned).collect();
                Signal::Welcome {
                    peers,
                    servers,
                    unread,
                }
            }
            "joined" => Signal::Joined(word("id")?),
            "left" => Signal::Left(word("id")?),
            "offer" => Signal::Offer {
                from: word("from")?,
                sdp: word("sdp")?,
            },
            "answer" => Signal::Answer {
                from: word("from")?,
                sdp: word("sdp")?,
            },
            "bye" => Signal::Bye(word("from")?),
            "error" => Signal::Refused {
                code: word("code")?,
                message: word("message").unwrap_or_default(),
            },
            "candidate" => {
                let candidate = message
                    .get("candidate")
                    .and_then(|candidate| candidate.get("candidate"));
                let candidate = candidate
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty());
                Signal::Candidate {
                    from: word("from")?,
                    candidate: candidate.map(str::to_owned),
                }
            }
            "message" => Signal::View {
                from: word("from")?,
                types: read_view(message.get("path")?)?,
            },
            _ => return None,
        })
    }
}

/// Reads `{"local":{"type":"host",…},"remote":{"type":"relay"}}`.
fn read_view(path: &Value) -> Option<Types> {
    let kind = |end: &str| Kind::from_name(path.get(end)?.get("type")?.as_str()?);
    Some(Types {
        local: kind("local")?,
        remote: kind("remote")?,
    })
}

/// Reads `iceServers`: the servers, and the entries that could not be read.
fn read_servers(list: &Value) -> (Vec<IceServer>, Vec<String>) {
    let (mut servers, mut unread) = (Vec::new(), Vec::new());
    for entry in list.as_array().into_iter().flatten() {
        let word = |key: &str| {
            entry
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let urls = match entry.get("urls") {
            Some(Value::Array(urls)) => urls.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(url)) => vec![url.as_str()],
            _ => Vec::new(),
        };
        for url in urls {
            match url.parse::<ServerUri>() {
                Ok(url) => servers.push(IceServer {
                    url,
                    username: word("username"),
                    credential: word("credential"),
                }),
                Err(error) => unread.push(format!("{url}: {error}")),
            }
        }
    }
    (servers, unread)
}

/// What an endpoint said instead of letting us in, in words.
fn refusal(error: tungstenite::Error) -> String {
    let tungstenite::Error::Http(response) = &error else {
        return error.to_string();
    };
    let body = response
        .body()
        .as_deref()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let said: Option<Value> = serde_json::from_str(&body).ok();
    let message = said
        .as_ref()
        .and_then(|said| said.get("message").and_then(Value::as_str))
        .unwrap_or(body.trim());
    format!("{} {}", response.status(), message).trim().into()
}

/// Percent-encodes what is not unreserved. RFC 3986 §2.3.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(octet.into())
            }
            _ => out.push_str(&format!("%{octet:02X}")),
        }
    }
    out
}

/// How long the endpoint may take to let us in.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to hear that we leave.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_brings_the_servers() {
        let text = r#"{"type":"welcome","id":"me","peers":["you"],"iceServers":[{"urls":["stun:h"]},
            {"urls":["turn:h?transport=udp","turns:h","http:x"],"username":"u","credential":"c"},{"urls":"stun:i"}]}"#;
        let Some(Signal::Welcome {
            peers,
            servers,
            unread,
        }) = Signal::read(text)
        else {
            panic!()
        };
        assert_eq!(peers, ["you"]);
        let urls: Vec<_> = servers
            .iter()
            .map(|server| server.url.to_string())
            .collect();
        assert_eq!(
            urls,
            [
                "stun:h:3478",
                "turn:h:3478?transport=udp",
                "turns:h:5349?transport=tcp",
                "stun:i:3478"
            ]
        );
        assert_eq!(
            (servers[1].username.as_str(), servers[1].credential.as_str()),
            ("u", "c")
        );
        assert_eq!(unread.len(), 1);
    }

    #[test]
    fn an_endpoint_has_the_origin_of_its_page() {
        for (endpoint, wanted) in [
            ("ws://127.0.0.1:8080/signal", "http://127.0.0.1:8080"),
            ("wss://u:p@call.example?x=://y", "https://call.example"),
            ("WSS://[::1]:1/signal", "https://[::1]:1"),
        ] {
            assert_eq!(origin(endpoint).unwrap(), wanted);
        }
    }

    #[test]
    fn a_page_tells_the_path_that_it_sees() {
        let text = r#"{"type":"message","from":"you","path":{"nat":null,"local":{"type":"relay","relayProtocol":"tls"},"remote":{"type":"srflx"}}}"#;
        let Some(Signal::View { types, .. }) = Signal::read(text) else {
            panic!()
        };
        assert_eq!(
            types,
            Types {
                local: Kind::Relay,
                remote: Kind::Srflx
            }
        );
    }

    #[test]
    fn the_end_of_candidates_is_told_in_two_ways() {
        for text in ["null", r#"{"candidate":"","sdpMid":"0"}"#] {
            let text = format!(r#"{{"type":"candidate","from":"you","candidate":{text}}}"#);
            assert!(
                matches!(
                    Signal::read(&text),
                    Some(Signal::Candidate {
                        candidate: None,
                        ..
                    })
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":"later"}"#,
            r#"{"type":"offer","sdp":"x"}"#,
        ] {
            assert!(Signal::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn room_names_are_escaped() {
        assert_eq!(percent("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
