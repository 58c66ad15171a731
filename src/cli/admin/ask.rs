//! One request to the operators' listener.

use crate::config::value::AdminAddress;
use axum::body::Body;
use hyper::client::conn::http1;
use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body, as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The server said no, and why: something else must be asked.
    Refused(String),
    /// What was asked is right, but there is no such thing, or the server cannot do it now.
    Missing(String),
    /// There is no server, or none that can be understood.
    Unreachable(String),
}

/// Asks, and reads the answer.
///
/// # Errors
/// No server there, or its refusal.
pub async fn ask(
    place: &AdminAddress,
    token: Option<&str>,
    request: &Request,
) -> Result<Value, Failure> {
    let unreachable = |why: String| {
        Failure::Unreachable(format!(
            "no server answers at {place}: {why}; say where it is with --admin"
        ))
    };
    let exchanged = async {
        match place {
            AdminAddress::Tcp(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(|error| error.to_string())?;
                exchange(stream, &address.to_string(), token, request).await
            }
            AdminAddress::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| error.to_string())?;
                exchange(stream, "localhost", token, request).await
            }
        }
    };
    let (status, body) = match timeout(PATIENCE, exchanged).await {
        Ok(exchanged) => exchanged.map_err(unreachable)?,
        Err(_) => return Err(unreachable("it takes too long".into())),
    };
    let answer = serde_json::from_slice(&body);
    match (status.is_success(), answer) {
        (true, Ok(answer)) => Ok(answer),
        (true, Err(error)) => Err(unreachable(format!("what it says is no JSON: {error}"))),
        (false, Ok(Value::Object(answer))) if answer.get("error").is_some_and(Value::is_string) => {
            let sentence = answer
                .get("error")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            match status == StatusCode::NOT_FOUND || status.is_server_error() {
                true => Err(Failure::Missing(sentence)),
                false => Err(Failure::Refused(sentence)),
            }
        }
        (false, _) => Err(Failure::Refused(format!(
            "{status}: {}",
            String::from_utf8_lossy(&body).trim()
        ))),
    }
}

async fn exchange<S>(
    stream: S,
    host: &str,
    token: Option<&str>,
    request: &Request,
) -> Result<(StatusCode, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut built = hyper::Request::builder()
        .method(&request.method)
        .uri(&request.path)
        .header(header::HOST, host);
    if let Some(token) = token {
        built = built.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let built = built
        .body(Body::from(request.body.clone()))
        .map_err(|error| error.to_string())?;
    let answer = sender
        .send_request(built)
        .await
        .map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = axum::body::to_bytes(Body::new(answer.into_body()), LARGEST)
        .await
        .map_err(|error| error.to_string())?;
    connection.abort();
    Ok((status, body.to_vec()))
}

/// A text as part of a path or a query.
pub fn escaped(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    text.bytes()
        .map(|octet| {
            if plain(octet) {
                char::from(octet).to_string()
            } else {
                format!("%{octet:02X}")
            }
        })
        .collect()
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read: ten thousand allocations are a tenth of it.
const LARGEST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("1700:ann/b é"), "1700%3Aann%2Fb%20%C3%A9");
    }
}
