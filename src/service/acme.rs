//! Certificates by themselves: ordered from an ACME server (RFC 8555), which finds out by TLS-ALPN-01 (RFC 8737), on the
//! port that clients use, that the name is ours.
//!
//! Everything that has to outlive the process lies in a state directory: `account.json`, and for the names the chain
//! and its key as `acme.pem` and `acme.key`, readable by the owner alone.

use crate::net::Certificate;
use crate::service::certificates::{Certificates, Pair, read};
use crate::service::http_client;
use axum::body::Body;
use axum::http::Request;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is ordered, and from whom.
#[derive(Clone, Debug)]
pub struct Acme {
    /// The names that the certificate is to be for.
    pub names: Vec<String>,
    /// The ACME server's directory URL.
    pub directory: String,
    /// Whom the ACME server may write to, as `mailto:…`.
    pub contact: Option<String>,
    /// Authorities that the ACME server's own certificate may come from besides the well-known ones.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Where account and certificates are kept.
    pub state: PathBuf,
}

impl Acme {
    /// What was ordered before and is still in the state directory.
    pub fn kept(&self) -> Option<Arc<Certificate>> {
        let kept = read(&self.pair()).ok()?;
        let wanted = self.names.iter().all(|name| kept.matches_name(name));
        wanted.then_some(kept)
    }

    /// Keeps the certificate fresh, for ever: orders one when there is none, and the next when a third of its time is left.
    /// After a failure it is tried again, ever more rarely up to once an hour, and whenever an operator asks for a reload.
    pub async fn renew(self, certificates: Certificates) -> io::Result<()> {
        let mut current = self.kept();
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = current
                .as_ref()
                .map_or(Duration::ZERO, |current| due(current));
            tokio::time::sleep(wait).await;
            if !wait.is_zero() {
                // Long waits are cut into shorter ones: the system's clock may be set meanwhile.
                continue;
            }
            match self.obtain(&certificates).await {
                Ok(new) => {
                    tracing::info!(names = %self.names.join(", "), serial = new.serial(), "certificate obtained by ACME");
                    current = Some(new);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    certificates.tls().count_failure();
                    let seconds = pause.as_secs();
                    tracing::error!(directory = %self.directory, seconds, "no certificate by ACME, tried again: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        () = certificates.reloaded() => pause = FIRST_PAUSE,
                    }
                }
            }
        }
    }

    /// Orders a certificate, keeps it, and shows it.
    async fn obtain(&self, certificates: &Certificates) -> io::Result<Arc<Certificate>> {
        let created = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state);
        created.map_err(|error| named(&self.state, &error))?;
        let mut order = self.order().await?;
        let proven = prove(&mut order, certificates).await;
        for name in &self.names {
            certificates.tls().set_acme_challenge(name, None);
        }
        proven?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(self.names.clone()).map_err(io::Error::other)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(io::Error::other)?;
        order
            .finalize_csr(request.der())
            .await
            .map_err(io::Error::other)?;
        let chain = order
            .poll_certificate(&patience())
            .await
            .map_err(io::Error::other)?;
        let key = key.serialize_pem();
        let certificate = Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes())?);
        let pair = self.pair();
        let kept = write_private(&pair.private_key, key.as_bytes());
        let kept = kept.and_then(|()| write_private(&pair.certificate, chain.as_bytes()));
        // One that could not be kept is shown all the same.
        certificates.add(certificate.clone())?;
        kept.map(|()| certificate)
    }

    /// Begins an order. An account that the server has forgotten is no reason to be without a certificate.
    async fn order(&self) -> io::Result<Order> {
        let identifiers: Vec<Identifier> =
            self.names.iter().cloned().map(Identifier::Dns).collect();
        let new = NewOrder::new(&identifiers);
        match self.account().await?.new_order(&new).await {
            Err(instant_acme::Error::Api(problem))
                if problem.r#type.as_deref() == Some(FORGOTTEN) =>
            {
                tracing::warn!(directory = %self.directory, "the ACME server has forgotten the account: a new one is made");
                fs::remove_file(self.account_file())?;
                self.account()
                    .await?
                    .new_order(&new)
                    .await
                    .map_err(io::Error::other)
            }
            other => other.map_err(io::Error::other),
        }
    }

    /// The account, as it was kept, or a new one. With an account of another server nothing can be ordered here.
    async fn account(&self) -> io::Result<Account> {
        let path = self.account_file();
        let builder = || {
            Ok::<_, io::Error>(Account::builder_with_http(Box::new(AcmeClient(
                http_client::HttpClient::new(&self.authorities)?,
            ))))
        };
        let kept = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.directory == self.directory) {
            return builder()?
                .from_credentials(kept.credentials)
                .await
                .map_err(io::Error::other);
        }
        let contact: Vec<&str> = self.contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let created = builder()?.create(&new, self.directory.clone(), None).await;
        let (account, credentials) = created.map_err(io::Error::other)?;
        let kept = Kept {
            directory: self.directory.clone(),
            credentials,
        };
        write_private(&path, &serde_json::to_vec(&kept).map_err(io::Error::other)?)?;
        Ok(account)
    }

    fn account_file(&self) -> PathBuf {
        self.state.join("account.json")
    }

    fn pair(&self) -> Pair {
        Pair {
            certificate: self.state.join("acme.pem"),
            private_key: self.state.join("acme.key"),
        }
    }
}

/// An account as it is kept.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

/// Proves each name of an order.
async fn prove(order: &mut Order, certificates: &Certificates) -> io::Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(io::Error::other)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(io::Error::other(
                "the ACME server does not offer TLS-ALPN-01",
            ));
        };
        let name = challenge.identifier().to_string();
        let answer = answer(&name, challenge.key_authorization().digest().as_ref())?;
        certificates
            .tls()
            .set_acme_challenge(&name, Some(Arc::new(answer)));
        challenge.set_ready().await.map_err(io::Error::other)?;
    }
    let outcome = order.poll_ready(&patience()).await;
    if matches!(outcome, Ok(OrderStatus::Ready)) {
        return Ok(());
    }
    let refused = refusals(order).await.join("; ");
    let why = outcome
        .err()
        .map_or_else(|| "the order is invalid".into(), |error| error.to_string());
    let why = if refused.is_empty() { why } else { refused };
    Err(io::Error::other(format!(
        "{why}. Port 443 of each name has to lead to this server"
    )))
}

/// What the ACME server says of the names that it could not validate.
async fn refusals(order: &mut Order) -> Vec<String> {
    let mut all = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let problems = state
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref()?.detail.as_deref());
        all.extend(problems.map(|detail| format!("{name}: {detail}")));
    }
    all
}

/// What is shown to who validates a name. RFC 8737 §3.
fn answer(name: &str, digest: &[u8]) -> io::Result<CertifiedKey> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
    params
        .custom_extensions
        .push(CustomExtension::new_acme_identifier(digest));
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(io::Error::other)?;
    // Not compared with the certificate: nobody reads that but who asked for it, as its extension is critical.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// How long a certificate may still be shown before the next is ordered, at most an hour: until a third of its time is left.
fn due(certificate: &Certificate) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (begins, expires) = (certificate.not_before(), certificate.not_after());
    let renewal = expires.saturating_sub(expires.saturating_sub(begins) / 3);
    renewal.saturating_sub(now).min(LONGEST_PAUSE)
}

fn patience() -> RetryPolicy {
    RetryPolicy::default().timeout(ORDER)
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside);
    let written =
        written.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| named(path, &error))
}

/// An error with the file that it is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The HTTP client for the ACME library. RFC 8555 section 6.1 requires `https`.
struct AcmeClient(http_client::HttpClient);

type PendingResponse =
    Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>>;

impl HttpClient for AcmeClient {
    fn request(&self, request: Request<BodyWrapper<axum::body::Bytes>>) -> PendingResponse {
        let client = self.0.clone();
        Box::pin(async move {
            let response = if request.uri().scheme_str() == Some("https") {
                client
                    .send(request.map(Body::new), LONGEST_ANSWER, REQUEST)
                    .await
            } else {
                let message = "the URL of an ACME server must start with https://";
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            };
            let (parts, body) = response
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))?
                .into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// After the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// After many of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// How long an ACME server may take to validate, or to issue.
const ORDER: Duration = Duration::from_secs(120);
/// Octets of the longest answer that is read.
const LONGEST_ANSWER: usize = 1 << 20;
/// The problem of who has no account. RFC 8555 §6.7.
const FORGOTTEN: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
