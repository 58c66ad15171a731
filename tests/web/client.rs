//! A web service on a free port, and independent clients for it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hairpin::service::ice_servers::{Credentials, IceServers};
use hairpin::service::web::{Web, WebSettings};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A running web service.
pub struct Server {
    pub web: Web,
    pub address: SocketAddr,
}

/// A peer's WebSocket.
pub struct Peer {
    pub id: String,
    pub welcome: Value,
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// An HTTP response.
pub struct Response {
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    pub original: String,
    pub body: String,
}

impl Server {
    pub async fn start(settings: WebSettings) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let web = Web::new(settings).unwrap();
        tokio::spawn({
            let web = web.clone();
            async move { web.serve(listener, std::future::pending()).await }
        });
        Server { web, address }
    }

    /// Joins a room and reads the welcome.
    pub async fn join(&self, query: &str) -> Peer {
        let mut socket = self.socket(query, &[]).await.expect("the upgrade succeeds");
        let welcome = next(&mut socket).await.expect("a first message");
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        Peer {
            id: welcome["id"].as_str().unwrap().to_owned(),
            welcome,
            socket,
        }
    }

    /// The error code and close code of a refused peer.
    pub async fn refusal(&self, query: &str) -> (String, u16) {
        let mut socket = self.socket(query, &[]).await.expect("the upgrade succeeds");
        let error = next(&mut socket).await.expect("a first message");
        assert_eq!(error["type"], "error", "{error}");
        (code(&error), close_code(&mut socket).await)
    }

    pub async fn socket(
        &self,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, tungstenite::Error> {
        let mut request = format!("ws://{}/signal?{query}", self.address)
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Ok(within(tokio_tungstenite::connect_async(request)).await?.0)
    }

    /// Sends an HTTP request; `headers` are lines.
    pub async fn request(&self, request: &str, headers: &[&str], body: &str) -> Response {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut text = format!(
            "{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        if !headers
            .iter()
            .any(|line| line.to_ascii_lowercase().starts_with("host:"))
        {
            text += &format!("Host: {}\r\n", self.address);
        }
        for line in headers {
            text += &format!("{line}\r\n");
        }
        stream
            .write_all(format!("{text}\r\n{body}").as_bytes())
            .await
            .unwrap();
        let mut response = String::new();
        within(stream.read_to_string(&mut response)).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status line");
        Response {
            status,
            head: head.to_ascii_lowercase(),
            original: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

impl Server {
    /// The entity tag of a path.
    pub async fn entity_tag(&self, path: &str) -> String {
        let response = self.request(&format!("GET {path}"), &[], "").await;
        let line = response
            .original
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("etag:"))
            .expect("an entity tag");
        line.split_once(": ").unwrap().1.to_owned()
    }
}

impl Peer {
    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        within(self.socket.send(Message::text(text))).await.unwrap();
    }

    /// The next JSON message.
    pub async fn next(&mut self) -> Value {
        next(&mut self.socket)
            .await
            .expect("the connection is open")
    }

    /// The code of the error that comes next.
    pub async fn error(&mut self) -> String {
        let error = self.next().await;
        assert_eq!(error["type"], "error", "{error}");
        assert!(
            !error["name"].as_str().unwrap().is_empty()
                && !error["message"].as_str().unwrap().is_empty()
        );
        code(&error)
    }

    pub fn resume(&self) -> String {
        self.welcome["resume"].as_str().unwrap().to_owned()
    }

    pub async fn close_code(&mut self) -> u16 {
        close_code(&mut self.socket).await
    }

    /// Asserts that the server has processed everything and sent no other message: the next one is
    /// the error for a message that is not JSON.
    pub async fn assert_no_other_message(&mut self) {
        self.send_text("not JSON").await;
        assert_eq!(self.error().await, "bad-json");
    }
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON: {}", self.body))
    }
}

/// One URL of each kind, and credentials minted from the secret `north`.
pub fn servers() -> IceServers {
    let urls = [
        "stun:{host}:3478",
        "turn:{host}:3478?transport=udp",
        "turn:{host}:3478?transport=tcp",
    ];
    IceServers {
        urls: urls.map(String::from).into(),
        credentials: Credentials::Minted {
            secret: "north".into(),
        },
        ..IceServers::default()
    }
}

/// Fails if the future takes 30 s.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("done within 30 s")
}

async fn next(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Option<Value> {
    loop {
        match within(socket.next()).await?.ok()? {
            Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn close_code(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> u16 {
    loop {
        match within(socket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(Message::Ping(_) | Message::Text(_))) => {}
            other => panic!("a close frame instead of {other:?}"),
        }
    }
}

fn code(error: &Value) -> String {
    error["code"].as_str().expect("a code").to_owned()
}
