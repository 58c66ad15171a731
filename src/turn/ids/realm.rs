//! The id of a realm's name.

use std::num::NonZeroU32;

/// A realm's name as a number, which is the same for every policy of a server: see
/// [`RealmIds`](crate::turn::shared::realm_ids::RealmIds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealmId(pub(in crate::turn) NonZeroU32);
