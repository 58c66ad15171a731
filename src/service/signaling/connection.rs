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

use crate::service::ice_servers::Answer;
use crate::service::signaling::bounds::Bounds;
use crate::service::signaling::doors::Ticket;
use crate::service::signaling::message;
use crate::service::signaling::message::{Forwarded, Welcome};
use crate::service::signaling::rate::{Rate, Verdict};
use crate::service::signaling::refusal::Refusal;
use crate::service::signaling::rooms::{Rooms, Seat};
use crate::service::signaling::token::ResumeTokens;
use crate::service::signaling::whole::Whole;

/// Who wants to come in, checked already except for what depends on the room.
pub struct Admission {
    /// The room's name.
    pub room: String,
    /// How many peers the room takes if it is new.
    pub limit: usize,
    /// The id that the peer proved to be its own.
    pub known: Option<String>,
}

/// What every connection shares.
pub struct Signaling {
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// The tokens by which peers resume.
    pub resume: ResumeTokens,
}

/// Upgrades to a WebSocket and serves it on a task of its own. A refusal is told inside, since a browser shows a
/// page nothing of an upgrade that failed. `servers` makes the ICE servers for the peer of an id.
///
/// # Errors
/// [`Refusal::NotWebSocket`]: no upgrade was asked for, or not as RFC 6455 section 4.2.1 wants it.
pub fn upgrade(
    mut request: Request,
    ticket: Ticket,
    shared: Arc<Signaling>,
    bounds: Bounds,
    admission: Result<Admission, Refusal>,
    servers: impl FnOnce(&Admission, &str) -> Answer + Send + 'static,
) -> Result<Response, Refusal> {
    merge(request.headers_mut());
    let answer =
        create_response_with_body(&request, Body::empty).map_err(|_| Refusal::NotWebSocket)?;
    let upgraded = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or(Refusal::NotWebSocket)?;
    tokio::spawn(async move {
        // An error means that the connection ended before the answer was out.
        let Ok(upgraded) = upgraded.await else { return };
        let mut line = Line::new(upgraded, &bounds).await;
        if let Err(refusal) = serve(&mut line, &shared, &bounds, admission, servers).await {
            line.refuse(refusal).await;
        }
        drop(ticket);
    });
    Ok(answer)
}

/// The two headers that ask for it are lists, which may be on several lines; the library looks at the first line of one, and
/// takes the other for a single word.
fn merge(headers: &mut HeaderMap) {
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

type Socket = WebSocketStream<Whole<TokioIo<Upgraded>>>;

/// The two halves of the socket.
struct Line {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    write_limit: Duration,
}

/// How a connection ended.
enum End {
    /// The peer closed it, or said good-bye before it broke.
    Left,
    /// It broke, or fell silent: the peer may resume.
    Lost,
    /// It is no WebSocket any more.
    Breach,
    /// We end it.
    Refused(Refusal),
}

async fn serve(
    line: &mut Line,
    shared: &Signaling,
    bounds: &Bounds,
    admission: Result<Admission, Refusal>,
    servers: impl FnOnce(&Admission, &str) -> Answer,
) -> Result<(), Refusal> {
    let admission = admission?;
    let seat = shared.rooms.join(
        &admission.room,
        admission.limit,
        admission.known.as_deref(),
        bounds,
    )?;
    let welcome = Welcome {
        id: &seat.id,
        peers: &seat.others,
        servers: &servers(&admission, &seat.id),
        resume: &shared.resume.mint(&seat.room, &seat.id),
        resumed: seat.resumed,
        limit: seat.limit,
    };
    tracing::debug!(
        room = seat.room,
        peer = seat.id,
        resumed = seat.resumed,
        "joined"
    );
    let end = match line.send(Message::Text(welcome.text())).await {
        Ok(()) => converse(line, &shared.rooms, &seat, bounds).await,
        Err(Broken) => End::Lost,
    };
    if matches!(end, End::Breach) {
        let close = CloseFrame {
            code: PROTOCOL_ERROR.into(),
            reason: "this is not how WebSockets speak".into(),
        };
        let _ = line.send(Message::Close(Some(close))).await;
    }
    let closed = matches!(end, End::Left);
    let outcome = conclude(end, shared, seat, bounds).await;
    if closed {
        // RFC 6455 §5.5.1: who is told that it closes says so too.
        let _ = timeout(FAREWELL, line.sink.close()).await;
    }
    outcome
}

/// Takes the peer out of its room, at once or after the grace in which it may resume.
async fn conclude(
    end: End,
    shared: &Signaling,
    seat: Seat,
    bounds: &Bounds,
) -> Result<(), Refusal> {
    let refused = match end {
        End::Left | End::Breach => Ok(()),
        End::Refused(refusal) => Err(refusal),
        End::Lost => {
            tokio::select! {
                _ = seat.outbox.ended(seat.reader) => {}
                () = sleep(bounds.grace) => {}
            }
            Ok(())
        }
    };
    shared.rooms.leave(&seat);
    tracing::debug!(room = seat.room, peer = seat.id, "left");
    refused
}

/// Reads and writes at the same time until one of them ends: a peer that does not read must not keep us from
/// noticing that it is gone.
async fn converse(line: &mut Line, rooms: &Rooms, seat: &Seat, bounds: &Bounds) -> End {
    let Line { sink, stream, .. } = line;
    tokio::select! {
        end = read(stream, rooms, seat, bounds) => end,
        Broken = write(sink, seat, bounds.ping) => End::Lost,
        refusal = seat.outbox.ended(seat.reader) => End::Refused(refusal),
    }
}

async fn read(
    stream: &mut SplitStream<Socket>,
    rooms: &Rooms,
    seat: &Seat,
    bounds: &Bounds,
) -> End {
    let mut rate = Rate::new(bounds, Instant::now());
    let mut spoke = Instant::now();
    let mut bye = false;
    loop {
        let idle = bounds.idle.saturating_sub(spoke.elapsed());
        let heard = match timeout(bounds.silence.min(idle), stream.next()).await {
            Ok(heard) => heard,
            Err(_) if spoke.elapsed() >= bounds.idle => return End::Refused(Refusal::Idle),
            Err(_) => return End::Lost,
        };
        let frame = match heard {
            Some(Ok(Message::Close(_))) => return End::Left,
            Some(Ok(Message::Pong(_))) if spoke.elapsed() >= bounds.idle => {
                return End::Refused(Refusal::Idle);
            }
            Some(Ok(frame)) => frame,
            Some(Err(Error::Capacity(_))) => return End::Refused(Refusal::Huge),
            Some(Err(Error::Io(error))) if error.kind() == ErrorKind::TimedOut => {
                return End::Refused(Refusal::Unfinished);
            }
            Some(Err(error)) if is_breach(&error) => return End::Breach,
            Some(Err(_)) | None if bye => return End::Left,
            Some(Err(_)) | None => return End::Lost,
        };
        let pong = matches!(frame, Message::Pong(_));
        let outcome = match if pong {
            Verdict::Pass
        } else {
            rate.take(Instant::now())
        } {
            Verdict::Pass => take(frame, rooms, seat, bounds, &mut spoke, &mut bye),
            Verdict::Drop => Ok(()),
            Verdict::Tell(refusal) => Err((refusal, None)),
            Verdict::End(refusal) => return End::Refused(refusal),
        };
        if let Err((refusal, detail)) = outcome
            && !seat.outbox.push(message::error(refusal, detail.as_deref()))
        {
            return End::Refused(Refusal::Slow);
        }
    }
}

/// Acts on one frame.
fn take(
    frame: Message,
    rooms: &Rooms,
    seat: &Seat,
    bounds: &Bounds,
    spoke: &mut Instant,
    bye: &mut bool,
) -> Result<(), (Refusal, Option<String>)> {
    let text = match frame {
        Message::Text(text) => text,
        Message::Binary(_) => return Err((Refusal::Binary, None)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
            return Ok(());
        }
    };
    *spoke = Instant::now();
    if text.len() > bounds.message {
        return Err((
            Refusal::TooLarge,
            Some(format!(
                "{} octets, the limit is {}",
                text.len(),
                bounds.message
            )),
        ));
    }
    let message = Forwarded::parse(text.as_str()).map_err(|refusal| (refusal, None))?;
    *bye |= message.bye;
    let to = message.to.clone();
    rooms
        .forward(&seat.room, &seat.id, to.as_deref(), message.from(&seat.id))
        .map_err(|refusal| (refusal, to))
}

/// Writes what waits, and a ping every `every`, until a write fails.
async fn write(sink: &mut SplitSink<Socket, Message>, seat: &Seat, every: Duration) -> Broken {
    let mut ping = interval_at(Instant::now() + every, every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let written = tokio::select! {
            message = seat.outbox.next() => {
                let written = sink.send(Message::Text(message)).await;
                if written.is_ok() {
                    seat.outbox.sent(seat.reader);
                }
                written
            }
            _ = ping.tick() => sink.send(Message::Ping(Default::default())).await,
        };
        if written.is_err() {
            return Broken;
        }
    }
}

impl Line {
    async fn new(upgraded: Upgraded, bounds: &Bounds) -> Line {
        let most = Some(bounds.message.saturating_mul(HUGE));
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let config = config.max_message_size(most).max_frame_size(most);
        let stream = Whole::new(TokioIo::new(upgraded), bounds.message_time);
        let (sink, stream) = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config))
            .await
            .split();
        Line {
            sink,
            stream,
            write_limit: bounds.silence,
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Broken> {
        match timeout(self.write_limit, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Broken),
        }
    }

    /// Tells a refusal, closes, and waits for the other side's close, so that the words are not lost in a reset.
    async fn refuse(mut self, refusal: Refusal) {
        let close = CloseFrame {
            code: refusal.close().unwrap_or(1011).into(),
            reason: refusal.words().into(),
        };
        let said = self
            .send(Message::Text(message::error(refusal, None)))
            .await;
        if said.is_err() || self.send(Message::Close(Some(close))).await.is_err() {
            return;
        }
        let closed = async { while let Some(Ok(_)) = self.stream.next().await {} };
        // Whoever does not close in return is cut off.
        let _ = timeout(FAREWELL, closed).await;
    }
}

/// A write failed or took too long.
struct Broken;

/// Whether reading failed because of what came, and not because nothing does any more.
fn is_breach(error: &Error) -> bool {
    match error {
        Error::Protocol(why) => !matches!(why, ProtocolError::ResetWithoutClosingHandshake),
        Error::Utf8(_) => true,
        _ => false,
    }
}

/// RFC 6455 §7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
/// Octets that are set aside for what a peer sends, for as long as it is connected: candidates and most of an offer.
const READ_BUFFER: usize = 4096;
/// How many times the message size may be read before the connection ends instead of going on with an error.
const HUGE: usize = 4;
/// How long the close handshake may take.
const FAREWELL: Duration = Duration::from_secs(1);
