//! Realms: who the users are, and what credentials are handed out.

use crate::config::error::Diagnostic;
use crate::config::host_info::HostInfo;
use crate::config::layers::{Layer, Resolver};
use crate::config::resolve::limits;
use crate::config::schema;
use crate::config::schema::Key;
use crate::config::value;
use crate::turn::Limits;
use crate::turn::policy::access_token::{TokenKey, TokenKeys};
use crate::turn::policy::acl::{Acl, Cidr};
use crate::turn::policy::credentials::Credentials;
use crate::turn::policy::opaque::opaque;
use crate::turn::policy::realm::Realm;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What the credentials are made from that a server hands out.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A shared secret, from which time-limited ones are minted.
    Secret {
        /// The secret.
        secret: String,
        /// Nobody wrote it: it was generated for this run.
        generated: bool,
    },
    /// A static user's.
    User {
        /// The user's name.
        name: String,
        /// Its password.
        password: String,
    },
}

impl std::fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CredentialSource::Secret { generated, .. } => {
                write!(f, "Secret(…, generated: {generated})")
            }
            CredentialSource::User { name, .. } => write!(f, "User({name}, …)"),
        }
    }
}

/// The realms of a configuration, the one of its top level first, and what clients of that one log in with.
pub(crate) fn all(
    reader: &mut Resolver,
    written: &Layer,
    host: &HostInfo,
    base: &Limits,
) -> (Vec<Realm>, CredentialSource) {
    let name = reader
        .one(&schema::REALM, name)
        .unwrap_or_else(|| "hairpin".into());
    let (mut users, mut secrets) = (users(reader), secrets(reader));
    let login = match (secrets.first(), users.first()) {
        (Some(secret), _) => CredentialSource::Secret {
            secret: secret.clone(),
            generated: false,
        },
        (None, Some((name, password))) => CredentialSource::User {
            name: name.clone(),
            password: password.clone(),
        },
        (None, None) => {
            secrets.push(host.secret.clone());
            CredentialSource::Secret {
                secret: host.secret.clone(),
                generated: true,
            }
        }
    };
    let mut realms = vec![realm(reader, &name, &mut users, secrets)];
    for written in &written.realms {
        let mut inner = Resolver::new(written);
        realms.extend(further(&mut inner, &realms, base));
        reader.diagnostics.append(&mut inner.diagnostics);
    }
    (realms, login)
}

/// A realm of the list at the end of the file.
fn further(reader: &mut Resolver, known: &[Realm], base: &Limits) -> Option<Realm> {
    let name = reader.one(&schema::NAME, name)?;
    if known.iter().any(|realm| *realm.name == *name) {
        reader.wrong(&schema::NAME, &format!("there is a realm `{name}` already"));
    }
    let (mut users, secrets) = (users(reader), secrets(reader));
    let mut realm = realm(reader, &name, &mut users, secrets);
    realm.listeners = reader.many(&schema::OF_LISTENER, value::transport_address);
    realm.origins = reader.many(&schema::ORIGIN, value::text);
    realm.server_names = reader.many(&schema::SERVER_NAME, value::text);
    realm.limits = limits::are_written(reader).then(|| limits::limits(reader, base.clone()));
    if realm.credentials.is_empty() && realm.tokens.is_empty() {
        reader.wrong(
            &schema::NAME,
            &format!("nobody is a user of `{name}`; write user or shared_secret"),
        );
    }
    if realm.listeners.is_empty() && realm.origins.is_empty() && realm.server_names.is_empty() {
        reader.wrong(
            &schema::NAME,
            &format!("nothing chooses `{name}`; write listener, origin or server_name"),
        );
    }
    Some(realm)
}

fn realm(
    reader: &mut Resolver,
    name: &str,
    users: &mut Vec<(String, String)>,
    secrets: Vec<String>,
) -> Realm {
    let mut realm = Realm::new(name);
    let mut credentials = Credentials::new();
    for (user, password) in users.drain(..) {
        credentials.add_user(name, &user, &password);
    }
    for secret in secrets {
        credentials.add_secret(secret);
    }
    realm.credentials = credentials;
    realm.tokens = tokens(reader);
    realm.peers = Acl {
        allow: reader.many(&schema::ALLOW_PEER, str::parse::<Cidr>),
        deny: reader.many(&schema::DENY_PEER, str::parse::<Cidr>),
    };
    realm
}

/// What access tokens are opened with. RFC 7635.
fn tokens(reader: &mut Resolver) -> TokenKeys {
    let mut keys = reader.many(&schema::TOKEN_KEY, token_key);
    for (kid, key) in pairs_of_file(reader, &schema::TOKEN_KEY_FILE) {
        match token_key(&format!("{kid}:{key}")) {
            Ok(key) => keys.push(key),
            Err(message) => reader.wrong(&schema::TOKEN_KEY_FILE, &message),
        }
    }
    let server_name = reader
        .one(&schema::TOKEN_SERVER, value::text)
        .unwrap_or_default();
    if !keys.is_empty() && server_name.is_empty() {
        reader.wrong(
            &schema::TOKEN_KEY,
            "tokens are bound to a server's name; set token_server too",
        );
    }
    TokenKeys { server_name, keys }
}

fn token_key(text: &str) -> Result<TokenKey, String> {
    let wrong = || "a token key is KID:BASE64 of 16 or 32 octets".to_owned();
    let (kid, key) = value::user(text).map_err(|_| wrong())?;
    let octets = STANDARD.decode(key).map_err(|_| wrong())?;
    TokenKey::new(&kid, octets).ok_or_else(wrong)
}

fn users(reader: &mut Resolver) -> Vec<(String, String)> {
    let mut users = reader.many(&schema::USER, value::user);
    users.extend(pairs_of_file(reader, &schema::USER_FILE));
    users
}

fn secrets(reader: &mut Resolver) -> Vec<String> {
    let mut secrets = reader.many(&schema::SHARED_SECRET, value::text);
    secrets.extend(secrets_of_files(reader, &schema::SHARED_SECRET_FILE));
    secrets
}

/// The secrets that the files of a key hold, one each.
pub(crate) fn secrets_of_files(reader: &mut Resolver, key: &Key) -> Vec<String> {
    let mut secrets = Vec::new();
    for (origin, path, content) in reader.contents(key) {
        match bare(&content) {
            "" => reader.wrong_at(&origin, key, &format!("{path} is empty")),
            secret => secrets.push(secret.to_owned()),
        }
    }
    secrets
}

/// The pairs that the file of a key holds, one a line with a colon between.
pub(crate) fn pairs_of_file(reader: &mut Resolver, key: &Key) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (origin, path, content) in reader.contents(key) {
        let lines = content
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (number, line) in lines {
            match value::user(line) {
                Ok(pair) => pairs.push(pair),
                Err(why) => reader.wrong_at(&origin, key, &format!("{path}:{}: {why}", number + 1)),
            }
        }
    }
    pairs
}

/// Notes every shared secret that can be guessed.
pub(crate) fn short_secrets(reader: &mut Resolver, written: &Layer) {
    for written in std::iter::once(written).chain(&written.realms) {
        for given in [&schema::SHARED_SECRET, &schema::SHARED_SECRET_FILE]
            .into_iter()
            .flat_map(|key| written.get(key))
        {
            let secret = match &given.content {
                Some(Ok(content)) => bare(content),
                _ => &given.text,
            };
            if secret.len() < SHORTEST_SECRET {
                let message = format!(
                    "a secret of {} characters can be guessed; take {SHORTEST_SECRET} or more",
                    secret.len()
                );
                reader
                    .diagnostics
                    .push(Diagnostic::new(&given.origin, message));
            }
        }
    }
}

fn bare(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// REALM is a quoted string of at most 127 characters. RFC 8489 §14.9.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > 127 || text.contains(['"', '\\']) {
        return Err("a realm is 1 to 127 characters without quotes and backslashes".into());
    }
    opaque(text)
        .map(|name| name.into_owned())
        .ok_or_else(|| value::UNFIT.into())
}

/// Characters under which a shared secret is called short.
const SHORTEST_SECRET: usize = 16;
