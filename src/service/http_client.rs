//! The HTTP client of the server: for URLs that the operator configured (hook, webhook, ACME
//! server) and for the cloud's metadata service, never for a URL that a client sent.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A client that verifies `https` and does not follow redirects.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

impl HttpClient {
    /// Trusts the root certificates of Mozilla's program, and `authorities`.
    ///
    /// # Errors
    /// An authority is not a valid certificate.
    pub fn new(authorities: &[CertificateDer<'static>]) -> io::Result<HttpClient> {
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        for authority in authorities {
            roots.add(authority.clone()).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        // Requests are minutes apart, and a pooled connection that the server has closed would fail
        // the next one.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(HttpClient { client })
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// An invalid URL, no connection, a response larger than `max_body` octets, or one not complete
    /// within `timeout`.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        max_body: usize,
        timeout: Duration,
    ) -> io::Result<Response<Bytes>> {
        request
            .headers_mut()
            .insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(io::Error::other)?;
            let (parts, body) = response.into_parts();
            let body = to_bytes(Body::new(body), max_body)
                .await
                .map_err(io::Error::other)?;
            Ok(Response::from_parts(parts, body))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Posts JSON and returns the status of the response, whose body is not read.
    ///
    /// # Errors
    /// An invalid URL, no connection, or no response within `timeout`.
    pub async fn post_json(
        &self,
        url: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> io::Result<StatusCode> {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Body::from(body))
            .map_err(io::Error::other)?;
        let response = tokio::time::timeout(timeout, self.client.request(request))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        Ok(response.map_err(io::Error::other)?.status())
    }
}

/// Posts JSON once, with a client that trusts Mozilla's root certificates; see
/// [`HttpClient::post_json`].
///
/// # Errors
/// The errors of [`HttpClient::post_json`].
pub async fn post_json(url: &str, body: Vec<u8>, timeout: Duration) -> io::Result<StatusCode> {
    HttpClient::new(&[])?.post_json(url, body, timeout).await
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpClient")
    }
}

const USER_AGENT: &str = concat!("hairpin/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn json_is_posted_to_the_host_of_the_url_without_its_user() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{}") {
                request.push(stream.read_u8().await.unwrap());
            }
            let response = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(response).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let client = HttpClient::new(&[]).unwrap();
        let url = format!("http://user@{address}/a?b=c");
        let status = client.post_json(&url, b"{}".into(), TIMEOUT).await.unwrap();
        assert_eq!(status, StatusCode::NO_CONTENT);
        let request = server.await.unwrap().to_ascii_lowercase();
        assert!(request.starts_with("post /a?b=c http/1.1\r\n"), "{request}");
        for line in [
            &format!("host: {address}"),
            "content-type: application/json",
            "content-length: 2",
        ] {
            assert!(
                request.contains(&format!("{line}\r\n")),
                "{line}: {request}"
            );
        }
    }

    #[tokio::test]
    async fn a_url_that_is_neither_http_nor_https_is_an_error() {
        let client = HttpClient::new(&[]).unwrap();
        for url in ["ftp://127.0.0.1/", "/hook", ""] {
            assert!(
                client.post_json(url, Vec::new(), TIMEOUT).await.is_err(),
                "{url}"
            );
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(10);
}
