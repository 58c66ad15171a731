//! What the services on HTTP have in common: how a connection is served, how long each part of it may take, and which
//! hosts can only be ours.

use crate::service::patient::Patient;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// Answers the requests of one connection until it ends or becomes a WebSocket, or, once `stopped` is true, until the
/// request under way is answered. It speaks HTTP/1 and nothing else. Nobody holds a connection by doing nothing: a
/// request's head may take `patience` to come, its body too, as long may a connection wait for its next request (or
/// its first), and as long may a client take nothing of what is written to it.
///
/// # Errors
/// Why the connection ended before its time.
pub async fn converse<S>(
    stream: S,
    router: Router,
    patience: Duration,
    mut stopped: watch::Receiver<bool>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Patient::new(stream, patience);
    let endless = stream.endless();
    let under_way = Arc::new(AtomicUsize::new(0));
    let router = router.layer(from_fn_with_state((patience, under_way.clone()), receive));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(LARGEST_HEAD);
    let connection = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let stop = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            loop {
                match timeout(FAREWELL, connection.as_mut()).await {
                    Ok(ended) => break ended,
                    // Half a head, or an answer that is not read: nobody waits for these.
                    Err(_) if under_way.load(Ordering::Relaxed) == 0 => break Ok(()),
                    Err(_) => {}
                }
            }
        }
    };
    // What lives on from here is a WebSocket, which the signaling bounds.
    endless.set();
    ended
}

/// Whether a `Host` is a name that somebody else's DNS answers for: neither an address nor `localhost`, whose
/// subdomains browsers and resolvers keep at home too (RFC 6761 section 6.3).
pub fn is_name(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if !port.ends_with(']') => bare,
        _ => host,
    };
    let last = bare.rsplit('.').next().unwrap_or(bare);
    let local = last.eq_ignore_ascii_case("localhost");
    !local && bare.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
}

/// Makes a request fit to be judged: its `Host` is the one host that it is addressed to, and its body ends in time.
async fn receive(
    State((patience, under_way)): State<(Duration, Arc<AtomicUsize>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let _counted = Counted::new(under_way);
    if request
        .headers()
        .get_all(header::HOST)
        .iter()
        .nth(1)
        .is_some()
    {
        return (StatusCode::BAD_REQUEST, "a request has one Host\n").into_response();
    }
    // RFC 9112 section 3.2.2: what a request's own line says hides its Host.
    if let Some(authority) = request.uri().authority() {
        let Ok(host) = HeaderValue::from_str(authority.as_str()) else {
            return (StatusCode::BAD_REQUEST, "this is no host\n").into_response();
        };
        request.headers_mut().insert(header::HOST, host);
    }
    let deadline = Instant::now() + patience;
    next.run(request.map(|body| in_time(body, deadline))).await
}

/// Counts a request for as long as it is under way.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that fails when it has not come whole by the deadline: cut off, it must not pass for the whole.
fn in_time(body: Body, deadline: Instant) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::from_stream(stream::unfold(
        Some(body.into_data_stream()),
        move |rest| async move {
            let mut rest = rest?;
            match timeout_at(deadline, rest.next()).await {
                Ok(piece) => piece.map(|piece| (piece.map_err(io::Error::other), Some(rest))),
                Err(late) => Some((Err::<Bytes, _>(io::Error::from(late)), None)),
            }
        },
    ))
}

/// How long an answer has to get away once the service stops, where no request is under way any more.
const FAREWELL: Duration = Duration::from_millis(200);
/// The largest request head, in octets.
const LARGEST_HEAD: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;

    /// A connection to a service that answers who it was addressed as, and how long the body was.
    fn connection(patience: Duration) -> (DuplexStream, JoinHandle<hyper::Result<()>>) {
        let (near, far) = tokio::io::duplex(LARGEST_HEAD);
        let answer = async |headers: HeaderMap, body: String| {
            let host = headers
                .get(header::HOST)
                .map_or("nobody", |host| host.to_str().unwrap());
            format!("{host} {}\n", body.len())
        };
        let router = Router::new().route("/", post(answer).get(async || "x".repeat(LARGEST_HEAD)));
        let served = tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            converse(far, router, patience, stopped).await
        });
        (near, served)
    }

    async fn ask(request: &str) -> String {
        let (mut near, served) = connection(LONG);
        near.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        let _ = served.await;
        answer
    }

    #[tokio::test]
    async fn silence_ends_a_connection_whatever_was_said_before() {
        for said in ["", "P", "GET / HTTP/1.1\r\n", PREFACE] {
            let (mut near, served) = connection(SHORT);
            near.write_all(said.as_bytes()).await.unwrap();
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.unwrap();
            assert!(
                !answer.contains("HTTP/1.1 200") && served.await.unwrap().is_err(),
                "{said:?}"
            );
        }
    }

    #[tokio::test]
    async fn half_a_head_does_not_hold_a_service_that_stops() {
        let (mut near, far) = tokio::io::duplex(LARGEST_HEAD);
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(converse(far, Router::new(), LONG * 10, stopped));
        near.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        tokio::task::yield_now().await;
        stop.send(true).unwrap();
        tokio::time::timeout(LONG, served)
            .await
            .expect("an end")
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let (mut near, _) = connection(SHORT);
        near.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            .await
            .unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }

    #[tokio::test]
    async fn who_does_not_read_is_left() {
        let (mut near, served) = connection(SHORT);
        near.write_all("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(9).as_bytes())
            .await
            .unwrap();
        assert!(served.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_it_becomes_has_rules_of_its_own() {
        let (near, far) = tokio::io::duplex(256);
        let (upgrades, mut upgraded) = tokio::sync::mpsc::channel(1);
        let answer = async move |mut request: Request| {
            upgrades
                .send(hyper::upgrade::on(&mut request))
                .await
                .unwrap();
            (
                StatusCode::SWITCHING_PROTOCOLS,
                [(header::CONNECTION, "upgrade"), (header::UPGRADE, "it")],
            )
        };
        let router = Router::new().route("/", axum::routing::get(answer));
        let (_stop, stopped) = watch::channel(false);
        let served = tokio::spawn(converse(far, router, SHORT, stopped));
        let (mut reader, mut writer) = tokio::io::split(near);
        writer
            .write_all(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: it\r\n\r\n")
            .await
            .unwrap();
        let mut upgraded = TokioIo::new(upgraded.recv().await.unwrap().await.unwrap());
        served.await.unwrap().unwrap();
        let mut written = tokio::spawn(async move { upgraded.write_all(&[0; 1024]).await });
        assert!(
            tokio::time::timeout(SHORT * 3, &mut written).await.is_err(),
            "it waits for the reader"
        );
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        written.await.unwrap().unwrap();
        assert!(all.ends_with(&[0; 1024]));
    }

    #[tokio::test]
    async fn a_request_has_one_host_and_its_own_line_says_which() {
        let end = "Connection: close\r\nContent-Length: 2\r\n\r\nab";
        for (head, start) in [
            ("POST / HTTP/1.1\r\nHost: one\r\n", "one 2"),
            (
                "POST http://two:8080/ HTTP/1.1\r\nHost: one\r\n",
                "two:8080 2",
            ),
            ("POST / HTTP/1.0\r\n", "nobody 2"),
            (
                "POST / HTTP/1.1\r\nHost: one\r\nHost: two\r\n",
                "a request has one Host",
            ),
        ] {
            let answer = ask(&format!("{head}{end}")).await;
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.starts_with(start), "{head}: {answer}");
        }
    }

    #[test]
    fn names_are_what_dns_answers_for() {
        for (host, named) in [
            ("127.0.0.1:8080", false),
            ("[::1]:80", false),
            ("localhost", false),
            ("page.LOCALHOST:80", false),
            ("localhost.example", true),
            ("notlocalhost", true),
            ("", true),
        ] {
            assert_eq!(is_name(host), named, "{host}");
        }
    }

    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);
}
