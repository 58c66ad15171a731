//! Every configuration key: one typed entry with its name, parser, default, explanation and whether
//! a reload suffices.
//!
//! ```text
//!                    ┌─► the file and deploy/hairpin.toml    ─┐
//!   section! entry ──┼─► environment variables               ─┼─► Resolver::get(&KEY) ─► a value of the key's type
//!                    └─► the flags of `serve` and their help ─┘
//! ```
//!
//! To add a key, add its entry to a section and read it with `Resolver` in `config::resolve`. A
//! [`Key`] has a default and yields a value, an [`OptionalKey`] yields an `Option`, a [`ListKey`] a
//! `Vec`. The default is defined only in the entry; if a lower floor defines a default for the
//! same value, the entry refers to it.

mod addresses;
mod encryption;
pub(crate) mod format;
mod key;
mod limits;
pub(crate) mod nearest;
mod operation;
mod protocol;
mod removed;
mod users;
mod web;

pub use crate::config::schema::key::{AnyKey, Arity, Key, KeyInfo, ListKey, OptionalKey, Section};
pub use crate::config::schema::operation::{LogAddresses, LogFormat};
pub(crate) use crate::config::schema::removed::{REMOVED_KEYS, removed_key};
pub(crate) use crate::config::schema::{
    addresses::*, encryption::*, limits::*, operation::*, protocol::*, users::*, web::*,
};

/// The sections of the file's top level.
pub static SECTIONS: [&Section; 9] = [
    &addresses::ADDRESSES,
    &users::USERS,
    &encryption::ENCRYPTION,
    &limits::PEERS,
    &limits::LIMITS,
    &protocol::PROTOCOL,
    &web::WEB_SECTION,
    &operation::OPERATION,
    &operation::USAGE,
];

/// The keys of the file's top level. Each is a flag and an environment variable too.
pub fn keys() -> impl Iterator<Item = &'static dyn AnyKey> {
    SECTIONS.iter().flat_map(|section| section.keys).copied()
}

/// The keys of a `[[realms]]` table.
pub(crate) fn realm_keys() -> impl Iterator<Item = &'static dyn AnyKey> {
    let own = users::REALMS.keys.iter().copied();
    own.chain(keys().filter(|key| key.info().per_realm))
}

/// The keys that set the limits of a realm.
pub(crate) fn realm_limits() -> impl Iterator<Item = &'static dyn AnyKey> {
    let limits = limits::LIMITS.keys.iter().copied();
    let nonce_lifetime: &dyn AnyKey = &NONCE_LIFETIME;
    limits
        .filter(|key| key.info().per_realm)
        .chain([nonce_lifetime])
}

/// The top-level key of that name.
pub fn key(name: &str) -> Option<&'static dyn AnyKey> {
    keys().find(|key| key.info().name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_unique() {
        let mut names: Vec<&str> = keys().map(|key| key.info().name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
