//! Authentication of requests: the result is an [`AuthenticatedUser`] or the challenge to send. RFC
//! 8489 §9.2.
//!
//! ```text
//!   request ─► integrity? ─► name, realm, nonce? ─► algorithms agreed? ─► user known? ─► integrity valid? ─► nonce fresh?
//!                │ 401         │ 400                  │ 400                 │ 401           │ 401               │ 438
//! ```

use crate::turn::auth::nonce::{NonceKey, SecurityFeatures};
use crate::turn::auth::owner::{Identity, Owner};
use crate::turn::ids::time::Instant;
use crate::turn::policy::Policy;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::Reject;
use crate::wire::integrity;
use crate::wire::integrity::{Key, Seal, userhash};
use crate::wire::registry::PasswordAlgorithm;
use crate::wire::{AttributeType, Message};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The sender of an authenticated request.
#[derive(Clone, Debug)]
pub struct AuthenticatedUser {
    /// The name in USERNAME, or the name whose hash USERHASH is.
    pub name: Arc<str>,
    /// The user's realm.
    pub realm: Arc<Realm>,
    /// The key of the request's integrity attribute.
    pub key: Key,
    /// The time left until the access token expires (RFC 7635). No allocation outlives its token.
    pub token_lifetime: Option<Duration>,
    /// The integrity attribute of the response: the same as in the request, or SHA-256 if
    /// algorithms were negotiated (§9.2.4).
    pub seal: Seal,
}

impl AuthenticatedUser {
    /// The user as the owner of an allocation.
    pub fn owner(&self, now: Instant) -> Owner {
        Owner {
            name: self.name.clone(),
            realm: self.realm.name.clone(),
            key: self.key.clone(),
            authorized_until: self
                .token_lifetime
                .map_or(Instant::NEVER, |left| now + left),
        }
    }

    /// The user's identity, for comparison with other users.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            name: &self.name,
            realm: &self.realm.name,
            by_token: self.token_lifetime.is_some(),
        }
    }
}

/// The inputs of authentication besides the request.
#[derive(Debug)]
pub struct Authenticator<'a> {
    /// The operator's decisions.
    pub policy: &'a Policy,
    /// The key of the nonces.
    pub nonce_key: &'a NonceKey,
    /// The time.
    pub now: Instant,
    /// The Unix time, at which time-limited names and tokens expire.
    pub unix_time: Duration,
    /// The source of the request.
    pub client: SocketAddr,
    /// The owner of the client's allocation, or of the data connection to bind. The owner's key
    /// stays valid while the allocation lives, so that a call is not cut when a time-limited name
    /// expires or the operator removes the user, the realm or SHA-1.
    pub owner: Option<&'a Owner>,
}

impl Authenticator<'_> {
    /// Authenticates a request, with the checks in the order of RFC 8489 §9.2.4.
    ///
    /// # Errors
    /// 400, 401 or 438, as drawn above.
    pub fn authenticate(&self, request: &Message) -> Result<AuthenticatedUser, Reject> {
        let seal = integrity::seal(request).ok_or(Reject::UNAUTHENTICATED)?;
        let user = ClaimedUser::of(request).ok_or(Reject::BAD_REQUEST)?;
        let realm = request
            .attribute(AttributeType::REALM)
            .ok_or(Reject::BAD_REQUEST)?;
        let nonce = request
            .attribute(AttributeType::NONCE)
            .ok_or(Reject::BAD_REQUEST)?;
        let agreed = agreed_algorithm(request, nonce)?;
        let algorithm = agreed.unwrap_or(PasswordAlgorithm::MD5);
        let token = request.attribute(AttributeType::ACCESS_TOKEN);
        let named = self
            .policy
            .realms
            .iter()
            .find(|r| r.name.as_bytes() == realm)
            .cloned();
        let is_sealed_by = |owner: &&Owner| {
            let is_owner = user.is(owner, named.as_deref()) && realm == owner.realm.as_bytes();
            is_owner && integrity::verify(request, seal, &owner.key)
        };
        let owner = self.owner.filter(|_| token.is_none()).filter(is_sealed_by);
        if owner.is_none()
            && !self.policy.sha1
            && (seal == Seal::Sha1 || algorithm == PasswordAlgorithm::MD5)
        {
            return Err(Reject::UNAUTHENTICATED);
        }
        let realm = named
            .or_else(|| Some(self.policy.realm_named(&owner?.realm)))
            .ok_or(Reject::UNAUTHENTICATED)?;
        let (name, key, token_lifetime) = match (token, owner) {
            (Some(token), _) => self.authorize_token(request, seal, &realm, &user, token)?,
            (None, Some(owner)) => (owner.name.clone(), owner.key.clone(), None),
            (None, None) => {
                let name = user.name(&realm).ok_or(Reject::UNAUTHENTICATED)?;
                let keys = realm
                    .credentials
                    .keys(&realm.name, &name, algorithm, self.unix_time);
                let key = keys
                    .into_iter()
                    .find(|key| integrity::verify(request, seal, key));
                (name, key.ok_or(Reject::UNAUTHENTICATED)?, None)
            }
        };
        if !self.nonce_key.is_valid(
            self.now,
            self.client,
            nonce,
            self.policy.limits.nonce_lifetime,
        ) {
            return Err(Reject::STALE_NONCE);
        }
        let seal = if agreed.is_some() { Seal::Sha256 } else { seal };
        Ok(AuthenticatedUser {
            name,
            realm,
            key,
            token_lifetime,
            seal,
        })
    }

    /// Checks an access token and the integrity that its key must have made. RFC 7635 §7.
    fn authorize_token(
        &self,
        request: &Message,
        seal: Seal,
        realm: &Realm,
        user: &ClaimedUser,
        token: &[u8],
    ) -> Result<(Arc<str>, Key, Option<Duration>), Reject> {
        if realm.tokens.is_empty() {
            return Err(Reject::UnknownAttributes(vec![AttributeType::ACCESS_TOKEN]));
        }
        let ClaimedUser::Name(kid) = user else {
            return Err(Reject::UNAUTHENTICATED);
        };
        let kid = std::str::from_utf8(kid).map_err(|_| Reject::UNAUTHENTICATED)?;
        let token = realm
            .tokens
            .open(kid, token, self.unix_time)
            .ok_or(Reject::UNAUTHENTICATED)?;
        // coturn's client library uses only the first 16 octets of `mac_key` as the key of an
        // HMAC-SHA1.
        let short = token
            .key
            .as_octets()
            .get(..16)
            .and_then(Key::from_octets)
            .filter(|_| seal == Seal::Sha1);
        let mut keys = [Some(token.key), short].into_iter().flatten();
        let key = keys
            .find(|key| integrity::verify(request, seal, key))
            .ok_or(Reject::UNAUTHENTICATED)?;
        Ok((kid.into(), key, Some(token.remaining)))
    }
}

/// The user that a request claims to come from.
enum ClaimedUser<'a> {
    Name(&'a [u8]),
    Hash(&'a [u8]),
}

impl<'a> ClaimedUser<'a> {
    fn of(request: &Message<'a>) -> Option<ClaimedUser<'a>> {
        let name = request
            .attribute(AttributeType::USERNAME)
            .map(ClaimedUser::Name);
        name.or_else(|| {
            request
                .attribute(AttributeType::USERHASH)
                .map(ClaimedUser::Hash)
        })
    }

    /// Returns true if the claimed user is the owner. The realm's table of hashes saves hashing the
    /// owner's name.
    fn is(&self, owner: &Owner, realm: Option<&Realm>) -> bool {
        match self {
            ClaimedUser::Name(name) => *name == owner.name.as_bytes(),
            ClaimedUser::Hash(hash) => {
                match realm.and_then(|realm| realm.credentials.by_hash(hash)) {
                    Some(name) => *name == owner.name,
                    None => *hash == userhash(&owner.name, &owner.realm),
                }
            }
        }
    }

    fn name(&self, realm: &Realm) -> Option<Arc<str>> {
        match self {
            ClaimedUser::Name(octets) if octets.len() <= MAX_NAME => {
                let name = std::str::from_utf8(octets).ok()?;
                Some(
                    realm
                        .credentials
                        .known(name)
                        .cloned()
                        .unwrap_or_else(|| name.into()),
                )
            }
            ClaimedUser::Name(_) => None,
            ClaimedUser::Hash(hash) => realm.credentials.by_hash(hash).cloned(),
        }
    }
}

/// The password algorithm that a request chose; `None` if it names none, which stands for MD5.
///
/// # Errors
/// 400 if the nonce says that algorithms were offered but the request does not repeat the offer and
/// choose from it: an attacker on the path removed the offer (bid-down). RFC 8489 §9.2.4.
fn agreed_algorithm(request: &Message, nonce: &[u8]) -> Result<Option<PasswordAlgorithm>, Reject> {
    if !SecurityFeatures::of(nonce).is_some_and(|features| features.password_algorithms) {
        return Ok(None);
    }
    let offered = request.attribute(AttributeType::PASSWORD_ALGORITHMS);
    let chosen = request.attribute(AttributeType::PASSWORD_ALGORITHM);
    match (offered, chosen) {
        (None, None) => Ok(None),
        (Some(offered), Some(&[a0, a1, 0, 0])) if offered == PASSWORD_ALGORITHMS => {
            let chosen = PasswordAlgorithm(u16::from_be_bytes([a0, a1]));
            let known = [PasswordAlgorithm::SHA256, PasswordAlgorithm::MD5].contains(&chosen);
            if known {
                Ok(Some(chosen))
            } else {
                Err(Reject::BAD_REQUEST)
            }
        }
        _ => Err(Reject::BAD_REQUEST),
    }
}

/// The security features of the nonces under this policy.
pub fn features(policy: &Policy, realm: &Realm) -> SecurityFeatures {
    SecurityFeatures {
        password_algorithms: policy.password_algorithms,
        username_anonymity: policy.password_algorithms && realm.credentials.is_enumerable(),
    }
}

/// The offered PASSWORD-ALGORITHMS: SHA-256, then MD5, without parameters. RFC 8489 §14.11.
pub const PASSWORD_ALGORITHMS: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

/// Octets of the longest USERNAME: RFC 8489 §14.3 allows fewer than 509.
const MAX_NAME: usize = 508;
