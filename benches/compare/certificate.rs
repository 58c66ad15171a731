//! A certificate for the servers that are compared over TLS.

use std::path::PathBuf;
use std::sync::LazyLock;

/// The paths of a certificate and its key, in PEM.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// The pair of this process, with an ECDSA key over P-256, as most servers have.
    pub fn get() -> &'static Pair {
        static PAIR: LazyLock<Pair> = LazyLock::new(Pair::make);
        &PAIR
    }

    fn make() -> Pair {
        let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()])
            .expect("a certificate");
        let pair = Pair {
            certificate: folder().join("certificate.pem"),
            key: folder().join("key.pem"),
        };
        std::fs::write(&pair.certificate, made.cert.pem()).expect("the certificate's file");
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).expect("the key's file");
        pair
    }
}

/// A folder for the files of this process.
pub fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hairpin-compare-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}
