//! Ids for the names of realms.
//!
//! A TLS or DTLS connection keeps the realm that its server name selected, and it outlives
//! policies: a reload may insert, remove or reorder realms. The connection therefore keeps the
//! realm's name, but as a number, because a [`Client`](crate::turn::Client) is copied for every
//! packet. An id is never reused, so it always means the same name.

use crate::turn::ids::realm::RealmId;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

/// All names that a server name ever selected: at most as many as the operator wrote into
/// configurations.
#[derive(Debug, Default)]
pub struct RealmIds {
    names: RwLock<Vec<Arc<str>>>,
}

impl RealmIds {
    /// The id of a name. Returns `None` after 2³² - 1 names.
    pub fn id(&self, name: &Arc<str>) -> Option<RealmId> {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let index = names.iter().position(|known| known == name);
        let index = index.unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        });
        let number = u32::try_from(index + 1).ok()?;
        NonZeroU32::new(number).map(RealmId)
    }

    /// The name that an id was given for.
    pub fn name(&self, id: RealmId) -> Option<Arc<str>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(id.0.get() as usize - 1).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id() {
        let ids = RealmIds::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let first = ids.id(&one).unwrap();
        let second = ids.id(&two).unwrap();
        assert_ne!(first, second);
        assert_eq!(ids.id(&one), Some(first));
        assert_eq!(ids.name(first), Some(one));
        assert_eq!(ids.name(second), Some(two));
    }
}
