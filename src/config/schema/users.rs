//! Users, shared secrets and access tokens, and the realms that have them.

use crate::config::schema::format::Format;
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, ListKey, OptionalKey};
use crate::config::value;
use crate::turn::policy::access_token::TokenKey;
use std::net::SocketAddr;
use std::path::PathBuf;

section! { USERS = "Users";
    REALM: Key<String> = Key::new(
        KeyInfo::new(
            "realm",
            "NAME",
            "Realm of users and secrets. Any text, usually a domain name. Clients see it.",
        ),
        Format::displayed(value::realm_name),
        || "hairpin".into(),
    );
    USER: ListKey<(String, String)> = ListKey::new(
        KeyInfo::new(
            "user",
            "NAME:PASSWORD",
            "User whose credentials do not expire. Without any user and any shared secret the \
             server generates a secret and prints credentials when it starts.",
        )
        .example(r#"["alice:a long password"]"#)
        .secret()
        .per_realm(),
        value::user,
    );
    USER_FILE: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "user_file",
            "FILE",
            "File of users, one NAME:PASSWORD per line. Empty lines and lines that start with # \
             are ignored.",
        )
        .example(r#""/etc/hairpin/users""#)
        .file()
        .per_realm(),
        value::path,
    );
    SHARED_SECRET: ListKey<String> = ListKey::new(
        KeyInfo::new(
            "shared_secret",
            "SECRET",
            "Secret of time-limited credentials, shared with the application's back end. The \
             user name is `EXPIRY:NAME` with a Unix time, the password base64(HMAC-SHA1(secret, \
             user name)). Several secrets are valid at the same time, so that one can replace \
             another.",
        )
        .example(r#"["a long random text"]"#)
        .secret()
        .per_realm(),
        value::non_empty,
    );
    SHARED_SECRET_FILE: ListKey<PathBuf> = ListKey::new(
        KeyInfo::new(
            "shared_secret_file",
            "FILE",
            "File that holds one shared secret. A line break at its end is ignored.",
        )
        .example(r#"["/run/secrets/hairpin"]"#)
        .file()
        .per_realm(),
        value::path,
    );
    TOKEN_KEY: ListKey<TokenKey> = ListKey::new(
        KeyInfo::new(
            "token_key",
            "KID:BASE64",
            "Key that an authorization server encrypts access tokens with (RFC 7635), preceded \
             by its id. 16 or 32 bytes in Base64. Several keys are valid at the same time, so \
             that one can replace another.",
        )
        .example(r#"["auth-1:MDEyMzQ1Njc4OWFiY2RlZg=="]"#)
        .secret()
        .per_realm(),
        value::token_key,
    );
    TOKEN_KEY_FILE: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "token_key_file",
            "FILE",
            "File of token keys, one KID:BASE64 per line.",
        )
        .example(r#""/etc/hairpin/token-keys""#)
        .file()
        .per_realm(),
        value::path,
    );
    TOKEN_SERVER: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "token_server",
            "NAME",
            "Name of this server that access tokens are bound to. Clients receive it in \
             THIRD-PARTY-AUTHORIZATION.",
        )
        .example(r#""relay.example.net""#)
        .per_realm(),
        value::non_empty,
    );
}

// Keys that only a `[[realms]]` table has, beside those that are marked `per_realm`.
section! { REALMS = "Realms";
    NAME: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "name",
            "NAME",
            "Name of the realm.",
        )
        .example(r#""example.com""#)
        .per_realm(),
        value::realm_name,
    );
    REALM_LISTENER: ListKey<SocketAddr> = ListKey::new(
        KeyInfo::new(
            "listener",
            "IP:PORT",
            "Listeners that select this realm. An unspecified address stands for any.",
        )
        .example(r#"["0.0.0.0:3479"]"#)
        .per_realm(),
        value::transport_address,
    );
    ORIGIN: ListKey<String> = ListKey::new(
        KeyInfo::new(
            "origin",
            "ORIGIN",
            "Values of the ORIGIN attribute that select this realm.",
        )
        .example(r#"["https://app.example.net"]"#)
        .per_realm(),
        value::non_empty,
    );
    SERVER_NAME: ListKey<String> = ListKey::new(
        KeyInfo::new(
            "server_name",
            "NAME",
            "TLS server names that select this realm.",
        )
        .example(r#"["relay.example.net"]"#)
        .per_realm(),
        value::non_empty,
    );
}
