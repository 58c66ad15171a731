//! A room of the signaling endpoint, where two peers find each other: the client of its WebSocket.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use crate::client::transport::tls;
use crate::client::uri::ServerUri;
use crate::peer::verdict::{CandidateKind, PairTypes};
use crate::turn::client_state::Login;

/// An entry of `iceServers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// The server.
    pub uri: ServerUri,
    /// Its credentials, empty for STUN.
    pub login: Login,
}

/// A message from the signaling endpoint.
#[derive(Debug)]
pub enum Signal {
    /// We are in the room.
    Welcome {
        /// The ids of the other peers in the room.
        peers: Vec<String>,
        /// The servers to use.
        servers: Vec<IceServer>,
        /// URLs of `iceServers` that cannot be parsed, with the reason.
        invalid: Vec<String>,
    },
    /// A peer entered the room.
    Joined(String),
    /// A peer left the room.
    Left(String),
    /// An offer.
    Offer {
        /// The sender.
        from: String,
        /// SDP.
        sdp: String,
    },
    /// An answer.
    Answer {
        /// The sender.
        from: String,
        /// SDP.
        sdp: String,
    },
    /// A candidate, or the end of candidates.
    Candidate {
        /// The sender.
        from: String,
        /// `candidate:…` in the syntax of SDP; `None` is the end of candidates.
        candidate: Option<String>,
    },
    /// The selected pair of the other peer, as the call page reports it.
    View {
        /// The sender.
        from: String,
        /// The types of its candidates.
        types: PairTypes,
    },
    /// The other peer hung up.
    Bye(String),
    /// The endpoint refused a message.
    Refused {
        /// The error code.
        code: String,
        /// The explanation.
        message: String,
    },
    /// The connection to the endpoint ended, with the reason.
    Disconnected(String),
}

/// Why the room cannot be entered.
#[derive(Debug)]
pub enum RendezvousError {
    /// The file of authorities cannot be read.
    Tls(io::Error),
    /// The endpoint is not a WebSocket URL.
    Url(tungstenite::Error),
    /// No answer within [`CONNECT_TIMEOUT`].
    NoAnswer,
    /// The endpoint answered with an HTTP error.
    Refused(StatusCode, String),
    /// Connecting failed.
    Connect(tungstenite::Error),
}

/// A connection to the signaling endpoint. Dropping it closes it.
pub struct Rendezvous {
    incoming: mpsc::Receiver<Signal>,
    outgoing: mpsc::UnboundedSender<Value>,
    writer: tokio::task::JoinHandle<()>,
}

impl Rendezvous {
    /// Enters `room` at `endpoint` (`ws://` or `wss://`), with an access token if the endpoint
    /// requires one.
    ///
    /// # Errors
    /// [`RendezvousError`].
    pub async fn enter(
        endpoint: &str,
        room: &str,
        token: Option<&str>,
        ca_file: Option<&Path>,
    ) -> Result<Rendezvous, RendezvousError> {
        let mut url = format!(
            "{endpoint}{}room={}",
            if endpoint.contains('?') { '&' } else { '?' },
            percent_encode(room)
        );
        if let Some(token) = token {
            url.push_str(&format!("&token={}", percent_encode(token)));
        }
        let tls = tls::verifying(ca_file).map_err(RendezvousError::Tls)?;
        let mut request = url.into_client_request().map_err(RendezvousError::Url)?;
        // Endpoints may admit only their own page, or give only it a relay: its origin is sent.
        if let Some(origin) = origin(endpoint) {
            request.headers_mut().insert("origin", origin);
        }
        let connect =
            connect_async_tls_with_config(request, None, true, Some(Connector::Rustls(tls)));
        let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| RendezvousError::NoAnswer)?
            .map_err(connect_error)?;
        let (mut sink, mut stream) = socket.split();
        let (outgoing, mut to_send) = mpsc::unbounded_channel::<Value>();
        let (incoming_sender, incoming) = mpsc::channel(64);
        let writer = tokio::spawn(async move {
            while let Some(message) = to_send.recv().await {
                if sink.send(Message::text(message.to_string())).await.is_err() {
                    return;
                }
            }
            let _closed = sink.close().await;
        });
        tokio::spawn(async move {
            let reason = loop {
                let signal = match stream.next().await {
                    Some(Ok(Message::Text(text))) => Signal::parse(text.as_str()),
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
            let _dropped = incoming_sender.send(Signal::Disconnected(reason)).await;
        });
        Ok(Rendezvous {
            incoming,
            outgoing,
            writer,
        })
    }

    /// Leaves the room, and waits until the close frame is sent. If the connection only broke, the
    /// endpoint would keep us in the room for a while, and the next peer would wait for us.
    pub async fn leave(self) {
        drop(self.outgoing);
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.writer).await;
    }

    /// Receives the next signal; `None` after [`Signal::Disconnected`].
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

    /// Sends a candidate and its mid in the form of `RTCIceCandidate.toJSON`, or `null` for the end
    /// of candidates.
    pub fn candidate(&self, to: &str, candidate: Option<(&str, &str)>) {
        let candidate = candidate.map(
            |(candidate, mid)| json!({"candidate": candidate, "sdpMid": mid, "sdpMLineIndex": 0}),
        );
        self.send(json!({"type": "candidate", "to": to, "candidate": candidate}));
    }

    /// Notifies a peer that we hang up.
    pub fn hang_up(&self, to: &str) {
        self.send(json!({"type": "bye", "to": to}));
    }

    fn send(&self, message: Value) {
        // If the connection has ended, `Signal::Disconnected` reports it.
        let _ = self.outgoing.send(message);
    }
}

/// The HTTP origin of the host of a `ws://` or `wss://` URL.
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
    /// Parses a message; `None` for unknown ones, because the format may grow.
    fn parse(text: &str) -> Option<Signal> {
        let message: Value = serde_json::from_str(text).ok()?;
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(match message.get("type")?.as_str()? {
            "welcome" => {
                let (servers, invalid) =
                    parse_servers(message.get("iceServers").unwrap_or(&Value::Null));
                let peers = message
                    .get("peers")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten();
                let peers = peers.filter_map(Value::as_str).map(str::to_owned).collect();
                Signal::Welcome {
                    peers,
                    servers,
                    invalid,
                }
            }
            "joined" => Signal::Joined(text("id")?),
            "left" => Signal::Left(text("id")?),
            "offer" => Signal::Offer {
                from: text("from")?,
                sdp: text("sdp")?,
            },
            "answer" => Signal::Answer {
                from: text("from")?,
                sdp: text("sdp")?,
            },
            "bye" => Signal::Bye(text("from")?),
            "error" => Signal::Refused {
                code: text("code")?,
                message: text("message").unwrap_or_default(),
            },
            "candidate" => {
                let candidate = message
                    .get("candidate")
                    .and_then(|candidate| candidate.get("candidate"));
                let candidate = candidate
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty());
                Signal::Candidate {
                    from: text("from")?,
                    candidate: candidate.map(str::to_owned),
                }
            }
            "message" => Signal::View {
                from: text("from")?,
                types: parse_view(message.get("path")?)?,
            },
            _ => return None,
        })
    }
}

/// Parses `{"local":{"type":"host",…},"remote":{"type":"relay"}}`.
fn parse_view(path: &Value) -> Option<PairTypes> {
    let kind = |end: &str| CandidateKind::from_name(path.get(end)?.get("type")?.as_str()?);
    Some(PairTypes {
        local: kind("local")?,
        remote: kind("remote")?,
    })
}

/// Parses `iceServers`: the servers, and the URLs that cannot be parsed with the reason.
fn parse_servers(list: &Value) -> (Vec<IceServer>, Vec<String>) {
    let (mut servers, mut invalid) = (Vec::new(), Vec::new());
    for entry in list.as_array().into_iter().flatten() {
        let text = |key: &str| {
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
                Ok(uri) => servers.push(IceServer {
                    uri,
                    login: Login {
                        username: text("username"),
                        password: text("credential"),
                    },
                }),
                Err(error) => invalid.push(format!("{url}: {error}")),
            }
        }
    }
    (servers, invalid)
}

/// The error of a refused handshake, with the `message` of its JSON body or the body itself.
fn connect_error(error: tungstenite::Error) -> RendezvousError {
    let tungstenite::Error::Http(response) = &error else {
        return RendezvousError::Connect(error);
    };
    let body = response
        .body()
        .as_deref()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let json: Option<Value> = serde_json::from_str(&body).ok();
    let message = json
        .as_ref()
        .and_then(|json| json.get("message").and_then(Value::as_str))
        .unwrap_or(body.trim());
    RendezvousError::Refused(response.status(), message.to_owned())
}

impl fmt::Display for RendezvousError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RendezvousError::Tls(error) => error.fmt(f),
            RendezvousError::Url(error) | RendezvousError::Connect(error) => error.fmt(f),
            RendezvousError::NoAnswer => {
                write!(f, "no answer within {} s", CONNECT_TIMEOUT.as_secs())
            }
            RendezvousError::Refused(status, message) if message.is_empty() => status.fmt(f),
            RendezvousError::Refused(status, message) => write!(f, "{status} {message}"),
        }
    }
}

impl std::error::Error for RendezvousError {}

/// Percent-encodes all octets that are not unreserved. RFC 3986 §2.3.
fn percent_encode(text: &str) -> String {
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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_lists_peers_and_servers() {
        let text = r#"{"type":"welcome","id":"me","peers":["you"],"iceServers":[{"urls":["stun:h"]},
            {"urls":["turn:h?transport=udp","turns:h","http:x"],"username":"u","credential":"c"},{"urls":"stun:i"}]}"#;
        let Some(Signal::Welcome {
            peers,
            servers,
            invalid,
        }) = Signal::parse(text)
        else {
            panic!()
        };
        assert_eq!(peers, ["you"]);
        let urls: Vec<_> = servers
            .iter()
            .map(|server| server.uri.to_string())
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
            servers[1].login,
            Login {
                username: "u".into(),
                password: "c".into(),
            }
        );
        assert_eq!(invalid.len(), 1);
    }

    #[test]
    fn the_origin_is_that_of_the_endpoints_page() {
        for (endpoint, wanted) in [
            ("ws://127.0.0.1:8080/signal", "http://127.0.0.1:8080"),
            ("wss://u:p@call.example?x=://y", "https://call.example"),
            ("WSS://[::1]:1/signal", "https://[::1]:1"),
        ] {
            assert_eq!(origin(endpoint).unwrap(), wanted);
        }
    }

    #[test]
    fn a_page_reports_the_types_of_its_pair() {
        let text = r#"{"type":"message","from":"you","path":{"nat":null,"local":{"type":"relay","relayProtocol":"tls"},"remote":{"type":"srflx"}}}"#;
        let Some(Signal::View { types, .. }) = Signal::parse(text) else {
            panic!()
        };
        assert_eq!(
            types,
            PairTypes {
                local: CandidateKind::Relay,
                remote: CandidateKind::Srflx
            }
        );
    }

    #[test]
    fn null_and_an_empty_candidate_are_the_end_of_candidates() {
        for text in ["null", r#"{"candidate":"","sdpMid":"0"}"#] {
            let text = format!(r#"{{"type":"candidate","from":"you","candidate":{text}}}"#);
            assert!(
                matches!(
                    Signal::parse(&text),
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
    fn unknown_and_incomplete_messages_are_ignored() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":"later"}"#,
            r#"{"type":"offer","sdp":"x"}"#,
        ] {
            assert!(Signal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn room_names_are_percent_encoded() {
        assert_eq!(percent_encode("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
