//! Quotas: the allocations, bandwidth, octets and ports that users, realms, addresses and the whole
//! server may have, and the rate of unauthenticated responses.

pub(crate) mod answer_rate;
pub(crate) mod ledger;
pub(crate) mod meter;
pub(crate) mod new_peer_rate;
pub(crate) mod ports;
