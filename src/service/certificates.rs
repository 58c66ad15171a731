//! The certificates that TLS and DTLS present: from files, which are watched, and from ACME. New
//! connections use new certificates; established ones are not affected.

use crate::net::{Certificate, TlsServer};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// The PEM files of a certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// Unix times at which the certificates of `tls` expire, by first name; the earliest of several
/// with one name.
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

/// Seconds until the certificates of `tls` expire, by first name; negative for an expired
/// certificate.
pub fn seconds_left(tls: &TlsServer) -> BTreeMap<String, i64> {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() as i64;
    let expiries = expiries(tls).into_iter();
    expiries
        .map(|(name, expiry)| (name, expiry.as_secs() as i64 - now))
        .collect()
}

/// The certificates of a running server. Clones share them.
#[derive(Clone, Debug)]
pub struct CertificateStore {
    tls: Arc<TlsServer>,
    sources: Arc<Mutex<Sources>>,
    reload_requested: Arc<Notify>,
}

/// Where the certificates come from.
#[derive(Debug)]
struct Sources {
    files: Vec<CertificateFiles>,
    /// Versions of the files when they were loaded.
    loaded_versions: Vec<FileVersion>,
    /// Versions of the files at the last check.
    seen_versions: Vec<FileVersion>,
    /// Loaded from the files.
    from_files: Vec<Arc<Certificate>>,
    /// Issued by ACME.
    issued: Vec<Arc<Certificate>>,
}

/// Modification time, size and inode; `None` if the file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileVersion(Option<(SystemTime, u64, u64)>);

impl CertificateStore {
    /// Manages the certificates of `tls`, which were loaded from `files`.
    pub fn new(tls: Arc<TlsServer>, files: Vec<CertificateFiles>) -> CertificateStore {
        let versions = versions(&files);
        let sources = Sources {
            files,
            loaded_versions: versions.clone(),
            seen_versions: versions,
            from_files: tls.certificates(),
            issued: Vec::new(),
        };
        CertificateStore {
            tls,
            sources: Arc::new(Mutex::new(sources)),
            reload_requested: Arc::default(),
        }
    }

    /// Reloads the files when they have changed. Never returns; abort the task to end it.
    pub async fn watch(self) -> io::Result<()> {
        let mut interval = tokio::time::interval(CHECK_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if self.files_have_changed() {
                self.reload();
            }
        }
    }

    /// Replaces the list of files, and loads them if it differs.
    pub fn set_files(&self, files: Vec<CertificateFiles>) {
        let mut sources = self.lock();
        if sources.files != files {
            sources.files = files;
            drop(sources);
            self.reload();
        }
    }

    /// Loads the files and requests an ACME retry. If a file is invalid, all certificates stay, and
    /// the failure is logged and counted. Returns true if all files are valid.
    pub fn reload(&self) -> bool {
        self.reload_requested.notify_waiters();
        let mut sources = self.lock();
        // Before loading, so that a change in between is noticed at the next check.
        sources.loaded_versions = versions(&sources.files);
        sources.seen_versions = sources.loaded_versions.clone();
        let before = serials(&sources.from_files);
        let loaded = sources
            .files
            .iter()
            .map(load)
            .collect::<io::Result<Vec<_>>>();
        let applied = loaded.and_then(|loaded| {
            self.apply(&loaded, &sources.issued)?;
            sources.from_files = loaded;
            Ok(())
        });
        match applied {
            Ok(()) => {
                let after = serials(&sources.from_files);
                if after != before {
                    let serials = after.join(", ");
                    tracing::info!(%serials, "certificates replaced for new connections");
                }
                true
            }
            Err(error) => {
                self.tls.count_failure();
                tracing::error!(%error, "certificates not replaced: fix the file; the old ones stay");
                false
            }
        }
    }

    /// Counts a failure if a file is invalid. For a reload of the configuration that failed, which
    /// has logged the reason.
    pub fn count_invalid_files(&self) {
        if self.lock().files.iter().any(|files| load(files).is_err()) {
            self.tls.count_failure();
        }
    }

    /// Waits for the next reload.
    pub async fn reload_requested(&self) {
        self.reload_requested.notified().await;
    }

    /// Adds a certificate that ACME issued; it replaces the one with the same names.
    ///
    /// # Errors
    /// Errors of [`TlsServer::replace`].
    pub fn add_issued(&self, certificate: Arc<Certificate>) -> io::Result<()> {
        let mut sources = self.lock();
        let mut issued = sources.issued.clone();
        issued.retain(|old| old.names() != certificate.names());
        issued.push(certificate);
        self.apply(&sources.from_files, &issued)?;
        sources.issued = issued;
        Ok(())
    }

    /// The TLS server that presents the certificates.
    pub fn tls(&self) -> &Arc<TlsServer> {
        &self.tls
    }

    fn apply(&self, files: &[Arc<Certificate>], issued: &[Arc<Certificate>]) -> io::Result<()> {
        let certificates = files.iter().chain(issued).cloned().collect();
        self.tls.replace(certificates).map_err(io::Error::from)
    }

    /// Returns true if the files have changed since they were loaded, but not since the last check.
    /// Chain and key are written one after the other: after a second without a change both are
    /// complete.
    fn files_have_changed(&self) -> bool {
        let mut sources = self.lock();
        let now = versions(&sources.files);
        let is_stable = now == sources.seen_versions;
        let differs = now != sources.loaded_versions;
        sources.seen_versions = now;
        is_stable && differs
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads a certificate and its key.
///
/// # Errors
/// A file that cannot be read or is invalid; the error names it.
pub fn load(files: &CertificateFiles) -> io::Result<Arc<Certificate>> {
    let read = |path: &Path| fs::read(path).map_err(|error| with_path(path, &error));
    let (chain, key) = (read(&files.chain)?, read(&files.private_key)?);
    let certificate = Certificate::from_pem(&chain, &key);
    certificate
        .map(Arc::new)
        .map_err(|error| with_path(&files.chain, &error.into()))
}

/// Adds the path of the file to an error.
pub(super) fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn serials(certificates: &[Arc<Certificate>]) -> Vec<String> {
    certificates
        .iter()
        .map(|certificate| certificate.serial().to_owned())
        .collect()
}

fn versions(files: &[CertificateFiles]) -> Vec<FileVersion> {
    files
        .iter()
        .flat_map(|files| [&files.chain, &files.private_key])
        .map(|path| version(path))
        .collect()
}

fn version(path: &Path) -> FileVersion {
    let metadata = fs::metadata(path).ok();
    FileVersion(metadata.and_then(|data| Some((data.modified().ok()?, data.len(), data.ino()))))
}

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::server::TlsOptions;
    use rcgen::{CertificateParams, KeyPair};

    fn write(files: &CertificateFiles, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        fs::write(&files.chain, certificate.pem()).unwrap();
        fs::write(&files.private_key, key.serialize_pem()).unwrap();
        load(files).unwrap().serial().to_owned()
    }

    #[test]
    fn changed_files_are_loaded_once_stable_and_an_invalid_one_changes_nothing() {
        let directory =
            std::env::temp_dir().join(format!("hairpin-certificates-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let files = CertificateFiles {
            chain: directory.join("chain.pem"),
            private_key: directory.join("key.pem"),
        };
        write(&files, "one.example");
        let tls =
            Arc::new(TlsServer::new(vec![load(&files).unwrap()], TlsOptions::default()).unwrap());
        let store = CertificateStore::new(tls.clone(), vec![files.clone()]);
        assert!(!store.files_have_changed());
        let second = write(&files, "two.example");
        assert!(
            !store.files_have_changed() && store.files_have_changed(),
            "seen once, then still"
        );
        assert!(store.reload() && !store.files_have_changed());
        assert_eq!(tls.certificates()[0].serial(), second);

        fs::write(&files.private_key, "no key").unwrap();
        assert!(!store.files_have_changed() && store.files_have_changed());
        assert!(!store.reload() && !store.files_have_changed(), "tried once");
        assert_eq!(
            (tls.certificates()[0].serial(), tls.failures()),
            (second.as_str(), 1)
        );

        let issued = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["three.example".to_owned()]).unwrap();
        let issued = Certificate::from_pem(
            params.self_signed(&issued).unwrap().pem().as_bytes(),
            issued.serialize_pem().as_bytes(),
        );
        store.add_issued(Arc::new(issued.unwrap())).unwrap();
        write(&files, "four.example");
        assert!(store.reload());
        let names: Vec<_> = tls
            .certificates()
            .iter()
            .flat_map(|c| c.names().to_vec())
            .collect();
        assert_eq!(names, ["four.example", "three.example"]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
