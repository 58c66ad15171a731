//! The routes of the web listener.

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

use crate::service::ice_servers::{ApiKey, IceAccess, IceServers, IceServersResponse};
use crate::service::page;
use crate::service::signaling;
use crate::service::signaling::{
    Admission, DEFAULT_ROOM_SIZE, HookRequest, Refusal, Signaling, is_room_name,
};
use crate::service::web::request_source::RequestSource;
use crate::service::web::settings::WebSettings;

/// The state that all requests share.
pub struct AppState {
    /// The operator's settings.
    pub settings: ArcSwap<WebSettings>,
    /// The rooms.
    pub signaling: Arc<Signaling>,
}

/// The router of the web listener.
pub fn router(state: Arc<AppState>) -> Router {
    let mut router = Router::new();
    for (asset, tag) in page::ASSETS.iter().zip(page::ENTITY_TAGS.iter()) {
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
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(axum::middleware::map_response(add_security_headers))
        .with_state(state)
}

fn page_file(asset: &page::Asset, tag: &str, headers: &HeaderMap) -> Response {
    let is_cached = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.as_bytes() == tag.as_bytes());
    let head = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    if is_cached {
        (StatusCode::NOT_MODIFIED, head).into_response()
    } else {
        (head, asset.text).into_response()
    }
}

async fn add_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
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

/// The parameters of `/signal` and `/ice-servers`. Unknown ones are ignored, so that newer clients
/// work with older servers.
#[derive(Deserialize, Default)]
struct RoomQuery {
    room: Option<String>,
    token: Option<String>,
    peers: Option<String>,
    resume: Option<String>,
}

impl RoomQuery {
    fn room(&self) -> Result<&str, Refusal> {
        self.room
            .as_deref()
            .filter(|room| is_room_name(room))
            .ok_or(Refusal::BadRoom)
    }
}

async fn signal(State(state): State<Arc<AppState>>, request: Request) -> Response {
    let settings = state.settings.load_full();
    let source = RequestSource::of(&request);
    if !source.is_allowed(&settings.origins) {
        return refuse(Refusal::Origin);
    }
    // An admitted client has shown a token or passed the hook, if the settings have one.
    let may_relay = settings.guards_rooms() || may_relay_unauthorized(&settings, &source);
    let host = source.host();
    let rooms = &state.signaling.rooms;
    let permit = match rooms.connect(source.address(), &settings.limits) {
        Ok(permit) => permit,
        Err(refusal) => return refuse(refusal),
    };
    let admission = match Query::<RoomQuery>::try_from_uri(request.uri()) {
        Ok(Query(parameters)) if wants_upgrade(request.headers()) => {
            admit(&state.signaling, &settings, &source, &parameters).await
        }
        _ => Err(Refusal::BadRoom),
    };
    let limits = settings.limits.clone();
    let servers = move |admission: &Admission, id: &str| {
        let ttl = settings.ice.ttl;
        if may_relay {
            let name = format!("{}/{id}", admission.room);
            settings.ice.response(&host, &name, now(), ttl)
        } else {
            settings.ice.response_without_credentials(&host, ttl)
        }
    };
    signaling::upgrade(
        request,
        permit,
        state.signaling.clone(),
        limits,
        admission,
        servers,
    )
    .unwrap_or_else(|refusal| (upgrade_headers(), refuse(refusal)).into_response())
}

/// Returns true if a client receives credentials for the relay without a token and without asking
/// the hook.
fn may_relay_unauthorized(settings: &WebSettings, source: &RequestSource<'_>) -> bool {
    match settings.ice.access {
        IceAccess::Public => true,
        IceAccess::Loopback => source.is_local(),
        IceAccess::Nobody => false,
    }
}

/// Checks that a client may enter the room that it names. A peer that resumes its place was checked
/// when it entered.
async fn admit(
    signaling: &Signaling,
    settings: &WebSettings,
    source: &RequestSource<'_>,
    parameters: &RoomQuery,
) -> Result<Admission, Refusal> {
    let room = parameters.room()?;
    let room_size = match parameters.peers.as_deref().map(str::parse) {
        None => DEFAULT_ROOM_SIZE,
        Some(Ok(size)) if (2..=settings.limits.room_size).contains(&size) => size,
        Some(_) => return Err(Refusal::BadPeers),
    };
    let resume = parameters.resume.as_deref();
    let resumed_id = resume
        .and_then(|token| signaling.resume_tokens.id(room, token))
        .map(str::to_owned);
    if !resumed_id
        .as_ref()
        .is_some_and(|id| signaling.rooms.contains(room, id))
    {
        check_access(settings, source, room, parameters.token.as_deref()).await?;
    }
    Ok(Admission {
        room: room.to_owned(),
        room_size,
        resumed_id,
    })
}

async fn check_access(
    settings: &WebSettings,
    source: &RequestSource<'_>,
    room: &str,
    token: Option<&str>,
) -> Result<(), Refusal> {
    if let Some(tokens) = &settings.tokens {
        tokens.check(room, token, now())?;
    }
    if let Some(hook) = &settings.hook {
        let client = source.address().map(|address| address.to_string());
        hook.admit(&HookRequest {
            room,
            token,
            client,
            origin: source.origin(),
        })
        .await?;
    }
    Ok(())
}

async fn ice_servers(State(state): State<Arc<AppState>>, request: Request) -> Response {
    let settings = state.settings.load_full();
    let source = RequestSource::of(&request);
    let result = match Query::<RoomQuery>::try_from_uri(request.uri()) {
        Ok(Query(parameters)) => servers_for(&settings, &source, &parameters).await,
        Err(_) => Err(Refusal::BadRequest),
    };
    let mut response = match result {
        Ok(servers) => Json(servers).into_response(),
        Err(refusal) => refuse(refusal),
    };
    // An allowed page of another origin may read the response; a page of this server needs no
    // permission.
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && source.is_allowed(&settings.origins)
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
    settings: &WebSettings,
    source: &RequestSource<'_>,
    parameters: &RoomQuery,
) -> Result<IceServersResponse, Refusal> {
    if !source.is_allowed(&settings.origins) {
        return Err(Refusal::Origin);
    }
    let room = match parameters.room {
        Some(_) => Some(parameters.room()?),
        None => None,
    };
    if !may_relay_unauthorized(settings, source) {
        let room = room.filter(|_| settings.guards_rooms());
        let room = room.ok_or(Refusal::NotPermitted)?;
        check_access(settings, source, room, parameters.token.as_deref()).await?;
    }
    let (ice, name) = (&settings.ice, room.unwrap_or("guest"));
    Ok(ice.response(&source.host(), name, now(), ice.ttl))
}

async fn generate(
    State(state): State<Arc<AppState>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let settings = state.settings.load_full();
    if !has_api_key(&settings.ice.keys, &key, request.headers()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, refuse(Refusal::BadKey)).into_response();
    }
    let host = RequestSource::of(&request).host();
    match GenerateRequest::read(request.into_body(), &settings.ice).await {
        Ok(GenerateRequest { ttl, name }) => {
            let name = name.as_deref().unwrap_or(&key);
            let servers = settings.ice.response(&host, name, now(), ttl);
            (StatusCode::CREATED, Json(servers)).into_response()
        }
        Err(refusal) => refuse(refusal),
    }
}

fn has_api_key(keys: &[ApiKey], key: &str, headers: &HeaderMap) -> bool {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
    // Every key is compared even after a match, so that the time reveals nothing.
    keys.iter().fold(false, |found, known| {
        let same_key: bool = known.key.as_bytes().ct_eq(key.as_bytes()).into();
        let same_bearer: bool = known
            .bearer
            .as_bytes()
            .ct_eq(bearer.unwrap_or_default().as_bytes())
            .into();
        found | (same_key & same_bearer & bearer.is_some())
    })
}

/// The body of a request for credentials, with defaults filled in.
struct GenerateRequest {
    ttl: Duration,
    /// Part of the user name.
    name: Option<String>,
}

/// The fields are values of any type because each has a refusal of its own.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct GenerateBody {
    ttl: Option<Value>,
    custom_identifier: Option<Value>,
}

impl GenerateRequest {
    /// Reads `{"ttl":SECONDS,"customIdentifier":NAME}`; both are optional, and so is the body.
    async fn read(body: Body, ice: &IceServers) -> Result<GenerateRequest, Refusal> {
        let octets = to_bytes(body, MAX_BODY)
            .await
            .map_err(|_| Refusal::BadRequest)?;
        let body: GenerateBody = match octets.trim_ascii() {
            [] => GenerateBody::default(),
            [b'{', ..] => serde_json::from_slice(&octets).map_err(|_| Refusal::BadRequest)?,
            _ => return Err(Refusal::BadRequest),
        };
        let ttl = match body.ttl {
            None => ice.ttl,
            Some(ttl) => ttl
                .as_u64()
                .map(Duration::from_secs)
                .filter(|ttl| !ttl.is_zero() && *ttl <= ice.max_ttl)
                .ok_or(Refusal::BadTtl)?,
        };
        let name = match body.custom_identifier {
            None => None,
            Some(Value::String(name)) if is_user_name_part(&name) => Some(name),
            Some(_) => return Err(Refusal::BadName),
        };
        Ok(GenerateRequest { ttl, name })
    }
}

/// RFC 8489 section 14.3: a user name contains no control characters.
fn is_user_name_part(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

fn refuse(refusal: Refusal) -> Response {
    let status =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(refusal.json(None))).into_response()
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

fn upgrade_headers() -> [(HeaderName, &'static str); 3] {
    // RFC 6455 section 4.4: the response to another version names the supported one.
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

const SECURITY_HEADERS: [(&str, &str); 6] = [
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

/// Maximum size of a request body, in octets.
const MAX_BODY: usize = 16_384;
/// Maximum length of a `customIdentifier`, in octets; RFC 8489 section 14.3 allows a user name 508.
const MAX_NAME: usize = 256;
