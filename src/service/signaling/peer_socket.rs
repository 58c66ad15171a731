//! One peer's WebSocket, from its upgrade to its end.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::service::ice_servers::IceServersResponse;
use crate::service::signaling::connection_limit::ConnectionPermit;
use crate::service::signaling::limits::Limits;
use crate::service::signaling::message;
use crate::service::signaling::message::{ForwardedMessage, Welcome};
use crate::service::signaling::message_deadline::MessageDeadline;
use crate::service::signaling::message_rate::{MessageRate, RateDecision};
use crate::service::signaling::refusal::Refusal;
use crate::service::signaling::rooms::{Membership, Rooms};
use crate::service::signaling::token::ResumeTokens;

/// A client that may enter a room, unless the room itself refuses it.
pub struct Admission {
    /// The room's name.
    pub room: String,
    /// The size of the room if it is new.
    pub room_size: usize,
    /// The id that the client proved to be its own.
    pub resumed_id: Option<String>,
}

/// The state that all connections share.
pub struct Signaling {
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// The tokens with which peers resume.
    pub resume_tokens: ResumeTokens,
}

/// Upgrades to a WebSocket and serves it in a task. A refused admission is reported on the
/// WebSocket because a browser does not show a page why an upgrade failed. `servers` returns the
/// ICE servers for the peer with a given id.
///
/// # Errors
/// [`Refusal::NotWebSocket`]: the request is not an upgrade as RFC 6455 section 4.2.1 requires.
pub fn upgrade(
    mut request: Request,
    permit: ConnectionPermit,
    signaling: Arc<Signaling>,
    limits: Limits,
    admission: Result<Admission, Refusal>,
    servers: impl FnOnce(&Admission, &str) -> IceServersResponse + Send + 'static,
) -> Result<Response, Refusal> {
    normalize_upgrade(request.headers_mut());
    let response =
        create_response_with_body(&request, Body::empty).map_err(|_| Refusal::NotWebSocket)?;
    let upgraded = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or(Refusal::NotWebSocket)?;
    tokio::spawn(async move {
        // An error means that the connection ended before the response was sent.
        let Ok(upgraded) = upgraded.await else { return };
        let mut socket = PeerSocket::new(upgraded, &limits).await;
        if let Err(refusal) = serve(&mut socket, &signaling, &limits, admission, servers).await {
            socket.refuse(refusal).await;
        }
        drop(permit);
    });
    Ok(response)
}

/// `Connection` and `Upgrade` are lists, possibly on several lines. The WebSocket library reads
/// only the first line of one and expects a single word in the other.
fn normalize_upgrade(headers: &mut HeaderMap) {
    for (name, word) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
    ] {
        let lines = headers
            .get_all(&name)
            .iter()
            .filter_map(|line| line.to_str().ok());
        if lines
            .flat_map(|line| line.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(word))
        {
            headers.insert(name, HeaderValue::from_static(word));
        }
    }
}

type Socket = WebSocketStream<MessageDeadline<TokioIo<Upgraded>>>;

/// The two halves of the WebSocket.
struct PeerSocket {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    write_timeout: Duration,
}

/// Why a connection ended.
enum End {
    /// The peer closed it, or sent `bye` before it broke.
    Left,
    /// The connection broke or timed out; the peer may resume.
    Lost,
    /// The peer violated the WebSocket protocol.
    ProtocolError,
    /// The server ends it.
    Refused(Refusal),
}

async fn serve(
    socket: &mut PeerSocket,
    signaling: &Signaling,
    limits: &Limits,
    admission: Result<Admission, Refusal>,
    servers: impl FnOnce(&Admission, &str) -> IceServersResponse,
) -> Result<(), Refusal> {
    let admission = admission?;
    let membership = signaling.rooms.join(
        &admission.room,
        admission.room_size,
        admission.resumed_id.as_deref(),
        limits,
    )?;
    let welcome = Welcome {
        id: &membership.id,
        peers: &membership.others,
        servers: &servers(&admission, &membership.id),
        resume: &signaling
            .resume_tokens
            .create(&membership.room, &membership.id),
        resumed: membership.resumed,
        limit: membership.room_size,
    };
    tracing::debug!(
        room = membership.room,
        peer = membership.id,
        resumed = membership.resumed,
        "peer joined"
    );
    let end = match socket.send(Message::Text(welcome.to_text())).await {
        Ok(()) => exchange(socket, &signaling.rooms, &membership, limits).await,
        Err(WriteFailed) => End::Lost,
    };
    if matches!(end, End::ProtocolError) {
        let close = CloseFrame {
            code: PROTOCOL_ERROR.into(),
            reason: "WebSocket protocol error".into(),
        };
        let _ = socket.send(Message::Close(Some(close))).await;
    }
    let closed = matches!(end, End::Left);
    let outcome = leave(end, &signaling.rooms, membership, limits).await;
    if closed {
        // RFC 6455 section 5.5.1: a close frame is answered with a close frame.
        let _ = timeout(CLOSE_TIMEOUT, socket.sink.close()).await;
    }
    outcome
}

/// Removes the peer from its room: at once, or if the connection was lost, after the time in which
/// the peer may resume.
async fn leave(
    end: End,
    rooms: &Rooms,
    membership: Membership,
    limits: &Limits,
) -> Result<(), Refusal> {
    let outcome = match end {
        End::Left | End::ProtocolError => Ok(()),
        End::Refused(refusal) => Err(refusal),
        End::Lost => {
            tokio::select! {
                _ = membership.queue.ended(membership.reader) => {}
                () = sleep(limits.resume_grace) => {}
            }
            Ok(())
        }
    };
    rooms.leave(&membership);
    tracing::debug!(room = membership.room, peer = membership.id, "peer left");
    outcome
}

/// Reads and writes concurrently until one of them ends: a peer that does not read must not keep
/// the server from noticing that the peer has disconnected.
async fn exchange(
    socket: &mut PeerSocket,
    rooms: &Rooms,
    membership: &Membership,
    limits: &Limits,
) -> End {
    let PeerSocket { sink, stream, .. } = socket;
    let mut reader = Reader {
        rooms,
        membership,
        limits,
        rate: MessageRate::new(limits, Instant::now()),
        last_message: Instant::now(),
        received_bye: false,
    };
    tokio::select! {
        end = reader.read(stream) => end,
        WriteFailed = write(sink, membership, limits.ping_interval) => End::Lost,
        refusal = membership.queue.ended(membership.reader) => End::Refused(refusal),
    }
}

/// The receiving side of a connection.
struct Reader<'a> {
    rooms: &'a Rooms,
    membership: &'a Membership,
    limits: &'a Limits,
    rate: MessageRate,
    last_message: Instant,
    received_bye: bool,
}

/// A refusal that leaves the connection open.
struct RefusedMessage {
    refusal: Refusal,
    /// What exactly was refused.
    detail: Option<String>,
}

impl From<Refusal> for RefusedMessage {
    fn from(refusal: Refusal) -> RefusedMessage {
        RefusedMessage {
            refusal,
            detail: None,
        }
    }
}

impl Reader<'_> {
    async fn read(&mut self, stream: &mut SplitStream<Socket>) -> End {
        loop {
            let idle_left = self.idle_left();
            let next =
                match timeout(self.limits.silence_timeout.min(idle_left), stream.next()).await {
                    Ok(next) => next,
                    Err(_) if self.idle_left().is_zero() => return End::Refused(Refusal::Idle),
                    Err(_) => return End::Lost,
                };
            let frame = match next {
                Some(Ok(Message::Close(_))) => return End::Left,
                Some(Ok(Message::Pong(_))) if self.idle_left().is_zero() => {
                    return End::Refused(Refusal::Idle);
                }
                Some(Ok(frame)) => frame,
                Some(Err(Error::Capacity(_))) => return End::Refused(Refusal::FarTooLarge),
                Some(Err(Error::Io(error))) if error.kind() == ErrorKind::TimedOut => {
                    return End::Refused(Refusal::Unfinished);
                }
                Some(Err(error)) if is_protocol_error(&error) => return End::ProtocolError,
                Some(Err(_)) | None if self.received_bye => return End::Left,
                Some(Err(_)) | None => return End::Lost,
            };
            // Pongs answer the server's own pings, so they do not count.
            let decision = match frame {
                Message::Pong(_) => RateDecision::Accept,
                _ => self.rate.admit(Instant::now()),
            };
            let refused = match decision {
                RateDecision::Accept => self.receive(frame).err(),
                RateDecision::Drop => None,
                RateDecision::Warn => Some(Refusal::TooFast.into()),
                RateDecision::Disconnect => return End::Refused(Refusal::PersistentlyTooFast),
            };
            if let Some(RefusedMessage { refusal, detail }) = refused {
                let error = message::error(refusal, detail.as_deref());
                if !self.membership.queue.push(error) {
                    return End::Refused(Refusal::Slow);
                }
            }
        }
    }

    /// Time until the peer is idle for too long.
    fn idle_left(&self) -> Duration {
        self.limits
            .idle_timeout
            .saturating_sub(self.last_message.elapsed())
    }

    /// Forwards the message of a frame.
    fn receive(&mut self, frame: Message) -> Result<(), RefusedMessage> {
        let text = match frame {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Refusal::Binary.into()),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                return Ok(());
            }
        };
        self.last_message = Instant::now();
        let max = self.limits.message_size;
        if text.len() > max {
            return Err(RefusedMessage {
                refusal: Refusal::TooLarge,
                detail: Some(format!("{} octets, the limit is {max}", text.len())),
            });
        }
        let message = ForwardedMessage::parse(text.as_str())?;
        self.received_bye |= message.is_bye;
        let to = message.to.clone();
        let Membership { room, id, .. } = self.membership;
        self.rooms
            .forward(room, id, to.as_deref(), message.into_text(id))
            .map_err(|refusal| RefusedMessage {
                refusal,
                detail: to,
            })
    }
}

/// Writes queued messages, and a ping every `ping_interval`, until a write fails.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    membership: &Membership,
    ping_interval: Duration,
) -> WriteFailed {
    let mut ping = interval_at(Instant::now() + ping_interval, ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let written = tokio::select! {
            message = membership.queue.peek() => {
                let written = sink.send(Message::Text(message)).await;
                if written.is_ok() {
                    membership.queue.pop(membership.reader);
                }
                written
            }
            _ = ping.tick() => sink.send(Message::Ping(Default::default())).await,
        };
        if written.is_err() {
            return WriteFailed;
        }
    }
}

impl PeerSocket {
    async fn new(upgraded: Upgraded, limits: &Limits) -> PeerSocket {
        let max = Some(limits.message_size.saturating_mul(FATAL_SIZE_FACTOR));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(max)
            .max_frame_size(max);
        let stream = MessageDeadline::new(TokioIo::new(upgraded), limits.message_time);
        let (sink, stream) = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config))
            .await
            .split();
        PeerSocket {
            sink,
            stream,
            write_timeout: limits.silence_timeout,
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), WriteFailed> {
        match timeout(self.write_timeout, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(WriteFailed),
        }
    }

    /// Sends a refusal, closes, and waits for the peer's close: a reset before it could destroy the
    /// refusal in transit.
    async fn refuse(mut self, refusal: Refusal) {
        let close = CloseFrame {
            code: refusal.close_code().unwrap_or(INTERNAL_ERROR).into(),
            reason: refusal.text().into(),
        };
        let sent = self
            .send(Message::Text(message::error(refusal, None)))
            .await;
        if sent.is_err() || self.send(Message::Close(Some(close))).await.is_err() {
            return;
        }
        let closed = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// A write failed or timed out.
struct WriteFailed;

/// Returns true if reading failed because of what the peer sent, not because the connection broke.
fn is_protocol_error(error: &Error) -> bool {
    match error {
        Error::Protocol(reason) => !matches!(reason, ProtocolError::ResetWithoutClosingHandshake),
        Error::Utf8(_) => true,
        _ => false,
    }
}

/// RFC 6455 section 7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
const INTERNAL_ERROR: u16 = 1011;
/// Octets reserved for received data as long as a peer is connected: enough for candidates and most
/// offers.
const READ_BUFFER: usize = 4096;
/// A message this many times larger than the limit ends the connection instead of being answered
/// with an error.
const FATAL_SIZE_FACTOR: usize = 4;
/// Time for the close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
