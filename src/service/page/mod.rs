//! The call page's files, embedded: the binary needs nothing beside it, and the page nothing from elsewhere.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// One file of the page.
pub struct Asset {
    /// The path that it is served under.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The page and all that it loads.
pub const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        media_type: HTML,
        text: include_str!("index.html"),
    },
    Asset {
        path: "/style.css",
        media_type: CSS,
        text: include_str!("style.css"),
    },
    Asset {
        path: "/call.js",
        media_type: JAVASCRIPT,
        text: include_str!("call.js"),
    },
    Asset {
        path: "/connection.js",
        media_type: JAVASCRIPT,
        text: include_str!("connection.js"),
    },
    Asset {
        path: "/media.js",
        media_type: JAVASCRIPT,
        text: include_str!("media.js"),
    },
    Asset {
        path: "/picture.js",
        media_type: JAVASCRIPT,
        text: include_str!("picture.js"),
    },
    Asset {
        path: "/plot.js",
        media_type: JAVASCRIPT,
        text: include_str!("plot.js"),
    },
    Asset {
        path: "/relay_test.js",
        media_type: JAVASCRIPT,
        text: include_str!("relay_test.js"),
    },
    Asset {
        path: "/signal.js",
        media_type: JAVASCRIPT,
        text: include_str!("signal.js"),
    },
    Asset {
        path: "/stats.js",
        media_type: JAVASCRIPT,
        text: include_str!("stats.js"),
    },
    Asset {
        path: "/view.js",
        media_type: JAVASCRIPT,
        text: include_str!("view.js"),
    },
    Asset {
        path: "/words.js",
        media_type: JAVASCRIPT,
        text: include_str!("words.js"),
    },
    Asset {
        path: "/icon.svg",
        media_type: SVG,
        text: include_str!("icon.svg"),
    },
];

/// What a page may load and do: its own files and a connection home, nothing else, nowhere inline.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The entity tag of each asset, in the order of [`ASSETS`].
pub static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        format!(
            "\"{}\"",
            URL_SAFE_NO_PAD.encode(Sha256::digest(asset.text.as_bytes()))
        )
    };
    ASSETS.iter().map(tag).collect()
});

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
