//! Realms: their users, secrets, token keys and peer rules, and the credentials that the server
//! issues.

use crate::config::host_info::HostInfo;
use crate::config::layer::Layer;
use crate::config::resolve::limits;
use crate::config::resolve::secret_files;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::value;
use crate::turn::Limits;
use crate::turn::policy::access_token::TokenKeys;
use crate::turn::policy::acl::Acl;
use crate::turn::policy::credentials::Credentials;
use crate::turn::policy::realm::Realm;
use std::fmt;

/// What the credentials that the server issues are made from.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A shared secret, from which the server makes time-limited credentials.
    Secret {
        /// The secret.
        secret: String,
        /// The operator configured no user and no secret, so the server generated this one.
        generated: bool,
    },
    /// The credentials of a static user.
    User {
        /// The user's name.
        name: String,
        /// The user's password.
        password: String,
    },
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialSource::Secret { generated, .. } => {
                write!(f, "Secret(…, generated: {generated})")
            }
            CredentialSource::User { name, .. } => write!(f, "User({name}, …)"),
        }
    }
}

/// The users and secrets of a realm.
struct Accounts {
    users: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Accounts {
    fn read(resolver: &mut Resolver) -> Accounts {
        let mut users = resolver.get_list(&schema::USER);
        users.extend(secret_files::pairs(resolver, &schema::USER_FILE));
        let mut secrets = resolver.get_list(&schema::SHARED_SECRET);
        secrets.extend(secret_files::secrets(resolver, &schema::SHARED_SECRET_FILE));
        Accounts { users, secrets }
    }
}

/// The realms of a configuration, the top level's realm first, and the source of that realm's
/// credentials.
pub(super) fn realms(
    resolver: &mut Resolver,
    layer: &Layer,
    host: &HostInfo,
    limits: &Limits,
) -> (Vec<Realm>, CredentialSource) {
    let name = resolver.get(&schema::REALM);
    let mut accounts = Accounts::read(resolver);
    let source = match (accounts.secrets.first(), accounts.users.first()) {
        (Some(secret), _) => CredentialSource::Secret {
            secret: secret.clone(),
            generated: false,
        },
        (None, Some((name, password))) => CredentialSource::User {
            name: name.clone(),
            password: password.clone(),
        },
        (None, None) => {
            accounts.secrets.push(host.secret.clone());
            CredentialSource::Secret {
                secret: host.secret.clone(),
                generated: true,
            }
        }
    };
    let mut realms = vec![realm(resolver, &name, accounts)];
    for layer in &layer.realms {
        let mut of_realm = Resolver::new(layer);
        realms.extend(further_realm(&mut of_realm, &realms, limits));
        resolver.diagnostics.append(&mut of_realm.diagnostics);
    }
    (realms, source)
}

/// The realm of a `[[realms]]` table.
fn further_realm(resolver: &mut Resolver, others: &[Realm], inherited: &Limits) -> Option<Realm> {
    let name = resolver.get_optional(&schema::NAME)?;
    if others.iter().any(|realm| *realm.name == *name) {
        let message = format!("there is another realm `{name}`; rename or remove one");
        resolver.error(&schema::NAME, message);
    }
    let accounts = Accounts::read(resolver);
    let mut realm = realm(resolver, &name, accounts);
    realm.listeners = resolver.get_list(&schema::REALM_LISTENER);
    realm.origins = resolver.get_list(&schema::ORIGIN);
    realm.server_names = resolver.get_list(&schema::SERVER_NAME);
    if limits::has_own_limits(resolver) {
        realm.limits = Some(limits::limits(resolver, inherited));
    }
    if realm.credentials.is_empty() && realm.tokens.is_empty() {
        let message = format!("the realm `{name}` has no users; set user or shared_secret");
        resolver.error(&schema::NAME, message);
    }
    if realm.listeners.is_empty() && realm.origins.is_empty() && realm.server_names.is_empty() {
        let message =
            format!("no request selects the realm `{name}`; set listener, origin or server_name");
        resolver.error(&schema::NAME, message);
    }
    Some(realm)
}

fn realm(resolver: &mut Resolver, name: &str, accounts: Accounts) -> Realm {
    let mut realm = Realm::new(name);
    let mut credentials = Credentials::new();
    for (user, password) in &accounts.users {
        credentials.add_user(name, user, password);
    }
    for secret in accounts.secrets {
        credentials.add_secret(secret);
    }
    realm.credentials = credentials;
    realm.tokens = token_keys(resolver);
    realm.peers = Acl {
        allow: resolver.get_list(&schema::ALLOW_PEER),
        deny: resolver.get_list(&schema::DENY_PEER),
    };
    realm
}

/// The keys that decrypt access tokens. RFC 7635.
fn token_keys(resolver: &mut Resolver) -> TokenKeys {
    let mut keys = resolver.get_list(&schema::TOKEN_KEY);
    for (kid, key) in secret_files::pairs(resolver, &schema::TOKEN_KEY_FILE) {
        match value::token_key(&format!("{kid}:{key}")) {
            Ok(key) => keys.push(key),
            Err(error) => resolver.error(&schema::TOKEN_KEY_FILE, error),
        }
    }
    let server_name = resolver
        .get_optional(&schema::TOKEN_SERVER)
        .unwrap_or_default();
    if !keys.is_empty() && server_name.is_empty() {
        resolver.error(
            &schema::TOKEN_KEY,
            "access tokens are bound to the name of the server; set token_server too",
        );
    }
    TokenKeys { server_name, keys }
}
