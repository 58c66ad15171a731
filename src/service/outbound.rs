//! One bounded HTTP request to a URL of the operator's: hooks, never anything that a client named.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Posts JSON to an `http` or `https` URL and returns the status of the answer; its body is not read. Redirects are
/// not followed. `https` is verified against the root certificates of Mozilla's program.
///
/// # Errors
/// A URL that is none, no connection, no answer, or not all of it within `within`.
pub async fn post_json(url: &str, body: Vec<u8>, within: Duration) -> io::Result<u16> {
    let asked = async {
        let target = Target::parse(url)?;
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        if !target.secure {
            return exchange(stream, target.request(body)?).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(tls()?))
            .connect(name, stream)
            .await?;
        exchange(stream, target.request(body)?).await
    };
    tokio::time::timeout(within, asked)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

struct Target {
    secure: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> io::Result<Target> {
        let wrong = |why: &'static str| io::Error::new(io::ErrorKind::InvalidInput, why);
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("no host"))?;
        Ok(Target {
            secure,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            authority: authority
                .as_str()
                .rsplit('@')
                .next()
                .unwrap_or_default()
                .to_owned(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    fn request(&self, body: Vec<u8>) -> io::Result<Request<Body>> {
        Request::post(self.path.as_str())
            .header(header::HOST, self.authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("hairpin/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body))
            .map_err(io::Error::other)
    }
}

async fn exchange<S>(stream: S, request: Request<Body>) -> io::Result<u16>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut ask, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut answer = std::pin::pin!(ask.send_request(request));
    // The connection may end with the answer in hand, or before there is one: the answer knows.
    let answer = tokio::select! {
        answer = answer.as_mut() => answer,
        _ = connection => answer.await,
    };
    Ok(answer.map_err(io::Error::other)?.status().as_u16())
}

fn tls() -> io::Result<ClientConfig> {
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
    Ok(builder
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_targets() {
        let target = Target::parse("https://user@hook.example/a?b=c").unwrap();
        assert_eq!(
            (target.secure, target.host.as_str(), target.port),
            (true, "hook.example", 443)
        );
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("hook.example", "/a?b=c")
        );
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.path.as_str()),
            ("::1", 8080, "/")
        );
        assert!(Target::parse("ftp://x").is_err());
        assert!(Target::parse("/hook").is_err());
    }
}
