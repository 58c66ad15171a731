//! The target of a [`Link`], which the protocol carries as an opaque number.

use crate::relay::io::slab::Key;
use crate::turn::Link;

/// The socket, connection or association by which a client is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    /// A UDP listener, by its number. Every shard has a socket of it, so any shard can send to its
    /// clients.
    Listener(u32),
    /// A TCP or TLS connection of a shard.
    Connection { shard: u16, key: Key },
    /// A DTLS association of a shard.
    Association { shard: u16, key: Key },
}

impl LinkTarget {
    /// Bits from the top: stream or DTLS, DTLS, shard (14), generation (16), index (32).
    pub(crate) fn link(self) -> Link {
        let pack = |shard: u16, key: Key| {
            u64::from(shard & SHARD_MASK) << 48
                | u64::from(key.generation) << 32
                | u64::from(key.index)
        };
        Link(match self {
            LinkTarget::Listener(number) => u64::from(number),
            LinkTarget::Connection { shard, key } => NOT_LISTENER | pack(shard, key),
            LinkTarget::Association { shard, key } => NOT_LISTENER | ASSOCIATION | pack(shard, key),
        })
    }

    pub(crate) fn of(link: Link) -> LinkTarget {
        if link.0 & NOT_LISTENER == 0 {
            return LinkTarget::Listener(link.0 as u32);
        }
        let shard = (link.0 >> 48) as u16 & SHARD_MASK;
        let key = Key {
            index: link.0 as u32,
            generation: (link.0 >> 32) as u16,
        };
        if link.0 & ASSOCIATION == 0 {
            LinkTarget::Connection { shard, key }
        } else {
            LinkTarget::Association { shard, key }
        }
    }
}

const NOT_LISTENER: u64 = 1 << 63;
const ASSOCIATION: u64 = 1 << 62;
const SHARD_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_decodes_to_the_target_that_it_was_made_of() {
        let key = |index, generation| Key { index, generation };
        let (shard, last) = (0x3fff, key(u32::MAX, 0xffff));
        for target in [
            LinkTarget::Listener(0),
            LinkTarget::Listener(7),
            LinkTarget::Connection {
                shard: 0,
                key: key(0, 0),
            },
            LinkTarget::Connection {
                shard: 3,
                key: key(70_000, 9),
            },
            LinkTarget::Connection { shard, key: last },
            LinkTarget::Association { shard, key: last },
            LinkTarget::Association {
                shard: 0,
                key: key(0, 0),
            },
        ] {
            assert_eq!(LinkTarget::of(target.link()), target);
        }
    }
}
