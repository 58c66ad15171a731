//! What the web listener answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::service::ice_servers::{Answer, Open};
use crate::service::page;
use crate::service::signaling;
use crate::service::signaling::{Admission, Asker, Refusal, Signaling};
use crate::service::web::asking::Asking;
use crate::service::web::settings::{Origins, Settings};

/// What all requests share.
pub struct Shared {
    /// What the operator decided.
    pub settings: ArcSwap<Settings>,
    /// The rooms.
    pub signaling: Arc<Signaling>,
}

/// Everything that the web listener serves.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (asset, tag) in page::ASSETS.iter().zip(page::TAGS.iter()) {
        router = router.route(
            asset.path,
            get(async move |headers: HeaderMap| page_file(asset, tag, &headers)),
        );
    }
    router
        .route("/signal", get(signal))
        .route("/ice-servers", get(ice_servers))
        .route(
            "/v1/turn/keys/{key}/credentials/generate-ice-servers",
            post(generate),
        )
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing at this address\n"))
        .layer(axum::middleware::map_response(protect))
        .with_state(shared)
}

fn page_file(asset: &page::Asset, tag: &str, headers: &HeaderMap) -> Response {
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.as_bytes() == tag.as_bytes());
    let head = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    if known {
        (StatusCode::NOT_MODIFIED, head).into_response()
    } else {
        (head, asset.text).into_response()
    }
}

/// Adds what keeps a page to itself, to every answer.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in PROTECTION {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The parameters of `/signal` and `/ice-servers`.
#[derive(Deserialize, Default)]
struct Parameters {
    room: Option<String>,
    token: Option<String>,
    peers: Option<String>,
    resume: Option<String>,
}

async fn signal(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let settings = shared.settings.load_full();
    let asking = Asking {
        arrival: request.extensions().get().copied(),
        headers: request.headers(),
    };
    if !asking.is_admitted(&settings.origins) {
        return refuse(Refusal::Origin);
    }
    let (host, relayed) = (asking.host(), is_relayed(&settings, &asking));
    let ticket = match shared
        .signaling
        .rooms
        .connect(asking.address(), &settings.bounds)
    {
        Ok(ticket) => ticket,
        Err(refusal) => return refuse(refusal),
    };
    let admission = match Query::<Parameters>::try_from_uri(request.uri()) {
        Ok(Query(parameters)) if wants_upgrade(request.headers()) => {
            admit(&shared.signaling, &settings, &asking, &parameters).await
        }
        _ => Err(Refusal::BadRoom),
    };
    let bounds = settings.bounds.clone();
    let servers = move |admission: &Admission, id: &str| match relayed {
        true => settings.ice.answer(
            &host,
            &format!("{}/{id}", admission.room),
            now(),
            settings.ice.ttl,
        ),
        false => settings.ice.answer_stranger(&host, settings.ice.ttl),
    };
    signaling::upgrade(
        request,
        ticket,
        shared.signaling.clone(),
        bounds,
        admission,
        servers,
    )
    .unwrap_or_else(|refusal| (upgrade_header(), refuse(refusal)).into_response())
}

/// Whether whoever is let into a room gets the relay's credentials with its welcome: who showed at the door that it is no
/// stranger does, and else whom `ice_open` does not keep from them. With `page` that is everybody who may enter: only a
/// browser can be told from its own page, and who has no page can say any Origin.
fn is_relayed(settings: &Settings, asking: &Asking<'_>) -> bool {
    let vouched = settings.tokens.is_some() || settings.hook.is_some();
    match settings.ice.open {
        Open::Anyone | Open::Page => true,
        Open::Loopback => vouched || (asking.is_here() && asking.is_admitted(&Origins::Same)),
        Open::Nobody => vouched,
    }
}

/// Whether whoever asks may enter the room it names. Who holds a place there already was asked before.
async fn admit(
    signaling: &Signaling,
    settings: &Settings,
    asking: &Asking<'_>,
    parameters: &Parameters,
) -> Result<Admission, Refusal> {
    let room = room(settings, parameters)?;
    let limit = match parameters.peers.as_deref().map(str::parse) {
        None => settings.bounds.peers,
        Some(Ok(peers)) if (2..=settings.bounds.most_peers).contains(&peers) => peers,
        Some(_) => return Err(Refusal::BadPeers),
    };
    let resume = parameters.resume.as_deref();
    let known = resume
        .and_then(|token| signaling.resume.id(room, token))
        .map(str::to_owned);
    if !known
        .as_ref()
        .is_some_and(|id| signaling.rooms.holds(room, id))
    {
        check_access(settings, asking, room, parameters.token.as_deref()).await?;
    }
    Ok(Admission {
        room: room.to_owned(),
        limit,
        known,
    })
}

fn room<'a>(settings: &Settings, parameters: &'a Parameters) -> Result<&'a str, Refusal> {
    parameters
        .room
        .as_deref()
        .filter(|room| settings.bounds.names_a_room(room))
        .ok_or(Refusal::BadRoom)
}

async fn check_access(
    settings: &Settings,
    asking: &Asking<'_>,
    room: &str,
    token: Option<&str>,
) -> Result<(), Refusal> {
    if let Some(tokens) = &settings.tokens {
        tokens.check(room, token, now())?;
    }
    if let Some(hook) = &settings.hook {
        let client = asking.address().map(|address| address.to_string());
        hook.admit(&Asker {
            room,
            token,
            client,
            origin: asking.origin(),
        })
        .await?;
    }
    Ok(())
}

async fn ice_servers(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let settings = shared.settings.load_full();
    let asking = Asking {
        arrival: request.extensions().get().copied(),
        headers: request.headers(),
    };
    let answer = match Query::<Parameters>::try_from_uri(request.uri()) {
        Ok(Query(parameters)) => servers_for(&settings, &asking, &parameters).await,
        Err(_) => Err(Refusal::BadRequest),
    };
    let mut response = match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refuse(refusal),
    };
    // An admitted page of another origin may read the answer; a page of our own needs no permission.
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && asking.is_admitted(&settings.origins)
    {
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

async fn servers_for(
    settings: &Settings,
    asking: &Asking<'_>,
    parameters: &Parameters,
) -> Result<Answer, Refusal> {
    if !asking.is_admitted(&settings.origins) {
        return Err(Refusal::Origin);
    }
    let room = match parameters.room {
        Some(_) => Some(room(settings, parameters)?),
        None => None,
    };
    let here = asking.is_here() && !asking.is_foreign_page();
    match (settings.ice.open, room) {
        (Open::Anyone, _) => {}
        (Open::Page | Open::Loopback, _) if here => {}
        (Open::Page, Some(room)) if asking.is_our_page(&settings.origins) => {
            check_access(settings, asking, room, parameters.token.as_deref()).await?;
        }
        _ => return Err(Refusal::NotOpen),
    }
    Ok(settings.ice.answer(
        &asking.host(),
        room.unwrap_or("guest"),
        now(),
        settings.ice.ttl,
    ))
}

async fn generate(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let settings = shared.settings.load_full();
    let (parts, body) = request.into_parts();
    if !holds_key(&settings, &key, &parts.headers) {
        return (
            [(header::WWW_AUTHENTICATE, "Bearer")],
            refuse(Refusal::BadKey),
        )
            .into_response();
    }
    let asking = Asking {
        arrival: parts.extensions.get().copied(),
        headers: &parts.headers,
    };
    match wish(body, &settings).await {
        Ok((ttl, name)) => {
            let answer =
                settings
                    .ice
                    .answer(&asking.host(), name.as_deref().unwrap_or(&key), now(), ttl);
            (StatusCode::CREATED, Json(answer)).into_response()
        }
        Err(refusal) => refuse(refusal),
    }
}

fn holds_key(settings: &Settings, key: &str, headers: &HeaderMap) -> bool {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
    // Every key is looked at whatever matched, so that the time tells nothing.
    settings.ice.keys.iter().fold(false, |held, known| {
        let name: bool = known.key.as_bytes().ct_eq(key.as_bytes()).into();
        let token: bool = known
            .bearer
            .as_bytes()
            .ct_eq(bearer.unwrap_or_default().as_bytes())
            .into();
        held | (name & token & bearer.is_some())
    })
}

/// Reads `{"ttl":SECONDS,"customIdentifier":NAME}`, both optional, and the body too.
async fn wish(body: Body, settings: &Settings) -> Result<(Duration, Option<String>), Refusal> {
    let octets = to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|_| Refusal::BadRequest)?;
    if octets.trim_ascii().is_empty() {
        return Ok((settings.ice.ttl, None));
    }
    let Ok(Value::Object(wish)) = serde_json::from_slice(&octets) else {
        return Err(Refusal::BadRequest);
    };
    let ttl = match wish.get("ttl") {
        None | Some(Value::Null) => settings.ice.ttl,
        Some(ttl) => ttl
            .as_u64()
            .map(Duration::from_secs)
            .ok_or(Refusal::BadTtl)?,
    };
    if ttl.is_zero() || ttl > settings.ice.longest_ttl {
        return Err(Refusal::BadTtl);
    }
    match wish.get("customIdentifier") {
        None | Some(Value::Null) => Ok((ttl, None)),
        Some(Value::String(name)) if may_name(name) => Ok((ttl, Some(name.clone()))),
        Some(_) => Err(Refusal::BadName),
    }
}

/// Whether a name can be part of a user name: RFC 8489 section 14.3 lets none have control characters.
fn may_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

fn refuse(refusal: Refusal) -> Response {
    let status =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(refusal.json(None))).into_response()
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

fn upgrade_header() -> [(HeaderName, &'static str); 3] {
    // RFC 6455 §4.4: the version that is spoken here.
    [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "upgrade"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ]
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

const PROTECTION: [(&str, &str); 6] = [
    ("content-security-policy", page::CONTENT_SECURITY_POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(self), microphone=(self), display-capture=(), geolocation=(), payment=(), usb=()",
    ),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// The largest body that is read, in octets.
const LARGEST_BODY: usize = 16_384;
/// The longest name that an API key may put into a user name, in octets: RFC 8489 section 14.3 ends at 508.
const LONGEST_NAME: usize = 256;
