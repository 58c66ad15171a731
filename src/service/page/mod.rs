//! The files of the call page, embedded in the binary. The page loads nothing from other servers.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// A file of the page.
pub struct Asset {
    /// The path of its URL.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// The files of the page.
pub const ASSETS: &[Asset] = &[
    asset("/", HTML, include_str!("index.html")),
    asset("/style.css", CSS, include_str!("style.css")),
    asset("/call.js", JAVASCRIPT, include_str!("call.js")),
    asset("/connection.js", JAVASCRIPT, include_str!("connection.js")),
    asset("/media.js", JAVASCRIPT, include_str!("media.js")),
    asset("/picture.js", JAVASCRIPT, include_str!("picture.js")),
    asset("/plot.js", JAVASCRIPT, include_str!("plot.js")),
    asset("/relay_test.js", JAVASCRIPT, include_str!("relay_test.js")),
    asset("/signal.js", JAVASCRIPT, include_str!("signal.js")),
    asset("/stats.js", JAVASCRIPT, include_str!("stats.js")),
    asset("/view.js", JAVASCRIPT, include_str!("view.js")),
    asset("/words.js", JAVASCRIPT, include_str!("words.js")),
    asset("/icon.svg", SVG, include_str!("icon.svg")),
];

/// The policy of the page: it may load its own files and connect to its own server, and run nothing
/// inline.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The entity tag of each asset, in the order of [`ASSETS`].
pub static ENTITY_TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        format!(
            "\"{}\"",
            URL_SAFE_NO_PAD.encode(Sha256::digest(asset.text.as_bytes()))
        )
    };
    ASSETS.iter().map(tag).collect()
});

const fn asset(path: &'static str, media_type: &'static str, text: &'static str) -> Asset {
    Asset {
        path,
        media_type,
        text,
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
