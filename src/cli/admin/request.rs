//! HTTP requests to the admin listener.

use crate::config::value::AdminAddress;
use axum::body::Body;
use hyper::client::conn::http1;
use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// A request.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Body, as text.
    pub body: String,
}

/// Why a request failed.
#[derive(Debug)]
pub enum RequestError {
    /// The server refused the request; another one has to be sent.
    Refused(String),
    /// The request is valid, but its object does not exist or the server cannot execute it now.
    Unavailable(String),
    /// There is no response.
    Unreachable(AdminAddress, io::Error),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Refused(message) | RequestError::Unavailable(message) => {
                f.write_str(message)
            }
            RequestError::Unreachable(address, error) => write!(
                f,
                "no server answers at {address}: {error}; give its admin listener with --admin"
            ),
        }
    }
}

/// Sends a request and returns the JSON of the response.
///
/// # Errors
/// The server is not there, refuses the request, or does not answer with JSON.
pub async fn send(
    address: &AdminAddress,
    token: Option<&str>,
    request: &AdminRequest,
) -> Result<Value, RequestError> {
    let unreachable = |error| RequestError::Unreachable(address.clone(), error);
    let exchange = async {
        match address {
            AdminAddress::Tcp(socket_address) => {
                let stream = TcpStream::connect(socket_address).await?;
                exchange(stream, &socket_address.to_string(), token, request).await
            }
            AdminAddress::Unix(path) => {
                exchange(
                    UnixStream::connect(path).await?,
                    "localhost",
                    token,
                    request,
                )
                .await
            }
        }
    };
    let (status, body) = match timeout(TIMEOUT, exchange).await {
        Ok(exchanged) => exchanged.map_err(unreachable)?,
        Err(elapsed) => return Err(unreachable(elapsed.into())),
    };
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| unreachable(error.into()));
    }
    let message = match serde_json::from_slice::<Value>(&body) {
        Ok(body) => body.get("error").and_then(Value::as_str).map(str::to_owned),
        Err(_) => None,
    };
    let message =
        message.unwrap_or_else(|| format!("{status}: {}", String::from_utf8_lossy(&body).trim()));
    if status == StatusCode::NOT_FOUND || status.is_server_error() {
        Err(RequestError::Unavailable(message))
    } else {
        Err(RequestError::Refused(message))
    }
}

async fn exchange<S>(
    stream: S,
    host: &str,
    token: Option<&str>,
    request: &AdminRequest,
) -> io::Result<(StatusCode, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake::<_, Body>(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let mut builder = hyper::Request::builder()
        .method(&request.method)
        .uri(&request.path)
        .header(header::HOST, host);
    if let Some(token) = token {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = builder
        .body(Body::from(request.body.clone()))
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status();
    let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_BODY).await;
    connection.abort();
    Ok((status, body.map_err(io::Error::other)?.to_vec()))
}

/// Percent-encodes a text for a path segment or a query value.
pub fn percent_encode(text: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut encoded = String::new();
    for byte in text.bytes() {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body that is read; the largest page of allocations takes a tenth of it.
const MAX_BODY: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_percent_encoded() {
        assert_eq!(percent_encode("1700:ann/b é"), "1700%3Aann%2Fb%20%C3%A9");
    }
}
