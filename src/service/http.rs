//! HTTP serving, shared by the web and the operators' listener: time limits, graceful shutdown, and
//! one valid `Host`.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time;
use tokio_io_timeout::TimeoutStream;
use tower_http::timeout::RequestBodyDeadline;

/// Serves HTTP/1 on one connection until it ends, becomes a WebSocket, or `stopped` turns true;
/// then the request in progress has [`SHUTDOWN_GRACE`] to finish.
///
/// A client cannot hold a connection by doing nothing. `timeout` limits each of: the wait for the
/// next request, the head of a request, its body, and the time in which the client accepts no octet
/// of a response. The last limit stays on a WebSocket.
///
/// # Errors
/// The client exceeded a limit, sent something that is not HTTP/1, or the connection broke.
pub async fn serve_connection<S>(
    stream: S,
    router: Router,
    timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeout));
    let router = router.layer(from_fn(normalize_host));
    let service = TowerToHyperService::new(RequestBodyDeadline::new(router, timeout));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
            .with_upgrades()
    );
    tokio::select! {
        result = connection.as_mut() => return result,
        // An error means that the service was dropped, which also means stop.
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    // hyper keeps waiting for the rest of a head and for a client to read its response; neither may
    // delay the shutdown.
    time::timeout(SHUTDOWN_GRACE, connection)
        .await
        .unwrap_or(Ok(()))
}

/// Returns true if DNS decides where the `Host` leads: it is neither an address nor `localhost` or
/// a subdomain of it, which browsers and resolvers answer themselves (RFC 6761 section 6.3).
pub fn is_dns_name(host: &str) -> bool {
    !is_localhost(host) && address_of(host).is_none()
}

/// Returns true if the `Host` leads to this host's loopback: a loopback address, `localhost` or a
/// subdomain of it.
pub fn is_loopback_host(host: &str) -> bool {
    is_localhost(host) || address_of(host).is_some_and(|ip| ip.to_canonical().is_loopback())
}

fn is_localhost(host: &str) -> bool {
    let name = without_port(host);
    let top = name.rsplit('.').next().unwrap_or(name);
    top.eq_ignore_ascii_case("localhost")
}

fn address_of(host: &str) -> Option<IpAddr> {
    without_port(host).trim_matches(['[', ']']).parse().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// Leaves a request with exactly one `Host`, the one it is addressed to: whether a page is ours is
/// judged by it.
async fn normalize_host(mut request: Request, next: Next) -> Response {
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return (StatusCode::BAD_REQUEST, "more than one Host header\n").into_response();
    }
    // RFC 9112 section 3.2.2: the authority of an absolute request target overrides the Host
    // header.
    if let Some(authority) = request.uri().authority() {
        let Ok(host) = HeaderValue::from_str(authority.as_str()) else {
            return (
                StatusCode::BAD_REQUEST,
                "invalid host in the request target\n",
            )
                .into_response();
        };
        request.headers_mut().insert(header::HOST, host);
    }
    next.run(request).await
}

/// Time that a request in progress has to finish once the service stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Maximum size of a request's head, in octets.
const MAX_HEAD: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;

    /// A connection to a service that responses a POST with its `Host` and the length of its body,
    /// a GET with 16 KiB.
    fn connect(timeout: Duration) -> (DuplexStream, JoinHandle<hyper::Result<()>>) {
        let (near, far) = tokio::io::duplex(MAX_HEAD);
        let response = async |headers: HeaderMap, body: String| {
            let host = headers
                .get(header::HOST)
                .map_or("none", |host| host.to_str().unwrap());
            format!("{host} {}\n", body.len())
        };
        let router = Router::new().route("/", post(response).get(async || "x".repeat(MAX_HEAD)));
        let served = tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            serve_connection(far, router, timeout, stopped).await
        });
        (near, served)
    }

    async fn response_to(request: &str) -> String {
        let (mut near, served) = connect(LONG);
        near.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        near.read_to_string(&mut response).await.unwrap();
        let _ = served.await;
        response
    }

    #[tokio::test]
    async fn an_incomplete_head_times_out() {
        for sent in ["", "P", "GET / HTTP/1.1\r\n", PREFACE] {
            let (mut near, served) = connect(SHORT);
            near.write_all(sent.as_bytes()).await.unwrap();
            let mut response = String::new();
            near.read_to_string(&mut response).await.unwrap();
            assert!(
                !response.contains("HTTP/1.1 200") && served.await.unwrap().is_err(),
                "{sent:?}"
            );
        }
    }

    #[tokio::test]
    async fn half_a_head_does_not_delay_the_shutdown() {
        let (mut near, far) = tokio::io::duplex(MAX_HEAD);
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve_connection(far, Router::new(), LONG * 10, stopped));
        near.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        tokio::task::yield_now().await;
        stop.send(true).unwrap();
        tokio::time::timeout(LONG, served)
            .await
            .expect("the connection ends")
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn an_incomplete_body_times_out() {
        let (mut near, _) = connect(SHORT);
        near.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            .await
            .unwrap();
        let mut response = String::new();
        near.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    }

    #[tokio::test]
    async fn a_client_that_reads_no_response_is_disconnected() {
        let (mut near, served) = connect(SHORT);
        near.write_all("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(9).as_bytes())
            .await
            .unwrap();
        assert!(served.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_request_has_one_host_and_its_target_overrides_the_header() {
        let end = "Connection: close\r\nContent-Length: 2\r\n\r\nab";
        for (head, start) in [
            ("POST / HTTP/1.1\r\nHost: one\r\n", "one 2"),
            (
                "POST http://two:8080/ HTTP/1.1\r\nHost: one\r\n",
                "two:8080 2",
            ),
            ("POST / HTTP/1.0\r\n", "none 2"),
            (
                "POST / HTTP/1.1\r\nHost: one\r\nHost: two\r\n",
                "more than one Host",
            ),
        ] {
            let response = response_to(&format!("{head}{end}")).await;
            let (_, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(body.starts_with(start), "{head}: {response}");
        }
    }

    #[test]
    fn addresses_and_localhost_are_no_dns_names() {
        for (host, expected) in [
            ("127.0.0.1:8080", false),
            ("[::1]:80", false),
            ("localhost", false),
            ("page.LOCALHOST:80", false),
            ("localhost.example", true),
            ("notlocalhost", true),
            ("", true),
        ] {
            assert_eq!(is_dns_name(host), expected, "{host}");
        }
    }

    #[test]
    fn only_loopback_addresses_and_localhost_are_loopback_hosts() {
        for (host, expected) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost:8080", true),
            ("page.localhost", true),
            ("192.0.2.1:8080", false),
            ("0.0.0.0:8080", false),
            ("[2001:db8::1]", false),
            ("localhost.example", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), expected, "{host}");
        }
    }

    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);
}
