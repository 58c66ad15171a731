//! Certificates from files, watched: what is written there is shown to whoever comes next, and nobody is disconnected.

use crate::net::{Certificate, TlsError, TlsServer};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// A certificate chain and its key, each a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub private_key: PathBuf,
}

/// Unix times at which the certificates of `tls` expire, by first name; the earliest of several with one name.
pub fn expiries(tls: &TlsServer) -> BTreeMap<String, Duration> {
    let mut expiries = BTreeMap::new();
    for certificate in tls.certificates() {
        let first = certificate.names().first().map(String::as_str);
        let name = first.unwrap_or(certificate.serial()).to_owned();
        let expiry = certificate.not_after();
        expiries
            .entry(name)
            .and_modify(|earliest: &mut Duration| *earliest = expiry.min(*earliest))
            .or_insert(expiry);
    }
    expiries
}

/// Seconds until the certificates of `tls` expire, by first name; negative for one that has expired.
pub fn seconds_left(tls: &TlsServer) -> BTreeMap<String, i64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let expiries = expiries(tls).into_iter();
    expiries
        .map(|(name, expiry)| (name, expiry.as_secs() as i64 - now))
        .collect()
}

/// The certificates of a running server. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Certificates {
    tls: Arc<TlsServer>,
    state: Arc<Mutex<State>>,
    reloaded: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    pairs: Vec<Pair>,
    /// What the files looked like when they were last read.
    read: Vec<Stamp>,
    /// What they looked like at the last look.
    seen: Vec<Stamp>,
    /// From the files.
    filed: Vec<Arc<Certificate>>,
    /// From elsewhere (ACME).
    ordered: Vec<Arc<Certificate>>,
}

/// What tells a file from another, or from itself at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64, u64)>);

impl Certificates {
    /// Keeps `tls`, which shows the certificates of `pairs` now, up to date.
    pub fn new(tls: Arc<TlsServer>, pairs: Vec<Pair>) -> Certificates {
        let stamps = stamps(&pairs);
        let filed = tls.certificates();
        let state = State {
            pairs,
            read: stamps.clone(),
            seen: stamps,
            filed,
            ordered: Vec::new(),
        };
        Certificates {
            tls,
            state: Arc::new(Mutex::new(state)),
            reloaded: Arc::default(),
        }
    }

    /// Looks at the files every second, for ever, and reads them again when they have changed and then kept still for one.
    pub async fn watch(self) -> io::Result<()> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.has_changed() {
                self.reload();
            }
        }
    }

    /// Goes by other files from here on.
    pub fn follow(&self, pairs: Vec<Pair>) {
        let mut state = self.lock();
        if state.pairs != pairs {
            state.pairs = pairs;
            drop(state);
            self.reload();
        }
    }

    /// Reads the files now. Where one of them is bad, everything stays as it is, and that is said and counted. Tells
    /// whether all were good.
    pub fn reload(&self) -> bool {
        self.reloaded.notify_waiters();
        let mut state = self.lock();
        // Before reading: what changes meanwhile is read again.
        state.read = stamps(&state.pairs);
        state.seen = state.read.clone();
        let before = serials(&state.filed);
        let read = state.pairs.iter().map(read).collect::<io::Result<Vec<_>>>();
        let outcome = read.and_then(|filed| {
            self.publish(&filed, &state.ordered)?;
            state.filed = filed;
            Ok(())
        });
        match outcome {
            Ok(()) if serials(&state.filed) == before => true,
            Ok(()) => {
                let serials = serials(&state.filed).join(", ");
                tracing::info!(%serials, "certificates replaced; established connections keep theirs");
                true
            }
            Err(error) => {
                self.tls.count_failure();
                tracing::error!("certificates not replaced, the old ones stay: {error}");
                false
            }
        }
    }

    /// Counts a failure when the files could not be used now; whoever read them too has said why.
    pub fn note_bad_files(&self) {
        if self.lock().pairs.iter().any(|pair| read(pair).is_err()) {
            self.tls.count_failure();
        }
    }

    /// Waits for the next reload.
    pub async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// Shows a certificate that came from elsewhere, in place of one with the same names.
    ///
    /// # Errors
    /// As [`TlsServer::replace`].
    pub fn add(&self, certificate: Arc<Certificate>) -> io::Result<()> {
        let mut state = self.lock();
        let mut ordered = state.ordered.clone();
        ordered.retain(|old| old.names() != certificate.names());
        ordered.push(certificate);
        self.publish(&state.filed, &ordered)?;
        state.ordered = ordered;
        Ok(())
    }

    /// What the handshakes go by.
    pub fn tls(&self) -> &Arc<TlsServer> {
        &self.tls
    }

    fn publish(&self, filed: &[Arc<Certificate>], ordered: &[Arc<Certificate>]) -> io::Result<()> {
        Ok(self
            .tls
            .replace(filed.iter().chain(ordered).cloned().collect())?)
    }

    /// Whether the files differ from what was read, and have not changed since the last look.
    fn has_changed(&self) -> bool {
        let mut state = self.lock();
        let now = stamps(&state.pairs);
        let still = now == state.seen;
        let differs = now != state.read;
        state.seen = now;
        still && differs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a pair of files.
///
/// # Errors
/// A sentence that names the file.
pub fn read(pair: &Pair) -> io::Result<Arc<Certificate>> {
    let content = |path: &Path| {
        fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    let (chain, key) = (content(&pair.certificate)?, content(&pair.private_key)?);
    let certificate = Certificate::from_pem(&chain, &key);
    let named = |error: TlsError| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", pair.certificate.display()),
        )
    };
    certificate.map(Arc::new).map_err(named)
}

fn serials(certificates: &[Arc<Certificate>]) -> Vec<String> {
    certificates
        .iter()
        .map(|certificate| certificate.serial().to_owned())
        .collect()
}

fn stamps(pairs: &[Pair]) -> Vec<Stamp> {
    pairs
        .iter()
        .flat_map(|pair| [&pair.certificate, &pair.private_key])
        .map(|path| stamp(path))
        .collect()
}

fn stamp(path: &Path) -> Stamp {
    let stamp = fs::metadata(path).ok().and_then(|data| {
        let inode = std::os::unix::fs::MetadataExt::ino(&data);
        Some((data.modified().ok()?, data.len(), inode))
    });
    Stamp(stamp)
}

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::server::TlsOptions;
    use rcgen::{CertificateParams, KeyPair};

    fn write(pair: &Pair, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.private_key, key.serialize_pem()).unwrap();
        read(pair).unwrap().serial().to_owned()
    }

    #[test]
    fn files_are_read_again_once_they_keep_still_and_a_bad_one_changes_nothing() {
        let folder =
            std::env::temp_dir().join(format!("hairpin-certificates-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pair = Pair {
            certificate: folder.join("chain.pem"),
            private_key: folder.join("key.pem"),
        };
        write(&pair, "one.example");
        let tls =
            Arc::new(TlsServer::new(vec![read(&pair).unwrap()], TlsOptions::default()).unwrap());
        let certificates = Certificates::new(tls.clone(), vec![pair.clone()]);
        assert!(!certificates.has_changed());
        let second = write(&pair, "two.example");
        assert!(
            !certificates.has_changed() && certificates.has_changed(),
            "seen once, then still"
        );
        assert!(certificates.reload() && !certificates.has_changed());
        assert_eq!(tls.certificates()[0].serial(), second);

        fs::write(&pair.private_key, "no key").unwrap();
        assert!(!certificates.has_changed() && certificates.has_changed());
        assert!(
            !certificates.reload() && !certificates.has_changed(),
            "tried once"
        );
        assert_eq!(
            (tls.certificates()[0].serial(), tls.failures()),
            (second.as_str(), 1)
        );

        let ordered = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["three.example".to_owned()]).unwrap();
        let ordered = Certificate::from_pem(
            params.self_signed(&ordered).unwrap().pem().as_bytes(),
            ordered.serialize_pem().as_bytes(),
        );
        certificates.add(Arc::new(ordered.unwrap())).unwrap();
        write(&pair, "four.example");
        assert!(certificates.reload());
        let names: Vec<_> = tls
            .certificates()
            .iter()
            .flat_map(|c| c.names().to_vec())
            .collect();
        assert_eq!(names, ["four.example", "three.example"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
