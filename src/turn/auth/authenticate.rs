//! Who is asking: a request becomes a [`AuthenticatedUser`], or the challenge that tells how to become one. RFC 8489 §9.2.
//!
//! ```text
//!   request ──► seal? ──► name, realm, nonce? ──► algorithms agreed? ──► known? ──► seal right? ──► nonce fresh? ──► AuthenticatedUser
//!                │ 401        │ 400                    │ 400              │ 401        │ 401            │ 438
//! ```

use crate::turn::auth::owner::{Identity, Owner};
use crate::turn::policy::realm::Realm;

use crate::turn::auth::nonce::{NonceKey, SecurityFeatures};
use crate::turn::ids::time::Instant;
use crate::turn::policy::Policy;
use crate::turn::policy::reject::Reject;
use crate::wire::integrity;
use crate::wire::integrity::{Key, Seal, userhash};
use crate::wire::registry::PasswordAlgorithm;
use crate::wire::{AttributeType, Message};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// An authenticated user, and how the answer is to be sealed.
#[derive(Clone, Debug)]
pub struct AuthenticatedUser {
    /// The name that the request bore, or that its USERHASH stands for.
    pub name: Arc<str>,
    /// The realm in which the name counts.
    pub realm: Arc<Realm>,
    /// What the request was sealed with.
    pub key: Key,
    /// For how long a third party authorized it, where one did (RFC 7635): no allocation outlives that.
    pub authorized: Option<Duration>,
    /// How the answer is sealed: as the request was, and with SHA-256 once algorithms were negotiated (§9.2.4).
    pub seal: Seal,
}

impl AuthenticatedUser {
    /// The caller as the owner of an allocation.
    pub fn owner(&self, now: Instant) -> Owner {
        Owner {
            name: self.name.clone(),
            realm: self.realm.name.clone(),
            key: self.key.clone(),
            authorized_until: self.authorized.map_or(Instant::NEVER, |left| now + left),
        }
    }

    /// Who that is to what others made.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            name: &self.name,
            realm: &self.realm.name,
            by_token: self.authorized.is_some(),
        }
    }
}

/// What the check of a request depends on, besides the request.
#[derive(Debug)]
pub struct Authenticator<'a> {
    /// The operator's decisions.
    pub policy: &'a Policy,
    /// What nonces are sealed with.
    pub nonces: &'a NonceKey,
    /// The time.
    pub now: Instant,
    /// The time of day, since the Unix epoch, for names that expire.
    pub unix: Duration,
    /// Who sent the request.
    pub client: SocketAddr,
    /// Who made the client's allocation, or that of the connection which is to be bound: that key stays good while it lives, so
    /// that a call is not cut when a time-limited name expires under it, or an operator takes away the user, the realm or SHA-1.
    pub known: Option<&'a Owner>,
}

impl Authenticator<'_> {
    /// Checks a request in the RFC's order. RFC 8489 §9.2.4.
    ///
    /// # Errors
    /// 401, 400, or 438, as the drawing above says.
    pub fn authenticate(&self, request: &Message) -> Result<AuthenticatedUser, Reject> {
        let seal = integrity::seal(request).ok_or(Reject::UNAUTHENTICATED)?;
        let user = User::of(request).ok_or(Reject::BAD_REQUEST)?;
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
        let is_of = |owner: &&Owner| {
            let known = user.is(owner, named.as_deref()) && realm == owner.realm.as_bytes();
            known && integrity::verify(request, seal, &owner.key)
        };
        let owner = self.known.filter(|_| token.is_none()).filter(is_of);
        if owner.is_none()
            && !self.policy.sha1
            && (seal == Seal::Sha1 || algorithm == PasswordAlgorithm::MD5)
        {
            return Err(Reject::UNAUTHENTICATED);
        }
        let realm = named
            .or_else(|| Some(self.policy.realm_named(&owner?.realm)))
            .ok_or(Reject::UNAUTHENTICATED)?;
        let (name, key, authorized) = match (token, owner) {
            (Some(token), _) => self.authorized(request, seal, &realm, &user, token)?,
            (None, Some(owner)) => (owner.name.clone(), owner.key.clone(), None),
            (None, None) => {
                let name = user.name(&realm).ok_or(Reject::UNAUTHENTICATED)?;
                let keys = realm
                    .credentials
                    .keys(&realm.name, &name, algorithm, self.unix);
                let key = keys
                    .into_iter()
                    .find(|key| integrity::verify(request, seal, key));
                (name, key.ok_or(Reject::UNAUTHENTICATED)?, None)
            }
        };
        if !self.nonces.is_valid(
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
            authorized,
            seal,
        })
    }

    /// Who a third party says that the caller is. RFC 7635 §7.
    fn authorized(
        &self,
        request: &Message,
        seal: Seal,
        realm: &Realm,
        user: &User,
        token: &[u8],
    ) -> Result<(Arc<str>, Key, Option<Duration>), Reject> {
        if realm.tokens.is_empty() {
            return Err(Reject::Unknown(vec![AttributeType::ACCESS_TOKEN]));
        }
        let User::Name(kid) = user else {
            return Err(Reject::UNAUTHENTICATED);
        };
        let kid = std::str::from_utf8(kid).map_err(|_| Reject::UNAUTHENTICATED)?;
        let token = realm
            .tokens
            .open(kid, token, self.unix)
            .ok_or(Reject::UNAUTHENTICATED)?;
        // coturn's library, and so its tools, takes the first 16 octets of the `mac_key` for the key of an HMAC-SHA1.
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
        Ok((kid.into(), key, Some(token.left)))
    }
}

/// How a request names its user.
enum User<'a> {
    Name(&'a [u8]),
    Hash(&'a [u8]),
}

impl<'a> User<'a> {
    fn of(request: &Message<'a>) -> Option<User<'a>> {
        let name = request.attribute(AttributeType::USERNAME).map(User::Name);
        name.or_else(|| request.attribute(AttributeType::USERHASH).map(User::Hash))
    }

    /// Whether that is the owner of something; where the owner's realm still has the name, its hash need not be made.
    fn is(&self, owner: &Owner, realm: Option<&Realm>) -> bool {
        match self {
            User::Name(name) => *name == owner.name.as_bytes(),
            User::Hash(hash) => match realm.and_then(|realm| realm.credentials.by_hash(hash)) {
                Some(name) => *name == owner.name,
                None => *hash == userhash(&owner.name, &owner.realm),
            },
        }
    }

    fn name(&self, realm: &Realm) -> Option<Arc<str>> {
        match self {
            User::Name(octets) if octets.len() <= LONGEST_NAME => {
                let name = std::str::from_utf8(octets).ok()?;
                Some(
                    realm
                        .credentials
                        .known(name)
                        .cloned()
                        .unwrap_or_else(|| name.into()),
                )
            }
            User::Name(_) => None,
            User::Hash(hash) => realm.credentials.by_hash(hash).cloned(),
        }
    }
}

/// The algorithm that a request says was agreed upon; `None` when it says nothing, which stands for MD5.
///
/// # Errors
/// 400 when the nonce tells that algorithms were offered and the request does not repeat the offer and choose from it:
/// somebody on the way is bidding down. RFC 8489 §9.2.4.
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

/// The features that this policy's nonces announce.
pub fn features(policy: &Policy, realm: &Realm) -> SecurityFeatures {
    SecurityFeatures {
        password_algorithms: policy.password_algorithms,
        username_anonymity: policy.password_algorithms && realm.credentials.is_enumerable(),
    }
}

/// PASSWORD-ALGORITHMS as it is offered: SHA-256, then MD5, without parameters. RFC 8489 §14.11.
pub const PASSWORD_ALGORITHMS: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

/// The longest USERNAME, in octets: RFC 8489 §14.3 allows fewer than 509.
const LONGEST_NAME: usize = 508;
