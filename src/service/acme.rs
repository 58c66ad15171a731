//! Certificates ordered from an ACME server (RFC 8555). The server validates the names by
//! TLS-ALPN-01 (RFC 8737) on the port that clients use.
//!
//! The state directory holds what has to survive a restart, readable by its owner only:
//! `account.json`, and the chain and key of the last certificate as `acme.pem` and `acme.key`.

use crate::net::Certificate;
use crate::service::certificates::{CertificateFiles, CertificateStore, load, with_path};
use crate::service::http_client::HttpClient;
use axum::body::{Body, Bytes};
use axum::http::Request;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
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
use std::time::{Duration, UNIX_EPOCH};

/// The certificate to order and the ACME server.
#[derive(Clone, Debug)]
pub struct Acme {
    /// DNS names of the certificate.
    pub names: Vec<String>,
    /// The directory URL of the ACME server.
    pub directory: String,
    /// The contact of the account, as `mailto:…`.
    pub contact: Option<String>,
    /// Authorities, besides the public ones, that may have issued the certificate of the ACME
    /// server.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The directory of account and certificate.
    pub state_directory: PathBuf,
}

impl Acme {
    /// The certificate in the state directory, if it is for all names.
    pub fn stored_certificate(&self) -> Option<Arc<Certificate>> {
        let stored = load(&self.certificate_files()).ok()?;
        self.names
            .iter()
            .all(|name| stored.matches_name(name))
            .then_some(stored)
    }

    /// Orders a certificate if there is none, and the next one when a third of its lifetime is
    /// left. A failure is retried at growing intervals of up to an hour, and after each reload of
    /// the configuration. Never returns.
    pub async fn renew(self, store: CertificateStore) -> io::Result<()> {
        let mut current = self.stored_certificate();
        let mut retry = MIN_RETRY;
        loop {
            let wait = current
                .as_ref()
                .map_or(Duration::ZERO, |current| time_to_renewal(current));
            if !wait.is_zero() {
                // Sleeps at most an hour at a time, because the system clock may be set meanwhile.
                tokio::time::sleep(wait.min(MAX_SLEEP)).await;
                continue;
            }
            match self.order_certificate(&store).await {
                Ok(issued) => {
                    let names = self.names.join(", ");
                    tracing::info!(%names, serial = issued.serial(), "certificate issued by ACME");
                    current = Some(issued);
                    retry = MIN_RETRY;
                }
                Err(error) => {
                    store.tls().count_failure();
                    let (directory, retry_seconds) = (&self.directory, retry.as_secs());
                    tracing::error!(%directory, retry_seconds, "no certificate by ACME: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(retry) => retry = (retry * 2).min(MAX_RETRY),
                        () = store.reload_requested() => retry = MIN_RETRY,
                    }
                }
            }
        }
    }

    /// Orders a certificate, stores it and adds it to the store.
    async fn order_certificate(&self, store: &CertificateStore) -> io::Result<Arc<Certificate>> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state_directory)
            .map_err(|error| with_path(&self.state_directory, &error))?;
        let mut order = self.create_order().await?;
        let validated = validate(&mut order, store).await;
        for name in &self.names {
            store.tls().set_acme_challenge(name, None);
        }
        validated?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(self.names.clone()).map_err(io::Error::other)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(io::Error::other)?;
        order
            .finalize_csr(request.der())
            .await
            .map_err(io::Error::other)?;
        let chain = order
            .poll_certificate(&retry_policy())
            .await
            .map_err(io::Error::other)?;
        let key = key.serialize_pem();
        let certificate = Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes())?);
        let files = self.certificate_files();
        let stored = write_private(&files.private_key, key.as_bytes())
            .and_then(|()| write_private(&files.chain, chain.as_bytes()));
        // Presented even if it could not be stored.
        store.add_issued(certificate.clone())?;
        stored.map(|()| certificate)
    }

    /// Creates an order, with a new account if the server does not know the stored one any more.
    async fn create_order(&self) -> io::Result<Order> {
        let names: Vec<Identifier> = self.names.iter().cloned().map(Identifier::Dns).collect();
        let new = NewOrder::new(&names);
        match self.account().await?.new_order(&new).await {
            Err(instant_acme::Error::Api(problem))
                if problem.r#type.as_deref() == Some(ACCOUNT_DOES_NOT_EXIST) =>
            {
                let directory = &self.directory;
                tracing::warn!(%directory, "ACME account no longer exists; creating a new one");
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

    /// The stored account, or a new one if none is stored or it belongs to another server.
    async fn account(&self) -> io::Result<Account> {
        let client = Box::new(AcmeHttp(HttpClient::new(&self.authorities)?));
        let builder = Account::builder_with_http(client);
        let path = self.account_file();
        let stored = fs::read(&path).ok();
        let stored = stored.and_then(|text| serde_json::from_slice::<StoredAccount>(&text).ok());
        if let Some(stored) = stored.filter(|stored| stored.directory == self.directory) {
            return builder
                .from_credentials(stored.credentials)
                .await
                .map_err(io::Error::other);
        }
        let contact: Vec<&str> = self.contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let created = builder.create(&new, self.directory.clone(), None).await;
        let (account, credentials) = created.map_err(io::Error::other)?;
        let stored = StoredAccount {
            directory: self.directory.clone(),
            credentials,
        };
        write_private(
            &path,
            &serde_json::to_vec(&stored).map_err(io::Error::other)?,
        )?;
        Ok(account)
    }

    fn account_file(&self) -> PathBuf {
        self.state_directory.join("account.json")
    }

    fn certificate_files(&self) -> CertificateFiles {
        CertificateFiles {
            chain: self.state_directory.join("acme.pem"),
            private_key: self.state_directory.join("acme.key"),
        }
    }
}

/// The content of `account.json`.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredAccount {
    directory: String,
    credentials: AccountCredentials,
}

/// Answers the challenge of each name and waits until the server has validated them.
async fn validate(order: &mut Order, store: &CertificateStore) -> io::Result<()> {
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
        let digest = challenge.key_authorization().digest();
        let certificate = challenge_certificate(&name, digest.as_ref())?;
        store
            .tls()
            .set_acme_challenge(&name, Some(Arc::new(certificate)));
        challenge.set_ready().await.map_err(io::Error::other)?;
    }
    let outcome = order.poll_ready(&retry_policy()).await;
    if matches!(outcome, Ok(OrderStatus::Ready)) {
        return Ok(());
    }
    let problems = problems(order).await.join("; ");
    let reason = match outcome {
        _ if !problems.is_empty() => problems,
        Ok(status) => format!("the order is {status:?}"),
        Err(error) => error.to_string(),
    };
    Err(io::Error::other(format!(
        "{reason}; port 443 of each name must lead to this server"
    )))
}

/// The reasons of the ACME server why it could not validate names.
async fn problems(order: &mut Order) -> Vec<String> {
    let mut all = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let errors = state
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref());
        let details = errors.filter_map(|error| error.detail.as_deref());
        all.extend(details.map(|detail| format!("{name}: {detail}")));
    }
    all
}

/// The certificate that answers a challenge (RFC 8737, section 3).
fn challenge_certificate(name: &str, digest: &[u8]) -> io::Result<CertifiedKey> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
    params
        .custom_extensions
        .push(CustomExtension::new_acme_identifier(digest));
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
    let provider = aws_lc_rs::default_provider();
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(io::Error::other)?;
    // `CertifiedKey::from_der` would parse the certificate and fail at its critical extension.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// The time until a third of the lifetime of a certificate is left.
fn time_to_renewal(certificate: &Certificate) -> Duration {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let (start, end) = (certificate.not_before(), certificate.not_after());
    end.saturating_sub(end.saturating_sub(start) / 3)
        .saturating_sub(now)
}

fn retry_policy() -> RetryPolicy {
    RetryPolicy::default().timeout(ORDER_TIMEOUT)
}

/// Writes a file that only its owner may read, completely or not at all.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary);
    opened
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| with_path(path, &error))
}

/// Sends the requests of the ACME library.
struct AcmeHttp(HttpClient);

type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>>;

impl instant_acme::HttpClient for AcmeHttp {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> ResponseFuture {
        let client = self.0.clone();
        Box::pin(async move {
            let response = send(&client, request.map(Body::new)).await;
            response.map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

async fn send(client: &HttpClient, request: Request<Body>) -> io::Result<BytesResponse> {
    if request.uri().scheme_str() != Some("https") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the URL of an ACME server must begin with https (RFC 8555, section 6.1)",
        ));
    }
    let response = client
        .send(request, MAX_RESPONSE_BYTES, REQUEST_TIMEOUT)
        .await?;
    let (parts, body) = response.into_parts();
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

const MIN_RETRY: Duration = Duration::from_secs(30);
const MAX_RETRY: Duration = Duration::from_secs(3_600);
const MAX_SLEEP: Duration = Duration::from_secs(3_600);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit for the ACME server to validate the names, and to issue the certificate.
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_RESPONSE_BYTES: usize = 1 << 20;
/// RFC 8555, section 6.7.
const ACCOUNT_DOES_NOT_EXIST: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
